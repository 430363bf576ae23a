//! Prometheus text: what the board says, under names that stay.
//!
//! Names start with `postern_`, counters end in `_total`, units are seconds and bytes, and label values come from
//! bounded sets: never an address, never a peer's octets. A new row of [`inspect::counter`] appears by itself.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use artifact::settings::SIGNATURES;
use inspect::anomaly::Anomaly;
use inspect::event::EndReason;
use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::board::{BURST_BUCKETS, Board, Histogram, Sums, WorkerState};

const METADATA: Metadata<'_> = Metadata::new("postern", Level::INFO, None);

/// Everything the board says, in the text format 0.0.4.
#[must_use]
pub fn exposition(board: &Board) -> String {
    let page = Page(PrometheusBuilder::new().build_recorder());
    let workers = board.workers();
    let sums = Sums::of(&workers, &board.editions());
    page.identity(board);
    page.counters(board, &sums);
    page.decisions(board, &sums);
    page.workers(board, &workers);
    page.journal(board, &workers);
    page.kernel(board);
    let mut text = page.0.handle().render();
    let mut bursts = Histogram::default();
    for worker in &workers {
        bursts.add(&worker.totals.bursts);
    }
    histogram(&mut text, &bursts);
    text
}

/// Labels of one series.
type Labels<'a> = &'a [(&'static str, &'a str)];

/// One answer to a scrape, while it is written.
struct Page(PrometheusRecorder);

