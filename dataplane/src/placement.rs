//! By which port a frame of a capture came in.
//!
//! Between two named sets of addresses, by its source. Else by who opened its connection: the initiator is on the
//! first port.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use inspect::unit::PortId;
use inspect::wire::Endpoint;

/// An address and a prefix length, such as `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: u128,
    /// Of the IPv4-mapped or IPv6 address: 0 to 128.
    prefix: u32,
    is_v4: bool,
}

impl Cidr {
    /// Whether `address` (IPv4 mapped) is in it.
    #[must_use]
    pub fn contains(&self, address: &[u8; 16]) -> bool {
        let differing = u128::from_be_bytes(*address) ^ self.address;
        differing.checked_shr(128 - self.prefix).unwrap_or(0) == 0
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
        let (mapped, width) = match address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 32),
            IpAddr::V6(v6) => (v6, 128),
        };
        let prefix: u32 = match prefix {
            None => width,
            Some(text) => text
                .parse()
                .ok()
                .filter(|prefix| *prefix <= width)
                .ok_or_else(|| format!("`{text}` is not a prefix length from 0 to {width}"))?,
        };
        Ok(Self { address: u128::from(mapped), prefix: prefix + 128 - width, is_v4: width == 32 })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from(self.address);
        match address.to_ipv4_mapped().filter(|_| self.is_v4) {
            Some(v4) => write!(f, "{v4}/{}", self.prefix - 96),
            None => write!(f, "{address}/{}", self.prefix),
        }
    }
}

/// Two ends of a connection and its protocol, the smaller end first.
type Connection = (Endpoint, Endpoint, u8);

/// Decides by which port a frame came in.
#[derive(Debug)]
pub struct Placement {
    zones: Vec<(Cidr, PortId)>,
    smtp_ports: Vec<u16>,
    /// Whether the smaller end of a connection is the initiator.
    initiators: HashMap<Connection, bool>,
}

impl Placement {
    /// The initiator of each connection is on port A. `smtp_ports` help where its start was not captured.
    #[must_use]
    pub fn by_initiator(smtp_ports: &[u16]) -> Self {
        Self { zones: Vec::new(), smtp_ports: smtp_ports.to_vec(), initiators: HashMap::new() }
    }

    /// An address is on the port of the most specific prefix that has it; a frame with an unnamed source is on the
    /// other side of its destination. Where neither is named, by initiator.
    #[must_use]
    pub fn by_zone(mut zones: Vec<(Cidr, PortId)>, smtp_ports: &[u16]) -> Self {
        zones.sort_by_key(|(cidr, _)| std::cmp::Reverse(cidr.prefix));
        Self { zones, ..Self::by_initiator(smtp_ports) }
    }

    /// The port by which `frame` (Ethernet) came in. What is not IP comes in by port A.
    pub fn place(&mut self, frame: &[u8]) -> PortId {
        let Some(seen) = Seen::in_frame(frame) else { return PortId::A };
        let zone = |end: &Endpoint| {
            self.zones.iter().find(|(cidr, _)| cidr.contains(&end.address)).map(|(_, port)| *port)
        };
        if let Some(port) = zone(&seen.source) {
            return port;
        }
        if let Some(port) = zone(&seen.destination) {
            return port.other();
        }
        let from_smaller = seen.source <= seen.destination;
        let connection = if from_smaller {
            (seen.source, seen.destination, seen.protocol)
        } else {
            (seen.destination, seen.source, seen.protocol)
        };
        let initiator_sent = match seen.opens {
            Some(initiator_sent) => initiator_sent,
            None if self.smtp_ports.contains(&seen.destination.port) => true,
            None => !self.smtp_ports.contains(&seen.source.port),
        };
        let smaller_began = if seen.opens == Some(true) {
            // A new connection on the same ports, perhaps from the other side.
            self.initiators.insert(connection, from_smaller);
            from_smaller
        } else {
            *self.initiators.entry(connection).or_insert(initiator_sent == from_smaller)
        };
        if smaller_began == from_smaller { PortId::A } else { PortId::B }
    }
}

/// What placing needs to know of a frame.
struct Seen {
    source: Endpoint,
    destination: Endpoint,
    protocol: u8,
    /// SYN: the sender opens the connection. SYN with ACK: the receiver does.
    opens: Option<bool>,
}

impl Seen {
    /// Only looks: whether the frame is well-formed is the engine's to judge.
    fn in_frame(frame: &[u8]) -> Option<Seen> {
        let mut ether_type = 12;
        while matches!(frame.get(ether_type..ether_type + 2)?, [0x81, 0] | [0x88, 0xa8] | [0x91, 0]) {
            ether_type += 4;
        }
        let packet = frame.get(ether_type + 2..)?;
        let address = |range: std::ops::Range<usize>| packet.get(range);
        let v4 = |octets: &[u8]| Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?));
        let v6 = |octets: &[u8]| Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?));
        let (source, destination, protocol, payload) = match packet.first()? >> 4 {
            4 => {
                let header_len = usize::from(packet[0] & 15) * 4;
                (v4(address(12..16)?)?, v4(address(16..20)?)?, *packet.get(9)?, packet.get(header_len..))
            }
            6 => {
                let (protocol, payload) = skip_extensions(*packet.get(6)?, packet.get(40..)?);
                (v6(address(8..24)?)?, v6(address(24..40)?)?, protocol, Some(payload))
            }
            _ => return None,
        };
        let payload = payload.unwrap_or_default();
        let has_ports = matches!(protocol, 6 | 17);
        let port = |start: usize| match payload.get(start..start + 2) {
            Some(octets) if has_ports => u16::from_be_bytes([octets[0], octets[1]]),
            _ => 0,
        };
        let opens = match payload.get(13) {
            Some(flags) if protocol == 6 && flags & 0x02 != 0 => Some(flags & 0x10 == 0),
            _ => None,
        };
        Some(Seen {
            source: Endpoint::new(source, port(0)),
            destination: Endpoint::new(destination, port(2)),
            protocol,
            opens,
        })
    }
}

