//! Cisco's regular expressions, as regex parameter-maps have them.
//!
//! | written | means |
//! | --- | --- |
//! | `.` | any one octet; in a body any but LF, so that it stays on its line |
//! | `( )`, `\|` | group; alternatives |
//! | `?` `*` `+` | 0 or 1, any number, 1 or more of the item before |
//! | `{x}` `{x,}` | exactly `x`, `x` or more |
//! | `[abc]` `[^abc]` `[a-c]` | one of, none of, a range; `-` is itself first or last |
//! | `"..."` | quotes round the whole keep blanks at its ends |
//! | `^` | the start: of the address, of the field, of a line of the body |
//! | `\r \n \t \f \xNN \NNN` | CR, LF, TAB, FF, two hexadecimal digits, three octal digits |
//! | `\` before anything else | that character |
//!
//! A pattern is looked for anywhere, in octets, with its case. There are no back references, no
//! `\d`, no look-around: every pattern is a regular language. Extensions, refused by
//! `--strict-cisco`: `$` is the end, as `^` is the start; ` nocase` after the pattern ignores the
//! case of ASCII letters; a `*` with nothing before it is `.*`, as in a shell (with a warning, for
//! Cisco's own examples write it so).

mod line;
mod parse;
mod translate;

pub use parse::parse;
pub use translate::{Place, Translated, translate};

/// Most patterns of a map, as IOS XE has it.
pub const MAX_PATTERNS: usize = 64;
/// Longest pattern (characters), as IOS XE has it.
pub const MAX_PATTERN_LEN: usize = 240;
/// Highest count in `{x}`: the matcher keeps a bit for each, and compiles in minutes above it.
pub const MAX_REPEAT: u32 = 50;
/// Most octets that a pattern may stand for when its repeats are written out.
pub const MAX_POSITIONS: u32 = 1000;

/// A set of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Octets([u64; 4]);

impl Octets {
    /// None.
    pub const NONE: Octets = Octets([0; 4]);

    /// Only this one.
    #[must_use]
    pub fn one(octet: u8) -> Self {
        let mut set = Self::NONE;
        set.insert(octet);
        set
    }

    /// Adds one.
    pub fn insert(&mut self, octet: u8) {
        if let Some(word) = self.0.get_mut(usize::from(octet / 64)) {
            *word |= 1 << (octet % 64);
        }
    }

    /// Whether this one is in it.
    #[must_use]
    pub fn contains(&self, octet: u8) -> bool {
        self.0.get(usize::from(octet / 64)).is_some_and(|word| word & (1 << (octet % 64)) != 0)
    }

    /// All others.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.map(|word| !word))
    }

    /// With the other case of its ASCII letters.
    #[must_use]
    pub fn with_other_case(mut self) -> Self {
        for upper in b'A'..=b'Z' {
            let lower = upper.to_ascii_lowercase();
            if self.contains(upper) || self.contains(lower) {
                self.insert(upper);
                self.insert(lower);
            }
        }
        self
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// As inclusive ranges, ascending.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u8, u8)> {
        let mut ranges: Vec<(u8, u8)> = Vec::new();
        for octet in 0..=u8::MAX {
            if self.contains(octet) {
                match ranges.last_mut() {
                    Some((_, high)) if high.checked_add(1) == Some(octet) => *high = octet,
                    _ => ranges.push((octet, octet)),
                }
            }
        }
        ranges
    }
}

/// A pattern, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Nothing, which is everywhere.
    Empty,
    /// One of these octets.
    Octets(Octets),
    /// `.`
    Any,
    /// `^`
    Start,
    /// `$`
    End,
    /// One after the other.
    Concat(Vec<Node>),
    /// One of them.
    Alternate(Vec<Node>),
    /// `min` times or more, up to `max`.
    Repeat(Box<Node>, u32, Option<u32>),
}

/// A pattern and its flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What is looked for.
    pub node: Node,
    /// `nocase`: ASCII letters match in either case.
    pub nocase: bool,
}

impl Node {
    /// Whether there is a `$` in it.
    #[must_use]
    pub fn has_end(&self) -> bool {
        match self {
            Node::End => true,
            Node::Empty | Node::Start | Node::Octets(_) | Node::Any => false,
            Node::Concat(nodes) | Node::Alternate(nodes) => nodes.iter().any(Node::has_end),
            Node::Repeat(node, ..) => node.has_end(),
        }
    }

    /// Octets it stands for, repeats written out.
    #[must_use]
    pub fn positions(&self) -> u32 {
        match self {
            Node::Empty | Node::Start | Node::End => 0,
            Node::Octets(_) | Node::Any => 1,
            Node::Concat(nodes) | Node::Alternate(nodes) => {
                nodes.iter().fold(0, |sum: u32, node| sum.saturating_add(node.positions()))
            }
            Node::Repeat(node, min, max) => {
                node.positions().saturating_mul(max.unwrap_or(*min).max(*min).max(1))
            }
        }
    }
}
