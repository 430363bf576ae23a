//! Instructions of a frame: they do not depend on what else a machine does, so they can be held against a baseline.
//!
//! The program runs itself under valgrind's callgrind, once per case, and adds up what it says of Postern's own functions. What chooses
//! its code by the processor is left out: the C library, the pattern matcher, `memchr`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::gateway::{CHUNKS, Gateway, Passed, Subject};
use crate::measure::Stopwatch;
use crate::pipeline::SEED;
use crate::policy::Rules;
use crate::table::{Row, Section};
use crate::traffic::{Profile, Trace};

/// What is counted: name, traffic, sessions, policy.
const CASES: [(&str, Profile, u64, Rules); 4] = [
    ("pinhole", Profile::Small, 60, Rules::Pinhole),
    ("small", Profile::Small, 60, Rules::Smtp),
    ("large text", Profile::LargeText, 1, Rules::Smtp),
    ("pipelined", Profile::Pipelined, 20, Rules::Smtp),
];
/// How far from the baseline a case may be.
const TOLERANCE: f64 = 0.1;
/// Names of functions that count contain one of these.
const OURS: [&str; 5] = ["inspect::", "postern::", "bench::gateway", "siphasher::", "core::"];

/// The committed numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    /// What `rustc --version` said; another compiler makes other instructions.
    rustc: String,
    /// Instructions per frame.
    cases: BTreeMap<String, f64>,
}

/// Plays a case: what runs under callgrind.
///
/// # Errors
/// When there is no such case, or it could not be played.
pub fn play(name: &str) -> Result<u64, String> {
    let case = CASES.iter().find(|case| case.0 == name).ok_or_else(|| format!("no case `{name}`"))?;
    let trace = Trace::new(case.1, case.2, SEED);
    let mut gateway = Gateway::new(|| 0, CHUNKS);
    let mut subject = Subject::new(case.3, 4096)?;
    // The second time nothing is done for the first time.
    for round in 0..2 {
        for entry in trace.entries() {
            if !gateway.put(entry.port, trace.frame(entry)) {
                return Err("more frames than chunks".into());
            }
        }
        if round == 0 {
            gateway.play(&mut subject, &mut Stopwatch::stopped(), &mut Passed::default(), |_, _| {})?;
        } else {
            counted(&mut gateway, &mut subject)?;
        }
        gateway.quiet(&mut subject, &mut Passed::default())?;
    }
    Ok(trace.entries().len() as u64)
}

/// What callgrind counts, and nothing else.
#[inline(never)]
fn counted(gateway: &mut Gateway, subject: &mut Subject) -> Result<(), String> {
    gateway.play(subject, &mut Stopwatch::stopped(), &mut Passed::default(), |_, _| {})
}

/// Counts all cases and holds them against the baseline, or writes it anew.
///
/// # Errors
/// When valgrind is not there, or the baseline cannot be read or written.
pub fn run(file: &Path, bless: bool) -> Result<Section, String> {
    let rustc = Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    let rustc = String::from_utf8_lossy(&rustc.stdout).trim().to_owned();
    let mut cases = BTreeMap::new();
    for (name, ..) in CASES {
        cases.insert(name.to_owned(), count(name)?);
    }
    let mut section = Section::new("instructions: of a frame, in Postern's own functions");
    let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    if bless {
        let text = serde_json::to_string_pretty(&Baseline { rustc, cases: cases.clone() });
        let text = text.map_err(|error| fail(&error))? + "\n";
        std::fs::write(file, text).map_err(|error| fail(&error))?;
    } else {
        let text = std::fs::read_to_string(file).map_err(|error| fail(&error))?;
        let baseline: Baseline = serde_json::from_str(&text).map_err(|error| fail(&error))?;
        if baseline.rustc == rustc {
            section.faults = compare(&baseline.cases, &cases);
        } else {
            section.title += &format!("; not compared, the baseline is of {}", baseline.rustc);
        }
    }
    for (name, count) in cases {
        section.rows.push(Row::new(format!("instructions: {name}"), "/frame", count, "callgrind"));
    }
    Ok(section)
}

/// What is too far from the baseline.
fn compare(baseline: &BTreeMap<String, f64>, cases: &BTreeMap<String, f64>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, count) in cases {
        match baseline.get(name) {
            None => faults.push(format!("{name} is not in the baseline")),
            Some(expected) if (count / expected - 1.0).abs() > TOLERANCE => faults.push(format!(
                "{name}: {count:.0} instructions a frame, {expected:.0} in the baseline; if it is meant, \
                 `bench/run instructions --bless`"
            )),
            Some(_) => {}
        }
    }
    faults
}

/// Instructions per frame of a case.
fn count(name: &str) -> Result<f64, String> {
    let folder = std::env::temp_dir().join(format!("postern-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let out = folder.join("callgrind.out");
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let result = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*instructions*counted*", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["instructions", "--play", name])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("valgrind: {error}"));
    let text = std::fs::read_to_string(&out);
    // It is in the way of nobody if it stays.
    let _ = std::fs::remove_dir_all(&folder);
    let output = result?;
    let frames: u64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| format!("{name}: valgrind {}", output.status))?;
    let text = text.map_err(|error| format!("{}: {error}", out.display()))?;
    Ok(own_cost(&text) as f64 / frames as f64)
}

/// Adds up the costs of our own functions in a callgrind file (valgrind's manual, "Callgrind Format Specification").
fn own_cost(text: &str) -> u64 {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut is_ours, mut skip, mut total) = (false, false, 0);
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            if key == "fn" || key == "cfn" {
                // `(7) name` the first time, `(7)` from then on.
                let (id, name) = value.split_once(' ').unwrap_or((value, ""));
                if !name.is_empty() {
                    names.insert(id, name);
                }
                if key == "fn" {
                    let name = names.get(id).copied().unwrap_or_default();
                    is_ours = !name.contains("memchr") && OURS.iter().any(|ours| name.contains(ours));
                }
            }
            // The line after this one is the cost of what was called.
            skip = key == "calls";
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            && !std::mem::take(&mut skip)
            && is_ours
        {
            total += line.rsplit(' ').next().and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_of_our_own_functions_are_added_up() {
        let text = "events: Ir\nfn=(1) inspect::a\n10 5\n+1 7\ncfn=(2) memcpy\ncalls=3 0\n+2 1000\nfn=(2)\n1 300\nfn=(1)\n* 2\n";
        assert_eq!(own_cost(text), 14);
    }

    #[test]
    fn what_is_far_from_the_baseline_is_told() {
        let cases = |count| BTreeMap::from([("small".to_owned(), count)]);
        assert_eq!(compare(&cases(100.0), &cases(109.0)), [""; 0]);
        assert_eq!(compare(&cases(100.0), &cases(111.0)).len(), 1);
        assert_eq!(compare(&BTreeMap::new(), &cases(1.0)).len(), 1);
    }

    #[test]
    fn every_case_can_be_played() {
        for (name, ..) in CASES {
            assert!(play(name).unwrap() > 100, "{name}");
        }
    }
}
