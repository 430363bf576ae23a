//! IPv4 headers (RFC 791).

use super::checksum::Sum;
use super::{Checksums, Malformed, Network, Piece, u16_at};
use core::borrow::{Borrow, BorrowMut};

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;

mod field {
    pub const VERSION_AND_LEN: usize = 0;
    pub const TOTAL_LEN: usize = 2;
    pub const IDENTIFICATION: usize = 4;
    pub const FRAGMENT: usize = 6;
    pub const TTL: usize = 8;
    pub const PROTOCOL: usize = 9;
    pub const CHECKSUM: usize = 10;
    pub const SOURCE: usize = 12;
    pub const DESTINATION: usize = 16;
}

const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A view of the header's fixed part.
#[derive(Debug)]
pub struct Header<H>(pub H);

impl<H: Borrow<[u8; HEADER_LEN]>> Header<H> {
    /// IP version; 4 if this is one.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.0.borrow()[field::VERSION_AND_LEN] >> 4
    }

    /// Octets of the header, options included: 0 to 60 as it says, 20 to 60 as it must be.
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.0.borrow()[field::VERSION_AND_LEN] & 0x0f) * 4
    }

    /// Octets of the packet, header included.
    #[must_use]
    pub fn total_len(&self) -> u16 {
        u16_at(self.0.borrow(), field::TOTAL_LEN)
    }

    /// Whether there are other fragments of the same packet.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        u16_at(self.0.borrow(), field::FRAGMENT) & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// What the header says of a fragment; `None` of a whole packet.
    #[must_use]
    #[inline]
    pub fn piece(&self) -> Option<Piece> {
        let word = u16_at(self.0.borrow(), field::FRAGMENT);
        if word & (MORE_FRAGMENTS | FRAGMENT_OFFSET) == 0 {
            return None;
        }
        Some(Piece {
            identification: u16_at(self.0.borrow(), field::IDENTIFICATION).into(),
            // In units of 8 octets (RFC 791 section 3.1).
            offset: (word & FRAGMENT_OFFSET) << 3,
            more: word & MORE_FRAGMENTS != 0,
            dont_fragment: word & DONT_FRAGMENT != 0,
        })
    }

    /// The bit before the flags, which "must be zero" (RFC 791 section 3.1).
    #[must_use]
    #[inline]
    pub fn reserved(&self) -> bool {
        u16_at(self.0.borrow(), field::FRAGMENT) & RESERVED != 0
    }

    /// Whether this is a whole packet of IPv4 with a header without options, its reserved bit clear.
    #[must_use]
    #[inline]
    pub fn is_plain(&self) -> bool {
        /// Version 4, five words of header.
        const FIVE_WORDS: u8 = 0x45;
        let word = u16_at(self.0.borrow(), field::FRAGMENT);
        (self.0.borrow()[field::VERSION_AND_LEN] == FIVE_WORDS)
            & (word & (RESERVED | MORE_FRAGMENTS | FRAGMENT_OFFSET) == 0)
    }

    /// Whether the checksum of a header without options is right.
    #[must_use]
    #[inline]
    pub fn is_sound(&self) -> bool {
        Sum::default().with(self.0.borrow()).is_valid()
    }

    /// Hops that are left.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.0.borrow()[field::TTL]
    }

    /// Protocol number of the payload.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.0.borrow()[field::PROTOCOL]
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> [u8; 4] {
        address(self.0.borrow(), field::SOURCE)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> [u8; 4] {
        address(self.0.borrow(), field::DESTINATION)
    }

    /// The part of a TCP checksum that comes from here (RFC 9293 section 3.1, pseudo-header).
    #[must_use]
    #[inline]
    pub fn pseudo_header(&self, tcp_len: u16) -> Sum {
        Sum::default().with(&self.0.borrow()[field::SOURCE..]).with_word(super::TCP.into()).with_word(tcp_len)
    }
}

impl<H: BorrowMut<[u8; HEADER_LEN]>> Header<H> {
    /// Sets the octets of the packet. The header checksum is then wrong.
    pub fn set_total_len(&mut self, len: u16) {
        put_u16(self.0.borrow_mut(), field::TOTAL_LEN, len);
    }

