//! A gateway on memory ports: what a worker does with a burst, with the clock in the bench's hand.
//!
//! Frames are put into the pool's chunks before the clock starts, as a NIC puts them into the umem, and into more chunks
//! than a cache holds. What is timed is all the rest: receive, engine, tick, transmit, completion.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use artifact::format::Artifact;
use inspect::counter::Counters;
use inspect::engine::{Config, Engine};
use inspect::frame::{Frame, Memory, Pool, Sealed, VecMemory};
use inspect::unit::{Instant, PortId};
use postern::matcher::{PatternMatcher, Patterns, Usage};
use postern::port::Port;
use postern::port::memory::{FarEnd, MemoryPort};

use crate::measure::Stopwatch;
use crate::policy::{Rules, artifact};
use crate::traffic::FRAME_INTERVAL;

/// Frames that a worker receives at once.
pub const BURST: usize = 64;
/// Chunks of the pool, and octets of a chunk: 192 MiB, several times a large cache.
pub const CHUNKS: (usize, usize) = (98_304, 2048);
/// Chunks left free for what the engine makes itself.
const RESERVE: usize = 4096;
/// How long sessions may take to be forgotten after their last frame.
const QUIET_LIMIT: Duration = Duration::from_secs(300);
/// Time between two ticks while nothing comes.
const QUIET_TICK: Duration = Duration::from_millis(2);

/// Counts allocations since the start of the program.
pub type Meter = fn() -> u64;

/// An engine under a policy, and its clock.
#[derive(Debug)]
pub struct Subject {
    /// The engine.
    pub engine: Engine<PatternMatcher>,
    /// What its matcher did.
    pub usage: Rc<Usage>,
    /// Nanoseconds.
    now: u64,
}

impl Subject {
    /// An engine with room for `flow_limit` sessions.
    ///
    /// # Errors
    /// What is wrong with the policy's patterns.
    pub fn new(rules: Rules, flow_limit: usize) -> Result<Self, String> {
        Self::of(artifact(rules)?, flow_limit)
    }

    /// The same, of a policy that was compiled before.
    ///
    /// # Errors
    /// What is wrong with the policy's patterns.
    pub fn of(artifact: Artifact, flow_limit: usize) -> Result<Self, String> {
        let patterns = Patterns::load(&artifact).map_err(|error| error.to_string())?;
        let matcher = patterns.matcher(flow_limit).map_err(|error| error.to_string())?;
        let usage = matcher.usage();
        let config = Config { ports: [Some(0), Some(1)], flow_limit, ..Config::default() };
        // Not at the origin: nothing must depend on the time of the first frame.
        Ok(Self {
            engine: Engine::new(Arc::new(artifact.policy), matcher, config),
            usage,
            now: 1_000_000_000,
        })
    }
}

/// What came out of a gateway, and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// Frames transmitted, by port.
    pub frames: [u64; 2],
    /// Octets transmitted.
    pub octets: u64,
    /// Records in the journal.
    pub records: u64,
    /// Allocations while the clock ran.
    pub allocations: u64,
}

/// Ports and pool.
#[derive(Debug)]
pub struct Gateway {
    // Ports go before the pool: they may hold frames of it.
    ports: [MemoryPort; 2],
    far: [FarEnd; 2],
    pool: Pool<VecMemory>,
    /// Of each port, what a burst has of it.
    received: [Vec<Frame>; 2],
    burst: Vec<(PortId, Frame)>,
    out: Vec<(PortId, Sealed)>,
    /// Which port each frame that was put in comes to.
    order: VecDeque<PortId>,
    meter: Meter,
}

impl Gateway {
    /// One without frames, with so many chunks of so many octets.
    #[must_use]
    pub fn new(meter: Meter, (chunk_count, chunk_len): (usize, usize)) -> Self {
        let ((a, far_a), (b, far_b)) = (MemoryPort::new(chunk_count), MemoryPort::new(chunk_count));
        Self {
            ports: [a, b],
            far: [far_a, far_b],
            pool: VecMemory::pool(chunk_count, chunk_len),
            received: [Vec::with_capacity(BURST), Vec::with_capacity(BURST)],
            burst: Vec::with_capacity(BURST),
            out: Vec::with_capacity(BURST * 4),
            order: VecDeque::with_capacity(chunk_count),
            meter,
        }
    }

