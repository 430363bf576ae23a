//! `postern replay`: a capture through the same worker that carries live traffic.
//!
//! One thread, and the capture's clock: the same capture and artifact give the same frames and events.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use inspect::counter::Counters;
use inspect::engine::{Config, Engine};
use inspect::frame::VecMemory;
use inspect::unit::Instant;

use crate::config::{Checksum, ReplayArgs, UninspectedSessions};
use crate::edition::{Editions, Register};
use crate::failure::Failure;
use crate::journal::{self, Scribe};
use crate::loaded::{Loaded, Sides, place};
use crate::placement::Placement;
use crate::port::capture::{CaptureError, Reader, Writer};
use crate::port::pcap::{self, Tally};
use crate::worker::{Place, Worker};

/// Octets of a chunk: the longest frame there is, since captures hold what offloads put together.
const CHUNK_LEN: usize = 65_535;
/// Chunks there are. Untouched ones take no memory.
const CHUNK_COUNT: usize = 4096;
/// Streams of the pattern matcher.
const STREAM_LIMIT: usize = 65_536;
/// Sessions.
const FLOW_LIMIT: usize = 1 << 20;
/// Longest step of time between two looks at the timers, where the capture is silent.
const STEP: Duration = Duration::from_millis(10);
/// Looks at the timers in one silence, however long it is.
const STEP_LIMIT: u32 = 1000;

/// What a replay did.
#[derive(Debug)]
pub struct Summary {
    /// The capture's packets, and frames written.
    pub tally: Tally,
    /// The engine's counters.
    pub counters: Counters,
}

/// Why a replay ended early.
#[derive(Debug)]
pub enum Stop {
    /// The capture is bad; what came before was replayed.
    Capture(CaptureError),
    /// The output cannot be written.
    Output(io::Error),
}

/// Replays the capture of the arguments and prints what happened.
///
/// # Errors
/// Whatever is wrong with policy, capture or output, by name.
pub fn command(args: &ReplayArgs) -> Result<(), Failure> {
    let loaded = Loaded::read(&args.policy)?;
    let (sides, placement) = place(&loaded.artifact.policy, &args.zones)?;
    let input = File::open(&args.input).map_err(|error| Failure::file("--in", &args.input, &error))?;
    let output = match &args.output {
        None => None,
        Some(path) => Some(File::create(path).map_err(|error| Failure::file("--out", path, &error))?),
    };
    let events = match &args.events {
        None => None,
        Some(target) => Some(
            journal::open_events(target, false)
                .map_err(|error| Failure::Bad(format!("--events {target}: {error}")))?,
        ),
    };
    let register = Arc::new(Register::new(Editions::new(&loaded.artifact)));
    let scribe = Scribe::new(register, 0, events, None);
    let (summary, stop) = replay(
        &loaded,
        (sides, placement),
        BufReader::new(input),
        output.map(BufWriter::new),
        scribe,
        args.checksum,
        args.uninspected_sessions,
    );
    if let Some(summary) = &summary {
        eprint!("{}", describe(summary));
    }
    match stop {
        None => Ok(()),
        Some(Stop::Capture(error)) => Err(Failure::file("--in", &args.input, &error)),
        Some(Stop::Output(error)) => {
            let path = args.output.as_deref().or(args.events.as_deref().map(std::path::Path::new));
            Err(Failure::file("--out", path.unwrap_or(std::path::Path::new("-")), &error))
        }
    }
}

