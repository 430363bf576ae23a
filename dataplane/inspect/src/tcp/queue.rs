//! Frames that a stream keeps: sent and not yet acknowledged, and arrived before their time.

use std::collections::VecDeque;

use crate::frame::{Frame, Memory, Pool, Sealed};
use crate::unit::{Instant, StreamOffset};

/// Octets that left and that the receiver has not acknowledged yet.
#[derive(Debug)]
pub struct Remembered {
    /// Offset of the first.
    pub offset: StreamOffset,
    /// How many.
    pub len: u16,
    /// The receiver has named them in a SACK block.
    pub is_reported: bool,
    store: Store,
}

/// Where remembered octets are.
#[derive(Debug)]
enum Store {
    /// In the very frame that was transmitted, from this position.
    Frame(Sealed, u16),
    /// Copied out because frames were short.
    Copy(Box<[u8]>),
}

impl Remembered {
    /// The octets `start..start + len` of a frame that leaves.
    #[must_use]
    pub fn new(offset: StreamOffset, frame: Sealed, start: u16, len: u16) -> Self {
        Self { offset, len, is_reported: false, store: Store::Frame(frame, start) }
    }

    /// Octets that no frame has.
    #[must_use]
    pub fn copy_of(offset: StreamOffset, bytes: &[u8]) -> Self {
        Self { offset, len: bytes.len() as u16, is_reported: false, store: Store::Copy(bytes.into()) }
    }

    /// Offset behind the last octet.
    #[must_use]
    pub fn end(&self) -> StreamOffset {
        self.offset.advance(usize::from(self.len))
    }

    /// The octets.
    #[must_use]
    pub fn bytes<'a, M: Memory>(&'a self, pool: &'a Pool<M>) -> &'a [u8] {
        match &self.store {
            Store::Frame(frame, start) => &pool.sealed(frame)[usize::from(*start)..][..usize::from(self.len)],
            Store::Copy(bytes) => bytes,
        }
    }

    /// Lets go of the frame and keeps a copy; returns how many octets were copied.
    pub fn copy_out<M: Memory>(&mut self, pool: &Pool<M>) -> usize {
        if matches!(self.store, Store::Copy(_)) {
            return 0;
        }
        self.store = Store::Copy(self.bytes(pool).into());
        usize::from(self.len)
    }
}

impl Remembered {
    /// Octets of its copy, if it is one.
    #[must_use]
    pub fn copied_len(&self) -> usize {
        match &self.store {
            Store::Frame(..) => 0,
            Store::Copy(bytes) => bytes.len(),
        }
    }
}

/// A segment that arrived before octets in front of it.
#[derive(Debug)]
pub struct Held {
    /// Offset of its first octet.
    pub offset: StreamOffset,
    /// Octets, plus one for a FIN.
    pub span: u32,
    /// The frame as received.
    pub frame: Frame,
}

/// The two queues of a stream that is not idle.
#[derive(Debug, Default)]
pub struct Queues {
    /// Ascending and without gaps.
    pub remembered: VecDeque<Remembered>,
    /// Ascending by offset; may overlap.
    pub held: VecDeque<Held>,
    /// What waits, as it is told to the sender.
    pub blocks: Blocks,
    /// What the sender has not been told yet.
    pub owed: Owed,
    /// Octets before this waited here before they were forwarded; the sender may have been told that the receiver has them.
    pub promised: StreamOffset,
    /// What the sender takes for acknowledged, where the receiver has acknowledged more.
    pub shown: Option<StreamOffset>,
    /// The end of what the receiver has named in a SACK block.
    pub reported: StreamOffset,
    /// What was sent again.
    pub repair: Repair,
}

/// Duplicate acknowledgements that wait until the receiver has acknowledged what is in front of the gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owed {
    /// How many, at most as many as make the sender send again (RFC 5681 section 3.2).
    pub count: u8,
    /// Since when, or since when the receiver has said nothing new.
    pub since: Instant,
    /// Times that the sender was told since segments wait.
    pub told: u8,
}

/// What the gateway itself has sent again, of what it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repair {
    /// What was missing before this was sent again.
    pub until: StreamOffset,
    /// What had left when something was last sent again ends here.
    pub left: StreamOffset,
    /// Times that the first segment was sent again without an answer.
    pub tries: u8,
}