    /// Sets the hops that are left. The header checksum is then wrong.
    pub fn set_ttl(&mut self, ttl: u8) {
        self.0.borrow_mut()[field::TTL] = ttl;
    }

    /// Clears the reserved bit. The header checksum is then wrong.
    pub fn clear_reserved(&mut self) {
        let word = u16_at(self.0.borrow_mut(), field::FRAGMENT) & !RESERVED;
        put_u16(self.0.borrow_mut(), field::FRAGMENT, word);
    }

    /// Lets routers fragment the packet, under this identification. The header checksum is then wrong.
    pub fn set_fragmentable(&mut self, identification: u16) {
        put_u16(self.0.borrow_mut(), field::FRAGMENT, 0);
        put_u16(self.0.borrow_mut(), field::IDENTIFICATION, identification);
    }

    /// Writes a whole header without options, its checksum included, for a packet that must not be fragmented
    /// (so that its identification may be zero, RFC 6864 section 4.1).
    pub fn emit(&mut self, source: [u8; 4], destination: [u8; 4], protocol: u8, ttl: u8, total_len: u16) {
        let header = self.0.borrow_mut();
        *header = [0; HEADER_LEN];
        header[field::VERSION_AND_LEN] = 0x45;
        put_u16(header, field::TOTAL_LEN, total_len);
        put_u16(header, field::FRAGMENT, DONT_FRAGMENT);
        header[field::TTL] = ttl;
        header[field::PROTOCOL] = protocol;
        header[field::SOURCE..field::DESTINATION].copy_from_slice(&source);
        header[field::DESTINATION..].copy_from_slice(&destination);
        let checksum = Sum::default().with(header).checksum();
        put_u16(header, field::CHECKSUM, checksum);
    }
}

fn address(header: &[u8; HEADER_LEN], at: usize) -> [u8; 4] {
    [header[at], header[at + 1], header[at + 2], header[at + 3]]
}

