//! What the targets share: policies compiled as a user's are, and what must be true of an engine at any time.

use std::sync::{Arc, OnceLock};

use artifact::format::Artifact;
use artifact::model::Policy;
use inspect::engine::{Config, Engine, Uninspected};
use inspect::frame::{Pool, Sealed, VecMemory};
use inspect::scan::Matcher;
use inspect::unit::{Instant, PortId};
use postern::loaded::Loaded;
use posternc::compile::{Options, compile};
use posternc::source::SourceFile;

/// Ways into the compiler that most targets need: a policy text that is right.
///
/// # Panics
/// When it is not.
#[must_use]
pub fn artifact_of(text: &str) -> Artifact {
    let file = SourceFile::new("fuzz.policy", text);
    let compiled = compile(&file, Options::default());
    let said: String = compiled.diagnostics.iter().map(|found| found.render(&file, false)).collect();
    compiled.artifact.unwrap_or_else(|| panic!("{said}"))
}

/// SMTP from outside to inside: a banned sender, banned verbs and keywords, banned words in mails; no STARTTLS. Port 26 is
/// followed, not inspected.
pub const POLICY: &str = include_str!("house.policy");

/// The verb of a command line, as servers have it: some take what stands in front of any octet that no verb has. A hyphen some have
/// (X-EXPS), so `VRFY-` is no VRFY to anybody.
#[must_use]
pub fn verb(line: &[u8]) -> &[u8] {
    line.split(|octet| !octet.is_ascii_alphanumeric() && *octet != b'-').next().unwrap_or_default()
}

/// [`POLICY`], compiled once; its databases are in it.
pub fn compiled() -> &'static Artifact {
    static COMPILED: OnceLock<Artifact> = OnceLock::new();
    COMPILED.get_or_init(|| artifact_of(POLICY))
}

/// [`POLICY`], compiled and loaded once.
pub fn loaded() -> &'static Loaded {
    static LOADED: OnceLock<Loaded> = OnceLock::new();
    LOADED.get_or_init(|| Loaded::new(compiled().clone()).unwrap_or_else(|error| panic!("{error}")))
}

/// The tables of [`POLICY`].
pub fn policy() -> Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    Arc::clone(POLICY.get_or_init(|| Arc::new(loaded().artifact.policy.clone())))
}

/// Chunks of a pool: few, so that an input can fill them.
pub const CHUNKS: usize = 192;
/// Octets of a chunk.
pub const CHUNK_LEN: usize = 2048;

/// Limits so small that a short input meets them.
#[must_use]
pub fn tight() -> Config {
    Config {
        ports: [Some(0), Some(1)],
        flow_limit: 4,
        held_per_stream: 8,
        remembered_per_stream: 12,
        low_water: 40,
        copied_limit: 8 * 1024,
        ..Config::default()
    }
}

/// An engine with its pool and its clock.
pub struct Stage<X> {
    /// The engine.
    pub engine: Engine<X>,
    /// Its frames.
    pub pool: Pool<VecMemory>,
    /// Nanoseconds.
    pub now: u64,
    /// Limits it was given.
    pub config: Config,
    put_count: u64,
    left_count: u64,
}

impl<X: Matcher> Stage<X> {
    /// An engine under tight limits that normalises every session.
    #[must_use]
    pub fn new(policy: Arc<Policy>, matcher: X) -> Self {
        Self::with(policy, matcher, Uninspected::Normalize)
    }

    /// An engine under tight limits.
    #[must_use]
    pub fn with(policy: Arc<Policy>, matcher: X, uninspected: Uninspected) -> Self {
        let config = Config { uninspected, ..tight() };
        Self {
            engine: Engine::new(policy, matcher, config.clone()),
            pool: VecMemory::pool(CHUNKS, CHUNK_LEN),
            now: 1_000_000_000,
            config,
            put_count: 0,
            left_count: 0,
        }
    }

    /// Receives a frame. Returns what leaves, by port.
    ///
    /// # Panics
    /// When a budget is exceeded or a count is wrong.
    pub fn put(&mut self, port: PortId, bytes: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let Some(mut frame) = self.pool.alloc(0, bytes.len()) else {
            panic!("no chunk is left, so the engine keeps more than its budget")
        };
        self.pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        self.put_count += 1;
        let mut out = Vec::new();
        self.engine.receive(Instant::from_nanos(self.now), port, frame, &mut self.pool, &mut out);
        self.left(out)
    }

    /// Lets time pass. Returns what leaves.
    pub fn pass(&mut self, nanos: u64) -> Vec<(PortId, Vec<u8>)> {
        self.now = self.now.saturating_add(nanos);
        let mut out = Vec::new();
        self.engine.tick(Instant::from_nanos(self.now), &mut self.pool, &mut out);
        self.left(out)
    }

    fn left(&mut self, out: Vec<(PortId, Sealed)>) -> Vec<(PortId, Vec<u8>)> {
        self.left_count += out.len() as u64;
        let frames =
            out.iter().map(|(port, sealed)| (*port, self.pool.sealed(sealed).to_vec())).collect::<Vec<_>>();
        drop(out);
        self.check();
        frames
    }

    /// What must be true between any two frames.
    fn check(&mut self) {
        let counters = self.engine.counters();
        assert!(self.engine.flow_count() <= self.config.flow_limit, "more sessions than the limit");
        assert_eq!(counters.flows_active as usize, self.engine.flow_count());
        assert!(counters.flows_half_open <= counters.flows_active);
        assert_eq!(counters.frames_received_a + counters.frames_received_b, self.put_count);
        let transmitted = counters.frames_transmitted_a + counters.frames_transmitted_b;
        assert_eq!(transmitted, self.left_count, "frames left without being counted");
        let kept = CHUNKS - self.pool.free_count();
        let per_flow = 2 * (self.config.held_per_stream + self.config.remembered_per_stream);
        assert!(kept <= self.config.flow_limit * per_flow, "{kept} frames are kept");
        assert_eq!(counters.records_lost, 0);
    }

    /// The end of all timers, then of the engine: nothing is left.
    ///
    /// # Panics
    /// When something is.
    pub fn finish(mut self) {
        // The longest timers are an hour; those of a refused session run out one after the other.
        for _ in 0..64 {
            self.pass(3_600_000_000_000);
            self.engine.journal_mut().drain().for_each(drop);
        }
        assert_eq!(self.engine.flow_count(), 0, "a session that nobody speaks in is remembered for days");
        assert_eq!(self.pool.free_count(), CHUNKS, "frames are kept though there is no session");
        self.engine.shut_down(Instant::from_nanos(self.now));
    }
}