impl Page {
    fn key(name: &'static str, labels: Labels<'_>) -> Key {
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| Label::new(*key, (*value).to_owned())).collect();
        Key::from_parts(name, labels)
    }

    fn counter(&self, name: &'static str, help: &'static str, labels: Labels<'_>, value: u64) {
        debug_assert!(name.starts_with("postern_") && name.ends_with("_total"), "{name}");
        self.0.describe_counter(KeyName::from_const_str(name), None, help.into());
        self.0.register_counter(&Self::key(name, labels), &METADATA).absolute(value);
    }

    #[allow(clippy::cast_precision_loss)]
    fn gauge(&self, name: &'static str, help: &'static str, labels: Labels<'_>, value: f64) {
        self.0.describe_gauge(KeyName::from_const_str(name), None, help.into());
        self.0.register_gauge(&Self::key(name, labels), &METADATA).set(value);
    }

    fn identity(&self, board: &Board) {
        let build = [("version", env!("CARGO_PKG_VERSION")), ("matcher_library", board.library)];
        self.gauge("postern_build_info", "Always 1; the labels say which program this is.", &build, 1.0);
        let edition = board.edition();
        let policy = [("source", edition.policy.source.name.as_str()), ("digest", edition.digest.as_str())];
        self.gauge("postern_policy_info", "Always 1; the labels say which policy is in force.", &policy, 1.0);
        self.gauge("postern_ready", "1 when frames flow.", &[], f64::from(u8::from(board.is_ready())));
        let started = board.started.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.gauge(
            "postern_start_time_seconds",
            "Start of the program, in seconds after 1970 began.",
            &[],
            started,
        );
        let reloads = board.reloads.load(Ordering::Relaxed);
        self.counter("postern_reloads_total", "Times another policy came into force.", &[], reloads);
        let failures = board.reload_failures.load(Ordering::Relaxed);
        let help = "Times a policy could not be loaded; the one before stayed in force.";
        self.counter("postern_reload_failures_total", help, &[], failures);
        let restarts = board.port_restarts.load(Ordering::Relaxed);
        self.counter("postern_port_restarts_total", "Times the ports had to be opened again.", &[], restarts);
    }

    fn counters(&self, board: &Board, sums: &Sums) {
        for (row, help, value) in sums.counters.rows() {
            match place(row) {
                Place::Port { metric, port, direction } => {
                    let labels = [("port", board.port_names[port].as_str()), ("direction", direction)];
                    self.counter(metric, "By port and direction.", &labels, value);
                }
                Place::Fate(fate) => self.fate(fate, None, value),
                Place::Dropped(reason) => self.fate("dropped", Some(reason), value),
                Place::Command(verb) => {
                    let labels = [("verb", verb)];
                    self.counter(
                        "postern_smtp_commands_total",
                        "SMTP command lines by verb.",
                        &labels,
                        value,
                    );
                }
                Place::Reply(class) => {
                    let labels = [("class", class)];
                    let help = "SMTP replies by the first digit of their code.";
                    self.counter("postern_smtp_replies_total", help, &labels, value);
                }
                Place::Flows(state) => {
                    self.gauge("postern_flows", "Sessions there are now.", &[("state", state)], value as f64);
                }
                Place::Own => self.counter(own_name(row), help, &[], value),
                Place::Elsewhere => {}
            }
        }
        for (reason, value) in EndReason::ALL.into_iter().zip(sums.counters.flows_ended) {
            let help = "Sessions ended, by reason.";
            self.counter("postern_flows_ended_total", help, &[("reason", reason.word())], value);
        }
        for (anomaly, value) in Anomaly::ALL.iter().zip(sums.counters.anomalies) {
            let help = "What no honest peer does, and budgets that were hit.";
            self.counter("postern_anomalies_total", help, &[("kind", anomaly.label())], value);
        }
        for (row, value) in SIGNATURES.iter().zip(sums.counters.signatures) {
            let help = "Refusals by signature.";
            self.counter("postern_signature_hits_total", help, &[("id", &row.id.to_string())], value);
        }
        let matcher = &sums.matcher;
        self.counter("postern_matcher_scans_total", "Calls of the pattern matcher.", &[], matcher.scans);
        self.counter(
            "postern_matcher_scanned_bytes_total",
            "Octets given to the pattern matcher.",
            &[],
            matcher.scanned_bytes,
        );
        self.counter("postern_matcher_hits_total", "Patterns found.", &[], matcher.hits);
        self.counter(
            "postern_matcher_streams_refused_total",
            "Scans refused because every stream was in use; their sessions were refused too.",
            &[],
            matcher.streams_refused,
        );
        let help = "Streams of the pattern matcher.";
        self.gauge("postern_matcher_streams", help, &[("state", "open")], matcher.streams_open as f64);
        let idle = matcher.streams_allocated.saturating_sub(matcher.streams_open);
        self.gauge("postern_matcher_streams", help, &[("state", "idle")], idle as f64);
    }

    fn fate(&self, fate: &str, reason: Option<&str>, value: u64) {
        let help = "Frames by what became of them; dropped ones by reason.";
        let labels = [("fate", fate), ("reason", reason.unwrap_or_default())];
        let count = 1 + usize::from(reason.is_some());
        self.counter("postern_frames_total", help, &labels[..count], value);
    }

    fn decisions(&self, board: &Board, sums: &Sums) {
        for (kind, by, action, value) in sums.tally.decisions().filter(|(.., value)| *value > 0) {
            let labels = [("kind", kind.mnemonic()), ("match", by.label), ("action", action.word())];
            let help = "Decisions by mnemonic, kind of match and action.";
            self.counter("postern_decisions_total", help, &labels, value);
        }
        for (row, action, value) in sums.tally.classes(&board.editions()) {
            let labels = [
                ("zone_pair", row.zone_pair.as_str()),
                ("policy", row.policy.as_str()),
                ("class", row.class.as_str()),
                ("action", action.word()),
            ];
            self.counter("postern_class_hits_total", "Hits of each class of the policy.", &labels, value);
        }
    }

    fn workers(&self, board: &Board, workers: &[WorkerState]) {
        for (number, worker) in workers.iter().enumerate() {
            let number = number.to_string();
            let totals = &worker.totals;
            let label = [("worker", number.as_str())];
            let seconds = |nanos: u64| nanos as f64 / 1e9;
            // Seconds of work over seconds of life: as gauges, since the exporter's counters are whole numbers.
            let busy = if totals.total_nanos == 0 {
                0.0
            } else {
                seconds(totals.busy_nanos) / seconds(totals.total_nanos)
            };
            self.gauge(
                "postern_worker_busy_ratio",
                "Part of its time a worker had frames, since its start.",
                &label,
                busy,
            );
            let help = "Times a worker slept until frames came.";
            self.counter("postern_worker_sleeps_total", help, &label, totals.sleeps);
            let help = "Chunks of frame memory; `surplus` are other workers' that this one has, less its own that they have.";
            let has = totals.chunks.saturating_add_signed(totals.handover.surplus);
            for (state, value) in [
                ("free", totals.chunks_free as f64),
                ("used", has.saturating_sub(totals.chunks_free) as f64),
                ("surplus", totals.handover.surplus as f64),
            ] {
                let labels = [("worker", number.as_str()), ("state", state)];
                self.gauge("postern_umem_chunks", help, &labels, value);
            }
            let handover = &totals.handover;
            for (direction, value) in [("given", handover.given), ("taken", handover.taken)] {
                let labels = [("worker", number.as_str()), ("direction", direction)];
                let help =
                    "Frames given to the worker that has their session, and taken from the one they came to.";
                self.counter("postern_handover_frames_total", help, &labels, value);
            }
            for (name, help, value) in [
                (
                    "postern_handover_dropped_total",
                    "Frames dropped because the queue of the worker that has their session was full.",
                    handover.dropped,
                ),
                (
                    "postern_handover_chunks_returned_total",
                    "Free chunks given back for frames that were taken.",
                    handover.returned,
                ),
                ("postern_handover_wakeups_total", "Times another worker had to be woken.", handover.rung),
            ] {
                self.counter(name, help, &label, value);
            }
            for (port, level) in totals.levels.iter().enumerate() {
                let labels = [("worker", number.as_str()), ("port", board.port_names[port].as_str())];
                for (ring, value) in [("tx", level.tx_queued), ("fill", level.fill_queued)] {
                    let labels = [labels[0], labels[1], ("ring", ring)];
                    self.gauge(
                        "postern_ring_queued",
                        "Descriptors waiting in a ring.",
                        &labels,
                        value as f64,
                    );
                }
                for (name, help, value) in [
                    ("postern_port_rx_lost_total", "Frames lost before the gateway saw them.", level.rx_lost),
                    ("postern_port_tx_refused_total", "Frames the kernel refused to send.", level.tx_refused),
                    (
                        "postern_port_tx_full_total",
                        "Frames dropped because the ring was full.",
                        totals.tx_full[port],
                    ),
                    ("postern_port_wakeups_total", "System calls to wake the kernel up.", level.wakeups),
                ] {
                    self.counter(name, help, &labels, value);
                }
            }
        }
    }

    fn kernel(&self, board: &Board) {
        for (port, counts) in board.port_names.iter().zip(board.kernel()) {
            for (fate, frames, octets) in counts {
                let labels = [("port", port.as_str()), ("fate", fate)];
                let help = "Frames by what the XDP program did with them, by port of entry.";
                self.counter("postern_xdp_frames_total", help, &labels, frames);
                let help = "Octets by what the XDP program did with them, by port of entry.";
                self.counter("postern_xdp_bytes_total", help, &labels, octets);
            }
        }
    }

    fn journal(&self, board: &Board, workers: &[WorkerState]) {
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let lost: u64 = workers.iter().map(|worker| worker.totals.records_lost).sum();
        for (name, help, value) in [
            ("postern_records_lost_total", "Records lost because the journal was behind.", lost),
            ("postern_events_total", "Events written.", count(&board.journal.events)),
            (
                "postern_events_lost_total",
                "Events that could not be written.",
                count(&board.journal.events_lost),
            ),
            ("postern_syslog_lines_total", "Syslog lines sent.", count(&board.journal.syslog)),
            (
                "postern_syslog_lines_lost_total",
                "Syslog lines that could not be sent, or were more than the limit.",
                count(&board.journal.syslog_lost),
            ),
        ] {
            self.counter(name, help, &[], value);
        }
    }
}

