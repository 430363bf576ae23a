//! Events and syslog lines: what the workers report, written by one thread.
//!
//! A worker hands over fixed-size records through a bounded channel and never waits: when the thread is behind,
//! records are lost and counted, frames are not. Formatting, escaping and writing happen here.

pub mod escape;
pub mod json;
pub mod message;
pub mod names;
#[cfg(test)]
pub(crate) mod sample;
pub mod syslog;

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use artifact::model::Policy;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use inspect::event::{Body, Decision, Kind, Record};

use crate::edition::{Editions, Register};

use self::json::Event;
use self::message::message;
use self::names::Names;
use self::syslog::Syslog;

/// How long the thread sleeps when no record waits. Records of as much time must find room in the channel: by default 1.6
/// million a second do.
const PAUSE: Duration = Duration::from_millis(10);

/// Takes the records of a worker.
pub trait Sink {
    /// Takes one; never waits.
    fn record(&mut self, record: Record);
    /// Records lost since the start.
    fn lost_count(&self) -> u64;
}

/// Hands records to the journal thread.
#[derive(Debug)]
pub struct ChannelSink {
    sender: Sender<Record>,
    lost_count: u64,
}

/// A channel for `capacity` records; a worker's sink and the thread's end.
#[must_use]
pub fn channel(capacity: usize) -> (ChannelSink, Receiver<Record>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    (ChannelSink { sender, lost_count: 0 }, receiver)
}

impl ChannelSink {
    /// A sink of another worker into the same channel.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { sender: self.sender.clone(), lost_count: 0 }
    }
}

impl Sink for ChannelSink {
    fn record(&mut self, record: Record) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.sender.try_send(record) {
            self.lost_count += 1;
        }
    }

    fn lost_count(&self) -> u64 {
        self.lost_count
    }
}

/// What the journal did, for metrics.
#[derive(Debug, Default)]
pub struct JournalStatus {
    /// Events written.
    pub events: AtomicU64,
    /// Events that could not be written.
    pub events_lost: AtomicU64,
    /// Syslog lines sent.
    pub syslog: AtomicU64,
    /// Syslog lines that could not be sent, or were more than the limit.
    pub syslog_lost: AtomicU64,
}

/// Where events are written.
pub type Output = Box<dyn Write + Send>;

/// Opens the target of `--events`: `-` is standard output, else a file. A gateway appends to it; a replay writes it
/// anew, so that the same replay gives the same file.
///
/// # Errors
/// When the file cannot be opened.
pub fn open_events(target: &str, append: bool) -> io::Result<Output> {
    if target == "-" {
        return Ok(Box::new(io::stdout()));
    }
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(append).truncate(!append);
    Ok(Box::new(options.open(target)?))
}

/// Turns records into lines and writes them.
pub struct Scribe {
    register: Arc<Register>,
    /// The register's editions when it was last asked.
    editions: Arc<Editions>,
    /// Origin of the records' clock, in nanoseconds after 1970 began.
    epoch: u64,
    events: Option<BufWriter<Output>>,
    syslog: Option<Syslog>,
    status: Arc<JournalStatus>,
    line: Vec<u8>,
    complained: bool,
}

