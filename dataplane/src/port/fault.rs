//! A port that loses, repeats and reorders what it receives, in a way that a seed decides: for tests.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use inspect::frame::{Frame, Memory, Pool, Sealed};

use super::{Level, Port};

/// How often what happens, in frames of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Frames lost.
    pub loss: u32,
    /// Frames received twice.
    pub duplication: u32,
    /// Frames received after their successor.
    pub reordering: u32,
}

/// A wrapper around another port that mistreats its received frames.
#[derive(Debug)]
pub struct FaultPort<P> {
    inner: P,
    rates: Rates,
    random: u64,
    received: Vec<Frame>,
    held: Option<Frame>,
}

impl<P> FaultPort<P> {
    /// Mistreats what `inner` receives; the same seed gives the same faults.
    #[must_use]
    pub fn new(inner: P, rates: Rates, seed: u64) -> Self {
        Self { inner, rates, random: seed, received: Vec::new(), held: None }
    }

    /// Whether something that happens `rate` times in 1000 happens now.
    fn happens(&mut self, rate: u32) -> bool {
        // SplitMix64: small, and good enough to throw dice with.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 1000 < u64::from(rate)
    }
}

impl<M: Memory, P: Port<M>> Port<M> for FaultPort<P> {
    fn receive(&mut self, pool: &mut Pool<M>, into: &mut Vec<Frame>, limit: usize) -> io::Result<usize> {
        let before = into.len();
        // A copy and a frame that was held can come on top: leave room for them.
        self.inner.receive(pool, &mut self.received, (limit / 2).max(1))?;
        for frame in std::mem::take(&mut self.received) {
            if self.happens(self.rates.loss) {
                continue;
            }
            if self.happens(self.rates.duplication)
                && let Some(mut copy) = pool.alloc(0, frame.len())
            {
                let octets = pool.bytes(&frame).to_vec();
                pool.bytes_mut(&mut copy).copy_from_slice(&octets);
                into.push(copy);
            }
            if self.held.is_none() && self.happens(self.rates.reordering) {
                self.held = Some(frame);
                continue;
            }
            into.push(frame);
            into.extend(self.held.take());
        }
        // Nobody came to overtake it.
        if into.len() == before {
            into.extend(self.held.take());
        }
        Ok(into.len() - before)
    }

    fn transmit(&mut self, pool: &Pool<M>, frame: Sealed) -> Result<(), Sealed> {
        self.inner.transmit(pool, frame)
    }

    fn flush(&mut self, pool: &mut Pool<M>) -> io::Result<()> {
        self.inner.flush(pool)
    }

    fn wait(ports: [&Self; 2], bell: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<()> {
        // A held frame must not wait for a wake-up that may never come.
        let limit = if ports.iter().any(|port| port.held.is_some()) { Duration::ZERO } else { limit };
        P::wait(ports.map(|port| &port.inner), bell, limit)
    }

    fn level(&self) -> Level {
        self.inner.level()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::MemoryPort;
    use inspect::frame::VecMemory;

    fn run(rates: Rates, seed: u64) -> Vec<u8> {
        let mut pool = VecMemory::pool(512, 8);
        let (port, far) = MemoryPort::new(512);
        let mut port = FaultPort::new(port, rates, seed);
        let mut order = Vec::new();
        for octet in 0..200 {
            far.push(&mut pool, &[octet]);
        }
        for _ in 0..100 {
            let mut frames = Vec::new();
            port.receive(&mut pool, &mut frames, 8).unwrap();
            order.extend(frames.iter().map(|frame| pool.bytes(frame)[0]));
        }
        order
    }

    #[test]
    fn without_faults_nothing_changes() {
        assert_eq!(run(Rates::default(), 1), (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn each_fault_does_what_it_says_and_a_seed_repeats_it() {
        let lost = run(Rates { loss: 200, ..Rates::default() }, 1);
        assert!((120..190).contains(&lost.len()) && lost.is_sorted(), "{}", lost.len());
        let doubled = run(Rates { duplication: 200, ..Rates::default() }, 1);
        assert!((210..280).contains(&doubled.len()) && doubled.is_sorted(), "{}", doubled.len());
        let mut reordered = run(Rates { reordering: 200, ..Rates::default() }, 1);
        assert!(!reordered.is_sorted());
        assert_eq!(reordered, run(Rates { reordering: 200, ..Rates::default() }, 1));
        reordered.sort_unstable();
        assert_eq!(reordered, (0..200).collect::<Vec<u8>>(), "nothing is lost");
    }
}
