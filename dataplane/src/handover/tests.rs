//! Workers on real umem views and made-up ports, in one thread (so that a seed decides who works when) and in several.

use std::collections::{HashMap, VecDeque};

use af_xdp::Umem;

use super::*;
use crate::port::xdp::UmemMemory;

const KEY: [u8; 16] = [9; 16];
const CHUNKS: u32 = 256;
const RESERVE: usize = 16;

/// One worker without an engine: what is its own it keeps, forwards or drops, as a seed says.
struct Station {
    pool: Pool<UmemMemory>,
    exchange: Exchange<af_xdp::Chunk>,
    /// Remembered, as a session's frames are until they are acknowledged.
    kept: VecDeque<Frame>,
}

fn stations(count: u32, len: usize) -> Vec<Station> {
    let (_umem, mut all) = Umem::new(2048, CHUNKS * count).unwrap();
    let config = HandOverConfig { len, reserve: RESERVE, chunk_count: (CHUNKS * count) as usize };
    let members = members(&Owners::new(count, &KEY), &config).unwrap();
    let station = |(number, member)| {
        let first = number as u32 * CHUNKS;
        let pool = UmemMemory::pool(all.split(first..first + CHUNKS));
        Station { pool, exchange: Exchange::new(member, 64), kept: VecDeque::new() }
    };
    members.into_iter().enumerate().map(station).collect()
}

/// A frame of session `session`, whose clients have an address each, with a number.
fn fill(octets: &mut [u8], session: u8, number: u32) {
    octets.fill(0);
    octets[12..14].copy_from_slice(&[8, 0]);
    octets[14] = 0x45;
    octets[23] = 6;
    octets[26..34].copy_from_slice(&[192, 0, 2, session, 198, 51, 100, 25]);
    octets[34..38].copy_from_slice(&number.to_be_bytes());
}

fn read(octets: &[u8]) -> (u8, u32) {
    (octets[29], u32::from_be_bytes(octets[34..38].try_into().unwrap()))
}

fn owner(session: u8, count: u32) -> usize {
    let mut octets = [0; 60];
    fill(&mut octets, session, 0);
    Owners::new(count, &KEY).of(&octets).unwrap()
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

impl Station {
    fn receive(&mut self, session: u8, number: u32, into: &mut Vec<Frame>) -> bool {
        let Some(mut frame) = self.pool.alloc(256, 60) else { return false };
        fill(self.pool.bytes_mut(&mut frame), session, number);
        into.push(frame);
        true
    }

    fn exchange(&mut self, side: PortId, frames: &mut Vec<Frame>, limit: usize) {
        self.exchange.exchange(side, &mut self.pool, frames, limit);
    }

    fn settle(&mut self) {
        self.exchange.settle(&mut self.pool);
    }

    fn counts(&self) -> HandOverCounts {
        HandOver::<UmemMemory>::counts(&self.exchange)
    }
}

/// Random schedules: workers receive, work, keep and free in any order. What comes out is in order within each direction of each
/// session, at the owner, and every frame is accounted for.
#[test]
fn frames_are_neither_lost_nor_reordered_nor_made() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let count = 2 + dice.below(3) as u32;
        let len = 4 + dice.below(64) as usize;
        let mut stations = stations(count, len);
        let mut next: HashMap<(PortId, u8), u32> = HashMap::new();
        let mut seen: HashMap<(PortId, u8), u32> = HashMap::new();
        let (mut came, mut came_out) = (0, 0);
        for _ in 0..400 {
            let worker = dice.below(u64::from(count)) as usize;
            for side in PortId::ALL {
                let mut frames = Vec::new();
                for _ in 0..dice.below(8) {
                    // The queue that a direction comes by is the card's choice, and stays.
                    let session = dice.below(12) as u8;
                    let queue = (u64::from(session) * 7 + side.index() as u64 * 3) % u64::from(count);
                    let number = next.entry((side, session)).or_default();
                    if queue as usize == worker && stations[worker].receive(session, *number, &mut frames) {
                        *number += 1;
                        came += 1;
                    }
                }
                stations[worker].exchange(side, &mut frames, 8);
                for frame in frames {
                    let (session, number) = read(stations[worker].pool.bytes(&frame));
                    assert_eq!(owner(session, count), worker, "seed {seed}: at its owner");
                    let last = seen.entry((side, session)).or_default();
                    assert!(number >= *last, "seed {seed}: {number} after {last}");
                    *last = number + 1;
                    came_out += 1;
                    if dice.below(2) == 0 {
                        stations[worker].kept.push_back(frame);
                    }
                }
            }
            let keeps = dice.below(48) as usize;
            let kept = &mut stations[worker].kept;
            kept.drain(..kept.len().saturating_sub(keeps));
            if dice.below(3) > 0 {
                stations[worker].settle();
            }
        }
        let counts: Vec<_> = stations.iter().map(Station::counts).collect();
        let given: u64 = counts.iter().map(|count| count.given).sum();
        let taken: u64 = counts.iter().map(|count| count.taken).sum();
        let dropped: u64 = counts.iter().map(|count| count.dropped).sum();
        assert_eq!(
            came,
            came_out + (given - taken) + dropped,
            "seed {seed}: in = out + on their way + dropped"
        );
        assert!(given > 0 && taken > 0, "seed {seed}: nothing was handed over");

        // All is freed and settled: every chunk is somewhere, nobody is short by a batch with anybody.
        for _ in 0..64 {
            for station in &mut stations {
                station.kept.clear();
                for side in PortId::ALL {
                    let mut frames = Vec::new();
                    station.exchange(side, &mut frames, 64);
                }
                station.settle();
            }
        }
        let free: usize = stations.iter().map(|station| station.pool.free_count()).sum();
        assert_eq!(free, (CHUNKS * count) as usize, "seed {seed}: every chunk is free");
        for station in &stations {
            let surplus = station.counts().surplus;
            let short = station.pool.free_count() as i64 - i64::from(CHUNKS);
            assert_eq!(short, surplus, "seed {seed}: the accounts are true");
            assert!(surplus.unsigned_abs() < BATCH as u64 * u64::from(count), "seed {seed}: {surplus}");
        }
    }
}

