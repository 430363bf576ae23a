//! Bytes of a frame ↔ their meaning. Judges only form; what is well-formed but unwanted is decided above.

use core::net::{IpAddr, Ipv6Addr};

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
    /// A fragment of an IP packet.
    Fragment,
    /// IP, but not TCP.
    OtherIp {
        /// Protocol number.
        protocol: u8,
        /// Source; port 0 where there is none.
        source: Endpoint,
        /// Destination; port 0 where there is none.
        destination: Endpoint,
    },
    /// Not IP (ARP, spanning tree, …).
    NotIp,
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

/// Up to two VLAN tags (TCI without priority), 0 where there is none. Part of a connection's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vlan {
    /// Identifier of the outer tag plus one, or 0.
    pub outer: u16,
    /// Identifier of the inner tag plus one, or 0.
    pub inner: u16,
}

/// Where things stand in the frame and what the TCP header says. Offsets are from the frame's first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// VLAN tags.
    pub vlan: Vlan,
    /// Sender.
    pub source: Endpoint,
    /// Receiver.
    pub destination: Endpoint,
    /// Whether the IP header is version 6.
    pub is_v6: bool,
    /// First octet of the IP header.
    pub ip_start: u16,
    /// First octet of the TCP header.
    pub tcp_start: u16,
    /// First octet of the payload.
    pub payload_start: u16,
    /// Octets of payload.
    pub payload_len: u16,
    /// Sequence number of the first octet (of SYN, if set).
    pub seq: u32,
    /// Acknowledgement number; meaningful if `flags.ack`.
    pub ack: u32,
    /// Flag bits.
    pub flags: Flags,
    /// Window as sent, not scaled.
    pub window: u16,
    /// Urgent pointer as sent.
    pub urgent: u16,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// The options that matter.
    pub options: Options,
}

/// TCP flag bits, as in octet 13 of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

#[allow(missing_docs)]
impl Flags {
    pub const FIN: Flags = Flags(0x01);
    pub const SYN: Flags = Flags(0x02);
    pub const RST: Flags = Flags(0x04);
    pub const PSH: Flags = Flags(0x08);
    pub const ACK: Flags = Flags(0x10);
    pub const URG: Flags = Flags(0x20);

    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
    #[must_use]
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN.0 != 0
    }
    #[must_use]
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN.0 != 0
    }
    #[must_use]
    pub const fn rst(self) -> bool {
        self.0 & Self::RST.0 != 0
    }
    #[must_use]
    pub const fn psh(self) -> bool {
        self.0 & Self::PSH.0 != 0
    }
    #[must_use]
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK.0 != 0
    }
    #[must_use]
    pub const fn urg(self) -> bool {
        self.0 & Self::URG.0 != 0
    }
}

/// TCP options of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale shift, at most 14 (RFC 7323).
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// Timestamp value and echo.
    pub timestamps: Option<Timestamps>,
}

/// RFC 7323 timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// Echo of the receiver's clock.
    pub echo: u32,
}
