//! The board: what the workers publish, for metrics, `show` and `stats` events to read.
//!
//! Each worker copies its state here about ten times a second, outside its hot loop. If somebody is
//! reading just then, it skips that time rather than wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use artifact::format::Artifact;
use inspect::counter::Counters;
use inspect::engine::level::ClassLevel;
use inspect::engine::{GENERATION_LIMIT, SessionState, SessionView};

use crate::edition::{Edition, Editions, Register};
use crate::handover::HandOverCounts;
use crate::journal::JournalStatus;
use crate::port::{Level, Losses};
use crate::tally::Tally;

/// Upper ends of the burst histogram's buckets, in nanoseconds; the last bucket has none.
pub const BURST_BUCKETS: [u64; 12] = [
    1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000, 20_000_000,
];

/// How long bursts took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Bursts up to each bound, and above the last.
    pub counts: [u64; BURST_BUCKETS.len() + 1],
    /// Of all bursts, in nanoseconds.
    pub sum: u64,
}

impl Histogram {
    /// Counts a burst of `nanos`.
    pub fn record(&mut self, nanos: u64) {
        let bucket = BURST_BUCKETS.iter().position(|bound| nanos <= *bound).unwrap_or(BURST_BUCKETS.len());
        self.counts[bucket] += 1;
        self.sum = self.sum.wrapping_add(nanos);
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// What a pattern matcher did and holds; [`crate::matcher::Usage`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct MatcherState {
    pub scans: u64,
    pub scanned_bytes: u64,
    pub hits: u64,
    pub streams_open: u64,
    pub streams_allocated: u64,
    pub streams_refused: u64,
}

/// What one worker did since its start and holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerState {
    /// The engine's counters.
    pub counters: Counters,
    /// Decisions by what decided.
    pub tally: Tally,
    /// All that is plain numbers.
    pub totals: Totals,
}

/// The part of a worker's state that is plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// The pattern matcher.
    pub matcher: MatcherState,
    /// Both ports' rings.
    pub levels: [Level; 2],
    /// Frames dropped because a transmit ring was full.
    pub tx_full: [u64; 2],
    /// Chunks of the umem that are free, and all of them.
    pub chunks_free: u64,
    /// Chunks of the umem.
    pub chunks: u64,
    /// Frames that came to one worker and belong to another.
    pub handover: HandOverCounts,
    /// Records that the journal could not take.
    pub records_lost: u64,
    /// Numbers of the policies under which the worker has sessions, and of the one in force, which fills the rest.
    pub generations: [u32; GENERATION_LIMIT],
    /// Nanoseconds spent with frames.
    pub busy_nanos: u64,
    /// Nanoseconds since the start.
    pub total_nanos: u64,
    /// Times the worker slept until frames came.
    pub sleeps: u64,
    /// How long bursts took.
    pub bursts: Histogram,
}

impl WorkerState {
    /// A worker that has done nothing yet.
    #[must_use]
    pub fn new(editions: &Editions) -> Self {
        Self { counters: Counters::default(), tally: Tally::new(editions), totals: Totals::default() }
    }
}

/// Sessions of one top-level class that there are now, and what they carried so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Both ends have agreed to talk.
    pub established: u64,
    /// The handshake is under way.
    pub half_open: u64,
    /// Ending, or being refused.
    pub terminating: u64,
    /// Segments forwarded.
    pub packets: u64,
    /// Payload octets forwarded.
    pub bytes: u64,
    /// Most there ever were at once, half-open, established, terminating, and how fast they come. Of several workers and
    /// artifacts the sum, which is never too little.
    pub level: ClassLevel,
}

/// What a worker counts when it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headcount {
    /// By row of [`Editions::tops`].
    pub classes: Vec<Census>,
    /// Octets of memory that segments out of order take, at most took, and segments in the longest queue of one stream.
    pub waiting: [u64; 3],
}

impl Headcount {
    /// Room for so many classes.
    #[must_use]
    pub fn with_classes(count: usize) -> Self {
        Self { classes: vec![Census::default(); count], ..Self::default() }
    }

