//! The shape of the project, read from its own text: which part may know which, where `unsafe` may stand, how long a file may
//! be. Each test names the file and what to do about it.
#![forbid(unsafe_code)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::source::{Source, crate_paths, tokens};
use support::workspace;

/// Words that every part of the core shares: quantities, reports, counters, lists of names, and the place that sessions borrow state from.
const VOCABULARY: &[&str] = &["unit", "event", "counter", "anomaly", "names", "shelf"];

/// What each part of the core may use beside the vocabulary and itself. `wire <- fragment`, `wire <- flow <- tcp` are the layers of
/// a frame; `smtp`, `mime`, `scan` and `verdict` see bytes and offsets, never a packet nor each other (`CriterionSet` is the one
/// word that they share); `rewrite` sees frames and verdicts; `engine` sees all.
const ARROWS: &[(&str, &[&str])] = &[
    ("unit", &[]),
    ("anomaly", &[]),
    ("counter", &[]),
    ("names", &[]),
    ("shelf", &[]),
    ("event", &["wire::Endpoint"]),
    ("frame", &[]),
    ("wire", &["frame"]),
    ("fragment", &["frame", "wire"]),
    ("flow", &["frame", "wire"]),
    ("tcp", &["frame", "wire", "flow"]),
    ("smtp", &["scan::CriterionSet"]),
    ("mime", &["scan::CriterionSet"]),
    ("scan", &[]),
    ("verdict", &["scan::CriterionSet"]),
    ("rewrite", &["frame", "wire", "verdict"]),
    ("engine", &["frame", "wire", "fragment", "flow", "tcp", "smtp", "mime", "scan", "verdict", "rewrite"]),
];

/// Which of our own packages each may depend on. `tests` and `bench` may use all.
const PACKAGES: &[(&str, &[&str])] = &[
    ("postern-artifact", &[]),
    ("postern-inspect", &["postern-artifact"]),
    ("postern-hyperscan-sys", &[]),
    ("postern-hyperscan", &["postern-hyperscan-sys"]),
    ("af_xdp", &[]),
    ("postern", &["postern-artifact", "postern-inspect", "postern-hyperscan", "af_xdp"]),
    // `posternc test` judges dialogues with the gateway's own core, which is pure.
    ("posternc", &["postern-artifact", "postern-inspect", "postern-hyperscan-sys"]),
];

/// Packages and the file that talk to C or to the kernel.
const UNSAFE: &[&str] = &["dataplane/hyperscan/", "dataplane/af_xdp/", "policy-compiler/src/hyperscan.rs"];

/// The core is pure: what of the standard library would bring in the world outside.
const IMPURE: &[&str] = &[
    "fs",
    "io",
    "net",
    "thread",
    "process",
    "env",
    "os",
    "sync::Mutex",
    "sync::RwLock",
    "time::Instant",
    "time::SystemTime",
];

/// Lines of code of a source file: neither blank, nor only a comment, nor tests. Words that explain are free.
const FILE_LINES: usize = 400;

