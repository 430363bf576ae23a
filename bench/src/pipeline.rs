//! The whole pipeline on memory ports, beside what the machine can do with the same octets.

use std::time::Duration;

use inspect::unit::PortId;

use crate::baseline::{Copier, Scanner};
use crate::gateway::{CHUNKS, Difference, Gateway, Meter, Passed, Subject};
use crate::measure::{Round, Samples, Stopwatch, in_turn};
use crate::patterns::Target;
use crate::policy::Rules;
use crate::table::{Reach, Row, Section, grouped};
use crate::traffic::{Profile, Trace};

/// Patterns of each set.
pub const PATTERN_COUNT: usize = 100;
/// Sessions that an engine has room for: more than any trace has.
pub const FLOW_LIMIT: usize = 65_536;
/// Rounds that count.
const ROUNDS: usize = 5;
/// Of all traffic that is measured.
pub const SEED: u64 = 1;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Less of everything.
    pub is_quick: bool,
}

impl Scale {
    /// Sessions of a profile. At full size: 106 MB, 465 MB and 271 MB of frames or a little more.
    #[must_use]
    pub const fn sessions(self, profile: Profile) -> u64 {
        match (profile, self.is_quick) {
            (Profile::Small, false) => 24_000,
            (Profile::Large | Profile::LargeText | Profile::LargeEncoded, false) => 300,
            (Profile::Pipelined | Profile::Attack, false) => 8_000,
            (Profile::Small, true) => 12_000,
            (Profile::Large | Profile::LargeText | Profile::LargeEncoded, true) => 100,
            (Profile::Pipelined | Profile::Attack, true) => 2_500,
        }
    }

    /// Rounds that count.
    #[must_use]
    pub const fn rounds(self) -> usize {
        if self.is_quick { ROUNDS } else { 2 * ROUNDS + 1 }
    }
}

/// The policies that are measured.
const RULES: [Rules; 3] = [
    Rules::Smtp,
    Rules::Patterns(Target::Body, PATTERN_COUNT),
    Rules::Patterns(Target::Address, PATTERN_COUNT),
];
const TARGETS: [Target; 2] = [Target::Body, Target::Address];
/// Contenders before the engines: memcpy, two sets streaming, two sets block-wise, the ports alone.
const BASELINES: usize = 6;

/// Measures every kind of honest traffic.
///
/// # Errors
/// When something could not be measured at all.
pub fn run(scale: Scale, meter: Meter) -> Result<Vec<Section>, String> {
    let mut gateway = Gateway::new(meter, CHUNKS);
    let profiles =
        [Profile::Small, Profile::LargeText, Profile::LargeEncoded, Profile::Large, Profile::Pipelined];
    profiles.into_iter().map(|profile| section(profile, scale, &mut gateway)).collect()
}

fn section(profile: Profile, scale: Scale, gateway: &mut Gateway) -> Result<Section, String> {
    let trace = Trace::new(profile, scale.sessions(profile), SEED);
    let mut copier = Copier::default();
    let mut scanners = [Scanner::new(TARGETS[0], PATTERN_COUNT)?, Scanner::new(TARGETS[1], PATTERN_COUNT)?];
    let mut subjects = Vec::new();
    let is_decoded = profile == Profile::LargeEncoded;
    for rules in RULES {
        let is_body = matches!(rules, Rules::Patterns(Target::Body, _));
        let rules = if is_decoded && is_body { Rules::Decoded(PATTERN_COUNT) } else { rules };
        subjects.push(Contender::new(rules)?);
    }
    let mut faults = Vec::new();
    let planted = [trace.planted.bodies, trace.planted.senders];
    let samples = in_turn(scale.rounds(), BASELINES + RULES.len(), |contender, round| match contender {
        0 => Ok(copier.lap(&trace)),
        1 if is_decoded => {
            let scanned = scanners[0].decoding_lap(&trace).map_err(|error| error.to_string())?;
            Ok(scanned.seconds)
        }
        1 | 2 => {
            let scanned = scanners[contender - 1].stream_lap(&trace).map_err(|error| error.to_string())?;
            if scanned.hits != planted[contender - 1] {
                return Err(format!("raw matcher: {} hits of {}", scanned.hits, planted[contender - 1]));
            }
            Ok(scanned.seconds)
        }
        3 | 4 => Ok(scanners[contender - 3].block_lap(&trace).map_err(|error| error.to_string())?.seconds),
        5 => bare_lap(gateway, &trace, |_| {}),
        _ => subjects[contender - BASELINES].lap(gateway, &trace, round, &mut faults),
    })?;
    Ok(Section { title: title("pipeline", &trace), rows: rows(&trace, &samples, &subjects), faults })
}

