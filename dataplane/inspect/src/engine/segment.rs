//! Segments of a known connection.
//!
//! Each is taken apart in the same order: is it the sender's to send (flags, window, acknowledgement); where does it
//! stand in its stream; what of it left before, what is new, what must wait. What is new goes on in [`super::depart`].

use super::close;
use super::control::{question, reset, synchronize};
use super::depart::{Judged, judge, send_on};
use super::dialogue::Next;
use super::flow::{Flow, Stage};
use super::normalize::{catch_up, check_timestamps, normalize};
use super::order::{Before, hold, next_held, probe, settle, withholds};
use super::{Fate, Io, Shared, pickup};
use crate::anomaly::Anomaly;
use crate::frame::{Frame, Memory};
use crate::scan::Matcher;
use crate::tcp::seq::SeqNum;
use crate::tcp::{AckEffect, Placement};
use crate::unit::{Direction, StreamOffset};
use crate::wire::{Segment, edit};

/// Takes one segment of a connection.
pub(super) fn receive<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    mut segment: Segment,
    frame: Frame,
    io: &mut Io<'_, M>,
) -> Fate {
    if flow.stage == Stage::PickedUp {
        return pickup::carry(flow, shared, direction, &segment, frame, io);
    }
    let flags = segment.flags;
    let nonsense = (flags.syn() && (flags.fin() || flags.rst())) || (flags.fin() && flags.rst());
    if nonsense || !(flags.syn() || flags.rst() || flags.ack()) {
        return drop_as(flow, shared, Anomaly::BadFlags, direction, segment.seq);
    }
    if flags.syn() {
        return synchronize(flow, shared, direction, segment, frame, io);
    }
    if flags.rst() {
        return reset(flow, shared, direction, segment, frame, io);
    }
    if flow.stage == Stage::SynSent {
        if direction == Direction::ServerToClient {
            return question(flow, shared, segment, frame, io);
        }
        // The server has not spoken; nothing but its SYN can come next.
        shared.counters.dropped_state += 1;
        return Fate::Lives;
    }
    if flow.closing.as_ref().is_some_and(|closing| closing.stands_in()) {
        return close::receive(flow, shared, direction, segment, frame, io);
    }
    if let Err(anomaly) = check_timestamps(flow, direction, segment.options.timestamps) {
        if anomaly == Anomaly::OldTimestamp && segment.seq_len() == 0 {
            // An acknowledgement that a later one has overtaken: networks do that.
            shared.counters.dropped_state += 1;
            return Fate::Lives;
        }
        return drop_as(flow, shared, anomaly, direction, segment.seq);
    }
    let fate = data(flow, shared, direction, &mut segment, frame, io);
    go_on(flow, shared, direction, fate, io)
}

/// Lets go what waited for a segment that was just taken.
pub(super) fn go_on<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    mut fate: Fate,
    io: &mut Io<'_, M>,
) -> Fate {
    let stands_in = |flow: &Flow| flow.closing.as_ref().is_some_and(|closing| closing.stands_in());
    if fate != Fate::Lives || stands_in(flow) {
        return fate;
    }
    fate = release(flow, shared, direction, io);
    let answers = direction == Direction::ServerToClient && kept(flow) == Some(true);
    if fate == Fate::Lives && answers && !stands_in(flow) {
        fate = release(flow, shared, Direction::ClientToServer, io);
    }
    if fate == Fate::Lives && !stands_in(flow) {
        settle(flow, shared, direction.reverse(), io);
    }
    fate
}

/// Counts a segment that is not let through because of `anomaly`.
pub(super) fn drop_as<X>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    anomaly: Anomaly,
    direction: Direction,
    seq: u32,
) -> Fate {
    let stream = flow.stream(direction);
    let offset = match stream.place(seq, 0) {
        Placement::Ahead(offset) => offset,
        _ => stream.next(),
    };
    shared.anomaly(flow, anomaly, direction, offset);
    shared.counters.dropped_state += 1;
    Fate::Lives
}

