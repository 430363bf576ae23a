//! Measures on the wire: real sockets, network namespaces, the programs themselves. `bench/network/live.py` makes them; here they are
//! asked for and taken over.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::pipeline::Scale;
use crate::table::{Reach, Row, Section};

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Mail through the gateway, beside a kernel bridge.
    Wire,
    /// The time of a command and its reply, beside a kernel bridge.
    Latency,
    /// What a reload costs sessions that are under way.
    Reload,
    /// Frames of an uninspected session, beside the simplest forwarder.
    Forwarding,
}

impl Measure {
    /// All.
    pub const ALL: [Measure; 4] = [Measure::Wire, Measure::Forwarding, Measure::Latency, Measure::Reload];

    const fn word(self) -> &'static str {
        match self {
            Measure::Wire => "wire",
            Measure::Latency => "latency",
            Measure::Reload => "reload",
            Measure::Forwarding => "forwarding",
        }
    }
}

/// What `bench/network/live.py` prints.
#[derive(Debug, Deserialize)]
struct Said {
    /// Why nothing was measured.
    skipped: Option<String>,
    #[serde(default)]
    rows: Vec<SaidRow>,
    #[serde(default)]
    faults: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct SaidRow {
    name: String,
    unit: String,
    measured: f64,
    at_least: Option<f64>,
    at_most: Option<f64>,
    detail: String,
}

/// Measures.
///
/// # Errors
/// When `bench/network/live.py` could not be run, or does not say what it should.
pub fn run(measure: Measure, scale: Scale) -> Result<Section, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(root.join("deploy/python"));
    command.arg(root.join("bench/network/live.py")).arg(measure.word());
    if scale.is_quick {
        command.arg("--quick");
    }
    // What runs inside a namespace is this program again.
    if let Ok(program) = std::env::current_exe() {
        command.env("POSTERN_BENCH", program);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("bench/network/live.py: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("bench/network/live.py {}: {}", measure.word(), output.status));
    }
    section(measure, &text)
}

fn section(measure: Measure, text: &str) -> Result<Section, String> {
    let said: Said =
        serde_json::from_str(text).map_err(|error| format!("bench/network/live.py: {error}: {text}"))?;
    let title = match &said.skipped {
        Some(why) => format!("{}: skipped, {why}", measure.word()),
        None => format!("{}: network namespaces joined by veth, on this machine's cores", measure.word()),
    };
    let rows = said.rows.into_iter().map(|row| {
        let made = Row::new(row.name, row.unit, row.measured, row.detail);
        match (row.at_least, row.at_most) {
            (Some(limit), _) => made.reaching(Reach::AtLeast(limit)),
            (None, Some(limit)) => made.reaching(Reach::AtMost(limit)),
            (None, None) => made,
        }
    });
    Ok(Section { title, rows: rows.collect(), faults: said.faults })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_taken_over() {
        let text = r#"{"rows": [{"name": "wire: a", "unit": "ratio", "measured": 1.1, "at_most": 1.3, "detail": "d"}]}"#;
        let section = section(Measure::Wire, text).unwrap();
        assert_eq!((section.rows[0].holds, section.rows[0].reach.as_deref()), (Some(true), Some("<= 1.3")));
        let skipped = super::section(Measure::Reload, r#"{"skipped": "not root"}"#).unwrap();
        assert_eq!((skipped.rows.len(), skipped.title.as_str()), (0, "reload: skipped, not root"));
        assert!(super::section(Measure::Wire, "oops").is_err());
    }
}
