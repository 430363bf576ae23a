//! Ethernet II headers with up to two VLAN tags (IEEE 802.3, 802.1Q).

use super::{Malformed, Vlan, u16_at};
use core::borrow::{Borrow, BorrowMut};

/// Octets of a header without tags.
pub const HEADER_LEN: usize = 14;
/// Octets of a VLAN tag: the type of the tag and its control information.
pub const TAG_LEN: usize = 4;
/// Tags that are understood: service and customer tag of 802.1ad (QinQ).
pub const TAG_LIMIT: usize = 2;

mod field {
    pub const DESTINATION: core::ops::Range<usize> = 0..6;
    pub const SOURCE: core::ops::Range<usize> = 6..12;
    pub const ETHERTYPE: usize = 12;
}

/// Values of the type field.
pub mod ethertype {
    /// Internet Protocol version 4.
    pub const IPV4: u16 = 0x0800;
    /// Internet Protocol version 6.
    pub const IPV6: u16 = 0x86dd;
    /// Customer VLAN tag (802.1Q).
    pub const CUSTOMER_TAG: u16 = 0x8100;
    /// Service VLAN tag (802.1ad).
    pub const SERVICE_TAG: u16 = 0x88a8;
    /// Service VLAN tag of equipment older than 802.1ad.
    pub const OLD_SERVICE_TAG: u16 = 0x9100;
    /// Smaller values are the length of an 802.3 frame with an LLC header.
    pub const FIRST: u16 = 0x0600;
}

/// A view of the header up to the first type field.
#[derive(Debug)]
pub struct Header<H>(pub H);

impl<H: Borrow<[u8; HEADER_LEN]>> Header<H> {
    /// Who is to receive the frame.
    #[must_use]
    pub fn destination(&self) -> &[u8] {
        &self.0.borrow()[field::DESTINATION]
    }

    /// Who sent it.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.0.borrow()[field::SOURCE]
    }

    /// The first type field: an [`ethertype`], that of a tag included.
    #[must_use]
    pub fn ethertype(&self) -> u16 {
        u16_at(self.0.borrow(), field::ETHERTYPE)
    }
}

impl<H: BorrowMut<[u8; HEADER_LEN]>> Header<H> {
    /// Sets both addresses.
    pub fn set_addresses(&mut self, destination: &[u8; 6], source: &[u8; 6]) {
        self.0.borrow_mut()[field::DESTINATION].copy_from_slice(destination);
        self.0.borrow_mut()[field::SOURCE].copy_from_slice(source);
    }
}

/// What the link layer of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// VLAN tags.
    pub vlan: Vlan,
    /// Type of what follows the tags; less than [`ethertype::FIRST`] is a length.
    pub ethertype: u16,
    /// First octet after the link layer's headers, from the frame's first octet: 14, 18 or 22.
    pub payload_start: usize,
}

/// Whether this type field announces a tag.
#[must_use]
#[inline]
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::CUSTOMER_TAG | ethertype::SERVICE_TAG | ethertype::OLD_SERVICE_TAG)
}

/// Reads header and tags.
///
/// # Errors
/// [`Malformed::Truncated`] when the frame ends within them. [`Malformed::BadField`] for a third tag, and for IP behind
/// an LLC/SNAP header (RFC 1042): some receivers would read IP in there, and it would have been nothing to us.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Link, Malformed> {
    let (header, mut rest) = frame.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let mut ethertype = Header(header).ethertype();
    let mut ids = [0; TAG_LIMIT];
    let mut tag_count = 0;
    let mut id_count = 0;
    while is_tag(ethertype) {
        if tag_count == TAG_LIMIT {
            return Err(Malformed::BadField);
        }
        let (tag, after) = rest.split_first_chunk::<TAG_LEN>().ok_or(Malformed::Truncated)?;
        // Twelve bits of identifier. Zero is a priority tag and names no VLAN (802.1Q, 9.6): the receiver takes the
        // frame as if it had no such tag.
        let id = u16_at(tag, 0) & 0x0fff;
        if id != 0 {
            ids[id_count] = id + 1;
            id_count += 1;
        }
        ethertype = u16_at(tag, 2);
        rest = after;
        tag_count += 1;
    }
    if ethertype < ethertype::FIRST
        && let Some([0xaa, 0xaa, 0x03, 0, 0, 0, protocol @ ..]) = rest.first_chunk::<8>()
        && let protocol = u16::from_be_bytes(*protocol)
        && (matches!(protocol, ethertype::IPV4 | ethertype::IPV6) || is_tag(protocol))
    {
        return Err(Malformed::BadField);
    }
    let [outer, inner] = ids;
    Ok(Link { vlan: Vlan { outer, inner }, ethertype, payload_start: HEADER_LEN + tag_count * TAG_LEN })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(after_addresses: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend_from_slice(after_addresses);
        frame
    }

    #[test]
    fn untagged_tagged_and_double_tagged() {
        for (octets, vlan, start) in [
            (&[0x08, 0x00][..], (0, 0), 14),
            (&[0x81, 0x00, 0xe0, 0x05, 0x08, 0x00], (6, 0), 18),
            (&[0x91, 0x00, 0x00, 0x05, 0x08, 0x00], (6, 0), 18),
            (&[0x88, 0xa8, 0x0f, 0xff, 0x81, 0x00, 0x00, 0x01, 0x08, 0x00], (0x1000, 2), 22),
            (&[0x81, 0x00, 0xe0, 0x00, 0x08, 0x00], (0, 0), 18),
            (&[0x81, 0x00, 0xe0, 0x00, 0x81, 0x00, 0x00, 0x07, 0x08, 0x00], (8, 0), 22),
        ] {
            let vlan = Vlan { outer: vlan.0, inner: vlan.1 };
            let expected = Link { vlan, ethertype: ethertype::IPV4, payload_start: start };
            assert_eq!(parse(&frame(octets)), Ok(expected), "{octets:02x?}");
        }
    }

    #[test]
    fn a_frame_that_ends_in_its_header_is_truncated() {
        let whole = frame(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 1, 0x86, 0xdd]);
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), Err(Malformed::Truncated), "{len}");
        }
        assert!(parse(&whole).is_ok());
    }

    #[test]
    fn a_third_tag_and_hidden_ip_are_refused() {
        let third = frame(&[0x88, 0xa8, 0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1, 0x08, 0]);
        assert_eq!(parse(&third), Err(Malformed::BadField));
        let snap = frame(&[0x00, 0x40, 0xaa, 0xaa, 3, 0, 0, 0, 0x08, 0x00]);
        assert_eq!(parse(&snap), Err(Malformed::BadField));
        let tag_in_snap = frame(&[0x00, 0x40, 0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x00]);
        assert_eq!(parse(&tag_in_snap), Err(Malformed::BadField));
        let spanning_tree = frame(&[0x00, 0x26, 0x42, 0x42, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse(&spanning_tree).map(|link| link.ethertype), Ok(0x26));
    }

    #[test]
    fn addresses_by_name() {
        let mut octets = frame(&[0x08, 0x06]);
        let mut header = Header(octets.first_chunk_mut::<HEADER_LEN>().unwrap());
        assert_eq!((header.destination()[5], header.source()[5], header.ethertype()), (1, 2, 0x0806));
        header.set_addresses(&[9; 6], &[8; 6]);
        assert_eq!(&octets[..12], &[9, 9, 9, 9, 9, 9, 8, 8, 8, 8, 8, 8]);
    }
}
