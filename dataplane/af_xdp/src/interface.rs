//! What has to be known of an interface before sockets are bound to it, and how it is made to take every frame.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::c_int;

use crate::{Error, netlink};

/// `include/uapi/linux/ethtool.h`; not all of them are in `libc`.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_GTSO: u32 = 0x1e;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GRXFH: u32 = 0x29;
const TCP_V4_FLOW: u32 = 0x01;
const TCP_V6_FLOW: u32 = 0x05;
/// `RXH_IP_SRC | RXH_IP_DST`.
const BY_ADDRESSES: u64 = 1 << 4 | 1 << 5;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GRSSH: u32 = 0x46;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// `enum netdev_xdp_act` in `include/uapi/linux/netdev.h`.
const NETDEV_XDP_ACT_NDO_XMIT: u64 = 4;
const NETDEV_XDP_ACT_XSK_ZEROCOPY: u64 = 8;

/// Name and present index of a network interface. Names outlive indexes: an interface that is made again has
/// the same name and another index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    name: String,
    index: u32,
}

/// What was found out about an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Longest IP packet, in octets.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Driver, for example `veth`; empty when the kernel does not say.
    pub driver: String,
    /// Receive queues in use; 1 when the driver does not say.
    pub queue_count: u32,
    /// The device computes checksums on transmit (the stack leaves them out).
    pub transmit_checksum: bool,
    /// The device cuts TCP segments on transmit.
    pub segmentation: bool,
    /// The device takes VLAN tags out of received frames: then neither XDP nor AF_XDP sees them.
    pub strips_vlan: bool,
    /// Whether frames redirected by an XDP program can leave by it (`NETDEV_XDP_ACT_NDO_XMIT`), `None` when the
    /// kernel does not say. A veth can when its far end has an XDP program or GRO
    /// (`veth_set_xdp_features`); else `dev_map_enqueue` refuses every frame.
    pub transmits_redirected: Option<bool>,
    /// Whether the driver has zero-copy AF_XDP, `None` when the kernel does not say.
    pub zero_copy: Option<bool>,
    /// Addresses that the host itself answers on, link-local ones left out.
    pub addresses: Vec<IpAddr>,
}

/// How a card spreads received frames over its queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveHash {
    /// Key of the Toeplitz hash.
    pub key: Vec<u8>,
    /// The card folds both directions into one before it hashes (`symmetric-xor`).
    pub folds: bool,
    /// Queue by hash value.
    pub table: Vec<u32>,
    /// TCP is spread by the two addresses alone, as the fragments of its packets are; IPv4 and IPv6.
    pub by_addresses: bool,
}

impl ReceiveHash {
    /// Whether both directions of a connection come to the same queue: the card folds them, or the key repeats
    /// every 16 bits (Woo and Park, "Scalable TCP session monitoring with symmetric receive-side scaling").
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        self.folds
            || (self.key.len() >= 4 && self.key.iter().zip(&self.key[2..]).all(|(one, next)| one == next))
    }
}

