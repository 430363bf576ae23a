//! New octets of a segment: given to the dialogue, and sent as far as it lets them.
//!
//! What leaves is sealed, and remembered until acknowledged. What it says beside is done: octets that wait or are kept, a session that
//! is opaque from now on, or refused.

use core::ops::Range;

use super::close;
use super::dialogue::{Next, Passage};
use super::flow::{Flow, Stage};
use super::order::keep;
use super::{Fate, Io, Shared};
use crate::anomaly::Anomaly;
use crate::event::EndReason;
use crate::frame::{Frame, Memory};
use crate::scan::Matcher;
use crate::tcp::overlap;
use crate::tcp::queue::{Held, Remembered};
use crate::unit::{Direction, StreamOffset};
use crate::wire::{Flags, Segment, edit};

/// Gives new octets, which stand `at` in the frame, to the dialogue, if the session has one. Says, too, whether it overwrote any.
#[inline(always)]
pub(super) fn judge<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    frame: &mut Frame,
    at: Range<usize>,
    io: &mut Io<'_, M>,
) -> (Passage, bool) {
    let now = io.now;
    let bytes = &mut io.pool.bytes_mut(frame)[at];
    let Some(dialogue) = &mut flow.dialogue else {
        return (Passage { forward: bytes.len(), next: Next::Go }, false);
    };
    let masks =
        |shared: &Shared<X>| shared.counters.smtp_masked_commands + shared.counters.smtp_masked_keywords;
    let (was_masking, masked) = (dialogue.is_masking(direction), masks(shared));
    let passage = match direction {
        Direction::ClientToServer if flow.closing.is_some() => {
            // Draining: the server gets nothing new.
            Passage { forward: 0, next: Next::Wait }
        }
        Direction::ClientToServer => {
            dialogue.client(bytes, &mut shared.context(now, flow.tag.generation, dialogue.smtp()))
        }
        Direction::ServerToClient => {
            dialogue.server(bytes, &mut shared.context(now, flow.tag.generation, dialogue.smtp()))
        }
    };
    let masked = masks(shared) - masked;
    if masked > 0 {
        flow.totals.masks = flow.totals.masks.saturating_add(masked as u32);
    }
    let edited = was_masking || masked > 0 || dialogue.is_masking(direction);
    (passage, edited)
}

/// What is known of octets that stand at their place, when the dialogue has seen those that are new.
#[derive(Debug)]
pub(super) struct Judged {
    /// The first offset that had not been forwarded.
    pub next: StreamOffset,
    /// Where the first octet of the segment stands.
    pub start: StreamOffset,
    /// Octets that were forwarded before.
    pub forwarded: usize,
    /// Octets after those, and how many of them may leave.
    pub new: usize,
    pub passed: usize,
    pub then: Next,
    /// A FIN stands behind them.
    pub fin: bool,
    /// The frame was changed: its checksums are wrong.
    pub edited: bool,
}

