//! The argument of a `pattern` line: the pattern, its quotes, and ` nocase`.

use crate::ast::Text;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// Takes off the quotes and ` nocase`.
pub(super) fn unwrap(line: &Text, strict: bool, diagnostics: &mut Vec<Diagnostic>) -> Option<(Text, bool)> {
    let all = line.text.as_str();
    let (start, end, after) = match all.strip_prefix('"') {
        Some(quoted) => {
            let Some(len) = closing_quote(quoted) else {
                diagnostics.push(
                    Diagnostic::error(
                        Code::PATTERN_SYNTAX,
                        Span::new(line.span.start, line.span.start + 1),
                        "this quote is not closed",
                    )
                    .help("close it, or write `\\\"` for a quote that is looked for"),
                );
                return None;
            };
            (1, 1 + len, all.get(len + 2..).unwrap_or_default())
        }
        None => match all.strip_suffix("nocase").filter(|rest| !strict && rest.ends_with([' ', '\t'])) {
            Some(rest) => (0, rest.trim_end().len(), " nocase"),
            None => (0, all.len(), ""),
        },
    };
    if let Some(at) = all.find(" !").filter(|_| start == 0) {
        let span = Span::new(line.span.start + at + 1, line.span.start + at + 2);
        diagnostics.push(
            Diagnostic::warning(Code::PATTERN_TRAP, span, "this is a part of the pattern, not a comment")
                .help("put comments on lines of their own; to look for it, put the pattern in quotes"),
        );
    }
    let text = all.get(start..end).unwrap_or_default().to_owned();
    let span = Span::new(line.span.start + start, line.span.start + end);
    let nocase = match after.trim() {
        "" => false,
        "nocase" if !strict => true,
        "nocase" => {
            diagnostics.push(
                Diagnostic::error(Code::STRICT_CISCO, line.span, "`nocase` is an extension of this gateway")
                    .help(
                        "leave `--strict-cisco` out to use it, or write `[aA]` for a letter in either case",
                    ),
            );
            return None;
        }
        _ => {
            let from = line.span.end - after.trim_start().len();
            diagnostics.push(
                Diagnostic::error(
                    Code::PATTERN_SYNTAX,
                    Span::new(from, line.span.end),
                    "only `nocase` can follow a quoted pattern",
                )
                .help("write `\\\"` for a quote inside of the pattern"),
            );
            return None;
        }
    };
    if text.is_empty() {
        diagnostics.push(
            Diagnostic::error(Code::PATTERN_SYNTAX, line.span, "the pattern is empty")
                .help("remove the line; to match everything use `.*`, to match an empty address `^$`"),
        );
        return None;
    }
    Some((Text { text, span }, nocase))
}

/// Where the quote closes that was opened before `text`.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}
