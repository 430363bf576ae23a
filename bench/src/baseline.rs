//! What the machine itself can do with the same octets: copying them, and scanning them with nothing around.

use core::ops::ControlFlow;

use base64_simd::{Out, STANDARD_NO_PAD};
use hyperscan::compile::{Mode, compile};
use hyperscan::{Database, Scratch, Stream};
use inspect::unit::PortId;

use crate::measure::Stopwatch;
use crate::patterns::{Target, patterns};
use crate::traffic::Trace;

/// Octets between the places that frames are copied to, and how many places: more than a cache holds.
const CHUNK_LEN: usize = 2048;
const CHUNK_COUNT: usize = 65_536;

/// Copies frames, each to a chunk of its own, round and round.
#[derive(Debug)]
pub struct Copier {
    ring: Vec<u8>,
}

impl Default for Copier {
    fn default() -> Self {
        Self { ring: vec![1; CHUNK_LEN * CHUNK_COUNT] }
    }
}

impl Copier {
    /// Copies every frame once; seconds.
    pub fn lap(&mut self, trace: &Trace) -> f64 {
        let mut watch = Stopwatch::default();
        watch.time(|| {
            for (entry, chunk) in trace.entries().iter().zip((0..CHUNK_COUNT).cycle()) {
                let frame = trace.frame(entry);
                let start = chunk * CHUNK_LEN;
                self.ring[start..start + frame.len()].copy_from_slice(frame);
            }
            core::hint::black_box(&mut self.ring);
        });
        watch.total().as_secs_f64()
    }
}

/// Scans payload in the order of the frames, with nothing around it.
#[derive(Debug)]
pub struct Scanner {
    stream: Database,
    block: Option<Database>,
    scratch: Scratch,
    /// For each slot and direction, reset after each session.
    streams: Vec<[Stream; 2]>,
}

/// What a lap of a [`Scanner`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scanned {
    /// Processor time.
    pub seconds: f64,
    /// Matches reported.
    pub hits: u64,
}

impl Scanner {
    /// A scanner for the first `count` patterns of a set.
    ///
    /// # Errors
    /// What the library says.
    pub fn new(target: Target, count: usize) -> Result<Self, String> {
        let texts = patterns(target, count);
        let numbered: Vec<_> = texts.iter().zip(0..).map(|(text, id)| (text.as_str(), id)).collect();
        let block = compile(&numbered, Mode::Block)?;
        let mut scanner = Self::of(compile(&numbered, Mode::Stream)?)?;
        scanner.scratch.fit(&block).map_err(|error| error.to_string())?;
        scanner.block = Some(block);
        Ok(scanner)
    }

