//! What a frame costs as patterns grow in number, beside the matcher alone with the very same databases.
//!
//! The matcher's own cost grows with the number of patterns, and nobody can do anything about it. What is asked is that nothing
//! else does: at so many patterns a frame may take what it takes at the fewest, and what the matcher alone takes longer.

use artifact::format::Artifact;

use crate::baseline::Scanner;
use crate::gateway::{CHUNKS, Gateway, Meter, Passed, Subject};
use crate::measure::{Samples, Stopwatch, in_turn};
use crate::patterns::Target;
use crate::pipeline::{FLOW_LIMIT, SEED, Scale, title};
use crate::plot::{Curve, Plot};
use crate::policy::{Rules, artifact};
use crate::table::{Reach, Row, Section, grouped};
use crate::traffic::{Profile, Trace};

/// Patterns of the sets, ascending.
const COUNTS: [usize; 3] = [10, 1_000, 10_000];
/// The same, quickly: to compile ten thousand takes most of a minute.
const QUICK_COUNTS: [usize; 3] = [10, 100, 1_000];
/// Mails of 1.44 MB.
const SESSIONS: u64 = 40;
/// How far a frame's cost may be above the matcher's own curve.
const ABOVE: f64 = 1.2;

/// Measures.
///
/// # Errors
/// When something could not be measured at all.
pub fn run(scale: Scale, meter: Meter) -> Result<(Vec<Section>, Plot), String> {
    let counts = if scale.is_quick { QUICK_COUNTS } else { COUNTS };
    let trace = Trace::new(Profile::LargeText, SESSIONS, SEED);
    let mut gateway = Gateway::new(meter, CHUNKS);
    let mut scanners = Vec::new();
    let mut subjects = Vec::new();
    for count in counts {
        let artifact = artifact(Rules::Patterns(Target::Body, count))?;
        scanners.push(Scanner::of(body_database(&artifact)?)?);
        subjects.push(Subject::of(artifact, FLOW_LIMIT)?);
    }
    let samples = in_turn(scale.rounds(), 2 * counts.len(), |contender, _| {
        if contender % 2 == 0 {
            let scanned = scanners[contender / 2].stream_lap(&trace).map_err(|error| error.to_string())?;
            Ok::<_, String>(scanned.seconds)
        } else {
            lap(&mut gateway, &trace, &mut subjects[contender / 2])
        }
    })?;

    let frames = trace.entries().len() as f64;
    let nanos = |samples: &Samples| samples.median() / frames * 1e9;
    let (raw, pipeline): (Vec<_>, Vec<_>) = samples.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).unzip();
    let mut section = Section::new(title("patterns", &trace));
    for (index, count) in counts.iter().enumerate() {
        let name = format!("patterns: pipeline, {} body patterns", grouped(*count as f64));
        let detail = format!("raw Hyperscan {:.0} ns/frame, {}", nanos(raw[index]), pipeline[index].spread());
        section.rows.push(Row::new(name, "ns/frame", nanos(pipeline[index]), detail));
    }
    for (index, count) in counts.iter().enumerate().skip(1) {
        let expected = nanos(pipeline[0]) + nanos(raw[index]) - nanos(raw[0]);
        let name = format!("patterns: cost at {} to raw Hyperscan's curve", grouped(*count as f64));
        let detail = format!("{:.0} ns/frame would follow it from {} patterns on", expected, counts[0]);
        let row = Row::new(name, "ratio", nanos(pipeline[index]) / expected, detail);
        section.rows.push(row.reaching(Reach::AtMost(ABOVE)));
    }
    let points = |samples: &[&Samples]| {
        counts.iter().zip(samples).map(|(count, samples)| (*count as f64, nanos(samples))).collect()
    };
    let plot = Plot {
        name: "patterns",
        title: "Cost of a frame as patterns grow in number",
        x: "patterns",
        y: "ns/frame",
        curves: vec![
            Curve { name: "pipeline", points: points(&pipeline) },
            Curve { name: "raw Hyperscan", points: points(&raw) },
        ],
    };
    Ok((vec![section], plot))
}

fn body_database(artifact: &Artifact) -> Result<hyperscan::Database, String> {
    let stored = artifact.policy.smtp.first().and_then(|smtp| smtp.databases.first());
    let stored = stored.ok_or("the policy has no patterns")?;
    hyperscan::Database::deserialize(&stored.bytes).map_err(|error| error.to_string())
}

fn lap(gateway: &mut Gateway, trace: &Trace, subject: &mut Subject) -> Result<f64, String> {
    let (mut watch, mut passed) = (Stopwatch::default(), Passed::default());
    let before = subject.usage.scanned_bytes.get();
    for entry in trace.entries() {
        gateway.put_or_play((entry.port, trace.frame(entry)), subject, &mut watch, &mut passed)?;
    }
    gateway.play(subject, &mut watch, &mut passed, |_, _| {})?;
    gateway.quiet(subject, &mut passed)?;
    let scanned = subject.usage.scanned_bytes.get() - before;
    if passed.octets != trace.octet_count() as u64 || scanned < trace.payload_len / 2 {
        return Err(format!("{} octets came out, {scanned} were scanned", passed.octets));
    }
    Ok(watch.total().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_scanned_under_any_number_of_patterns() {
        let trace = Trace::new(Profile::LargeText, 1, 1);
        let mut gateway = Gateway::new(|| 0, CHUNKS);
        for count in [10, 100] {
            let artifact = artifact(Rules::Patterns(Target::Body, count)).unwrap();
            assert!(Scanner::of(body_database(&artifact).unwrap()).is_ok());
            assert!(lap(&mut gateway, &trace, &mut Subject::of(artifact, 64).unwrap()).unwrap() > 0.0);
        }
    }
}
