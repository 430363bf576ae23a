//! Says when something is due for a flow.
//!
//! A hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987): a tick is one
//! millisecond, and each of eight levels has 64 lists, of 1 ms, 64 ms, 4 s, 4.4 min, 4.7 h, … each. A deadline is in the
//! level of the highest group of six bits in which it differs from the wheel's time, so it is within the list of that
//! level, and comes down a level each time the wheel reaches its list. Eight levels cover every [`Instant`].
//! A bitmap per level lets time jump over what is empty.
//!
//! One timer per flow. To schedule, to schedule anew and to cancel cost the same for any number of timers; nothing is
//! allocated after the start. Who expects many changes (an idle timeout at every segment) does best to note the deadline
//! in the flow, leave the timer, and schedule anew when it fires too early.

use super::FlowIndex;
use crate::unit::Instant;

/// Nanoseconds of a tick.
const TICK_NANOS: u64 = 1_000_000;
/// Bits of a deadline that choose a list within a level.
const LEVEL_BITS: u32 = 6;
const LISTS_PER_LEVEL: usize = 1 << LEVEL_BITS;
/// 2^64 nanoseconds are fewer than 2^45 ticks.
const LEVEL_COUNT: usize = 8;
const LIST_COUNT: usize = LEVEL_COUNT * LISTS_PER_LEVEL;

/// Timers that [`Wheel::pop`] may move to a lower level in one call.
pub const MOVES_PER_POP: usize = 256;

/// Timers of flows, one for each slot of a [`super::Table`].
pub struct Wheel {
    /// First the heads of the lists, then a node for each slot. A list is a ring through its head.
    nodes: Box<[Node]>,
    /// Bit `n` of level `l` is set if list `n` there is not empty.
    occupied: [u64; LEVEL_COUNT],
    /// The wheel's time in ticks: no timer is due before it. Those in the past are due at it.
    time: u64,
    /// The level whose list at the wheel's time is being moved down, 0 when none is. The list may be empty already.
    descending: usize,
    len: usize,
}

#[derive(Clone, Copy)]
struct Node {
    /// Tick at which it is due.
    due: u64,
    /// Of the flow that scheduled it.
    generation: u32,
    next: u32,
    /// Itself when it is in no list.
    previous: u32,
}

impl core::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Wheel").field("len", &self.len).field("time", &self.time).finish_non_exhaustive()
    }
}

