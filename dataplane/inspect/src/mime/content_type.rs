//! Values of Content-Type and Content-Transfer-Encoding (RFC 2045, 5.1 and 6.1).

use super::BOUNDARY_LIMIT;
use super::parameter::Extended;

/// What the body of an entity is, as far as reading it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Text of any kind, or nothing said, or nothing that can be read (RFC 2045, 5.2: then it is text/plain).
    #[default]
    Text,
    /// Parts between boundaries.
    Multipart,
    /// The same, whose parts are messages unless they say otherwise (RFC 2046, 5.1.5).
    Digest,
    /// A message with a header of its own.
    Message,
    /// Anything else.
    Other,
}

/// The parameter that says what stands between parts.
const BOUNDARY: &str = "boundary";

/// A boundary parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boundary {
    len: u8,
    bytes: [u8; BOUNDARY_LIMIT],
}

impl Boundary {
    pub const EMPTY: Self = Self { len: 0, bytes: [0; BOUNDARY_LIMIT] };

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// One octet more; `None` where there is no room.
    fn push(&mut self, byte: u8) -> Option<()> {
        let slot = self.bytes.get_mut(usize::from(self.len))?;
        *slot = byte;
        self.len += 1;
        Some(())
    }

    /// `None` when it does not fit, or is empty. Quotes and their backslashes are taken off, and blanks at the end.
    fn parse(value: &[u8]) -> Option<Self> {
        let mut boundary = Self::EMPTY;
        match value.strip_prefix(b"\"") {
            Some(quoted) => {
                let mut escaped = false;
                for byte in quoted {
                    match byte {
                        b'\\' if !escaped => escaped = true,
                        b'"' if !escaped => break,
                        byte => {
                            escaped = false;
                            boundary.push(*byte)?;
                        }
                    }
                }
            }
            None => {
                for byte in value.iter().take_while(|byte| !matches!(byte, b' ' | b'\t' | b';' | b'(')) {
                    boundary.push(*byte)?;
                }
            }
        }
        while boundary.bytes().ends_with(b" ") {
            boundary.len -= 1;
        }
        (boundary.len > 0).then_some(boundary)
    }
}

/// What a Content-Type value says.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContentType {
    pub kind: Kind,
    pub boundary: Option<Boundary>,
    /// Readers may find another boundary, or none.
    pub ambiguous: bool,
}

/// Kind and boundary of a Content-Type value.
pub(super) fn parse(value: &[u8]) -> ContentType {
    let mut parameters = Parameters::of(value);
    let full = skip_comments(parameters.next().unwrap_or_default());
    let mut halves = full.splitn(2, |byte| *byte == b'/');
    let main = word(halves.next().unwrap_or_default());
    let sub = word(halves.next().unwrap_or_default());
    let is = |text: &[u8], name: &str| text.eq_ignore_ascii_case(name.as_bytes());
    let kind = match () {
        () if is(main, "text") || main.is_empty() || sub.is_empty() => Kind::Text,
        () if is(main, "multipart") && is(sub, "digest") => Kind::Digest,
        () if is(main, "multipart") => Kind::Multipart,
        () if is(main, "message") && (is(sub, "rfc822") || is(sub, "global") || is(sub, "news")) => {
            Kind::Message
        }
        // Reports, partial and external bodies are read by people.
        () if is(main, "message") => Kind::Text,
        () => Kind::Other,
    };
    let divided = matches!(kind, Kind::Multipart | Kind::Digest);
    // As nearly all. (Of several fields one may say that there are parts, and another what stands between them.)
    if !divided && !has_boundary(value) {
        return ContentType { kind, boundary: None, ambiguous: false };
    }
    let mut boundaries = parameters.filter_map(|parameter| {
        let at = parameter.iter().position(|byte| *byte == b'=')?;
        let name = word(skip_comments(&parameter[..at]));
        is(name, BOUNDARY).then(|| Boundary::parse(skip_comments(&parameter[at + 1..])))
    });
    let first = boundaries.next();
    let twice = boundaries.next().is_some();
    let extended = Extended::of(value);
    let joined = || {
        let mut boundary = Boundary::EMPTY;
        extended.join(BOUNDARY, |byte| boundary.push(byte))?;
        (boundary.len > 0).then_some(boundary)
    };
    let boundary = first.flatten().or_else(joined);
    let ambiguous = divided && (twice || joined().is_some() || extended.ambiguous || has_comment(value));
    ContentType { kind, boundary, ambiguous }
}

/// Whether the name of the parameter stands anywhere.
fn has_boundary(value: &[u8]) -> bool {
    memchr::memchr2_iter(b'b', b'B', value).any(|at| {
        value[at..].get(..BOUNDARY.len()).is_some_and(|name| name.eq_ignore_ascii_case(BOUNDARY.as_bytes()))
    })
}

/// Whether a parenthesis stands outside quotes: not every reader knows comments.
fn has_comment(value: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    memchr::memchr(b'(', value).is_some()
        && value.iter().any(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'(' if !quoted => return true,
                _ => {}
            }
            false
        })
}

/// The token of a Content-Transfer-Encoding value.
pub(super) fn encoding(value: &[u8]) -> &[u8] {
    let value = skip_comments(value);
    let len = value.iter().position(|byte| matches!(byte, b' ' | b'\t' | b';' | b'(')).unwrap_or(value.len());
    &value[..len]
}