/// Blocks that are told to a sender: as many as fit beside timestamps (RFC 2018 section 3).
pub const SACK_LIMIT: usize = 3;

/// A range of octets.
pub type Range = (StreamOffset, StreamOffset);

/// Ranges kept: those that a sender has not been told of are some for each burst.
const RANGES: usize = 32;

/// Ranges of octets that wait, the one that grew last first: "the first SACK block MUST specify the contiguous block of data
/// containing the segment which triggered this ACK" (RFC 2018 section 4), and then those that were reported most recently.
#[derive(Debug, Default)]
pub struct Blocks {
    /// At most [`RANGES`]; without memory of their own until something waits.
    ranges: Vec<Range>,
    /// So many of the first have grown since the sender was told.
    news: usize,
}

impl Blocks {
    /// A segment with these octets waits now, or waited already.
    pub fn add(&mut self, (mut from, mut to): Range) {
        let (mut number, mut news) = (0, 1);
        let before = self.news;
        self.ranges.retain(|(left, right)| {
            let joins = *left <= to && from <= *right;
            if joins {
                (from, to) = (from.min(*left), to.max(*right));
            }
            news += usize::from(number < before && !joins);
            number += 1;
            !joins
        });
        self.ranges.truncate(RANGES - 1);
        self.ranges.insert(0, (from, to));
        self.news = news.min(RANGES);
    }

    /// Those behind `next`, the one that grew last first.
    pub fn behind(&self, next: StreamOffset) -> impl Iterator<Item = Range> + '_ {
        self.ranges.iter().copied().filter(move |(from, _)| *from > next)
    }

    /// How many of those behind `next` have grown since this was asked last: the first ones.
    pub fn news(&mut self, next: StreamOffset) -> usize {
        let news = core::mem::take(&mut self.news);
        self.ranges[..news].iter().filter(|(from, _)| *from > next).count()
    }
}

impl Queues {
    /// Asks for its memory, and does not wait.
    #[inline]
    pub fn prefetch(&self) {
        prefetch_index::prefetch_index(core::slice::from_ref(&self.remembered), 0);
        prefetch_index::prefetch_index(core::slice::from_ref(&self.blocks), 0);
        prefetch_index::prefetch_index(core::slice::from_ref(&self.repair), 0);
    }

    fn is_empty(&self) -> bool {
        self.remembered.is_empty() && self.held.is_empty()
    }

    /// Puts a segment where it belongs; one that adds nothing to a held one is dropped. Returns whether it was
    /// kept.
    pub fn hold(&mut self, held: Held) -> bool {
        self.blocks.add((held.offset, StreamOffset(held.offset.0 + u64::from(held.span))));
        let place = self.held.partition_point(|other| other.offset <= held.offset);
        let covers = |other: &Held| {
            other.offset <= held.offset
                && other.offset.0 + u64::from(other.span) >= held.offset.0 + u64::from(held.span)
        };
        if place > 0 && covers(&self.held[place - 1]) {
            return false;
        }
        self.held.insert(place, held);
        true
    }

    /// The receiver has this range. A block grows at its end, so what is marked already ends the search.
    pub fn report(&mut self, (from, to): Range) {
        self.reported = self.reported.max(to);
        let end = self.remembered.partition_point(|entry| entry.end() <= to);
        let entries = self.remembered.range_mut(..end).rev();
        for entry in entries.take_while(|entry| entry.offset >= from && !entry.is_reported) {
            entry.is_reported = true;
        }
    }

    /// Lets go of what waits, and says how many segments that were.
    pub fn let_go(&mut self) -> usize {
        let count = self.held.len();
        self.held.clear();
        self.blocks.ranges.clear();
        (self.blocks.news, self.owed) = (0, Owed::default());
        count
    }
}

/// Queues that no stream uses at the moment, so that streams which come and go allocate nothing.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "streams keep the box, so that an idle one is a pointer")]
pub struct Spare(Vec<Box<Queues>>);

/// Emptied queues kept for reuse.
const SPARE_LIMIT: usize = 4096;

