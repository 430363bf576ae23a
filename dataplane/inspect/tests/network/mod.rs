//! Two real TCP stacks (smoltcp) at the ends of an engine, with bad links between: loss, duplication, reordering.
//!
//! Time is simulated, and every choice comes from a seed: the same seed gives the same run.
#![allow(dead_code)]

pub mod host;
pub mod smtp;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use artifact::model::Policy;
use inspect::engine::{Config, Engine};
use inspect::event::Record;
use inspect::frame::{Pool, Sealed, VecMemory};
use inspect::scan::Matcher;
use inspect::unit::{Instant, PortId};
use inspect::wire::{self, Checksums, Packet, edit};

use host::Host;

/// What a link does to frames, each in parts of 1,000.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub loss: u32,
    pub duplication: u32,
    /// Frames that take up to five times as long as the others.
    pub reordering: u32,
}

/// A small generator: good enough for faults, the same everywhere (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Gateway(PortIdOrd),
    Client,
    Server,
}

type PortIdOrd = usize;
/// Time of arrival, order of departure, where to, and the frame.
type Travelling = (u64, u64, Place, Vec<u8>);

/// Client, gateway and server on two bad links.
pub struct Network<X> {
    pub client: Host,
    pub server: Host,
    pub engine: Engine<X>,
    pub pool: Pool<VecMemory>,
    pub records: Vec<Record>,
    pub now_micros: u64,
    /// Faults on the client's link, both ways.
    pub client_link: Faults,
    /// Faults on the server's link, both ways.
    pub server_link: Faults,
    /// Every frame that left the gateway, with the port.
    pub transmitted: Vec<(PortId, Vec<u8>)>,
    /// Whether to keep them.
    pub keep_frames: bool,
    /// When an end last sent anything that its peer must answer: an empty acknowledgement is not, and smoltcp probes a closed window
    /// with one when it has nothing behind what was lost.
    pub last_sent_micros: u64,
    /// From when on (microseconds) no end sends more octets in one segment than this. A sender that learns of a smaller
    /// MTU on its path sends what was lost again in smaller pieces (RFC 1191).
    pub segment_limits: Vec<(u64, usize)>,
    random: Random,
    under_way: BinaryHeap<Reverse<Travelling>>,
    order: u64,
}

/// Time that a frame takes over a link.
const LATENCY_MICROS: u64 = 1_000;

impl<X: Matcher> Network<X> {
    pub fn new(policy: Policy, matcher: X, seed: u64) -> Self {
        let config = Config { ports: [Some(0), Some(1)], flow_limit: 64, low_water: 8, ..Config::default() };
        Self {
            client: Host::new(1, seed),
            server: Host::new(2, seed),
            engine: Engine::new(Arc::new(policy), matcher, config),
            pool: VecMemory::pool(1024, 2048),
            records: Vec::new(),
            now_micros: 0,
            client_link: Faults::default(),
            server_link: Faults::default(),
            transmitted: Vec::new(),
            keep_frames: false,
            last_sent_micros: 0,
            segment_limits: Vec::new(),
            random: Random::new(seed),
            under_way: BinaryHeap::new(),
            order: 0,
        }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.now_micros * 1_000)
    }

    fn travel(&mut self, faults: Faults, to: Place, frame: Vec<u8>) {
        if self.random.below(1_000) < faults.loss {
            return;
        }
        let copies = 1 + usize::from(self.random.below(1_000) < faults.duplication);
        for _ in 0..copies {
            let mut delay = LATENCY_MICROS;
            if self.random.below(1_000) < faults.reordering {
                delay += u64::from(self.random.below(4 * LATENCY_MICROS as u32));
            }
            self.order += 1;
            self.under_way.push(Reverse((self.now_micros + delay, self.order, to, frame.clone())));
        }
    }

    /// A frame as the segments that the limit of this moment leaves of it.
    fn pieces(&self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        let limit = self.segment_limits.iter().rev().find(|(from, _)| *from <= self.now_micros);
        let Some((_, limit)) = limit else { return vec![frame] };
        let mut pieces = Vec::new();
        let mut rest = frame;
        while let Ok(Packet::Tcp(segment)) = wire::parse(&rest, Checksums::Trust) {
            if usize::from(segment.payload_len) <= *limit {
                break;
            }
            let (mut first, mut head, mut tail) = (rest.clone(), segment, segment);
            let len = edit::cut(&mut first, &mut head, *limit);
            first.truncate(len);
            edit::fix_checksums(&mut first, &head);
            pieces.push(first);
            let len = edit::cut_start(&mut rest, &mut tail, *limit);
            rest.truncate(len);
            edit::fix_checksums(&mut rest, &tail);
        }
        pieces.push(rest);
        pieces
    }

    fn transmit(&mut self, out: Vec<(PortId, Sealed)>) {
        for (port, sealed) in out {
            let bytes = self.pool.sealed(&sealed).to_vec();
            if self.keep_frames {
                self.transmitted.push((port, bytes.clone()));
            }
            match port {
                PortId::A => self.travel(self.client_link, Place::Client, bytes),
                PortId::B => self.travel(self.server_link, Place::Server, bytes),
            }
        }
    }

    /// Gives the gateway a frame as if it had come in by a port.
    pub fn inject(&mut self, port: PortId, bytes: &[u8]) {
        let mut frame = self.pool.alloc(0, bytes.len()).expect("the pool is large enough");
        self.pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        let mut out = Vec::new();
        let now = self.now();
        self.engine.receive(now, port, frame, &mut self.pool, &mut out);
        self.transmit(out);
    }

    fn note(&mut self, frame: &[u8]) {
        if let Ok(Packet::Tcp(segment)) = wire::parse(frame, Checksums::Trust)
            && segment.seq_len() > 0
        {
            self.last_sent_micros = self.now_micros;
        }
    }

    /// Lets one millisecond pass.
    pub fn step(&mut self) {
        self.now_micros += 1_000;
        while let Some(Reverse((at, ..))) = self.under_way.peek() {
            if *at > self.now_micros {
                break;
            }
            let Some(Reverse((_, _, place, frame))) = self.under_way.pop() else { break };
            match place {
                Place::Gateway(0) => self.inject(PortId::A, &frame),
                Place::Gateway(_) => self.inject(PortId::B, &frame),
                Place::Client => self.client.deliver(frame),
                Place::Server => self.server.deliver(frame),
            }
        }
        for frame in self.client.poll(self.now_micros) {
            self.note(&frame);
            for piece in self.pieces(frame) {
                self.travel(self.client_link, Place::Gateway(0), piece);
            }
        }
        for frame in self.server.poll(self.now_micros) {
            self.note(&frame);
            for piece in self.pieces(frame) {
                self.travel(self.server_link, Place::Gateway(1), piece);
            }
        }
        let mut out = Vec::new();
        let now = self.now();
        let due = self.engine.idle_until(now, self.pool.free_count());
        self.engine.tick(now, &mut self.pool, &mut out);
        let may_act = due.is_some_and(|due| due <= now);
        assert!(may_act || out.is_empty(), "a worker that slept until then would have missed this");
        self.transmit(out);
        self.records.extend(self.engine.journal_mut().drain());
    }

    /// Runs until `done` or until so much simulated time has passed; says whether it was done.
    pub fn run(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now_micros + limit.as_micros() as u64;
        while self.now_micros < end {
            self.step();
            if done(self) {
                return true;
            }
        }
        false
    }

    /// Frames in use while nothing is under way: what the engine keeps.
    pub fn kept(&self) -> usize {
        1024 - self.pool.free_count()
    }
}