/// Whether text in this encoding can be read as it stands.
pub(super) fn is_plain(encoding: &[u8]) -> bool {
    [&b""[..], b"7bit", b"8bit", b"7-bit", b"8-bit", b"binary"]
        .iter()
        .any(|plain| plain.eq_ignore_ascii_case(encoding))
}

/// Text between semicolons, those in quotes and comments aside.
pub(super) struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Parameters<'a> {
    pub fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped, mut depth) = (false, false, 0_u32);
        let end = self.rest.iter().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted || depth > 0 => escaped = true,
                b'"' if depth == 0 => quoted = !quoted,
                b'(' if !quoted => depth += 1,
                b')' if !quoted => depth = depth.saturating_sub(1),
                b';' if !quoted && depth == 0 => return true,
                _ => {}
            }
            false
        });
        let (item, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        Some(item)
    }
}

/// Without blanks and comments before it.
pub(super) fn skip_comments(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] => text = rest,
            [b'(', ..] => {
                let mut depth = 0_u32;
                let mut escaped = false;
                let end = text.iter().position(|byte| {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'(' => depth += 1,
                        b')' => depth -= 1,
                        _ => {}
                    }
                    depth == 0
                });
                match end {
                    Some(end) => text = &text[end + 1..],
                    None => return &[],
                }
            }
            text => return text,
        }
    }
}

/// The first word.
pub(super) fn word(text: &[u8]) -> &[u8] {
    let text = skip_comments(text);
    let len = text.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'(' | b'"')).unwrap_or(text.len());
    &text[..len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_boundaries() {
        for (value, kind, boundary) in [
            ("text/plain; charset=us-ascii", Kind::Text, None),
            (" TEXT/HTML", Kind::Text, None),
            ("text", Kind::Text, None),
            ("", Kind::Text, None),
            ("multipart/mixed; boundary=abc", Kind::Multipart, Some("abc")),
            (
                "multipart/mixed; charset=\"a;b\"; BOUNDARY=\"a b\\\"c \"; x=y",
                Kind::Multipart,
                Some("a b\"c"),
            ),
            ("multipart/mixed (a ; boundary=no) ; boundary = yes (really)", Kind::Multipart, Some("yes")),
            ("(c) multipart (c) / (c) mixed; (c) boundary= (c) \"b\"", Kind::Multipart, Some("b")),
            ("Multipart/Digest; boundary=b", Kind::Digest, Some("b")),
            ("multipart/mixed; boundary*=us-ascii''a%62", Kind::Multipart, Some("ab")),
            ("multipart/mixed; boundary*1=b; boundary*0=\"a\"", Kind::Multipart, Some("ab")),
            ("multipart/mixed; boundary*0=a; boundary=b", Kind::Multipart, Some("b")),
            ("multipart/mixed; boundary=\"\"", Kind::Multipart, None),
            ("multipart/mixed; name=\"boundary=x\"", Kind::Multipart, None),
            ("text/plain; Boundary=a", Kind::Text, Some("a")),
            ("a/b; boundary*=us-ascii''a", Kind::Other, Some("a")),
            ("message/rfc822", Kind::Message, None),
            ("message/delivery-status", Kind::Text, None),
            ("application/octet-stream; name=\"x.exe\"", Kind::Other, None),
            ("image//gif", Kind::Other, None),
        ] {
            let found = parse(value.as_bytes());
            assert_eq!(found.kind, kind, "{value}");
            assert_eq!(found.boundary.as_ref().map(Boundary::bytes), boundary.map(str::as_bytes), "{value}");
        }
        let long = format!("multipart/x; boundary={}", "a".repeat(BOUNDARY_LIMIT));
        assert!(parse(long.as_bytes()).boundary.is_some());
        assert!(parse((long + "a").as_bytes()).boundary.is_none());
    }

    #[test]
    fn what_readers_may_take_for_another_boundary() {
        for (value, expected) in [
            ("multipart/mixed; boundary=a; charset=x", false),
            ("multipart/mixed; boundary=\"(a)\"", false),
            ("multipart/mixed; boundary=a; boundary=b", true),
            ("multipart/mixed; boundary=a (b)", true),
            ("multipart/mixed; boundary*=us-ascii''a", true),
            ("multipart/mixed; boundary=a; boundary*0=b", true),
            ("multipart/mixed; boundary=a; name*=us-ascii''a", false),
            ("text/plain (a)", false),
        ] {
            assert_eq!(parse(value.as_bytes()).ambiguous, expected, "{value}");
        }
    }

    #[test]
    fn encodings() {
        for (value, token, plain) in [
            (" base64", "base64", false),
            ("7BIT", "7BIT", true),
            ("8-bit (really)", "8-bit", true),
            ("BINARY", "BINARY", true),
            ("(x) quoted-printable; x", "quoted-printable", false),
            ("", "", true),
            ("(unclosed", "", true),
        ] {
            assert_eq!(encoding(value.as_bytes()), token.as_bytes());
            assert_eq!(is_plain(encoding(value.as_bytes())), plain, "{value}");
        }
    }
}
