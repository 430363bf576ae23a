//! Numbers that look random and are the same for the same seed, on every machine and in every release.

/// A SplitMix64 generator (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// A generator.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for part `index` of the whole: the parts do not depend on the order they are made in.
    #[must_use]
    pub fn part(&self, index: u64) -> Self {
        Self(Self(self.0 ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93)).number())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.number()) * limit as u128) >> 64) as usize
    }

    /// One of several; there is at least one.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence() {
        let mut seed = Seed::new(1_234_567);
        assert_eq!([seed.number(), seed.number()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn parts_differ_and_repeat() {
        let whole = Seed::new(7);
        assert_eq!(whole.part(3).number(), whole.part(3).number());
        assert_ne!(whole.part(3).number(), whole.part(4).number());
        assert!((0..1000).all(|index| whole.part(index).below(3) < 3));
    }
}
