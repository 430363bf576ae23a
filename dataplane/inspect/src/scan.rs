//! What the engine asks of a pattern matcher. The gateway's is Hyperscan; tests check it against a plain `regex` oracle.

use artifact::smtp::{MAX_CRITERIA, Region};

/// A set of criteria of one policy: those that a scan found, or that are true in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CriterionSet([u64; MAX_CRITERIA / 64]);

impl CriterionSet {
    /// No criterion.
    pub const EMPTY: CriterionSet = CriterionSet([0; MAX_CRITERIA / 64]);

    /// Adds one; an index beyond the limit is ignored (the artifact loader refuses such policies).
    pub fn insert(&mut self, index: u16) {
        if let Some(word) = self.0.get_mut(usize::from(index) / 64) {
            *word |= 1 << (index % 64);
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, index: u16) {
        if let Some(word) = self.0.get_mut(usize::from(index) / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    /// Whether one is in it.
    #[must_use]
    pub fn contains(&self, index: u16) -> bool {
        self.0.get(usize::from(index) / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Whether none is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Whether every one of `other` is in it.
    #[must_use]
    pub fn contains_all(&self, other: &CriterionSet) -> bool {
        self.0.iter().zip(other.0).all(|(mine, theirs)| mine & theirs == theirs)
    }

    /// Whether the two have one in common.
    #[must_use]
    pub fn intersects(&self, other: &CriterionSet) -> bool {
        self.0.iter().zip(other.0).any(|(mine, theirs)| mine & theirs != 0)
    }

    /// Adds those of `other`.
    pub fn union(&mut self, other: &CriterionSet) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// Takes those of `other` out.
    pub fn subtract(&mut self, other: &CriterionSet) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine &= !theirs;
        }
    }

    /// Those that are in both.
    #[must_use]
    pub fn intersection(&self, other: &CriterionSet) -> CriterionSet {
        let mut both = *self;
        for (mine, theirs) in both.0.iter_mut().zip(other.0) {
            *mine &= theirs;
        }
        both
    }

    /// Those in it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().enumerate().flat_map(|(position, word)| {
            let mut left = *word;
            core::iter::from_fn(move || {
                (left != 0).then(|| {
                    let bit = left.trailing_zeros();
                    left &= left - 1;
                    position as u16 * 64 + bit as u16
                })
            })
        })
    }
}

/// A scan that goes on over several pieces; closing it gives its slot back.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamId(pub u32);

/// Finds the patterns of a loaded artifact. `policy` is an index into its SMTP policies.
pub trait Matcher {
    /// Scans `data` as a whole and adds the criteria whose patterns occur. Where the policy has no
    /// database for the region, none.
    fn block(&mut self, policy: u16, region: Region, data: &[u8], hits: &mut CriterionSet);

    /// Begins a scan over pieces; `None` when the policy has no database for the region.
    ///
    /// # Errors
    /// [`NoStream`] when every slot is in use: the caller must treat the session as one it cannot inspect.
    fn open(&mut self, policy: u16, region: Region) -> Result<Option<StreamId>, NoStream>;

    /// Scans the next piece and adds the criteria whose patterns end in it.
    fn stream(&mut self, stream: &StreamId, data: &[u8], hits: &mut CriterionSet);

    /// Ends a scan, adds the criteria whose patterns match only at the end.
    fn close(&mut self, stream: StreamId, hits: &mut CriterionSet);
}

/// Every stream slot is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoStream;

/// A matcher without patterns.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPatterns;

impl Matcher for NoPatterns {
    fn block(&mut self, _: u16, _: Region, _: &[u8], _: &mut CriterionSet) {}

    fn open(&mut self, _: u16, _: Region) -> Result<Option<StreamId>, NoStream> {
        Ok(None)
    }

    fn stream(&mut self, _: &StreamId, _: &[u8], _: &mut CriterionSet) {}

    fn close(&mut self, _: StreamId, _: &mut CriterionSet) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = CriterionSet::EMPTY;
        for index in [0, 63, 64, 255, 256, 9999] {
            set.insert(index);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
        let mut other = CriterionSet::EMPTY;
        other.insert(64);
        assert!(set.contains_all(&other) && set.intersects(&other) && !other.contains_all(&set));
        assert_eq!(set.intersection(&other), other);
        set.subtract(&other);
        assert!(!set.contains(64) && !set.intersects(&other));
    }
}
