//! Positions in one direction of a connection.

use super::queue::{Queues, Remembered, Spare};
use super::seq::{SeqNum, unwrap};
use crate::unit::StreamOffset;

/// One direction, from its sender to its receiver.
///
/// Invariant: `acked <= next`, and every octet from `acked` to `next` is remembered, or was [`Stream::carried`].
#[derive(Debug, Default)]
pub struct Stream {
    /// Sequence number of the octet at offset 0: the one after the SYN.
    start: SeqNum,
    /// Octets before this were inspected and forwarded; the first that was not.
    next: StreamOffset,
    /// Octets before this have been acknowledged by the receiver.
    acked: StreamOffset,
    /// Octets before this may be sent, as far as the receiver has said.
    edge: StreamOffset,
    /// A FIN stands behind the last octet, and it was forwarded.
    pub finished: bool,
    /// The receiver has acknowledged the FIN.
    pub finish_acked: bool,
    /// Octets that the *receiver* takes in one segment.
    pub segment_limit: u16,
    /// Shift of the windows that the *receiver* advertises.
    pub window_shift: u8,
    /// Window as the *sender* last advertised it (unscaled), for segments made in its name.
    pub window: u16,
    /// Timestamp value that the sender last sent in order, for segments made in its name and echoes to it.
    pub timestamp: u32,
    /// The newest one that left, in order or not: some stacks echo that.
    pub newest_timestamp: u32,
    /// Frames kept; `None` while there is none.
    pub queues: Option<Box<Queues>>,
}

/// Where a segment stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Octets in front of it are missing; its offset.
    Ahead(StreamOffset),
    /// It continues the stream, or would if it were longer: this many of its first octets were
    /// acknowledged already, then this many forwarded already; the rest, if any, is new.
    Here {
        /// Octets the receiver has acknowledged.
        acked: usize,
        /// Octets after those that were forwarded and are remembered.
        forwarded: usize,
        /// Where the first octet stands that was not acknowledged.
        start: StreamOffset,
    },
    /// So far away that no honest sender can mean it.
    Outside,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckEffect {
    /// It acknowledged something for the first time.
    Advanced,
    /// Nothing new.
    Repeated,
    /// It acknowledges what was never forwarded.
    Unsent,
    /// It is older than anything that can still be under way (RFC 5961 section 5.2).
    Ancient,
}

/// Octets behind the acknowledged ones that a retransmission may reach back: more than any window.
const MAX_REACH_BACK: i64 = 1 << 30;

impl Stream {
    /// A stream whose SYN had this sequence number.
    #[must_use]
    pub fn new(syn_seq: u32) -> Self {
        Self { start: SeqNum(syn_seq).add(1), segment_limit: u16::MAX, ..Self::default() }
    }

    /// Whether a SYN with this sequence number is the one that the stream began with.
    #[must_use]
    pub fn began_with(&self, syn_seq: u32) -> bool {
        SeqNum(syn_seq).add(1) == self.start
    }

    /// The first offset that was not forwarded.
    #[must_use]
    pub fn next(&self) -> StreamOffset {
        self.next
    }

    /// The first offset that was not acknowledged.
    #[must_use]
    pub fn acked(&self) -> StreamOffset {
        self.acked
    }

    /// Sequence number of an offset.
    #[must_use]
    pub fn seq(&self, offset: StreamOffset) -> u32 {
        self.start.add(offset.0).0
    }

    /// The number the receiver acknowledges when it has everything that was forwarded, FIN included.
    #[must_use]
    pub fn end_seq(&self) -> u32 {
        self.start.add(self.next.0 + u64::from(self.finished)).0
    }

    /// Offset of a sequence number, if it is one of what was forwarded or the one behind.
    #[must_use]
    pub fn offset_of(&self, seq: u32) -> Option<StreamOffset> {
        let offset = StreamOffset(u64::try_from(self.position(seq)).ok()?);
        (offset <= self.next).then_some(offset)
    }

    /// Signed offset of a sequence number, seen from the next octet.
    fn position(&self, seq: u32) -> i64 {
        unwrap(SeqNum(seq), self.start.add(self.next.0), self.next)
    }

