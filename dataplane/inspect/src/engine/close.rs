//! A refused session, to the end: the client is told, the server is clean.
//!
//! A plain RST would make the client's mail server try again for days, and a FIN alone would be followed by a RST that
//! can destroy the unread reply. So the gateway stands in for the server toward the client: it says the
//! 5xx at the place of the reply that is due, sends FIN, acknowledges whatever the client still sends, and repeats
//! itself until the client has acknowledged. Toward the server it stands in for the client and resets: the server has
//! seen no end of the bad command and no end of data, so it has nothing to act on (RFC 5321 sections 3.8 and 4.1.1.10).

use core::time::Duration;

use super::dialogue::Next;
use super::flow::{Flow, Stage};
use super::order::{hold, next_held, send, timestamps};
use super::{FIRST_RETRY, Fate, Io, Shared};
use crate::anomaly::Anomaly;
use crate::event::{EndReason, ReplyCode};
use crate::frame::{Frame, Memory};
use crate::rewrite::own::Own;
use crate::scan::Matcher;
use crate::tcp::queue::Remembered;
use crate::tcp::{AckEffect, Placement};
use crate::unit::{Direction, Instant};
use crate::wire::{Flags, Segment};

use Direction::{ClientToServer, ServerToClient};

/// Time that replies to earlier commands may take before the refusal is said without them.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Time without a segment after which a client that is still sending its refused message is given up.
const SWALLOW_IDLE: Duration = Duration::from_secs(60);
/// Time a client has to close after it has the refusal.
const LINGER: Duration = Duration::from_secs(5);
/// Octets a client may send after the refusal.
const ABSORB_LIMIT: u32 = 64 << 10;
/// Times that the refusal is sent again: 0.3 s doubling, 19 s in all.
const MAX_RETRIES: u8 = 5;
/// Time that late segments are still answered after both sides have closed: the last acknowledgement may have been
/// lost. As long as Linux stays in TIME-WAIT (`TCP_TIMEWAIT_LEN`).
const FAREWELL: Duration = Duration::from_secs(60);

/// How far a refusal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Replies to earlier commands are still to come from the server.
    Draining,
    /// The server was reset; the client still sends its message.
    Swallowing,
    /// The client was told and has not acknowledged it.
    Telling,
    /// It has; it may still send and must close.
    Lingering,
    /// Both ends are closed.
    Parting,
}

/// The state of a refusal.
#[derive(Debug, Clone, Copy)]
pub struct Closing {
    step: Step,
    /// When something must be done if nothing happens.
    pub due: Instant,
    /// Octets that came after the refusal.
    absorbed: u32,
    retries: u8,
}

impl Closing {
    fn new(step: Step, due: Instant) -> Self {
        Self { step, due, absorbed: 0, retries: 0 }
    }

    /// Whether the gateway answers for the server now.
    #[must_use]
    pub fn stands_in(&self) -> bool {
        self.step != Step::Draining
    }
}

/// Stops forwarding to the server; the refusal comes after the replies that are due.
pub(super) fn drain<X: Matcher, M: Memory>(flow: &mut Flow, shared: &mut Shared<X>, io: &mut Io<'_, M>) {
    shared.held_count -= flow.stream(ClientToServer).release_held(&mut shared.spare);
    flow.closing = Some(Closing::new(Step::Draining, io.now + DRAIN_TIME));
}

/// Resets the server and takes the rest of the message from the client.
pub(super) fn swallow<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    swallowed: usize,
    io: &mut Io<'_, M>,
) -> Fate {
    stand_in(flow, shared, swallowed, io);
    flow.closing = Some(Closing::new(Step::Swallowing, io.now + SWALLOW_IDLE));
    acknowledge(flow, shared, io);
    Fate::Lives
}

