//! Segments that begin and end connections: SYN and RST.

use super::flow::{Flow, Stage};
use super::open::bare;
use super::order::challenge;
use super::segment::drop_as;
use super::{Fate, Io, Shared};
use crate::anomaly::Anomaly;
use crate::event::EndReason;
use crate::frame::{Frame, Memory};
use crate::scan::Matcher;
use crate::tcp::Stream;
use crate::tcp::handshake::{Agreement, Offer};
use crate::unit::{Direction, StreamOffset};
use crate::wire::{Flags, Segment, edit};

/// A SYN of a known connection: the server's answer, or one of the two sent again.
pub(super) fn synchronize<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    mut segment: Segment,
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Fate {
    let answers = segment.flags.ack();
    let from_server = direction == Direction::ServerToClient;
    let client_started = flow.streams[0].seq(StreamOffset(0));
    if from_server && answers && flow.stage == Stage::SynSent && segment.ack != client_started {
        return question(flow, shared, segment, frame, io);
    }
    let offer = Offer::new(&segment);
    // The first sequence numbers and options win, once the server has answered (see `begins_anew`); and a SYN from the server
    // that acknowledges nothing (a simultaneous open) has no place in a session that a client opens.
    let fits = match (from_server, flow.stage) {
        (false, _) => !answers && flow.streams[0].began_with(segment.seq) && offer.is_within(&flow.offer),
        (true, Stage::SynSent) => answers && segment.ack == client_started,
        (true, _) => {
            answers
                && segment.ack == client_started
                && flow.streams[1].began_with(segment.seq)
                && offer == Offer { ecn: offer.ecn, ..flow.answer }
        }
    };
    if !fits || flow.closing.is_some() || flow.stage == Stage::Finished {
        if flow.stage != Stage::SynSent {
            challenge(flow, shared, direction, io);
        }
        return drop_as(flow, shared, Anomaly::DifferentSyn, direction, segment.seq);
    }
    let edited = bare(flow, shared, direction, &mut segment, &mut frame, io);
    if !from_server && flow.stage == Stage::SynSent {
        flow.offer = offer;
    }
    if from_server && flow.stage == Stage::SynSent {
        flow.answer = offer;
        flow.agreement = Agreement::new(flow.offer, offer);
        let mut stream = Stream::new(segment.seq);
        // Windows in a SYN are never scaled (RFC 7323 section 2.2), so the shifts come after this.
        stream.acknowledged_all(flow.streams[0].window, &mut shared.spare);
        flow.streams[0].acknowledged_all(segment.window, &mut shared.spare);
        stream.segment_limit = flow.offer.segment_limit();
        flow.streams[0].segment_limit = offer.segment_limit();
        stream.window_shift = flow.agreement.client_shift;
        flow.streams[0].window_shift = flow.agreement.server_shift;
        flow.streams[1] = stream;
        flow.stage = Stage::SynReceived;
    }
    let stream = flow.stream(direction);
    stream.window = segment.window;
    if let Some(stamps) = segment.options.timestamps {
        (stream.timestamp, stream.newest_timestamp) = (stamps.value, stamps.value);
    }
    flow.last_heard = io.now;
    shared.counters.forwarded(edited);
    flow.totals.packets[direction.index()] += 1;
    io.forward(flow.egress(direction), frame);
    Fate::Lives
}

/// What a server says to a SYN when it still has an older connection between the same ends, or had another SYN before: it
/// acknowledges what it has of that (RFC 9293 section 3.5.1, figures 8 and 10; RFC 5961 section 4.2; a TIME-WAIT that a SYN may not
/// end, RFC 6191). Gateways lose connections that servers keep: they are restarted, or were told to forget. The client must hear it:
/// only its RST, which has the acknowledged number, makes the server let go, and only then is its SYN answered.
///
/// What leaves is a bare acknowledgement of another number than the one that the client waits for, so a client that is opening a
/// connection can do nothing with it but reset.
pub(super) fn question<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    mut segment: Segment,
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Fate {
    let direction = Direction::ServerToClient;
    let awaited = flow.streams[0].seq(StreamOffset(0));
    if segment.ack == awaited || segment.flags.fin() || segment.payload_len > 0 && !segment.flags.syn() {
        shared.counters.dropped_state += 1;
        return Fate::Lives;
    }
    let bytes = io.pool.bytes_mut(&mut frame);
    edit::set_flags(bytes, &mut segment, Flags::ACK);
    // Those of a SYN may not stand in what is none.
    edit::sanitize_options(bytes, &mut segment);
    bare(flow, shared, direction, &mut segment, &mut frame, io);
    edit::fix_checksums(io.pool.bytes_mut(&mut frame), &segment);
    flow.older = Some(segment.ack);
    shared.anomaly(flow, Anomaly::OlderConnection, direction, StreamOffset(0));
    shared.counters.forwarded(true);
    flow.totals.packets[direction.index()] += 1;
    io.forward(flow.egress(direction), frame);
    Fate::Lives
}

/// A RST. Passed on only where the receiver can take it for the end of the connection; the state stays for
/// a while, since nobody knows whether it arrived and was accepted.
pub(super) fn reset<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    mut segment: Segment,
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Fate {
    let reason = match direction {
        Direction::ClientToServer => EndReason::ClientReset,
        Direction::ServerToClient => EndReason::ServerReset,
    };
    let refused = flow.stage == Stage::SynSent
        && direction == Direction::ServerToClient
        && segment.flags.ack()
        && segment.ack == flow.streams[0].seq(StreamOffset(0));
    let expected = flow.stage != Stage::SynSent && flow.stream(direction).expects(segment.seq)
        || flow.stage == Stage::SynSent
            && direction == Direction::ClientToServer
            && segment.seq == flow.streams[0].seq(StreamOffset(0));
    let lets_go = flow.stage == Stage::SynSent
        && direction == Direction::ClientToServer
        && flow.older.take_if(|number| *number == segment.seq).is_some();
    if !(refused || expected || lets_go) {
        if flow.stage != Stage::SynSent && flow.stream(direction).is_in_window(segment.seq) {
            challenge(flow, shared, direction, io);
        }
        return drop_as(flow, shared, Anomaly::InvalidReset, direction, segment.seq);
    }
    if let Some(closing) = &mut flow.closing
        && closing.stands_in()
    {
        // The server's end was ours already; a client that resets has given up.
        shared.counters.dropped_closing += 1;
        return match direction {
            Direction::ClientToServer => Fate::Ends(EndReason::Closed),
            Direction::ServerToClient => Fate::Lives,
        };
    }
    let edited = bare(flow, shared, direction, &mut segment, &mut frame, io);
    flow.last_heard = io.now;
    flow.totals.packets[direction.index()] += 1;
    shared.counters.forwarded(edited);
    io.forward(flow.egress(direction), frame);
    if refused {
        return Fate::Ends(reason);
    }
    if lets_go {
        // Of the older connection. The client goes on opening its own.
        return Fate::Lives;
    }
    flow.closing = None;
    if flow.stage != Stage::Finished {
        flow.stage = Stage::Finished;
        flow.totals.reason = reason;
    }
    Fate::Lives
}
