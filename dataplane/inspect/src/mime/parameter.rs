//! Parameters in the form of RFC 2231: `name*0="a"; name*1*=%62`, `name*=utf-8''ab`.
//!
//! Readers differ about them: those that know the form see one name, others another or none (CVE-2024-39929).

use super::FIELD_LEN;
use super::content_type::{Parameters, skip_comments, word};

/// Parameters that are read in this form.
const NAMES: [&str; 3] = ["boundary", "filename", "name"];

/// Sections of such parameters in one field; one with more is ambiguous.
const SECTIONS: usize = 32;

/// One section: `NAMES[name]*number*=value`.
#[derive(Debug, Clone, Copy, Default)]
struct Section<'a> {
    name: usize,
    number: u32,
    encoded: bool,
    value: &'a [u8],
}

/// The sections of a field or its value.
#[derive(Debug)]
pub(super) struct Extended<'a> {
    sections: [Section<'a>; SECTIONS],
    len: usize,
    /// There were more, or one came twice.
    pub ambiguous: bool,
}

impl<'a> Extended<'a> {
    /// Those of `text`, which is `...; parameter; parameter`.
    pub fn of(text: &'a [u8]) -> Self {
        let mut extended = Self { sections: [Section::default(); SECTIONS], len: 0, ambiguous: false };
        if memchr::memchr(b'*', text).is_some() {
            Parameters::of(text).skip(1).filter_map(section).for_each(|section| extended.add(section));
        }
        extended
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn add(&mut self, section: Section<'a>) {
        let twice = self.find(section.name, section.number).is_some();
        match self.sections.get_mut(self.len) {
            Some(slot) if !twice => {
                *slot = section;
                self.len += 1;
            }
            _ => self.ambiguous = true,
        }
    }

    fn find(&self, name: usize, number: u32) -> Option<&Section<'a>> {
        self.sections[..self.len].iter().find(|section| (section.name, section.number) == (name, number))
    }

    /// Gives the octets of a parameter's joined and decoded value, until `push` says that it has no room. `None` where there is no
    /// such parameter, or no room.
    pub fn join(&self, name: &str, mut push: impl FnMut(u8) -> Option<()>) -> Option<()> {
        let name = NAMES.iter().position(|known| *known == name)?;
        self.find(name, 0)?;
        for section in (0..).map_while(|number| self.find(name, number)) {
            let mut rest = section.value;
            if section.encoded && section.number == 0 {
                // `charset'language'`.
                let quotes = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\'').map(|(at, _)| at);
                rest = quotes.take(2).last().map_or(rest, |at| &rest[at + 1..]);
            }
            let mut quoted = Unquoted { rest };
            while let Some(byte) = quoted.next() {
                let byte = match (byte, quoted.rest) {
                    (b'%', [high, low, after @ ..]) if section.encoded => match (hex(*high), hex(*low)) {
                        (Some(high), Some(low)) => {
                            quoted.rest = after;
                            high << 4 | low
                        }
                        _ => byte,
                    },
                    _ => byte,
                };
                push(byte)?;
            }
        }
        Some(())
    }
}

/// Octets of a value without its quotes and their backslashes.
struct Unquoted<'a> {
    rest: &'a [u8],
}

impl Iterator for Unquoted<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match first {
                b'"' => {}
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    return Some(*escaped);
                }
                first => return Some(*first),
            }
        }
    }
}

fn section(parameter: &[u8]) -> Option<Section<'_>> {
    let at = parameter.iter().position(|byte| *byte == b'=')?;
    let mut parts = word(skip_comments(&parameter[..at])).splitn(2, |byte| *byte == b'*');
    let base = parts.next()?;
    let rest = parts.next()?;
    let name = NAMES.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(base))?;
    let (number, encoded) = match rest.strip_suffix(b"*") {
        Some(number) => (number, true),
        // `name*=` is one section, encoded.
        None => (rest, rest.is_empty()),
    };
    let digits = core::str::from_utf8(number).ok()?;
    let number = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let value = skip_comments(&parameter[at + 1..]);
    let len = if value.starts_with(b"\"") {
        value.len()
    } else {
        value.iter().position(|byte| matches!(byte, b' ' | b'\t' | b';' | b'(')).unwrap_or(value.len())
    };
    Some(Section { name, number, encoded, value: &value[..len] })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// Room for what [`plain`] makes.
pub type Plain = [u8; FIELD_LEN + 64];

/// A field, or its value, with the names that it has in the form of RFC 2231 behind it in the plain form, `; name="ab"`. `None`
/// where there are none.
pub fn plain<'b>(text: &[u8], buffer: &'b mut Plain) -> Option<&'b [u8]> {
    let extended = Extended::of(text);
    if extended.is_empty() {
        return None;
    }
    let mut len = 0;
    let mut push = |byte: u8| {
        *buffer.get_mut(len)? = byte;
        len += 1;
        Some(())
    };
    // What stands before the parameters; the others were looked at where they stand.
    for byte in Parameters::of(text).next()? {
        push(*byte)?;
    }
    for name in NAMES {
        if extended.find(NAMES.iter().position(|known| *known == name)?, 0).is_some() {
            b"; ".iter().chain(name.as_bytes()).chain(b"=\"").try_for_each(|byte| push(*byte))?;
            // What does not fit is left out.
            let _ = extended.join(name, &mut push);
            let _ = push(b'"');
        }
    }
    Some(&buffer[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_joined_in_their_order() {
        let mut buffer = [0; FIELD_LEN + 64];
        for (text, expected) in [
            (
                "attachment; filename*0=\"ev\"; filename*1=\"il.exe\"",
                Some("attachment; filename=\"evil.exe\""),
            ),
            ("a; filename*1=il.exe; filename*0=ev", Some("a; filename=\"evil.exe\"")),
            ("a; filename*=utf-8''%65vil%2Eexe", Some("a; filename=\"evil.exe\"")),
            (
                "a; FileName*0*=utf-8'en'ev%69l; filename*1=\"%2E\"; filename*2*=%65xe",
                Some("a; filename=\"evil%2Eexe\""),
            ),
            ("t/p; name*0=a; name*2=c; x*0=y", Some("t/p; name=\"a\"")),
            ("t/p; name (c) *0=a", None),
            ("t/p; name*=plain", Some("t/p; name=\"plain\"")),
            ("t/p; name*0=\"a\\\"b\"", Some("t/p; name=\"a\"b\"")),
            ("t/p; name*0*=''%4", Some("t/p; name=\"%4\"")),
            ("t/p; name*x=a; name*1=b", Some("t/p")),
            ("t/p; name=a", None),
            ("t/p; x=\"name*0=a\"", None),
            ("", None),
        ] {
            let found = plain(text.as_bytes(), &mut buffer);
            assert_eq!(
                found.map(|found| String::from_utf8_lossy(found).into_owned()).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn sections_have_a_limit() {
        let many: String = (0..100).map(|number| format!("; name*{number}=x")).collect();
        let text = format!("t/p{many}");
        assert!(Extended::of(text.as_bytes()).ambiguous);
        assert!(Extended::of(b"t/p; name*0=a; name*0=b").ambiguous);
        assert!(!Extended::of(b"t/p; name*0=a; filename*0=b").ambiguous);
        let mut buffer = [0; FIELD_LEN + 64];
        let long = format!("t/p; name*0={}", "a".repeat(FIELD_LEN + 500));
        assert!(plain(long.as_bytes(), &mut buffer).is_some_and(|text| text.len() == FIELD_LEN + 64));
    }
}