    /// Where a segment with this sequence number and so many octets stands.
    #[must_use]
    pub fn place(&self, seq: u32, len: usize) -> Placement {
        let position = self.position(seq);
        let (next, acked) = (self.next.0 as i64, self.acked.0 as i64);
        if position > next {
            // A sender may not go beyond the window; a probe of a closed window is one octet.
            if position > (self.edge.0 as i64).max(next) + 1 {
                return Placement::Outside;
            }
            return Placement::Ahead(StreamOffset(position as u64));
        }
        if position < acked - MAX_REACH_BACK {
            return Placement::Outside;
        }
        let old = (next - position).min(len as i64);
        let acked = (acked - position).clamp(0, old);
        let start = StreamOffset((position + acked).max(0) as u64);
        Placement::Here { acked: acked as usize, forwarded: (old - acked) as usize, start }
    }

    /// Whether `seq` is behind all that was forwarded.
    #[must_use]
    pub fn is_ahead(&self, seq: u32) -> bool {
        self.position(seq) > self.next.0 as i64
    }

    /// New octets that may leave now: up to the edge of the window, and the one octet beyond it with which a sender probes
    /// a closed one (RFC 9293 section 3.8.6.1).
    #[must_use]
    pub fn allowance(&self) -> usize {
        usize::try_from((self.edge.0 + 1).saturating_sub(self.next.0)).unwrap_or(usize::MAX)
    }

    /// The window (unscaled) for an acknowledgement of everything before `acked`, made in the receiver's name. What was allowed
    /// once stays allowed (RFC 9293 section 3.8.6, "shrinking the window"), so it is not the last one that came, which another may
    /// have overtaken.
    #[must_use]
    pub fn allowed_window(&self, acked: StreamOffset) -> u16 {
        let window = self.edge.0.saturating_sub(acked.0) >> self.window_shift;
        u16::try_from(window).unwrap_or(u16::MAX)
    }

    /// Takes note that a segment with this timestamp left.
    pub fn stamped(&mut self, value: u32) {
        if SeqNum(value).ahead_of(SeqNum(self.newest_timestamp)) > 0 {
            self.newest_timestamp = value;
        }
    }

    /// Whether `seq` is within the window, before what was allowed (RFC 5961 section 3.2).
    #[must_use]
    pub fn is_in_window(&self, seq: u32) -> bool {
        let position = self.position(seq);
        position >= self.acked.0 as i64 && position <= self.edge.0.max(self.next.0) as i64
    }

    /// The number that the receiver has acknowledged last.
    #[must_use]
    pub fn acked_seq(&self) -> u32 {
        self.start.add(self.acked.0 + u64::from(self.finish_acked)).0
    }

    /// Whether `seq` is a place where the receiver may expect the next octet: what it has acknowledged, or all
    /// that was forwarded, or between. A RST elsewhere is not for this receiver (RFC 5961 section 3).
    #[must_use]
    pub fn expects(&self, seq: u32) -> bool {
        let position = self.position(seq);
        position >= self.acked.0 as i64 && position <= self.next.0 as i64 + i64::from(self.finished)
    }

    /// Takes note that octets from `next` on were forwarded, in `remembered`'s frame.
    #[inline]
    pub fn forwarded(&mut self, remembered: Remembered, spare: &mut Spare) {
        debug_assert_eq!(remembered.offset, self.next);
        self.next = remembered.end();
        self.queues.get_or_insert_with(|| spare.take()).remembered.push_back(remembered);
    }

    /// Takes note that octets from `next` on were taken by the gateway itself and go nowhere. From then on the
    /// gateway stands in for the receiver, so they count as acknowledged.
    pub fn swallowed(&mut self, len: usize) {
        self.next = self.next.advance(len);
        self.acked = self.next;
    }

    /// The receiver acknowledges `ack` and allows `window` (unscaled) more.
    pub fn acknowledge(&mut self, ack: u32, window: u16, spare: &mut Spare) -> AckEffect {
        let position = self.position(ack);
        let end = self.next.0 as i64 + i64::from(self.finished);
        if position > end {
            return AckEffect::Unsent;
        }
        if position < self.acked.0 as i64 {
            let window = i64::from(u16::MAX) << self.window_shift;
            let ancient = position < 0 || position < self.acked.0 as i64 - window;
            return if ancient { AckEffect::Ancient } else { AckEffect::Repeated };
        }
        let before = (self.acked, self.finish_acked);
        self.finish_acked |= self.finished && position == end;
        self.acked = StreamOffset(position.min(self.next.0 as i64) as u64);
        let window = u64::from(window) << self.window_shift;
        self.edge = self.edge.max(StreamOffset(self.acked.0 + window));
        if before == (self.acked, self.finish_acked) {
            return AckEffect::Repeated;
        }
        self.forget(spare);
        AckEffect::Advanced
    }

