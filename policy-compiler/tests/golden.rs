//! Diagnostics as a person sees them: the whole text, compared with files.
//!
//! `golden/PNNNN.txt` is what the wrong example in the explanation of a code says of that code;
//! `golden/NAME.policy` and `NAME.txt` are whole files with everything said about them; `NAME.seed-compat.txt` is what is
//! said with that option, of the files that are about it.
//! `POSTERN_BLESS=1 cargo test -p posternc --test golden` writes what is said now; read the diff.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use posternc::code::{CODES, Code};
use posternc::compile::{Compiled, Options, compile};
use posternc::diagnostic::Severity;
use posternc::hyperscan::version;
use posternc::source::SourceFile;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What is added to the name of a golden file for `--seed-compat`.
const COMPAT: &str = ".seed-compat";

/// `--strict-cisco` and `--seed-compat` where an example is about them, or a file's name says so.
fn options(name: &str) -> Options {
    Options {
        strict_cisco: name == Code::STRICT_CISCO.to_string() || name.ends_with("strict"),
        seed_compat: name == Code::TAKEN_FOR_TOP.to_string() || name.ends_with(COMPAT),
    }
}

/// Whether a file is shown with `--seed-compat` too.
fn is_about_compat(name: &str) -> bool {
    name.starts_with("cisco-") || name.starts_with("pasted-") || name == "misplaced"
}

fn compiled(name: &str, text: &str) -> (SourceFile, Compiled) {
    let file = SourceFile::new(format!("{}.policy", name.trim_end_matches(COMPAT)), text);
    let compiled = compile(&file, options(name));
    (file, compiled)
}

fn rendered(name: &str, text: &str, only: Option<Code>) -> String {
    let (file, compiled) = compiled(name, text);
    let wanted = compiled.diagnostics.iter().filter(|found| only.is_none_or(|code| found.code == code));
    let texts: Vec<String> = wanted.map(|found| found.render(&file, false)).collect();
    // Which version it is does not matter.
    texts.join("\n").replace(&version(), "VERSION")
}

/// An example may say `! ... and N more of these` in place of lines that differ only by a number.
fn written_out(example: &str) -> String {
    let mut out = String::new();
    let mut last = "";
    for line in example.lines() {
        let more = line
            .trim_start()
            .strip_prefix("! ... and ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        for number in 2..more.unwrap_or(0u32) + 2 {
            out.push_str(&format!("{}{number}\n", last.trim_end_matches('1')));
        }
        out.push_str(line);
        out.push('\n');
        last = line;
    }
    out
}

/// Compares with a file, or writes it.
fn compare(name: &str, said: &str, failures: &mut Vec<String>) {
    let path = golden().join(format!("{name}.txt"));
    if std::env::var_os("POSTERN_BLESS").is_some() {
        fs::write(&path, said).expect("the golden directory can be written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected != said {
        failures.push(format!("--- {name}: expected\n{expected}--- but it says\n{said}"));
    }
}

#[test]
fn every_code_is_explained_and_says_what_its_golden_file_has() {
    let mut failures = Vec::new();
    for (code, text) in CODES {
        let name = code.to_string();
        assert!(
            text.starts_with("# ") && text.contains("\nWrong:\n") && text.contains("\nRight:\n"),
            "{name}"
        );
        let wrong = written_out(&code.example("Wrong:\n"));
        let said = rendered(&name, &wrong, Some(*code));
        assert!(
            said.contains(&format!("[{name}]")),
            "the wrong example of {name} does not show it:\n{wrong}"
        );
        compare(&name, &said, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn right_examples_are_right() {
    for (code, _) in CODES {
        let name = code.to_string();
        let right = code.example("Right:\n");
        let (file, compiled) = compiled(&name, &right);
        for found in &compiled.diagnostics {
            let wrong = found.code == *code || found.severity == Severity::Error;
            assert!(!wrong, "the right example of {name} is wrong:\n{}", found.render(&file, false));
        }
        assert!(compiled.artifact.is_some(), "{name}");
    }
}

#[test]
fn whole_files_say_what_their_golden_files_have() {
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(golden()).expect("the golden directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "policy") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("a policy");
            compare(&name, &rendered(&name, &text, None), &mut failures);
            count += 1;
            if is_about_compat(&name) {
                let name = format!("{name}{COMPAT}");
                compare(&name, &rendered(&name, &text, None), &mut failures);
            }
        }
    }
    assert!(count >= 5, "the cases are found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn no_golden_file_is_left_over() {
    let mut known: BTreeSet<String> = CODES.iter().map(|(code, _)| code.to_string()).collect();
    let entries: Vec<PathBuf> =
        fs::read_dir(golden()).expect("the golden directory").flatten().map(|e| e.path()).collect();
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let is = |path: &&PathBuf, wanted: &str| path.extension().is_some_and(|extension| extension == wanted);
    for name in entries.iter().filter(|path| is(path, "policy")).map(stem) {
        if is_about_compat(&name) {
            known.insert(format!("{name}{COMPAT}"));
        }
        known.insert(name);
    }
    for path in entries.iter().filter(|path| is(path, "txt")) {
        assert!(known.contains(&stem(path)), "{} belongs to nothing", path.display());
    }
}

#[test]
fn the_same_text_gives_the_same_bytes() {
    let text = include_str!("../../deploy/policies/first-light.policy");
    let bytes = |name: &str| compiled(name, text).1.artifact.expect("it is good").write();
    let (one, other) = (bytes("one"), bytes("one"));
    let differ: Vec<usize> = (0..one.len()).filter(|at| one.get(*at) != other.get(*at)).collect();
    assert!(one.len() == other.len() && differ.is_empty(), "octets at {differ:?} differ");
    // Colour changes how it looks, not what it says.
    let (file, compiled) = compiled("bad", "zone secruity inside\n");
    let plain = compiled.diagnostics[0].render(&file, false);
    let coloured = compiled.diagnostics[0].render(&file, true);
    assert!(coloured.contains('\u{1b}') && !plain.contains('\u{1b}'));
}