impl Wheel {
    /// A wheel without timers for the flows of a table of `limit` flows, at most 2^30.
    ///
    /// # Panics
    /// When the limit is larger.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        assert!(limit <= 1 << 30, "a wheel for at most 2^30 flows");
        let nodes = (0..LIST_COUNT + limit.max(1))
            .map(|at| Node { due: 0, generation: 0, next: at as u32, previous: at as u32 })
            .collect();
        Self { nodes, occupied: [0; LEVEL_COUNT], time: 0, descending: 0, len: 0 }
    }

    /// Timers that are scheduled.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Schedules the flow's timer, in place of when it was scheduled before. It is never due early, and at most a tick
    /// late.
    ///
    /// # Panics
    /// When the flow is of a larger table: a bug of the caller.
    pub fn schedule(&mut self, flow: FlowIndex, due: Instant) {
        let at = node_of(flow);
        if self.is_scheduled(at) {
            self.unlink(at);
        } else {
            self.len += 1;
        }
        self.nodes[at].generation = flow.generation;
        self.nodes[at].due = due.as_nanos().div_ceil(TICK_NANOS);
        self.link(at);
    }

    /// Takes the flow's timer away; returns whether it was scheduled.
    pub fn cancel(&mut self, flow: FlowIndex) -> bool {
        let is_scheduled = self.due(flow).is_some();
        if is_scheduled {
            self.unlink(node_of(flow));
            self.len -= 1;
        }
        is_scheduled
    }

    /// When the flow's timer is due, rounded up to ticks; `None` when it is not scheduled.
    #[must_use]
    pub fn due(&self, flow: FlowIndex) -> Option<Instant> {
        let at = node_of(flow);
        let node = self.nodes.get(at)?;
        let is_its = node.generation == flow.generation && self.is_scheduled(at);
        is_its.then(|| Instant::from_nanos(node.due.saturating_mul(TICK_NANOS)))
    }

    /// The next flow whose timer is due at `now`; it is then scheduled no more. The flow may be gone, if its timer was not
    /// cancelled. Timers that were scheduled for the past come too. The order among those that are due is that of their
    /// ticks, then of any kind.
    ///
    /// A call moves at most [`MOVES_PER_POP`] timers to a lower level. If that is not enough, `None` comes although a
    /// timer is due, and the next call goes on: no call takes long, however many timers there are.
    pub fn pop(&mut self, now: Instant) -> Option<FlowIndex> {
        let mut moves = MOVES_PER_POP;
        self.pop_within(now, &mut moves)
    }

    /// Calls `fire` with each flow whose timer is due at `now`, as [`Wheel::pop`] does; the work (timers fired, or moved to
    /// a lower level) is at most `budget`. Returns whether all that are due were fired; if not, the next call goes on.
    pub fn expire(&mut self, now: Instant, mut budget: usize, mut fire: impl FnMut(FlowIndex)) -> bool {
        while budget > 0 {
            let Some(flow) = self.pop_within(now, &mut budget) else { return budget > 0 };
            fire(flow);
            budget = budget.saturating_sub(1);
        }
        false
    }

    fn pop_within(&mut self, now: Instant, moves: &mut usize) -> Option<FlowIndex> {
        let now = (now.as_nanos() / TICK_NANOS).max(self.time);
        loop {
            while self.descending > 0 {
                if *moves == 0 {
                    return None;
                }
                *moves -= 1;
                self.descend();
            }
            let Some((level, start)) = self.first_list() else {
                self.time = now;
                return None;
            };
            if start > now {
                self.time = now;
                return None;
            }
            self.time = start;
            if level > 0 {
                self.descending = level;
                continue;
            }
            let at = self.nodes[list_at(0, start)].next as usize;
            self.unlink(at);
            self.len -= 1;
            return Some(FlowIndex { slot: (at - LIST_COUNT) as u32, generation: self.nodes[at].generation });
        }
    }

    /// A time before which no timer is due: the first one's, or earlier by less than the width of its list. `None` when
    /// there is none.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let head = list_at(self.descending, self.time);
        let is_descending = self.descending > 0 && self.nodes[head].next as usize != head;
        let start = if is_descending { self.time } else { self.first_list()?.1 };
        Some(Instant::from_nanos(start.saturating_mul(TICK_NANOS)))
    }

    /// Moves one timer of the list at the wheel's time, in the level that is descending, to its place in a lower level.
    fn descend(&mut self) {
        let head = list_at(self.descending, self.time);
        let at = self.nodes[head].next as usize;
        if at == head {
            self.descending = 0;
            return;
        }
        self.unlink(at);
        self.link(at);
    }

    /// Level and first tick of the list that is due first. A level's timers are all due before those of the next level,
    /// and the lists before the wheel's time are empty.
    fn first_list(&self) -> Option<(usize, u64)> {
        for (level, &occupied) in self.occupied.iter().enumerate() {
            if occupied != 0 {
                let shift = level as u32 * LEVEL_BITS;
                let above = self.time >> shift >> LEVEL_BITS << LEVEL_BITS;
                let start = (above | u64::from(occupied.trailing_zeros())) << shift;
                return Some((level, start));
            }
        }
        None
    }

    /// Puts a node that is in no list into that of its tick.
    fn link(&mut self, at: usize) {
        let due = self.nodes[at].due.max(self.time);
        let level = (63 - (due ^ self.time | 1).leading_zeros()) / LEVEL_BITS;
        let head = list_at(level as usize, due);
        let last = self.nodes[head].previous;
        self.nodes[at].next = head as u32;
        self.nodes[at].previous = last;
        self.nodes[last as usize].next = at as u32;
        self.nodes[head].previous = at as u32;
        self.occupied[head / LISTS_PER_LEVEL] |= 1 << (head % LISTS_PER_LEVEL);
    }

    /// Takes a node out of its list.
    fn unlink(&mut self, at: usize) {
        let Node { next, previous, .. } = self.nodes[at];
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        if next == previous {
            // The node was alone with the list's head.
            let head = next as usize;
            self.occupied[head / LISTS_PER_LEVEL] &= !(1 << (head % LISTS_PER_LEVEL));
        }
        self.nodes[at].next = at as u32;
        self.nodes[at].previous = at as u32;
    }

    fn is_scheduled(&self, at: usize) -> bool {
        self.nodes[at].next as usize != at
    }
}

