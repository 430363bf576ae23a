//! Goodput over a bad network, beside a kernel bridge in the same place.
//!
//! The network is made and measured by `bench/network/loss.py`, in network namespaces, as root; here its numbers become rows. What
//! is compared took turns, round by round, on the same wires.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::measure::Samples;
use crate::pipeline::Scale;
use crate::table::{Reach, Row, Section};

/// What the goodput past the gateway is to be, as a part of that past the bridge.
const REACH: f64 = 0.9;

#[derive(Debug, Deserialize)]
struct Answer {
    cases: Vec<Case>,
    faults: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    /// Mbit/s of each round.
    bridge: Vec<f64>,
    postern: Vec<f64>,
    counters: std::collections::BTreeMap<String, f64>,
}

/// Measures; `only` the rows with one of its parts, separated by commas, in their name, and as many `rounds` as are asked for.
///
/// # Errors
/// Where no namespaces can be made, or the programs are not there.
pub fn run(scale: Scale, only: Option<&str>, rounds: Option<u32>) -> Result<Vec<Section>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(root.join("deploy/python"));
    command.arg(root.join("bench/network/loss.py"));
    let (megabytes, usual) = if scale.is_quick { (8, 3) } else { (32, 7) };
    command.args(["--megabytes", &megabytes.to_string(), "--rounds", &rounds.unwrap_or(usual).to_string()]);
    if let Some(only) = only {
        command.args(["--only", only]);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("bench/network/loss.py: {error}"))?;
    if !output.status.success() {
        return Err("bench/network/loss.py failed: it takes root, postfix, nftables and a release build of both programs".into());
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("bench/network/loss.py: {error}"))?;
    Ok(vec![section(answer)])
}

fn section(answer: Answer) -> Section {
    let mut section =
        Section::new("loss: a mail over a bad network, past the gateway and past a kernel bridge");
    section.faults = answer.faults;
    if answer.cases.is_empty() {
        section.faults.push("no row was measured".into());
    }
    for case in answer.cases {
        let Case { name, bridge, postern, counters } = case;
        if bridge.is_empty() || postern.is_empty() {
            section.faults.push(format!("{name}: not measured"));
            continue;
        }
        let [bridge, postern] = [bridge, postern].map(Samples::new);
        let ratio = postern.median() / bridge.median();
        let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
        let detail = format!(
            "{:.0} to {:.0} Mbit/s, {} and {}; {:.0} frames waited for others, {:.0} came again, {:.0} the gateway sent again",
            postern.median(),
            bridge.median(),
            postern.spread(),
            bridge.spread(),
            count("postern_frames_total held"),
            count("postern_retransmitted_segments_total"),
            count("postern_repaired_segments_total"),
        );
        let row = Row::new(format!("loss: {name}"), "ratio", ratio, detail);
        section.rows.push(row.reaching(Reach::AtLeast(REACH)));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_become_rows_and_what_is_missing_a_fault() {
        let text = r#"{"cases": [
            {"name": "1 %", "bridge": [100, 90, 110], "postern": [80, 95, 400], "counters": {"postern_frames_total held": 7}},
            {"name": "5 %", "bridge": [100], "postern": [], "counters": {}}
        ], "faults": ["postern, 5 %: refused"]}"#;
        let section = section(serde_json::from_str(text).unwrap());
        let row = &section.rows[0];
        assert_eq!((row.name.as_str(), row.measured, row.holds), ("loss: 1 %", 0.95, Some(true)));
        assert!(row.detail.contains("7 frames waited"), "{}", row.detail);
        assert_eq!(section.faults, ["postern, 5 %: refused", "5 %: not measured"]);
        let none = super::section(serde_json::from_str(r#"{"cases": [], "faults": []}"#).unwrap());
        assert_eq!(none.faults, ["no row was measured"]);
    }
}