/// Resets the server and tells the client.
pub(super) fn refuse<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    reply: ReplyCode,
    swallowed: usize,
    direction: Direction,
    io: &mut Io<'_, M>,
) -> Fate {
    if flow.closing.as_ref().is_none_or(|closing| !closing.stands_in()) {
        stand_in(flow, shared, if direction == ClientToServer { swallowed } else { 0 }, io);
    }
    tell(flow, shared, reply, io)
}

/// From here on the gateway is the server for the client and the client for the server.
fn stand_in<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    swallowed: usize,
    io: &mut Io<'_, M>,
) {
    reset(flow, shared, ClientToServer, flow.streams[0].end_seq(), io);
    let stream = &mut flow.streams[0];
    shared.held_count -= stream.release_held(&mut shared.spare);
    stream.release(&mut shared.spare);
    stream.swallowed(swallowed);
    let back = &mut flow.streams[1];
    shared.held_count -= back.release_held(&mut shared.spare);
}

/// Says the refusal and FIN, in the server's place.
fn tell<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    reply: ReplyCode,
    io: &mut Io<'_, M>,
) -> Fate {
    if let Some(mut dialogue) = flow.dialogue.take() {
        flow.enhanced_codes = dialogue.enhanced_status_codes();
        dialogue.end(&mut shared.context(io.now, flow.tag.generation, dialogue.smtp()));
    }
    if flow.streams[1].finished {
        // The server has said its last word already, so there is no place for one more.
        let (step, wait) = if flow.streams[1].finish_acked {
            (Step::Lingering, LINGER)
        } else {
            (Step::Telling, FIRST_RETRY)
        };
        flow.closing = Some(Closing::new(step, io.now + wait));
        return Fate::Lives;
    }
    let mut line = [0; 128];
    let text = reply.text(flow.enhanced_codes).as_bytes();
    line[..text.len()].copy_from_slice(text);
    line[text.len()..text.len() + 2].copy_from_slice(b"\r\n");
    let payload = &line[..text.len() + 2];
    let own = Own {
        direction: ServerToClient,
        seq: flow.streams[1].end_seq(),
        ack: flow.streams[0].end_seq(),
        flags: Flags::ACK.with(Flags::PSH).with(Flags::FIN),
        window: open_window(flow),
        timestamps: timestamps(flow, ServerToClient),
        sack: &[],
        payload,
    };
    let made = send(flow, shared, &own, io);
    let offset = flow.streams[1].next();
    let entry = match made {
        Some(made) => Remembered::new(offset, made.sealed, made.payload_start, payload.len() as u16),
        // No chunk was free: it is remembered all the same, and sent when it is due again.
        None => Remembered::copy_of(offset, payload),
    };
    flow.streams[1].forwarded(entry, &mut shared.spare);
    flow.streams[1].finished = true;
    flow.closing = Some(Closing::new(Step::Telling, io.now + FIRST_RETRY));
    Fate::Lives
}

/// A segment of a session whose server the gateway stands in for.
pub(super) fn receive<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: Segment,
    frame: Frame,
    io: &mut Io<'_, M>,
) -> Fate {
    if direction == ServerToClient {
        // It has not accepted the RST: something in front of it was lost. This one has the number it waits for
        // (RFC 5961 section 3.2).
        shared.counters.dropped_closing += 1;
        reset(flow, shared, ClientToServer, segment.ack, io);
        return Fate::Lives;
    }
    let mut fate = take(flow, shared, segment, frame, io);
    while fate == Fate::Lives
        && let Some((segment, frame)) = next_held(flow, shared, ClientToServer, io)
    {
        fate = take(flow, shared, segment, frame, io);
    }
    fate
}

