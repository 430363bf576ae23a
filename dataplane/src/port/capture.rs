//! Capture files: read (pcap and pcapng, every variant) and written (pcap, nanoseconds, Ethernet).
//!
//! The reader trusts nothing: whatever is cut short or makes no sense is a [`CaptureError`] that says
//! where, after the packets before it were read. Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

use std::fmt;
use std::io::Read;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

use super::link::Link;

mod writer;

pub use writer::Writer;

/// Octets that one block of a capture may have. The format itself has no limit.
pub const BLOCK_LEN_LIMIT: usize = 1 << 20;
/// Interfaces that one section of a capture may describe.
pub const INTERFACE_LIMIT: usize = 65_536;

const NANOS: u128 = 1_000_000_000;

/// What is wrong with a capture, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureError {
    /// Octets from the start of the file to the block at fault.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at offset {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for CaptureError {}

/// One packet of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub nanos: u64,
    /// How it begins.
    pub link: Link,
    /// What was captured of it.
    pub octets: &'a [u8],
}

/// An interface of a capture: its link type and how its time stamps count.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: i32,
    units_per_second: u128,
    offset_seconds: i64,
    snap_len: u32,
}

/// Reads packets one after the other.
pub struct Reader<'r> {
    blocks: Box<dyn PcapReaderIterator + Send + 'r>,
    interfaces: Vec<Interface>,
    packet: Vec<u8>,
    last_nanos: u64,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("consumed", &self.blocks.consumed()).finish_non_exhaustive()
    }
}

/// What a block was good for.
enum Step {
    Packet { nanos: u64, link: Link },
    Other,
}

impl<'r> Reader<'r> {
    /// A reader over the octets of a capture file.
    ///
    /// # Errors
    /// When it is neither pcap nor pcapng.
    pub fn new(input: impl Read + Send + 'r) -> Result<Self, CaptureError> {
        let blocks = create_reader(BLOCK_LEN_LIMIT, input)
            .map_err(|error| CaptureError { offset: 0, what: describe(&error).to_owned() })?;
        Ok(Self { blocks, interfaces: Vec::new(), packet: Vec::new(), last_nanos: 0 })
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// What is wrong with the file; there are no further packets.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        loop {
            let offset = self.blocks.consumed();
            let fail = |what: String| Err(CaptureError { offset, what });
            let had = self.blocks.data().len();
            match self.blocks.next() {
                Ok((len, block)) => {
                    let step = take(&block, &mut self.interfaces, &mut self.packet, self.last_nanos);
                    self.blocks.consume(len);
                    match step {
                        Ok(Step::Packet { nanos, link }) => {
                            self.last_nanos = nanos;
                            return Ok(Some(Packet { nanos, link, octets: &self.packet }));
                        }
                        Ok(Step::Other) => {}
                        Err(what) => return fail(what),
                    }
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => {
                    if let Err(error) = self.blocks.refill() {
                        let what = describe(&error).to_owned();
                        return fail(what);
                    }
                    // Nothing came although the file has not ended: the block does not fit.
                    if self.blocks.data().len() == had && !self.blocks.reader_exhausted() {
                        return fail(describe::<&[u8]>(&PcapError::BufferTooSmall).to_owned());
                    }
                }
                Err(error) => {
                    let what = describe(&error).to_owned();
                    return fail(what);
                }
            }
        }
    }
}

