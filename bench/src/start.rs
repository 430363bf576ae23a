//! How long the gateway takes to load an artifact with many patterns: when it starts, and when it reloads.

use artifact::format::Artifact;
use postern::matcher::Patterns;

use crate::measure::{Samples, Stopwatch};
use crate::patterns::Target;
use crate::pipeline::{FLOW_LIMIT, Scale};
use crate::policy::{Rules, artifact};
use crate::table::{Reach, Row, Section, grouped};

/// Patterns of the artifact.
const COUNT: usize = 10_000;
/// The same, quickly: to compile ten thousand takes most of a minute.
const QUICK_COUNT: usize = 1_000;
/// Milliseconds that ten thousand patterns may take.
const LIMIT: f64 = 50.0;

/// Measures.
///
/// # Errors
/// When the artifact cannot be made or read.
pub fn run(scale: Scale) -> Result<Vec<Section>, String> {
    let count = if scale.is_quick { QUICK_COUNT } else { COUNT };
    let file = artifact(Rules::Patterns(Target::Body, count))?.write();
    let mut samples = Samples::default();
    for _ in 0..=scale.rounds() {
        let mut watch = Stopwatch::default();
        let loaded = watch.time(|| {
            let artifact = Artifact::read(&file).map_err(|error| error.to_string())?;
            let patterns = Patterns::load(&artifact).map_err(|error| error.to_string())?;
            let prepared = patterns.prepare(FLOW_LIMIT).map_err(|error| error.to_string())?;
            Ok::<_, String>((artifact, prepared))
        });
        // Not timed: giving the memory back.
        drop(loaded?);
        samples.push(watch.total().as_secs_f64() * 1e3);
    }
    let name = format!("start: an artifact of {} patterns loaded", grouped(count as f64));
    let detail = format!("{:.1} MB, {}", file.len() as f64 / 1e6, samples.spread());
    let row = Row::new(name, "ms", samples.median(), detail);
    let row = if count == COUNT { row.reaching(Reach::AtMost(LIMIT)) } else { row };
    Ok(vec![Section {
        title: "start: reading, checking, making ready".into(),
        rows: vec![row],
        faults: vec![],
    }])
}
