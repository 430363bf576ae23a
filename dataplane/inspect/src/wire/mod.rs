//! Bytes of a frame ↔ their meaning. Judges only form; what is well-formed but unwanted is decided above.
//!
//! [`parse`] says where things stand in a received frame; the functions of [`edit`] change a frame in place and its
//! [`Segment`] with it; [`emit`] makes new frames of a connection. One file per protocol has the view of its
//! header.

pub mod checksum;
pub mod edit;
pub mod emit;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
mod outline;
mod segment;
pub mod tcp;

pub use outline::{Outline, outline, plain_outline};
pub use segment::{Flags, Options, Sack, SackBlock, Segment, Timestamps};

use core::net::{IpAddr, Ipv6Addr};

/// Protocol number of TCP.
pub(crate) const TCP: u8 = 6;

/// Whether checksums are verified on receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// A wrong IPv4 header or TCP checksum is [`Malformed::Checksum`].
    Verify,
    /// They are not looked at: the NIC has verified them, or the sender (a local stack) has left them to its NIC.
    Trust,
}

/// An address and a TCP port; IPv4 as IPv4-mapped IPv6, so that one key fits both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address, IPv4 mapped to `::ffff:a.b.c.d`.
    pub address: [u8; 16],
    /// Port, 0 where the protocol has none.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint.
    #[must_use]
    pub fn new(address: IpAddr, port: u16) -> Self {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { address: address.octets(), port }
    }

    /// The address as people write it.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        let v6 = Ipv6Addr::from(self.address);
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    }
}

impl core::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", core::net::SocketAddr::new(self.ip(), self.port))
    }
}

/// What a frame is, as far as the gateway cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// A whole TCP segment.
    Tcp(Segment),
    /// A fragment of an IP packet; an IPv6 atomic fragment is one.
    Fragment(Fragment),
    /// IP, but not TCP.
    OtherIp(Other),
    /// IPv6 neighbour discovery: what ARP is to IPv4, and as little a matter of policy.
    Neighbor,
    /// Not IP (ARP, spanning tree, …).
    NotIp,
}

/// A whole IP packet that is not TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// VLAN tags.
    pub vlan: Vlan,
    /// Protocol number.
    pub protocol: u8,
    /// Source; port 0 where there is none.
    pub source: Endpoint,
    /// Destination; port 0 where there is none.
    pub destination: Endpoint,
    /// What an ICMP message asks or answers.
    pub query: Option<icmp::Query>,
}

impl Other {
    /// Whether it is ICMP or ICMPv6.
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol, icmp::ICMP | icmp::ICMPV6)
    }

    /// Takes the beginning of a packet's payload.
    fn new(
        vlan: Vlan,
        [source, destination]: [[u8; 16]; 2],
        protocol: u8,
        is_v6: bool,
        payload: &[u8],
    ) -> Self {
        let ports = ports(protocol, payload);
        Self {
            vlan,
            protocol,
            source: Endpoint { address: source, port: ports.0 },
            destination: Endpoint { address: destination, port: ports.1 },
            query: icmp::query(protocol, is_v6, payload),
        }
    }
}

/// Why a frame is not well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its headers say.
    Truncated,
    /// A length or version field that cannot be.
    BadField,
    /// IPv4 header or TCP checksum.
    Checksum,
}

/// Up to two VLAN tags (identifiers without priority), 0 where there is none. Part of a connection's identity.
/// Priority tags (identifier 0) are left out, since a receiver leaves them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vlan {
    /// Identifier of the outer tag plus one, or 0.
    pub outer: u16,
    /// Identifier of the inner tag plus one, or 0.
    pub inner: u16,
}

/// What an IP header says; offsets from its first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Source, IPv4 mapped as in [`Endpoint`].
    pub source: [u8; 16],
    /// Destination, IPv4 mapped as in [`Endpoint`].
    pub destination: [u8; 16],
    /// TTL or hop limit.
    pub ttl: u8,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// First octet of the payload, after options and extension headers.
    pub payload_start: usize,
    /// The octet after the packet's last.
    pub payload_end: usize,
    /// What it says of a fragment; `None` of a whole packet.
    pub fragment: Option<Piece>,
    /// There is something that [`edit::tidy`] would overwrite: options, extension headers, a reserved bit.
    pub untidy: bool,
}

/// What an IP header says of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The same in all fragments of a datagram; 16 bits in IPv4.
    pub identification: u32,
    /// Octets of the datagram's payload in front of this fragment's.
    pub offset: u16,
    /// Others follow.
    pub more: bool,
    /// It says that it must not be one (IPv4).
    pub dont_fragment: bool,
}

/// A fragment: where things stand in the frame and which datagram it is of. Offsets are from the frame's first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// VLAN tags.
    pub vlan: Vlan,
    /// Source, IPv4 mapped as in [`Endpoint`].
    pub source: [u8; 16],
    /// Destination, IPv4 mapped as in [`Endpoint`].
    pub destination: [u8; 16],
    /// Whether the IP header is version 6.
    pub is_v6: bool,
    /// Protocol number of the datagram's payload; of IPv6, only the first fragment's counts (RFC 8200 section 4.5).
    pub protocol: u8,
    /// Which of how many.
    pub piece: Piece,
    /// First octet of the IP header.
    pub ip_start: u16,
    /// First octet of the fragment's payload.
    pub payload_start: u16,
    /// Octets of payload.
    pub payload_len: u16,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
}

