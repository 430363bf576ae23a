//! The way of plain segments of sessions that are read, and of those that open or end a session.
//!
//! Nearly every segment of an inspected session continues its stream, acknowledges what may be acknowledged and has nothing odd in
//! its headers, and while nothing waits there is nothing to be done beside it. Such a segment is held against the connection
//! once, its octets are given to the dialogue, and it leaves. It must pass the same checks as on the long way
//! ([`super::segment`]), checksum and timestamps included: whatever does not, takes the long way and is judged there, since nothing
//! has changed until then. What the dialogue says beside "more" is done there, too.

use super::depart::{Judged, judge, send_on};
use super::dialogue::Next;
use super::flow::{Flow, Stage};
use super::lane::Plain;
use super::normalize::are_timely;
use super::segment::go_on;
use super::{Earlier, Fate, Io, Shared};
use crate::event::EndReason;
use crate::frame::{Frame, Memory};
use crate::scan::Matcher;
use crate::tcp::queue::Remembered;
use crate::unit::{Direction, PortId};
use crate::wire::{self, Checksums, Flags, Outline, tcp};

/// Lets a segment leave if it is plain; gives it back if not, and nothing has changed. If the dialogue has said more than that it
/// may leave, the connection may have changed: how it was before, and whether it goes on.
#[inline(never)]
pub(super) fn follow<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    ingress: PortId,
    seen: (&Outline, bool),
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Result<Option<(Earlier, Fate)>, Frame> {
    debug_assert!(flow.stage == Stage::Established && flow.closing.is_none() && !flow.is_loose);
    let bytes = io.pool.bytes(&frame);
    let Some(plain) = Plain::new(flow, shared, ingress, seen, bytes, Flags::PSH) else { return Err(frame) };
    let Plain { header, list, len, direction } = plain;
    let (seq, ack, window) = (header.seq(), header.ack(), header.window());
    let Some(stamps) = tcp::plain(list) else { return Err(frame) };
    let (outline, _) = seen;
    let agreement = flow.agreement;
    let (there, back) = flow.both(direction);
    // Without SACK an acknowledgement says something by repeating itself.
    let is_new = len > 0 || ack != back.acked_seq();
    let fits = there.is_continued_by(seq, len)
        & back.is_confirmed_by(ack)
        & (there.remembered_count() < shared.config.remembered_per_stream);
    let fits = fits & (is_new | agreement.sack) & (stamps.is_some() == agreement.timestamps)
        && stamps.is_none_or(|stamps| are_timely(there, back, stamps).is_ok())
        && (shared.checksums() == Checksums::Trust || outline.is_sound(bytes));
    if !fits {
        return Err(frame);
    }

    back.acknowledged(ack, window, &mut shared.spare);
    there.said(window, stamps.map(|stamps| stamps.value));
    let next = there.next();
    flow.last_heard = io.now;
    // Octets behind the packet are of no packet.
    frame.truncate(usize::from(outline.end));
    let payload_start = usize::from(outline.end) - len;
    if len > 0 {
        shared.journal.subject(io.now, Some(flow.tag));
        let at = payload_start..usize::from(outline.end);
        let (passage, edited) = judge(flow, shared, direction, &mut frame, at, io);
        let passed = passage.forward.min(len);
        if passed < len || edited || !matches!(passage.next, Next::Go) {
            let judged = Judged {
                next,
                start: next,
                forwarded: 0,
                new: len,
                passed,
                then: passage.next,
                fin: false,
                edited,
            };
            return Ok(Some(conclude(flow, shared, direction, (outline, frame), judged, io)));
        }
    }
    let sealed = io.pool.seal(frame);
    if len > 0 {
        let entry = Remembered::new(next, sealed.share(), payload_start as u16, len as u16);
        flow.stream(direction).forwarded(entry, &mut shared.spare);
        flow.totals.bytes[direction.index()] += len as u64;
        shared.carried(&flow.tag, len as u64, io.now);
    }
    flow.totals.packets[direction.index()] += 1;
    shared.counters.forwarded(false);
    io.out.push((flow.egress(direction), sealed));
    Ok(None)
}

/// The same for segments without octets that open or end a session, as nearly all of them look: the last acknowledgement of the
/// handshake, a FIN, and what acknowledges one. Each continues its stream and acknowledges everything that left for its sender, so
/// nothing is remembered behind it, and nothing is reported of it. Says how the connection was before; it goes on.
#[inline(never)]
pub(super) fn turn<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    ingress: PortId,
    seen: (&Outline, bool),
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Result<Option<(Earlier, Fate)>, Frame> {
    debug_assert!(flow.stage != Stage::SynSent && flow.closing.is_none() && !flow.is_loose);
    let bytes = io.pool.bytes(&frame);
    let Some(plain) = Plain::new(flow, shared, ingress, seen, bytes, Flags::PSH.with(Flags::FIN)) else {
        return Err(frame);
    };
    let Plain { header, list, len, direction } = plain;
    let (seq, ack, window, fin) = (header.seq(), header.ack(), header.window(), header.flags().fin());
    let Some(stamps) = tcp::plain(list) else { return Err(frame) };
    let (outline, _) = seen;
    let (earlier, agreement) = (Earlier::of(flow, direction), flow.agreement);
    let (there, back) = flow.both(direction);
    let fits = (len == 0)
        & (seq == there.end_seq())
        & (ack == back.end_seq())
        & !(fin && there.finished)
        & (stamps.is_some() == agreement.timestamps)
        && stamps.is_none_or(|stamps| are_timely(there, back, stamps).is_ok())
        && (shared.checksums() == Checksums::Trust || outline.is_sound(bytes));
    if !fits {
        return Err(frame);
    }

    back.acknowledged_all(window, &mut shared.spare);
    let stamp = stamps.map(|stamps| stamps.value);
    if there.finished {
        // It stands behind the stream: what a repeated FIN may say does not depend on it.
        there.window = window;
        stamp.into_iter().for_each(|value| there.stamped(value));
    } else {
        there.said(window, stamp);
        there.finished = fin;
    }
    if flow.stage == Stage::SynReceived && direction == Direction::ClientToServer {
        flow.stage = Stage::Established;
    }
    if flow.stage == Stage::Established && flow.streams.iter().all(|stream| stream.finished) {
        flow.stage = Stage::Finished;
        flow.totals.reason = EndReason::Finished;
    }
    flow.last_heard = io.now;
    flow.totals.packets[direction.index()] += 1;
    shared.counters.forwarded(false);
    // Octets behind the packet are of no packet.
    frame.truncate(usize::from(outline.end));
    io.forward(flow.egress(direction), frame);
    Ok(Some((earlier, Fate::Lives)))
}

/// Does what the dialogue has said of a segment's octets, as on the long way.
#[cold]
fn conclude<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    (outline, frame): (&Outline, Frame),
    judged: Judged,
    io: &mut Io<'_, M>,
) -> (Earlier, Fate) {
    let earlier = Earlier::of(flow, direction);
    // Its headers were read once; the checksum may be wrong by now, since octets were overwritten.
    let Ok(mut segment) = wire::segment(io.pool.bytes(&frame), outline, Checksums::Trust) else {
        return (earlier, Fate::Lives);
    };
    let fate = send_on(flow, shared, direction, &mut segment, frame, judged, io);
    (earlier, go_on(flow, shared, direction, fate, io))
}

#[cfg(test)]
mod tests;
