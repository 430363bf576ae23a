//! The multiparts one is in, and the lines that separate their parts (RFC 2046, 5.1.1).

use super::content_type::Boundary;
use super::{BOUNDARY_LIMIT, DEPTH_LIMIT};

/// Octets of a line that may be a delimiter: two hyphens before, two behind, some padding, CRLF.
pub(super) const DELIMITER_LIMIT: usize = BOUNDARY_LIMIT + 2 + 2 + 14 + 2;

/// A delimiter line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delimiter {
    /// Of the multipart this deep, from 0.
    pub level: usize,
    /// It is the last one.
    pub closes: bool,
}

/// Boundaries from the outermost to the innermost multipart.
#[derive(Debug)]
pub(super) struct Boundaries {
    stack: [Boundary; DEPTH_LIMIT],
    digests: [bool; DEPTH_LIMIT],
    len: usize,
}

impl Default for Boundaries {
    fn default() -> Self {
        Self { stack: [Boundary::EMPTY; DEPTH_LIMIT], digests: [false; DEPTH_LIMIT], len: 0 }
    }
}

impl Boundaries {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One multipart deeper, maybe a digest; `false` when that is too deep.
    pub fn push(&mut self, boundary: &Boundary, digest: bool) -> bool {
        let Some(slot) = self.stack.get_mut(self.len) else { return false };
        *slot = *boundary;
        self.digests[self.len] = digest;
        self.len += 1;
        true
    }

    /// Whether a boundary begins like that of a multipart around it, or the other way round: readers that compare only the beginning
    /// take one for the other.
    pub fn is_like_another(&self, boundary: &Boundary) -> bool {
        let new = boundary.bytes();
        self.stack[..self.len].iter().any(|old| old.bytes().starts_with(new) || new.starts_with(old.bytes()))
    }

    /// Whether the multipart at this level is a digest.
    pub fn is_digest(&self, level: usize) -> bool {
        self.digests.get(level).is_some_and(|digest| *digest)
    }

    /// Leaves the multiparts inside `len` ones.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// What a line, with its line end, delimits. The innermost multipart is asked first; blanks behind the
    /// boundary are padding, other text makes the line no delimiter.
    pub fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let mut text = line.strip_prefix(b"--")?;
        while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text {
            text = rest;
        }
        let levels = || self.stack[..self.len].iter().enumerate().rev();
        let find =
            |text: &[u8]| levels().find(|(_, boundary)| boundary.bytes() == text).map(|(level, _)| level);
        match find(text) {
            Some(level) => Some(Delimiter { level, closes: false }),
            None => find(text.strip_suffix(b"--")?).map(|level| Delimiter { level, closes: true }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::content_type::parse;
    use super::*;

    #[test]
    fn lines_delimit_the_multipart_they_name() {
        let mut boundaries = Boundaries::default();
        for name in ["ab", "abc", "ab--"] {
            let value = format!("multipart/mixed; boundary={name}");
            assert!(boundaries.push(&parse(value.as_bytes()).boundary.unwrap(), false));
        }
        let at = |level, closes| Some(Delimiter { level, closes });
        for (line, expected) in [
            ("--abc\r\n", at(1, false)),
            ("--abc--\r\n", at(1, true)),
            ("--ab  \t\r\n", at(0, false)),
            ("--ab--\n", at(2, false)),
            ("--ab----\r\n", at(2, true)),
            ("--abcd\r\n", None),
            ("--abc x\r\n", None),
            ("-abc\r\n", None),
            ("--\r\n", None),
        ] {
            assert_eq!(boundaries.delimiter(line.as_bytes()), expected, "{line:?}");
        }
        boundaries.truncate(1);
        assert_eq!(boundaries.delimiter(b"--abc\r\n"), None);
    }

    #[test]
    fn depth_is_bounded() {
        let mut boundaries = Boundaries::default();
        let boundary = parse(b"multipart/x; boundary=x").boundary.unwrap();
        let pushed = (0..100).take_while(|_| boundaries.push(&boundary, true)).count();
        assert_eq!(pushed, DEPTH_LIMIT);
    }
}