/// Lets a segment leave as far as it may, and does what the dialogue has said.
pub(super) fn send_on<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &mut Segment,
    mut frame: Frame,
    Judged { next, start, forwarded, new, passed, then, mut fin, mut edited }: Judged,
    io: &mut Io<'_, M>,
) -> Fate {
    if forwarded > 0 {
        let payload = payload(io.pool.bytes_mut(&mut frame), segment);
        let stream = &flow.streams[direction.index()];
        if let Some(queues) = &stream.queues {
            // The remembered octets are in other frames; `payload` is this one's, taken out for a moment.
            let scratch = &mut shared.scratch;
            scratch.clear();
            scratch.extend_from_slice(&payload[..forwarded]);
            let different = overlap::restore(queues, io.pool, start, scratch);
            if different > 0 {
                payload_mut(io, &mut frame, segment)[..forwarded].copy_from_slice(scratch);
                shared.counters.retransmitted_bytes_restored += different as u64;
                shared.anomaly(flow, Anomaly::InconsistentRetransmission, direction, start);
                edited = true;
            }
        }
    }
    let mut early = None;
    if passed < new {
        if then == Next::Keep && flow.closing.is_none() {
            let span = (new - passed) as u32 + u32::from(fin);
            early = copy(shared, segment, &frame, io).map(|frame| (frame, span));
        }
        let bytes = io.pool.bytes_mut(&mut frame);
        let len = edit::cut(bytes, segment, forwarded + passed);
        frame.truncate(len);
        (fin, edited) = (false, true);
        shared.counters.dropped_waiting += 1;
    }
    let ends = segment.seq.wrapping_add(u32::from(segment.payload_len));
    let stream = flow.stream(direction);
    let at_end = ends == stream.seq(stream.next().advance(passed));
    if segment.flags.fin() && !(fin && at_end) {
        let bytes = io.pool.bytes_mut(&mut frame);
        let flags = segment.flags.without(Flags::FIN);
        edit::set_flags(bytes, segment, flags);
        edited = true;
        fin = false;
    }
    fin &= segment.flags.fin();

    if edited {
        edit::fix_checksums(io.pool.bytes_mut(&mut frame), segment);
    }
    let sealed = io.pool.seal(frame);
    if passed > 0 {
        let position = segment.payload_start + forwarded as u16;
        let entry = Remembered::new(next, sealed.share(), position, passed as u16);
        let Shared { spare, .. } = shared;
        flow.stream(direction).forwarded(entry, spare);
    }
    if fin {
        flow.stream(direction).finished = true;
    }
    if let Some((frame, span)) = early {
        let offset = flow.stream(direction).next();
        keep(flow, shared, direction, Held { offset, span, frame }, io);
    }
    flow.totals.bytes[direction.index()] += passed as u64;
    flow.totals.packets[direction.index()] += 1;
    shared.counters.forwarded(edited);
    io.out.push((flow.egress(direction), sealed));

    let swallowed = new - passed;
    match then {
        Next::Go | Next::Wait | Next::Keep => {}
        Next::Opaque => {
            if let Some(mut dialogue) = flow.dialogue.take() {
                dialogue.end(&mut shared.context(io.now, flow.tag.generation, dialogue.smtp()));
            }
        }
        Next::Close(reply) => return close::refuse(flow, shared, reply, swallowed, direction, io),
        Next::Swallow => return close::swallow(flow, shared, swallowed, io),
        Next::Drain => close::drain(flow, shared, io),
    }
    if flow.stage == Stage::Established && flow.streams.iter().all(|stream| stream.finished) {
        flow.stage = Stage::Finished;
        flow.totals.reason = EndReason::Finished;
    }
    Fate::Lives
}

/// A segment whose octets must wait for the other side, as it came; `None` when there is no frame for it.
fn copy<X, M: Memory>(
    shared: &mut Shared<X>,
    segment: &Segment,
    frame: &Frame,
    io: &mut Io<'_, M>,
) -> Option<Frame> {
    let scratch = &mut shared.scratch;
    scratch.clear();
    scratch.extend_from_slice(io.pool.bytes(frame));
    let mut copy = io.pool.alloc(0, scratch.len())?;
    let bytes = io.pool.bytes_mut(&mut copy);
    bytes.copy_from_slice(scratch);
    edit::fix_checksums(bytes, segment);
    Some(copy)
}

fn payload<'a>(bytes: &'a [u8], segment: &Segment) -> &'a [u8] {
    &bytes[usize::from(segment.payload_start)..][..usize::from(segment.payload_len)]
}

fn payload_mut<'a, M: Memory>(io: &'a mut Io<'_, M>, frame: &mut Frame, segment: &Segment) -> &'a mut [u8] {
    let bytes = io.pool.bytes_mut(frame);
    &mut bytes[usize::from(segment.payload_start)..][..usize::from(segment.payload_len)]
}
