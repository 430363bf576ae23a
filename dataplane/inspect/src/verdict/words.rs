//! Verbs and keywords that a policy knows, judged as their letters arrive.

/// A word and whether it is to be overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: Box<[u8]>,
    masked: bool,
}

/// Words that a policy names, and what becomes of all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    known: Box<[Word]>,
    others_masked: bool,
}

impl Words {
    /// Words with whether each is masked, and whether any other is. Words are upper case, each once.
    pub fn new(known: impl IntoIterator<Item = (Vec<u8>, bool)>, others_masked: bool) -> Self {
        let known = known.into_iter().map(|(text, masked)| Word { text: text.into(), masked }).collect();
        Self { known, others_masked }
    }

    /// Whether the word is masked, whatever follows it on its line.
    #[must_use]
    pub fn is_masked(&self, word: &[u8]) -> bool {
        self.known
            .iter()
            .find(|known| known.text.eq_ignore_ascii_case(word))
            .map_or(self.others_masked, |known| known.masked)
    }

    /// Whether the first letters of a word may leave: as a word they would pass, or they may still become one that does.
    fn may_leave(&self, letters: &[u8]) -> bool {
        !self.is_masked(letters)
            || self.known.iter().any(|known| {
                !known.masked
                    && known.text.len() > letters.len()
                    && known.text[..letters.len()].eq_ignore_ascii_case(letters)
            })
    }

    /// The first octet of `word` from which on its line must not leave, where that can be told already. `complete` says
    /// that no letter follows; then it may be the octet behind the word.
    ///
    /// A word that is denied is overwritten from its last letter, before it is known to be complete (`EHL`, `O`: `EHLx`);
    /// letters of a word that nobody knows are overwritten from the first one that no allowed word has there.
    #[must_use]
    pub fn illegal_from(&self, word: &[u8], complete: bool) -> Option<usize> {
        let illegal = if complete { self.is_masked(word) } else { !self.may_leave(word) };
        illegal.then(|| (0..=word.len()).rev().find(|len| self.may_leave(&word[..*len])).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(known: &[(&str, bool)], others_masked: bool) -> Words {
        Words::new(known.iter().map(|(text, masked)| (text.as_bytes().to_vec(), *masked)), others_masked)
    }

    #[test]
    fn an_allow_list_stops_at_the_first_wrong_letter() {
        let allowed = words(&[("HELO", false), ("HELP", false), ("EHLO", true)], true);
        for (letters, complete, expected) in [
            ("HE", false, None),
            ("helo", false, None),
            ("helo", true, None),
            ("HE", true, Some(2)),
            ("HELOX", false, Some(4)),
            ("HEX", false, Some(2)),
            ("HEXY", true, Some(2)),
            ("EVIL", false, Some(0)),
            ("E", false, Some(0)),
            ("", false, None),
            ("", true, Some(0)),
        ] {
            assert_eq!(allowed.illegal_from(letters.as_bytes(), complete), expected, "{letters} {complete}");
        }
    }

    #[test]
    fn a_deny_list_stops_at_the_last_letter() {
        let denied = words(&[("EHLO", true), ("STARTTLS", true)], false);
        for (letters, complete, expected) in [
            ("EHL", false, None),
            ("EHLO", false, Some(3)),
            ("ehlo", true, Some(3)),
            ("EHLOX", false, None),
            ("EHLOX", true, None),
            ("X", true, None),
            ("", true, None),
            ("STARTTLS", true, Some(7)),
        ] {
            assert_eq!(denied.illegal_from(letters.as_bytes(), complete), expected, "{letters} {complete}");
        }
    }

    #[test]
    fn a_denied_word_that_may_become_an_allowed_one_leaves() {
        let mixed = words(&[("VERB", true), ("VERBOSE", false)], false);
        assert_eq!(mixed.illegal_from(b"VERB", false), None);
        assert_eq!(mixed.illegal_from(b"VERB", true), Some(4));
        assert_eq!(mixed.illegal_from(b"VERBOSE", true), None);
    }
}
