//! The path that MAIL and RCPT carry.

use super::command::{is_blank, trim, word};

/// The path of a MAIL or RCPT line: what stands between the angle brackets behind `FROM:` or `TO:`, source route
/// included. Quoted strings are skipped over as RFC 5321, 4.1.2 has them, so `<"a>b"@c>` is one path.
///
/// Lines that are not as the RFC wants them still have a path, as long as some server might find one: without brackets
/// it is the next word; without the keyword, or with other text before the bracket, it is everything that is left.
#[must_use]
pub fn path(line: &[u8]) -> &[u8] {
    let after_verb = line.get(word(line).end..).unwrap_or_default();
    let argument = trim(after_verb);
    let keyword = word(argument);
    let named = &argument[keyword.clone()];
    let rest = trim(&argument[keyword.end..]);
    let rest = match rest.strip_prefix(b":") {
        Some(rest) if named.eq_ignore_ascii_case(b"FROM") || named.eq_ignore_ascii_case(b"TO") => trim(rest),
        _ => argument,
    };
    match rest.strip_prefix(b"<") {
        Some(inner) => &inner[..closing_bracket(inner).unwrap_or(inner.len())],
        None if rest.contains(&b'<') || rest.len() == argument.len() => rest,
        None => &rest[..rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len())],
    }
}

/// Where the path of a MAIL or RCPT line ends and its parameters begin.
///
/// Behind the closing bracket, whether a blank follows or not. Where there is none, or where what stands before it looks
/// like parameters, at the first blank: what may be a parameter for some server must be judged as one.
#[must_use]
pub fn end(line: &[u8]) -> usize {
    let after_verb = line.get(word(line).end..).unwrap_or_default();
    let argument = trim(after_verb);
    let keyword = word(argument);
    let named = &argument[keyword.clone()];
    let behind_keyword = trim(&argument[keyword.end..]);
    let rest = match behind_keyword.strip_prefix(b":") {
        Some(rest) if named.eq_ignore_ascii_case(b"FROM") || named.eq_ignore_ascii_case(b"TO") => trim(rest),
        _ => argument,
    };
    let blank = memchr::memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
    let bracket = memchr::memchr(b'<', rest).unwrap_or(rest.len());
    let before = rest.get(blank..bracket).unwrap_or_default();
    let closed = rest.get(bracket + 1..).and_then(closing_bracket).map(|at| bracket + 1 + at + 1);
    let len = match closed {
        Some(end) if !before.contains(&b'=') => end,
        _ => blank,
    };
    // `rest` ends where the line does, but for blanks.
    let trailing = line.iter().rev().take_while(|byte| is_blank(**byte)).count();
    line.len().saturating_sub(trailing + rest.len()) + len
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
    use super::*;

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
            let line = line.as_bytes();
            assert_eq!(
                line[end(line)..].escape_ascii().to_string(),
                expected.escape_default().to_string(),
                "{line:?}"
            );
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
            assert_eq!(path(line.as_bytes()), expected.as_bytes(), "{line}");
        }
    }
}
