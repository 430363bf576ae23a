//! Lists of names as protocols have them: compared without case, found by their length first. Most words that are looked up
//! are none of a list, and are compared with one or two of it.

/// Some names, each of which has a place.
#[derive(Debug)]
pub struct Names<const N: usize> {
    names: [&'static [u8]; N],
    /// Bit n for name n, by length.
    by_len: [u32; NAME_LEN],
    /// The same by the low bits of the first letter.
    by_letter: [u32; LETTERS],
}

/// No name has as many octets.
const NAME_LEN: usize = 32;

/// Letters of both cases fall on as many places.
const LETTERS: usize = 32;

impl<const N: usize> Names<N> {
    /// The names; what does not fit does not compile.
    #[must_use]
    pub const fn new(names: [&'static [u8]; N]) -> Self {
        assert!(N <= u32::BITS as usize);
        let (mut by_len, mut by_letter, mut index) = ([0; NAME_LEN], [0; LETTERS], 0);
        while index < N {
            by_len[names[index].len()] |= 1 << index;
            by_letter[names[index][0] as usize % LETTERS] |= 1 << index;
            index += 1;
        }
        Self { names, by_len, by_letter }
    }

    /// The place of the first that `name` is, in whatever case.
    #[must_use]
    #[inline]
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        let mut left = *self.by_len.get(name.len())?;
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            let known = *self.names.get(index)?;
            // Most begin with another letter; letters differ from themselves in another case by one bit.
            let firsts = known.first().zip(name.first());
            let begins = firsts.is_none_or(|(known, first)| (known ^ first) & !0x20 == 0);
            // Nearly everyone writes names as they are written where they come from.
            if begins && (known == name || known.eq_ignore_ascii_case(name)) {
                return Some(index);
            }
        }
        None
    }

    /// The place and the name with which `text` begins, as it is written here, `end` behind it. Nearly every text that begins with one
    /// does so; others may begin with one all the same ([`Names::position`]).
    #[must_use]
    #[inline]
    pub fn at_start(&self, text: &[u8], end: u8) -> Option<(usize, &'static [u8])> {
        let mut left = self.by_letter[usize::from(*text.first()?) % LETTERS];
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            let known = *self.names.get(index)?;
            if text.get(known.len()) == Some(&end) && text.starts_with(known) {
                return Some((index, known));
            }
        }
        None
    }

    /// Whether `name` is one of them.
    #[must_use]
    #[inline]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.position(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_nothing_else_is() {
        const NAMES: Names<4> = Names::new([b"To", b"Date", b"From", b"TO"]);
        for (word, place) in [
            (&b"to"[..], Some(0)),
            (b"date", Some(1)),
            (b"FROM", Some(2)),
            (b"fro", None),
            (b"", None),
            (&[b'x'; NAME_LEN], None),
            (&[b'x'; NAME_LEN - 1], None),
        ] {
            assert_eq!(NAMES.position(word), place);
            assert_eq!(NAMES.contains(word), place.is_some());
        }
        for (text, place) in [
            (&b"To: a"[..], Some((0, &b"To"[..]))),
            (b"TO:", Some((3, b"TO"))),
            (b"Date:From:", Some((1, b"Date"))),
            (b"to: a", None),
            (b"To : a", None),
            (b"Dat:", None),
            (b"To", None),
            (b"", None),
        ] {
            assert_eq!(NAMES.at_start(text, b':'), place);
        }
    }
}
