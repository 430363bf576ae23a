//! Frames made and read apart from the gateway's own code, which is judged by them.

/// What a TCP frame is made of. Everything that a sender could get wrong is a field.
#[derive(Debug, Clone)]
pub struct Sketch<'a> {
    /// IPv6 instead of IPv4.
    pub is_v6: bool,
    /// Last octet of the source address and of the destination address.
    pub hosts: [u8; 2],
    /// Source port and destination port.
    pub ports: [u16; 2],
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Options, padded with zeros to a multiple of four.
    pub options: &'a [u8],
    /// Header length in words; `None` is the right one.
    pub data_offset: Option<u8>,
    /// Added to the TCP checksum.
    pub checksum_error: u16,
    /// Identification, for fragments.
    pub id: u16,
    /// Payload.
    pub payload: &'a [u8],
}

impl Default for Sketch<'_> {
    fn default() -> Self {
        Self {
            is_v6: false,
            hosts: [1, 2],
            ports: [40_000, 25],
            seq: 0,
            ack: 0,
            flags: ACK,
            window: 65_535,
            urgent: 0,
            ttl: 64,
            options: &[],
            data_offset: None,
            checksum_error: 0,
            id: 0,
            payload: &[],
        }
    }
}

/// Flag bits.
pub const FIN: u8 = 1;
/// Flag bits.
pub const SYN: u8 = 2;
/// Flag bits.
pub const RST: u8 = 4;
/// Flag bits.
pub const ACK: u8 = 16;
/// Flag bits.
pub const URG: u8 = 32;

const TCP: u8 = 6;
const V6_FRAGMENT: u8 = 44;
const ETHERNET_LEN: usize = 14;
const V4_LEN: usize = 20;
const V6_LEN: usize = 40;

/// The one's complement sum of RFC 1071, not yet inverted.
fn sum(start: u32, octets: &[u8]) -> u32 {
    let mut total = u64::from(start);
    for pair in octets.chunks(2) {
        total += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u32
}

fn pseudo(addresses: &[u8], len: usize) -> u32 {
    sum(u32::from(TCP) + len as u32, addresses)
}

/// Address of a host.
#[must_use]
pub fn address(is_v6: bool, host: u8) -> Vec<u8> {
    if is_v6 {
        let mut address = vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        address[15] = host;
        address
    } else {
        vec![192, 0, 2, host]
    }
}

impl Sketch<'_> {
    /// The TCP header and what follows it.
    fn tcp(&self, addresses: &[u8]) -> Vec<u8> {
        let mut options = self.options[..self.options.len().min(40)].to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = self.data_offset.unwrap_or((5 + options.len() / 4) as u8);
        let mut tcp = Vec::with_capacity(20 + options.len() + self.payload.len());
        tcp.extend_from_slice(&self.ports[0].to_be_bytes());
        tcp.extend_from_slice(&self.ports[1].to_be_bytes());
        tcp.extend_from_slice(&self.seq.to_be_bytes());
        tcp.extend_from_slice(&self.ack.to_be_bytes());
        tcp.extend_from_slice(&[words << 4, self.flags]);
        tcp.extend_from_slice(&self.window.to_be_bytes());
        tcp.extend_from_slice(&[0, 0]);
        tcp.extend_from_slice(&self.urgent.to_be_bytes());
        tcp.extend_from_slice(&options);
        tcp.extend_from_slice(self.payload);
        let checksum = !(sum(pseudo(addresses, tcp.len()), &tcp) as u16);
        tcp[16..18].copy_from_slice(&checksum.wrapping_add(self.checksum_error).to_be_bytes());
        tcp
    }

    fn addresses(&self) -> Vec<u8> {
        [address(self.is_v6, self.hosts[0]), address(self.is_v6, self.hosts[1])].concat()
    }

    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let addresses = self.addresses();
        let tcp = self.tcp(&addresses);
        self.packet(&addresses, &tcp, None)
    }

    /// The same in fragments: `cuts` are places in units of eight octets where one ends; the next one begins there, minus
    /// `overlap` units.
    #[must_use]
    pub fn fragments(&self, cuts: &[usize], overlap: usize) -> Vec<Vec<u8>> {
        let addresses = self.addresses();
        let tcp = self.tcp(&addresses);
        let mut frames = Vec::new();
        let mut start = 0;
        for end in cuts.iter().map(|cut| cut * 8).chain([tcp.len()]) {
            let end = end.min(tcp.len());
            if end <= start {
                continue;
            }
            let from = if frames.is_empty() { start } else { start.saturating_sub(overlap * 8) };
            frames.push(self.packet(&addresses, &tcp[from..end], Some((from, end < tcp.len()))));
            start = end;
            if start % 8 != 0 {
                break;
            }
        }
        frames
    }

    fn packet(&self, addresses: &[u8], part: &[u8], fragment: Option<(usize, bool)>) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, self.hosts[1], 2, 0, 0, 0, 0, self.hosts[0]];
        let field = fragment.map_or(0, |(offset, more)| offset as u16 | u16::from(more));
        if self.is_v6 {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            let extra = if fragment.is_some() { 8 } else { 0 };
            frame.extend_from_slice(&((part.len() + extra) as u16).to_be_bytes());
            frame.extend_from_slice(&[if extra > 0 { V6_FRAGMENT } else { TCP }, self.ttl]);
            frame.extend_from_slice(addresses);
            if extra > 0 {
                frame.extend_from_slice(&[TCP, 0]);
                frame.extend_from_slice(&field.to_be_bytes());
                frame.extend_from_slice(&[0, 0]);
                frame.extend_from_slice(&self.id.to_be_bytes());
            }
        } else {
            let more = field & 1;
            let field = (field / 8) | (more << 13);
            frame.extend_from_slice(&[8, 0]);
            let mut ip = vec![0x45, 0];
            ip.extend_from_slice(&((V4_LEN + part.len()) as u16).to_be_bytes());
            ip.extend_from_slice(&self.id.to_be_bytes());
            ip.extend_from_slice(&field.to_be_bytes());
            ip.extend_from_slice(&[self.ttl, TCP, 0, 0]);
            ip.extend_from_slice(addresses);
            let checksum = !(sum(0, &ip) as u16);
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend_from_slice(&ip);
        }
        frame.extend_from_slice(part);
        frame
    }
}

