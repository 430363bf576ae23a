//! AUTH: mechanisms, and the lines of an exchange (RFC 4954).

use core::ops::Range;

use artifact::defence::LAYERED_MECHANISMS;

use super::command::{is_blank, word};

/// Whether a mechanism may hide what follows.
#[must_use]
pub fn is_layered(mechanism: &[u8]) -> bool {
    LAYERED_MECHANISMS.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(mechanism))
}

/// Octets of a mechanism's name (RFC 4422, section 3.1).
pub const MECHANISM_LIMIT: usize = 20;

/// Whether this may be the name of a mechanism.
#[must_use]
pub fn is_mechanism(name: &[u8]) -> bool {
    (1..=MECHANISM_LIMIT).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Where the mechanisms stand in the text of an EHLO line that lists them: behind the keyword, and `=` in the form of
/// clients before RFC 2554.
pub fn mechanisms(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = word(text).end;
    core::iter::from_fn(move || {
        let rest = text.get(at..)?;
        let start = at + rest.iter().position(|byte| !is_blank(*byte) && *byte != b'=')?;
        if matches!(text[start], b'\r' | b'\n') {
            return None;
        }
        let len =
            text[start..].iter().position(|byte| is_blank(*byte) || matches!(byte, b'=' | b'\r' | b'\n'));
        let end = len.map_or(text.len(), |len| start + len);
        at = end.max(start + 1);
        Some(start..end)
    })
}

/// A line of an exchange under way: base64, or `*` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ExchangeLine {
    /// Octets before its line end, counted by four.
    rest: u8,
    /// `=` at its end.
    padding: u8,
    cancels: bool,
    illegal: bool,
    /// It is `=` so far: nothing, as in AUTH itself (RFC 4954, 4). Some clients answer a challenge so, curl among them.
    empty: bool,
}

impl ExchangeLine {
    /// The next octets of the line, its end included.
    pub fn push(&mut self, piece: &[u8]) {
        for byte in piece {
            if !matches!(byte, b'\r' | b'\n') {
                self.empty = *byte == b'=' && self.rest == 0;
            }
            match byte {
                b'\r' | b'\n' => continue,
                _ if self.cancels => self.illegal = true,
                b'=' => {
                    self.padding += 1;
                    self.illegal |= self.padding > 2;
                    self.padding = self.padding.min(2);
                }
                b'*' if self.rest == 0 && self.padding == 0 && !self.illegal => self.cancels = true,
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => self.illegal |= self.padding > 0,
                _ => self.illegal = true,
            }
            // Zero only at the very start: 4, not 0, after each group.
            self.rest = self.rest % 4 + 1;
        }
    }

    /// Whether it may stand there at all.
    pub fn is_legal(self) -> bool {
        !self.illegal
    }

    /// Whether its base64 comes in groups of four.
    pub fn is_whole(self) -> bool {
        self.cancels || self.empty || self.rest.is_multiple_of(4)
    }
}

/// Whether the initial response of an AUTH line may stand there: `=`, or base64.
#[must_use]
pub fn is_initial_response(text: &[u8]) -> bool {
    let mut line = ExchangeLine::default();
    line.push(text);
    line.is_legal() && !line.cancels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_stand_behind_the_keyword() {
        for (text, expected) in [
            ("AUTH PLAIN  GSSAPI\tSCRAM-SHA-1-PLUS", &["PLAIN", "GSSAPI", "SCRAM-SHA-1-PLUS"][..]),
            ("AUTH=LOGIN KERBEROS_V4\r\n", &["LOGIN", "KERBEROS_V4"]),
            ("AUTH = A=B", &["A", "B"]),
            ("AUTH", &[]),
            ("AUTH ", &[]),
        ] {
            let found: Vec<_> = mechanisms(text.as_bytes()).map(|at| &text[at]).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert!(is_layered(b"gssapi") && is_layered(b"Digest-MD5"));
        for name in ["NTLM", "SCRAM-SHA-256-PLUS", "PLAIN", "GSSAPIX", "GS2-KRB5", ""] {
            assert!(!is_layered(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn names_of_mechanisms_have_limits() {
        assert!(is_mechanism(b"X") && is_mechanism(&[b'A'; 20]) && is_mechanism(b"KERBEROS_V4"));
        assert!(!is_mechanism(b"") && !is_mechanism(&[b'A'; 21]) && !is_mechanism(b"A.B"));
    }

    #[test]
    fn exchange_lines_in_any_pieces() {
        for (text, legal, whole) in [
            ("", true, true),
            ("*", true, true),
            ("AGEAYg==", true, true),
            ("AGEAYgo=", true, true),
            ("AGEAYg", true, false),
            ("AGEAYg=", true, false),
            ("=", true, true),
            ("====", false, true),
            ("A=BC", false, true),
            ("AB C", false, true),
            ("**", false, true),
            ("ABCD*", false, true),
            ("*A", false, true),
            ("AB-_", false, true),
        ] {
            for cut in 0..=text.len() {
                let mut line = ExchangeLine::default();
                line.push(&text.as_bytes()[..cut]);
                line.push(&text.as_bytes()[cut..]);
                line.push(b"\r\n");
                assert_eq!(line.is_legal(), legal, "{text}");
                assert!(!legal || line.is_whole() == whole, "{text}");
            }
        }
        assert!(is_initial_response(b"=") && is_initial_response(b"AGEAYg=="));
        assert!(!is_initial_response(b"*") && !is_initial_response(b"a b"));
    }
}