/// One worker receives, another owns: a hundred times as many frames as there are chunks pass, though the owner always
/// remembers some.
#[test]
fn a_long_one_way_transfer_runs_nobody_dry() {
    let mut stations = stations(2, 64);
    let session = (0..=255).find(|session| owner(*session, 2) == 1).unwrap();
    let mut number = 0;
    let mut expected = 0;
    let mut least = usize::MAX;
    while number < CHUNKS * 100 {
        let [receiver, owner] = &mut stations[..] else { unreachable!("two were made") };
        let mut frames = Vec::new();
        for _ in 0..32 {
            assert!(receiver.receive(session, number, &mut frames), "the receiver ran dry at {number}");
            number += 1;
        }
        least = least.min(receiver.pool.free_count());
        receiver.exchange(PortId::A, &mut frames, 32);
        receiver.settle();
        assert!(frames.is_empty());
        owner.exchange(PortId::A, &mut frames, 32);
        for frame in frames {
            assert_eq!(read(owner.pool.bytes(&frame)), (session, expected));
            expected += 1;
            owner.kept.push_back(frame);
        }
        let excess = owner.kept.len().saturating_sub(100);
        owner.kept.drain(..excess);
        owner.settle();
    }
    assert_eq!((expected, stations[0].counts().dropped), (number, 0));
    assert!(least >= CHUNKS as usize / 2, "only {least} were free");
    assert!(stations[1].counts().returned >= u64::from(number - CHUNKS));
}

#[test]
fn a_full_queue_drops_and_counts_and_loses_no_chunk() {
    let mut stations = stations(2, 4);
    let session = (0..=255).find(|session| owner(*session, 2) == 1).unwrap();
    let mut frames = Vec::new();
    for number in 0..10 {
        assert!(stations[0].receive(session, number, &mut frames));
    }
    stations[0].exchange(PortId::B, &mut frames, 64);
    let counts = stations[0].counts();
    assert_eq!((counts.given, counts.dropped, counts.surplus), (4, 6, -4));
    assert_eq!(stations[0].pool.free_count(), CHUNKS as usize - 4);
}

