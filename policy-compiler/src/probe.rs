//! Does a database for bodies lose matches, when whole segments are scanned with it? Only asked of a defective
//! library, see [`crate::hyperscan::loses_matches`], for scanning in small pieces costs most of the speed.
//!
//! Where patterns are more than plain texts the library builds automata. Which of them skip ahead, and from
//! which state, nobody can see from here: such a database is not trusted. A set of plain texts is looked for
//! with one table, and skips ahead, if at all, in one way for all of them; so it can be tried out. Each text is
//! put where the defect would strike, scanned in calls as long as a network brings them, and again in calls that
//! are short enough to be safe. Both must find the same, match for match.

use artifact::smtp::Database;

use crate::hyperscan::{Expression, PIECE_LEN, Refusal, Searcher};
use crate::pattern::{Node, Octets, Pattern};

/// Most texts, times the octets in front of them, that are tried. Of more, a part that is spread evenly; of fewer, each in
/// several places in memory.
const MAX_TRIALS: usize = 2048;
/// Octets in front of a text: at least so many, and less than so many more.
const FILLER_LEN: usize = 40;
const FILLER_MORE: usize = 120;
/// Longest vector of any processor (octets): how a text can lie in memory repeats after so many.
const VECTOR_LEN: usize = 64;
/// Octets behind a text that a call still takes: more than the library skips at a time.
const BEHIND: usize = 17;
/// Octets to put around a text, besides some of its own and of another.
const FILLERS: [u8; 4] = *b"Z \n-";

/// What is reported for a decoy: no criterion has that index.
pub const DECOY: u32 = u32::MAX;
const DECOY_COUNT: u64 = 16;

/// Texts to look for besides those of a policy. The library skips ahead to octets that all texts have in common; with these
/// there are none. They are made up of all octets, so no mail has them but to no purpose: what they report is nobody's.
#[must_use]
pub fn decoys() -> Vec<Expression> {
    let mut state: u64 = 0x6465_636f_7973;
    let decoys = (0..DECOY_COUNT).map(|_| {
        // Knuth's generator of MMIX, with its high half folded into the low one.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let octets = (state ^ (state >> 32)).to_le_bytes();
        let node = Node::Concat(octets.map(|octet| Node::Octets(Octets::one(octet))).to_vec());
        Expression { pattern: Pattern { node, nocase: false }, id: DECOY }
    });
    decoys.collect()
}

/// Whether a database in streaming mode may lose matches, if whole segments are scanned in one call.
///
/// # Errors
/// The library does not take the database.
pub fn loses_matches(database: &Database, expressions: &[Expression]) -> Result<bool, Refusal> {
    let plain: Option<Vec<Vec<Vec<u8>>>> =
        expressions.iter().map(|expression| expression.pattern.plain()).collect();
    let Some(texts) = plain else { return Ok(true) };
    let texts = texts.concat();
    let mut searcher = Searcher::new(database)?;
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let others = texts.iter().cycle().skip(1);
    let around = texts.iter().zip(others).flat_map(|(text, other)| {
        let own = [text.first(), text.get(1), text.last(), other.first()].into_iter().flatten();
        FILLERS.iter().chain(own).map(move |filler| (text, *filler))
    });
    let around: Vec<(&Vec<u8>, u8)> = around.collect();
    let step = around.len().div_ceil(MAX_TRIALS).max(1);
    let shifts = (MAX_TRIALS / around.len().max(1)).clamp(1, VECTOR_LEN);
    // Where in memory the text lies may matter, and must not be left to chance: same policy, same artifact.
    let mut memory = Vec::new();
    for (at, (text, filler)) in around.into_iter().enumerate().step_by(step) {
        for shift in 0..shifts {
            let start = FILLER_LEN + (at * 7 + shift * 11) % FILLER_MORE;
            let len = start + text.len() + 2 * BEHIND;
            memory.clear();
            memory.resize(len + 2 * VECTOR_LEN, filler);
            let first = memory.as_ptr().align_offset(VECTOR_LEN)
                + (at * 13 + shift * VECTOR_LEN / shifts) % VECTOR_LEN;
            let Some(all) = memory.get_mut(first..first + len) else { continue };
            if let Some(place) = all.get_mut(start..start + text.len()) {
                place.copy_from_slice(text);
            }
            let all = &*all;
            searcher.search(&[all], PIECE_LEN, &mut expected)?;
            for cut in start..=start + text.len() + BEHIND {
                let (first, rest) = all.split_at(cut);
                searcher.search(&[first, rest], 0, &mut found)?;
                if found != expected {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}