/// What a section measures, and on what.
pub(crate) fn title(command: &str, trace: &Trace) -> String {
    let what = match trace.profile {
        Profile::Small => "small mails, one a session",
        Profile::Large => "large mails, an attachment in base64, one a session",
        Profile::LargeEncoded => "large mails, text in base64, decoded, one a session",
        Profile::LargeText => "large mails, the same octets as plain text, one a session",
        Profile::Pipelined => "pipelined sessions, 3 mails to 20 recipients",
        Profile::Attack => "attacks",
    };
    format!(
        "{command}, {what}: {} sessions, {} frames, {} MB ({} MB payload)",
        grouped(trace.sessions as f64),
        grouped(trace.entries().len() as f64),
        grouped(trace.octet_count() as f64 / 1e6),
        grouped(trace.payload_len as f64 / 1e6),
    )
}

fn rows(trace: &Trace, samples: &[Samples], subjects: &[Contender]) -> Vec<Row> {
    let word = trace.profile.word();
    let frames = trace.entries().len() as f64;
    let mut rows = Vec::new();
    let mut row = |name: String, samples: &Samples, octets: f64, more: &str| {
        let seconds = samples.median();
        let detail = format!("{:.2} GB/s, {}{more}", octets / seconds / 1e9, samples.spread());
        rows.push(Row::new(format!("{word}: {name}"), "ns/frame", seconds / frames * 1e9, detail));
    };
    row("memcpy".into(), &samples[0], trace.octet_count() as f64, " (frames)");
    for (index, target) in TARGETS.iter().enumerate() {
        let blocks = trace.payload_len as f64 / samples[3 + index].median() / 1e9;
        let decodes = trace.profile == Profile::LargeEncoded && *target == Target::Body;
        let raw = if decodes { "decode and scan alone" } else { "raw Hyperscan" };
        let name = format!("{raw}, {PATTERN_COUNT} {} patterns", target.word());
        let more = format!(" (payload, streaming); a block a segment {blocks:.2} GB/s");
        row(name, &samples[1 + index], trace.payload_len as f64, &more);
    }
    row("memory ports alone".into(), &samples[5], trace.octet_count() as f64, " (no engine between)");
    for (subject, samples) in subjects.iter().zip(&samples[BASELINES..]) {
        let seconds = samples.median();
        let detail = format!(
            "{:.2} Mframes/s, {:.1} Gbit/s, {} sessions/s, {}{}",
            frames / seconds / 1e6,
            trace.octet_count() as f64 * 8.0 / seconds / 1e9,
            grouped(trace.sessions as f64 / seconds),
            samples.spread(),
            subject.scanned(trace),
        );
        let name = format!("{word}: pipeline, {}", subject.name());
        rows.push(Row::new(name, "ns/frame", seconds / frames * 1e9, detail));
    }
    for (index, target) in TARGETS.iter().enumerate() {
        // For the patterns that this kind of traffic is about: elsewhere the engine has little or nothing to scan, and a
        // ratio to a matcher that scans everything says nothing.
        let reach = match (trace.profile, target) {
            (Profile::Small, Target::Body) => 0.35,
            (Profile::LargeText | Profile::LargeEncoded, Target::Body) => 0.5,
            (Profile::Pipelined, Target::Address) => 0.45,
            _ => continue,
        };
        let subject = &subjects[1 + index];
        let ratio = samples[1 + index].over(&samples[BASELINES + 1 + index]);
        let raw =
            if trace.profile == Profile::LargeEncoded { "decode and scan alone" } else { "raw Hyperscan" };
        let name = format!("{word}: pipeline to {raw}, {} patterns", target.word());
        let detail = format!("{}{}", ratio.spread(), subject.scanned(trace));
        let row = Row::new(name, "ratio", ratio.median(), detail).reaching(Reach::AtLeast(reach));
        rows.push(if subject.is_sound { row } else { row.void() });
    }
    let allocations = subjects.iter().map(|subject| subject.allocations).sum::<u64>() as f64;
    let laps = subjects.iter().map(|subject| subject.laps).sum::<u64>() as f64;
    let detail = format!("{} in {} frames after warm-up", grouped(allocations), grouped(laps * frames));
    let name = format!("{word}: allocations");
    rows.push(Row::new(name, "/frame", allocations / (laps * frames), detail).reaching(Reach::AtMost(0.0)));
    let copied = subjects.iter().map(|subject| subject.copied).sum::<u64>() as f64;
    let name = format!("{word}: payload octets copied");
    let row =
        Row::new(name, "/frame", copied / (laps * frames), "remembered octets copied out of their frames");
    rows.push(row.reaching(Reach::AtMost(0.0)));
    let linger = subjects.iter().map(|subject| subject.linger).max().unwrap_or_default();
    let name = format!("{word}: sessions kept after their end");
    rows.push(Row::new(name, "s", linger.as_secs_f64(), "the longest, on the engine's clock"));
    rows
}