#[test]
fn a_sleeper_is_woken_by_what_is_handed_to_it_and_only_then() {
    let mut stations = stations(2, 4);
    let session = (0..=255).find(|session| owner(*session, 2) == 1).unwrap();
    let [giver, sleeper] = &mut stations[..] else { unreachable!("two were made") };
    let rings = |sleeper: &Station| {
        let bell = HandOver::<UmemMemory>::bell(&sleeper.exchange);
        let mut descriptors = [rustix::event::PollFd::from_borrowed_fd(bell, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut descriptors, Some(&rustix::event::Timespec::default())).unwrap() == 1
    };
    let give = |giver: &mut Station| {
        let mut frames = Vec::new();
        assert!(giver.receive(session, 0, &mut frames));
        giver.exchange(PortId::A, &mut frames, 4);
    };
    give(giver);
    assert!(!rings(sleeper), "it was awake");
    assert!(!HandOver::<UmemMemory>::lie_down(&mut sleeper.exchange), "something is there");
    let mut frames = Vec::new();
    sleeper.exchange(PortId::A, &mut frames, 4);
    assert_eq!(frames.len(), 1);
    assert!(HandOver::<UmemMemory>::lie_down(&mut sleeper.exchange) && !rings(sleeper));
    give(giver);
    give(giver);
    assert!(rings(sleeper));
    HandOver::<UmemMemory>::get_up(&mut sleeper.exchange);
    assert!(!rings(sleeper), "silenced");
    assert_eq!(giver.counts().rung, 1);
}

#[test]
fn nobody_is_done_before_all_are() {
    let mut stations = stations(2, 4);
    let done = |station: &mut Station, done| HandOver::<UmemMemory>::all_done(&mut station.exchange, done);
    assert!(!done(&mut stations[0], true));
    assert!(!done(&mut stations[1], false));
    assert!(!done(&mut stations[0], true));
    assert!(done(&mut stations[1], true) && done(&mut stations[0], true));
}

/// Real threads: each both receives and owns, and sleeps when there is nothing.
#[test]
fn threads_hand_over_without_loss_or_disorder() {
    const FRAMES: u32 = 50_000;
    const SESSIONS: u8 = 16;
    let (_umem, mut all) = Umem::new(2048, CHUNKS * 2).unwrap();
    let config =
        HandOverConfig { len: CHUNKS as usize * 2, reserve: RESERVE, chunk_count: CHUNKS as usize * 2 };
    let members = members(&Owners::new(2, &KEY), &config).unwrap();
    let views = [all.split(0..CHUNKS), all.split(CHUNKS..CHUNKS * 2)];
    let threads: Vec<_> = members
        .into_iter()
        .zip(views)
        .enumerate()
        .map(|(me, (member, view))| {
            std::thread::spawn(move || {
                let exchange = Exchange::new(member, 64);
                let mut station = Station { pool: UmemMemory::pool(view), exchange, kept: VecDeque::new() };
                let mut next = [0_u32; SESSIONS as usize];
                let mut seen: HashMap<u8, u32> = HashMap::new();
                let (mut came, mut came_out) = (0_u64, 0_u64);
                let mut frames = Vec::new();
                loop {
                    let left = came < u64::from(FRAMES);
                    for burst in 0..if left { 16 } else { 0 } {
                        // Half of the sessions come by this worker's queue.
                        let session = (burst % (SESSIONS / 2)) * 2 + me as u8;
                        let number = &mut next[usize::from(session)];
                        if station.receive(session, *number, &mut frames) {
                            *number += 1;
                            came += 1;
                        }
                    }
                    station.exchange(PortId::A, &mut frames, 64);
                    let idle = frames.is_empty();
                    for frame in frames.drain(..) {
                        let (session, number) = read(station.pool.bytes(&frame));
                        assert_eq!(owner(session, 2), me);
                        let last = seen.entry(session).or_default();
                        assert!(number >= *last, "{session}: {number} after {last}");
                        *last = number + 1;
                        came_out += 1;
                    }
                    station.settle();
                    if HandOver::<UmemMemory>::all_done(&mut station.exchange, !left) {
                        return (came, came_out, station.counts());
                    }
                    if idle && HandOver::<UmemMemory>::lie_down(&mut station.exchange) {
                        let bell = HandOver::<UmemMemory>::bell(&station.exchange);
                        let mut one =
                            [rustix::event::PollFd::from_borrowed_fd(bell, rustix::event::PollFlags::IN)];
                        let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
                        rustix::event::poll(&mut one, Some(&limit)).unwrap();
                        HandOver::<UmemMemory>::get_up(&mut station.exchange);
                    }
                }
            })
        })
        .collect();
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let sum = |value: fn(&(u64, u64, HandOverCounts)) -> u64| results.iter().map(value).sum::<u64>();
    let on_their_way = sum(|result| result.2.given) - sum(|result| result.2.taken);
    assert_eq!(on_their_way, 0);
    assert_eq!(sum(|result| result.0), sum(|result| result.1));
    assert_eq!(sum(|result| result.2.dropped), 0, "there is room for every chunk");
    assert!(sum(|result| result.2.given) > u64::from(FRAMES) / 4);
}
