//! Frames that came to another worker than the one that has their session.
//!
//! A session belongs to one worker ([`Owners`]); where the network card does not bring both its directions to that worker's
//! queues, whoever receives a frame hands it over, chunk and all, and nothing is copied:
//!
//! ```text
//! worker 0: receive ─► whose? ─ mine ────────────────────────────► engine ─► transmit on its own socket of the other port
//!                        └─ worker 1's ─► queue of worker 1, per port
//! worker 1: receive ─► whose? ─ mine ─► then what was handed over ─► engine ─► …
//!           after the burst: as many free chunks back to worker 0 as it has given
//! ```
//!
//! - **Order.** The frames of one direction of a session come by one queue of the card, so one worker hands them over, one
//!   after the other, into one queue; they come out in that order.
//! - **Bounds.** The queues hold a fixed number of frames ([`Limits::handover_len`]). What finds no room is dropped and counted,
//!   like a frame that a ring has no room for; its sender sends it again.
//! - **Balance.** Chunks are all alike. Each worker keeps an account with every other: chunks that came from there, less those
//!   that went. From [`BATCH`] on it gives free chunks back, before its ports may lend them to the kernel, so that no worker
//!   runs dry however long the traffic is one-way. What a session remembers or holds meanwhile is not free, and is settled later.
//! - **Sleep.** A worker without work sleeps in `poll`. Who hands a frame to a sleeping worker rings its bell (an eventfd): one
//!   system call for each sleep, none while it is busy.
//!
//! [`Limits::handover_len`]: crate::limits::Limits::handover_len

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;
use inspect::flow::owner::Owners;
use inspect::frame::{Frame, Memory, Parcel, Pool, Shared};
use inspect::unit::PortId;
use rustix::event::{EventfdFlags, eventfd};

/// Chunks that are given back at once.
pub const BATCH: usize = 32;

/// What was handed over since the start, and what is owed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HandOverCounts {
    /// Frames of other workers' sessions that came here and went there.
    pub given: u64,
    /// Frames of this worker's sessions that came elsewhere.
    pub taken: u64,
    /// Frames that were dropped because the other worker's queue was full.
    pub dropped: u64,
    /// Chunks given back.
    pub returned: u64,
    /// Times another worker was woken.
    pub rung: u64,
    /// Chunks this worker has more than at its start; negative when others have some of its.
    pub surplus: i64,
}

/// A worker's dealings with the other workers; none where it is alone or the network card does it.
pub trait HandOver<M: Memory>: std::fmt::Debug {
    /// Hands over what `frames`, received by port `side`, are not this worker's, and appends what others have handed to it, at
    /// most `limit`. Says how many frames moved.
    fn exchange(&mut self, side: PortId, pool: &mut Pool<M>, frames: &mut Vec<Frame>, limit: usize) -> usize;

    /// Takes back and gives back chunks. Once per burst, before the ports lend free ones to the kernel.
    fn settle(&mut self, pool: &mut Pool<M>);

    /// Announces that this worker is about to sleep; false when it must not, because something is there.
    fn lie_down(&mut self) -> bool;

    /// What becomes readable when another worker has something for a sleeping one.
    fn bell(&self) -> BorrowedFd<'_>;

    /// It sleeps no more.
    fn get_up(&mut self);

    /// Says whether this worker has no session left. The answer: no worker has one, nor a frame on its way. Before that none
    /// may end, since others' frames come to its queues.
    fn all_done(&mut self, done: bool) -> bool;

    /// What was handed over.
    fn counts(&self) -> HandOverCounts;
}

/// A frame in a queue, and whose chunk it takes along.
#[derive(Debug)]
struct Handed<C> {
    parcel: Parcel<C>,
    from: u16,
}

/// Free chunks on their way back.
struct Returned<C> {
    chunks: [C; BATCH],
    from: u16,
}

/// Where one worker is reached.
struct Desk<C> {
    /// By port.
    frames: [ArrayQueue<Handed<C>>; 2],
    chunks: ArrayQueue<Returned<C>>,
    is_asleep: AtomicBool,
    is_done: AtomicBool,
    bell: OwnedFd,
}

impl<C> std::fmt::Debug for Desk<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let frames = self.frames.each_ref().map(ArrayQueue::len);
        f.debug_struct("Desk").field("frames", &frames).finish_non_exhaustive()
    }
}

/// One worker's place among workers that share a umem; goes to its thread.
#[derive(Debug)]
pub struct Member<C> {
    me: usize,
    owners: Owners,
    desks: Arc<[Desk<C>]>,
    /// By worker: chunks that came from there, less those that went there.
    accounts: Box<[i64]>,
    /// Who got something in this burst.
    reached: Box<[bool]>,
    /// Chunks that stay free however much is owed: the engine must be able to answer.
    reserve: usize,
    counts: HandOverCounts,
}

/// How a hand-over is made.
#[derive(Debug, Clone)]
pub struct HandOverConfig {
    /// Frames that one worker may have waiting, per port.
    pub len: usize,
    /// Chunks that each worker keeps free.
    pub reserve: usize,
    /// Chunks there are, of all workers.
    pub chunk_count: usize,
}

