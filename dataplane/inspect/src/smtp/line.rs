//! Lines: the part that came in earlier calls, where they end, and what they must not have.

use super::session::Fault;

/// Octets of a line that are remembered for judging it: the longest MAIL line ([`super::command::MAIL_LINE_LIMIT`]).
/// Longer lines are exchanges of AUTH, of which nothing is judged but the length.
pub const LINE_HELD: usize = super::command::MAIL_LINE_LIMIT;

/// A line under way. Only sessions whose line is split over calls have one.
#[derive(Debug)]
pub struct Line {
    len: usize,
    bytes: [u8; LINE_HELD],
}

impl Default for Line {
    fn default() -> Self {
        Self { len: 0, bytes: [0; LINE_HELD] }
    }
}

impl Line {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds octets; those beyond [`LINE_HELD`] are not remembered.
    pub fn append(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(LINE_HELD - self.len);
        self.bytes[self.len..self.len + len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    /// Forgets what was added behind the first `len` octets.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// What is remembered.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A line without its CRLF, or without its LF where the CR is missing.
#[must_use]
pub fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The octets through the first LF, and whether there is one.
pub(super) fn first_line(bytes: &[u8]) -> (&[u8], bool) {
    match memchr::memchr(b'\n', bytes) {
        Some(at) => (&bytes[..=at], true),
        None => (bytes, false),
    }
}

/// An octet that a line must not have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrong {
    pub(super) at: usize,
    line_end: bool,
}

impl Wrong {
    pub(super) fn behind(self, start: usize) -> Self {
        Self { at: self.at + start, ..self }
    }

    pub(super) fn fault(self) -> Fault {
        if self.line_end { Fault::LineEnd(self.at) } else { Fault::Octet(self.at) }
    }
}

/// The first octet that a line must not have. `cr`: the octet before was a CR.
pub(super) fn fault_in(piece: &[u8], cr: bool) -> Option<Wrong> {
    let mut at = 0;
    if cr {
        if piece.first() != Some(&b'\n') {
            return (!piece.is_empty()).then_some(Wrong { at: 0, line_end: true });
        }
        at = 1;
    }
    while let Some(len) = piece[at..].iter().position(|byte| matches!(byte, 0..=31 | 127) && *byte != b'\t') {
        at += len;
        match (piece[at], piece.get(at + 1)) {
            (b'\r', Some(b'\n')) => at += 2,
            (b'\r', None) => return None,
            (b'\r', Some(_)) => return Some(Wrong { at: at + 1, line_end: true }),
            (byte, _) => return Some(Wrong { at, line_end: byte == b'\n' }),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_remembered_up_to_its_limit() {
        let mut line = Line::default();
        line.append(b"MAIL");
        line.append(&[b'a'; LINE_HELD]);
        line.append(b"more");
        assert_eq!(line.bytes().len(), LINE_HELD);
        assert!(line.bytes().starts_with(b"MAILa"));
        line.clear();
        assert!(line.bytes().is_empty());
    }

    #[test]
    fn a_line_end_is_cut_once() {
        assert_eq!(without_end(b"NOOP\r\n"), b"NOOP");
        assert_eq!(without_end(b"NOOP\r"), b"NOOP");
        assert_eq!(without_end(b"NOOP\r\r\n"), b"NOOP\r");
        assert_eq!(without_end(b""), b"");
    }
}
