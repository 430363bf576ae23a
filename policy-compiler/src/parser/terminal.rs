//! What a terminal shows beside the commands, in a policy pasted from a session: prompts, and what the router itself says.
//!
//! Reported once (P0010); the rest of each line is read. With `--seed-compat` it is a warning: Cisco's ESMTP document
//! gives its example in this form.

use super::Parser;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::token::{Line, Token};

/// What a router says after `configure terminal`.
const GREETING: [&str; 3] = ["Enter", "configuration", "commands,"];

impl Parser {
    /// The line without its prompt. `None` where nothing of it is a command.
    pub(super) fn typed<'a>(&mut self, line: &Line<'a>) -> Option<Line<'a>> {
        let first = *line.tokens.first()?;
        let greets = line.tokens.len() > GREETING.len()
            && line.tokens.iter().zip(GREETING).all(|(token, word)| token.text == word);
        if greets || first.text.starts_with('%') {
            self.shown(line.span, "this is what a router says, not a part of the policy");
            return None;
        }
        let Some(len) = prompt_len(first.text) else { return Some(line.clone()) };
        let (prompt, rest) = first.text.split_at(len);
        let middle = first.span.start + len;
        self.shown(
            Span::new(first.span.start, middle),
            "this is the prompt of a terminal, not a part of the policy",
        );
        let mut tokens = line.tokens.clone();
        if rest.is_empty() {
            tokens.remove(0);
        } else if let Some(token) = tokens.first_mut() {
            *token = Token { text: rest, span: Span::new(middle, first.span.end) };
        }
        let start = tokens.first()?.span.start;
        // Under a map the prompt is one of its mode; a line that opens one has that of the mode around it.
        let indented = prompt.contains("(config-");
        Some(Line { tokens, text: line.text, span: Span::new(start, line.span.end), indented })
    }

    fn shown(&mut self, span: Span, what: &str) {
        if std::mem::replace(&mut self.prompt_reported, true) {
            return;
        }
        let finding = if self.options.seed_compat { Diagnostic::warning } else { Diagnostic::error };
        let help = "paste the output of `show running-config`, or take the prompts out";
        let mut found =
            finding(Code::PROMPT, span, what.to_owned()).label("every line like this one").help(help);
        if !self.options.seed_compat {
            found = found.help("or accept them with `--seed-compat`");
        }
        self.diagnostics.push(found);
    }
}

/// Octets of the prompt that a word begins with: `Router>`, `Router#`, `Router(config-pmap-c)#`. A router puts
/// no blank behind it.
fn prompt_len(word: &str) -> Option<usize> {
    let end = word.find(['#', '>'])?;
    let before = word.get(..end)?;
    let host = match before.split_once('(') {
        Some((host, mode)) if mode.starts_with("config") && mode.ends_with(')') => host,
        Some(_) => return None,
        None => before,
    };
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    (!host.is_empty() && host.bytes().all(is_name)).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts() {
        for (word, len) in [
            ("Router>", Some(7)),
            ("Router#", Some(7)),
            ("mx-1.lab(config)#zone", Some(17)),
            ("Router(config-pmap-c)#reset", Some(22)),
            ("#", None),
            ("Router(x)#", None),
            ("Router(config#", None),
            ("zone", None),
            ("a>b", Some(2)),
        ] {
            assert_eq!(prompt_len(word), len, "{word}");
        }
    }
}