/// Where a row of the engine's counters stands.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Port {
        metric: &'static str,
        port: usize,
        direction: &'static str,
    },
    Fate(&'static str),
    Dropped(&'static str),
    Flows(&'static str),
    Command(&'static str),
    Reply(&'static str),
    /// A metric of its own.
    Own,
    /// The matcher or the worker knows better, or it is the sum of others.
    Elsewhere,
}

fn place(row: &'static str) -> Place {
    let port = |metric, rest: &str| {
        let (direction, port) = rest.split_once('_')?;
        let direction = if direction == "received" { "received" } else { "transmitted" };
        Some(Place::Port { metric, port: usize::from(port == "b"), direction })
    };
    match row {
        "frames_forwarded" => Place::Fate("forwarded"),
        "frames_rewritten" => Place::Fate("rewritten"),
        "frames_generated" => Place::Fate("generated"),
        "frames_held" => Place::Fate("held"),
        "flows_active" => Place::Flows("active"),
        "flows_half_open" => Place::Flows("half_open"),
        "scans" | "scanned_bytes" | "scan_hits" | "records_lost" | "smtp_commands" | "smtp_replies" => {
            Place::Elsewhere
        }
        _ => row
            .strip_prefix("dropped_")
            .map(Place::Dropped)
            .or_else(|| row.strip_prefix("smtp_commands_").map(Place::Command))
            .or_else(|| row.strip_prefix("smtp_replies_").map(Place::Reply))
            .or_else(|| port("postern_port_frames_total", row.strip_prefix("frames_")?))
            .or_else(|| {
                let rest = row.strip_prefix("bytes_")?;
                port("postern_port_bytes_total", rest)
            })
            .unwrap_or(Place::Own),
    }
}

/// `postern_ROW_total`. Rows are a fixed set, so that each name is made once.
fn own_name(row: &'static str) -> &'static str {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};
    static NAMES: LazyLock<Mutex<HashMap<&'static str, &'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    names.entry(row).or_insert_with(|| Box::leak(format!("postern_{row}_total").into_boxed_str()))
}

/// The exporter cannot take a histogram that was counted elsewhere, so this one is written by hand.
fn histogram(text: &mut String, bursts: &Histogram) {
    const NAME: &str = "postern_burst_duration_seconds";
    // Writing to a string does not fail.
    let _ =
        writeln!(text, "# HELP {NAME} Time from the receipt of a burst until its frames were handed over.");
    let _ = writeln!(text, "# TYPE {NAME} histogram");
    let mut total = 0;
    for (position, count) in bursts.counts.iter().enumerate() {
        total += count;
        let bound =
            BURST_BUCKETS.get(position).map_or("+Inf".into(), |nanos| (*nanos as f64 / 1e9).to_string());
        let _ = writeln!(text, "{NAME}_bucket{{le=\"{bound}\"}} {total}");
    }
    let _ = writeln!(text, "{NAME}_sum {}", bursts.sum as f64 / 1e9);
    let _ = writeln!(text, "{NAME}_count {total}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;
    use crate::port;
    use inspect::event::{Action, Kind};
    use std::collections::HashSet;

    fn board() -> Board {
        let artifact = sample::artifact(sample::policy());
        let names = ["inside", "outside"].map(String::from);
        let board = Board::new(&artifact, names.clone(), names, 2, Default::default());
        let mut state = WorkerState::new(&board.editions());
        state.counters.frames_received_a = 5;
        state.counters.bytes_transmitted_b = 700;
        state.counters.dropped_fragment = 2;
        state.counters.smtp_masked_commands = 1;
        state.counters.smtp_commands_ehlo = 3;
        state.counters.smtp_replies_5xx = 2;
        state.counters.flows_active = 3;
        state.counters.anomaly(Anomaly::Urgent);
        state.counters.signature(3101);
        let mut record = sample::decision(Kind::SmtpMatch, b"x", Action::Close);
        sample::by_class(&mut record, 0, 0);
        state.tally.record(&record, &board.editions());
        state.totals.chunks = 100;
        state.totals.chunks_free = 40;
        state.totals.handover.given = 3;
        state.totals.handover.surplus = -2;
        state.totals.levels[1] = port::Level { rx_lost: 9, ..port::Level::default() };
        state.totals.busy_nanos = 1;
        state.totals.total_nanos = 4;
        state.totals.bursts.record(1_500);
        board.set_kernel([vec![("bridged", 6, 600)], Vec::new()]);
        board.publish(0, &state);
        board.publish(1, &state);
        board
    }

    #[test]
    fn what_the_board_says_is_there() {
        let text = exposition(&board());
        for line in [
            r#"postern_port_frames_total{port="inside",direction="received"} 10"#,
            r#"postern_port_bytes_total{port="outside",direction="transmitted"} 1400"#,
            r#"postern_frames_total{fate="dropped",reason="fragment"} 4"#,
            r#"postern_frames_total{fate="forwarded"} 0"#,
            r#"postern_flows{state="active"} 6"#,
            r#"postern_flows_ended_total{reason="client_reset"} 0"#,
            "postern_smtp_masked_commands_total 2",
            "postern_smtp_commands_total{verb=\"ehlo\"} 6",
            "postern_smtp_replies_total{class=\"5xx\"} 4",
            r#"postern_anomalies_total{kind="tcp_urgent"} 2"#,
            r#"postern_signature_hits_total{id="3101"} 2"#,
            r#"postern_signature_hits_total{id="7009"} 0"#,
            r#"postern_decisions_total{kind="SMTP_MATCH",match="sender_address",action="close"} 2"#,
            r#"postern_class_hits_total{zone_pair="in-out",policy="mail-rules",class="spam",action="close"} 2"#,
            r#"postern_class_hits_total{zone_pair="in-out",policy="mail-rules",class="spam",action="log"} 0"#,
            r#"postern_worker_busy_ratio{worker="1"} 0.25"#,
            r#"postern_umem_chunks{worker="0",state="used"} 58"#,
            r#"postern_umem_chunks{worker="0",state="surplus"} -2"#,
            r#"postern_handover_frames_total{worker="0",direction="given"} 3"#,
            r#"postern_handover_dropped_total{worker="0"} 0"#,
            r#"postern_port_rx_lost_total{worker="0",port="outside"} 9"#,
            r#"postern_burst_duration_seconds_bucket{le="0.000001"} 0"#,
            r#"postern_burst_duration_seconds_bucket{le="0.000002"} 2"#,
            r#"postern_burst_duration_seconds_bucket{le="+Inf"} 2"#,
            "postern_burst_duration_seconds_count 2",
            "postern_ready 0",
            r#"postern_xdp_frames_total{port="inside",fate="bridged"} 6"#,
        ] {
            assert!(text.lines().any(|there| there == line), "missing: {line}\n{text}");
        }
        assert!(text.contains(&format!("digest=\"{}\"", "ab".repeat(32))));
        assert!(text.contains(&format!("postern_build_info{{version=\"{}\"", env!("CARGO_PKG_VERSION"))));
    }

    #[test]
    fn it_is_well_formed() {
        let text = exposition(&board());
        let mut series = HashSet::new();
        let mut typed = HashSet::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(typed.insert(rest.split(' ').next().unwrap().to_owned()), "typed twice: {line}");
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            assert!(line.starts_with("postern_"), "{line}");
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(name.to_owned()), "twice: {line}");
        }
        assert!(text.matches("# HELP").count() >= typed.len());
        let burst_bounds = BURST_BUCKETS.is_sorted();
        assert!(burst_bounds);
    }

    #[test]
    fn every_counter_row_has_a_place() {
        for (row, ..) in inspect::counter::Counters::default().rows() {
            if place(row) == Place::Own {
                assert!(own_name(row).ends_with("_total"));
                assert!(!row.ends_with("_a") && !row.ends_with("_b"), "{row}");
            }
        }
        assert_eq!(place("smtp_messages"), Place::Own);
        assert_eq!(place("something_new"), Place::Own);
    }

    #[test]
    fn a_policy_name_cannot_break_the_text() {
        let mut policy = sample::policy();
        policy.smtp[0].classes[0].name = "a\"\n\\b".into();
        let artifact = sample::artifact(policy);
        let names = ["a", "b"].map(String::from);
        let board = Board::new(&artifact, names.clone(), names, 1, Default::default());
        let text = exposition(&board);
        assert!(text.contains(r#"class="a\"\n\\b""#), "{text}");
    }
}
