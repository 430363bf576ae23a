//! A [`Pattern`] into the syntax of the matcher library.
//!
//! All that counts is *whether* a pattern is found, so what cannot change that is taken off its
//! ends: `.*x+.*` becomes `x`. It is the same question, asked without a report for every octet
//! that the trailing `.*` would take.

use std::fmt::Write as _;

use artifact::smtp::Region;

use super::{Node, Octets, Pattern};

/// What a pattern is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One text at once: `^` and `$` are its ends, a dot is any octet.
    Field,
    /// Text of many lines, piece by piece: `^` and `$` are the ends of a line, a dot stays on it.
    Lines,
}

impl From<Region> for Place {
    fn from(region: Region) -> Self {
        if region.is_streaming() { Place::Lines } else { Place::Field }
    }
}

/// A pattern as the library reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// Its syntax, ASCII without NUL.
    pub expression: String,
    /// Ignore the case of ASCII letters.
    pub nocase: bool,
    /// It is found in every text, even an empty one.
    pub always: bool,
}

/// Translates. The result is found in exactly the texts in which the pattern is.
#[must_use]
pub fn translate(pattern: &Pattern, place: Place) -> Translated {
    let always = pattern.node.always();
    let mut expression = String::new();
    if always {
        // Found once, at the start, and not at every octet.
        expression.push_str("\\A");
    } else {
        let node = pattern.node.clone().trim(End::Front).trim(End::Back);
        print(&node, place, &mut expression);
    }
    Translated { expression, nocase: pattern.nocase, always }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// Where an empty match is possible: bit 0 anywhere, 1 at the start, 2 at the end, 3 where the
/// start is the end.
type Empties = u8;
const ANYWHERE: Empties = 1;
const BOTH_ENDS: Empties = 8;

impl Node {
    /// Whether it is found in every text.
    fn always(&self) -> bool {
        // Every text has a start and an end, but only an empty one has both in one place.
        self.empties() & !BOTH_ENDS != 0
    }

    fn empties(&self) -> Empties {
        match self {
            Node::Empty => ANYWHERE,
            Node::Octets(_) | Node::Any => 0,
            Node::Start => 2,
            Node::End => 4,
            Node::Concat(nodes) => nodes.iter().fold(ANYWHERE, |sum, node| both(sum, node.empties())),
            Node::Alternate(nodes) => nodes.iter().fold(0, |sum, node| sum | node.empties()),
            Node::Repeat(_, 0, _) => ANYWHERE,
            Node::Repeat(node, ..) => node.empties(),
        }
    }

    /// Takes off one end what cannot change whether the rest is found.
    fn trim(self, end: End) -> Node {
        match self {
            Node::Repeat(_, 0, _) => Node::Empty,
            Node::Repeat(node, 1, _) => node.trim(end),
            Node::Repeat(node, min, _) => Node::Repeat(node, min, Some(min)),
            Node::Alternate(nodes) => Node::Alternate(nodes.into_iter().map(|node| node.trim(end)).collect()),
            Node::Concat(mut nodes) => {
                loop {
                    // `^.*` in front and `.*$` behind: every place of a text is behind its start
                    // and before its end, and on a line likewise.
                    let swallowed = match end {
                        End::Front => {
                            matches!(nodes.as_slice(), [Node::Start, star, ..] if is_any_star(star))
                        }
                        End::Back => matches!(nodes.as_slice(), [.., star, Node::End] if is_any_star(star)),
                    };
                    if swallowed {
                        remove(&mut nodes, end);
                        remove(&mut nodes, end);
                        continue;
                    }
                    let Some(outer) = remove(&mut nodes, end) else { return Node::Empty };
                    let trimmed = outer.trim(end);
                    if trimmed == Node::Empty {
                        continue;
                    }
                    match end {
                        End::Front => nodes.insert(0, trimmed),
                        End::Back => nodes.push(trimmed),
                    }
                    return Node::Concat(nodes);
                }
            }
            other => other,
        }
    }
}

fn is_any_star(node: &Node) -> bool {
    matches!(node, Node::Repeat(any, 0, None) if **any == Node::Any)
}

fn remove(nodes: &mut Vec<Node>, end: End) -> Option<Node> {
    match end {
        End::Front if nodes.is_empty() => None,
        End::Front => Some(nodes.remove(0)),
        End::Back => nodes.pop(),
    }
}

/// Empty matches of two parts in one place: the conditions of both.
fn both(one: Empties, other: Empties) -> Empties {
    let mut sum = 0;
    for first in 0..4u8 {
        for second in 0..4u8 {
            if one & (1 << first) != 0 && other & (1 << second) != 0 {
                // As numbers: 0 anywhere, 1 start, 2 end, 3 both; two conditions are joined by "or".
                sum |= 1 << (first | second);
            }
        }
    }
    sum
}

fn print(node: &Node, place: Place, out: &mut String) {
    match node {
        Node::Empty => out.push_str("(?:)"),
        Node::Octets(octets) => print_octets(octets, out),
        Node::Any if place == Place::Lines => out.push_str("[^\\x0a]"),
        Node::Any => out.push_str("[\\x00-\\xff]"),
        // `\A` is the start of the text, `^` (with the multi-line flag) that of any line.
        Node::Start => out.push_str(if place == Place::Lines { "^" } else { "\\A" }),
        // Lines of mail end in CR LF; `$` stands before the LF.
        Node::End => out.push_str(if place == Place::Lines { "(?:\\x0d?$)" } else { "\\z" }),
        Node::Concat(nodes) => {
            out.push_str("(?:");
            nodes.iter().for_each(|node| print(node, place, out));
            out.push(')');
        }
        Node::Alternate(nodes) => {
            out.push_str("(?:");
            for (at, node) in nodes.iter().enumerate() {
                if at > 0 {
                    out.push('|');
                }
                print(node, place, out);
            }
            out.push(')');
        }
        Node::Repeat(node, min, max) => {
            out.push_str("(?:");
            print(node, place, out);
            out.push(')');
            // Writing into a string has no way to fail.
            let _ = match (min, max) {
                (0, None) => out.write_char('*'),
                (1, None) => out.write_char('+'),
                (0, Some(1)) => out.write_char('?'),
                (min, None) => write!(out, "{{{min},}}"),
                (min, Some(max)) if min == max => write!(out, "{{{min}}}"),
                (min, Some(max)) => write!(out, "{{{min},{max}}}"),
            };
        }
    }
}

fn print_octets(octets: &Octets, out: &mut String) {
    let ranges = octets.ranges();
    match ranges.as_slice() {
        // A class of nothing: `[^\x00-\xff]` can be written by octal ranges, and is never found.
        [] => out.push_str("[^\\x00-\\xff]"),
        [(low, high)] if low == high => print_octet(*low, out),
        ranges => {
            out.push('[');
            for (low, high) in ranges {
                print_octet(*low, out);
                if high > low {
                    out.push('-');
                    print_octet(*high, out);
                }
            }
            out.push(']');
        }
    }
}

/// Letters and digits as they are, all else by number: nothing is left for the library to interpret.
fn print_octet(octet: u8, out: &mut String) {
    if octet.is_ascii_alphanumeric() {
        out.push(char::from(octet));
    } else {
        let _ = write!(out, "\\x{octet:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Text;
    use crate::source::Span;

    fn translated(text: &str, place: Place) -> Translated {
        let mut found = Vec::new();
        let line = Text { text: text.into(), span: Span::new(0, text.len()) };
        let pattern = super::super::parse(&line, false, &mut found).unwrap();
        translate(&pattern, place)
    }

    #[test]
    fn ends_that_change_nothing_are_taken_off() {
        let cases = [
            (".*x+.*", "(?:x)"),
            ("^.*foo", "(?:foo)"),
            ("foo.*$", "(?:foo)"),
            ("a?b{3,}", "(?:(?:b){3})"),
            ("^a+", "(?:\\Aa)"),
            ("a+$", "(?:a\\z)"),
            ("(a*b|c.*)", "(?:(?:b)|(?:c))"),
            ("x.*y", "(?:x(?:[\\x00-\\xff])*y)"),
            ("xa**y", "(?:x(?:a)*y)"),
            ("xa?+y", "(?:x(?:a)*y)"),
            ("xa+*?y", "(?:x(?:a)*y)"),
            ("xa+++y", "(?:x(?:a)+y)"),
            ("xa??y", "(?:x(?:a)?y)"),
            ("xa{2}*y", "(?:x(?:(?:a){2})*y)"),
        ];
        for (text, expected) in cases {
            let expression = translated(text, Place::Field).expression;
            assert_eq!(expression, expected, "{text}");
        }
    }

    #[test]
    fn what_is_found_everywhere_is_known() {
        for text in [".*", "a*", "^", "^a*", "a*$", "(a|b*)", "(|a)"] {
            assert!(translated(text, Place::Field).always, "{text}");
        }
        for text in ["^$", "^a*$", "a", ".", "^a", "(^$|b)"] {
            assert!(!translated(text, Place::Field).always, "{text}");
        }
    }

    #[test]
    fn lines_have_their_own_ends() {
        assert_eq!(translated("^a.b$", Place::Lines).expression, "(?:^a[^\\x0a]b(?:\\x0d?$))");
        assert_eq!(translated("^a.b$", Place::Field).expression, "(?:\\Aa[\\x00-\\xff]b\\z)");
    }
}