    /// A scanner with a database in streaming mode; it has no blocks.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn of(stream: Database) -> Result<Self, String> {
        let mut scratch = Scratch::new();
        scratch.fit(&stream).map_err(|error| error.to_string())?;
        Ok(Self { stream, block: None, scratch, streams: Vec::new() })
    }

    /// Makes streams for all slots of a trace, and says how many these are.
    fn open_streams(&mut self, trace: &Trace) -> Result<usize, hyperscan::Error> {
        let slots = trace.entries().iter().map(|entry| usize::from(entry.slot) + 1).max().unwrap_or(0);
        while self.streams.len() < slots {
            self.streams.push([Stream::open(&self.stream)?, Stream::open(&self.stream)?]);
        }
        Ok(slots)
    }

    /// Scans all payload of both directions: one stream for each direction of each session.
    ///
    /// # Errors
    /// What the library says.
    pub fn stream_lap(&mut self, trace: &Trace) -> Result<Scanned, hyperscan::Error> {
        self.open_streams(trace)?;
        let (mut hits, mut watch) = (0, Stopwatch::default());
        let Self { streams, scratch, .. } = self;
        watch.time(|| {
            for entry in trace.entries() {
                let payload = trace.payload(entry);
                let both = &mut streams[usize::from(entry.slot)];
                if !payload.is_empty() {
                    both[usize::from(entry.port == PortId::B)].scan(payload, scratch, |_| {
                        hits += 1;
                        ControlFlow::Continue(())
                    })?;
                }
                if entry.is_last {
                    for stream in both {
                        stream.reset(scratch, |_| {
                            hits += 1;
                            ControlFlow::Continue(())
                        })?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(Scanned { seconds: watch.total().as_secs_f64(), hits })
    }

    /// Decodes what clients send as base64, segment by segment, and scans what comes out of it, each session as a stream: what
    /// cannot be less. Where a segment is no base64 (commands, headers) it is left out.
    ///
    /// # Errors
    /// What the library says.
    pub fn decoding_lap(&mut self, trace: &Trace) -> Result<Scanned, hyperscan::Error> {
        let slots = self.open_streams(trace)?;
        let (mut hits, mut watch) = (0, Stopwatch::default());
        // For each slot: letters of groups that the next segment completes.
        let mut letters = vec![Vec::with_capacity(2048); slots];
        let mut decoded = vec![0; 2048];
        let Self { streams, scratch, .. } = self;
        let mut found = |_| {
            hits += 1;
            ControlFlow::Continue(())
        };
        watch.time(|| {
            for entry in trace.entries() {
                let letters = &mut letters[usize::from(entry.slot)];
                let [stream, _] = &mut streams[usize::from(entry.slot)];
                if entry.port == PortId::A {
                    let (payload, mut start) = (trace.payload(entry), 0);
                    for end in memchr::memchr_iter(b'\n', payload) {
                        let line = &payload[start..end];
                        letters.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                        start = end + 1;
                    }
                    let last = &payload[start..];
                    let last = last.strip_suffix(b"\r").unwrap_or(last);
                    letters.extend_from_slice(last);
                    let groups = letters.len() / 4 * 4;
                    match STANDARD_NO_PAD.decode(&letters[..groups], Out::from_slice(&mut decoded)) {
                        Ok(text) => {
                            stream.scan(text, scratch, &mut found)?;
                            letters.drain(..groups);
                        }
                        Err(_) => {
                            letters.clear();
                            // The first line of base64 may have begun.
                            letters.extend_from_slice(last);
                        }
                    }
                }
                if entry.is_last {
                    stream.reset(scratch, &mut found)?;
                    letters.clear();
                }
            }
            Ok(())
        })?;
        Ok(Scanned { seconds: watch.total().as_secs_f64(), hits })
    }

    /// Scans all payload of both directions, each segment as a block. Finds nothing across segments.
    ///
    /// # Errors
    /// What the library says.
    pub fn block_lap(&mut self, trace: &Trace) -> Result<Scanned, hyperscan::Error> {
        let (mut hits, mut watch) = (0, Stopwatch::default());
        let Self { block, scratch, .. } = self;
        let block = block.as_ref().ok_or(hyperscan::Error::Mode)?;
        watch.time(|| {
            for entry in trace.entries() {
                let payload = trace.payload(entry);
                if !payload.is_empty() {
                    block.scan(payload, scratch, |_| {
                        hits += 1;
                        ControlFlow::Continue(())
                    })?;
                }
            }
            Ok(())
        })?;
        Ok(Scanned { seconds: watch.total().as_secs_f64(), hits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Profile;

    /// Half of an attachment is made of words, and a decoder that is out of step finds none.
    #[test]
    fn what_is_decoded_is_what_was_encoded() {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;

        let trace = Trace::new(Profile::LargeEncoded, 1, 3);
        let client = trace.entries().iter().filter(|entry| entry.port == PortId::A);
        let sent: Vec<u8> = client.flat_map(|entry| trace.payload(entry).to_vec()).collect();
        let lines = sent.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_end);
        let text: Vec<u8> =
            lines.filter(|line| line.len() == 76).flat_map(|line| STANDARD.decode(line).unwrap()).collect();
        let expected = memchr::memmem::find_iter(&text, b"about").count() as u64;
        let mut scanner = Scanner::of(compile(&[("about", 0)], Mode::Stream).unwrap()).unwrap();
        let found = scanner.decoding_lap(&trace).unwrap().hits;
        // Those of the first segment and the last one are left out.
        assert!(expected > 300 && (expected - 20..=expected).contains(&found), "{found} of {expected}");
    }

    #[test]
    fn every_planted_text_is_found_and_nothing_else() {
        for profile in [Profile::Small, Profile::Pipelined] {
            let trace = Trace::new(profile, 700, 3);
            let mut bodies = Scanner::new(Target::Body, 100).unwrap();
            let mut addresses = Scanner::new(Target::Address, 100).unwrap();
            for _ in 0..2 {
                assert_eq!(bodies.stream_lap(&trace).unwrap().hits, trace.planted.bodies);
                assert_eq!(addresses.stream_lap(&trace).unwrap().hits, trace.planted.senders);
            }
            assert_eq!(trace.planted.bodies, 11);
            assert!(bodies.block_lap(&trace).unwrap().hits <= 11);
        }
    }
}