/// What a block says; a packet's octets go to `packet`.
fn take(
    block: &PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    packet: &mut Vec<u8>,
    last_nanos: u64,
) -> Result<Step, String> {
    let mut found = |interface: &Interface, nanos: u64, octets: &[u8]| {
        let link = Link::from_number(interface.link).ok_or_else(|| {
            format!(
                "link type {} is not supported (Ethernet, raw IP, Linux cooked and loopback are)",
                interface.link
            )
        })?;
        packet.clear();
        packet.extend_from_slice(octets);
        Ok(Step::Packet { nanos, link })
    };
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let units_per_second = if header.is_nanosecond_precision() { NANOS } else { 1_000_000 };
            // The upper half of the field says how long frame check sequences are.
            let link = header.network.0 & 0xffff;
            interfaces.push(Interface {
                link,
                units_per_second,
                offset_seconds: 0,
                snap_len: header.snaplen,
            });
            Ok(Step::Other)
        }
        PcapBlockOwned::Legacy(record) => {
            let interface = interfaces.first().ok_or("a packet before the header")?;
            let units = u128::from(record.ts_sec) * interface.units_per_second + u128::from(record.ts_usec);
            found(interface, interface.nanos(units), record.data)
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            Ok(Step::Other)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
            if interfaces.len() == INTERFACE_LIMIT {
                return Err(format!("more than {INTERFACE_LIMIT} interfaces"));
            }
            let resolution = description.if_tsresol;
            let power = u32::from(resolution & 0x7f);
            let units_per_second =
                if resolution & 0x80 == 0 { 10u128.checked_pow(power) } else { 2u128.checked_pow(power) };
            interfaces.push(Interface {
                link: description.linktype.0 & 0xffff,
                units_per_second: units_per_second
                    .ok_or_else(|| format!("a clock that ticks 1e{power} times a second"))?,
                offset_seconds: description.if_tsoffset,
                snap_len: description.snaplen,
            });
            Ok(Step::Other)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(record)) => {
            let interface = interfaces
                .get(record.if_id as usize)
                .ok_or_else(|| format!("a packet of interface {}, which was not described", record.if_id))?;
            let units = u128::from(record.ts_high) << 32 | u128::from(record.ts_low);
            let len = record.data.len().min(record.caplen as usize);
            found(interface, interface.nanos(units), &record.data[..len])
        }
        PcapBlockOwned::NG(Block::SimplePacket(record)) => {
            let interface = interfaces.first().ok_or("a packet before any interface was described")?;
            let snap_len = if interface.snap_len == 0 { usize::MAX } else { interface.snap_len as usize };
            let len = record.data.len().min(record.origlen as usize).min(snap_len);
            // It has no time of its own.
            found(interface, last_nanos, &record.data[..len])
        }
        PcapBlockOwned::NG(_) => Ok(Step::Other),
    }
}

impl Interface {
    /// Nanoseconds since 1970, held within what 64 bits can say (until the year 2554).
    fn nanos(&self, units: u128) -> u64 {
        let seconds = units / self.units_per_second;
        let fraction = units % self.units_per_second;
        // With a clock finer than 1e-20 s the product does not fit; divide first, nobody sees the difference.
        let sub = fraction.checked_mul(NANOS).map_or_else(
            || fraction / (self.units_per_second / NANOS),
            |product| product / self.units_per_second,
        );
        let nanos = i128::try_from(seconds * NANOS + sub).unwrap_or(i128::MAX);
        let offset = i128::from(self.offset_seconds) * NANOS as i128;
        u64::try_from(nanos.saturating_add(offset).max(0)).unwrap_or(u64::MAX)
    }
}

