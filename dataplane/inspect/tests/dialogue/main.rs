//! Dialogues as data: what the client and the server say, what reaches the other side, what is decided.
//!
//! Every file of `tests/dialogues` is run as it stands, over every segmentation into one and two cuts of each flight, octet by
//! octet, and with all that the client says given at once. Decisions, and what either side acts on, must be the same each
//! time. The format is described in `script.rs`.

// The helpers of this test are not themselves tests, for which alone clippy allows it.
#![allow(clippy::unwrap_used)]

mod chunking;
mod corpus;
mod hostile;
mod oracle;
mod policy;
mod run;
mod script;
mod sessions;
mod usual;

use std::path::{Path, PathBuf};

use run::Run;
use script::Script;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dialogue"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn every_dialogue_over_every_segmentation() {
    let mut failures = Vec::new();
    let mut run_count = 0;
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let script =
            Script::parse(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        for run in Run::all(&script) {
            run_count += 1;
            if let Err(error) = run.check(&script) {
                failures.push(format!("{name} [{run}]: {error}"));
                break;
            }
        }
    }
    println!("{run_count} runs");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