    /// Writes to every chunk, so that the memory is there.
    pub fn touch(&mut self) {
        let (count, len) = (self.pool.memory().chunk_count(), self.pool.memory().chunk_len());
        let mut frames = Vec::with_capacity(count);
        while let Some(mut frame) = self.pool.alloc(0, len) {
            self.pool.bytes_mut(&mut frame).fill(1);
            frames.push(frame);
        }
    }

    /// Puts a frame in; `false` when it is time to [`Gateway::play`] first.
    pub fn put(&mut self, port: PortId, frame: &[u8]) -> bool {
        if self.pool.free_count() <= RESERVE || !self.far[port.index()].push(&mut self.pool, frame) {
            return false;
        }
        self.order.push_back(port);
        true
    }

    /// Puts a frame in, after playing the others where there is no room.
    ///
    /// # Errors
    /// When there is no room even then: the engine holds too many.
    pub fn put_or_play(
        &mut self,
        (port, frame): (PortId, &[u8]),
        subject: &mut Subject,
        watch: &mut Stopwatch,
        passed: &mut Passed,
    ) -> Result<(), String> {
        if self.put(port, frame) {
            return Ok(());
        }
        self.play(subject, watch, passed, |_, _| {})?;
        if self.put(port, frame) {
            Ok(())
        } else {
            Err(format!("only {} chunks are free with no frame on its way", self.pool.free_count()))
        }
    }

    /// Moves all frames that were put in through the engine, in that order, in bursts. Gives each that comes out to
    /// `sink`; what that does is timed too.
    ///
    /// # Errors
    /// When a port has no room: a fault of the bench.
    pub fn play(
        &mut self,
        subject: &mut Subject,
        watch: &mut Stopwatch,
        passed: &mut Passed,
        mut sink: impl FnMut(PortId, &[u8]),
    ) -> Result<(), String> {
        let Subject { engine, now: clock, .. } = subject;
        let before = (self.meter)();
        watch.time(|| {
            while !self.order.is_empty() {
                let now = Instant::from_nanos(*clock);
                let count = self.receive(|burst, pool, out| engine.receive_burst(now, burst, pool, out))?;
                engine.tick(now, &mut self.pool, &mut self.out);
                self.transmit(passed, &mut sink)?;
                *clock += count as u64 * FRAME_INTERVAL;
                passed.records += engine.journal_mut().drain().count() as u64;
            }
            Ok::<_, String>(())
        })?;
        passed.allocations += (self.meter)() - before;
        Ok(())
    }

    /// Moves all frames that were put in from port to port with no engine between, only `look` at each: what the ports
    /// and the bench itself cost, and the memory.
    ///
    /// # Errors
    /// As for [`Gateway::play`].
    pub fn play_bare(
        &mut self,
        watch: &mut Stopwatch,
        passed: &mut Passed,
        mut look: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        watch.time(|| {
            while !self.order.is_empty() {
                self.receive(|burst, pool, out| {
                    for (port, frame) in burst {
                        look(pool.bytes(&frame));
                        out.push((port.other(), pool.seal(frame)));
                    }
                })?;
                self.transmit(passed, &mut |_, _| {})?;
            }
            Ok(())
        })
    }

