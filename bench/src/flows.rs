//! The cost of a frame as sessions grow in number, and what a session takes when it is idle.
//!
//! So many sessions are opened and greeted; then single frames come, each of a session picked at random, as they do from
//! many slow clients: the worst case for caches.

use inspect::unit::{Direction, PortId};

use crate::flood;
use crate::gateway::{CHUNKS, Difference, Gateway, Meter, Passed, Subject};
use crate::machine::resident_len;
use crate::measure::{Samples, Stopwatch};
use crate::patterns::Target;
use crate::pipeline::{PATTERN_COUNT, SEED, Scale};
use crate::plot::{Curve, Plot};
use crate::policy::Rules;
use crate::table::{Reach, Row, Section, grouped};
use crate::traffic::connection::{Connection, Style, Turn};
use crate::traffic::ends;
use crate::traffic::script::Script;
use crate::traffic::seed::Seed;

/// Octets of a chunk: all frames are small here.
const CHUNK_LEN: usize = 256;
/// Frames of a round.
const FRAMES: u64 = 250_000;
/// What an idle session may take, all included, octets.
const IDLE_LIMIT: f64 = 1024.0;

/// Measures.
///
/// # Errors
/// When something could not be measured at all.
pub fn run(scale: Scale, meter: Meter) -> Result<(Vec<Section>, Plot), String> {
    let counts: &[u64] =
        if scale.is_quick { &[1_000, 10_000, 100_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    // At worst every session has a frame that is not yet acknowledged, and the engine keeps it.
    let most = counts.iter().max().copied().unwrap_or(0) as usize;
    let mut gateway = Gateway::new(meter, (most + CHUNKS.0, CHUNK_LEN));
    // Once over every chunk, so that the pool's own memory is not taken for that of sessions.
    gateway.touch();
    let mut section = Section::new("flows: single small frames of sessions picked at random");
    let patterns = Rules::Patterns(Target::Body, PATTERN_COUNT);

    let pinhole = crowd(Rules::Pinhole, 1_000, scale, &mut gateway, &mut section.faults)?;
    let row = pinhole.row("flows: not inspected, 1,000 sessions");
    section.rows.push(row.reaching(Reach::AtMost(60.0)));
    let mut crowds = Vec::new();
    for count in counts {
        let crowd = crowd(patterns, *count, scale, &mut gateway, &mut section.faults)?;
        section.rows.push(crowd.row(&format!("flows: inspected, {} sessions", grouped(*count as f64))));
        crowds.push(crowd);
    }
    if let [first, .., last] = &crowds[..] {
        let most = grouped(last.count as f64);
        let ratio = last.samples.median() / first.samples.median();
        let name = format!("flows: cost at {most} sessions to that at 1,000");
        let row = Row::new(name, "ratio", ratio, "ns/frame, medians");
        let is_whole = last.count == 1_000_000;
        section.rows.push(if is_whole { row.reaching(Reach::AtMost(2.5)) } else { row });
        let detail = format!("resident memory over {most} idle sessions, engine included");
        let row = Row::new("flows: memory of an idle session", "octets", last.memory_each, detail);
        section.rows.push(row.reaching(Reach::AtMost(IDLE_LIMIT)));
    }
    drop(gateway);
    let points = crowds.iter().map(|crowd| (crowd.count as f64, crowd.samples.median())).collect();
    let plot = Plot {
        name: "flows",
        title: "A frame of a session picked at random",
        x: "sessions",
        y: "ns/frame",
        curves: vec![Curve { name: "inspected, 100 body patterns", points }],
    };
    Ok((vec![section, flood::table(scale)?, flood::flood(scale, meter)?], plot))
}

/// What so many sessions cost.
#[derive(Debug)]
struct Crowd {
    count: u64,
    /// Nanoseconds per frame.
    samples: Samples,
    memory_each: f64,
    allocations: u64,
}

impl Crowd {
    fn row(&self, name: &str) -> Row {
        let median = self.samples.median();
        let detail = format!(
            "{:.2} Mframes/s, {}, {} allocations in {} frames",
            1e3 / median,
            self.samples.spread(),
            grouped(self.allocations as f64),
            grouped((FRAMES * self.samples.len() as u64) as f64),
        );
        Row::new(name, "ns/frame", median, detail)
    }
}

fn crowd(
    rules: Rules,
    count: u64,
    scale: Scale,
    gateway: &mut Gateway,
    faults: &mut Vec<String>,
) -> Result<Crowd, String> {
    // The ends come first, so that their memory is not taken for the engine's.
    let mut frame = Vec::new();
    let mut clients: Vec<_> = (0..count)
        .map(|number| {
            let mut connection = session(number);
            while next_frame(&mut connection, &mut frame).is_some() {}
            connection
        })
        .collect();

    let before = resident_len();
    let mut subject = Subject::new(rules, usize::try_from(count).unwrap_or(usize::MAX))?;
    let (mut watch, mut passed, mut put) = (Stopwatch::default(), Passed::default(), 0);
    for number in 0..count {
        let mut connection = session(number);
        while let Some(port) = next_frame(&mut connection, &mut frame) {
            put += 1;
            gateway.put_or_play((port, &frame), &mut subject, &mut watch, &mut passed)?;
        }
    }
    gateway.play(&mut subject, &mut watch, &mut passed, |_, _| {})?;
    let memory_each = resident_len().saturating_sub(before) as f64 / count as f64;

    let counters = subject.engine.counters().clone();
    let mut order = Seed::new(SEED);
    let mut samples = Samples::default();
    let mut allocations = 0;
    for round in 0..=scale.rounds() {
        let mut watch = Stopwatch::default();
        let earlier = passed.allocations;
        for _ in 0..FRAMES {
            let connection = &mut clients[order.below(count as usize)];
            if connection.is_quiet() {
                connection.say(turn(Direction::ClientToServer, b"NOOP\r\n"));
                connection.say(turn(Direction::ServerToClient, b"250 2.0.0 Ok\r\n"));
            }
            if let Some(port) = next_frame(connection, &mut frame) {
                put += 1;
                gateway.put_or_play((port, &frame), &mut subject, &mut watch, &mut passed)?;
            }
        }
        gateway.play(&mut subject, &mut watch, &mut passed, |_, _| {})?;
        // The first round warms up.
        if round > 0 {
            samples.push(watch.total().as_secs_f64() / FRAMES as f64 * 1e9);
            allocations += passed.allocations - earlier;
        }
    }

    let mut found = Difference::new(&counters, subject.engine.counters()).mistreatment();
    let active = subject.engine.counters().flows_active;
    if active != count {
        found.push(format!("{active} sessions of {count} are open"));
    }
    let came_out = passed.frames.iter().sum::<u64>();
    if came_out != put {
        found.push(format!("{came_out} frames came out of {put}"));
    }
    if !found.is_empty() {
        faults.push(format!("{} sessions: {}", grouped(count as f64), found.join(", ")));
    }
    Ok(Crowd { count, samples, memory_each, allocations })
}

/// A session that says EHLO and then nothing.
pub(crate) fn session(number: u64) -> Connection {
    let seed = Seed::new(SEED).part(number);
    let mut script = Script::new(number, seed.part(0), &[]);
    script.begin();
    Connection::new(&ends(number, &mut seed.part(2)), script.into_turns())
}

fn turn(speaker: Direction, octets: &[u8]) -> Turn {
    Turn { speaker, octets: octets.to_vec(), style: Style::Plain }
}

/// Emits the next frame and says which port it comes to; `None` when there is nothing more to say. The server's words are
/// acknowledged by a segment of its own: the client will be silent for long.
pub(crate) fn next_frame(connection: &mut Connection, frame: &mut Vec<u8>) -> Option<PortId> {
    if connection.is_quiet() {
        return None;
    }
    let speaker = connection.speaker()?;
    let payload = connection.emit(1, frame)?;
    if connection.is_quiet() && !payload.is_empty() {
        connection.settle(Direction::ClientToServer);
    }
    Some(match speaker {
        Direction::ClientToServer => PortId::A,
        Direction::ServerToClient => PortId::B,
    })
}
