//! IPv6 headers and the extension headers that may stand before TCP (RFC 8200).

use super::checksum::Sum;
use super::{Malformed, Network, Piece, u16_at, u32_at};
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
    if is_mapped(&header.source()) || is_mapped(&header.destination()) {
        return Err(Malformed::BadField);
    }
    let last = walk(packet, header.next_header(), HEADER_LEN)?;
    Ok(Network {
        source: header.source(),
        destination: header.destination(),
        ttl: header.hop_limit(),
        protocol: last.protocol,
        payload_start: last.start,
        payload_end,
        fragment: last.fragment,
        untidy: last.start > HEADER_LEN,
    })
}

/// IPv4-mapped addresses name IPv4 hosts within a program and do not belong on a wire (RFC 4291 section 2.5.5.2); here
/// such a packet would be taken for one of the IPv4 connection.
#[inline]
fn is_mapped(address: &[u8; 16]) -> bool {
    matches!(address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..])
}

/// Where the extension headers end.
struct Last {
    protocol: u8,
    start: usize,
    fragment: Option<Piece>,
}

/// Octets of a fragment header.
const FRAGMENT_LEN: usize = 8;

/// The protocol that the headers of a datagram end at whose fragmentable part begins with `octets`, and where; an
/// error when they do not end there (RFC 7112 section 5: "the first fragment must include the entire header chain").
///
/// # Errors
/// [`Malformed`], as [`parse`].
pub fn upper_layer(octets: &[u8], first: u8) -> Result<(u8, usize), Malformed> {
    let last = walk(octets, first, 0)?;
    if last.fragment.is_some() { Err(Malformed::BadField) } else { Ok((last.protocol, last.start)) }
}

/// Follows the chain. What is no extension header that may stand before TCP ends it, as the payload's protocol: ESP, AH
/// and the experimental ones are somebody else's business, above.
#[inline]
fn walk(packet: &[u8], first: u8, from: usize) -> Result<Last, Malformed> {
    let mut protocol = first;
    let mut start = from;
    for count in 0..=EXTENSION_LIMIT {
        match protocol {
            // "The Hop-by-Hop Options header […] is restricted to appear immediately after an IPv6 header only"
            // (RFC 8200 section 4.1).
            next_header::HOP_BY_HOP if count > 0 => return Err(Malformed::BadField),
            // Atomic fragments (offset 0, no more) too.
            next_header::FRAGMENT => return fragment(packet, start),
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::DESTINATION_OPTIONS => {}
            _ => return Ok(Last { protocol, start, fragment: None }),
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

/// Overwrites the options of the hop-by-hop and destination options headers in `extensions`, of which the first is a
/// `first`, with padding (RFC 8200 section 4.2). Returns whether anything changed.
pub fn pad_options(mut extensions: &mut [u8], first: u8) -> bool {
    /// Octets of data of a PadN option at the most.
    const PADDING_LIMIT: usize = 255;
    const PAD_N: u8 = 1;
    let mut is_changed = false;
    let mut kind = first;
    while let [next, len, ..] = *extensions {
        let len = 8 + usize::from(len) * 8;
        let Some((header, rest)) = extensions.split_at_mut_checked(len) else { break };
        if matches!(kind, next_header::HOP_BY_HOP | next_header::DESTINATION_OPTIONS) {
            let options = &mut header[2..];
            let mut at = 0;
            while at < options.len() {
                let left = options.len() - at;
                // Never one octet left over.
                let whole =
                    if left == PADDING_LIMIT + 3 { PADDING_LIMIT + 1 } else { left.min(PADDING_LIMIT + 2) };
                is_changed |= options[at] != PAD_N
                    || usize::from(options[at + 1]) != whole - 2
                    || options[at + 2..at + whole].iter().any(|&octet| octet != 0);
                options[at] = PAD_N;
                options[at + 1] = (whole - 2) as u8;
                options[at + 2..at + whole].fill(0);
                at += whole;
            }
        }
        kind = next;
        extensions = rest;
    }
    is_changed
}

/// The fragment header (RFC 8200 section 4.5).
fn fragment(packet: &[u8], start: usize) -> Result<Last, Malformed> {
    let header = packet
        .get(start..)
        .and_then(|rest| rest.first_chunk::<FRAGMENT_LEN>())
        .ok_or(Malformed::Truncated)?;
    let word = u16_at(header, 2);
    let piece = Piece {
        identification: u32_at(header, 4),
        offset: word & 0xfff8,
        more: word & 1 != 0,
        dont_fragment: false,
    };
    Ok(Last { protocol: header[0], start: start + FRAGMENT_LEN, fragment: Some(piece) })
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
        parse(&packet(first, payload)).map(|n| (n.protocol, n.payload_start, n.fragment.is_some()))
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
        assert_eq!(walked(44, &[6, 0, 0, 1, 0, 0, 0, 7]), Ok((6, 48, true)));
        assert_eq!(walked(44, &[6, 0, 0, 0, 0, 0, 0, 7]), Ok((6, 48, true)), "atomic");
        assert_eq!(walked(60, &[44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 8, 0, 0, 0, 7]), Ok((6, 56, true)));
        assert_eq!(walked(44, &[6, 0, 0, 0, 0, 0, 0]), Err(Malformed::Truncated));
        let piece = parse(&packet(44, &[6, 0, 0x12, 0x37, 1, 2, 3, 4])).unwrap().fragment.unwrap();
        assert_eq!((piece.offset, piece.more, piece.identification), (0x1230, true, 0x0102_0304));
    }

    #[test]
    fn options_become_padding() {
        for len in 0..=255_u8 {
            let mut header = vec![0xee; 8 + usize::from(len) * 8];
            (header[0], header[1]) = (6, len);
            let mut chain = [60, 0, 201, 4, 9, 9, 9, 9].to_vec();
            chain.append(&mut header);
            assert!(pad_options(&mut chain, 0));
            assert!(!pad_options(&mut chain, 0), "twice");
            assert_eq!(chain[..8], [60, 0, 1, 4, 0, 0, 0, 0]);
            let mut options = &chain[10..];
            while let [kind, len, rest @ ..] = options {
                assert_eq!(*kind, 1);
                options = &rest[usize::from(*len)..];
            }
            assert!(options.is_empty(), "one octet left over");
        }
        let mut route = [6, 0, 2, 0, 0, 0, 0, 9];
        assert!(!pad_options(&mut route, 43), "a routing header stays");
    }

    #[test]
    fn mapped_addresses_are_refused() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        for (source, destination) in [(mapped, [0x21; 16]), ([0x20; 16], mapped)] {
            let mut packet = vec![0; HEADER_LEN];
            Header(packet.first_chunk_mut().unwrap()).emit(&source, &destination, 6, 64, 0);
            assert_eq!(parse(&packet), Err(Malformed::BadField));
        }
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