/// A place for each of the workers that `owners` shares sessions out among.
///
/// # Errors
/// When the kernel gives no eventfd.
pub fn members<C: Send>(owners: &Owners, config: &HandOverConfig) -> io::Result<Vec<Member<C>>> {
    let count = owners.count();
    let desks: Vec<_> = (0..count)
        .map(|_| {
            Ok(Desk {
                frames: [ArrayQueue::new(config.len.max(1)), ArrayQueue::new(config.len.max(1))],
                // Room for every chunk there is: giving back never fails.
                chunks: ArrayQueue::new(config.chunk_count / BATCH + 1),
                is_asleep: AtomicBool::new(false),
                is_done: AtomicBool::new(false),
                bell: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            })
        })
        .collect::<io::Result<_>>()?;
    let desks: Arc<[_]> = desks.into();
    let member = |me| Member {
        me,
        owners: owners.clone(),
        desks: Arc::clone(&desks),
        accounts: vec![0; count].into(),
        reached: vec![false; count].into(),
        reserve: config.reserve,
        counts: HandOverCounts::default(),
    };
    Ok((0..count).map(member).collect())
}

impl<C: Send> Member<C> {
    fn desk(&self) -> &Desk<C> {
        &self.desks[self.me]
    }

    /// Wakes those who sleep and got something.
    fn ring(&mut self) {
        // The queues are written before the other's flag is read; it does the same the other way round, so at least one of
        // the two sees the other.
        fence(Ordering::SeqCst);
        for (desk, reached) in self.desks.iter().zip(&mut self.reached) {
            let reached = std::mem::take(reached);
            if reached
                && desk.is_asleep.load(Ordering::Relaxed)
                && desk.is_asleep.swap(false, Ordering::Relaxed)
            {
                self.counts.rung += 1;
                // A full counter is a bell that rings already.
                let _ = rustix::io::write(&desk.bell, &1_u64.to_ne_bytes());
            }
        }
    }

    fn is_empty(&self) -> bool {
        let desk = self.desk();
        desk.frames.iter().all(ArrayQueue::is_empty) && desk.chunks.is_empty()
    }
}

/// A worker's [`Member`] in its thread.
#[derive(Debug)]
pub struct Exchange<C> {
    member: Member<C>,
    /// This worker's own, while a burst is sorted.
    own: Vec<Frame>,
}

impl<C> Exchange<C> {
    /// For a worker that takes at most `burst` frames at once.
    #[must_use]
    pub fn new(member: Member<C>, burst: usize) -> Self {
        Self { member, own: Vec::with_capacity(burst * 2) }
    }
}

impl<M: Shared> HandOver<M> for Exchange<M::Chunk> {
    fn exchange(&mut self, side: PortId, pool: &mut Pool<M>, frames: &mut Vec<Frame>, limit: usize) -> usize {
        let Self { member, own } = self;
        let mut moved = 0;
        let mut reached = false;
        for frame in &*frames {
            pool.prefetch_headers(frame);
        }
        for frame in frames.drain(..) {
            let owner = member.owners.of(pool.bytes(&frame)).unwrap_or(member.me);
            if owner == member.me {
                own.push(frame);
                continue;
            }
            let handed = Handed { parcel: pool.give(frame), from: member.me as u16 };
            match member.desks[owner].frames[side.index()].push(handed) {
                Ok(()) => {
                    member.accounts[owner] -= 1;
                    member.counts.given += 1;
                    member.reached[owner] = true;
                    reached = true;
                }
                Err(refused) => {
                    member.counts.dropped += 1;
                    drop(pool.take(refused.parcel));
                }
            }
            moved += 1;
        }
        if reached {
            member.ring();
        }
        std::mem::swap(frames, own);
        for _ in 0..limit {
            let Some(Handed { parcel, from }) = member.desk().frames[side.index()].pop() else { break };
            frames.push(pool.take(parcel));
            member.accounts[usize::from(from)] += 1;
            member.counts.taken += 1;
            moved += 1;
        }
        moved
    }

    fn settle(&mut self, pool: &mut Pool<M>) {
        let Self { member, .. } = self;
        while let Some(Returned { chunks, from }) = member.desk().chunks.pop() {
            for chunk in chunks {
                pool.take_free(chunk);
            }
            member.accounts[usize::from(from)] += BATCH as i64;
        }
        for worker in 0..member.accounts.len() {
            while member.accounts[worker] >= BATCH as i64 && pool.free_count() >= member.reserve + BATCH {
                let chunks = std::array::from_fn(|_| pool.give_free().expect("more than a batch is free"));
                let returned = Returned { chunks, from: member.me as u16 };
                if let Err(refused) = member.desks[worker].chunks.push(returned) {
                    // It has not looked for long; again after the next burst.
                    refused.chunks.into_iter().for_each(|chunk| pool.take_free(chunk));
                    break;
                }
                member.accounts[worker] -= BATCH as i64;
                member.counts.returned += BATCH as u64;
                // Its fill rings may be empty: then nothing else would wake it.
                member.reached[worker] = true;
            }
        }
        if member.reached.contains(&true) {
            member.ring();
        }
    }

    fn lie_down(&mut self) -> bool {
        self.member.desk().is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = self.member.is_empty();
        if !empty {
            self.member.desk().is_asleep.store(false, Ordering::Relaxed);
        }
        empty
    }

    fn bell(&self) -> BorrowedFd<'_> {
        self.member.desk().bell.as_fd()
    }

    fn get_up(&mut self) {
        let desk = self.member.desk();
        if !desk.is_asleep.swap(false, Ordering::Relaxed) {
            // Somebody rang: silence it. Nothing to read is silence, too.
            let _ = rustix::io::read(&desk.bell, &mut [0; 8]);
        }
    }

    fn all_done(&mut self, done: bool) -> bool {
        let done = done && self.member.is_empty();
        self.member.desk().is_done.store(done, Ordering::Release);
        done && self.member.desks.iter().all(|desk| desk.is_done.load(Ordering::Acquire))
    }

    fn counts(&self) -> HandOverCounts {
        HandOverCounts { surplus: self.member.accounts.iter().sum(), ..self.member.counts }
    }
}

#[cfg(test)]
mod tests;