/// A segment with or without octets, of a connection that both sides know.
fn data<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &mut Segment,
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Fate {
    let placement = flow.stream(direction).place(segment.seq, usize::from(segment.payload_len));
    if placement == Placement::Outside {
        if flow.stream(direction).is_ahead(segment.seq) {
            probe(flow, shared, direction, io);
        }
        return drop_as(flow, shared, Anomaly::OutsideWindow, direction, segment.seq);
    }
    // What it acknowledges, of the other direction.
    let before = Before {
        acked: flow.streams[direction.reverse().index()].acked(),
        window: flow.streams[direction.index()].window,
    };
    let effect =
        flow.streams[direction.reverse().index()].acknowledge(segment.ack, segment.window, &mut shared.spare);
    if matches!(effect, AckEffect::Unsent | AckEffect::Ancient) {
        return drop_as(flow, shared, Anomaly::BadAcknowledgement, direction, segment.seq);
    }
    if flow.stage == Stage::SynReceived && direction == Direction::ClientToServer {
        flow.stage = Stage::Established;
    }
    flow.last_heard = io.now;
    let stream = flow.stream(direction);
    stream.window = segment.window;
    if withholds(flow, shared, direction.reverse(), segment, &frame, before, io) {
        shared.counters.dropped_premature += 1;
        return Fate::Lives;
    }

    let bytes = io.pool.bytes_mut(&mut frame);
    let mut edited = normalize(flow, shared, direction, segment, bytes);
    // Octets behind the packet are of no packet.
    frame.truncate(segment.payload_end());
    let carries = segment.payload_len > 0 || segment.flags.fin();
    match placement {
        Placement::Ahead(offset) if carries => {
            if edited {
                edit::fix_checksums(io.pool.bytes_mut(&mut frame), segment);
            }
            hold(flow, shared, direction, segment, frame, offset, io)
        }
        Placement::Ahead(_) | Placement::Outside => {
            if let Some(stamps) = segment.options.timestamps {
                flow.stream(direction).stamped(stamps.value);
            }
            // An acknowledgement from behind lost octets carries none itself.
            leave(flow, shared, direction, segment, frame, edited, io);
            Fate::Lives
        }
        Placement::Here { acked, forwarded, start } => {
            if let Some(stamps) = segment.options.timestamps {
                let is_loose = flow.is_loose;
                let newest = &mut flow.stream(direction).timestamp;
                if SeqNum(*newest).ahead_of(SeqNum(stamps.value)) > 0 && !is_loose {
                    // It waited while younger ones passed, and its receiver would take it for a very old one.
                    edit::set_timestamp(io.pool.bytes_mut(&mut frame), segment, *newest);
                    edited = true;
                } else {
                    *newest = stamps.value;
                    flow.stream(direction).stamped(stamps.value);
                }
            }
            in_order(flow, shared, direction, segment, frame, (acked, forwarded, start), edited, io)
        }
    }
}