fn describe<I>(error: &PcapError<I>) -> &'static str {
    match error {
        PcapError::Eof => "the file is empty",
        PcapError::BufferTooSmall => "a block longer than 1 MiB",
        PcapError::UnexpectedEof | PcapError::Incomplete(_) => "the file ends within a block",
        PcapError::ReadError => "cannot be read",
        PcapError::HeaderNotRecognized => "neither pcap nor pcapng",
        PcapError::NomError(..) | PcapError::OwnedNomError(..) => "a block that makes no sense",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::sample::pcap;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = (body.len() + 12) as u32;
        [&kind.to_le_bytes()[..], &len.to_le_bytes(), &body, &len.to_le_bytes()].concat()
    }

    fn section() -> Vec<u8> {
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        body.extend([0xff; 8]);
        block(0x0a0d_0d0a, &body)
    }

    fn interface(link: u16, options: &[u8]) -> Vec<u8> {
        let mut body = link.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.extend(65_535_u32.to_le_bytes());
        body.extend(options);
        block(1, &body)
    }

    fn enhanced(interface: u32, units: u64, octets: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        let len = octets.len() as u32;
        for word in [interface, (units >> 32) as u32, units as u32, len, len] {
            body.extend(word.to_le_bytes());
        }
        body.extend(octets);
        block(6, &body)
    }

    type Owned = (u64, Link, Vec<u8>);

    fn read(file: &[u8]) -> (Vec<Owned>, Option<CaptureError>) {
        let mut packets = Vec::new();
        let mut reader = match Reader::new(file) {
            Ok(reader) => reader,
            Err(error) => return (packets, Some(error)),
        };
        loop {
            match reader.next_packet() {
                Ok(Some(packet)) => packets.push((packet.nanos, packet.link, packet.octets.to_vec())),
                Ok(None) => return (packets, None),
                Err(error) => return (packets, Some(error)),
            }
        }
    }

    #[test]
    fn pcap_is_read() {
        let (packets, error) = read(&pcap(101, &[(7, 5, b"one"), (8, 0, b"")]));
        assert_eq!(error, None);
        assert_eq!(
            packets,
            [(7_000_005_000, Link::RawIp, b"one".to_vec()), (8_000_000_000, Link::RawIp, vec![])]
        );
    }

    #[test]
    fn big_endian_and_nanoseconds_are_read() {
        let mut file = Vec::new();
        for word in [0xa1b2_3c4d_u32, 0x0002_0004, 0, 0, 65_535, 1, 7, 5, 1, 1] {
            file.extend(word.to_be_bytes());
        }
        file.push(b'x');
        assert_eq!(read(&file), (vec![(7_000_000_005, Link::Ethernet, b"x".to_vec())], None));
    }

    #[test]
    fn pcapng_is_read_with_every_clock_and_several_interfaces() {
        let nanos_clock = [9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let binary_clock = [9, 0, 1, 0, 0x81, 0, 0, 0, 0, 0, 0, 0];
        let file = [
            section(),
            interface(1, &[]),
            interface(0, &nanos_clock),
            interface(113, &binary_clock),
            enhanced(0, 7_000_005, b"micro"),
            enhanced(1, 7_000_000_005, b"nano"),
            enhanced(2, 15, b"half"),
            block(3, &[4, 0, 0, 0, b's', b'i', b'm', b'p']),
            block(0xbad, b"unknown"),
        ]
        .concat();
        let (packets, error) = read(&file);
        assert_eq!(error, None);
        let expected: [(u64, Link, &[u8]); 4] = [
            (7_000_005_000, Link::Ethernet, b"micro"),
            (17_000_000_005, Link::Null, b"nano"),
            (7_500_000_000, Link::Cooked, b"half"),
            (7_500_000_000, Link::Ethernet, b"simp"),
        ];
        assert_eq!(packets, expected.map(|(nanos, link, octets)| (nanos, link, octets.to_vec())));
    }

    #[test]
    fn a_damaged_file_says_where() {
        assert_eq!(Reader::new(&b""[..]).unwrap_err().to_string(), "at offset 0: the file is empty");
        assert_eq!(
            Reader::new(&[b'x'; 99][..]).unwrap_err().to_string(),
            "at offset 0: neither pcap nor pcapng"
        );
        let file = pcap(1, &[(7, 5, b"one"), (8, 0, b"two")]);
        let (packets, error) = read(&file[..file.len() - 1]);
        assert_eq!(packets.len(), 1);
        assert_eq!(error.unwrap().to_string(), "at offset 43: the file ends within a block");
        let (_, error) = read(&pcap(147, &[(7, 5, b"one")]));
        assert_eq!(
            error.unwrap().to_string(),
            "at offset 24: link type 147 is not supported (Ethernet, raw IP, Linux cooked and loopback are)"
        );
        let (_, error) = read(&[section(), enhanced(3, 0, b"x")].concat());
        assert!(error.unwrap().what.contains("interface 3"));
        let huge = {
            let mut file = pcap(1, &[]);
            for word in [0_u32, 0, 0x7fff_ffff, 0x7fff_ffff] {
                file.extend(word.to_le_bytes());
            }
            file.resize(2 << 20, 0);
            file
        };
        assert_eq!(read(&huge).1.unwrap().to_string(), "at offset 24: a block longer than 1 MiB");
    }

    #[test]
    fn no_damage_panics() {
        let mut file =
            [section(), interface(1, &[9, 0, 1, 0, 0xff, 0, 0, 0]), enhanced(0, 7, b"octets")].concat();
        file.extend(enhanced(0, u64::MAX, b"more"));
        let legacy = pcap(276, &[(7, 5, b"one"), (8, 0, b"two")]);
        for file in [file, legacy] {
            for len in 0..file.len() {
                read(&file[..len]);
            }
            for position in 0..file.len() {
                for flip in [1, 0x80, 0xff] {
                    let mut copy = file.clone();
                    copy[position] ^= flip;
                    read(&copy);
                }
            }
        }
    }
}
