//! Reading one line, word by word.
//!
//! Every reader either gives what it was asked for or writes a diagnostic and gives `None`; the
//! parser then drops the line and goes on with the next.

use std::ops::RangeInclusive;

use crate::ast::{Name, Set, Text};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::source::Span;
use crate::token::{Line, Token};

/// The words of a line that are still to be read.
pub struct Cursor<'a, 'd> {
    line: &'d Line<'a>,
    at: usize,
    /// Where findings go.
    pub diagnostics: &'d mut Vec<Diagnostic>,
}

/// How a word relates to a list of keywords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// It is this one, or a prefix of this one only.
    One(&'static str),
    /// A prefix of several.
    Several(Vec<&'static str>),
    /// Of none.
    None,
}

/// Which keyword is meant: exact, or by a unique prefix, case aside.
#[must_use]
pub fn resolve(word: &str, keywords: &[&'static str]) -> Resolved {
    if let Some(exact) = keywords.iter().find(|keyword| keyword.eq_ignore_ascii_case(word)) {
        return Resolved::One(exact);
    }
    let mut found: Vec<&'static str> =
        keywords.iter().copied().filter(|keyword| is_prefix(word, keyword)).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [] => Resolved::None,
        [one] => Resolved::One(one),
        _ => Resolved::Several(found),
    }
}

fn is_prefix(word: &str, keyword: &str) -> bool {
    keyword.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// `a`, `a or b`, `a, b or c`, each in backquotes.
#[must_use]
pub fn listing(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [start @ .., last] => {
            let start: Vec<String> = start.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", start.join(", "))
        }
    }
}

impl<'a, 'd> Cursor<'a, 'd> {
    /// At the start of a line.
    pub fn new(line: &'d Line<'a>, diagnostics: &'d mut Vec<Diagnostic>) -> Self {
        Self { line, at: 0, diagnostics }
    }

    /// The next word; a word that starts with `!` ends the line.
    #[must_use]
    pub fn peek(&self) -> Option<Token<'a>> {
        self.line.tokens.get(self.at).copied().filter(|token| !token.text.starts_with('!'))
    }

    /// Takes the next word.
    pub fn advance(&mut self) -> Option<Token<'a>> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// From the first word of the line to the last that was taken.
    #[must_use]
    pub fn taken(&self) -> Span {
        let last = self.at.checked_sub(1).and_then(|at| self.line.tokens.get(at));
        last.map_or(self.line.span, |token| self.line.span.to_start(token.span))
    }

    /// Just behind the last word taken: where a missing one would stand.
    #[must_use]
    fn gap(&self) -> Span {
        let end = self.taken().end;
        Span::new(end, end)
    }

    /// Writes a finding down.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether the next word is this keyword (or an unambiguous prefix among `keywords`); takes it if so.
    pub fn optional(&mut self, keywords: &[&'static str]) -> Option<&'static str> {
        match resolve(self.peek()?.text, keywords) {
            Resolved::One(keyword) => {
                self.at += 1;
                Some(keyword)
            }
            _ => None,
        }
    }

    /// Takes one of these keywords.
    pub fn keyword(&mut self, keywords: &[&'static str]) -> Option<&'static str> {
        let Some(token) = self.peek() else {
            self.missing(&listing(keywords));
            return None;
        };
        match resolve(token.text, keywords) {
            Resolved::One(keyword) => {
                self.at += 1;
                Some(keyword)
            }
            Resolved::Several(several) => {
                self.report(ambiguous(token, &several));
                None
            }
            Resolved::None => {
                let mut diagnostic = Diagnostic::error(
                    Code::UNEXPECTED_WORD,
                    token.span,
                    format!("`{}` is not expected here", token.text),
                )
                .label(format!("expected {}", listing(keywords)));
                if let Some(near) = nearest(token.text, keywords.iter().copied()) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.report(diagnostic);
                None
            }
        }
    }

    /// Takes each of these keywords in turn.
    pub fn keywords(&mut self, keywords: &[&'static str]) -> Option<()> {
        for keyword in keywords {
            self.keyword(&[keyword])?;
        }
        Some(())
    }

    /// Reports that the line ends too early.
    pub fn missing(&mut self, what: &str) {
        let gap = self.gap();
        self.report(
            Diagnostic::error(Code::MISSING_WORD, gap, format!("the line ends where {what} is missing"))
                .label(format!("{what} belongs here")),
        );
    }

    /// Takes any word.
    pub fn word(&mut self, what: &str) -> Option<Token<'a>> {
        let token = self.advance();
        if token.is_none() {
            self.missing(what);
        }
        token
    }

    /// Takes a name of at most `max_len` characters.
    pub fn name(&mut self, what: &str, max_len: usize) -> Option<Name> {
        let token = self.word(&format!("the name of the {what}"))?;
        let len = token.text.chars().count();
        if len > max_len {
            self.report(
                Diagnostic::error(Code::BAD_NAME, token.span, format!("the name of the {what} is too long"))
                    .label(format!("{len} characters, at most {max_len} are allowed")),
            );
            return None;
        }
        Some(Name { text: token.text.to_owned(), span: token.span })
    }

    /// Takes a number within a range.
    pub fn number(&mut self, what: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let token = self.word(what)?;
        // Only digits: `parse` would also take a sign.
        let value = if token.text.bytes().all(|octet| octet.is_ascii_digit()) {
            token.text.parse().ok()
        } else {
            None
        };
        match value {
            Some(value) if range.contains(&value) => Some(value),
            _ => {
                let problem = if value.is_some() { "out of range" } else { "not a number" };
                self.report(
                    Diagnostic::error(Code::BAD_NUMBER, token.span, format!("{what} is {problem}"))
                        .label(format!("expected a whole number from {} to {}", range.start(), range.end())),
                );
                None
            }
        }
    }

    /// Takes one of some keywords, and gives what it stands for.
    pub fn choice<T: Copy>(&mut self, choices: &[(&'static str, T)]) -> Option<T> {
        let keywords: Vec<_> = choices.iter().map(|choice| choice.0).collect();
        let keyword = self.keyword(&keywords)?;
        choices.iter().find(|choice| choice.0 == keyword).map(|choice| choice.1)
    }

    /// Takes `on` or `off`.
    pub fn switch(&mut self) -> Option<bool> {
        self.choice(&[("on", true), ("off", false)])
    }

    /// Takes the last words of a line: what `read` takes, and nothing behind it.
    pub fn last<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Set<T>> {
        let value = read(self)?;
        self.finish()?;
        Some(Set { value, span: self.taken() })
    }

    /// Takes the rest of the line as it stands, `!` included.
    pub fn rest(&mut self, what: &str) -> Option<Text> {
        let Some(first) = self.line.tokens.get(self.at) else {
            self.missing(what);
            return None;
        };
        let span = Span::new(first.span.start, self.line.span.end);
        self.at = self.line.tokens.len();
        Some(Text { text: self.line.text.get(span.start..span.end).unwrap_or_default().to_owned(), span })
    }

    /// Takes every word that is left, without looking at it.
    pub fn skip(&mut self) {
        self.at = self.line.tokens.len();
    }

    /// Fails if there is another word.
    pub fn finish(&mut self) -> Option<()> {
        let Some(token) = self.peek() else { return Some(()) };
        let mut last = token.span;
        while let Some(token) = self.advance() {
            last = token.span;
        }
        let span = token.span.to(last);
        self.report(
            Diagnostic::error(Code::TRAILING_WORDS, span, "the line is longer than the command")
                .label("nothing of this is expected"),
        );
        None
    }
}

/// An abbreviation that fits several keywords.
#[must_use]
pub fn ambiguous(token: Token<'_>, keywords: &[&'static str]) -> Diagnostic {
    Diagnostic::error(Code::AMBIGUOUS_WORD, token.span, format!("`{}` is ambiguous", token.text))
        .label(format!("{} may be meant", listing(keywords)))
}

impl Span {
    /// From the start of this one to the end of another.
    fn to_start(self, last: Span) -> Span {
        Span::new(self.start, last.end)
    }
}