/// Replays a capture: as much of it as can be read. The summary is missing only when nothing could be.
pub fn replay<W: Write>(
    loaded: &Loaded,
    (sides, placement): (Sides, Placement),
    input: impl Read + Send,
    output: Option<W>,
    scribe: Scribe,
    checksum: Checksum,
    uninspected: UninspectedSessions,
) -> (Option<Summary>, Option<Stop>) {
    let reader = match Reader::new(input) {
        Ok(reader) => reader,
        Err(error) => return (None, Some(Stop::Capture(error))),
    };
    let output = match output.map(Writer::new).transpose() {
        Ok(output) => output,
        Err(error) => return (None, Some(Stop::Output(error))),
    };
    let matcher = match loaded.patterns.matcher(STREAM_LIMIT) {
        Ok(matcher) => matcher,
        Err(error) => return (None, Some(Stop::Output(io::Error::other(error)))),
    };
    let usage = matcher.usage();
    let editions = Arc::new(Editions::new(&loaded.artifact));
    let policy = Arc::clone(&editions.current().policy);
    let config = Config {
        ports: sides,
        flow_limit: FLOW_LIMIT,
        verify_checksums: checksum == Checksum::Verify,
        uninspected: uninspected.into(),
        ..Config::default()
    };
    let engine = Engine::new(policy, matcher, config);
    let (mut player, ports) = pcap::open(reader, placement, output);
    let place = Place { pool: VecMemory::pool(CHUNK_COUNT, CHUNK_LEN), ports, handover: None };
    let mut worker = Worker::new(engine, place, scribe, editions, usage, 1);

    let mut last: Option<u64> = None;
    let stop = loop {
        let now = match player.advance() {
            Ok(Some(now)) => now,
            Ok(None) => break None,
            Err(error) => break Some(Stop::Capture(error)),
        };
        let result = let_time_pass(last.unwrap_or(now), now, |at| {
            player.set_time(at);
            worker.tick(Instant::from_nanos(at))
        });
        if let Err(error) = result.and_then(|()| worker.step(Instant::from_nanos(now))) {
            break Some(Stop::Output(error));
        }
        last = Some(now);
    };
    // Sessions that the capture leaves open.
    let ended = worker.end(Instant::from_nanos(last.unwrap_or(0)));
    let stop = stop.or_else(|| ended.err().map(Stop::Output));
    let stop = stop.or_else(|| player.finish().err().map(Stop::Output));
    worker.sink_mut().flush();
    let stop = match stop {
        None if worker.sink_mut().has_failed() => Some(Stop::Output(io::Error::other("events were lost"))),
        stop => stop,
    };
    let counters = worker.state().counters.clone();
    (Some(Summary { tally: player.tally(), counters }), stop)
}

/// Calls `tick` for moments after `from` up to `to`: often enough that what is due in a silence happens about when it
/// would have, and a bounded number of times however far the capture's clock jumps.
fn let_time_pass(from: u64, to: u64, mut tick: impl FnMut(u64) -> io::Result<()>) -> io::Result<()> {
    let gap = to - from;
    let step = (STEP.as_nanos() as u64).max(gap / u64::from(STEP_LIMIT)).max(1);
    let mut at = from;
    while to - at > step {
        at += step;
        tick(at)?;
    }
    tick(to)
}

