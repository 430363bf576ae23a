//! Every pattern of every regex map: read, and tried on its own in each place where it is used.

use std::collections::BTreeMap;

use artifact::smtp::Region;

use crate::ast::{Config, RegexMap};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::hyperscan::{self, Refusal};
use crate::pattern::{self, MAX_PATTERNS, Pattern, Place, translate};
use crate::source::Span;

/// The patterns of each regex map that could be read, and where they stand.
pub type Patterns = BTreeMap<String, Vec<(Pattern, Span)>>;

pub(super) fn check(config: &Config, strict: bool, found: &mut Vec<Diagnostic>) -> Patterns {
    let mut patterns = Patterns::new();
    for map in &config.regex_maps {
        if let Some(line) = map.patterns.get(MAX_PATTERNS) {
            found.push(
                Diagnostic::error(Code::PATTERN_LIMITS, line.text.span, "the map has too many patterns")
                    .label(format!("at most {MAX_PATTERNS} are allowed"))
                    .help("join patterns with `|`, or use a second map and a second `match` line"),
            );
        }
        let read: Vec<(Pattern, Span)> = map
            .patterns
            .iter()
            .filter_map(|line| Some((pattern::parse(&line.text, strict, found)?, line.text.span)))
            .collect();
        for (pattern, span) in &read {
            for region in regions(config, map) {
                if let Some(diagnostic) = tried(pattern, *span, region) {
                    found.push(diagnostic);
                    break;
                }
            }
        }
        patterns.entry(map.name.text.clone()).or_insert(read);
    }
    patterns
}

/// Regions whose databases the map is part of, one for each sort of database.
fn regions(config: &Config, map: &RegexMap) -> Vec<Region> {
    let lines = config.smtp_classes.iter().flat_map(|class| &class.matches);
    let users = lines.filter(|line| line.argument.map().is_some_and(|name| name.text == map.name.text));
    let mut regions: Vec<Region> = users.filter_map(|line| line.kind.region()).collect();
    regions.sort_unstable();
    regions.dedup_by_key(|region| Place::from(*region) == Place::Lines);
    if regions.is_empty() { vec![Region::Header] } else { regions }
}

fn tried(pattern: &Pattern, span: Span, region: Region) -> Option<Diagnostic> {
    let translated = translate(pattern, Place::from(region));
    if translated.always {
        return Some(
            Diagnostic::warning(Code::PATTERN_ALWAYS, span, "this pattern is found in every text")
                .help("a pattern is looked for anywhere: `a*` is found where there is no `a` at all"),
        );
    }
    match hyperscan::trial(pattern, region).err()? {
        Refusal::Time(limit) => Some(
            Diagnostic::error(Code::PATTERN_COST, span, "the pattern is too costly")
                .label(format!("it takes longer than {} seconds to compile", limit.as_secs()))
                .help("use fewer or smaller repeats"),
        ),
        Refusal::Library(why, _) if why.contains("never match") => Some(
            Diagnostic::error(Code::PATTERN_SYNTAX, span, "the pattern can never be found")
                .help("an end of the text stands where more must follow, or a list of characters is empty"),
        ),
        Refusal::Library(why, _) => Some(
            Diagnostic::error(Code::PATTERN_COST, span, "the matcher does not take this pattern")
                .note(format!("the matcher library says: {why}"))
                .help("write it more simply, with fewer or smaller repeats"),
        ),
    }
}