/// A TCP segment as a strict receiver reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading<'f> {
    /// IPv6 instead of IPv4.
    pub is_v6: bool,
    /// Source and destination address.
    pub addresses: [&'f [u8]; 2],
    /// Source and destination port.
    pub ports: [u16; 2],
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Urgent pointer.
    pub urgent: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Kinds of the options that are there, without padding.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: &'f [u8],
    /// Whether all checksums are right.
    pub is_sound: bool,
}

/// A part of a TCP segment that came as an IP fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'f> {
    /// What the fragments of one packet have in common.
    pub key: Vec<u8>,
    /// First octet of the packet's payload that is in it.
    pub offset: usize,
    /// Whether another one follows.
    pub more: bool,
    /// Its octets.
    pub octets: &'f [u8],
}

/// What a frame is to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<'f> {
    /// A TCP segment.
    Tcp(Reading<'f>),
    /// A fragment of one.
    Part(Part<'f>),
    /// Something else, or nothing that can be read.
    Other,
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

/// Reads a frame.
#[must_use]
pub fn read(frame: &[u8]) -> Read<'_> {
    read_link(frame).unwrap_or(Read::Other)
}

fn read_link(frame: &[u8]) -> Option<Read<'_>> {
    let mut at = ETHERNET_LEN - 2;
    let mut kind = u16_at(frame, at)?;
    while [0x8100, 0x88a8, 0x9100].contains(&kind) {
        at += 4;
        kind = u16_at(frame, at)?;
    }
    let packet = frame.get(at + 2..)?;
    match (kind, packet.first()? >> 4) {
        (0x0800, 4) => read_v4(packet),
        (0x86dd, 6) => read_v6(packet),
        _ => None,
    }
}

fn read_v4(packet: &[u8]) -> Option<Read<'_>> {
    let header_len = usize::from(packet[0] & 15) * 4;
    let packet = packet.get(..usize::from(u16_at(packet, 2)?))?;
    let header = packet.get(..header_len).filter(|header| header.len() >= V4_LEN)?;
    let octets = &packet[header_len..];
    if header[9] != TCP {
        return None;
    }
    let field = u16_at(header, 6)?;
    let (offset, more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
    let is_sound = sum(0, header) == 0xffff;
    if offset > 0 || more {
        let key = [&header[12..20], &header[4..6]].concat();
        return is_sound.then_some(Read::Part(Part { key, offset, more, octets }));
    }
    read_tcp(octets, [&header[12..16], &header[16..20]], header[8], false, is_sound)
}

fn read_v6(packet: &[u8]) -> Option<Read<'_>> {
    let header = packet.get(..V6_LEN)?;
    let packet = packet.get(..V6_LEN + usize::from(u16_at(header, 4)?))?;
    let (mut next, mut at) = (header[6], V6_LEN);
    loop {
        match next {
            0 | 43 | 60 => {
                next = *packet.get(at)?;
                at += 8 * (usize::from(*packet.get(at + 1)?) + 1);
            }
            V6_FRAGMENT => {
                let field = u16_at(packet, at + 2)?;
                let key = [&header[8..40], packet.get(at + 4..at + 8)?].concat();
                let (offset, more) = (usize::from(field & 0xfff8), field & 1 != 0);
                return Some(Read::Part(Part { key, offset, more, octets: packet.get(at + 8..)? }));
            }
            TCP => break,
            _ => return None,
        }
    }
    read_tcp(packet.get(at..)?, [&header[8..24], &header[24..40]], header[7], true, true)
}