    /// Lets go of what is acknowledged.
    fn forget(&mut self, spare: &mut Spare) {
        if let Some(queues) = &mut self.queues {
            while queues.remembered.front().is_some_and(|entry| entry.end() <= self.acked) {
                queues.remembered.pop_front();
            }
            spare.reclaim(&mut self.queues);
        }
    }

    /// Whether nothing waits, and nothing of what is on its way to the receiver is the gateway's to answer for.
    #[must_use]
    #[inline]
    pub fn is_at_rest(&self) -> bool {
        self.queues.as_ref().is_none_or(|queues| {
            queues.held.is_empty()
                && queues.owed.count == 0
                && queues.shown.is_none()
                && queues.promised <= self.acked
        })
    }

    /// Segments that are remembered.
    #[must_use]
    pub fn remembered_count(&self) -> usize {
        self.queues.as_ref().map_or(0, |queues| queues.remembered.len())
    }

    /// Whether so many octets with this sequence number continue the stream and may all leave.
    #[must_use]
    #[inline]
    pub fn is_continued_by(&self, seq: u32, len: usize) -> bool {
        seq == self.seq(self.next) && len <= usize::from(self.segment_limit) && len <= self.allowance()
    }

    /// Takes note that so many octets from `next` on were forwarded and need not be remembered, with what else their segment
    /// said.
    #[inline]
    pub fn carried(&mut self, len: usize, window: u16, timestamp: Option<u32>) {
        self.next = self.next.advance(len);
        self.window = window;
        if let Some(timestamp) = timestamp {
            (self.timestamp, self.newest_timestamp) = (timestamp, timestamp);
        }
    }

    /// Takes note of what else the segment said that continues the stream.
    #[inline]
    pub fn said(&mut self, window: u16, timestamp: Option<u32>) {
        self.window = window;
        if let Some(timestamp) = timestamp {
            self.timestamp = timestamp;
            self.stamped(timestamp);
        }
    }

    /// Whether `ack` stands between what the receiver has acknowledged and what was forwarded.
    #[must_use]
    #[inline]
    pub fn is_confirmed_by(&self, ack: u32) -> bool {
        u64::from(self.seq(self.next).wrapping_sub(ack)) <= self.next.0 - self.acked.0
    }

    /// The receiver acknowledges `ack`, which [`Stream::is_confirmed_by`], of a stream that has not finished, and allows `window`
    /// (unscaled) more.
    #[inline]
    pub fn acknowledged(&mut self, ack: u32, window: u16, spare: &mut Spare) {
        let before = self.acked;
        self.confirmed(ack, window);
        if self.acked != before {
            self.forget(spare);
        }
    }

    /// The receiver acknowledges everything that was forwarded, FIN included, and allows `window` (unscaled) more.
    #[inline]
    pub fn acknowledged_all(&mut self, window: u16, spare: &mut Spare) {
        (self.acked, self.finish_acked) = (self.next, self.finished);
        self.edge = self.edge.max(StreamOffset(self.acked.0 + (u64::from(window) << self.window_shift)));
        if self.queues.is_some() {
            self.forget(spare);
        }
    }

    /// The same of octets that nobody remembers.
    #[inline]
    pub fn confirmed(&mut self, ack: u32, window: u16) {
        self.acked = StreamOffset(self.next.0 - u64::from(self.seq(self.next).wrapping_sub(ack)));
        self.edge = self.edge.max(StreamOffset(self.acked.0 + (u64::from(window) << self.window_shift)));
    }

    /// Lets go of every frame.
    pub fn release(&mut self, spare: &mut Spare) {
        if let Some(queues) = &mut self.queues {
            queues.remembered.clear();
            queues.let_go();
            spare.reclaim(&mut self.queues);
        }
    }

    /// Lets go of the frames that wait.
    pub fn release_held(&mut self, spare: &mut Spare) -> usize {
        let Some(queues) = &mut self.queues else { return 0 };
        let count = queues.let_go();
        spare.reclaim(&mut self.queues);
        count
    }
}
