//! Segments that come before their time, and segments of the gateway's own.
//!
//! A sender must hear of a gap as soon and as exactly as if its segments had gone on to the receiver, or it slows down. The receiver
//! would have acknowledged what is in front of the gap before it reported the gap. So the gateway's duplicate
//! acknowledgement waits until the receiver has accounted for all of that, and then takes the place of the receiver's own: one segment
//! that acknowledges what is in front of the gap and names what waits behind it. A report that came before would show what is on
//! its way to the receiver as a part of the gap; a sender that goes by time (RACK, RFC 8985) sends it again, learns from the
//! timestamps that this was not needed, takes its whole recovery back (RFC 4015) and then, on Linux, leaves the real gap to its
//! retransmission timeout. One that came after would name segments too late that are older than what is acknowledged.
//!
//! When the gap is filled, everything that waited leaves at once, and the receiver acknowledges it piece by piece. The sender was told
//! that all of it had come; an acknowledgement of a part of it would look as if the receiver had thrown the rest away ("reneging",
//! RFC 2018 section 8), and Linux then forgets what it was told and sends everything again. So those that end within are left
//! out; the one that ends it says the same.

use core::time::Duration;

use super::flow::{Flow, Stage};
use super::repair::{self, PATIENCE, repair, watch};
use super::{Fate, Io, Shared};
use crate::anomaly::Anomaly;
use crate::frame::{Frame, Memory};
use crate::rewrite::own::{self, Own};
use crate::scan::Matcher;
use crate::tcp::Stream;
use crate::tcp::queue::{Held, SACK_LIMIT};
use crate::unit::{Direction, StreamOffset};
use crate::wire::{self, Checksums, Flags, Packet, SackBlock, Segment, Timestamps};

/// Keeps a segment until the octets in front of it have come, and tells its sender that they are missing, as the receiver would
/// have done (RFC 5681 section 4.2, RFC 2018 section 4): as soon as the receiver has accounted for what is in front of the gap.
/// A sender that goes by duplicates hears of each segment. One that goes by the octets named (RFC 6675) has heard enough with
/// [`OWED_LIMIT`] of them, and hears of the others once for each burst, as Linux does it (`tcp_comp_sack_nr`): acknowledging a
/// window of segments one by one takes both ends as long as the segments themselves.
pub(super) fn hold<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &Segment,
    frame: Frame,
    offset: StreamOffset,
    io: &mut Io<'_, M>,
) -> Fate {
    shared.counters.out_of_order_segments += 1;
    let is_first =
        flow.streams[direction.index()].queues.as_ref().is_none_or(|queues| queues.held.is_empty());
    let span = u32::from(segment.payload_len) + u32::from(segment.flags.fin());
    if !keep(flow, shared, direction, Held { offset, span, frame }, io) {
        shared.anomaly(flow, Anomaly::OutOfOrderOverflow, direction, offset);
        duplicate_ack(flow, shared, direction, 0, io);
        return Fate::Lives;
    }
    let Some(queues) = &mut flow.streams[direction.index()].queues else { return Fate::Lives };
    if queues.owed.count == 0 {
        queues.owed.since = io.now;
    }
    queues.owed.count = (queues.owed.count + 1).min(OWED_LIMIT);
    if is_first {
        queues.owed.told = 0;
    }
    let can_wait = flow.agreement.sack && queues.owed.told >= OWED_LIMIT;
    watch(&mut flow.watch, io.now);
    if can_wait {
        shared.owes = true;
    } else {
        settle(flow, shared, direction, io);
    }
    Fate::Lives
}

/// Keeps a segment until the octets from its offset on can leave; `false` when a budget does not allow it.
pub(super) fn keep<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    held: Held,
    io: &Io<'_, M>,
) -> bool {
    let limit = io.pool.memory().chunk_count() / shared.config.held_share.max(1);
    let queues = flow.streams[direction.index()].queues.get_or_insert_with(|| shared.spare.take());
    if queues.held.len() >= shared.config.held_per_stream || shared.held_count >= limit {
        shared.spare.reclaim(&mut flow.streams[direction.index()].queues);
        return false;
    }
    if queues.hold(held) {
        shared.held_count += 1;
        shared.counters.frames_held += 1;
        shared.held_most = shared.held_most.max(shared.held_count);
        shared.held_longest = shared.held_longest.max(queues.held.len());
    }
    true
}

/// Duplicate acknowledgements that make a sender send again (RFC 5681 section 3.2).
const OWED_LIMIT: u8 = 3;

/// Sends the duplicate acknowledgements that wait, if the receiver of this direction has accounted for everything in front of
/// the gap or has been silent for too long.
pub(super) fn settle<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    io: &mut Io<'_, M>,
) {
    let stream = &flow.streams[direction.index()];
    let Some(queues) = &stream.queues else { return };
    if queues.owed.count == 0 {
        return;
    }
    // What the receiver is not known to have is not missing if the gateway answers for it.
    let is_accounted = stream.acked() >= stream.next()
        || queues.reported >= stream.next()
            && repair::promised(stream).is_none_or(|promised| promised == stream.next());
    if is_accounted || io.now.since(queues.owed.since) >= PATIENCE {
        pay(flow, shared, direction, false, io);
    }
}

