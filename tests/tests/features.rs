//! Every promise of the two Cisco documents names the test that shows it, and that test exists.

use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    feature: Vec<Feature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Feature {
    document: String,
    section: String,
    says: String,
    #[serde(default)]
    tests: Vec<String>,
    later: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn table() -> Table {
    let text = std::fs::read_to_string(root().join("tests/features.toml")).expect("the table is there");
    toml::from_str(&text).expect("the table is well-formed")
}

/// Whether a test of this name is there: `path::name`, a dialogue, or a golden file.
fn exists(test: &str) -> bool {
    let Some((path, name)) = test.split_once("::") else {
        let file = match test.strip_suffix(".dialogue") {
            Some(_) => root().join("dataplane/inspect/tests/dialogues").join(test),
            None => root().join(test),
        };
        return file.is_file();
    };
    let Ok(text) = std::fs::read_to_string(root().join(path)) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(index, line)| {
        let python = line.starts_with(&format!("def {name}("));
        let rust = line.starts_with(&format!("fn {name}("))
            && lines[..index].iter().rev().take(3).any(|before| *before == "#[test]");
        python || rust
    })
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let mut wrong = Vec::new();
    let mut later = 0;
    for feature in table().feature {
        let Feature { document, section, says, tests, later: to_come } = feature;
        let row = format!("{document}, {section}: {says}");
        assert!(document == "esmtp" || document == "aic", "{row}: which document?");
        match to_come {
            Some(what) if tests.is_empty() => {
                later += 1;
                println!("later ({what}): {row}");
            }
            Some(_) => wrong.push(format!("{row}: tests and `later`")),
            None if tests.is_empty() => wrong.push(format!("{row}: no test")),
            None => wrong
                .extend(tests.iter().filter(|test| !exists(test)).map(|test| format!("{row}: no `{test}`"))),
        }
    }
    println!("{later} promises are still to come");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_test_that_is_not_there_is_noticed() {
    assert!(!exists("dataplane/inspect/tests/refusal.rs::no_such_test"));
    assert!(!exists("no_such.dialogue"));
    assert!(exists("tests/tests/features.rs::a_test_that_is_not_there_is_noticed"));
}
