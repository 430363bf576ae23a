//! The path that MAIL and RCPT carry.

use core::ops::Range;

use super::command::{is_blank, trim};

/// Where the two parts of what MAIL and RCPT say stand in their line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The path.
    pub path: Range<usize>,
    /// Where it ends and parameters begin.
    pub end: usize,
}

/// Finds the path of a MAIL or RCPT line whose verb ends at `verb_end`: what stands between the angle brackets behind `FROM:` or `TO:`,
/// source route included. Quoted strings are skipped over as RFC 5321, 4.1.2 has them, so `<"a>b"@c>` is one path.
///
/// Lines that are not as the RFC wants them still have a path, as long as some server might find one: without brackets
/// it is the next word; without the keyword, or with other text before the bracket, it is everything that is left.
///
/// Parameters begin behind the closing bracket, whether a blank follows or not. Where there is none, or where what stands before it looks
/// like parameters, at the first blank: what may be a parameter for some server must be judged as one.
#[must_use]
#[inline]
pub fn find(line: &[u8], verb_end: usize) -> Place {
    let behind_verb = line.get(verb_end..).unwrap_or_default();
    // Nearly every line.
    if let [b' ', b'T' | b't', b'O' | b'o', b':', b'<', inner @ ..]
    | [b' ', b'F' | b'f', b'R' | b'r', b'O' | b'o', b'M' | b'm', b':', b'<', inner @ ..] = behind_verb
        && let Some(len) = closing_bracket(inner)
    {
        let start = line.len() - inner.len();
        return Place { path: start..start + len, end: start + len + 1 };
    }
    let argument = trim(behind_verb);
    let named = behind_keyword(argument);
    let text = named.unwrap_or(argument);
    // It ends where the line does, but for blanks.
    let trailing = line.iter().rev().take_while(|byte| is_blank(**byte)).count();
    let stop = line.len() - trailing;
    let start = stop.saturating_sub(text.len());
    let first_word = || memchr::memchr2(b' ', b'\t', text).unwrap_or(text.len());
    if let Some(inner) = text.strip_prefix(b"<") {
        return match closing_bracket(inner) {
            Some(len) => Place { path: start + 1..start + 1 + len, end: start + 1 + len + 1 },
            None => Place { path: start + 1..stop, end: start + first_word() },
        };
    }
    let blank = first_word();
    let bracket = memchr::memchr(b'<', text);
    let len = if named.is_none() || bracket.is_some() { text.len() } else { blank };
    let closed = bracket.and_then(|at| Some(at + 1 + closing_bracket(&text[at + 1..])? + 1));
    let before = text.get(blank..bracket.unwrap_or(text.len())).unwrap_or_default();
    let end = closed.filter(|_| !before.contains(&b'=')).unwrap_or(blank);
    Place { path: start..start + len, end: start + end }
}

/// What stands behind `FROM:` or `TO:`.
fn behind_keyword(argument: &[u8]) -> Option<&[u8]> {
    let behind = |keyword: &[u8]| {
        let (head, rest) = argument.split_at_checked(keyword.len())?;
        head.eq_ignore_ascii_case(keyword).then_some(rest)
    };
    let rest = behind(b"TO").or_else(|| behind(b"FROM"))?;
    trim(rest).strip_prefix(b":").map(trim)
}

fn closing_bracket(inner: &[u8]) -> Option<usize> {
    // Most have neither quotes nor escapes.
    let first = memchr::memchr3(b'>', b'"', b'\\', inner)?;
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in inner.iter().enumerate().skip(first) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::word;
    use super::*;

    fn place(line: &str) -> Place {
        find(line.as_bytes(), word(line.as_bytes()).end)
    }

    #[test]
    fn parameters_begin_where_the_path_ends() {
        for (line, expected) in [
            ("MAIL FROM:<> SIZE=1", " SIZE=1"),
            ("MAIL FROM:<a@b>", ""),
            ("mail from: <a@b>\tsize=1 \t", "\tsize=1 \t"),
            ("MAIL FROM:<a@b>SIZE=1", "SIZE=1"),
            ("RCPT TO:<a@b>,<c@d>", ",<c@d>"),
            ("RCPT TO:<\"a> X\"@b> NOTIFY=NEVER", " NOTIFY=NEVER"),
            ("MAIL FROM:a@b SIZE=1", " SIZE=1"),
            ("MAIL FROM:a@b AUTH=<>", " AUTH=<>"),
            ("MAIL FROM:A Person <a@b> SIZE=1", " SIZE=1"),
            ("MAIL FROM:<a@b SIZE=1", " SIZE=1"),
            ("MAIL FROM:<a@b", ""),
            ("MAIL <a@b> SIZE=1", " SIZE=1"),
            ("MAIL a@b SIZE=1", " SIZE=1"),
            ("MAIL FROM:", ""),
            ("MAIL  ", "  "),
            ("MAIL", ""),
        ] {
            assert_eq!(&line[place(line).end..], expected, "{line:?}");
        }
    }

    #[test]
    fn paths_of_all_shapes() {
        for (line, expected) in [
            ("MAIL FROM:<>", ""),
            ("MAIL FROM:<a@b> SIZE=10", "a@b"),
            ("mail from: <a@b>", "a@b"),
            ("MAIL FROM :<a@b>", "a@b"),
            ("RCPT TO:<Postmaster>", "Postmaster"),
            ("RCPT TO:<@one,@two:a@b> NOTIFY=NEVER", "@one,@two:a@b"),
            ("RCPT TO:<\"a|b>c\"@d>", "\"a|b>c\"@d"),
            ("RCPT TO:<\"a\\\">b\"@d> x", "\"a\\\">b\"@d"),
            ("MAIL FROM:a@b SIZE=1", "a@b"),
            ("MAIL FROM:someone <a@b> SIZE=1", "someone <a@b> SIZE=1"),
            ("MAIL a@b SIZE=1", "a@b SIZE=1"),
            ("MAIL FROM <a@b>", "FROM <a@b>"),
            ("MAIL <a@b>", "a@b"),
            ("MAIL FROM:<a@b", "a@b"),
            ("MAIL FROM:", ""),
            ("MAIL", ""),
        ] {
            assert_eq!(&line[place(line).path], expected, "{line}");
        }
    }
}
