//! The first half of [`super::parse`]: where a TCP segment stands in its frame and between whom it is, before anything of it is
//! believed.

use super::{Checksums, Endpoint, Network, TCP, Vlan, ethernet, headers, ipv4, pseudo_header, u16_at};

/// A whole TCP segment of which only the headers in front of TCP's were read, and its ports. Offsets are from the frame's
/// first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// Addresses of sender and receiver, as numbers; IPv4 mapped as in [`Endpoint`].
    pub addresses: [u128; 2],
    /// Ports of sender and receiver; 0 where the segment is too short to have any, which [`super::segment`] refuses.
    pub ports: [u16; 2],
    /// VLAN tags.
    pub vlan: Vlan,
    /// First octet of the IP header.
    pub ip_start: u16,
    /// First octet of the TCP header.
    pub tcp_start: u16,
    /// The octet after the payload: what follows is Ethernet's padding.
    pub end: u16,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// Whether the IP header is version 6.
    pub is_v6: bool,
    /// There is something in front of the TCP header that [`super::edit::tidy`] would overwrite.
    pub untidy: bool,
}

impl Outline {
    /// The outline of what these headers announce; `None` when that is no whole TCP segment.
    pub(super) fn new(frame: &[u8], link: &ethernet::Link, network: &Network) -> Option<Self> {
        if network.protocol != TCP || network.fragment.is_some() {
            return None;
        }
        let start = link.payload_start + network.payload_start;
        let end = link.payload_start + network.payload_end;
        let ports = frame.get(start..end).and_then(|octets| octets.first_chunk::<4>()).unwrap_or(&[0; 4]);
        // All offsets are within the frame, which is shorter than 64 KiB: checked by who read the headers.
        Some(Self {
            addresses: [network.source, network.destination].map(u128::from_be_bytes),
            ports: [u16_at(ports, 0), u16_at(ports, 2)],
            vlan: link.vlan,
            ip_start: link.payload_start as u16,
            tcp_start: start as u16,
            end: end as u16,
            ttl: network.ttl,
            is_v6: link.ethertype == ethernet::ethertype::IPV6,
            untidy: network.untidy,
        })
    }

    /// Sender.
    #[must_use]
    #[inline]
    pub fn source(&self) -> Endpoint {
        Endpoint { address: self.addresses[0].to_be_bytes(), port: self.ports[0] }
    }

    /// Receiver.
    #[must_use]
    #[inline]
    pub fn destination(&self) -> Endpoint {
        Endpoint { address: self.addresses[1].to_be_bytes(), port: self.ports[1] }
    }

    /// The TCP header and what it carries. Empty if `frame` is not the frame that this was read from.
    #[must_use]
    #[inline]
    pub fn tcp<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        frame.get(usize::from(self.tcp_start)..usize::from(self.end)).unwrap_or_default()
    }

    /// Whether the segment's TCP checksum is right.
    #[must_use]
    #[inline]
    pub fn is_sound(&self, frame: &[u8]) -> bool {
        let packet = frame.get(usize::from(self.ip_start)..).unwrap_or_default();
        let octets = self.tcp(frame);
        pseudo_header(packet, self.is_v6, octets.len()).with(octets).is_valid()
    }
}

/// The first half of [`super::parse`] for a whole TCP segment, all but TCP: `None` for every other frame, well-formed or not.
/// The checksum of an IPv4 header is verified unless trusted, TCP's is not.
#[must_use]
#[inline(never)]
pub fn outline(frame: &[u8], checksums: Checksums) -> Option<Outline> {
    let (link, network) = headers(frame, checksums).ok()??;
    Outline::new(frame, &link, &network)
}

/// The same for what nearly every frame is: TCP over IPv4, neither tagged nor with options nor a fragment. `None` for every other.
#[must_use]
#[inline]
pub fn plain_outline(frame: &[u8], checksums: Checksums) -> Option<Outline> {
    const TCP_START: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
    let (link, rest) = frame.split_first_chunk::<{ ethernet::HEADER_LEN }>()?;
    let (fixed, tcp) = rest.split_first_chunk::<{ ipv4::HEADER_LEN }>()?;
    let ports = tcp.first_chunk::<4>()?;
    let header = ipv4::Header(fixed);
    let end = ethernet::HEADER_LEN + usize::from(header.total_len());
    let is_plain = (ethernet::Header(link).ethertype() == ethernet::ethertype::IPV4)
        & header.is_plain()
        & (header.protocol() == TCP)
        & (end >= TCP_START + ports.len())
        & (end <= frame.len())
        & (frame.len() <= usize::from(u16::MAX));
    if !is_plain || checksums == Checksums::Verify && !header.is_sound() {
        return None;
    }
    Some(Outline {
        addresses: [header.source(), header.destination()]
            .map(|v4| MAPPED | u128::from(u32::from_be_bytes(v4))),
        ports: [u16_at(ports, 0), u16_at(ports, 2)],
        vlan: Vlan::default(),
        ip_start: ethernet::HEADER_LEN as u16,
        tcp_start: TCP_START as u16,
        end: end as u16,
        ttl: header.ttl(),
        is_v6: false,
        untidy: false,
    })
}

/// What an IPv4 address is mapped with (RFC 4291 section 2.5.5.2).
const MAPPED: u128 = 0xffff << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::fix_checksum;
    use proptest::prelude::*;

    /// A segment of 20 octets and 3 of payload, with padding.
    fn frame() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend_from_slice(&[0x45, 0, 0, 43, 1, 2, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7]);
        frame.extend_from_slice(&[0x9c, 0x40, 0, 25, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(b"abc\0\0\0");
        fix_checksum(&mut frame[14..34]);
        frame
    }

    proptest! {
        /// What is plain reads as every other frame does.
        #[test]
        fn the_short_look_and_the_long_one_agree(
            changes in proptest::collection::vec((12usize..38, prop_oneof![any::<u8>(), 0u8..70]), 0..3),
            len in prop_oneof![4 => Just(60usize), 1 => 0usize..60],
            mend in any::<bool>(),
        ) {
            let mut frame = frame();
            for (at, octet) in changes {
                frame[at] = octet;
            }
            if mend {
                fix_checksum(&mut frame[14..34]);
            }
            frame.truncate(len);
            for checksums in [Checksums::Verify, Checksums::Trust] {
                let short = plain_outline(&frame, checksums);
                prop_assert!(short.is_none() || short == outline(&frame, checksums), "{:?}", short);
            }
        }
    }

    #[test]
    fn a_plain_segment_is_recognised() {
        let plain = plain_outline(&frame(), Checksums::Verify).unwrap();
        assert_eq!(Some(plain), outline(&frame(), Checksums::Verify));
        assert_eq!((plain.ip_start, plain.tcp_start, plain.end), (14, 34, 57));
        assert_eq!(plain.source(), Endpoint::new([192, 0, 2, 1].into(), 40_000));
        assert_eq!(plain.destination(), Endpoint::new([198, 51, 100, 7].into(), 25));
    }
}