impl Interface {
    /// Looks an interface up by name, in the network namespace of this thread.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(name: &str) -> Result<Self, Error> {
        const STEP: &str = "find interface";
        let text = CString::new(name).map_err(|_| Error::invalid(STEP, "a name with a NUL octet"))?;
        // SAFETY: a string that ends with NUL.
        let index = unsafe { libc::if_nametoindex(text.as_ptr()) };
        if index == 0 { Err(Error::last(STEP)) } else { Ok(Self { name: name.to_owned(), index }) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Asks the kernel.
    ///
    /// # Errors
    /// When it does not even tell the MTU: the interface has gone.
    pub fn facts(&self) -> Result<Facts, Error> {
        let socket = control_socket()?;
        let mtu = self.ioctl(&socket, libc::SIOCGIFMTU, |_| {}).map_err(|e| Error::new("get MTU", e))?;
        let flags =
            self.ioctl(&socket, libc::SIOCGIFFLAGS, |_| {}).map_err(|e| Error::new("get flags", e))?;
        // SAFETY: the kernel has filled in this field.
        let mtu = unsafe { mtu.ifr_ifru.ifru_mtu };
        // SAFETY: as above.
        let flags = unsafe { flags.ifr_ifru.ifru_flags };

        let driver = self.ethtool::<52>(&socket, ETHTOOL_GDRVINFO).ok();
        // `struct ethtool_drvinfo`: command, then `char driver[32]`.
        let driver =
            driver.map(|words| words[1..9].iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>());
        let driver = driver.map_or_else(String::new, |bytes| {
            String::from_utf8_lossy(bytes.split(|octet| *octet == 0).next().unwrap_or_default()).into_owned()
        });
        // `struct ethtool_channels`: command, four maxima, then rx, tx, other, combined.
        let channels = self.ethtool::<9>(&socket, ETHTOOL_GCHANNELS).ok();
        let queue_count = channels.map_or(1, |words| words[5].saturating_add(words[8]).max(1));
        let flag = |command| self.ethtool::<2>(&socket, command).is_ok_and(|words| words[1] != 0);
        let features = netlink::xdp_features(self.index).ok();
        Ok(Facts {
            mtu: u32::try_from(mtu).unwrap_or(0),
            up: c_int::from(flags) & libc::IFF_UP != 0,
            driver,
            queue_count,
            transmit_checksum: flag(ETHTOOL_GTXCSUM),
            segmentation: flag(ETHTOOL_GTSO),
            strips_vlan: self
                .ethtool::<2>(&socket, ETHTOOL_GFLAGS)
                .is_ok_and(|words| words[1] & ETH_FLAG_RXVLAN != 0),
            transmits_redirected: features.map(|bits| bits & NETDEV_XDP_ACT_NDO_XMIT != 0),
            zero_copy: features.map(|bits| bits & NETDEV_XDP_ACT_XSK_ZEROCOPY != 0),
            addresses: self.addresses(),
        })
    }

    /// Whether the card puts received TCP segments together (LRO): what comes then is no longer what was sent. False
    /// when the kernel does not say.
    #[must_use]
    pub fn merges_received(&self) -> bool {
        let flags = |socket| self.ethtool::<2>(&socket, ETHTOOL_GFLAGS).ok();
        control_socket().ok().and_then(flags).is_some_and(|words| words[1] & ETH_FLAG_LRO != 0)
    }

    /// How received frames are spread over queues; `None` when the driver does not say.
    #[must_use]
    pub fn receive_hash(&self) -> Option<ReceiveHash> {
        /// Words of `struct ethtool_rxfh` before its tables, and room for these: 512 entries and a long key.
        const HEAD: usize = 6;
        const WORDS: usize = HEAD + 1024;
        let socket = control_socket().ok()?;
        let mut sizes = [0_u32; HEAD];
        sizes[0] = ETHTOOL_GRSSH;
        self.ask_ethtool(&socket, &mut sizes).ok()?;
        let [_, _, table_len, key_len, ..] = sizes;
        let mut words = [0_u32; WORDS];
        (words[0], words[2], words[3]) = (ETHTOOL_GRSSH, table_len, key_len);
        let end = HEAD + table_len as usize + (key_len as usize).div_ceil(4);
        if key_len == 0 || end > WORDS {
            return None;
        }
        self.ask_ethtool(&socket, &mut words).ok()?;
        let octets = words[HEAD + table_len as usize..end].iter().flat_map(|word| word.to_ne_bytes());
        let key = octets.take(key_len as usize).collect();
        // The second octet of the fifth word is `input_xfrm`; either transformation makes the hash symmetric.
        let table = words[HEAD..HEAD + table_len as usize].to_vec();
        let by_addresses = [TCP_V4_FLOW, TCP_V6_FLOW]
            .iter()
            .all(|kind| self.hashed_fields(&socket, *kind) == Some(BY_ADDRESSES));
        Some(ReceiveHash { key, folds: words[4].to_ne_bytes()[1] & 3 != 0, table, by_addresses })
    }

    /// What of a packet of this kind goes into the receive hash, `RXH_` bits (`struct ethtool_rxnfc`: command, kind, data).
    fn hashed_fields(&self, socket: &OwnedFd, kind: u32) -> Option<u64> {
        /// Octets of the struct are 192; more does no harm.
        const WORDS: usize = 64;
        let mut words = [0_u32; WORDS];
        (words[0], words[1]) = (ETHTOOL_GRXFH, kind);
        self.ask_ethtool(socket, &mut words).ok()?;
        let octets = [words[2].to_ne_bytes(), words[3].to_ne_bytes()];
        Some(u64::from_ne_bytes(octets.as_flattened().try_into().ok()?))
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: a plain struct of integers and pointers, for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let name = self.name.as_bytes();
        for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name) {
            *to = *from as libc::c_char;
        }
        request
    }

    fn ioctl(
        &self,
        socket: &OwnedFd,
        command: libc::Ioctl,
        prepare: impl FnOnce(&mut libc::ifreq),
    ) -> io::Result<libc::ifreq> {
        let mut request = self.request();
        prepare(&mut request);
        // SAFETY: an `ifreq` on this stack; what `prepare` points it to lives in the caller.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), command, &raw mut request) };
        if result == 0 { Ok(request) } else { Err(io::Error::last_os_error()) }
    }

    /// Asks ethtool; the answer has at most `N` words of 32 bits, the first of which is the command.
    fn ethtool<const N: usize>(&self, socket: &OwnedFd, command: u32) -> io::Result<[u32; N]> {
        let mut words = [0; N];
        words[0] = command;
        self.ask_ethtool(socket, &mut words)?;
        Ok(words)
    }