/// What was known of a receiver before a segment of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// What it had acknowledged.
    pub acked: StreamOffset,
    /// Its window, unscaled.
    pub window: u16,
}

/// Whether the sender of this direction must not see a segment of its receiver, since
///
/// - the gateway has said the same, and what waits here as well;
/// - or it acknowledges a part of what the sender was told had come, and the gateway answers for the rest.
pub(super) fn withholds<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &Segment,
    frame: &Frame,
    before: Before,
    io: &mut Io<'_, M>,
) -> bool {
    let is_finished = flow.stage == Stage::Finished;
    let stream = &mut flow.streams[direction.index()];
    if stream.queues.is_none() {
        return false;
    }
    let (acked, next) = (stream.acked(), stream.next());
    let answers = repair::promised(stream).is_some();
    let reported = note(stream, segment, io.pool.bytes(frame));
    let Some(queues) = &mut stream.queues else { return false };
    let is_new = acked > before.acked || segment.window != before.window;
    let is_bare = segment.payload_len == 0 && !segment.flags.fin();
    if is_bare && !is_new && !flow.agreement.sack {
        // Without SACK it says only by repeating itself that something is missing (RFC 5681 section 2).
        queues.reported = next;
    }
    if acked > before.acked {
        queues.owed.since = io.now;
        queues.repair.tries = 0;
    }
    if is_bare && answers && !is_finished {
        queues.shown = queues.shown.or(Some(before.acked));
        if reported {
            repair(flow, shared, direction, io);
        }
        return true;
    }
    if is_bare && is_new && !reported && acked == next && queues.owed.count > 0 {
        let is_known = acked <= queues.promised;
        queues.shown = queues.shown.or(Some(before.acked)).filter(|_| is_known);
        return pay(flow, shared, direction, true, io);
    }
    queues.shown = None;
    false
}

/// Takes note of the SACK blocks of a segment of the receiver; whether there are any behind what it acknowledges. Blocks that are
/// acknowledged already (RFC 2883) name what came twice.
fn note(stream: &mut Stream, segment: &Segment, frame: &[u8]) -> bool {
    if segment.options.sack.count == 0 {
        return false;
    }
    let (acked, mut is_any) = (stream.acked(), false);
    for block in segment.sack_blocks(frame) {
        let (Some(from), Some(to)) = (stream.offset_of(block.left), stream.offset_of(block.right)) else {
            continue;
        };
        if let Some(queues) = &mut stream.queues
            && from < to
            && to > acked
        {
            queues.report((from, to));
            is_any = true;
        }
    }
    is_any
}

/// Sends the duplicate acknowledgements that are owed. Together they name everything that came since the last one, in order: what is
/// not named while something behind it is, the sender takes for lost. It does so, too, with what is older than what is acknowledged
/// if that was sent again. So where the sender knew of everything that is acknowledged now, because a gap is filled, the last of
/// them alone acknowledges it (`is_last_new`). The last also names again what was named before, as acknowledgements get lost.
/// Returns whether any was sent.
pub(super) fn pay<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    is_last_new: bool,
    io: &mut Io<'_, M>,
) -> bool {
    let stream = &mut flow.streams[direction.index()];
    let next = stream.next();
    let Some(queues) = &mut stream.queues else { return false };
    let owed = usize::from(core::mem::take(&mut queues.owed.count));
    queues.owed.told = queues.owed.told.saturating_add(1);
    let news = queues.blocks.news(next);
    let mut is_sent = false;
    if flow.agreement.sack {
        for number in (1..news.div_ceil(SACK_LIMIT)).rev() {
            is_sent |= duplicate_ack(flow, shared, direction, number * SACK_LIMIT, io);
        }
    }
    if is_last_new && let Some(queues) = &mut flow.streams[direction.index()].queues {
        queues.shown = None;
    }
    let last = if flow.agreement.sack { news.min(1) } else { owed };
    for _ in 0..last {
        is_sent |= duplicate_ack(flow, shared, direction, 0, io);
    }
    is_sent
}

/// Tells the sender of this direction, in its receiver's name, what the receiver has, as far as the sender may see it, and with
/// SACK what waits here: what came last, first, without the first `skipped` ranges.
fn duplicate_ack<X, M: Memory>(
    flow: &Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    skipped: usize,
    io: &mut Io<'_, M>,
) -> bool {
    let back = direction.reverse();
    let stream = &flow.streams[direction.index()];
    let mut blocks = [SackBlock::default(); SACK_LIMIT];
    let mut count = 0;
    if let Some(queues) = stream.queues.as_ref().filter(|_| flow.agreement.sack) {
        for (block, (from, to)) in blocks.iter_mut().zip(queues.blocks.behind(stream.next()).skip(skipped)) {
            *block = SackBlock { left: stream.seq(from), right: stream.seq(to) };
            count += 1;
        }
    }
    let shown = stream.queues.as_ref().and_then(|queues| queues.shown).unwrap_or(stream.acked());
    let own = Own {
        direction: back,
        seq: flow.streams[back.index()].end_seq(),
        ack: stream.seq(shown),
        flags: Flags::ACK,
        window: stream.allowed_window(shown),
        timestamps: timestamps(flow, back),
        sack: &blocks[..count],
        payload: &[],
    };
    send(flow, shared, &own, io).is_some()
}