/// An engine under one policy, over all rounds.
#[derive(Debug)]
pub(crate) struct Contender {
    rules: Rules,
    subject: Subject,
    /// Octets given to the matcher in one lap.
    scanned: u64,
    /// How long sessions stayed in the flow table after the last frame of all.
    linger: Duration,
    /// Allocations in counted laps.
    allocations: u64,
    /// Octets copied in counted laps.
    copied: u64,
    /// Counted laps.
    laps: u64,
    /// Everything came out, and was looked into.
    is_sound: bool,
}

impl Contender {
    /// An engine that has seen nothing yet.
    pub(crate) fn new(rules: Rules) -> Result<Self, String> {
        let subject = Subject::new(rules, FLOW_LIMIT)?;
        Ok(Self {
            rules,
            subject,
            scanned: 0,
            linger: Duration::ZERO,
            allocations: 0,
            copied: 0,
            laps: 0,
            is_sound: true,
        })
    }

    /// As the table says it.
    pub(crate) fn name(&self) -> String {
        match self.rules {
            Rules::Pinhole | Rules::Guarded => "not inspected".into(),
            Rules::Smtp => "no patterns".into(),
            Rules::Patterns(target, count) => format!("{count} {} patterns", target.word()),
            Rules::Decoded(count) => format!("{count} body patterns, base64 decoded"),
        }
    }

    fn scanned(&self, trace: &Trace) -> String {
        match self.rules {
            Rules::Patterns(..) | Rules::Decoded(_) => {
                let share = self.scanned as f64 / trace.payload_len as f64 * 100.0;
                format!(", {share:.0}% of the payload scanned")
            }
            _ => String::new(),
        }
    }