    /// Asks ethtool; question and answer are the same words.
    fn ask_ethtool(&self, socket: &OwnedFd, words: &mut [u32]) -> io::Result<()> {
        let data = words.as_mut_ptr();
        self.ioctl(socket, SIOCETHTOOL, |request| request.ifr_ifru.ifru_data = data.cast()).map(drop)
    }

    /// Addresses of the interface that are not link-local.
    fn addresses(&self) -> Vec<IpAddr> {
        let mut list = ptr::null_mut();
        // SAFETY: the kernel's answer is put where `list` says, and freed below.
        if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut next = list;
        while !next.is_null() {
            // SAFETY: an entry of the list, which is freed only after the loop.
            let entry = unsafe { &*next };
            // SAFETY: every entry has a name that ends with NUL.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) };
            if name.to_bytes() == self.name.as_bytes() {
                found.extend(address(entry.ifa_addr));
            }
            next = entry.ifa_next;
        }
        // SAFETY: the list from `getifaddrs`; nothing of it is kept.
        unsafe { libc::freeifaddrs(list) };
        found.retain(|address| match address {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        });
        found
    }
}

/// The address in a `sockaddr`, if it is one of IP.
fn address(raw: *const libc::sockaddr) -> Option<IpAddr> {
    if raw.is_null() {
        return None;
    }
    // SAFETY: not null, and from `getifaddrs`, which gives whole structs of the family they name.
    match c_int::from(unsafe { (*raw).sa_family }) {
        libc::AF_INET => {
            // SAFETY: as above, for this family.
            let v4 = unsafe { &*raw.cast::<libc::sockaddr_in>() };
            Some(IpAddr::V4(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes())))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for this family.
            let v6 = unsafe { &*raw.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

/// Makes an interface take frames for every address, for as long as this value lives: also when the
/// process is killed, since the kernel undoes it when the socket is closed (`packet_release`).
///
/// A wire needs it: frames are for the hosts at the ends. (veth takes all anyway.)
#[derive(Debug)]
pub struct Promiscuous {
    socket: OwnedFd,
    interface: c_int,
}

impl Promiscuous {
    /// Begins.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the interface has gone.
    pub fn new(interface: &Interface) -> Result<Self, Error> {
        const STEP: &str = "set promiscuous";
        // SAFETY: no pointers. Protocol 0: this socket receives nothing.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(Error::last(STEP));
        }
        // SAFETY: a descriptor that was just made and that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let index = interface.index as c_int;
        let mut address = link_address();
        address.sll_ifindex = index;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: address and length of one value on this stack.
        let result = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), len) };
        if result != 0 {
            return Err(Error::last(STEP));
        }
        let membership = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        // SAFETY: address and length of one value on this stack.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                ptr::from_ref(&membership).cast(),
                size_of::<libc::packet_mreq>() as u32,
            )
        };
        if result == 0 { Ok(Self { socket, interface: index }) } else { Err(Error::last(STEP)) }
    }

    /// Whether the interface has been there all the time. One that was moved to another namespace and back has the same
    /// name and index, but whatever was bound to it is not bound any more, this socket too (`packet_notifier`).
    #[must_use]
    pub fn is_bound(&self) -> bool {
        let mut address = link_address();
        let mut len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: address and length of one value on this stack.
        let result = unsafe {
            libc::getsockname(self.socket.as_raw_fd(), ptr::from_mut(&mut address).cast(), &raw mut len)
        };
        result == 0 && address.sll_ifindex == self.interface
    }
}

/// A packet socket's address that names nothing.
fn link_address() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// A socket for `ioctl`.
fn control_socket() -> Result<OwnedFd, Error> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(Error::last("make control socket"));
    }
    // SAFETY: a descriptor that was just made and that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known() {
        let loopback = Interface::find("lo").unwrap();
        let facts = loopback.facts().unwrap();
        assert!(loopback.index() > 0 && facts.mtu >= 1500 && facts.queue_count == 1, "{facts:?}");
        assert!(!facts.zero_copy.unwrap_or(false));
    }

    #[test]
    fn a_key_that_repeats_is_symmetric() {
        let hash = |key: &[u8], folds| ReceiveHash {
            key: key.to_vec(),
            folds,
            table: Vec::new(),
            by_addresses: true,
        };
        assert!(hash(&[0x6d, 0x5a].repeat(20), false).is_symmetric());
        assert!(hash(b"whatever", true).is_symmetric());
        assert!(!hash(b"whatever", false).is_symmetric() && !hash(&[], false).is_symmetric());
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert_eq!(Interface::find("no-such-port").unwrap_err().errno(), Some(libc::ENODEV));
        assert!(Interface::find("a\0b").is_err());
        let gone = Interface { name: "no-such-port".into(), index: 9999 };
        assert!(gone.facts().is_err());
    }
}