impl std::fmt::Debug for Scribe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scribe").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Scribe {
    /// A scribe for records of the policies in `register`, whose clock began `epoch` nanoseconds after 1970 did.
    #[must_use]
    pub fn new(register: Arc<Register>, epoch: u64, events: Option<Output>, syslog: Option<Syslog>) -> Self {
        Self::with_status(register, epoch, events, syslog, Arc::default())
    }

    /// The same, with a status that is already known elsewhere.
    #[must_use]
    pub fn with_status(
        register: Arc<Register>,
        epoch: u64,
        events: Option<Output>,
        syslog: Option<Syslog>,
        status: Arc<JournalStatus>,
    ) -> Self {
        Self {
            editions: register.get(),
            register,
            epoch,
            events: events.map(|output| BufWriter::with_capacity(64 * 1024, output)),
            syslog,
            status,
            line: Vec::new(),
            complained: false,
        }
    }

    /// What it did so far; stays up to date.
    #[must_use]
    pub fn status(&self) -> Arc<JournalStatus> {
        Arc::clone(&self.status)
    }

    /// Writes a record.
    pub fn write(&mut self, record: &Record) {
        let policy = self.policy_of(record);
        if !is_wanted(record, &policy) {
            return;
        }
        if self.events.is_some()
            && let Some(event) = Event::new(record, &policy, self.epoch)
        {
            self.line.clear();
            // Serializing plain structures into memory does not fail.
            if serde_json::to_writer(&mut self.line, &event).is_ok() {
                self.write_line();
            }
        }
        if let Some(syslog) = &mut self.syslog
            && is_alert(record, &policy)
            && let Some(message) = message(record, &policy)
        {
            syslog.send(&message, self.epoch.saturating_add(record.at.as_nanos()));
            self.status.syslog.store(syslog.sent_count, Ordering::Relaxed);
            self.status.syslog_lost.store(syslog.lost_count, Ordering::Relaxed);
        }
    }

    /// The policy that the record's indexes belong to.
    fn policy_of(&mut self, record: &Record) -> Arc<Policy> {
        if self.editions.policy_of(record).is_none() {
            self.editions = self.register.get();
        }
        // One that nobody knows any more has no names to give.
        self.editions.policy_of(record).cloned().unwrap_or_default()
    }

    /// Writes a `stats` event: the counters since the start, at `nanos` after 1970 began.
    pub fn write_stats(&mut self, nanos: u64, stats: &serde_json::Value) {
        let event = serde_json::json!({
            "timestamp": json::timestamp(nanos),
            "event_type": "stats",
            "stats": stats,
        });
        self.line.clear();
        if self.events.is_some() && serde_json::to_writer(&mut self.line, &event).is_ok() {
            self.write_line();
        }
    }

    /// Writes `line` and a line end.
    fn write_line(&mut self) {
        let Some(events) = &mut self.events else { return };
        self.line.push(b'\n');
        match events.write_all(&self.line) {
            Ok(()) => {
                self.status.events.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Makes what was written visible to readers.
    pub fn flush(&mut self) {
        if let Some(Err(error)) = self.events.as_mut().map(Write::flush) {
            self.complain(&error);
        }
    }

    /// Whether an event could not be written since the start.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.complained
    }

    fn complain(&mut self, error: &io::Error) {
        self.status.events_lost.fetch_add(1, Ordering::Relaxed);
        if !self.complained {
            self.complained = true;
            eprintln!("postern: events cannot be written and are lost: {error}");
        }
    }

    /// Writes what comes through `records` until every sink is gone. Lines become visible when nothing more is
    /// waiting. `stats` is asked for a `stats` event every `stats_interval`, unless that is zero.
    pub fn run(
        mut self,
        records: &Receiver<Record>,
        stats_interval: Duration,
        mut stats: impl FnMut() -> (u64, serde_json::Value),
    ) {
        let mut stats_at = Instant::now() + stats_interval;
        loop {
            match records.try_recv() {
                Ok(record) => {
                    self.write(&record);
                    continue;
                }
                Err(crossbeam_channel::TryRecvError::Disconnected) => break,
                Err(crossbeam_channel::TryRecvError::Empty) => self.flush(),
            }
            if !stats_interval.is_zero() && Instant::now() >= stats_at {
                stats_at += stats_interval;
                let (nanos, value) = stats();
                self.write_stats(nanos, &value);
            }
            // Not `recv_timeout`: a worker would make a system call for each record to wake this thread.
            std::thread::sleep(PAUSE);
        }
        self.flush();
    }
}

/// A scribe is a sink too, for replay: one thread, nothing lost.
impl Sink for Scribe {
    fn record(&mut self, record: Record) {
        self.write(&record);
    }

    fn lost_count(&self) -> u64 {
        0
    }
}

/// The audit trail is written where the policy says so; all else always.
fn is_wanted(record: &Record, policy: &Policy) -> bool {
    match (&record.body, &record.flow) {
        (Body::Transaction(_) | Body::FlowStart | Body::FlowEnd(_), Some(flow)) => {
            Names::of(flow, policy).audit_trail
        }
        _ => true,
    }
}

/// Whether a record goes to syslog. What a class decides is logged where the class says `log`; `alert off` silences
/// what inspection says by itself.
fn is_alert(record: &Record, policy: &Policy) -> bool {
    match (&record.body, &record.flow) {
        (Body::Decision(decision @ Decision { kind: Kind::SmtpMatch, .. }), Some(flow)) => {
            Names::of(flow, policy).class(decision).is_none_or(|class| class.log)
        }
        (Body::Decision(_) | Body::Limit(_), Some(flow)) => Names::of(flow, policy).alert,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::event::Action;
    use std::sync::Mutex;

    /// Octets that a test can look at while the scribe has the writing end.
    #[derive(Debug, Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn kinds(&self) -> Vec<String> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines()
                .map(|line| {
                    serde_json::from_str::<serde_json::Value>(line).unwrap()["event_type"]
                        .as_str()
                        .unwrap()
                        .into()
                })
                .collect()
        }
    }

    fn scribe(policy: Policy, shared: &Shared) -> Scribe {
        Scribe::new(sample::register(policy), 0, Some(Box::new(shared.clone())), None)
    }

    #[test]
    fn the_thread_writes_everything_before_it_ends() {
        let shared = Shared::default();
        let (mut sink, records) = channel(8);
        let mut second = sink.another();
        let scribe = scribe(sample::policy(), &shared);
        let status = scribe.status();
        sink.record(sample::decision(Kind::SmtpInvalidCommand, b"X", Action::Mask));
        second.record(sample::refused());
        second.record(sample::record(Body::FlowStart));
        drop((sink, second));
        scribe.run(&records, Duration::ZERO, || unreachable!("no stats were asked for"));
        assert_eq!(shared.kinds(), ["alert", "drop", "flow"]);
        assert_eq!(status.events.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_full_channel_loses_and_counts() {
        let (mut sink, records) = channel(2);
        for _ in 0..5 {
            sink.record(sample::refused());
        }
        assert_eq!((records.len(), sink.lost_count()), (2, 3));
    }

    #[test]
    fn the_audit_trail_has_a_switch() {
        let shared = Shared::default();
        let mut quiet = sample::policy();
        quiet.parameters[0].audit_trail = false;
        let mut scribe = scribe(quiet, &shared);
        scribe.write(&sample::record(Body::FlowStart));
        scribe.write(&sample::record(Body::FlowEnd(sample::totals())));
        scribe.write(&sample::record(Body::Transaction(sample::transaction())));
        scribe.write(&sample::anomaly());
        scribe.flush();
        assert_eq!(shared.kinds(), ["anomaly"]);
    }

    #[test]
    fn alert_off_silences_inspection_but_not_log() {
        let mut quiet = sample::policy();
        quiet.smtp[0].alert = false;
        let built_in = sample::decision(Kind::SmtpInvalidCommand, b"X", Action::Mask);
        let logged = sample::decision(Kind::SmtpMatch, b"X", Action::Log);
        assert!(!is_alert(&built_in, &quiet) && is_alert(&logged, &quiet));
        assert!(is_alert(&built_in, &sample::policy()));
        let limit = sample::record(Body::Limit(inspect::event::Limit::HostUnblocked));
        assert!(!is_alert(&limit, &quiet) && is_alert(&limit, &sample::policy()));
    }

    #[test]
    fn a_class_logs_only_where_it_says_so() {
        let mut policy = sample::policy();
        let mut masked = sample::decision(Kind::SmtpMatch, b"X", Action::Mask);
        sample::by_class(&mut masked, 0, 0);
        assert!(is_alert(&masked, &policy));
        policy.smtp[0].classes[0].log = false;
        assert!(!is_alert(&masked, &policy));
    }

    #[test]
    fn stats_are_an_event() {
        let shared = Shared::default();
        let mut scribe = scribe(sample::policy(), &shared);
        scribe.write_stats(0, &serde_json::json!({"uptime": 1}));
        scribe.flush();
        assert_eq!(shared.kinds(), ["stats"]);
    }

    #[test]
    fn a_full_disk_loses_events_and_says_so_once() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut scribe = Scribe::new(sample::register(sample::policy()), 0, Some(Box::new(Full)), None);
        scribe.write(&sample::refused());
        scribe.flush();
        assert!(scribe.has_failed());
        assert_eq!(scribe.status().events_lost.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn records_are_named_by_the_policy_their_session_began_under() {
        let shared = Shared::default();
        let register = sample::register(sample::policy());
        let mut scribe = Scribe::new(Arc::clone(&register), 0, Some(Box::new(shared.clone())), None);
        let mut renamed = sample::policy();
        renamed.paths[0].zone_pair = "renamed".into();
        register.set(Arc::new(register.get().next(&sample::artifact(renamed))));
        let old = sample::anomaly();
        let mut new = old;
        new.flow = old.flow.map(|flow| inspect::event::FlowTag { generation: 1, ..flow });
        let mut unknown = old;
        unknown.flow = old.flow.map(|flow| inspect::event::FlowTag { generation: 7, ..flow });
        for record in [&old, &new, &old, &unknown] {
            scribe.write(record);
        }
        scribe.flush();
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        let names: Vec<_> = text
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["postern"]["zone_pair"].clone()
            })
            .collect();
        assert_eq!(names, ["in-out", "renamed", "in-out", "?"]);
    }
}
