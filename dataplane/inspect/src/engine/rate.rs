//! How much happened lately.

use crate::unit::Instant;

/// What happened in the last `SECONDS` seconds, to the second.
#[derive(Debug, Clone)]
pub(super) struct Rate<const SECONDS: usize> {
    counts: [u64; SECONDS],
    second: u64,
    sum: u64,
}

impl<const SECONDS: usize> Default for Rate<SECONDS> {
    fn default() -> Self {
        Self { counts: [0; SECONDS], second: 0, sum: 0 }
    }
}

impl<const SECONDS: usize> Rate<SECONDS> {
    const LEN: u64 = SECONDS as u64;

    /// So many more; returns how many there were, these included.
    pub fn add(&mut self, now: Instant, more: u64) -> u64 {
        self.at(now);
        self.counts[(self.second % Self::LEN) as usize] += more;
        self.sum += more;
        self.sum
    }

    /// How many there were.
    pub fn at(&mut self, now: Instant) -> u64 {
        let second = now.as_millis() / 1000;
        for step in 1..=second.saturating_sub(self.second).min(Self::LEN) {
            let count = &mut self.counts[((self.second + step) % Self::LEN) as usize];
            self.sum -= core::mem::take(count);
        }
        self.second = self.second.max(second);
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_forgets_after_a_minute() {
        let mut rate = Rate::<60>::default();
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        rate.add(at(100), 1);
        rate.add(at(100), 1);
        assert_eq!(rate.add(at(130), 5), 7);
        assert_eq!(rate.at(at(159)), 7);
        assert_eq!(rate.at(at(160)), 5);
        assert_eq!(rate.at(at(189)), 5);
        assert_eq!(rate.at(at(10_000)), 0);
        assert_eq!(rate.add(at(10_001), 1), 1);
    }
}
