//! The text of a `pattern` line into a [`Pattern`].

use super::line::unwrap;
use super::{MAX_PATTERN_LEN, MAX_POSITIONS, MAX_REPEAT, Node, Octets, Pattern};
use crate::ast::Text;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// Reads a pattern; `None` if it cannot be read. Findings, warnings included, go to `diagnostics`.
pub fn parse(line: &Text, strict: bool, diagnostics: &mut Vec<Diagnostic>) -> Option<Pattern> {
    let (text, nocase) = unwrap(line, strict, diagnostics)?;
    if let Some((at, _)) = text.text.char_indices().nth(MAX_PATTERN_LEN) {
        let len = text.text.chars().count();
        diagnostics.push(
            Diagnostic::error(
                Code::PATTERN_LIMITS,
                Span::new(text.span.start + at, text.span.end),
                "the pattern is too long",
            )
            .label(format!("{len} characters, at most {MAX_PATTERN_LEN} are allowed")),
        );
        return None;
    }
    let mut parser =
        Parser { text: &text.text, at: 0, base: text.span.start, strict, nocase, last_end: 0, diagnostics };
    let node = match parser.alternatives(0, true) {
        Ok(node) => node,
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            return None;
        }
    };
    if node.positions() > MAX_POSITIONS {
        diagnostics.push(
            Diagnostic::error(Code::PATTERN_COST, text.span, "the pattern is too costly")
                .label(format!(
                    "{} octets with its repeats written out, at most {MAX_POSITIONS} are allowed",
                    node.positions()
                ))
                .help("use fewer or smaller repeats"),
        );
        return None;
    }
    Some(Pattern { node, nocase })
}

type Read<T> = Result<T, Box<Diagnostic>>;

struct Parser<'a, 'd> {
    text: &'a str,
    at: usize,
    base: usize,
    strict: bool,
    nocase: bool,
    /// Where the last `$` stands that was taken for an end.
    last_end: usize,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl Parser<'_, '_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn span(&self, start: usize) -> Span {
        Span::new(self.base + start, self.base + self.at)
    }

    fn error<T>(&self, start: usize, message: &str, help: &str) -> Read<T> {
        Err(Box::new(Diagnostic::error(Code::PATTERN_SYNTAX, self.span(start), message).help(help)))
    }

    /// `a|b|c`, up to `)` or the end; `leading` if nothing stands before it.
    fn alternatives(&mut self, depth: usize, leading: bool) -> Read<Node> {
        let mut alternatives = vec![self.sequence(depth, leading)?];
        while self.peek() == Some('|') {
            self.next();
            alternatives.push(self.sequence(depth, leading)?);
        }
        if depth == 0 && self.peek() == Some(')') {
            let start = self.at;
            self.next();
            return self.error(
                start,
                "this parenthesis was not opened",
                "write `\\)` for one that is looked for",
            );
        }
        Ok(match alternatives.len() {
            1 => alternatives.pop().unwrap_or(Node::Empty),
            _ => Node::Alternate(alternatives),
        })
    }