/// Steps over IPv6 hop-by-hop, routing and destination options.
fn skip_extensions(mut protocol: u8, mut payload: &[u8]) -> (u8, &[u8]) {
    while matches!(protocol, 0 | 43 | 60) {
        let [next, len, ..] = *payload else { break };
        let Some(rest) = payload.get(usize::from(len) * 8 + 8..) else { break };
        (protocol, payload) = (next, rest);
    }
    (protocol, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP segment's headers from 10.0.0.`from.0` to 10.0.0.`to.0`, behind a VLAN tag.
    fn segment(from: (u8, u16), to: (u8, u16), flags: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0, 0, 5, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend([10, 0, 0, from.0, 10, 0, 0, to.0]);
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend([0; 9]);
        frame.push(flags);
        frame.extend([0; 6]);
        frame
    }

    const SYN: u8 = 2;
    const ACK: u8 = 16;

    #[test]
    fn the_initiator_is_on_the_first_port() {
        for (client, server) in [(1, 2), (2, 1)] {
            let mut placement = Placement::by_initiator(&[25]);
            let (client, server) = ((client, 40_000), (server, 2525));
            assert_eq!(placement.place(&segment(client, server, SYN)), PortId::A);
            assert_eq!(placement.place(&segment(server, client, SYN | ACK)), PortId::B);
            assert_eq!(placement.place(&segment(client, server, ACK)), PortId::A);
            // The same ports again, opened by the other side.
            assert_eq!(placement.place(&segment(server, client, SYN)), PortId::A);
            assert_eq!(placement.place(&segment(client, server, ACK)), PortId::B);
        }
    }

    #[test]
    fn without_a_start_the_smtp_port_or_the_first_sender_decides() {
        let mut placement = Placement::by_initiator(&[25]);
        assert_eq!(placement.place(&segment((2, 25), (1, 9), ACK)), PortId::B);
        assert_eq!(placement.place(&segment((1, 9), (2, 25), ACK)), PortId::A);
        assert_eq!(placement.place(&segment((2, 80), (1, 9), ACK)), PortId::A);
        assert_eq!(placement.place(&segment((1, 9), (2, 80), ACK)), PortId::B);
        assert_eq!(placement.place(&segment((3, 80), (1, 9), SYN | ACK)), PortId::B);
    }

    #[test]
    fn zones_decide_by_the_longest_prefix() {
        let zones =
            vec![("10.0.0.0/8".parse().unwrap(), PortId::A), ("10.0.0.2".parse().unwrap(), PortId::B)];
        let mut placement = Placement::by_zone(zones, &[25]);
        assert_eq!(placement.place(&segment((2, 9), (1, 25), SYN)), PortId::B);
        assert_eq!(placement.place(&segment((1, 25), (2, 9), SYN | ACK)), PortId::A);
        let zones = vec![("10.0.0.2".parse().unwrap(), PortId::B)];
        let mut placement = Placement::by_zone(zones, &[25]);
        assert_eq!(
            placement.place(&segment((1, 9), (2, 25), SYN)),
            PortId::A,
            "the other side of its destination"
        );
    }

    #[test]
    fn ipv6_behind_extension_headers_is_seen() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 28, 0, 64]);
        frame.extend([0x20; 16]);
        frame.extend([0x10; 16]);
        frame.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([0, 9, 0, 25]);
        frame.extend([0; 9]);
        frame.extend([SYN, 0, 0, 0, 0, 0, 0]);
        let mut placement = Placement::by_initiator(&[25]);
        assert_eq!(placement.place(&frame), PortId::A);
        let seen = Seen::in_frame(&frame).unwrap();
        assert_eq!((seen.protocol, seen.source.port, seen.destination.port), (6, 9, 25));
        for len in 0..frame.len() {
            placement.place(&frame[..len]);
        }
    }

    #[test]
    fn prefixes_are_read_and_written() {
        for text in ["192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("192.0.2.1".parse::<Cidr>().unwrap().to_string(), "192.0.2.1/32");
        for (text, error) in [
            ("mail", "`mail` is not an IP address"),
            ("192.0.2.0/33", "`33` is not a prefix length from 0 to 32"),
            ("::/129", "`129` is not a prefix length from 0 to 128"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap_err(), error);
        }
        let everything: Cidr = "::/0".parse().unwrap();
        assert!(everything.contains(&[0xff; 16]));
    }
}
