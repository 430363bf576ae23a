//! What the machine itself can do with the same octets: copying them, and scanning them with nothing around.

use core::ops::ControlFlow;

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

    /// Scans all payload of both directions: one stream for each direction of each session.
    ///
    /// # Errors
    /// What the library says.
    pub fn stream_lap(&mut self, trace: &Trace) -> Result<Scanned, hyperscan::Error> {
        let slots = trace.entries().iter().map(|entry| usize::from(entry.slot) + 1).max().unwrap_or(0);
        while self.streams.len() < slots {
            self.streams.push([Stream::open(&self.stream)?, Stream::open(&self.stream)?]);
        }
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