/// Takes what the client still sends, in the server's place.
fn take<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    segment: Segment,
    mut frame: Frame,
    io: &mut Io<'_, M>,
) -> Fate {
    shared.counters.dropped_closing += 1;
    let len = usize::from(segment.payload_len);
    let placement = flow.streams[0].place(segment.seq, len);
    if placement == Placement::Outside {
        return Fate::Lives;
    }
    let effect = flow.streams[1].acknowledge(segment.ack, segment.window, &mut shared.spare);
    if matches!(effect, AckEffect::Unsent | AckEffect::Ancient) {
        return Fate::Lives;
    }
    flow.last_heard = io.now;
    let Some(mut closing) = flow.closing else { return Fate::Lives };
    if let Placement::Ahead(offset) = placement
        && closing.step == Step::Swallowing
        && len > 0
    {
        return hold(flow, shared, ClientToServer, &segment, frame, offset, io);
    }
    let mut fate = Fate::Lives;
    if let Placement::Here { acked, forwarded, .. } = placement
        && !flow.streams[0].finished
    {
        if let Some(stamps) = segment.options.timestamps {
            flow.streams[0].timestamp = stamps.value;
        }
        let new = len - acked - forwarded;
        flow.streams[0].swallowed(new);
        flow.streams[0].finished = segment.flags.fin();
        if closing.step == Step::Swallowing {
            closing.due = io.now + SWALLOW_IDLE;
            flow.closing = Some(closing);
            let start = usize::from(segment.payload_start) + acked + forwarded;
            let bytes = &mut io.pool.bytes_mut(&mut frame)[start..][..new];
            let next = match &mut flow.dialogue {
                Some(dialogue) if new > 0 => {
                    dialogue
                        .client(bytes, &mut shared.context(io.now, flow.tag.generation, dialogue.smtp()))
                        .next
                }
                _ => Next::Go,
            };
            match next {
                Next::Close(reply) => fate = tell(flow, shared, reply, io),
                _ if flow.streams[0].finished => {
                    // It gave up before the end of its message; it may still read.
                    let reply = flow.dialogue.as_ref().map_or(ReplyCode::Policy, |d| d.refusal());
                    fate = tell(flow, shared, reply, io);
                }
                _ => {}
            }
            if let Some(now) = flow.closing {
                closing = now;
            }
        } else {
            closing.absorbed = closing.absorbed.saturating_add(new as u32);
        }
    }
    if fate != Fate::Lives {
        return fate;
    }
    if len > 0 || segment.flags.fin() {
        acknowledge(flow, shared, io);
    }
    if closing.absorbed > ABSORB_LIMIT {
        shared.anomaly(flow, Anomaly::SwallowLimit, ClientToServer, flow.streams[0].next());
        reset(flow, shared, ServerToClient, flow.streams[1].end_seq(), io);
        return Fate::Ends(EndReason::Closed);
    }
    if closing.step == Step::Telling && flow.streams[1].finish_acked {
        closing.step = Step::Lingering;
        closing.due = io.now + LINGER;
    }
    if closing.step == Step::Lingering && flow.streams[0].finished {
        closing.step = Step::Parting;
        closing.due = io.now + FAREWELL;
        flow.stage = Stage::Finished;
        flow.totals.reason = EndReason::Closed;
    }
    flow.closing = Some(closing);
    Fate::Lives
}

/// The refusal's timer.
pub(super) fn due<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    io: &mut Io<'_, M>,
) -> Fate {
    let Some(mut closing) = flow.closing else { return Fate::Lives };
    if closing.due > io.now {
        return Fate::Lives;
    }
    match closing.step {
        Step::Draining => {
            let mut reply = ReplyCode::Policy;
            if let Some(dialogue) = &mut flow.dialogue {
                // It has been given all the time it gets, and says so.
                let context = &mut shared.context(io.now, flow.tag.generation, dialogue.smtp());
                dialogue.client(&mut [], context);
                reply = dialogue.refusal();
            }
            return refuse(flow, shared, reply, 0, ServerToClient, io);
        }
        Step::Telling if closing.retries < MAX_RETRIES => {
            closing.retries += 1;
            closing.due = io.now + FIRST_RETRY * (1 << closing.retries);
            flow.closing = Some(closing);
            tell_again(flow, shared, io);
            return Fate::Lives;
        }
        Step::Parting => {}
        Step::Telling | Step::Lingering | Step::Swallowing => {
            reset(flow, shared, ServerToClient, flow.streams[1].end_seq(), io);
        }
    }
    Fate::Ends(EndReason::Closed)
}

