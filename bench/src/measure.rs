//! Measuring: processor time, rounds in turn, medians.
//!
//! A machine is never quiet. So what is compared is measured in the same run, in turn, round by round; a ratio is that of
//! one round's two numbers, and what is told is the median of the rounds. Time is the thread's processor time: what
//! others do on the same core does not count (what they do to its caches does, and the spread shows it).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread so far.
#[must_use]
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is ever negative for this clock.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Adds up the time between starts and stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stopwatch {
    total: Duration,
    is_stopped: bool,
}

impl Stopwatch {
    /// One that never looks at a clock: under valgrind, reading it fails.
    #[must_use]
    pub fn stopped() -> Self {
        Self { is_stopped: true, ..Self::default() }
    }

    /// Times `work`.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if self.is_stopped {
            return work();
        }
        let start = processor_time();
        let result = work();
        self.total += processor_time() - start;
        result
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total
    }
}

/// One number per round.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Samples from numbers.
    #[must_use]
    pub fn new(values: Vec<f64>) -> Self {
        Self(values)
    }

    /// Adds that of a round.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The one in the middle; 0 when there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            len if len % 2 == 1 => sorted[len / 2],
            len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
        }
    }

    /// The smallest and the largest; there is at least one.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }

    /// These, round by round, divided by those.
    #[must_use]
    pub fn over(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine / theirs).collect())
    }

    /// These, round by round, less those.
    #[must_use]
    pub fn less(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine - theirs).collect())
    }

    /// How far the rounds are apart, in words: `±3%`.
    #[must_use]
    pub fn spread(&self) -> String {
        let (low, high) = self.range();
        let median = self.median();
        if self.0.is_empty() || median == 0.0 {
            return "±0%".into();
        }
        let spread = f64::max(high - median, median - low) / median.abs() * 100.0;
        format!("±{spread:.0}%")
    }
}

/// Runs every contender once to warm up, then `rounds` times in turn. `lap` runs one of them and says how many seconds it
/// took. One list of samples per contender.
///
/// # Errors
/// The first error of `lap`.
pub fn in_turn<E>(
    rounds: usize,
    contenders: usize,
    mut lap: impl FnMut(usize, Round) -> Result<f64, E>,
) -> Result<Vec<Samples>, E> {
    let mut samples = vec![Samples::default(); contenders];
    for contender in 0..contenders {
        lap(contender, Round::WarmUp)?;
    }
    for _ in 0..rounds {
        for (contender, samples) in samples.iter_mut().enumerate() {
            samples.push(lap(contender, Round::Counted)?);
        }
    }
    Ok(samples)
}

/// Whether a round counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// It does not: caches and pools fill, results are checked.
    WarmUp,
    /// It does.
    Counted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        let samples = Samples::new(vec![3.0, 1.0, 2.0]);
        assert_eq!((samples.median(), samples.range()), (2.0, (1.0, 3.0)));
        assert_eq!(samples.spread(), "±50%");
        assert_eq!(Samples::new(vec![1.0, 2.0]).median(), 1.5);
        assert_eq!(samples.over(&Samples::new(vec![1.0, 2.0, 4.0])), Samples::new(vec![3.0, 0.5, 0.5]));
        assert_eq!(samples.less(&samples), Samples::new(vec![0.0; 3]));
        assert_eq!(Samples::default().spread(), "±0%");
    }

    #[test]
    fn contenders_take_turns() {
        let mut order = Vec::new();
        let samples = in_turn(2, 2, |contender, round| {
            order.push((contender, round == Round::Counted));
            Ok::<_, ()>(order.len() as f64)
        });
        assert_eq!(order, [(0, false), (1, false), (0, true), (1, true), (0, true), (1, true)]);
        assert_eq!(samples, Ok(vec![Samples::new(vec![3.0, 5.0]), Samples::new(vec![4.0, 6.0])]));
        assert_eq!(in_turn(2, 2, |_, _| Err::<f64, _>("broken")), Err("broken"));
    }

    #[test]
    fn work_takes_time() {
        let mut watch = Stopwatch::default();
        let mut sum = 0_u64;
        watch.time(|| (0..1_000_000_u64).for_each(|number| sum = core::hint::black_box(sum ^ number)));
        assert!(watch.total() > Duration::ZERO);
    }
}