impl Spare {
    /// Queues for a stream that has something to keep.
    #[inline]
    pub fn take(&mut self) -> Box<Queues> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes a stream's queues if it keeps nothing any more.
    #[inline(always)]
    pub fn reclaim(&mut self, slot: &mut Option<Box<Queues>>) {
        if slot.as_ref().is_some_and(|queues| queues.is_empty())
            && let Some(mut queues) = slot.take()
            && self.0.len() < SPARE_LIMIT
        {
            queues.let_go();
            (queues.promised, queues.reported) = (StreamOffset::default(), StreamOffset::default());
            (queues.shown, queues.repair) = (None, Repair::default());
            self.0.push(queues);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::VecMemory;

    fn held(pool: &mut Pool<VecMemory>, offset: u64, span: u32) -> Held {
        Held { offset: StreamOffset(offset), span, frame: pool.alloc(0, 10).unwrap() }
    }

    #[test]
    fn held_segments_are_sorted_and_reported_latest_first() {
        let mut pool = VecMemory::pool(8, 64);
        let mut queues = Queues::default();
        let behind = |queues: &Queues, next: u64| -> Vec<_> {
            queues.blocks.behind(StreamOffset(next)).take(3).map(|(from, to)| (from.0, to.0)).collect()
        };
        for (offset, span) in [(30, 10), (10, 10), (60, 1), (20, 5)] {
            assert!(queues.hold(held(&mut pool, offset, span)));
        }
        assert_eq!(behind(&queues, 0), [(10, 25), (60, 61), (30, 40)]);
        assert!(!queues.hold(held(&mut pool, 32, 3)), "adds nothing");
        assert_eq!(pool.free_count(), 4, "the useless one went back");
        assert_eq!(behind(&queues, 0), [(30, 40), (10, 25), (60, 61)], "but says what came");
        assert!(queues.hold(held(&mut pool, 80, 1)) && queues.hold(held(&mut pool, 90, 1)));
        assert_eq!(behind(&queues, 0), [(90, 91), (80, 81), (30, 40)]);
        assert_eq!(behind(&queues, 40), [(90, 91), (80, 81), (60, 61)], "older ones are remembered");
        assert!(queues.hold(held(&mut pool, 40, 40)));
        assert_eq!(behind(&queues, 0), [(30, 81), (90, 91), (10, 25)], "a filled gap joins");
        let offsets: Vec<_> = queues.held.iter().map(|held| held.offset.0).collect();
        assert_eq!(offsets, [10, 20, 30, 40, 60, 80, 90]);
        assert_eq!((queues.let_go(), behind(&queues, 0).len(), pool.free_count()), (7, 0, 8));
    }

    #[test]
    fn what_grew_since_the_sender_was_told_is_known() {
        let mut blocks = Blocks::default();
        let at = StreamOffset;
        for from in [10, 30, 50] {
            blocks.add((at(from), at(from + 10)));
        }
        assert_eq!(blocks.news(at(10)), 2, "10 has left");
        assert_eq!(blocks.news(at(0)), 0);
        blocks.add((at(40), at(45)));
        assert_eq!(blocks.behind(at(0)).next(), Some((at(30), at(45))));
        blocks.add((at(70), at(75)));
        blocks.add((at(45), at(50)));
        assert_eq!(blocks.news(at(0)), 2, "two became one, and it is no news twice");
        for number in 1..1000 {
            blocks.add((at(number * 100), at(number * 100 + 1)));
        }
        assert_eq!((blocks.behind(at(0)).count(), blocks.news(at(0))), (RANGES, RANGES));
    }

    #[test]
    fn a_copy_keeps_the_octets_and_frees_the_frame() {
        let mut pool = VecMemory::pool(1, 64);
        let mut frame = pool.alloc(0, 6).unwrap();
        pool.bytes_mut(&mut frame).copy_from_slice(b"HHdata");
        let sealed = pool.seal(frame);
        let mut remembered = Remembered::new(StreamOffset(7), sealed, 2, 4);
        assert_eq!(remembered.bytes(&pool), b"data");
        assert_eq!(remembered.copy_out(&pool), 4);
        assert_eq!(remembered.copy_out(&pool), 0);
        assert_eq!(pool.free_count(), 1);
        assert_eq!(remembered.bytes(&pool), b"data");
        assert_eq!(remembered.end(), StreamOffset(11));
    }
}
