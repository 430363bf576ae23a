//! IPv6 headers and the extension headers that may stand before TCP (RFC 8200).

use super::checksum::Sum;
use super::{Malformed, Network, u16_at};
use core::borrow::{Borrow, BorrowMut};

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Extension headers walked before a packet is refused. RFC 8200 section 4.1 orders at most seven.
pub const EXTENSION_LIMIT: usize = 8;

mod field {
    pub const VERSION: usize = 0;
    pub const PAYLOAD_LEN: usize = 4;
    pub const NEXT_HEADER: usize = 6;
    pub const HOP_LIMIT: usize = 7;
    pub const SOURCE: usize = 8;
    pub const DESTINATION: usize = 24;
}

mod next_header {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// A view of the fixed header.
#[derive(Debug)]
pub struct Header<H>(pub H);

impl<H: Borrow<[u8; HEADER_LEN]>> Header<H> {
    /// IP version; 6 if this is one.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0.borrow()[field::VERSION] >> 4
    }

    /// Octets after this header, extension headers included.
    #[must_use]
    pub fn payload_len(&self) -> u16 {
        u16_at(self.0.borrow(), field::PAYLOAD_LEN)
    }

    /// What follows this header.
    #[must_use]
    pub fn next_header(&self) -> u8 {
        self.0.borrow()[field::NEXT_HEADER]
    }

    /// Hops that are left.
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.0.borrow()[field::HOP_LIMIT]
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> [u8; 16] {
        address(self.0.borrow(), field::SOURCE)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> [u8; 16] {
        address(self.0.borrow(), field::DESTINATION)
    }

    /// The part of a TCP checksum that comes from here (RFC 8200 section 8.1, pseudo-header).
    #[must_use]
    #[inline]
    pub fn pseudo_header(&self, tcp_len: u16) -> Sum {
        Sum::default().with(&self.0.borrow()[field::SOURCE..]).with_word(super::TCP.into()).with_word(tcp_len)
    }
}

impl<H: BorrowMut<[u8; HEADER_LEN]>> Header<H> {
    /// Sets the octets after this header.
    pub fn set_payload_len(&mut self, len: u16) {
        self.0.borrow_mut()[field::PAYLOAD_LEN..field::PAYLOAD_LEN + 2].copy_from_slice(&len.to_be_bytes());
    }

    /// Sets the hops that are left.
    pub fn set_hop_limit(&mut self, hops: u8) {
        self.0.borrow_mut()[field::HOP_LIMIT] = hops;
    }