fn read_tcp<'f>(
    tcp: &'f [u8],
    addresses: [&'f [u8]; 2],
    ttl: u8,
    is_v6: bool,
    is_sound: bool,
) -> Option<Read<'f>> {
    let header_len = usize::from(*tcp.get(12)? >> 4) * 4;
    let header = tcp.get(..header_len).filter(|header| header.len() >= 20)?;
    let right = sum(pseudo(&addresses.concat(), tcp.len()), tcp) == 0xffff;
    Some(Read::Tcp(Reading {
        is_v6,
        addresses,
        ports: [u16_at(tcp, 0)?, u16_at(tcp, 2)?],
        seq: u32_at(tcp, 4)?,
        ack: u32_at(tcp, 8)?,
        flags: tcp[13],
        urgent: u16_at(tcp, 18)?,
        ttl,
        options: option_kinds(&header[20..])?,
        payload: &tcp[header_len..],
        is_sound: is_sound && right,
    }))
}

fn option_kinds(mut list: &[u8]) -> Option<Vec<u8>> {
    let mut kinds = Vec::new();
    while let [kind, rest @ ..] = list {
        match kind {
            0 => break,
            1 => list = rest,
            kind => {
                let len = usize::from(*rest.first()?);
                list = list.get(len..).filter(|_| len >= 2)?;
                kinds.push(*kind);
            }
        }
    }
    Some(kinds)
}

/// Writes right checksums into whatever looks like IPv4 or IPv6 with TCP, so that octets made up get past them.
pub fn mend(frame: &mut [u8]) {
    let Some(at) = (0..3).map(|tags| ETHERNET_LEN + 4 * tags).find(|at| {
        let kind = u16_at(frame, at - 2);
        matches!(
            (kind, frame.get(*at).map(|octet| octet >> 4)),
            (Some(0x0800), Some(4)) | (Some(0x86dd), Some(6))
        )
    }) else {
        return;
    };
    let packet = &mut frame[at..];
    let (addresses, start, end) = if packet[0] >> 4 == 4 {
        let start = usize::from(packet[0] & 15) * 4;
        let end = usize::from(u16_at(packet, 2).unwrap_or(0));
        if start < V4_LEN || packet.len() < start {
            return;
        }
        packet[10..12].fill(0);
        let checksum = !(sum(0, &packet[..start]) as u16);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        (12..20, start, end)
    } else {
        (8..40, V6_LEN, V6_LEN + usize::from(u16_at(packet, 4).unwrap_or(0)))
    };
    if packet.len() < end || end < start + 20 {
        return;
    }
    let start_sum = pseudo(&packet[addresses], end - start);
    packet[start + 16..start + 18].fill(0);
    let checksum = !(sum(start_sum, &packet[start..end]) as u16);
    packet[start + 16..start + 18].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read_and_a_wrong_octet_is_seen() {
        for is_v6 in [false, true] {
            let options = [2, 4, 5, 180, 1, 1];
            let sketch =
                Sketch { is_v6, seq: 7, flags: SYN, options: &options, payload: b"abc", ..Sketch::default() };
            let mut frame = sketch.frame();
            let Read::Tcp(reading) = read(&frame) else { panic!("a segment") };
            assert!(reading.is_sound && reading.payload == b"abc" && reading.options == [2]);
            assert_eq!((reading.seq, reading.ports), (7, [40_000, 25]));
            let last = frame.len() - 1;
            frame[last] ^= 1;
            assert!(matches!(read(&frame), Read::Tcp(reading) if !reading.is_sound));
            mend(&mut frame);
            assert!(matches!(read(&frame), Read::Tcp(reading) if reading.is_sound));
        }
    }

    #[test]
    fn fragments_make_the_whole() {
        for is_v6 in [false, true] {
            let sketch = Sketch { is_v6, payload: &[b'x'; 40], ..Sketch::default() };
            for overlap in [0, 1] {
                let frames = sketch.fragments(&[2, 4], overlap);
                let mut whole = Vec::new();
                for frame in &frames {
                    let Read::Part(part) = read(frame) else { panic!("a fragment") };
                    assert_eq!(whole.len() - part.offset, if whole.is_empty() { 0 } else { overlap * 8 });
                    whole.truncate(part.offset);
                    whole.extend_from_slice(part.octets);
                    assert_eq!(part.more, whole.len() < 60);
                }
                assert_eq!((frames.len(), whole.len()), (3, 60));
            }
        }
    }
}