/// The node of a flow.
fn node_of(flow: FlowIndex) -> usize {
    LIST_COUNT + flow.slot()
}

/// The head of the list of a tick in a level.
fn list_at(level: usize, tick: u64) -> usize {
    let list = (tick >> (level as u32 * LEVEL_BITS)) as usize % LISTS_PER_LEVEL;
    level * LISTS_PER_LEVEL + list
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn flow(slot: u32) -> FlowIndex {
        FlowIndex { slot, generation: 7 }
    }

    fn due_at(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        assert!(wheel.expire(now, usize::MAX, |flow| due.push(flow.slot)));
        due
    }

    #[test]
    fn never_early_and_at_most_a_tick_late() {
        let mut wheel = Wheel::new(4);
        wheel.schedule(flow(0), Instant::from_nanos(1));
        wheel.schedule(flow(1), Instant::from_nanos(1_000_000));
        wheel.schedule(flow(2), Instant::from_nanos(1_000_001));
        assert_eq!(due_at(&mut wheel, Instant::from_nanos(999_999)), [0_u32; 0]);
        assert_eq!(due_at(&mut wheel, Instant::from_nanos(1_000_000)), [0, 1]);
        assert_eq!(due_at(&mut wheel, Instant::from_nanos(1_999_999)), [0_u32; 0]);
        assert_eq!(due_at(&mut wheel, Instant::from_nanos(2_000_000)), [2]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn what_is_in_the_past_is_due_at_once() {
        let mut wheel = Wheel::new(1);
        assert_eq!(due_at(&mut wheel, Instant::from_millis(1_000_000)), [0_u32; 0]);
        wheel.schedule(flow(0), Instant::from_millis(3));
        assert_eq!(due_at(&mut wheel, Instant::from_millis(1_000_000)), [0]);
        wheel.schedule(flow(0), Instant::from_millis(3));
        assert_eq!(due_at(&mut wheel, Instant::from_millis(5)), [0], "even when time goes back");
    }

    #[test]
    fn the_last_instant_there_is() {
        let mut wheel = Wheel::new(2);
        wheel.schedule(flow(0), Instant::from_nanos(u64::MAX));
        wheel.schedule(flow(1), Instant::from_nanos(u64::MAX - 2 * TICK_NANOS));
        assert!(wheel.next_due().is_some());
        assert_eq!(due_at(&mut wheel, Instant::from_nanos(u64::MAX - TICK_NANOS)), [1]);
    }

    #[test]
    fn a_timer_of_another_generation_is_not_touched() {
        let mut wheel = Wheel::new(1);
        let newer = FlowIndex { slot: 0, generation: 8 };
        wheel.schedule(flow(0), Instant::from_millis(5));
        assert!(!wheel.cancel(newer));
        assert_eq!(wheel.due(newer), None);
        wheel.schedule(newer, Instant::from_millis(9));
        assert_eq!((wheel.due(flow(0)), wheel.len()), (None, 1));
        assert_eq!(wheel.pop(Instant::from_millis(9)), Some(newer));
    }

    #[test]
    fn work_is_bounded_however_many_are_due() {
        let count = 10 * MOVES_PER_POP;
        let mut wheel = Wheel::new(count);
        // All in one list of a high level.
        for slot in 0..count as u32 {
            wheel.schedule(flow(slot), Instant::from_millis(100_000_000 + u64::from(slot % 50)));
        }
        let now = Instant::from_millis(100_000_010);
        let mut fired = 0;
        let mut calls = 0;
        while !wheel.expire(now, 100, |_| fired += 1) {
            calls += 1;
            assert!(fired <= calls * 100);
        }
        assert_eq!(fired, count / 50 * 11 + (count % 50).min(11));
        assert!(calls > count / 100);
        // With `pop`, the same at the next descent.
        wheel.schedule(flow(0), Instant::from_millis(100_000_010));
        assert_eq!(wheel.pop(now), Some(flow(0)));
    }

    #[test]
    fn a_list_may_be_emptied_while_it_descends() {
        let mut wheel = Wheel::new(1);
        wheel.schedule(flow(0), Instant::from_millis(557_120));
        assert!(!wheel.expire(Instant::from_millis(557_120), 1, |_| ()), "one move, two are needed");
        assert!(wheel.cancel(flow(0)));
        assert_eq!(wheel.next_due(), None);
        assert_eq!(due_at(&mut wheel, Instant::from_millis(557_120)), [0_u32; 0]);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Schedule(u32, u64),
        Cancel(u32),
        /// Time goes on so many nanoseconds; at most so much work is done.
        Advance(u64, usize),
        Pop,
    }

    /// Spans of every scale: ticks, seconds, hours, years.
    fn span() -> impl Strategy<Value = u64> {
        (0u32..58, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1))
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            5 => (0u32..12, span()).prop_map(|(slot, after)| Op::Schedule(slot, after)),
            1 => (0u32..12).prop_map(Op::Cancel),
            3 => (span(), prop_oneof![Just(usize::MAX), 1usize..6]).prop_map(|(by, budget)| Op::Advance(by, budget)),
            1 => Just(Op::Pop),
        ]
    }

    impl Wheel {
        /// What must hold after every change.
        fn invariants(&self) {
            let mut count = 0;
            for head in 0..LIST_COUNT {
                let (level, list) = (head / LISTS_PER_LEVEL, head % LISTS_PER_LEVEL);
                let mut at = self.nodes[head].next as usize;
                assert_eq!(
                    self.occupied[level] >> list & 1 == 1,
                    at != head,
                    "bitmap of level {level}, list {list}"
                );
                while at != head {
                    let due = self.nodes[at].due.max(self.time);
                    assert_eq!(list_at(level, due), head, "in the list of its tick");
                    let is_at_time = list_at(level, self.time) == head;
                    assert!(
                        level == 0 || !is_at_time || level == self.descending,
                        "only a descending list is late"
                    );
                    let above = (level + 1) as u32 * LEVEL_BITS;
                    assert_eq!(due >> above, self.time >> above, "in the level of the highest difference");
                    assert_eq!(self.nodes[self.nodes[at].next as usize].previous as usize, at);
                    count += 1;
                    at = self.nodes[at].next as usize;
                }
            }
            assert_eq!(count, self.len);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn behaves_as_a_sorted_map(ops in proptest::collection::vec(op(), 1..150)) {
            let mut wheel = Wheel::new(12);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0u64;
            for op in ops {
                match op {
                    Op::Schedule(slot, after) => {
                        let due = now.saturating_add(after);
                        wheel.schedule(flow(slot), Instant::from_nanos(due));
                        model.insert(slot, due.div_ceil(TICK_NANOS));
                        prop_assert_eq!(
                            wheel.due(flow(slot)),
                            Some(Instant::from_nanos(due.div_ceil(TICK_NANOS).saturating_mul(TICK_NANOS)))
                        );
                    }
                    Op::Cancel(slot) => {
                        prop_assert_eq!(wheel.cancel(flow(slot)), model.remove(&slot).is_some());
                        prop_assert_eq!(wheel.due(flow(slot)), None);
                    }
                    Op::Advance(by, budget) => {
                        now = now.saturating_add(by);
                        let mut fired = Vec::new();
                        let is_done = wheel.expire(Instant::from_nanos(now), budget, |flow| fired.push(flow.slot));
                        let mut last = 0;
                        for slot in fired {
                            let due = model.remove(&slot).expect("was scheduled");
                            prop_assert!(due <= now / TICK_NANOS, "early");
                            prop_assert!(due >= last, "out of order");
                            last = due;
                        }
                        if is_done {
                            prop_assert!(model.values().all(|&due| due > now / TICK_NANOS), "late");
                        } else {
                            prop_assert!(budget < usize::MAX);
                        }
                    }
                    Op::Pop => {
                        let first = model.values().min().copied();
                        if let Some(flow) = wheel.pop(Instant::from_nanos(now)) {
                            let due = model.remove(&flow.slot).expect("was scheduled");
                            prop_assert!(Some(due) == first && due <= now / TICK_NANOS);
                        } else {
                            prop_assert!(first.is_none_or(|due| due > now / TICK_NANOS));
                        }
                    }
                }
                wheel.invariants();
                prop_assert_eq!(wheel.len(), model.len());
                match (wheel.next_due(), model.values().min()) {
                    (None, None) => {}
                    (Some(bound), Some(&due)) => {
                        prop_assert!(bound.as_nanos() <= due.max(now / TICK_NANOS).saturating_mul(TICK_NANOS));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
