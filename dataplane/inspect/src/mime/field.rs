//! One header field, unfolded (RFC 5322, 2.2).

/// Octets of a header field that are looked at in one piece, its name included.
pub const FIELD_LEN: usize = 8192;

/// A longer field is looked at in several pieces, each with the field's name in front and this much of the piece before.
pub const FIELD_OVERLAP: usize = 1024;

/// A field as it is given out, or a piece of a long one: unfolded, without the end of its last line.
#[derive(Debug, Clone, Copy)]
pub struct FieldText<'a> {
    /// All of it.
    pub text: &'a [u8],
    /// Its name, with which `text` begins; empty where it has none.
    pub name: &'a [u8],
    /// It is the first piece.
    pub is_start: bool,
    /// It is known to have no NUL, CR, `$` or `*`, as nearly all.
    pub plain: bool,
}

impl<'a> FieldText<'a> {
    /// What stands behind the colon, without blanks around it.
    pub(super) fn value(&self) -> &'a [u8] {
        let behind = self.text.get(self.name.len()..).unwrap_or_default().trim_ascii_start();
        behind.strip_prefix(b":").unwrap_or(behind).trim_ascii()
    }
}

/// A field under way. Only messages whose header is being read have one.
#[derive(Debug)]
pub struct Field {
    len: usize,
    /// Octets of its name; 0 until that is looked for, or where there is none.
    name_len: usize,
    /// Lines were joined to the first one.
    folded: bool,
    /// Where the line under way starts.
    line_start: usize,
    /// Pieces of the field were given out already.
    continued: bool,
    bytes: [u8; FIELD_LEN],
}

impl Default for Field {
    fn default() -> Self {
        Self { len: 0, name_len: 0, folded: false, line_start: 0, continued: false, bytes: [0; FIELD_LEN] }
    }
}

impl Field {
    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.len, self.name_len, self.line_start) = (0, 0, 0);
        (self.folded, self.continued) = (false, false);
    }

    /// Nothing has come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its octets, the end of its last line included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Its octets without the end of its last line.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        without_line_end(self.bytes())
    }

    /// Looks for its name in its first line; `false` where that is no field.
    pub fn find_name(&mut self) -> bool {
        if self.name_len == 0 {
            self.name_len = name(self.bytes()).map_or(0, <[u8]>::len);
        }
        self.name_len > 0
    }

    /// Its name, if that was found.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.bytes[..self.name_len]
    }

    /// Whether it is one line so far, and nothing of it was given out.
    #[must_use]
    pub fn is_one_line(&self) -> bool {
        !self.folded && !self.continued
    }

    /// Whether this is its first piece.
    #[must_use]
    pub fn is_start(&self) -> bool {
        !self.continued
    }

    /// Room left, in octets.
    #[must_use]
    pub fn room(&self) -> usize {
        FIELD_LEN - self.len
    }

    /// A line that starts with a blank follows: only the line end between the two goes.
    pub fn fold(&mut self) {
        self.len = self.text().len();
        self.line_start = self.len;
        self.folded = true;
    }

    /// Whether the line that was just completed looks empty and is not: it has blanks, or more than its CRLF.
    #[must_use]
    pub fn is_nearly_empty_line(&self) -> bool {
        let line = self.bytes.get(self.line_start..self.len).unwrap_or_default();
        !matches!(line, b"\r\n" | b"\n") && line.iter().all(u8::is_ascii_whitespace)
    }

    /// Whether it has nothing but line ends.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        matches!(self.bytes().first(), None | Some(b'\r' | b'\n')) && self.text().is_empty()
    }

    /// Adds octets; there must be [`Field::room`] for them, what is beyond it is lost.
    pub fn append(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.room());
        self.bytes[self.len..self.len + len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    /// Makes room by forgetting all but name and [`FIELD_OVERLAP`].
    pub fn slide(&mut self) {
        let name = self.name_len.min(FIELD_OVERLAP);
        // The colon stands behind the name, whatever stood between them.
        self.bytes[name] = b':';
        let tail = self.len.saturating_sub(FIELD_OVERLAP).max(name + 1);
        self.bytes.copy_within(tail..self.len, name + 1);
        self.len = name + 1 + (self.len - tail);
        self.name_len = name;
        self.line_start = 0;
        self.continued = true;
    }
}

/// Octets that a name may have (RFC 5322, 2.2).
const IN_NAME: [bool; 256] = {
    let mut octets = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        octets[byte as usize] = byte != b':';
        byte += 1;
    }
    octets
};

/// The name of a field, or `None` where a line is no field: printable octets but no colon, then a colon. Blanks before it
/// are tolerated, as by Postfix.
pub(super) fn name(line: &[u8]) -> Option<&[u8]> {
    let len = line.iter().position(|byte| !IN_NAME[usize::from(*byte)])?;
    let colon = line[len..].iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    (len > 0 && line[len + colon] == b':').then_some(&line[..len])
}

/// A line without its end.
pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    let mut text = line;
    while let [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (line, expected) in [
            ("Subject: x", Some("Subject")),
            ("X-A:", Some("X-A")),
            ("To \t: x", Some("To")),
            (": x", None),
            ("no colon", None),
            ("no\r\n", None),
            ("n\u{e9}: x", None),
            ("", None),
        ] {
            assert_eq!(name(line.as_bytes()), expected.map(str::as_bytes), "{line}");
        }
        let value = |text| FieldText { text, name: b"A", is_start: true, plain: true }.value();
        assert_eq!(value(b"A:  b c \t"), b"b c");
        assert_eq!(value(b"A \t: :b"), b":b");
    }

    #[test]
    fn only_the_line_end_goes_between_folded_lines() {
        let mut field = Field::default();
        field.append(b"Subject: a\r\n");
        assert!(field.is_one_line());
        field.fold();
        field.append(b"\tb\r\n");
        assert_eq!(field.text(), b"Subject: a\tb");
        assert!(!field.is_one_line());
    }

    #[test]
    fn a_long_field_slides_past_with_its_name() {
        let mut field = Field::default();
        field.append(b"To : ");
        field.append(&[b'a'; FIELD_LEN]);
        assert_eq!(field.room(), 0);
        assert!(field.find_name());
        field.slide();
        assert_eq!((field.bytes().len(), field.name()), (3 + FIELD_OVERLAP, &b"To"[..]));
        assert!(field.bytes().starts_with(b"To:aaa") && !field.is_start());
        field.append(&[b'b'; FIELD_LEN - 3 - FIELD_OVERLAP]);
        assert_eq!(field.room(), 0);
        field.slide();
        assert!(field.bytes().starts_with(b"To:bbb"));
    }
}
