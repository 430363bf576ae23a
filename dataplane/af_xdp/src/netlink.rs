//! One question to the kernel's `netdev` family (generic netlink): what a device's driver can do with XDP.
//!
//! Messages are `nlmsghdr`, `genlmsghdr`, then attributes of `len: u16, type: u16, value`, padded to 4 octets, in the
//! machine's byte order (`include/uapi/linux/{netlink,genetlink,netdev}.h`). Linux 6.3 or later answers.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::Error;

const STEP: &str = "ask for XDP features";

const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;

/// Length of `nlmsghdr` and `genlmsghdr`.
const HEADERS_LEN: usize = 16 + 4;

/// `enum netdev_xdp_act` of a device.
pub(crate) fn xdp_features(interface: u32) -> Result<u64, Error> {
    // SAFETY: no pointers.
    let fd =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_GENERIC) };
    if fd < 0 {
        return Err(Error::last(STEP));
    }
    // SAFETY: a descriptor that was just made and that nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let answer = ask(&fd, libc::GENL_ID_CTRL as u16, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0")?;
    let family = attribute(&answer, CTRL_ATTR_FAMILY_ID).and_then(|value| value.try_into().ok());
    let family = u16::from_ne_bytes(family.ok_or_else(|| Error::invalid(STEP, "no netdev family"))?);
    let answer = ask(&fd, family, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &interface.to_ne_bytes())?;
    let features = attribute(&answer, NETDEV_A_DEV_XDP_FEATURES).and_then(|value| value.try_into().ok());
    Ok(u64::from_ne_bytes(features.ok_or_else(|| Error::invalid(STEP, "no XDP features in the answer"))?))
}

/// Sends a request with one attribute and returns the attributes of the answer.
fn ask(fd: &OwnedFd, family: u16, command: u8, kind: u16, value: &[u8]) -> Result<Vec<u8>, Error> {
    let request = request(family, command, kind, value);
    // SAFETY: address and length of a vector.
    let sent = unsafe { libc::send(fd.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(Error::last(STEP));
    }
    let mut answer = vec![0_u8; 8192];
    // SAFETY: address and length of a vector that is not used meanwhile.
    let len = unsafe { libc::recv(fd.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0) };
    let Ok(len) = usize::try_from(len) else { return Err(Error::last(STEP)) };
    answer.truncate(len);
    attributes(&answer).map(<[u8]>::to_vec)
}

fn request(family: u16, command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute_len = 4 + value.len();
    let len = HEADERS_LEN + attribute_len.next_multiple_of(4);
    let mut request = Vec::with_capacity(len);
    request.extend((len as u32).to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend([0; 8]); // sequence number, port: one question at a time on a socket of its own
    request.extend([command, 1, 0, 0]);
    request.extend((attribute_len as u16).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(value);
    request.resize(len, 0);
    request
}

/// The attributes of a message, or the error it reports.
fn attributes(message: &[u8]) -> Result<&[u8], Error> {
    let short = || Error::invalid(STEP, "the answer is too short");
    let kind = message.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    if i32::from(kind.ok_or_else(short)?) == libc::NLMSG_ERROR {
        let code = message.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
        let code = code.ok_or_else(short)?;
        return Err(Error::new(STEP, std::io::Error::from_raw_os_error(code.saturating_neg())));
    }
    message.get(HEADERS_LEN..).ok_or_else(short)
}

/// The value of the first attribute of a kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let found = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..len)?;
        if found & 0x3fff == kind {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_among_others() {
        let mut message = request(16, 3, 2, b"netdev\0");
        message.extend(12_u16.to_ne_bytes());
        message.extend(3_u16.to_ne_bytes());
        message.extend(0x1_0000_0007_u64.to_ne_bytes());
        let attributes = attributes(&message).unwrap();
        assert_eq!(attribute(attributes, 2), Some(&b"netdev\0"[..]));
        assert_eq!(attribute(attributes, 3), Some(&0x1_0000_0007_u64.to_ne_bytes()[..]));
        assert_eq!(attribute(attributes, 4), None);
        for end in 0..attributes.len() {
            let _ = attribute(&attributes[..end], 3);
        }
        assert_eq!(attribute(&[0, 0, 9, 0, 0, 0], 3), None, "a length of 0 does not loop");
    }

    #[test]
    fn an_error_is_reported_with_its_number() {
        let mut message = vec![0; 16];
        message[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        message.extend((-19_i32).to_ne_bytes());
        assert_eq!(attributes(&message).unwrap_err().errno(), Some(libc::ENODEV));
        assert!(attributes(&message[..18]).is_err() && attributes(&[]).is_err());
    }
}