#[test]
fn the_core_has_only_the_allowed_arrows() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for source in Source::under("dataplane/inspect/src") {
        let module = source.module_path();
        let Some(part) = module.first().filter(|part| *part != "lib") else { continue };
        seen.insert(part.clone());
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| name == part) else {
            wrong.push(format!("{}: `{part}` has no row in ARROWS: say what it may use", source.name));
            continue;
        };
        for path in crate_paths(&tokens(&source.without_tests()), &module) {
            let target = path.first().map_or("", String::as_str);
            if target == part
                || VOCABULARY.contains(&target)
                || ARROWS.iter().all(|(name, _)| *name != target)
            {
                continue;
            }
            let whole = path.join("::");
            if !allowed
                .iter()
                .any(|permitted| whole == *permitted || whole.starts_with(&format!("{permitted}::")))
            {
                wrong.push(format!("{}: `{part}` may not use `crate::{whole}`", source.name));
            }
        }
    }
    assert!(seen.len() >= 10, "only {seen:?} found: is the core still there?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    for source in Source::under("dataplane/inspect/src") {
        let text = source.without_tests();
        for path in support::source::paths_from(&tokens(&text), "std") {
            let whole = path.join("::");
            if IMPURE.iter().any(|impure| whole == *impure || whole.starts_with(&format!("{impure}::"))) {
                wrong.push(format!("{}: `std::{whole}`: bytes and time come in as arguments", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn packages_depend_one_way() {
    let mut wrong = Vec::new();
    let packages = workspace::packages();
    let ours: BTreeSet<_> = packages.iter().map(|package| package.name.clone()).collect();
    for package in &packages {
        let Some((_, allowed)) = PACKAGES.iter().find(|(name, _)| *name == package.name) else {
            if !["postern-tests", "postern-bench"].contains(&package.name.as_str()) {
                wrong.push(format!("package `{}` has no row in PACKAGES", package.name));
            }
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.is_dev) {
            if ours.contains(&dependency.name) && !allowed.contains(&dependency.name.as_str()) {
                wrong.push(format!("`{}` may not depend on `{}`", package.name, dependency.name));
            }
        }
        if package.name == "postern-inspect" {
            for dependency in package.dependencies.iter().filter(|dependency| !dependency.is_dev) {
                if ["libc", "tokio", "mio", "socket2", "nix"].contains(&dependency.name.as_str()) {
                    wrong.push(format!("the core may not depend on `{}`", dependency.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_where_it_may() {
    let mut wrong = Vec::new();
    for source in workspace::rust_sources() {
        if UNSAFE.iter().any(|place| source.name.starts_with(place)) {
            continue;
        }
        if tokens(&source.text).iter().any(|token| token == "unsafe") {
            wrong.push(format!("{}: `unsafe` outside of {UNSAFE:?}", source.name));
        }
    }
    for package in workspace::packages() {
        let exempt =
            ["postern-hyperscan", "postern-hyperscan-sys", "af_xdp"].contains(&package.name.as_str());
        for root in package.roots.iter().filter(|_| !exempt) {
            let text = Source::read(root).text;
            // The compiler's library has one file that talks to C and opts out there.
            let enough = if package.name == "posternc" { &["forbid", "deny"][..] } else { &["forbid"][..] };
            if !enough.iter().any(|level| text.contains(&format!("#![{level}(unsafe_code)]"))) {
                wrong.push(format!("{root}: put `#![{}(unsafe_code)]` at the top", enough[enough.len() - 1]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

#[test]
fn files_stay_readable() {
    let mut wrong = Vec::new();
    for source in workspace::rust_sources() {
        let lines = source.without_tests().lines().filter(|line| is_code(line)).count();
        if !source.is_test() && lines > FILE_LINES {
            wrong.push(format!(
                "{}: {lines} lines of code without tests, {FILE_LINES} are enough: split it",
                source.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a committed file may not hold: places of one machine, servers of registries, folders outside of the project.
/// Written in two halves so that this file does not hold it either.
fn forbidden() -> Vec<(String, &'static str)> {
    let machine = "a path of one machine";
    let registry = "a registry's server: name the package, the client knows where it is";
    let outside = "a folder outside of the project; only the default of POSTERN_CORPUS may point there";
    [
        ("/ho", "me/", machine),
        ("/ro", "ot/", machine),
        ("/wo", "rk/", machine),
        ("/Us", "ers/", machine),
        ("static.crates", ".io", registry),
        ("index.crates", ".io", registry),
        ("pypi", ".org", registry),
        ("registry.npmjs", ".org", registry),
        ("deb.debian", ".org", registry),
        ("../sha", "red", outside),
    ]
    .into_iter()
    .map(|(one, two, why)| (format!("{one}{two}"), why))
    .collect()
}

#[test]
fn committed_files_stand_alone() {
    let Some(files) = workspace::committed_files() else {
        println!("skipped: not a git checkout, so nothing says what is committed");
        return;
    };
    let corpus = format!("{}{}", "../sha", "red/corpus");
    let mut wrong = Vec::new();
    for file in &files {
        let Ok(text) = std::fs::read_to_string(workspace::root().join(file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let line = line.replace(&corpus, "");
            for (needle, why) in forbidden() {
                if line.contains(&needle) {
                    wrong.push(format!("{file}:{}: `{needle}`: {why}", number + 1));
                }
            }
        }
    }
    assert!(files.len() > 30, "only {} files: is this the whole project?", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_arrow_in_the_table_leads_somewhere() {
    let names: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for (part, allowed) in ARROWS {
        for target in *allowed {
            let first = target.split("::").next().unwrap_or(target);
            assert!(names.contains_key(first), "{part} -> {target}");
        }
    }
}

#[test]
fn the_reader_of_sources_is_not_blind() {
    let text = r##"
        // use crate::engine::Comment;
        /* use crate::engine::{Block /* nested */}; */
        use crate::{wire::{self, Segment}, scan::CriterionSet as Set, unit::*};
        const TEXT: &str = "crate::engine::InString"; const RAW: &str = r#"crate::engine::"Raw""#;
        fn f<'a>(c: char) -> bool { c == '"' || crate::tcp::seq::later('\'', c) || super::super::flow::there() }
        #[cfg(test)]
        mod tests { use crate::engine::Engine; }
    "##;
    let module = ["smtp".to_owned(), "line".to_owned()];
    let source = Source { name: "smtp/line.rs".into(), text: text.into() };
    let found: Vec<_> =
        crate_paths(&tokens(&source.without_tests()), &module).iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        ["wire", "wire::Segment", "scan::CriterionSet", "unit", "tcp::seq::later", "flow::there"]
    );
    assert!(!tokens("// unsafe\n\"unsafe\" unsafe_code").iter().any(|token| token == "unsafe"));
    assert!(tokens("fn f() { unsafe { g() } }").iter().any(|token| token == "unsafe"));
}
