//! Which of several workers a frame belongs to, where a network card does not bring both directions of a connection to one.
//!
//! The two addresses decide, in either order; ports do not. So whatever passes between two hosts has one owner: both directions
//! of their connections, the fragments of a packet (of which only the first has ports), and an ICMP error, which goes
//! by what it quotes. Nothing has to be handed over twice. The price is that one pair of hosts is one worker's load.
//!
//! The hash has a key, so that nobody can choose addresses that all fall on one worker.

use siphasher::sip::SipHasher13;

use crate::wire::{TCP, ethernet, icmp, ipv4, ipv6};

/// Shares the pairs of addresses out among workers.
#[derive(Clone)]
pub struct Owners {
    hasher: SipHasher13,
    count: u64,
}

impl core::fmt::Debug for Owners {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Not the key.
        f.debug_struct("Owners").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Owners {
    /// Among `count` workers, at least one. Workers that share have the same key.
    #[must_use]
    pub fn new(count: u32, key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(key), count: u64::from(count.max(1)) }
    }

    /// How many workers share.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The number of the worker, from 0, that owns an Ethernet frame; `None` for what is not IP: any will do.
    ///
    /// Only looks where addresses stand: whether the frame is well-formed is judged by its owner.
    #[must_use]
    #[inline]
    pub fn of(&self, frame: &[u8]) -> Option<usize> {
        let link = ethernet::parse(frame).ok()?;
        let packet = frame.get(link.payload_start..)?;
        match link.ethertype {
            ethernet::ethertype::IPV4 => {
                let header = ipv4::Header(packet.first_chunk::<{ ipv4::HEADER_LEN }>()?);
                if header.protocol() != TCP
                    && let Some(owner) = self.quoted(frame)
                {
                    return Some(owner);
                }
                let [a, b] = [header.source(), header.destination()].map(u32::from_be_bytes);
                Some(self.of_v4(a, b))
            }
            ethernet::ethertype::IPV6 => {
                let header = ipv6::Header(packet.first_chunk::<{ ipv6::HEADER_LEN }>()?);
                if header.next_header() != TCP
                    && let Some(owner) = self.quoted(frame)
                {
                    return Some(owner);
                }
                Some(self.of_v6(header.source(), header.destination()))
            }
            _ => None,
        }
    }

    /// Whose the packet is that an ICMP error quotes.
    #[cold]
    fn quoted(&self, frame: &[u8]) -> Option<usize> {
        let quoted = icmp::quoted(frame)?;
        let [a, b] = [quoted.packet.source, quoted.packet.destination].map(|end| end.ip());
        Some(match (a, b) {
            (core::net::IpAddr::V4(a), core::net::IpAddr::V4(b)) => self.of_v4(a.to_bits(), b.to_bits()),
            _ => self.of_v6(quoted.packet.source.address, quoted.packet.destination.address),
        })
    }

    fn of_v4(&self, a: u32, b: u32) -> usize {
        let both = u64::from(a.min(b)) << 32 | u64::from(a.max(b));
        self.share(self.hasher.hash(&both.to_be_bytes()))
    }

    fn of_v6(&self, a: [u8; 16], b: [u8; 16]) -> usize {
        let both = [a.min(b), a.max(b)];
        self.share(self.hasher.hash(both.as_flattened()))
    }

    /// A hash as a number below `count`, without a division.
    fn share(&self, hash: u64) -> usize {
        (((hash >> 32) * self.count) >> 32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn v4(tags: usize, protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for tag in 0..tags {
            frame.extend([0x81, 0, 0, tag as u8 + 5]);
        }
        frame.extend([8, 0]);
        let mut header = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
        header.extend(from);
        header.extend(to);
        let sum = crate::wire::checksum::Sum::default().with(&header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
        frame.extend(payload);
        frame
    }

    const CLIENT: [u8; 4] = [192, 0, 2, 1];
    const SERVER: [u8; 4] = [192, 0, 2, 25];

    /// Keys that give two hosts to one worker and to the other.
    fn keys() -> impl Iterator<Item = Owners> {
        (0..32).map(|key| Owners::new(4, &[key; 16]))
    }

    #[test]
    fn whatever_passes_between_two_hosts_has_one_owner() {
        let mut fragment = v4(0, TCP, SERVER, CLIENT, &[0; 8]);
        fragment[14 + 6] = 0x20;
        let quotation = &v4(0, TCP, CLIENT, SERVER, &[0; 8])[14..];
        let error = v4(0, 1, [203, 0, 113, 1], CLIENT, &[&[3, 4, 0, 0, 0, 0, 5, 0], quotation].concat());
        for owners in keys() {
            let expected = owners.of(&v4(0, TCP, CLIENT, SERVER, &[1; 20]));
            assert!(expected.is_some_and(|owner| owner < 4));
            for frame in [
                v4(0, TCP, SERVER, CLIENT, &[2; 20]),
                v4(2, TCP, CLIENT, SERVER, &[3; 20]),
                fragment.clone(),
                error.clone(),
            ] {
                assert_eq!(owners.of(&frame), expected);
            }
        }
    }

    #[test]
    fn version_six_too_also_by_its_errors() {
        let packet = |next: u8, from: u8, to: u8, payload: &[u8]| {
            let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
            packet.extend([from; 16]);
            packet.extend([to; 16]);
            packet.extend(payload);
            packet
        };
        let frame = |packet: &[u8]| [&[0; 12][..], &[0x86, 0xdd], packet].concat();
        let there = packet(TCP, 1, 2, &[0; 20]);
        let error = packet(58, 9, 1, &[&[2, 0, 0, 0, 0, 0, 5, 0], &there[..]].concat());
        for owners in keys() {
            let expected = owners.of(&frame(&there));
            assert!(expected.is_some());
            assert_eq!(owners.of(&frame(&packet(TCP, 2, 1, &[0; 20]))), expected);
            assert_eq!(owners.of(&frame(&packet(44, 2, 1, &[0; 20]))), expected, "a fragment");
            assert_eq!(owners.of(&frame(&error)), expected);
        }
    }

    #[test]
    fn workers_get_about_as_much() {
        let owners = Owners::new(3, &[7; 16]);
        let mut counts = [0; 3];
        for client in 0..30_000_u32 {
            counts[owners.of(&v4(0, TCP, Ipv4Addr::from_bits(client).octets(), SERVER, &[])).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_is_not_ip_or_too_short_is_nobodys() {
        let owners = Owners::new(4, &[0; 16]);
        let whole = v4(1, TCP, CLIENT, SERVER, &[0; 20]);
        for len in 0..38 {
            assert_eq!(owners.of(&whole[..len]), None);
        }
        let mut arp = whole;
        arp[16..18].copy_from_slice(&[8, 6]);
        assert_eq!(owners.of(&arp), None);
    }
}
