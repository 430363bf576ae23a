//! Captures written: pcap, nanoseconds, Ethernet.

use std::io::{self, Write};

/// Writes a pcap of Ethernet frames with nanosecond time stamps.
#[derive(Debug)]
pub struct Writer<W: Write> {
    output: W,
    error: Option<io::ErrorKind>,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut output: W) -> io::Result<Self> {
        let mut header = [0; 24];
        header[..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&65_535_u32.to_le_bytes());
        header[20..].copy_from_slice(&1_u32.to_le_bytes());
        output.write_all(&header)?;
        Ok(Self { output, error: None })
    }

    /// Writes one frame, captured `nanos` after 1970 began. After an error nothing more is written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, nanos: u64, frame: &[u8]) -> io::Result<()> {
        self.check()?;
        let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        // The format has 32 bits for seconds; later ones are written as the last.
        let seconds = u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX);
        let fields = [seconds, (nanos % 1_000_000_000) as u32, len, len];
        let mut record = [0; 16];
        for (place, field) in record.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
            *place = field.to_le_bytes();
        }
        let result = self.output.write_all(&record).and_then(|()| self.output.write_all(frame));
        self.error = result.as_ref().err().map(io::Error::kind);
        result
    }

    /// Whether every frame so far could be written.
    ///
    /// # Errors
    /// The first error of [`Writer::write`].
    pub fn check(&self) -> io::Result<()> {
        self.error.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Makes what was written reach the file.
    ///
    /// # Errors
    /// When it cannot, or when an earlier frame could not be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.output.flush()
    }

    /// Where it writes to.
    pub fn get_ref(&self) -> &W {
        &self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::capture::Reader;
    use crate::port::link::Link;

    #[test]
    fn what_is_written_is_read_again() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.write(1_234_567_890_123_456_789, b"frame").unwrap();
        writer.write(u64::MAX, b"late").unwrap();
        writer.flush().unwrap();
        let mut reader = Reader::new(writer.get_ref().as_slice()).unwrap();
        let first = reader.next_packet().unwrap().unwrap();
        assert_eq!((first.nanos, first.link), (1_234_567_890_123_456_789, Link::Ethernet));
        assert_eq!(first.octets, b"frame");
        assert_eq!(reader.next_packet().unwrap().unwrap().octets, b"late");
        assert_eq!(reader.next_packet(), Ok(None));
    }

    #[test]
    fn a_full_disk_is_an_error_that_stays() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
                if self.0 < octets.len() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0 -= octets.len();
                Ok(octets.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = Writer::new(Full(30)).unwrap();
        assert!(writer.write(0, b"frame").is_err());
        assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