/// Time between two challenges of a flow (as Linux, `tcp_invalid_ratelimit`).
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// Questions a SYN or RST of this direction in its receiver's name: "send an acknowledgement (challenge ACK)" (RFC 5961
/// sections 3.2 and 4.2). Who really ended the connection answers with a RST that has the right number; who did not,
/// ignores it.
pub(super) fn challenge<X, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    io: &mut Io<'_, M>,
) {
    if io.now < flow.next_challenge {
        return;
    }
    flow.next_challenge = io.now + CHALLENGE_INTERVAL;
    let offset = flow.stream(direction).next();
    shared.anomaly(flow, Anomaly::Challenged, direction, offset);
    let back = direction.reverse();
    let stream = &flow.streams[direction.index()];
    let own = Own {
        direction: back,
        seq: flow.streams[back.index()].end_seq(),
        ack: stream.acked_seq(),
        flags: Flags::ACK,
        window: stream.allowed_window(stream.acked()),
        timestamps: timestamps(flow, back),
        sack: &[],
        payload: &[],
    };
    send(flow, shared, &own, io);
}

/// Lets the receiver of this direction say what it has and what it allows, since its sender believes something else: "an
/// acknowledgment should be sent in reply" to a segment outside of the window (RFC 9293 section 3.10.7.4), with which a
/// sender that took an old window for the last one finds its way again. The segment itself does not pass; the receiver is asked by
/// a keep-alive (RFC 9293 section 3.8.4), which has no octet.
pub(super) fn probe<X, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    io: &mut Io<'_, M>,
) {
    if io.now < flow.next_challenge {
        return;
    }
    flow.next_challenge = io.now + CHALLENGE_INTERVAL;
    let own = Own {
        direction,
        seq: flow.streams[direction.index()].acked_seq().wrapping_sub(1),
        ack: flow.streams[direction.reverse().index()].acked_seq(),
        flags: Flags::ACK,
        window: flow.streams[direction.index()].window,
        timestamps: timestamps(flow, direction),
        sack: &[],
        payload: &[],
    };
    send(flow, shared, &own, io);
}

/// Timestamps for a segment made in the name of this direction's sender.
pub(super) fn timestamps(flow: &Flow, direction: Direction) -> Option<Timestamps> {
    flow.agreement.timestamps.then(|| Timestamps {
        value: flow.streams[direction.index()].timestamp,
        echo: flow.streams[direction.reverse().index()].timestamp,
    })
}

/// Sends a segment of the gateway's own; counts it when there is no frame for it.
pub(super) fn send<X, M: Memory>(
    flow: &Flow,
    shared: &mut Shared<X>,
    own: &Own<'_>,
    io: &mut Io<'_, M>,
) -> Option<own::Made> {
    let Some(made) = own::make(&flow.template, own, io.pool) else {
        shared.counters.dropped_no_frame += 1;
        return None;
    };
    shared.counters.frames_generated += 1;
    io.out.push((flow.egress(own.direction), made.sealed.share()));
    Some(made)
}

/// Takes out the segment that waited longest for what the stream has now; `None` when none is due.
pub(super) fn next_held<X, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    io: &Io<'_, M>,
) -> Option<(Segment, Frame)> {
    let stream = &mut flow.streams[direction.index()];
    let next = stream.next();
    loop {
        let queues = stream.queues.as_mut()?;
        if queues.held.is_empty() && queues.owed.count == 0 && !queues.remembered.is_empty() {
            // As nearly always.
            return None;
        }
        if queues.held.front().is_none_or(|held| held.offset > next) {
            if queues.held.is_empty() && queues.owed.count > 0 {
                // The gap is filled: nothing is missing that the sender had to hear of.
                queues.let_go();
            }
            shared.spare.reclaim(&mut stream.queues);
            return None;
        }
        let held = queues.held.pop_front()?;
        if flow.agreement.sack {
            let end = StreamOffset(held.offset.0 + u64::from(held.span));
            queues.promised = queues.promised.max(end);
            watch(&mut flow.watch, io.now);
        }
        shared.held_count -= 1;
        if held.offset.0 + u64::from(held.span) <= next.0 {
            // All of it came a second time and has left.
            continue;
        }
        // It was verified and cleaned when it came.
        if let Ok(Packet::Tcp(segment)) = wire::parse(io.pool.bytes(&held.frame), Checksums::Trust) {
            return Some((segment, held.frame));
        }
    }
}