fn describe(summary: &Summary) -> String {
    let (tally, counters) = (&summary.tally, &summary.counters);
    let mut text = format!("{} packets read, {} frames transmitted", tally.read, tally.written);
    for (count, what) in [
        (tally.unreadable, "packets are not IP or cut short, and left out"),
        (tally.too_long, "packets are longer than a frame can be, and left out"),
        (tally.no_chunk, "packets found no free memory, and were left out"),
        (counters.flows_created, "sessions"),
        (counters.smtp_messages, "messages accepted"),
        (counters.smtp_masked_commands, "commands masked"),
        (counters.smtp_masked_keywords, "keywords masked"),
        (counters.smtp_closed, "sessions refused"),
    ] {
        if count > 0 {
            text.push_str(&format!("\n{count} {what}"));
        }
    }
    let dropped = counters.rows().filter(|(row, _, count)| row.starts_with("dropped_") && *count > 0);
    for (_, help, count) in dropped {
        text.push_str(&format!("\n{count}: {help}"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;
    use crate::port::sample::pcap;

    fn loaded() -> Loaded {
        let artifact = sample::artifact(sample::policy());
        Loaded::new(artifact).unwrap()
    }

    fn run(capture: &[u8]) -> (Option<Summary>, Option<Stop>, Vec<u8>) {
        let loaded = loaded();
        let mut output = Vec::new();
        let placed = place(&loaded.artifact.policy, &[]).unwrap();
        let scribe = Scribe::new(sample::register(sample::policy()), 0, None, None);
        let uninspected = UninspectedSessions::default();
        let (summary, stop) =
            replay(&loaded, placed, capture, Some(&mut output), scribe, Checksum::Trust, uninspected);
        (summary, stop, output)
    }

    /// ARP passes whatever the policy is.
    fn arp(last: u8) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.resize(60, last);
        frame
    }

    #[test]
    fn a_capture_goes_in_and_comes_out() {
        let capture = pcap(1, &[(5, 7, &arp(1)), (3000, 0, &arp(2))]);
        let (summary, stop, output) = run(&capture);
        assert!(stop.is_none());
        let tally = summary.unwrap().tally;
        assert_eq!((tally.read, tally.written), (2, 2));
        let mut reader = Reader::new(output.as_slice()).unwrap();
        let first = reader.next_packet().unwrap().unwrap();
        assert_eq!((first.nanos, first.octets), (5_000_007_000, arp(1).as_slice()));
        let second = reader.next_packet().unwrap().unwrap();
        assert_eq!((second.nanos, second.octets), (3_000_000_000_000, arp(2).as_slice()));
        assert_eq!(output, run(&capture).2, "deterministic");
    }

    #[test]
    fn what_came_before_the_damage_is_replayed() {
        let capture = pcap(1, &[(5, 7, &arp(1)), (6, 0, &arp(2))]);
        let (summary, stop, _) = run(&capture[..capture.len() - 1]);
        assert_eq!(summary.unwrap().tally.written, 1);
        assert!(matches!(stop, Some(Stop::Capture(error)) if error.offset == 100));
        let (summary, stop, _) = run(b"junk");
        assert!(summary.is_none() && matches!(stop, Some(Stop::Capture(_))));
    }

    #[test]
    fn time_passes_in_bounded_steps() {
        for (from, to) in [(0, 0), (0, 1), (5, 25_000_000), (0, u64::MAX), (7, 3_600_000_000_000)] {
            let mut moments = Vec::new();
            let_time_pass(from, to, |at| {
                moments.push(at);
                Ok(())
            })
            .unwrap();
            assert!(moments.is_sorted() && moments.len() <= 1 + STEP_LIMIT as usize, "{from} {to}");
            assert_eq!(moments.last(), Some(&to));
            assert!(moments[0] > from || from == to);
        }
    }

    #[test]
    fn the_corpus_is_replayed_without_panic_and_twice_the_same() {
        let corpus = std::env::var("POSTERN_CORPUS")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus").into());
        let mut captures = Vec::new();
        for folder in std::fs::read_dir(format!("{corpus}/pcap")).into_iter().flatten().flatten() {
            for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                if [".pcap", ".pcapng", ".trace", ".cap"].iter().any(|end| name.ends_with(end)) {
                    captures.push(file.path());
                }
            }
        }
        if captures.is_empty() {
            eprintln!("skipped: no captures at {corpus}/pcap (POSTERN_CORPUS says where they are)");
            return;
        }
        let (mut packets, mut whole) = (0, 0);
        for path in &captures {
            let octets = std::fs::read(path).unwrap();
            let (summary, stop, output) = run(&octets);
            packets += summary.map_or(0, |summary| summary.tally.read);
            whole += usize::from(stop.is_none());
            assert_eq!(output, run(&octets).2, "{}", path.display());
        }
        assert!(
            packets > 1000 && whole > captures.len() * 9 / 10,
            "{packets} packets, {whole} whole captures"
        );
    }
}
