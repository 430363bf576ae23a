//! The Internet checksum (RFC 1071), and its update by difference (RFC 1624).

/// A one's complement sum under way. It does not depend on the order in which parts are added.
///
/// Kept in the machine's own byte order and in 64 bits: RFC 1071 section 2 shows that neither changes the result (a sum of wide
/// words, its carry added at its end, is that of the narrow ones), and both are much faster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// With octets added as big-endian 16-bit words; an odd last octet is padded with a zero on its right, so every
    /// part but the last must be of even length.
    #[must_use]
    #[inline]
    pub fn with(self, octets: &[u8]) -> Sum {
        let (blocks, rest) = octets.as_chunks::<{ 4 * WORD_LEN }>();
        let (mut sum, mut carries) = (self.0, 0);
        for block in blocks {
            // Four additions, each with the carry of the one before it: one instruction for each word.
            let (words, _) = block.as_chunks::<WORD_LEN>();
            let mut carry = false;
            for word in words {
                (sum, carry) = sum.carrying_add(u64::from_ne_bytes(*word), carry);
            }
            carries += u64::from(carry);
        }
        let (words, rest) = rest.as_chunks::<WORD_LEN>();
        for word in words {
            let carry;
            (sum, carry) = sum.overflowing_add(u64::from_ne_bytes(*word));
            carries += u64::from(carry);
        }
        let last = match octets.last_chunk() {
            // The octets in front of the rest are in the lower half of the word, as a little-endian machine reads it.
            Some(word) => u64::from_le_bytes(*word).unbounded_shr(u64::BITS - 8 * rest.len() as u32).to_le(),
            None => last_words(rest),
        };
        Sum(sum).plus(carries + last)
    }

    /// With one 16-bit word added.
    #[must_use]
    #[inline]
    pub fn with_word(self, word: u16) -> Sum {
        self.plus(u64::from(word.to_be()))
    }

    #[inline]
    fn plus(self, word: u64) -> Sum {
        let (sum, carry) = self.0.overflowing_add(word);
        // It cannot carry twice: a sum that did is at most two less than the largest.
        Sum(sum + u64::from(carry))
    }

    /// The sum in 16 bits. A region that includes its own right checksum gives `0xffff`.
    #[must_use]
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(sum as u16)
    }

    /// The checksum field's value, for a region summed with that field as zero.
    #[must_use]
    #[inline]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// Whether the region, its checksum field included, is as it was sent.
    #[must_use]
    #[inline]
    pub fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// Octets that are added at once.
const WORD_LEN: usize = 8;

/// The sum of the last octets of a region, fewer than a word.
#[inline]
fn last_words(octets: &[u8]) -> u64 {
    let (fours, rest) = octets.as_chunks::<4>();
    let (pairs, rest) = rest.as_chunks::<2>();
    let fours = fours.first().map_or(0, |four| u64::from(u32::from_ne_bytes(*four)));
    let pairs = pairs.first().map_or(0, |pair| u64::from(u16::from_ne_bytes(*pair)));
    fours + pairs + rest.first().map_or(0, |&last| u64::from(u16::from_ne_bytes([last, 0])))
}

/// The checksum after `old` was overwritten with `new`, which is of the same length: `HC' = ~(~HC + ~m + m')`
/// (RFC 1624, equation 3). `odd` says whether the place is an odd number of octets into the summed region.
#[must_use]
pub fn update(checksum: u16, old: &[u8], new: &[u8], odd: bool) -> u16 {
    let (mut out, mut into) = (Sum::default().with(old).fold(), Sum::default().with(new).fold());
    if odd {
        // Octets that stand in the other half of their words: RFC 1071, section 2 (B).
        (out, into) = (out.swap_bytes(), into.swap_bytes());
    }
    Sum::default().with_word(!checksum).with_word(!out).with_word(into).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 4.1, written down as it stands there.
    fn plain(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().with(&octets).fold(), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: the old header field m = 0x5555 becomes 0x3285, checksum 0xdd2f becomes 0x0000.
        assert_eq!(update(0xdd2f, &[0x55, 0x55], &[0x32, 0x85], false), 0x0000);
    }

    proptest! {
        #[test]
        fn wide_words_sum_as_narrow_ones(octets in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
            prop_assert_eq!(Sum::default().with(&octets).fold(), plain(&octets));
            let (head, tail) = octets.split_at((cut * 2).min(octets.len() & !1));
            prop_assert_eq!(Sum::default().with(head).with(tail).fold(), plain(&octets));
        }

        #[test]
        fn an_update_equals_a_new_sum(
            mut octets in proptest::collection::vec(any::<u8>(), 2..100),
            at in any::<prop::sample::Index>(),
            new in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            octets[0] = 1; // A region that is not all zero, as a pseudo-header never is.
            let before = Sum::default().with(&octets).checksum();
            let at = 1 + at.index(octets.len() - 1);
            let len = new.len().min(octets.len() - at);
            let old = octets[at..at + len].to_vec();
            octets[at..at + len].copy_from_slice(&new[..len]);
            let after = update(before, &old, &new[..len], at % 2 == 1);
            prop_assert!(Sum::default().with(&octets).with_word(0).checksum() == after
                || (after == 0xffff && Sum::default().with(&octets).checksum() == 0));
        }
    }
}
