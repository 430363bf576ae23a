//! The part of a line that came in earlier calls.

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
