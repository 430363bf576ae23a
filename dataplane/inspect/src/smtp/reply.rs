//! Lines of the server, read octet by octet: code, separator, text (RFC 5321, 4.2).

/// A reply line without the limit's CRLF would be 510 octets; RFC 5321, 4.5.3.1.5 says 512 with it. Longer ones are reported, not refused.
pub const REPLY_LINE_LIMIT: u32 = 512;

/// A line that is not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAReply;

/// The reply under way.
#[derive(Debug, Default)]
pub struct Reader {
    /// Octets of the line so far.
    len: u32,
    /// Code of the line, complete after three octets.
    code: u16,
    /// Whether the line is the reply's last.
    last: bool,
    /// Lines of this reply that are complete.
    line_count: u16,
    /// Code of the reply's line before, 0 if there is none.
    code_before: u16,
    /// The first octets of the line's text, for its enhanced code.
    text: [u8; 4],
}

impl Reader {
    /// Octets of the line so far.
    #[must_use]
    pub fn line_len(&self) -> u32 {
        self.len
    }

    /// Code of the line; meaningful once four octets of it have come.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether the line is its reply's last; meaningful once four octets of it have come.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Complete lines of this reply before the one under way.
    #[must_use]
    pub fn line_count(&self) -> u16 {
        self.line_count
    }

    /// Whether the line is not its reply's first, and the one before it said yes.
    #[must_use]
    pub fn goes_on_positively(&self) -> bool {
        matches!(self.code_before, 200..300)
    }

    /// Whether the line's code is none of RFC 5321, 4.2 (second digit 0 to 5), or not that of the reply's lines before.
    #[must_use]
    pub fn is_odd(&self) -> bool {
        !matches!(self.code / 10 % 10, 0..=5) || (self.code_before != 0 && self.code_before != self.code)
    }

    /// Whether nothing of a reply has come since the last one ended.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.len == 0 && self.line_count == 0
    }

    /// Whether lines of a reply with this code have come, each whole, and more are to come.
    #[must_use]
    pub fn goes_on_with(&self, code: u16) -> bool {
        self.len == 0 && self.code_before == code
    }

    /// A whole line that is not the last, of a reply that [`goes on`](Self::goes_on_with) with its code.
    pub fn pass_line(&mut self) {
        self.line_count = self.line_count.saturating_add(1);
    }

    /// Whether the line is a refusal of an address: permanent, or transient with an enhanced code of the addressing class
    /// (RFC 3463, 3.2: `4.1.x`).
    #[must_use]
    pub fn refuses_address(&self) -> bool {
        matches!(self.code, 500..600) || (matches!(self.code, 400..500) && self.text == *b"4.1.")
    }

    /// Takes the octets of one line, or of a part of one; `piece` has no LF but as its last octet.
    ///
    /// # Errors
    /// [`NotAReply`] when the line does not start with a code from 200 to 599 and a separator.
    #[inline]
    pub fn read(&mut self, piece: &[u8]) -> Result<(), NotAReply> {
        if self.len == 0
            && let Some(head) = piece.first_chunk()
        {
            return self.begin(*head, piece.len());
        }
        let head = (8_u32.saturating_sub(self.len)) as usize;
        for byte in &piece[..head.min(piece.len())] {
            match self.len {
                0 if !matches!(byte, b'2'..=b'5') => return Err(NotAReply),
                0 => self.code = u16::from(byte - b'0'),
                1 | 2 if !byte.is_ascii_digit() => return Err(NotAReply),
                1 | 2 => self.code = self.code * 10 + u16::from(byte - b'0'),
                3 => match byte {
                    b'-' => self.last = false,
                    // "250" CRLF: RFC 5321 lets clients accept a code without text.
                    b' ' | b'\r' | b'\n' => self.last = true,
                    _ => return Err(NotAReply),
                },
                position => self.text[position as usize - 4] = *byte,
            }
            self.len += 1;
        }
        self.len = self.len.saturating_add(piece.len().saturating_sub(head) as u32);
        Ok(())
    }

    /// The same of a line that begins with these octets, and of which so many are known: nearly every line.
    fn begin(&mut self, head: [u8; 8], len: usize) -> Result<(), NotAReply> {
        let [first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9', separator, text @ ..] = head
        else {
            return Err(NotAReply);
        };
        self.last = match separator {
            b'-' => false,
            b' ' | b'\r' | b'\n' => true,
            _ => return Err(NotAReply),
        };
        let digit = |digit: u8| u16::from(digit - b'0');
        self.code = digit(first) * 100 + digit(second) * 10 + digit(third);
        self.text = text;
        self.len = u32::try_from(len).unwrap_or(u32::MAX);
        Ok(())
    }

    /// The line is complete.
    pub fn end_line(&mut self) {
        *self = if self.last {
            Self::default()
        } else {
            let line_count = self.line_count.saturating_add(1);
            Self { line_count, code_before: self.code, ..Self::default() }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_any_pieces() {
        for cut in 0..14 {
            let mut reader = Reader::default();
            let line = b"450 4.1.2 no\r\n";
            reader.read(&line[..cut]).unwrap();
            reader.read(&line[cut..]).unwrap();
            assert!(reader.is_last() && reader.refuses_address());
            assert_eq!((reader.code(), reader.line_len()), (450, 14));
            reader.end_line();
            assert!(reader.is_idle());
        }
    }

    #[test]
    fn several_lines_are_one_reply() {
        let mut reader = Reader::default();
        reader.read(b"250-a\r\n").unwrap();
        assert!(!reader.is_last());
        reader.end_line();
        assert_eq!((reader.line_count(), reader.is_idle()), (1, false));
        reader.read(b"250\r\n").unwrap();
        assert!(reader.is_last() && !reader.refuses_address());
    }

    #[test]
    fn what_is_not_a_reply_is_refused() {
        for line in [&b"EHLO x"[..], b"150 x", b"650 x", b"25", b"2x0 ", b"250x", b"\r\n", b"250\tx"] {
            let mut reader = Reader::default();
            assert_eq!(reader.read(line).is_err(), line != b"25", "{line:?}");
        }
    }
}
