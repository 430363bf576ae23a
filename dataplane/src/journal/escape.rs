//! Octets of a peer, made fit for a log.
//!
//! A log line built from an attacker's octets can forge other lines, colour a terminal, or be taken for a format string.
//! So only printable ASCII passes, without `%`, `"` and `\`.

use std::fmt::Write;

/// Characters that a value in an event or a syslog line may have.
pub const VALUE_CHARS: usize = 64;

/// `octets` with control characters, non-ASCII and `%` as `\xNN`, `"` and `\` behind a backslash; cut after
/// [`VALUE_CHARS`] characters, but not within an escape.
#[must_use]
pub fn sanitize(octets: &[u8]) -> String {
    let mut text = String::with_capacity(VALUE_CHARS);
    for &octet in octets {
        let before = text.len();
        match octet {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(octet));
            }
            b' '..=b'~' if octet != b'%' => text.push(char::from(octet)),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(text, "\\x{octet:02x}");
            }
        }
        if text.len() > VALUE_CHARS {
            text.truncate(before);
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_octets_are_escaped() {
        assert_eq!(sanitize(b"EVIL foo"), "EVIL foo");
        assert_eq!(sanitize(b"a\r\n%FW-3-FAKE: x"), "a\\x0d\\x0a\\x25FW-3-FAKE: x");
        assert_eq!(sanitize(b"\x1b[31m\0\x7f\xff"), "\\x1b[31m\\x00\\x7f\\xff");
        assert_eq!(sanitize(b"say \"hi\" \\ {}"), "say \\\"hi\\\" \\\\ {}");
        assert_eq!(sanitize("ü".as_bytes()), "\\xc3\\xbc");
    }

    #[test]
    fn it_is_cut_but_not_within_an_escape() {
        assert_eq!(sanitize(&[b'a'; 99]).len(), 64);
        let text = sanitize(&[0; 64]);
        assert_eq!(text, "\\x00".repeat(16));
        let mut octets = vec![b'a'; 62];
        octets.extend([0, b'b']);
        assert_eq!(sanitize(&octets), "a".repeat(62));
    }

    #[test]
    fn every_octet_comes_out_printable() {
        for octet in 0..=255 {
            let text = sanitize(&[octet]);
            assert!(text.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'%'), "{octet}: {text}");
        }
    }
}
