//! A TCP segment: where its parts stand in the frame, and what its header says.

use super::{Endpoint, Vlan, u32_at};

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
    /// There is something beside the TCP options that [`super::edit::tidy`] would overwrite: IP options, extension
    /// headers, a reserved bit.
    pub untidy: bool,
    /// The options that matter.
    pub options: Options,
}

impl Segment {
    /// The octet after the payload: the length of the frame without trailing padding.
    #[must_use]
    pub const fn payload_end(&self) -> usize {
        self.payload_start as usize + self.payload_len as usize
    }

    /// The payload. Empty if `frame` is not the frame that this was parsed from.
    #[must_use]
    pub fn payload<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        frame.get(usize::from(self.payload_start)..self.payload_end()).unwrap_or_default()
    }

    /// The payload, to be overwritten ([`super::edit::overwrite`] keeps the checksum right, this does not).
    #[must_use]
    pub fn payload_mut<'f>(&self, frame: &'f mut [u8]) -> &'f mut [u8] {
        frame.get_mut(usize::from(self.payload_start)..self.payload_end()).unwrap_or_default()
    }

    /// Sequence numbers that the segment takes: its payload, SYN and FIN.
    #[must_use]
    pub fn seq_len(&self) -> u32 {
        u32::from(self.payload_len) + u32::from(self.flags.syn()) + u32::from(self.flags.fin())
    }

    /// Octets of the TCP header, options included.
    #[must_use]
    pub const fn tcp_header_len(&self) -> usize {
        (self.payload_start - self.tcp_start) as usize
    }

    /// The SACK blocks, in the order of the option.
    pub fn sack_blocks<'f>(&self, frame: &'f [u8]) -> impl Iterator<Item = SackBlock> + use<'f> {
        let Sack { start, count } = self.options.sack;
        let start = usize::from(start);
        let octets = frame.get(start..start + usize::from(count) * SackBlock::LEN).unwrap_or_default();
        let (blocks, _) = octets.as_chunks::<{ SackBlock::LEN }>();
        blocks.iter().map(|block| SackBlock { left: u32_at(block, 0), right: u32_at(block, 4) })
    }
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
    pub const ECE: Flags = Flags(0x40);
    pub const CWR: Flags = Flags(0x80);

    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
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

/// TCP options of a segment, as far as they may pass the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Maximum segment size; only on SYN.
    pub mss: Option<u16>,
    /// Window scale shift, at most 14 (RFC 7323); only on SYN.
    pub window_scale: Option<u8>,
    /// SACK permitted; only on SYN.
    pub sack_permitted: bool,
    /// Timestamp value and echo.
    pub timestamps: Option<Timestamps>,
    /// Where the SACK blocks stand; [`Segment::sack_blocks`] reads them.
    pub sack: Sack,
    /// There is something that [`super::edit::sanitize_options`] would overwrite: an option that may not pass, one that
    /// only SYN may have, octets after the end of the list, a window scale beyond 14.
    pub unwanted: bool,
}

/// Where the blocks of a SACK option stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sack {
    /// First octet of the first block, from the frame's first octet.
    pub start: u16,
    /// Number of blocks, 0 (there is no such option) to 4.
    pub count: u8,
}

/// A block of a SACK option: octets that the receiver has (RFC 2018).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SackBlock {
    /// Sequence number of its first octet.
    pub left: u32,
    /// Sequence number after its last octet.
    pub right: u32,
}

impl SackBlock {
    /// Octets of a block.
    pub const LEN: usize = 8;
}

/// RFC 7323 timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// The sender's clock.
    pub value: u32,
    /// Echo of the receiver's clock.
    pub echo: u32,
}
