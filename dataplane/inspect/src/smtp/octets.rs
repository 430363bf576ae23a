//! What octets a text has, counted in one pass, so that most of what looks for odd ones need not look.

/// How many octets of each kind a text has, none more than once counted: four counts of 16 bits. A text that could have more than they
/// hold has the most of each, so that whoever asks looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Octets(u64);

/// Where each count stands.
const UNPRINTABLE: u32 = 0;
const ODD: u32 = 16;
const OPENING: u32 = 32;
const AT: u32 = 48;

const COUNTS: [u64; 256] = {
    let mut counts = [0; 256];
    let mut byte = 0;
    while byte < counts.len() {
        counts[byte] = match byte as u8 {
            b' '..=b'~' => 0,
            _ => 1 << UNPRINTABLE,
        } | match byte as u8 {
            b'|' | b'$' | b'`' | b'(' | b'/' | b'\\' | b'%' | b'!' | 128.. => 1 << ODD,
            b'<' => 1 << OPENING,
            b'@' => 1 << AT,
            _ => 0,
        };
        byte += 1;
    }
    counts
};

impl Octets {
    /// Counts those of a text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        if text.len() > usize::from(u16::MAX) {
            return Self(u64::MAX);
        }
        // No count reaches its neighbour: there are not as many octets.
        Self(text.iter().fold(0, |sum, byte| sum + COUNTS[usize::from(*byte)]))
    }

    /// Whether all are printable ASCII or blanks; a tab is neither.
    #[must_use]
    pub fn are_printable(self) -> bool {
        self.count(UNPRINTABLE) == 0
    }

    /// Whether some have a meaning for a shell, a path or a mailer of old, or are not ASCII: one of ``|$`(/\%!``, or 128 and more.
    #[must_use]
    pub fn has_odd(self) -> bool {
        self.count(ODD) != 0
    }

    /// Opening angle brackets.
    #[must_use]
    pub fn openings(self) -> u16 {
        self.count(OPENING)
    }

    /// `@`.
    #[must_use]
    pub fn ats(self) -> u16 {
        self.count(AT)
    }

    fn count(self, at: u32) -> u16 {
        (self.0 >> at) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_counted_as_what_it_is() {
        for byte in 0..=u8::MAX {
            let octets = Octets::of(&[byte, b'a', byte]);
            let times = |is: bool| if is { 2 } else { 0 };
            assert_eq!(octets.are_printable(), matches!(byte, 32..=126), "{byte}");
            assert_eq!(octets.has_odd(), byte > 127 || b"|$`(/\\%!".contains(&byte), "{byte}");
            assert_eq!((octets.openings(), octets.ats()), (times(byte == b'<'), times(byte == b'@')));
        }
        assert_eq!(Octets::of(b""), Octets::default());
    }

    #[test]
    fn long_texts_have_everything() {
        for byte in [b'<', b'@', b'|', 0, 255] {
            let longest = vec![byte; usize::from(u16::MAX)];
            assert_eq!(Octets::of(&longest).openings(), if byte == b'<' { u16::MAX } else { 0 });
            let longer = vec![byte; usize::from(u16::MAX) + 1];
            let octets = Octets::of(&longer);
            assert!(!octets.are_printable() && octets.has_odd() && octets.ats() > 1 && octets.openings() > 7);
        }
    }
}
