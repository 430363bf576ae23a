//! Every ambiguity of IP and TCP has one rule, in one place, with a source, a row where it is counted, and a test that is there.

use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    ambiguity: Vec<Ambiguity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ambiguity {
    of: String,
    rule: String,
    place: String,
    source: String,
    anomaly: String,
    tests: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/inspect")
}

fn table() -> Vec<Ambiguity> {
    let text = std::fs::read_to_string(folder().join("ambiguities.toml")).expect("the table is there");
    toml::from_str::<Table>(&text).expect("the table is well-formed").ambiguity
}

/// Labels of the anomalies: the second word of each row.
fn labels() -> Vec<String> {
    let text = std::fs::read_to_string(folder().join("src/anomaly.rs")).expect("the anomalies are there");
    let (_, rows) = text.split_once("\nanomalies! {").expect("the table of anomalies");
    let labels: Vec<_> = rows.lines().filter_map(|row| row.split('"').nth(1)).map(String::from).collect();
    assert!(labels.len() > 20, "{labels:?}");
    labels
}

/// Whether there is a counter of this name.
fn is_counted(name: &str) -> bool {
    let text = std::fs::read_to_string(folder().join("src/counter.rs")).expect("the counters are there");
    text.lines().any(|row| row.trim().starts_with(&format!("{name}: \"")))
}

/// Whether there is a test function of this name: `path::name`.
fn exists(test: &str) -> bool {
    let Some((path, name)) = test.rsplit_once("::") else { return false };
    let Ok(text) = std::fs::read_to_string(folder().join(path)) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&format!("fn {name}(")))
}

#[test]
fn every_ambiguity_has_a_rule_a_place_a_source_a_row_and_a_test() {
    let labels = labels();
    let mut wrong = Vec::new();
    for Ambiguity { of, rule, place, source, anomaly, tests } in table() {
        if !rule.ends_with('.') || source.is_empty() {
            wrong.push(format!("{of}: no rule, or no source"));
        }
        if !folder().join("src").join(&place).is_file() {
            wrong.push(format!("{of}: no file `{place}`"));
        }
        if anomaly != "-" && !labels.contains(&anomaly) && !is_counted(&anomaly) {
            wrong.push(format!("{of}: no anomaly or counter `{anomaly}`"));
        }
        if tests.is_empty() {
            wrong.push(format!("{of}: no test"));
        }
        wrong.extend(tests.iter().filter(|test| !exists(test)).map(|test| format!("{of}: no test `{test}`")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_anomaly_of_ip_and_tcp_is_in_the_table() {
    let table = table();
    let missing: Vec<_> = labels()
        .into_iter()
        .filter(|label| label.starts_with("tcp_") || label.starts_with("ip_"))
        .filter(|label| table.iter().all(|row| row.anomaly != *label))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!exists("tests/hostile.rs::no_such_test"));
}
