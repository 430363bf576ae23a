//! Link types of captures: whatever they are, the engine gets Ethernet.
//!
//! <https://www.tcpdump.org/linktypes.html>

/// Octets of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// How the frames of a capture begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Ethernet (1).
    Ethernet,
    /// An IP packet without anything before it (101, 228, 229, and what BSD calls raw: 12, 14).
    RawIp,
    /// Linux "cooked" version 1 (113): 16 octets, the last two the Ethernet type.
    Cooked,
    /// Linux "cooked" version 2 (276): 20 octets, the first two the Ethernet type.
    Cooked2,
    /// BSD loopback (0, 108): four octets of address family, in the order of some host.
    Null,
}

impl Link {
    /// The link type with this number in a capture.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        match number {
            1 => Some(Link::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(Link::RawIp),
            113 => Some(Link::Cooked),
            276 => Some(Link::Cooked2),
            0 | 108 => Some(Link::Null),
            _ => None,
        }
    }

    /// The header to put before `packet` and the part of it that follows. The header is empty where the packet already
    /// is an Ethernet frame. `None` when it is too short for its link type or of a protocol that has no Ethernet type.
    #[must_use]
    pub fn to_ethernet(self, packet: &[u8]) -> Option<(Header, &[u8])> {
        match self {
            Link::Ethernet => Some((Header::NONE, packet)),
            Link::RawIp => Some((Header::new(ip_type(packet)?), packet)),
            Link::Null => {
                let rest = packet.get(4..)?;
                Some((Header::new(ip_type(rest)?), rest))
            }
            Link::Cooked => {
                let ether_type = packet.get(14..16)?;
                Some((Header::new(u16::from_be_bytes([ether_type[0], ether_type[1]])), &packet[16..]))
            }
            Link::Cooked2 => {
                let rest = packet.get(20..)?;
                Some((Header::new(u16::from_be_bytes([packet[0], packet[1]])), rest))
            }
        }
    }
}

/// An Ethernet header made up for a packet that had none, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    octets: [u8; ETHERNET_LEN],
    len: usize,
}

impl Header {
    const NONE: Header = Header { octets: [0; ETHERNET_LEN], len: 0 };

    /// Locally administered addresses, so that nobody takes them for a real card's.
    fn new(ether_type: u16) -> Self {
        let [high, low] = ether_type.to_be_bytes();
        let octets = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, high, low];
        Self { octets, len: ETHERNET_LEN }
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// The Ethernet type of an IP packet, by its version.
fn ip_type(packet: &[u8]) -> Option<u16> {
    match packet.first()? >> 4 {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(number: i32, packet: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = Link::from_number(number)?.to_ethernet(packet)?;
        Some([header.octets(), rest].concat())
    }

    #[test]
    fn every_link_type_becomes_ethernet() {
        let made_up = |ether_type: [u8; 2], rest: &[u8]| {
            [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], &ether_type[..], rest].concat()
        };
        let (v4, v6) = ([0x45, 1, 2], [0x60, 1, 2]);
        assert_eq!(convert(1, b"ethernet").unwrap(), b"ethernet");
        for number in [12, 14, 101, 228] {
            assert_eq!(convert(number, &v4).unwrap(), made_up([8, 0], &v4));
        }
        assert_eq!(convert(229, &v6).unwrap(), made_up([0x86, 0xdd], &v6));
        assert_eq!(convert(0, &[2, 0, 0, 0, 0x45, 9]).unwrap(), made_up([8, 0], &[0x45, 9]));
        assert_eq!(convert(108, &[0, 0, 0, 30, 0x60, 9]).unwrap(), made_up([0x86, 0xdd], &[0x60, 9]));
        let mut cooked = vec![0; 16];
        cooked[14..].copy_from_slice(&[0x81, 0]);
        cooked.push(7);
        assert_eq!(convert(113, &cooked).unwrap(), made_up([0x81, 0], &[7]));
        let mut cooked2 = vec![0; 20];
        cooked2[..2].copy_from_slice(&[8, 0]);
        cooked2.push(0x45);
        assert_eq!(convert(276, &cooked2).unwrap(), made_up([8, 0], &[0x45]));
    }

    #[test]
    fn too_short_or_not_ip_is_none() {
        assert_eq!(convert(147, b"whatever"), None, "a link type nobody knows");
        for number in [0, 12, 101, 108, 113, 276] {
            for len in 0..4 {
                assert_eq!(convert(number, &[0x15; 20][..len]), None, "{number} {len}");
            }
        }
        assert_eq!(convert(101, &[0x15; 40]), None);
        assert_eq!(convert(113, &[0; 15]), None);
        assert_eq!(convert(276, &[0; 19]), None);
    }
}