/// Octets that stand at or before the next place of the stream.
#[allow(clippy::too_many_arguments)]
fn in_order<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &mut Segment,
    mut frame: Frame,
    (mut acked, mut forwarded, mut start): (usize, usize, StreamOffset),
    mut edited: bool,
    io: &mut Io<'_, M>,
) -> Fate {
    if flow.is_loose && start.0 >= acked as u64 {
        // Which octets the receiver has acknowledged was not verified, so none is cut off.
        (start, forwarded) = (StreamOffset(start.0 - acked as u64), acked + forwarded);
        acked = 0;
    }
    let len = usize::from(segment.payload_len);
    let mut new = len - acked - forwarded;
    let stream = &mut flow.streams[direction.index()];
    let next = stream.next();
    let mut fin = segment.flags.fin();
    if len > 0 && new == 0 {
        shared.counters.retransmitted_segments += 1;
    }
    let bytes = io.pool.bytes_mut(&mut frame);
    let mut frame_len = bytes.len();

    // Octets that the receiver has acknowledged are forgotten here and useless there.
    if acked > 0 {
        if acked == len {
            // A keep-alive, or a retransmission that crossed its acknowledgement: the number alone
            // makes the receiver answer.
            frame_len = edit::cut(bytes, segment, 0);
        } else {
            frame_len = edit::cut_start(bytes, segment, acked);
        }
        edited = true;
    }
    // Octets behind a FIN do not exist.
    if stream.finished && new > 0 {
        shared.anomaly(flow, Anomaly::DataAfterFin, direction, next);
        let bytes = io.pool.bytes_mut(&mut frame);
        frame_len = edit::cut(&mut bytes[..frame_len], segment, forwarded);
        (new, fin, edited) = (0, false, true);
    }
    // What the receiver did not allow, and what it does not take in one piece: it may keep them or not (RFC 9293 section
    // 3.10.7.4, "trim").
    let mut limit = flow.streams[direction.index()].allowance();
    let segment_limit = usize::from(flow.streams[direction.index()].segment_limit);
    if forwarded + new > segment_limit || new > limit {
        let anomaly = if new > limit { Anomaly::OutsideWindow } else { Anomaly::BeyondMss };
        limit = limit.min(segment_limit.saturating_sub(forwarded));
        shared.anomaly(flow, anomaly, direction, next);
        if new > limit {
            let bytes = io.pool.bytes_mut(&mut frame);
            frame_len = edit::cut(&mut bytes[..frame_len], segment, forwarded + limit);
            (new, fin, edited) = (limit, false, true);
        }
    }
    frame.truncate(frame_len);

    let mut then = Next::Go;
    let mut passed = new;
    if new > 0 {
        let remembered =
            flow.streams[direction.index()].queues.as_ref().map_or(0, |queues| queues.remembered.len());
        if remembered >= shared.config.remembered_per_stream {
            // What leaves must be remembered, so it does not leave; its sender sends it again.
            shared.counters.dropped_no_memory += 1;
            passed = 0;
        } else {
            let at = usize::from(segment.payload_start) + forwarded..segment.payload_end();
            let (passage, masked) = judge(flow, shared, direction, &mut frame, at, io);
            passed = passage.forward.min(new);
            then = passage.next;
            edited |= masked;
        }
    }
    let judged = Judged { next, start, forwarded, new, passed, then, fin, edited };
    send_on(flow, shared, direction, segment, frame, judged, io)
}

/// Whether what the client said too early can leave now; `None` if there is nothing of that kind.
fn kept(flow: &Flow) -> Option<bool> {
    flow.dialogue.as_ref()?.takes_kept()
}

/// Lets a segment leave that carries no octets of its stream.
fn leave<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &Segment,
    mut frame: Frame,
    edited: bool,
    io: &mut Io<'_, M>,
) {
    if edited {
        edit::fix_checksums(io.pool.bytes_mut(&mut frame), segment);
    }
    flow.totals.packets[direction.index()] += 1;
    shared.counters.forwarded(edited);
    io.forward(flow.egress(direction), frame);
}

/// Takes segments that waited, as far as the stream has come.
fn release<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    io: &mut Io<'_, M>,
) -> Fate {
    if direction == Direction::ClientToServer && kept(flow) == Some(false) {
        return Fate::Lives;
    }
    while let Some((mut segment, mut frame)) = next_held(flow, shared, direction, io) {
        catch_up(flow, direction, &mut segment, io.pool.bytes_mut(&mut frame));
        let before = flow.streams[direction.index()].next();
        let fate = data(flow, shared, direction, &mut segment, frame, io);
        if fate != Fate::Lives || flow.closing.as_ref().is_some_and(|closing| closing.stands_in()) {
            return fate;
        }
        if flow.streams[direction.index()].next() == before && !segment.flags.fin() {
            // It must wait for the other side; so must those behind it.
            return Fate::Lives;
        }
    }
    Fate::Lives
}
