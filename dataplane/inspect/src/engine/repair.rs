//! Octets that the sender was told had come, and that were lost behind the gateway.
//!
//! A segment that waited here was named to its sender in a SACK block, so that nobody but the gateway sends it again: a sender
//! believes a block until its retransmission timer runs out (RFC 2018 section 8, RFC 6675 section 5.1). So the gateway answers for
//! everything in front of the last octet that waited: it keeps back what the receiver says of it until all of it has arrived
//! ([`super::order::withholds`]), and sends what is missing again from what it remembers, which is what it forwarded, octet for
//! octet.
//!
//! What is missing: a segment that no block covers while two segments' worth behind it have come (RFC 6675 section 4, `IsLost`). It is
//! sent once, and again only when something has come that left after it. If the receiver says nothing new, the first segment is sent
//! again after [`PATIENCE`], doubling; after [`MAX_TRIES`] the promise is taken back and the receiver's own words pass.
//! So a receiver that tells lies gets some segments more than once, at most [`AT_A_TIME`] for one of its own.

use core::time::Duration;

use super::flow::{Flow, Stage};
use super::order::{pay, send, timestamps};
use super::{Io, Shared};
use crate::frame::Memory;
use crate::rewrite::own::Own;
use crate::scan::Matcher;
use crate::tcp::Stream;
use crate::unit::{Direction, Instant, StreamOffset};
use crate::wire::Flags;

/// How long a receiver may say nothing new while something is due from it: longer than a receiver waits with an
/// acknowledgement (40 ms in Linux, `TCP_DELACK_MIN`), shorter than the shortest retransmission timeout (200 ms, `TCP_RTO_MIN`).
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// Times that the first missing segment is sent again without an answer: 0.75 s in all.
const MAX_TRIES: u8 = 3;

/// Segments sent again for one segment of the receiver.
const AT_A_TIME: usize = 8;

/// Segments' worth that must have come behind one that is lost: "(DupThresh - 1) * SMSS" (RFC 6675 section 4).
const BEHIND: u64 = 2;

/// How far the gateway answers for a stream; `None` when the receiver has all of that, or when it misses what took the short way
/// ([`super::lane`]) and is not remembered.
pub(super) fn promised(stream: &Stream) -> Option<StreamOffset> {
    let queues = stream.queues.as_ref()?;
    let promised = queues.promised.min(stream.next());
    let is_remembered = queues.remembered.front().is_some_and(|entry| entry.offset <= stream.acked());
    (stream.acked() < promised && is_remembered).then_some(promised)
}

/// Whether a duplicate acknowledgement waits.
fn is_owed(stream: &Stream) -> bool {
    stream.queues.as_ref().is_some_and(|queues| queues.owed.count > 0)
}

/// Sets the flow's timer, since something is due from a receiver.
pub(super) fn watch(timer: &mut Option<Instant>, now: Instant) {
    *timer = timer.or(Some(now + PATIENCE));
}

/// Sends again what the receiver of this direction misses of what the gateway answers for.
pub(super) fn repair<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    io: &mut Io<'_, M>,
) {
    let stream = &mut flow.streams[direction.index()];
    let Some(limit) = promised(stream) else { return };
    let (acked, next) = (stream.acked(), stream.next());
    let Some(queues) = &mut stream.queues else { return };
    let reported = queues.reported;
    if reported > queues.repair.left {
        // Something came that left after everything that was sent again.
        queues.repair.until = acked;
    }
    let mut until = queues.repair.until.max(acked);
    let mut budget = AT_A_TIME;
    let mut index = queues.remembered.partition_point(|entry| entry.end() <= until);
    while budget > 0
        && let Some(queues) = &mut flow.streams[direction.index()].queues
        && let Some(entry) = queues.remembered.get(index)
        && entry.offset < limit
        && reported.0 > entry.end().0 + BEHIND * u64::from(entry.len)
    {
        until = entry.end();
        if !entry.is_reported {
            queues.repair.left = next;
            budget -= 1;
            send_again(flow, shared, direction, index, io);
        }
        index += 1;
    }
    if let Some(queues) = &mut flow.streams[direction.index()].queues {
        queues.repair.until = until;
    }
}

/// Sends a remembered segment once more, in its sender's name.
fn send_again<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    index: usize,
    io: &mut Io<'_, M>,
) {
    let stream = &flow.streams[direction.index()];
    let Some(entry) = stream.queues.as_ref().and_then(|queues| queues.remembered.get(index)) else { return };
    let mut payload = core::mem::take(&mut shared.scratch);
    payload.clear();
    payload.extend_from_slice(entry.bytes(io.pool));
    let own = Own {
        direction,
        seq: stream.seq(entry.offset),
        ack: flow.streams[direction.reverse().index()].acked_seq(),
        flags: Flags::ACK,
        window: stream.window,
        timestamps: timestamps(flow, direction),
        sack: &[],
        payload: &payload,
    };
    if send(flow, shared, &own, io).is_some() {
        shared.counters.repaired_segments += 1;
    }
    shared.scratch = payload;
}

/// The flow's timer: looks after receivers that have said nothing new.
pub(super) fn due<X: Matcher, M: Memory>(flow: &mut Flow, shared: &mut Shared<X>, io: &mut Io<'_, M>) {
    flow.watch = None;
    if flow.stage == Stage::Finished {
        return;
    }
    for direction in [Direction::ClientToServer, Direction::ServerToClient] {
        let stream = &mut flow.streams[direction.index()];
        let (acked, next, answers) = (stream.acked(), stream.next(), promised(stream).is_some());
        let Some(queues) = &mut stream.queues else { continue };
        let mut at = queues.owed.since + PATIENCE * (1 << queues.repair.tries);
        if at <= io.now {
            at = io.now + PATIENCE;
            queues.owed.since = io.now;
            if answers && queues.repair.tries < MAX_TRIES {
                queues.repair.tries += 1;
                (queues.repair.until, queues.repair.left) = (acked, next);
                send_again(flow, shared, direction, 0, io);
            } else if answers {
                queues.promised = acked;
                shared.counters.repairs_given_up += 1;
            }
            if is_owed(&flow.streams[direction.index()]) {
                pay(flow, shared, direction, false, io);
            }
        }
        let stream = &flow.streams[direction.index()];
        if is_owed(stream) || promised(stream).is_some() {
            flow.watch = Some(flow.watch.map_or(at, |other| other.min(at)));
        }
    }
}
