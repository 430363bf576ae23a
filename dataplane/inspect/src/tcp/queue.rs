//! Frames that a stream keeps: sent and not yet acknowledged, and arrived before their time.

use std::collections::VecDeque;

use crate::frame::{Frame, Memory, Pool, Sealed};
use crate::unit::StreamOffset;

/// Octets that left and that the receiver has not acknowledged yet.
#[derive(Debug)]
pub struct Remembered {
    /// Offset of the first.
    pub offset: StreamOffset,
    /// How many.
    pub len: u16,
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
        Self { offset, len, store: Store::Frame(frame, start) }
    }

    /// Octets that no frame has.
    #[must_use]
    pub fn copy_of(offset: StreamOffset, bytes: &[u8]) -> Self {
        Self { offset, len: bytes.len() as u16, store: Store::Copy(bytes.into()) }
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
    pub held: Vec<Held>,
}

impl Queues {
    fn is_empty(&self) -> bool {
        self.remembered.is_empty() && self.held.is_empty()
    }

    /// Puts a segment where it belongs; one that adds nothing to a held one is dropped. Returns whether it was
    /// kept.
    pub fn hold(&mut self, held: Held) -> bool {
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

    /// Ranges of octets that wait, merged, ascending, at most `N`; for SACK blocks.
    #[must_use]
    pub fn held_ranges<const N: usize>(&self) -> ([(StreamOffset, StreamOffset); N], usize) {
        let mut ranges = [(StreamOffset(0), StreamOffset(0)); N];
        let mut count = 0;
        for held in &self.held {
            let end = StreamOffset(held.offset.0 + u64::from(held.span));
            if count > 0 && ranges[count - 1].1 >= held.offset {
                ranges[count - 1].1 = ranges[count - 1].1.max(end);
            } else if count < N {
                ranges[count] = (held.offset, end);
                count += 1;
            } else {
                break;
            }
        }
        (ranges, count)
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
    pub fn take(&mut self) -> Box<Queues> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes a stream's queues if it keeps nothing any more.
    pub fn reclaim(&mut self, slot: &mut Option<Box<Queues>>) {
        if slot.as_ref().is_some_and(|queues| queues.is_empty())
            && let Some(queues) = slot.take()
            && self.0.len() < SPARE_LIMIT
        {
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
    fn held_segments_are_sorted_and_merged_into_ranges() {
        let mut pool = VecMemory::pool(8, 64);
        let mut queues = Queues::default();
        for (offset, span) in [(30, 10), (10, 10), (20, 5), (60, 1)] {
            assert!(queues.hold(held(&mut pool, offset, span)));
        }
        assert!(!queues.hold(held(&mut pool, 12, 3)), "adds nothing");
        let (ranges, count) = queues.held_ranges::<3>();
        let ranges: Vec<_> = ranges[..count].iter().map(|range| (range.0.0, range.1.0)).collect();
        assert_eq!(ranges, [(10, 25), (30, 40), (60, 61)]);
        assert_eq!(pool.free_count(), 4, "the useless one went back");
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
