//! How long an idle worker looks for frames before it sleeps.
//!
//! To sleep costs the next frame a wake-up; to look costs the core. Looking pays where the next frame is likely to come soon
//! and nobody else wants the core. So a worker looks, for [`Limits::spin_micros`] at most, as long as
//!
//! - lately the next frame came, on average, within that time, whether the worker looked or slept; and
//! - no other thread ran in its place while it looked. Where that happens the core is shared, with the ends of the connections
//!   on a small machine, and who looks there only keeps them from sending. It then sleeps at once for a while, for longer each time.
//!
//! That another thread ran shows on the worker's own clock: two looks are then far apart. It takes no system call.
//!
//! [`Limits::spin_micros`]: crate::limits::Limits::spin_micros

use std::time::Duration;

use inspect::unit::Instant;

/// Two looks farther apart than this: another thread ran between them. A look that finds nothing takes a fifth of a microsecond.
const SWITCHED: Duration = Duration::from_micros(25);
/// How long it does not look after that, the first time and at most.
const PENALTY: [Duration; 2] = [Duration::from_millis(2), Duration::from_secs(1)];
/// Looks in a row that found frames undisturbed, after which the next penalty is the first again.
const FORGIVEN: u32 = 1024;
/// Of the limit: longer idle times count as so long, so that a single one is soon outweighed.
const LONGEST: u32 = 8;
/// The average follows an idle time by one part in so many.
const WEIGHT: u32 = 8;

/// Decides whether to look or to sleep.
#[derive(Debug)]
pub struct Spin {
    limit: Duration,
    /// How long it was idle, on average.
    idle: Duration,
    since: Option<Instant>,
    /// When it last looked, while it looks.
    looked: Option<Instant>,
    not_before: Instant,
    penalty: Duration,
    undisturbed: u32,
}

impl Spin {
    /// For a worker that looks for at most `limit`; it never does where that is 0.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            idle: Duration::ZERO,
            since: None,
            looked: None,
            not_before: Instant::ZERO,
            penalty: PENALTY[0],
            undisturbed: 0,
        }
    }

    /// There were frames.
    pub fn found(&mut self, now: Instant) {
        let Some(since) = self.since.take() else { return };
        let idle = now.since(since).min(self.limit * LONGEST);
        self.idle = (self.idle * (WEIGHT - 1) + idle) / WEIGHT;
        if self.looked.is_some() && !self.disturbed(now) {
            self.undisturbed += 1;
            if self.undisturbed >= FORGIVEN {
                self.penalty = PENALTY[0];
            }
        }
        self.looked = None;
    }

    /// There was none; whether to look again at once rather than sleep.
    pub fn look_again(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert_with(|| {
            let pays = self.idle < self.limit && now >= self.not_before;
            self.looked = pays.then_some(now);
            now
        });
        if self.looked.is_none() {
            return false;
        }
        let again = !self.disturbed(now) && now.since(since) < self.limit;
        self.looked = again.then_some(now);
        again
    }

    /// The worker did something else until `now`.
    pub fn resume(&mut self, now: Instant) {
        self.looked = self.looked.and(Some(now));
    }

    /// Whether another thread ran since the last look.
    fn disturbed(&mut self, now: Instant) -> bool {
        let disturbed = self.looked.is_some_and(|looked| now.since(looked) > SWITCHED);
        if disturbed {
            self.not_before = now + self.penalty;
            self.penalty = (self.penalty * 2).min(PENALTY[1]);
            self.undisturbed = 0;
        }
        disturbed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    /// Idle for `nanos` from `start`, with a look every microsecond; how many looks there were before it slept or found.
    fn idle(spin: &mut Spin, start: u64, nanos: u64) -> u64 {
        let mut looks = 0;
        while looks * 1000 < nanos && spin.look_again(at(start + looks * 1000)) {
            looks += 1;
        }
        spin.found(at(start + nanos));
        looks
    }

    #[test]
    fn it_looks_while_frames_come_soon() {
        let mut spin = Spin::new(Duration::from_micros(50));
        let mut now = 0;
        for _ in 0..100 {
            assert_eq!(idle(&mut spin, now, 20_000), 20);
            now += 100_000;
        }
        // They come late: after a few times it does not look any more.
        let looks: Vec<_> =
            (0..10).map(|round| idle(&mut spin, now + round * 10_000_000, 5_000_000)).collect();
        assert!(looks[0] == 50 && looks[9] == 0, "{looks:?}");
        now += 100_000_000;
        // Soon again: it notices although it sleeps.
        let looks: Vec<_> = (0..40).map(|round| idle(&mut spin, now + round * 100_000, 20_000)).collect();
        assert!(looks[0] == 0 && looks[39] == 20, "{looks:?}");
    }

    #[test]
    fn where_somebody_else_runs_it_sleeps_for_longer_and_longer() {
        let mut spin = Spin::new(Duration::from_micros(50));
        let mut now = 0;
        let mut tries = 0;
        // Ten seconds of frames every 40 microseconds, with another thread in between whenever it looks.
        while now < 10_000_000_000 {
            if spin.look_again(at(now)) {
                tries += 1;
            }
            now += 30_000;
            spin.found(at(now));
            now += 10_000;
        }
        assert!((10..30).contains(&tries), "{tries}");
    }

    #[test]
    fn what_the_worker_does_itself_is_no_disturbance() {
        let mut spin = Spin::new(Duration::from_micros(50));
        assert!(spin.look_again(at(0)));
        spin.resume(at(30_000));
        assert!(spin.look_again(at(31_000)));
        assert!(!spin.look_again(at(61_000)), "this is one");
    }

    #[test]
    fn with_a_limit_of_nothing_it_never_looks() {
        let mut spin = Spin::new(Duration::ZERO);
        assert_eq!((0..10).map(|round| idle(&mut spin, round * 10_000, 1_000)).sum::<u64>(), 0);
    }
}