/// Says what a frame is, from its first octet of Ethernet on. Octets after the IP packet (padding) do not matter.
///
/// # Errors
/// [`Malformed`] for everything that two receivers, or a receiver and this gateway, could read differently: lengths that
/// contradict each other, source routes, a third VLAN tag, IP behind LLC/SNAP, extension headers out of order, option
/// lists that cannot be walked or name an option twice, and wrong checksums unless they are trusted.
#[inline]
pub fn parse(frame: &[u8], checksums: Checksums) -> Result<Packet, Malformed> {
    let Some((link, network)) = headers(frame, checksums)? else { return Ok(Packet::NotIp) };
    if let Some(outline) = Outline::new(frame, &link, &network) {
        return segment(frame, &outline, checksums).map(Packet::Tcp);
    }
    let is_v6 = link.ethertype == ethernet::ethertype::IPV6;
    if let Some(piece) = network.fragment {
        return Ok(Packet::Fragment(Fragment {
            vlan: link.vlan,
            source: network.source,
            destination: network.destination,
            is_v6,
            protocol: network.protocol,
            piece,
            ip_start: link.payload_start as u16,
            payload_start: (link.payload_start + network.payload_start) as u16,
            payload_len: (network.payload_end - network.payload_start) as u16,
            ttl: network.ttl,
        }));
    }
    let payload = &frame[link.payload_start..][network.payload_start..network.payload_end];
    if network.protocol == icmp::ICMPV6
        && network.ttl == NEIGHBOR_HOPS
        && payload.first().is_some_and(is_neighbor)
    {
        return Ok(Packet::Neighbor);
    }
    let addresses = [network.source, network.destination];
    Ok(Packet::OtherIp(Other::new(link.vlan, addresses, network.protocol, is_v6, payload)))
}

/// The second half of [`parse`]: TCP, with its options and checksum, of a frame that has this outline.
///
/// # Errors
/// As [`parse`].
#[inline]
pub fn segment(frame: &[u8], outline: &Outline, checksums: Checksums) -> Result<Segment, Malformed> {
    let octets = outline.tcp(frame);
    let (fixed, whole) = tcp::header(octets)?;
    if checksums == Checksums::Verify && !outline.is_sound(frame) {
        return Err(Malformed::Checksum);
    }
    let header = tcp::Header(fixed);
    let flags = header.flags();
    let list_start = outline.tcp_start + tcp::HEADER_LEN as u16;
    Ok(Segment {
        vlan: outline.vlan,
        source: outline.source(),
        destination: outline.destination(),
        is_v6: outline.is_v6,
        ip_start: outline.ip_start,
        tcp_start: outline.tcp_start,
        payload_start: outline.tcp_start + whole.len() as u16,
        payload_len: (octets.len() - whole.len()) as u16,
        seq: header.seq(),
        ack: header.ack(),
        flags,
        window: header.window(),
        urgent: header.urgent(),
        ttl: outline.ttl,
        untidy: outline.untidy || header.reserved() != 0,
        options: tcp::options(&whole[tcp::HEADER_LEN..], list_start, flags.syn())?,
    })
}

/// The headers of link and network; `None` of what is not IP.
#[inline]
fn headers(frame: &[u8], checksums: Checksums) -> Result<Option<(ethernet::Link, Network)>, Malformed> {
    // Offsets are 16 bits wide, and no link has such frames.
    if frame.len() > usize::from(u16::MAX) {
        return Err(Malformed::BadField);
    }
    let link = ethernet::parse(frame)?;
    let packet = &frame[link.payload_start..];
    let network = match link.ethertype {
        ethernet::ethertype::IPV4 => ipv4::parse(packet, checksums)?,
        ethernet::ethertype::IPV6 => ipv6::parse(packet)?,
        _ => return Ok(None),
    };
    Ok(Some((link, network)))
}

/// The hop limit that shows that no router forwarded the packet (RFC 4861 section 6.1.1).
const NEIGHBOR_HOPS: u8 = 255;

/// Router and neighbour solicitation and advertisement, and redirect (RFC 4861 section 4).
fn is_neighbor(icmp_type: &u8) -> bool {
    (133..=137).contains(icmp_type)
}

/// The part of a TCP checksum that comes from the IP header at the start of `packet`.
fn pseudo_header(packet: &[u8], is_v6: bool, tcp_len: usize) -> checksum::Sum {
    let tcp_len = tcp_len as u16;
    if is_v6 {
        packet.first_chunk().map(|fixed| ipv6::Header(fixed).pseudo_header(tcp_len)).unwrap_or_default()
    } else {
        packet.first_chunk().map(|fixed| ipv4::Header(fixed).pseudo_header(tcp_len)).unwrap_or_default()
    }
}

/// Ports of the protocols that have them where TCP has them, and of TCP: UDP, DCCP, SCTP, UDP-Lite.
fn ports(protocol: u8, payload: &[u8]) -> (u16, u16) {
    match payload.first_chunk::<4>() {
        Some(octets) if matches!(protocol, TCP | 17 | 33 | 132 | 136) => {
            (u16_at(octets, 0), u16_at(octets, 2))
        }
        _ => (0, 0),
    }
}

#[inline]
fn u16_at<const N: usize>(octets: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

#[inline]
fn u32_at<const N: usize>(octets: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

#[cfg(test)]
mod tests;
