//! Segments that come before their time, and segments of the gateway's own.

use core::time::Duration;

use super::flow::Flow;
use super::{Fate, Io, Shared};
use crate::anomaly::Anomaly;
use crate::frame::{Frame, Memory};
use crate::rewrite::own::{self, Own};
use crate::scan::Matcher;
use crate::tcp::queue::Held;
use crate::unit::{Direction, StreamOffset};
use crate::wire::{self, Checksums, Flags, Packet, SackBlock, Segment, Timestamps};

/// Keeps a segment until the octets in front of it have come, and tells its sender at once that they are
/// missing, as the receiver would have done (RFC 5681 section 4.2, RFC 2018 section 4).
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
    let limit = io.pool.memory().chunk_count() / shared.config.held_share.max(1);
    let queues = flow.streams[direction.index()].queues.get_or_insert_with(|| shared.spare.take());
    if queues.held.len() >= shared.config.held_per_stream || shared.held_count >= limit {
        shared.spare.reclaim(&mut flow.streams[direction.index()].queues);
        shared.anomaly(flow, Anomaly::OutOfOrderOverflow, direction, offset);
    } else {
        let span = u32::from(segment.payload_len) + u32::from(segment.flags.fin());
        if queues.hold(Held { offset, span, frame }) {
            shared.held_count += 1;
            shared.counters.frames_held += 1;
            shared.held_most = shared.held_most.max(shared.held_count);
            shared.held_longest = shared.held_longest.max(queues.held.len());
        }
    }
    duplicate_ack(flow, shared, direction, io);
    Fate::Lives
}

/// Blocks that fit beside timestamps (RFC 2018 section 3).
const SACK_LIMIT: usize = 3;

/// Tells the sender of this direction, in its receiver's name, what the receiver has and what waits here.
fn duplicate_ack<X, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    io: &mut Io<'_, M>,
) {
    let back = direction.reverse();
    let stream = &flow.streams[direction.index()];
    let mut blocks = [SackBlock::default(); SACK_LIMIT];
    let mut count = 0;
    if flow.agreement.sack
        && let Some(queues) = &stream.queues
    {
        let (ranges, found) = queues.held_ranges::<SACK_LIMIT>();
        for (block, (from, to)) in blocks.iter_mut().zip(&ranges[..found]) {
            *block = SackBlock { left: stream.seq(*from), right: stream.seq(*to) };
        }
        count = found;
    }
    let own = Own {
        direction: back,
        seq: flow.streams[back.index()].end_seq(),
        ack: stream.seq(stream.acked()),
        flags: Flags::ACK,
        window: flow.streams[back.index()].window,
        timestamps: timestamps(flow, back),
        sack: &blocks[..count],
        payload: &[],
    };
    send(flow, shared, &own, io);
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
    if flow.challenged.is_some_and(|last| io.now.since(last) < CHALLENGE_INTERVAL) {
        return;
    }
    flow.challenged = Some(io.now);
    let offset = flow.stream(direction).next();
    shared.anomaly(flow, Anomaly::Challenged, direction, offset);
    let back = direction.reverse();
    let own = Own {
        direction: back,
        seq: flow.streams[back.index()].end_seq(),
        ack: flow.streams[direction.index()].acked_seq(),
        flags: Flags::ACK,
        window: flow.streams[back.index()].window,
        timestamps: timestamps(flow, back),
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
        if queues.held.first().is_none_or(|held| held.offset > next) {
            shared.spare.reclaim(&mut stream.queues);
            return None;
        }
        let held = queues.held.remove(0);
        shared.held_count -= 1;
        // It was verified and cleaned when it came.
        if let Ok(Packet::Tcp(segment)) = wire::parse(io.pool.bytes(&held.frame), Checksums::Trust) {
            return Some((segment, held.frame));
        }
    }
}