    fn sequence(&mut self, depth: usize, leading: bool) -> Read<Node> {
        let mut nodes = Vec::new();
        while let Some(character) = self.peek() {
            if matches!(character, '|' | ')') {
                break;
            }
            if nodes.last().is_some_and(Node::has_end) {
                // `(a$)b`: said of the end, where it can be seen.
                return self.misplaced_end(self.last_end);
            }
            let first = leading && nodes.iter().all(|node| *node == Node::Start);
            let item = self.item(character, first, depth)?;
            nodes.push(self.repeats(item)?);
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.pop().unwrap_or(Node::Empty),
            _ => Node::Concat(nodes),
        })
    }

    fn item(&mut self, character: char, first: bool, depth: usize) -> Read<Node> {
        let start = self.at;
        self.next();
        match character {
            '.' => Ok(Node::Any),
            '(' => {
                let node = self.alternatives(depth + 1, first)?;
                if self.next() != Some(')') {
                    self.at = start + 1;
                    return self.error(
                        start,
                        "this parenthesis is not closed",
                        "close it, or write `\\(` for one that is looked for",
                    );
                }
                Ok(node)
            }
            '[' => self.class(start),
            '^' if first => Ok(Node::Start),
            '^' => self.error(
                start,
                "`^` can only stand at the start of a pattern or alternative",
                "write `\\^` for one that is looked for",
            ),
            '$' if self.strict => Ok(Node::Octets(Octets::one(b'$'))),
            '$' if matches!(self.peek(), None | Some(')' | '|')) => {
                self.last_end = start;
                Ok(Node::End)
            }
            '$' => self.misplaced_end(start),
            '*' if first => {
                self.glob_star(start)?;
                Ok(Node::Repeat(Box::new(Node::Any), 0, None))
            }
            '+' | '?' | '*' => {
                let message = format!("`{character}` has nothing to repeat");
                self.error(start, &message, &format!("write `\\{character}` for one that is looked for"))
            }
            '{' => self.error(start, "`{` has nothing to repeat", "write `\\{` for one that is looked for"),
            '\\' => Ok(Node::Octets(Octets::one(self.escape(start)?))),
            _ => Ok(literal(character)),
        }
    }

    fn misplaced_end<T>(&mut self, at: usize) -> Read<T> {
        self.at = at + 1;
        let message = "`$` can only stand at the end of a pattern or alternative";
        self.error(at, message, "write `\\$` for one that is looked for")
    }

    fn glob_star(&mut self, start: usize) -> Read<()> {
        let span = self.span(start);
        if self.strict {
            return self.error(
                start,
                "`*` has nothing to repeat",
                "write `.*` for anything, `\\*` for a star that is looked for",
            );
        }
        self.diagnostics.push(
            Diagnostic::warning(Code::GLOB_STAR, span, "a star with nothing before it is taken as `.*`, as in a shell")
                .help("a pattern is looked for anywhere, so a leading star can be left out; write `\\*` for a star that is looked for"),
        );
        Ok(())
    }

    /// Quantifiers behind an item; they may be stacked.
    fn repeats(&mut self, mut item: Node) -> Read<Node> {
        while let Some(character) = self.peek() {
            let start = self.at;
            let (min, max) = match character {
                '?' => (0, Some(1)),
                '*' => (0, None),
                '+' => (1, None),
                '{' => self.counts()?,
                _ => break,
            };
            if character != '{' {
                self.next();
            }
            if matches!(item, Node::Start | Node::End) {
                if character == '*' && item == Node::Start {
                    self.glob_star(start)?;
                    return Ok(Node::Concat(vec![item, Node::Repeat(Box::new(Node::Any), 0, None)]));
                }
                return self.error(
                    start,
                    "an end of the text cannot be repeated",
                    "write `\\^` or `\\$` for a character that is looked for",
                );
            }
            item = repeated(item, min, max);
        }
        Ok(item)
    }

    /// `{x}` or `{x,}`.
    fn counts(&mut self) -> Read<(u32, Option<u32>)> {
        let start = self.at;
        self.next();
        let digits_at = self.at;
        while self.peek().is_some_and(|character| character.is_ascii_digit()) {
            self.next();
        }
        let digits = self.text.get(digits_at..self.at).unwrap_or_default();
        let open = self.peek() == Some(',');
        if open {
            self.next();
        }
        let closed = self.next() == Some('}');
        if !closed || digits.is_empty() {
            return self.error(
                start,
                "expected `{x}` or `{x,}`",
                "`{x,y}` is not in Cisco's dialect: write the optional items with `?`; write `\\{` for a brace that is looked for",
            );
        }
        let count = digits.parse::<u32>().unwrap_or(u32::MAX);
        if count > MAX_REPEAT {
            return Err(Box::new(
                Diagnostic::error(Code::PATTERN_COST, self.span(start), "the pattern is too costly")
                    .label(format!("at most {MAX_REPEAT} repeats are allowed"))
                    .help("use a smaller count, or `+`"),
            ));
        }
        Ok((count, if open { None } else { Some(count) }))
    }

    /// What follows a backslash.
    fn escape(&mut self, start: usize) -> Read<u8> {
        let Some(character) = self.next() else {
            return self.error(
                start,
                "nothing follows this backslash",
                "write `\\\\` for one that is looked for",
            );
        };
        let octet = match character {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            'f' => 0x0c,
            'x' => match self.digits(2, 16) {
                Some(value) => value as u8,
                None => {
                    return self.error(
                        start,
                        "`\\x` needs two hexadecimal digits",
                        "`\\x0d` is CR; a plain `x` needs no backslash",
                    );
                }
            },
            '0'..='9' => {
                self.at -= 1;
                match self.digits(3, 8) {
                    Some(value) if value < 256 => value as u8,
                    _ => {
                        self.at = start + 2;
                        return self.error(
                            start,
                            "`\\` and a digit needs three octal digits up to 377",
                            "`\\015` is CR; a plain digit needs no backslash",
                        );
                    }
                }
            }
            character if character.is_ascii() => {
                if matches!(character, 'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B') {
                    self.trap(start, character);
                }
                character as u8
            }
            _ => return self.error(start, "a character outside of ASCII needs no backslash", "leave it out"),
        };
        Ok(octet)
    }

    fn trap(&mut self, start: usize, character: char) {
        let meant = match character.to_ascii_lowercase() {
            'd' => "`[0-9]`",
            'w' => "`[A-Za-z0-9_]`",
            's' => "`[ \\t]`",
            _ => "the characters beside a word",
        };
        let span = self.span(start);
        self.diagnostics.push(
            Diagnostic::warning(
                Code::PATTERN_TRAP,
                span,
                format!("`\\{character}` is only the letter {character} in Cisco's dialect"),
            )
            .help(format!("write {meant}, or the letter without the backslash")),
        );
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + count)?;
        if !digits.chars().all(|digit| digit.is_digit(radix)) {
            return None;
        }
        self.at += count;
        u32::from_str_radix(digits, radix).ok()
    }

    /// `[...]`, behind its `[`.
    fn class(&mut self, start: usize) -> Read<Node> {
        let negated = self.peek() == Some('^');
        if negated {
            self.next();
        }
        if self.peek() == Some(':') {
            let span = self.span(start);
            self.diagnostics.push(
                Diagnostic::warning(
                    Code::PATTERN_TRAP,
                    span,
                    "`[:name:]` is only a list of characters in Cisco's dialect",
                )
                .help("write the ranges, such as `[A-Za-z]`"),
            );
        }
        let mut set = Octets::NONE;
        loop {
            let member_at = self.at;
            let low = match self.next() {
                None => {
                    self.at = start + 1;
                    return self.error(
                        start,
                        "this bracket is not closed",
                        "close it, or write `\\[` for one that is looked for",
                    );
                }
                Some(']') if set.is_empty() => {
                    return self.error(
                        start,
                        "there is nothing in these brackets",
                        "write `\\]` for a bracket in the list",
                    );
                }
                Some(']') => break,
                Some('-') if set.is_empty() || self.peek() == Some(']') => b'-',
                Some('-') => {
                    return self.error(
                        member_at,
                        "`-` is itself only first or last",
                        "move it there, or write `\\-`",
                    );
                }
                Some(character) => self.member(member_at, character)?,
            };
            let mut high = low;
            let rest = self.text.get(self.at..).unwrap_or_default();
            if rest.starts_with('-') && !rest.starts_with("-]") && rest.len() > 1 {
                self.next();
                let high_at = self.at;
                let character = self.next().unwrap_or('-');
                high = self.member(high_at, character)?;
                if high < low {
                    return self.error(member_at, "this range runs backwards", "put the lower end first");
                }
            }
            (low..=high).for_each(|octet| set.insert(octet));
        }
        // Before it is negated: `[^a]` without case is neither `a` nor `A`.
        if self.nocase {
            set = set.with_other_case();
        }
        Ok(Node::Octets(if negated { set.negated() } else { set }))
    }

    fn member(&mut self, start: usize, character: char) -> Read<u8> {
        match character {
            '\\' => self.escape(start),
            character if character.is_ascii() => Ok(character as u8),
            _ => self.error(
                start,
                "a character outside of ASCII is several octets, and cannot stand in brackets",
                "write the alternatives, such as `(é|è)`",
            ),
        }
    }
}

/// A character as its octets in UTF-8.
fn literal(character: char) -> Node {
    let mut buffer = [0; 4];
    let octets = character.encode_utf8(&mut buffer).bytes().map(|octet| Node::Octets(Octets::one(octet)));
    let mut nodes: Vec<Node> = octets.collect();
    match nodes.len() {
        1 => nodes.pop().unwrap_or(Node::Empty),
        _ => Node::Concat(nodes),
    }
}

/// An item with a quantifier. Of `?`, `*` and `+` two are one, or every further star would double what a matcher has to try.
fn repeated(item: Node, min: u32, max: Option<u32>) -> Node {
    let is_simple = |min: u32, max: Option<u32>| min <= 1 && matches!(max, None | Some(1));
    match item {
        Node::Repeat(inner, least, most) if is_simple(min, max) && is_simple(least, most) => {
            Node::Repeat(inner, min * least, max.and(most))
        }
        item => Node::Repeat(Box::new(item), min, max),
    }
}
