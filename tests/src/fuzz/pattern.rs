//! A pattern, and a text that it is looked for in: the matcher library against the plainest matcher there is.
//!
//! An input is the region, the pattern's line, LF, the text.

use std::collections::BTreeSet;

use artifact::smtp::Region;
use posternc::ast::Text;
use posternc::hyperscan::{Expression, database, search};
use posternc::pattern::{Node, Pattern, parse};
use posternc::source::Span;

/// Longest text (octets), and most octets that the pattern may stand for: the plain matcher is slow.
const LIMIT: usize = 64;

/// Parses, compiles, searches, compares.
///
/// # Panics
/// When the two disagree.
pub fn run(data: &[u8]) {
    let Some((region, rest)) = data.split_first() else { return };
    let region = if region % 2 == 0 { Region::Sender } else { Region::Body };
    let (line, text) = match rest.iter().position(|octet| *octet == b'\n') {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (rest, &b""[..]),
    };
    let line = String::from_utf8_lossy(line).into_owned();
    let text = &text[..text.len().min(LIMIT)];
    let mut found = Vec::new();
    let span = Span::new(0, line.len());
    let Some(pattern) = parse(&Text { text: line.clone(), span }, false, &mut found) else {
        return assert!(!found.is_empty(), "refused without a word: {line:?}");
    };
    if pattern.node.positions() > LIMIT as u32 {
        return;
    }
    let Ok(database) = database(&[Expression { pattern: pattern.clone(), id: 3 }], region) else { return };
    let lines = region == Region::Body;
    let expected = is_found(&pattern, text, lines);
    for pieces in [&[text][..], &[&text[..text.len() / 2], &text[text.len() / 2..]]] {
        if !region.is_streaming() && pieces.len() > 1 {
            continue;
        }
        let got = search(&database, pieces).unwrap_or_else(|refusal| panic!("{line:?}: {refusal:?}"));
        assert_eq!(got == [3], expected, "{line:?} in {}", text.escape_ascii());
    }
}

/// Whether the pattern is found anywhere in the text.
fn is_found(pattern: &Pattern, text: &[u8], lines: bool) -> bool {
    let matcher = Plain { text, lines, nocase: pattern.nocase };
    let starts = (0..=text.len()).collect();
    !matcher.ends(&pattern.node, &starts).is_empty()
}

struct Plain<'t> {
    text: &'t [u8],
    lines: bool,
    nocase: bool,
}

impl Plain<'_> {
    /// Where a match can end that begins at one of these places.
    fn ends(&self, node: &Node, starts: &BTreeSet<usize>) -> BTreeSet<usize> {
        let step = |takes: &dyn Fn(u8) -> bool| {
            starts
                .iter()
                .filter(|at| self.text.get(**at).is_some_and(|octet| takes(*octet)))
                .map(|at| at + 1)
                .collect()
        };
        // No line begins behind the LF that ends the text (PCRE, `PCRE_MULTILINE`).
        let begins = |at: usize| self.lines && at < self.text.len() && self.text[at - 1] == b'\n';
        match node {
            Node::Empty => starts.clone(),
            Node::Octets(set) => {
                let set = if self.nocase { set.with_other_case() } else { *set };
                step(&|octet| set.contains(octet))
            }
            Node::Any => step(&|octet| !self.lines || octet != b'\n'),
            Node::Start => starts.iter().copied().filter(|at| *at == 0 || begins(*at)).collect(),
            Node::End => {
                let len = self.text.len();
                let ends = |at: usize| at == len || self.lines && self.text[at] == b'\n';
                starts.iter().copied().filter(|at| ends(*at)).collect()
            }
            Node::Concat(nodes) => nodes.iter().fold(starts.clone(), |at, node| self.ends(node, &at)),
            Node::Alternate(nodes) => nodes.iter().flat_map(|node| self.ends(node, starts)).collect(),
            Node::Repeat(node, min, max) => {
                let mut at = starts.clone();
                for _ in 0..*min {
                    at = self.ends(node, &at);
                }
                let mut all = at.clone();
                let mut left = max.map_or(usize::MAX, |max| max.saturating_sub(*min) as usize);
                while !at.is_empty() && left > 0 {
                    at = self.ends(node, &at).difference(&all).copied().collect();
                    all.extend(&at);
                    left -= 1;
                }
                all
            }
        }
    }
}
