//! ICMP: errors and what they quote, requests and answers (RFC 792, RFC 4443).
//!
//! A path that carries smaller packets than its ends believe says so by ICMP; whoever drops that stalls every large mail
//! (RFC 2923). So errors that belong to a session pass with it.

use super::{Checksums, Other, TCP, ethernet, ipv4, ipv6, u16_at, u32_at};

/// Octets of an ICMP header before what it quotes.
const HEADER_LEN: usize = 8;
/// Protocol number of ICMP.
pub(crate) const ICMP: u8 = 1;
/// Protocol number of ICMPv6.
pub(crate) const ICMPV6: u8 = 58;

/// A message that asks for an answer, or that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Type of the message that asks: echo, timestamp, information or address mask.
    pub kind: u8,
    /// Whether this is the one that asks.
    pub asks: bool,
    /// The same in both.
    pub identifier: u16,
}

/// What a message asks or answers; `None` for every other message and protocol. RFC 792 for echo, timestamp and
/// information, RFC 950 for the address mask, RFC 4443 section 4 for echo in ICMPv6.
pub(super) fn query(protocol: u8, is_v6: bool, message: &[u8]) -> Option<Query> {
    let head = message.first_chunk::<HEADER_LEN>()?;
    let (kind, asks) = match (protocol, is_v6, head[0]) {
        (ICMP, false, asks @ (8 | 13 | 15 | 17)) => (asks, true),
        (ICMP, false, 0) => (8, false),
        (ICMP, false, answers @ (14 | 16 | 18)) => (answers - 1, false),
        (ICMPV6, true, 128) => (128, true),
        (ICMPV6, true, 129) => (128, false),
        _ => return None,
    };
    Some(Query { kind, asks, identifier: u16_at(head, 4) })
}

/// The packet that an ICMP error quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// Address that the error is sent to.
    pub receiver: [u8; 16],
    /// What is quoted, TCP too; its VLAN tags are those of the error.
    pub packet: Other,
    /// Sequence number, if it is TCP.
    pub seq: u32,
}

/// What the ICMP error in this frame quotes; `None` for any other frame, and for errors about a fragment or
/// less than eight octets of a payload. The errors are: unreachable (too big among them), time exceeded, parameter problem.
#[must_use]
pub fn quoted(frame: &[u8]) -> Option<Quoted> {
    let link = ethernet::parse(frame).ok()?;
    let packet = &frame[link.payload_start..];
    let is_v6 = link.ethertype == ethernet::ethertype::IPV6;
    let network = match link.ethertype {
        ethernet::ethertype::IPV4 => ipv4::parse(packet, Checksums::Verify).ok()?,
        ethernet::ethertype::IPV6 => ipv6::parse(packet).ok()?,
        _ => return None,
    };
    let message = packet.get(network.payload_start..network.payload_end)?;
    let is_error = match (network.protocol, *message.first()?) {
        (ICMP, kind) if !is_v6 => matches!(kind, 3 | 11 | 12),
        (ICMPV6, kind) if is_v6 => matches!(kind, 1..=4),
        _ => false,
    };
    if !is_error || network.fragment.is_some() {
        return None;
    }
    let inner = message.get(HEADER_LEN..)?;
    // The quotation is cut short, so its lengths and checksums say nothing about it.
    let (protocol, addresses, payload) = if is_v6 {
        let header = ipv6::Header(inner.first_chunk::<{ ipv6::HEADER_LEN }>()?);
        if header.version() != 6 {
            return None;
        }
        let addresses = [header.source(), header.destination()];
        (header.next_header(), addresses, inner.get(ipv6::HEADER_LEN..)?)
    } else {
        let header = ipv4::Header(inner.first_chunk::<{ ipv4::HEADER_LEN }>()?);
        if header.version() != 4 || header.is_fragment() {
            return None;
        }
        let mapped = |address| core::net::Ipv4Addr::from(address).to_ipv6_mapped().octets();
        let addresses = [mapped(header.source()), mapped(header.destination())];
        (header.protocol(), addresses, inner.get(header.header_len()..)?)
    };
    let head = payload.first_chunk::<8>()?;
    let packet = Other::new(link.vlan, addresses, protocol, is_v6, head);
    let seq = if protocol == TCP { u32_at(head, 4) } else { 0 };
    Some(Quoted { receiver: network.destination, packet, seq })
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::*;

    fn error(kind: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        // A router, 203.0.113.1, tells 192.0.2.1 that its segment to 192.0.2.2 was too big.
        let mut outer = vec![0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 1, 192, 0, 2, 1];
        let sum = super::super::checksum::Sum::default().with(&outer).checksum();
        outer[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(&outer);
        frame.extend_from_slice(&[kind, 4, 0, 0, 0, 0, 5, 120]);
        frame.extend_from_slice(&[0x45, 0, 5, 220, 0, 0, 0x40, 0, 60, 6, 9, 9, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend_from_slice(&[0x9c, 0x40, 0, 25, 0, 0, 1, 2]);
        frame
    }

    #[test]
    fn the_quoted_segment_is_found() {
        let quoted = quoted(&error(3)).unwrap();
        assert_eq!(quoted.packet.source, Endpoint::new("192.0.2.1".parse().unwrap(), 40_000));
        assert_eq!(quoted.packet.destination, Endpoint::new("192.0.2.2".parse().unwrap(), 25));
        assert_eq!(quoted.seq, 258);
        assert_eq!(quoted.receiver, quoted.packet.source.address);
    }

    #[test]
    fn what_is_no_error_or_cut_too_short_quotes_nothing() {
        assert_eq!(quoted(&error(8)), None, "an echo request");
        let whole = error(3);
        for len in 0..whole.len() {
            assert_eq!(quoted(&whole[..len]), None, "{len} octets");
        }
    }
}
