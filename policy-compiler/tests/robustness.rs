//! Whatever a file holds: no panic, no line dropped in silence, findings that can be shown.
#![forbid(unsafe_code)]

use artifact::format::Artifact;
use posternc::compile::{Options, compile};
use posternc::source::SourceFile;
use proptest::prelude::*;

/// Compiles, shows everything in every way, and reads back what came of it.
fn survive(text: &str, strict_cisco: bool) {
    let file = SourceFile::new("any.policy", text);
    let compiled = compile(&file, Options { strict_cisco, seed_compat: !strict_cisco });
    let (errors, _) = compiled.counts();
    assert_eq!(compiled.artifact.is_none(), errors > 0, "an artifact if and only if there is no error");
    for found in &compiled.diagnostics {
        assert!(found.span.end <= text.len() && text.get(found.span.start..found.span.end).is_some());
        assert!(found.render(&file, false).contains(&found.code.to_string()));
        assert!(!found.render(&file, true).is_empty());
        assert!(serde_json::to_string(&found.record(&file)).is_ok());
    }
    if let Some(artifact) = compiled.artifact {
        assert_eq!(Artifact::read(&artifact.write()).as_ref(), Ok(&artifact));
        assert!(!posternc::explain::artifact(&artifact).is_empty());
    }
}

/// Words that lead deep into the parser, and some that lead nowhere.
const WORDS: &[&str] = &[
    "no",
    "exit",
    "end",
    "parameter-map",
    "class-map",
    "policy-map",
    "type",
    "regex",
    "inspect",
    "smtp",
    "esmtp",
    "match-any",
    "match-all",
    "match",
    "not",
    "sender",
    "recipient",
    "address",
    "count",
    "invalid",
    "gt",
    "cmd",
    "verb",
    "line",
    "cmd-line",
    "length",
    "header",
    "body",
    "data-length",
    "mime",
    "content-type",
    "encoding",
    "unknown",
    "reply",
    "ehlo",
    "protocol",
    "tcp",
    "udp",
    "extended",
    "access-group",
    "name",
    "class",
    "class-default",
    "log",
    "reset",
    "mask",
    "allow",
    "pass",
    "drop",
    "service-policy",
    "parameters",
    "base",
    "none",
    "max-data",
    "alert",
    "on",
    "off",
    "audit-trail",
    "zone",
    "zone-pair",
    "security",
    "source",
    "destination",
    "self",
    "default",
    "interface",
    "zone-member",
    "ip",
    "ipv6",
    "in",
    "out",
    "timeout",
    "access-list",
    "extended",
    "standard",
    "permit",
    "deny",
    "remark",
    "any",
    "host",
    "192.0.2.1",
    "0.0.0.255",
    "2001:db8::/32",
    "eq",
    "range",
    "port-map",
    "list",
    "port",
    "tcp",
    "max-incomplete",
    "one-minute",
    "low",
    "high",
    "sessions",
    "maximum",
    "rate",
    "idle-time",
    "synwait-time",
    "finwait-time",
    "block-time",
    "police",
    "description",
    "pattern",
    "a",
    "b",
    "c",
    "1",
    "25",
    "101",
    "600",
    "99999999999",
    "-1",
    "!",
    "!x",
    "é",
    "\u{1}",
    "Router#",
    "eth0",
    "10",
    "^a*$",
    "(x|y)+",
    "[",
    "\\x41",
    "\"q\"",
    "nocase",
    "a{60}",
    "*",
    "\u{feff}",
];

fn line() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(WORDS);
    (0usize..3, proptest::collection::vec(word, 0..9))
        .prop_map(|(indent, words)| format!("{}{}", " ".repeat(indent), words.join(" ")))
}

/// Lines that are nearly right: a valid policy with words changed, dropped, or doubled.
fn near_miss() -> impl Strategy<Value = String> {
    let sources = proptest::sample::select(vec![
        include_str!("../../deploy/policies/first-light.policy"),
        include_str!("golden/classic.policy"),
        include_str!("golden/access-lists.policy"),
        include_str!("golden/abbreviated.policy"),
        include_str!("golden/patterns.policy"),
    ]);
    let change = (any::<proptest::sample::Index>(), 0u8..4, proptest::sample::select(WORDS));
    (sources, proptest::collection::vec(change, 1..12)).prop_map(|(source, changes)| {
        let mut words: Vec<String> = source.split_inclusive([' ', '\n']).map(str::to_owned).collect();
        for (index, how, word) in changes {
            let at = index.index(words.len());
            let end = if words[at].ends_with('\n') { "\n" } else { " " };
            match how {
                0 => words[at] = format!("{word}{end}"),
                1 => words[at] = end.to_owned(),
                2 => words.insert(at, format!("{word} ")),
                _ => words[at] = words[at].chars().rev().collect::<String>().trim().to_owned() + end,
            }
        }
        words.concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}|(?s).{0,200}", strict in any::<bool>()) {
        survive(&text, strict);
    }

    #[test]
    fn any_words_are_survived(lines in proptest::collection::vec(line(), 0..25), strict in any::<bool>()) {
        survive(&lines.join("\n"), strict);
    }

    #[test]
    fn near_misses_are_survived(text in near_miss(), strict in any::<bool>()) {
        survive(&text, strict);
    }

    #[test]
    fn any_pattern_is_survived(pattern in "[ab^$.*+?{}()\\[\\]\\\\|0-9,\"x -]{0,30}|\\PC{0,30}") {
        survive(&format!("parameter-map type regex m\n pattern {pattern}\n"), false);
    }
}