    /// Hands a burst to `handle`; how many frames there were. Received as a worker does it, from one port after the other, but handed
    /// on in the order in which the frames were put in, whichever port they come by.
    fn receive(
        &mut self,
        mut handle: impl FnMut(vec::Drain<'_, (PortId, Frame)>, &mut Pool<VecMemory>, &mut Vec<(PortId, Sealed)>),
    ) -> Result<usize, String> {
        let Self { ports, pool, received, burst, out, order, .. } = self;
        let count = order.len().min(BURST);
        let from_b = order.range(..count).map(|port| port.index()).sum::<usize>();
        for ((port, into), limit) in ports.iter_mut().zip(&mut *received).zip([count - from_b, from_b]) {
            let got = port.receive(pool, into, limit).map_err(|error| error.to_string())?;
            if got != limit {
                return Err(format!("a memory port gave {got} frames of {limit}"));
            }
        }
        let [from_a, from_b] = received;
        let mut received = [from_a.drain(..), from_b.drain(..)];
        burst.extend(order.drain(..count).filter_map(|port| Some((port, received[port.index()].next()?))));
        drop(received);
        handle(burst.drain(..), pool, out);
        Ok(count)
    }

    /// Transmits what came out and takes it from the far ends.
    fn transmit(&mut self, passed: &mut Passed, sink: &mut impl FnMut(PortId, &[u8])) -> Result<(), String> {
        let Self { ports, far, pool, out, .. } = self;
        for (port, sealed) in out.drain(..) {
            if ports[port.index()].transmit(pool, sealed).is_err() {
                return Err("a memory port is full".into());
            }
        }
        for port in ports {
            port.flush(pool).map_err(|error| error.to_string())?;
        }
        for port in PortId::ALL {
            while let Some(sealed) = far[port.index()].pop() {
                passed.frames[port.index()] += 1;
                passed.octets += sealed.len() as u64;
                sink(port, pool.sealed(&sealed));
            }
        }
        Ok(())
    }

    /// Lets time pass, untimed, until the engine has forgotten every session, and says how long that took. What it
    /// transmits meanwhile is counted.
    ///
    /// # Errors
    /// When it does not forget.
    pub fn quiet(&mut self, subject: &mut Subject, passed: &mut Passed) -> Result<Duration, String> {
        let start = subject.now;
        loop {
            let elapsed = Duration::from_nanos(subject.now - start);
            let left = subject.engine.counters().flows_active;
            if left == 0 {
                return Ok(elapsed);
            }
            if elapsed > QUIET_LIMIT {
                return Err(format!("{left} sessions are still there {elapsed:?} after their last frame"));
            }
            subject.now += QUIET_TICK.as_nanos() as u64;
            let now = Instant::from_nanos(subject.now);
            subject.engine.tick(now, &mut self.pool, &mut self.out);
            for (port, sealed) in self.out.drain(..) {
                passed.frames[port.index()] += 1;
                passed.octets += sealed.len() as u64;
            }
            passed.records += subject.engine.journal_mut().drain().count() as u64;
        }
    }

    /// Whether every chunk is free.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pool.free_count() == self.pool.memory().chunk_count()
    }
}

/// What an engine counted between two moments.
#[derive(Debug)]
pub struct Difference {
    rows: Vec<(&'static str, u64)>,
    /// Anomalies, of all kinds.
    pub anomalies: u64,
}

impl Difference {
    /// What was counted after `before`.
    #[must_use]
    pub fn new(before: &Counters, after: &Counters) -> Self {
        let rows = before.rows().zip(after.rows());
        let rows = rows.map(|((name, _, old), (.., new))| (name, new.wrapping_sub(old))).collect();
        let anomalies = after.anomalies.iter().sum::<u64>() - before.anomalies.iter().sum::<u64>();
        Self { rows, anomalies }
    }

    /// One counter; 0 if there is none of that name.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.rows.iter().find(|row| row.0 == name).map_or(0, |row| row.1)
    }

    /// What must not happen to honest traffic: frames dropped, changed or held, sessions refused.
    #[must_use]
    pub fn mistreatment(&self) -> Vec<String> {
        let is_bad = |name: &str| {
            let bad = [
                "dropped_",
                "frames_rewritten",
                "frames_generated",
                "frames_held",
                "smtp_masked",
                "smtp_closed",
                "smtp_opaque",
                "retransmitted",
                "out_of_order",
                "records_lost",
            ];
            bad.iter().any(|start| name.starts_with(start))
        };
        let mut found: Vec<_> = self
            .rows
            .iter()
            .filter(|(name, count)| *count > 0 && is_bad(name))
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if self.anomalies > 0 {
            found.push(format!("anomalies {}", self.anomalies));
        }
        found
    }
}