    /// Plays the trace once and says how many seconds it took. In the first round every frame that comes out is compared
    /// with the one that went in.
    pub(crate) fn lap(
        &mut self,
        gateway: &mut Gateway,
        trace: &Trace,
        round: Round,
        faults: &mut Vec<String>,
    ) -> Result<f64, String> {
        let before = self.subject.engine.counters().clone();
        let scans = (self.subject.usage.scanned_bytes.get(), self.subject.usage.hits.get());
        let (mut watch, mut passed) = (Stopwatch::default(), Passed::default());
        let mut checker = Checker::new(trace);
        let mut entries = trace.entries().iter().peekable();
        while entries.peek().is_some() {
            while let Some(entry) = entries.peek()
                && gateway.put(entry.port, trace.frame(entry))
            {
                entries.next();
            }
            match round {
                Round::WarmUp => {
                    gateway.play(&mut self.subject, &mut watch, &mut passed, |port, frame| {
                        checker.check(port, frame);
                    })?
                }
                Round::Counted => gateway.play(&mut self.subject, &mut watch, &mut passed, |_, _| {})?,
            }
        }
        self.linger = gateway.quiet(&mut self.subject, &mut passed)?;

        let counted = Difference::new(&before, self.subject.engine.counters());
        let mut found = counted.mistreatment();
        let frames = passed.frames.iter().sum::<u64>();
        if frames != trace.entries().len() as u64 || passed.octets != trace.octet_count() as u64 {
            found.push(format!("{frames} frames came out of {}", trace.entries().len()));
        }
        let mails = if self.rules == Rules::Pinhole { 0 } else { trace.mails };
        for (counter, expected) in [("flows_created", trace.sessions), ("smtp_messages", mails)] {
            let count = counted.of(counter);
            if count != expected {
                found.push(format!("{counter} {count} of {expected}"));
            }
        }
        let usage = &self.subject.usage;
        self.scanned = usage.scanned_bytes.get() - scans.0;
        let hits = usage.hits.get() - scans.1;
        let planted = match self.rules {
            Rules::Pinhole | Rules::Guarded | Rules::Smtp => None,
            Rules::Patterns(Target::Body, _) | Rules::Decoded(_) => Some(trace.planted.bodies),
            Rules::Patterns(Target::Address, _) => Some(trace.planted.senders),
        };
        if let Some(planted) = planted
            && hits < planted
        {
            found.push(format!("{hits} hits of {planted}, {} octets scanned", self.scanned));
        }
        if !gateway.is_empty() {
            found.push("frames are still held after the last session".into());
        }
        if round == Round::WarmUp {
            found.extend(checker.verdict());
        } else {
            self.laps += 1;
            self.allocations += passed.allocations;
            self.copied += counted.of("copied_bytes");
        }
        let name = self.name();
        self.is_sound &= found.is_empty();
        if !found.is_empty() && !faults.iter().any(|fault| fault.starts_with(&name)) {
            faults.push(format!("{name}: {}", found.join(", ")));
        }
        Ok(watch.total().as_secs_f64())
    }
}

/// Plays the trace with no engine, and gives every frame to `look`.
pub(crate) fn bare_lap(
    gateway: &mut Gateway,
    trace: &Trace,
    mut look: impl FnMut(&[u8]),
) -> Result<f64, String> {
    let (mut watch, mut passed) = (Stopwatch::default(), Passed::default());
    let mut entries = trace.entries().iter().peekable();
    while entries.peek().is_some() {
        while let Some(entry) = entries.peek()
            && gateway.put(entry.port, trace.frame(entry))
        {
            entries.next();
        }
        gateway.play_bare(&mut watch, &mut passed, &mut look)?;
    }
    Ok(watch.total().as_secs_f64())
}

/// Compares what comes out with what went in.
#[derive(Debug)]
struct Checker<'t> {
    trace: &'t Trace,
    /// By port that it leaves by: the frame that is to come next.
    next: [usize; 2],
    different: u64,
}

impl<'t> Checker<'t> {
    fn new(trace: &'t Trace) -> Self {
        Self { trace, next: [0; 2], different: 0 }
    }

    fn check(&mut self, port: PortId, frame: &[u8]) {
        let entries = self.trace.entries();
        let next = &mut self.next[port.index()];
        while entries.get(*next).is_some_and(|entry| entry.port == port) {
            *next += 1;
        }
        let is_same = entries.get(*next).is_some_and(|entry| self.trace.frame(entry) == frame);
        self.different += u64::from(!is_same);
        *next += 1;
    }

    fn verdict(&self) -> Option<String> {
        (self.different > 0).then(|| format!("{} frames came out changed or out of place", self.different))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: Rules, profile: Profile) -> Vec<String> {
        let mut gateway = Gateway::new(|| 0, CHUNKS);
        let trace = Trace::new(profile, 300, 1);
        let mut contender = Contender::new(rules).unwrap();
        let mut faults = Vec::new();
        for _ in 0..3 {
            contender.lap(&mut gateway, &trace, Round::WarmUp, &mut faults).unwrap();
        }
        assert_eq!(contender.is_sound, faults.is_empty());
        faults
    }

    #[test]
    fn honest_traffic_passes_unchanged_lap_after_lap() {
        for profile in [Profile::Small, Profile::Pipelined] {
            for rules in [Rules::Pinhole, Rules::Smtp, RULES[1], RULES[2]] {
                assert_eq!(faults(rules, profile), [""; 0]);
            }
        }
    }

    #[test]
    fn traffic_that_is_not_let_through_is_found_out() {
        let faults = faults(Rules::Pinhole, Profile::Attack).join("");
        assert!(faults.contains("retransmitted_segments") && faults.contains("came out changed"), "{faults}");
    }
}