    /// Writes a whole header: no traffic class, no flow label.
    pub fn emit(&mut self, source: &[u8; 16], destination: &[u8; 16], next: u8, hops: u8, payload_len: u16) {
        let header = self.0.borrow_mut();
        *header = [0; HEADER_LEN];
        header[field::VERSION] = 0x60;
        header[field::PAYLOAD_LEN..field::PAYLOAD_LEN + 2].copy_from_slice(&payload_len.to_be_bytes());
        header[field::NEXT_HEADER] = next;
        header[field::HOP_LIMIT] = hops;
        header[field::SOURCE..field::DESTINATION].copy_from_slice(source);
        header[field::DESTINATION..].copy_from_slice(destination);
    }
}

fn address(header: &[u8; HEADER_LEN], at: usize) -> [u8; 16] {
    let mut address = [0; 16];
    address.copy_from_slice(&header[at..at + 16]);
    address
}

/// Reads the header that `packet` starts with, and the extension headers after it.
///
/// # Errors
/// [`Malformed`], for everything that a receiver could read differently: see [`super::parse`].
#[inline]
pub fn parse(packet: &[u8]) -> Result<Network, Malformed> {
    let fixed = packet.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let header = Header(fixed);
    if header.version() != 6 {
        return Err(Malformed::BadField);
    }
    let payload_end = HEADER_LEN + usize::from(header.payload_len());
    let packet = packet.get(..payload_end).ok_or(Malformed::Truncated)?;
    let last = walk(packet, header.next_header())?;
    Ok(Network {
        source: header.source(),
        destination: header.destination(),
        ttl: header.hop_limit(),
        protocol: last.protocol,
        payload_start: last.start,
        payload_end,
        is_fragment: last.is_fragment,
    })
}

/// Where the extension headers end.
struct Last {
    protocol: u8,
    start: usize,
    is_fragment: bool,
}

/// Follows the chain. What is no extension header that may stand before TCP ends it, as the payload's protocol: ESP, AH
/// and the experimental ones are somebody else's business, above.
#[inline]
fn walk(packet: &[u8], first: u8) -> Result<Last, Malformed> {
    let mut protocol = first;
    let mut start = HEADER_LEN;
    for count in 0..=EXTENSION_LIMIT {
        match protocol {
            // "The Hop-by-Hop Options header […] is restricted to appear immediately after an IPv6 header only"
            // (RFC 8200 section 4.1).
            next_header::HOP_BY_HOP if count > 0 => return Err(Malformed::BadField),
            // Atomic fragments (offset 0, no more) too: receivers differ on them, nobody needs them (RFC 8021).
            next_header::FRAGMENT => return Ok(Last { protocol, start, is_fragment: true }),
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::DESTINATION_OPTIONS => {}
            _ => return Ok(Last { protocol, start, is_fragment: false }),
        }
        let [next, len, kind, segments_left] =
            *packet.get(start..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Malformed::Truncated)?;
        // Type 0 is deprecated and dropped (RFC 5095). With segments left the header's destination is not the
        // receiver, and the TCP checksum covers another address.
        if protocol == next_header::ROUTING && (kind == 0 || segments_left != 0) {
            return Err(Malformed::BadField);
        }
        // "Length […] in 8-octet units, not including the first 8 octets."
        start += 8 + usize::from(len) * 8;
        if start > packet.len() {
            return Err(Malformed::Truncated);
        }
        protocol = next;
    }
    Err(Malformed::BadField)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEADER_LEN];
        let header = packet.first_chunk_mut().unwrap();
        Header(header).emit(&[0x20; 16], &[0x21; 16], first, 64, payload.len() as u16);
        packet.extend_from_slice(payload);
        packet
    }

    fn walked(first: u8, payload: &[u8]) -> Result<(u8, usize, bool), Malformed> {
        parse(&packet(first, payload)).map(|n| (n.protocol, n.payload_start, n.is_fragment))
    }

    #[test]
    fn deconstruct() {
        let network = parse(&packet(6, &[0; 20])).unwrap();
        assert_eq!((network.source, network.destination), ([0x20; 16], [0x21; 16]));
        assert_eq!((network.ttl, network.protocol), (64, 6));
        assert_eq!((network.payload_start, network.payload_end), (40, 60));
    }

    #[test]
    fn impossible_lengths() {
        let whole = packet(6, &[0; 20]);
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), Err(Malformed::Truncated), "{len}");
        }
        let mut version = whole;
        version[0] = 0x45;
        assert_eq!(parse(&version), Err(Malformed::BadField));
    }

    #[test]
    fn extension_headers_are_followed() {
        let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(walked(0, &options(6)), Ok((6, 48, false)), "hop-by-hop");
        assert_eq!(walked(60, &options(6)), Ok((6, 48, false)), "destination options");
        assert_eq!(walked(0, &[options(60), options(6)].concat()), Ok((6, 56, false)));
        assert_eq!(
            walked(60, &[options(0), options(6)].concat()),
            Err(Malformed::BadField),
            "hop-by-hop not first"
        );
        assert_eq!(
            walked(60, &[6, 1, 0, 0, 0, 0, 0, 0]),
            Err(Malformed::Truncated),
            "longer than the packet"
        );
        assert_eq!(walked(60, &[6, 0, 0]), Err(Malformed::Truncated));
        assert_eq!(walked(51, &[6, 0, 0, 0]), Ok((51, 40, false)), "AH is not followed");
        assert_eq!(walked(59, &[]), Ok((59, 40, false)), "no next header");
    }

    #[test]
    fn routes_that_are_not_at_their_end_are_refused() {
        let route = |kind, left| walked(43, &[6, 0, kind, left, 0, 0, 0, 0]);
        assert_eq!(route(2, 0), Ok((6, 48, false)));
        assert_eq!(route(2, 1), Err(Malformed::BadField));
        assert_eq!(route(0, 0), Err(Malformed::BadField), "type 0, RFC 5095");
    }

    #[test]
    fn fragments_are_seen_atomic_ones_too() {
        assert_eq!(walked(44, &[6, 0, 0, 1, 0, 0, 0, 7]), Ok((44, 40, true)));
        assert_eq!(walked(44, &[6, 0, 0, 0, 0, 0, 0, 7]), Ok((44, 40, true)), "atomic");
        assert_eq!(walked(60, &[44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 8, 0, 0, 0, 7]), Ok((44, 48, true)));
    }

    #[test]
    fn the_chain_is_bounded() {
        let chain = |len: usize| {
            let mut payload = [60, 0, 1, 4, 0, 0, 0, 0].repeat(len);
            payload[(len - 1) * 8] = 6;
            walked(60, &payload)
        };
        assert_eq!(chain(EXTENSION_LIMIT), Ok((6, 40 + 8 * EXTENSION_LIMIT, false)));
        assert_eq!(chain(EXTENSION_LIMIT + 1), Err(Malformed::BadField));
    }
}
