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

/// A RCPT line as nearly every client says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usual {
    /// Where its path stands.
    pub path: Range<usize>,
    /// Octets of the line, CRLF included.
    pub len: usize,
}

/// Octets of a path in a line as nearly every client says it (RFC 5321, 4.5.3.1.3, and far below the limit of any line).
const USUAL_PATH: usize = 256;

/// What octets of such a path are: 0 for one that means nothing to anybody, 1 for `@`, [`OTHER`].
const MEANING: [u16; 256] = {
    let mut meaning = [OTHER; 256];
    let mut byte = 0;
    while byte < meaning.len() {
        match byte as u8 {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'+' | b'=' => meaning[byte] = 0,
            b'@' => meaning[byte] = 1,
            _ => {}
        }
        byte += 1;
    }
    meaning
};
/// More than a run of eight octets adds up to without it.
const OTHER: u16 = 256;

/// Reads a RCPT line that `bytes` begin with, if it has all of these: its CRLF, no blank but one, brackets, no parameter, no more than one
/// `@`, which is not its first octet, and else only letters, digits and `.-_+=`. Servers, signatures and relays have nothing to differ
/// about in such a line.
#[must_use]
#[inline]
pub fn usual_recipient(bytes: &[u8]) -> Option<Usual> {
    // This bit makes letters lower case.
    const LOWER: u64 = u64::from_ne_bytes(*b"    \0  \0");
    let (head, behind) = bytes.split_first_chunk()?;
    if u64::from_ne_bytes(*head) | LOWER != u64::from_ne_bytes(*b"rcpt to:") {
        return None;
    }
    let mut rest = behind.strip_prefix(b"<")?;
    let start = bytes.len() - rest.len();
    let mut ats = 0;
    while let Some((run, behind)) = rest.split_first_chunk::<8>() {
        let sum = run.iter().fold(0, |sum, byte| sum + MEANING[usize::from(*byte)]);
        if sum >= OTHER {
            break;
        }
        ats += usize::from(sum);
        rest = behind;
    }
    while let [first, behind @ ..] = rest
        && MEANING[usize::from(*first)] < OTHER
    {
        ats += usize::from(MEANING[usize::from(*first)]);
        rest = behind;
    }
    let end = bytes.len() - rest.len();
    let is_usual = (1..=USUAL_PATH).contains(&(end - start)) && ats <= 1 && bytes[start] != b'@';
    (is_usual && rest.starts_with(b">\r\n")).then_some(Usual { path: start..end, len: end + 3 })
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
    fn lines_as_nearly_every_client_says_them_are_read_alike() {
        for (line, expected) in [
            ("RCPT TO:<a@b>\r\nRCPT", Some("a@b")),
            ("rcpt tO:<user.name+tag=1_x-y@example.org>\r\n", Some("user.name+tag=1_x-y@example.org")),
            ("RCPT TO:<Postmaster>\r\n", Some("Postmaster")),
            ("RCPT TO:<a@b>", None),
            ("RCPT TO:<a@b>\r", None),
            ("RCPT TO:<a@b>\n", None),
            ("RCPT TO:<a@b> \r\n", None),
            ("RCPT TO:<a@b> NOTIFY=NEVER\r\n", None),
            ("RCPT TO:<>\r\n", None),
            ("RCPT TO:<@a:b>\r\n", None),
            ("RCPT TO:<@ab>\r\n", None),
            ("RCPT TO:<a@b@c>\r\n", None),
            ("RCPT TO:<a%b@c>\r\n", None),
            ("RCPT TO:<\"a\"@b>\r\n", None),
            ("RCPT TO:<a b@c>\r\n", None),
            ("RCPT\tTO:<a@b>\r\n", None),
            ("RCPT TO:a@b\r\n", None),
            ("MAIL TO:<a@b>\r\n", None),
            ("", None),
        ] {
            let usual = usual_recipient(line.as_bytes());
            assert_eq!(usual.clone().map(|usual| &line[usual.path]), expected, "{line:?}");
            if let Some(Usual { path, len }) = usual {
                let text = line[..len].strip_suffix("\r\n").unwrap();
                assert_eq!(place(text), Place { path, end: text.len() }, "{line:?}");
            }
        }
        let long = |len| format!("RCPT TO:<{}>\r\n", "a".repeat(len));
        assert!(usual_recipient(long(USUAL_PATH).as_bytes()).is_some());
        assert!(usual_recipient(long(USUAL_PATH + 1).as_bytes()).is_none());
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
