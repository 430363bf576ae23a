//! Text into lines of words.
//!
//! The language is line oriented. A line whose first character that is no blank is `!` is a comment
//! and is dropped here; what follows a `!` further on is dropped by the parser, which knows whether
//! the line holds free text (`pattern`, `description`) in which `!` is a character like any other.

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{SourceFile, Span};
use crate::token::{Line, Token};

/// The lines of a file, and what is wrong with its characters.
#[must_use]
pub fn lines(file: &SourceFile) -> (Vec<Line<'_>>, Vec<Diagnostic>) {
    let mut lines = Vec::new();
    let mut diagnostics = Vec::new();
    let mut start = 0;
    for raw in file.text.split_inclusive('\n') {
        let content = raw.strip_suffix('\n').unwrap_or(raw);
        let content = content.strip_suffix('\r').unwrap_or(content);
        if let Some((at, bad)) = content.char_indices().find(|&(_, c)| c.is_control() && c != '\t') {
            let span = Span::new(start + at, start + at + bad.len_utf8());
            diagnostics.push(
                Diagnostic::error(
                    Code::CONTROL_CHARACTER,
                    span,
                    format!("control character {:#04x}", bad as u32),
                )
                .help("in a pattern write it as `\\xNN`; anywhere else remove it"),
            );
        } else if let Some(line) = line(&file.text, content, start) {
            lines.push(line);
        }
        start += raw.len();
    }
    (lines, diagnostics)
}

fn line<'a>(text: &'a str, content: &'a str, start: usize) -> Option<Line<'a>> {
    let mut tokens = Vec::new();
    let mut word_start = None;
    let ends = content.char_indices().chain(std::iter::once((content.len(), ' ')));
    for (at, character) in ends {
        match (is_blank(character), word_start) {
            (true, Some(from)) => {
                let text = content.get(from..at).unwrap_or_default();
                tokens.push(Token { text, span: Span::new(start + from, start + at) });
                word_start = None;
            }
            (false, None) => word_start = Some(at),
            _ => {}
        }
    }
    let (first, last) = (tokens.first()?, tokens.last()?);
    if first.text.starts_with('!') {
        return None;
    }
    let span = first.span.to(last.span);
    Some(Line { span, indented: content.starts_with(is_blank), text, tokens })
}

fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}
