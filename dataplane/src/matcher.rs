//! The pattern matcher: an artifact's databases, and [`inspect::scan::Matcher`] on top of them.
//!
//! [`Patterns`] is loaded once and shared; each worker makes its own [`PatternMatcher`], with scratch memory and a slab of
//! stream slots. A slot's stream is reset and used again, so that nothing is allocated once as many sessions were
//! open as ever will be.

use std::cell::Cell;
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use artifact::format::Artifact;
use artifact::smtp::{Region, SmtpPolicy};
use hyperscan::{Database, Hit, Scratch, Stream};
use inspect::scan::{CriterionSet, Matcher, NoStream, StreamId};

const REGION_COUNT: usize = 5;

/// Why an artifact's databases cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// They were made by another version of the library.
    Library {
        /// The one in the artifact.
        theirs: String,
        /// The one this program runs with.
        ours: String,
    },
    /// They were made for another kind of processor.
    Target(String),
    /// This processor cannot run the library.
    Processor(hyperscan::Error),
    /// One of them is refused by the library.
    Database {
        /// Name of its SMTP policy.
        policy: String,
        /// What it is for.
        region: Region,
        /// What the library says.
        error: hyperscan::Error,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Library { theirs, ours } => write!(
                f,
                "its patterns were compiled with matcher library `{theirs}`, this machine has `{ours}`: compile \
                 the policy again with a posternc that uses the same library"
            ),
            LoadError::Target(target) => write!(
                f,
                "its patterns were compiled for `{target}`, this machine is `{}`",
                std::env::consts::ARCH
            ),
            LoadError::Processor(error) => error.fmt(f),
            LoadError::Database { policy, region, error } => {
                write!(f, "patterns of policy `{policy}` for {}: {error}", region_name(*region))
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// The loaded databases of an artifact; shared by all workers.
#[derive(Debug, Clone)]
pub struct Patterns(Arc<[PolicyPatterns]>);

type PolicyPatterns = [Option<Database>; REGION_COUNT];

impl Patterns {
    /// Loads the databases of `artifact`.
    ///
    /// # Errors
    /// [`LoadError`]: the library is another one, or it refuses a database.
    pub fn load(artifact: &Artifact) -> Result<Self, LoadError> {
        let any = artifact.policy.smtp.iter().any(|policy| !policy.databases.is_empty());
        if any {
            hyperscan::check_platform().map_err(LoadError::Processor)?;
        }
        if any && artifact.library != hyperscan::version() {
            return Err(LoadError::Library {
                theirs: artifact.library.clone(),
                ours: hyperscan::version().to_owned(),
            });
        }
        let architecture = artifact.target.split(' ').next().unwrap_or_default();
        if any && architecture != std::env::consts::ARCH {
            return Err(LoadError::Target(artifact.target.clone()));
        }
        artifact.policy.smtp.iter().map(load_policy).collect::<Result<_, _>>().map(Self)
    }

    /// Octets of memory that the databases take.
    #[must_use]
    pub fn memory_len(&self) -> usize {
        self.0.iter().flatten().flatten().map(Database::len).sum()
    }

    /// A matcher for one worker, which keeps at most `stream_limit` streams open.
    ///
    /// # Errors
    /// When there is no memory for its scratch.
    pub fn matcher(&self, stream_limit: usize) -> Result<PatternMatcher, hyperscan::Error> {
        Ok(self.prepare(stream_limit)?.matcher(Rc::default()))
    }

    /// All that can fail of making a matcher; what is left is done in its worker's thread.
    ///
    /// # Errors
    /// When there is no memory for its scratch.
    pub fn prepare(&self, stream_limit: usize) -> Result<Prepared, hyperscan::Error> {
        let mut scratch = Scratch::new();
        for database in self.0.iter().flatten().flatten() {
            scratch.fit(database)?;
        }
        Ok(Prepared { patterns: self.clone(), scratch, stream_limit: stream_limit.min(u32::MAX as usize) })
    }
}

/// A matcher that is still to go to its worker.
#[derive(Debug)]
pub struct Prepared {
    patterns: Patterns,
    scratch: Scratch,
    stream_limit: usize,
}

impl Prepared {
    /// The matcher; what it does is added to `usage`.
    #[must_use]
    pub fn matcher(self, usage: Rc<Usage>) -> PatternMatcher {
        PatternMatcher {
            idle: vec![Vec::new(); self.patterns.0.len()],
            patterns: self.patterns,
            scratch: self.scratch,
            slots: Vec::new(),
            unused: Vec::new(),
            stream_limit: self.stream_limit,
            usage,
        }
    }
}

impl Drop for PatternMatcher {
    /// Its streams go with it.
    fn drop(&mut self) {
        let allocated = self.slots.iter().filter(|slot| slot.stream.is_some()).count() as u64;
        let idle = self.idle.iter().map(Vec::len).sum::<usize>() as u64;
        let usage = &self.usage;
        usage.streams_allocated.set(usage.streams_allocated.get().saturating_sub(allocated));
        let open = allocated.saturating_sub(idle);
        usage.streams_open.set(usage.streams_open.get().saturating_sub(open));
    }
}

fn load_policy(policy: &SmtpPolicy) -> Result<PolicyPatterns, LoadError> {
    let mut databases = PolicyPatterns::default();
    for stored in &policy.databases {
        let fail = |error| LoadError::Database { policy: policy.name.clone(), region: stored.region, error };
        let database = Database::deserialize(&stored.bytes).map_err(fail)?;
        let streaming = database.stream_len().is_some();
        // Text that comes in pieces needs streaming mode, and other text is scanned as a block.
        if streaming != stored.streaming || streaming != stored.region.is_streaming() {
            return Err(fail(hyperscan::Error::Mode));
        }
        databases[region_index(stored.region)] = Some(database);
    }
    Ok(databases)
}

fn region_index(region: Region) -> usize {
    match region {
        Region::Sender => 0,
        Region::Recipient => 1,
        Region::Header => 2,
        Region::Body => 3,
        Region::ContentType => 4,
    }
}

/// What a region is called in messages.
fn region_name(region: Region) -> &'static str {
    match region {
        Region::Sender => "senders",
        Region::Recipient => "recipients",
        Region::Header => "header fields",
        Region::Body => "bodies",
        Region::ContentType => "content types",
    }
}

/// What a matcher did since its start and holds now; read by its worker.
#[derive(Debug, Default)]
pub struct Usage {
    /// Scans, streams' pieces included.
    pub scans: Cell<u64>,
    /// Octets scanned.
    pub scanned_bytes: Cell<u64>,
    /// Hits, before several of one criterion are counted as one.
    pub hits: Cell<u64>,
    /// Streams open now.
    pub streams_open: Cell<u64>,
    /// Streams there is memory for.
    pub streams_allocated: Cell<u64>,
    /// Streams refused because all slots were in use.
    pub streams_refused: Cell<u64>,
}

fn add(cell: &Cell<u64>, count: u64) {
    cell.set(cell.get().wrapping_add(count));
}

/// One worker's matcher.
#[derive(Debug)]
pub struct PatternMatcher {
    patterns: Patterns,
    scratch: Scratch,
    /// Slot of each [`StreamId`]; never shrinks, at most `stream_limit`.
    slots: Vec<Slot>,
    /// By policy: slots with a stream that is ready for use. Only one region has streams.
    idle: Vec<Vec<u32>>,
    /// Slots whose stream had to go.
    unused: Vec<u32>,
    stream_limit: usize,
    usage: Rc<Usage>,
}

#[derive(Debug)]
struct Slot {
    policy: u16,
    stream: Option<Stream>,
}

impl PatternMatcher {
    /// What it did and holds; stays up to date.
    #[must_use]
    pub fn usage(&self) -> Rc<Usage> {
        Rc::clone(&self.usage)
    }

    fn database(&self, policy: u16, region: Region) -> Option<&Database> {
        self.patterns.0.get(usize::from(policy))?[region_index(region)].as_ref()
    }

    /// A slot with a stream of `policy`, ready for use.
    fn slot(&mut self, policy: u16, database: &Database) -> Result<u32, NoStream> {
        let own = self.idle.get_mut(usize::from(policy)).ok_or(NoStream)?;
        if let Some(slot) = own.pop() {
            return Ok(slot);
        }
        if let Some(slot) = self.unused.pop() {
            return self.fill(slot, policy, database);
        }
        if self.slots.len() < self.stream_limit {
            let slot = self.slots.len() as u32;
            self.slots.push(Slot { policy, stream: None });
            return self.fill(slot, policy, database);
        }
        // Every slot has a stream; one that is idle under another policy may go.
        let other = self.idle.iter_mut().find_map(Vec::pop).ok_or(NoStream)?;
        self.fill(other, policy, database)
    }

    fn fill(&mut self, slot: u32, policy: u16, database: &Database) -> Result<u32, NoStream> {
        let place = &mut self.slots[slot as usize];
        if place.stream.take().is_some() {
            self.usage.streams_allocated.set(self.usage.streams_allocated.get() - 1);
        }
        match Stream::open(database) {
            Ok(stream) => {
                *place = Slot { policy, stream: Some(stream) };
                add(&self.usage.streams_allocated, 1);
                Ok(slot)
            }
            Err(_) => {
                // No memory. The slot stays for later.
                self.unused.push(slot);
                Err(NoStream)
            }
        }
    }
}

/// Adds what a scan finds to a set, and counts.
fn collect<'a>(hits: &'a mut CriterionSet, count: &'a mut u64) -> impl FnMut(Hit) -> ControlFlow<()> + 'a {
    move |hit| {
        *count += 1;
        // The artifact was validated: ids are criteria. Any other is ignored by the set.
        hits.insert(u16::try_from(hit.id).unwrap_or(u16::MAX));
        ControlFlow::Continue(())
    }
}

/// A scan that fails must not look like one that found nothing: mail would pass unread. Nothing a peer sends
/// makes the library fail; if it does all the same, the process ends, and the gate is closed.
fn must(result: Result<(), hyperscan::Error>) {
    if let Err(error) = result {
        panic!("pattern matching failed, stopping so that nothing passes unread: {error}");
    }
}

impl Matcher for PatternMatcher {
    fn block(&mut self, policy: u16, region: Region, data: &[u8], hits: &mut CriterionSet) {
        let Self { patterns, scratch, usage, .. } = self;
        let policy = patterns.0.get(usize::from(policy));
        let Some(database) = policy.and_then(|regions| regions[region_index(region)].as_ref()) else {
            return;
        };
        let mut count = 0;
        must(database.scan(data, scratch, collect(hits, &mut count)));
        add(&usage.scans, 1);
        add(&usage.scanned_bytes, data.len() as u64);
        add(&usage.hits, count);
    }

    fn open(&mut self, policy: u16, region: Region) -> Result<Option<StreamId>, NoStream> {
        let Some(database) = self.database(policy, region).cloned() else { return Ok(None) };
        match self.slot(policy, &database) {
            Ok(slot) => {
                add(&self.usage.streams_open, 1);
                Ok(Some(StreamId(slot)))
            }
            Err(NoStream) => {
                add(&self.usage.streams_refused, 1);
                Err(NoStream)
            }
        }
    }

    fn stream(&mut self, stream: &StreamId, data: &[u8], hits: &mut CriterionSet) {
        let Self { slots, scratch, usage, .. } = self;
        let Some(Slot { stream: Some(open), .. }) = slots.get_mut(stream.0 as usize) else {
            panic!("a stream that was never opened");
        };
        let mut count = 0;
        must(open.scan(data, scratch, collect(hits, &mut count)));
        add(&usage.scans, 1);
        add(&usage.scanned_bytes, data.len() as u64);
        add(&usage.hits, count);
    }

    fn close(&mut self, stream: StreamId, hits: &mut CriterionSet) {
        let Self { slots, scratch, usage, idle, .. } = self;
        let Some(Slot { policy, stream: Some(open), .. }) = slots.get_mut(stream.0 as usize) else {
            panic!("a stream that was never opened");
        };
        let mut count = 0;
        must(open.reset(scratch, collect(hits, &mut count)));
        add(&usage.hits, count);
        usage.streams_open.set(usage.streams_open.get().saturating_sub(1));
        if let Some(list) = idle.get_mut(usize::from(*policy)) {
            list.push(stream.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifact::model::Policy;
    use artifact::smtp::{self, Base};
    use hyperscan::compile::{Mode, Pattern, compile, serialize};

    fn database(region: Region, patterns: &[Pattern<'_>]) -> smtp::Database {
        let streaming = region.is_streaming();
        let made = compile(patterns, if streaming { Mode::Stream } else { Mode::Block }).unwrap();
        smtp::Database {
            region,
            pattern_count: patterns.len() as u32,
            streaming,
            stream_len: made.stream_len().unwrap_or(0) as u32,
            bytes: serialize(&made).unwrap(),
        }
    }

    fn policy(name: &str, databases: Vec<smtp::Database>) -> SmtpPolicy {
        SmtpPolicy { databases, ..SmtpPolicy::new(name, Base::None) }
    }

    fn artifact(smtp: Vec<SmtpPolicy>) -> Artifact {
        crate::journal::sample::artifact(Policy { smtp, ..Policy::default() })
    }

    fn two_policies() -> Artifact {
        artifact(vec![
            policy(
                "in",
                vec![
                    database(Region::Sender, &[("spam", 0), ("@bad\\.example$", 1)]),
                    database(Region::Body, &[("casino", 2), ("bye$", 255)]),
                ],
            ),
            policy("out", vec![database(Region::Body, &[("secret", 9)])]),
        ])
    }

    fn set(found: impl FnOnce(&mut CriterionSet)) -> Vec<u16> {
        let mut hits = CriterionSet::EMPTY;
        found(&mut hits);
        hits.iter().collect()
    }

    #[test]
    fn blocks_are_scanned_with_the_database_of_their_policy_and_region() {
        let mut matcher = Patterns::load(&two_policies()).unwrap().matcher(4).unwrap();
        assert_eq!(set(|hits| matcher.block(0, Region::Sender, b"spam@bad.example", hits)), [0, 1]);
        assert_eq!(set(|hits| matcher.block(1, Region::Sender, b"spam@bad.example", hits)), [0u16; 0]);
        assert_eq!(set(|hits| matcher.block(0, Region::Header, b"spam", hits)), [0u16; 0]);
        assert_eq!(set(|hits| matcher.block(9, Region::Sender, b"spam", hits)), [0u16; 0]);
        let usage = matcher.usage();
        assert_eq!((usage.scans.get(), usage.scanned_bytes.get(), usage.hits.get()), (1, 16, 2));
    }

    #[test]
    fn streams_are_apart_and_used_again() {
        let mut matcher = Patterns::load(&two_policies()).unwrap().matcher(2).unwrap();
        let usage = matcher.usage();
        assert_eq!(matcher.open(1, Region::Sender), Ok(None));
        let first = matcher.open(0, Region::Body).unwrap().unwrap();
        let second = matcher.open(0, Region::Body).unwrap().unwrap();
        assert_eq!(set(|hits| matcher.stream(&first, b"cas", hits)), [0u16; 0]);
        assert_eq!(set(|hits| matcher.stream(&second, b"ino", hits)), [0u16; 0]);
        assert_eq!(set(|hits| matcher.stream(&first, b"ino", hits)), [2]);
        assert_eq!(matcher.open(0, Region::Body), Err(NoStream));
        assert_eq!(usage.streams_refused.get(), 1);
        assert_eq!(set(|hits| matcher.stream(&second, b" bye", hits)), [0u16; 0]);
        assert_eq!(set(|hits| matcher.close(second, hits)), [255], "what needs the end is found at the end");
        let again = matcher.open(0, Region::Body).unwrap().unwrap();
        assert_eq!(set(|hits| matcher.close(again, hits)), [0u16; 0], "nothing is left of the first use");
        assert_eq!((usage.streams_open.get(), usage.streams_allocated.get()), (1, 2));
        // All slots hold streams of the first policy; an idle one makes room for the second.
        let other = matcher.open(1, Region::Body).unwrap().unwrap();
        assert_eq!(set(|hits| matcher.stream(&other, b"secret casino", hits)), [9]);
        assert_eq!(usage.streams_allocated.get(), 2);
    }

    /// Patterns that Vectorscan 5.4.9, as it was released, misses near the end of a call, and texts that they match.
    const FRAGILE: &[(&str, &str)] = &[
        ("(ba+|abcA)", "abcA"),
        ("(ba+|abcA)", "ba"),
        ("[^a]b", "cb"),
        ("(a|ac|A)", "A"),
        ("(1a$|bc)", "bc"),
        ("x.*(bc|d1)", "xbc"),
        ("^Q", ""),
        ("bc$", "bc"),
    ];

    /// Wherever the end of a call falls in a text or behind it: what stands there is found, and nothing else.
    #[test]
    fn nothing_is_lost_where_a_call_ends() {
        for (pattern, text) in FRAGILE {
            let databases = [Region::Sender, Region::Body].map(|region| database(region, &[(pattern, 7)]));
            let patterns = Patterns::load(&artifact(vec![policy("in", databases.to_vec())])).unwrap();
            let mut matcher = patterns.matcher(1).unwrap();
            for filler in 0..70 {
                for behind in [0, 1, 15, 16, 17, 40] {
                    let mut all = vec![b'Z'; filler];
                    all.extend_from_slice(text.as_bytes());
                    // What `$` is to find has nothing behind it.
                    all.resize(all.len() + if pattern.ends_with('$') { 0 } else { behind }, b'Z');
                    let expected: &[u16] = if text.is_empty() { &[] } else { &[7] };
                    let place = format!("{pattern} in {:?}", String::from_utf8_lossy(&all));
                    let block = set(|hits| matcher.block(0, Region::Sender, &all, hits));
                    assert_eq!(block, expected, "{place}");
                    for cut in filler..=all.len() {
                        let stream = matcher.open(0, Region::Body).unwrap().unwrap();
                        let found = set(|hits| {
                            matcher.stream(&stream, &all[..cut], hits);
                            matcher.stream(&stream, &all[cut..], hits);
                            matcher.close(stream, hits);
                        });
                        assert_eq!(found, expected, "{place} cut at {cut}");
                    }
                }
            }
            // Blocks leave nothing behind, and an empty one is a block too.
            assert_eq!(set(|hits| matcher.block(0, Region::Sender, b"", hits)), [0u16; 0]);
            assert_eq!(matcher.usage().streams_open.get(), 0);
            assert_eq!(matcher.usage().streams_allocated.get(), 1);
        }
    }

    #[test]
    fn a_bad_database_is_named() {
        let mut bad = two_policies();
        bad.library = "5.4.0 2021-01-26".into();
        let error = Patterns::load(&bad).unwrap_err().to_string();
        assert!(error.contains("`5.4.0 2021-01-26`") && error.contains(hyperscan::version()), "{error}");

        let mut bad = two_policies();
        bad.target = "sparc generic".into();
        assert!(Patterns::load(&bad).unwrap_err().to_string().contains("compiled for `sparc generic`"));

        let mut bad = two_policies();
        bad.policy.smtp[1].databases[0].bytes[100] ^= 1;
        assert_eq!(
            Patterns::load(&bad).unwrap_err().to_string(),
            "patterns of policy `out` for bodies: not a pattern database, or a damaged one"
        );

        let mut bad = two_policies();
        bad.policy.smtp[1].databases[0].streaming = false;
        assert!(Patterns::load(&bad).unwrap_err().to_string().contains("other mode"));
        // Without patterns, the library does not matter.
        let mut none = artifact(vec![policy("none", vec![])]);
        none.library = "another".into();
        assert_eq!(Patterns::load(&none).unwrap().memory_len(), 0);
    }
}