/// Sends what the client has not acknowledged again, the refusal and FIN last.
fn tell_again<X: Matcher, M: Memory>(flow: &mut Flow, shared: &mut Shared<X>, io: &mut Io<'_, M>) {
    /// Segments repeated at a time.
    const AT_A_TIME: usize = 8;
    let Some(queues) = flow.streams[1].queues.take() else {
        // Only the FIN is missing.
        let own =
            from_server(flow, flow.streams[1].end_seq().wrapping_sub(1), Flags::ACK.with(Flags::FIN), &[]);
        send(flow, shared, &own, io);
        return;
    };
    let count = queues.remembered.len();
    let mut scratch = core::mem::take(&mut shared.scratch);
    for (index, entry) in queues.remembered.iter().enumerate().take(AT_A_TIME) {
        scratch.clear();
        scratch.extend_from_slice(entry.bytes(io.pool));
        let last = index + 1 == count;
        let flags = if last { Flags::ACK.with(Flags::PSH).with(Flags::FIN) } else { Flags::ACK };
        let own = from_server(flow, flow.streams[1].seq(entry.offset), flags, &scratch);
        send(flow, shared, &own, io);
    }
    shared.scratch = scratch;
    flow.streams[1].queues = Some(queues);
}

fn from_server<'a>(flow: &Flow, seq: u32, flags: Flags, payload: &'a [u8]) -> Own<'a> {
    Own {
        direction: ServerToClient,
        seq,
        ack: flow.streams[0].end_seq(),
        flags,
        window: open_window(flow),
        timestamps: timestamps(flow, ServerToClient),
        sack: &[],
        payload,
    }
}

/// The server's window, but open: the client must be able to send what is thrown away.
fn open_window(flow: &Flow) -> u16 {
    const ENOUGH: u32 = 64 << 10;
    let needed = ENOUGH >> flow.agreement.server_shift;
    flow.streams[1].window.max(u16::try_from(needed).unwrap_or(u16::MAX))
}

/// Acknowledges what the client has sent, in the server's place.
fn acknowledge<X: Matcher, M: Memory>(flow: &mut Flow, shared: &mut Shared<X>, io: &mut Io<'_, M>) {
    let own = from_server(flow, flow.streams[1].end_seq(), Flags::ACK, &[]);
    send(flow, shared, &own, io);
}

/// Resets the receiver of `direction` in its sender's name.
fn reset<X: Matcher, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    seq: u32,
    io: &mut Io<'_, M>,
) {
    let own = Own {
        direction,
        seq,
        ack: flow.streams[direction.reverse().index()].end_seq(),
        flags: Flags::RST.with(Flags::ACK),
        window: 0,
        timestamps: None,
        sack: &[],
        payload: &[],
    };
    send(flow, shared, &own, io);
}

/// Ends a connection toward both sides.
pub(super) fn reset_both<X: Matcher, M: Memory>(flow: &mut Flow, shared: &mut Shared<X>, io: &mut Io<'_, M>) {
    let [client, server] = [flow.streams[0].end_seq(), flow.streams[1].end_seq()];
    reset(flow, shared, ClientToServer, client, io);
    if flow.stage != Stage::SynSent {
        reset(flow, shared, ServerToClient, server, io);
    }
}

/// Ends a connection that is not established toward both sides, as the Cisco firewall does when it deletes a half-open
/// session. The number toward a client whose SYN is not answered yet does not matter: the acknowledgement does (RFC 9293
/// section 3.5.2).
pub(super) fn delete<X: Matcher, M: Memory>(flow: &mut Flow, shared: &mut Shared<X>, io: &mut Io<'_, M>) {
    reset_both(flow, shared, io);
    if flow.stage == Stage::SynSent {
        reset(flow, shared, ServerToClient, 0, io);
    }
}