fn put_u16(header: &mut [u8; HEADER_LEN], at: usize, value: u16) {
    header[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Computes the checksum of `header`, options included, anew. Shorter than a header: nothing happens.
pub fn fix_checksum(header: &mut [u8]) {
    let Some(fixed) = header.first_chunk_mut::<HEADER_LEN>() else { return };
    put_u16(fixed, field::CHECKSUM, 0);
    let checksum = Sum::default().with(header).checksum();
    header[field::CHECKSUM..field::CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads the header that `packet` starts with; what follows the packet (Ethernet's padding) does not matter.
///
/// # Errors
/// [`Malformed`], for everything that a receiver could read differently: see [`super::parse`].
#[inline]
pub fn parse(packet: &[u8], checksums: Checksums) -> Result<Network, Malformed> {
    let fixed = packet.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let header = Header(fixed);
    let header_len = header.header_len();
    let total_len = usize::from(header.total_len());
    if header.version() != 4 || header_len < HEADER_LEN || total_len < header_len {
        return Err(Malformed::BadField);
    }
    if packet.len() < total_len {
        return Err(Malformed::Truncated);
    }
    let whole = &packet[..header_len];
    if checksums == Checksums::Verify && !Sum::default().with(whole).is_valid() {
        return Err(Malformed::Checksum);
    }
    if header_len > HEADER_LEN {
        check_options(&whole[HEADER_LEN..])?;
    }
    Ok(Network {
        source: core::net::Ipv4Addr::from(header.source()).to_ipv6_mapped().octets(),
        destination: core::net::Ipv4Addr::from(header.destination()).to_ipv6_mapped().octets(),
        ttl: header.ttl(),
        protocol: header.protocol(),
        payload_start: header_len,
        payload_end: total_len,
        fragment: header.piece(),
        untidy: header_len > HEADER_LEN || header.reserved(),
    })
}

/// Refuses lists that cannot be walked, and source routes: with one, the header's destination is not the receiver,
/// and the TCP checksum covers another address (RFC 7126 section 4.3 and 4.4: drop them).
fn check_options(mut options: &[u8]) -> Result<(), Malformed> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    loop {
        options = match *options {
            [] | [END, ..] => return Ok(()),
            [NO_OPERATION, ref rest @ ..] => rest,
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => return Err(Malformed::BadField),
            [_, len, ..] if len >= 2 => options.get(usize::from(len)..).ok_or(Malformed::BadField)?,
            _ => return Err(Malformed::BadField),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 192.0.2.1 to 198.51.100.25, 4 octets of protocol 6; its checksum computed by another program.
    const PACKET: [u8; 24] = [
        0x45, 0x00, 0x00, 0x18, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x4e, 0x92, 0xc0, 0x00, 0x02, 0x01, 0xc6,
        0x33, 0x64, 0x19, 1, 2, 3, 4,
    ];

    fn with(change: impl FnOnce(&mut Vec<u8>)) -> Result<Network, Malformed> {
        let mut packet = PACKET.to_vec();
        change(&mut packet);
        let len = usize::from(packet[0] & 15) * 4;
        if let Some(header) = packet.get_mut(..len) {
            fix_checksum(header);
        }
        parse(&packet, Checksums::Verify)
    }

    #[test]
    fn deconstruct_and_construct() {
        let network = parse(&PACKET, Checksums::Verify).unwrap();
        assert_eq!(
            (network.payload_start, network.payload_end, network.ttl, network.protocol),
            (20, 24, 64, 6)
        );
        assert_eq!(network.source[12..], [192, 0, 2, 1]);
        assert!(network.fragment.is_none() && !network.untidy);
        let mut built = [0xee; HEADER_LEN];
        Header(&mut built).emit([192, 0, 2, 1], [198, 51, 100, 25], 6, 64, 24);
        assert_eq!(built, PACKET[..20]);
    }

    #[test]
    fn impossible_lengths() {
        for len in 0..PACKET.len() {
            assert_eq!(parse(&PACKET[..len], Checksums::Verify), Err(Malformed::Truncated), "{len}");
        }
        assert_eq!(with(|p| p[0] = 0x44), Err(Malformed::BadField), "header of 16 octets");
        assert_eq!(with(|p| p[0] = 0x65), Err(Malformed::BadField), "version 6");
        assert_eq!(with(|p| p[3] = 19), Err(Malformed::BadField), "total length within the header");
        assert_eq!(with(|p| p[3] = 25), Err(Malformed::Truncated), "total length beyond the frame");
        assert_eq!(with(|p| p[0] = 0x47), Err(Malformed::BadField), "header beyond the packet");
        assert!(with(|p| p.extend([0; 22])).is_ok(), "padding");
    }

    #[test]
    fn one_wrong_bit_is_noticed_unless_trusted() {
        let mut packet = PACKET;
        packet[8] ^= 1;
        assert_eq!(parse(&packet, Checksums::Verify), Err(Malformed::Checksum));
        assert!(parse(&packet, Checksums::Trust).is_ok());
    }

    #[test]
    fn fragments_are_seen() {
        let piece =
            |offset, more, dont_fragment| Some(Piece { identification: 0x1234, offset, more, dont_fragment });
        for (high, low, expected) in [
            (0x40, 0, None),
            (0x20, 0, piece(0, true, false)),
            (0, 1, piece(8, false, false)),
            (0x60, 2, piece(16, true, true)),
            (0x1f, 0xff, piece(65_528, false, false)),
        ] {
            let network = with(|p| (p[4], p[5], p[6], p[7]) = (0x12, 0x34, high, low)).unwrap();
            assert_eq!(network.fragment, expected, "{high:02x}{low:02x}");
        }
    }

    #[test]
    fn options_are_walked() {
        let options = |four: [u8; 4]| {
            with(|p| {
                p[0] = 0x46;
                p[20..].copy_from_slice(&four);
            })
        };
        assert!(options([0x94, 4, 0, 0]).is_ok(), "router alert");
        assert!(options([1, 1, 1, 0]).is_ok());
        assert!(options([0, 131, 131, 131]).is_ok(), "nothing follows the end");
        for bad in [[131, 3, 4, 0], [1, 137, 3, 4], [7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
            assert_eq!(options(bad), Err(Malformed::BadField), "{bad:?}");
        }
    }
}
