//! Words and lines.

use crate::source::Span;

/// A word: characters without blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// The word.
    pub text: &'a str,
    /// Where it stands.
    pub span: Span,
}

/// A line that is neither empty nor a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its words; at least one.
    pub tokens: Vec<Token<'a>>,
    /// The whole text of the file, for what is not cut into words.
    pub text: &'a str,
    /// From the first octet that is no blank to the last.
    pub span: Span,
    /// Whether it starts with a blank.
    pub indented: bool,
}