    /// Adds that of another worker. Of the longest queue the longer.
    pub fn add(&mut self, other: &Headcount) {
        self.classes.iter_mut().zip(&other.classes).for_each(|(mine, theirs)| mine.add(theirs));
        self.waiting[0] += other.waiting[0];
        self.waiting[1] += other.waiting[1];
        self.waiting[2] = self.waiting[2].max(other.waiting[2]);
    }
}

impl Census {
    /// Counts a session.
    pub fn count(&mut self, session: &SessionView) {
        match session.state {
            SessionState::Opening => self.half_open += 1,
            SessionState::Open => self.established += 1,
            SessionState::Closing => self.terminating += 1,
        }
        self.packets += session.packets.iter().sum::<u64>();
        self.bytes += session.bytes.iter().sum::<u64>();
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &Census) {
        self.established += other.established;
        self.half_open += other.half_open;
        self.terminating += other.terminating;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.rise(&other.level);
    }

    /// Adds the level of another worker, or of another artifact.
    pub fn rise(&mut self, other: &ClassLevel) {
        let level = &mut self.level;
        level.most.iter_mut().zip(other.most).for_each(|(mine, theirs)| *mine += theirs);
        level.begun += other.begun;
        level.most_begun += other.most_begun;
        level.octets += other.octets;
        level.decided.iter_mut().zip(other.decided).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// What a port turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortFacts {
    /// How the XDP program is attached; `None` while the interface is gone.
    pub mode: Option<&'static str>,
    /// Whether the driver reads and writes the frames' memory itself.
    pub zero_copy: bool,
    /// Longest IP packet, in octets.
    pub mtu: u32,
    /// Driver.
    pub driver: String,
}

/// Frames and octets by what the kernel's part of the gateway did with them.
pub type KernelCounts = Vec<(&'static str, u64, u64)>;

/// What the gateway is and does.
#[derive(Debug)]
pub struct Board {
    /// The policies that decide.
    pub register: Arc<Register>,
    /// Times another policy came into force.
    pub reloads: AtomicU64,
    /// Times one was asked for and did not.
    pub reload_failures: AtomicU64,
    /// What the pattern library says of itself.
    pub library: &'static str,
    /// Names of the two ports.
    pub port_names: [String; 2],
    /// Interfaces they are bound to, or the capture.
    pub interfaces: [String; 2],
    /// When the program started, for people.
    pub started: SystemTime,
    /// Origin of the workers' clock.
    pub origin: Instant,
    /// The same in nanoseconds after 1970 began.
    pub epoch: u64,
    /// Whether frames flow.
    pub ready: AtomicBool,
    /// Times a port had to be opened again.
    pub port_restarts: AtomicU64,
    /// What the journal did.
    pub journal: Arc<JournalStatus>,
    /// What the kernel's part of the gateway did with frames, for both ports.
    kernel: Mutex<[KernelCounts; 2]>,
    /// What it lost of each worker's frames at the two ports.
    losses: Mutex<Vec<[Losses; 2]>>,
    /// Frames and octets of the classes that it decides for, by row of [`Editions::tops`].
    kernel_classes: Mutex<Vec<[u64; 2]>>,
    /// What the ports turned out to be.
    port_facts: Mutex<[PortFacts; 2]>,
    workers: Vec<Mutex<WorkerState>>,
}

impl Board {
    /// A board for `worker_count` workers under `artifact`.
    #[must_use]
    pub fn new(
        artifact: &Artifact,
        port_names: [String; 2],
        interfaces: [String; 2],
        worker_count: usize,
        journal: Arc<JournalStatus>,
    ) -> Self {
        let editions = Editions::new(artifact);
        let (started, origin) = (SystemTime::now(), Instant::now());
        let epoch = started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Self {
            library: hyperscan::version(),
            port_names,
            interfaces,
            started,
            origin,
            epoch: u64::try_from(epoch).unwrap_or(u64::MAX),
            ready: AtomicBool::new(false),
            port_restarts: AtomicU64::new(0),
            journal,
            kernel: Mutex::default(),
            losses: Mutex::default(),
            kernel_classes: Mutex::default(),
            port_facts: Mutex::default(),
            workers: (0..worker_count).map(|_| Mutex::new(WorkerState::new(&editions))).collect(),
            register: Arc::new(Register::new(editions)),
            reloads: AtomicU64::new(0),
            reload_failures: AtomicU64::new(0),
        }
    }

    /// The policies that decide.
    #[must_use]
    pub fn editions(&self) -> Arc<Editions> {
        self.register.get()
    }

    /// The policy in force.
    #[must_use]
    pub fn edition(&self) -> Arc<Edition> {
        Arc::clone(self.editions().current())
    }

    /// Workers there are.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// Copies a worker's state here, unless somebody is reading it.
    pub fn publish(&self, worker: usize, state: &WorkerState) {
        if let Some(place) = self.workers.get(worker)
            && let Ok(mut place) = place.try_lock()
        {
            // Field by field, so that the tables keep the memory they have.
            place.counters.clone_from(&state.counters);
            place.tally.clone_from(&state.tally);
            place.totals = state.totals;
        }
    }

    /// The state that each worker last published, with what the kernel lost of its frames.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerState> {
        // A poisoned lock: a worker died while it copied. Its numbers are still the best there are.
        let states =
            self.workers.iter().map(|place| place.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let mut states: Vec<_> = states.collect();
        let losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        for (state, losses) in states.iter_mut().zip(&*losses) {
            state.totals.levels = std::array::from_fn(|port| state.totals.levels[port].with(&losses[port]));
        }
        states
    }

    /// Takes over what the kernel lost of each worker's frames.
    pub fn set_losses(&self, losses: Vec<[Losses; 2]>) {
        *self.losses.lock().unwrap_or_else(PoisonError::into_inner) = losses;
    }

    /// What the kernel's part did when somebody last asked it.
    #[must_use]
    pub fn kernel(&self) -> [KernelCounts; 2] {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the kernel's part did.
    pub fn set_kernel(&self, counts: [KernelCounts; 2]) {
        *self.kernel.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// What the kernel's part did for a class when somebody last asked it: frames and octets.
    #[must_use]
    pub fn kernel_class(&self, row: usize) -> [u64; 2] {
        let counts = self.kernel_classes.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(row).copied().unwrap_or_default()
    }

    /// Takes over what the kernel's part did for classes.
    pub fn set_kernel_classes(&self, counts: Vec<[u64; 2]>) {
        *self.kernel_classes.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// What the ports turned out to be.
    #[must_use]
    pub fn port_facts(&self) -> [PortFacts; 2] {
        self.port_facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the ports turned out to be.
    pub fn set_port_facts(&self, facts: [PortFacts; 2]) {
        *self.port_facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// Whether frames flow.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Seconds since the start.
    #[must_use]
    pub fn uptime_seconds(&self) -> u64 {
        self.origin.elapsed().as_secs()
    }
}

/// Sums over all workers.
#[derive(Debug)]
pub struct Sums {
    /// The engines' counters.
    pub counters: Counters,
    /// Decisions by what decided.
    pub tally: Tally,
    /// The pattern matchers.
    pub matcher: MatcherState,
}

impl Sums {
    /// Those of `workers`.
    #[must_use]
    pub fn of(workers: &[WorkerState], editions: &Editions) -> Self {
        let mut sums = Self {
            counters: Counters::default(),
            tally: Tally::new(editions),
            matcher: MatcherState::default(),
        };
        for worker in workers {
            sums.counters.add(&worker.counters);
            sums.tally.add(&worker.tally);
            let (mine, theirs) = (&mut sums.matcher, &worker.totals.matcher);
            mine.scans += theirs.scans;
            mine.scanned_bytes += theirs.scanned_bytes;
            mine.hits += theirs.hits;
            mine.streams_open += theirs.streams_open;
            mine.streams_allocated += theirs.streams_allocated;
            mine.streams_refused += theirs.streams_refused;
        }
        sums
    }
}
