//! The state of one connection.

use artifact::model::InspectParameters;

use super::close::Closing;
use super::dialogue::Dialogue;
use super::session::State;
use crate::anomaly::Anomaly;
use crate::event::{FlowEnd, FlowTag};
use crate::flow::FlowKey;
use crate::tcp::Stream;
use crate::tcp::handshake::{Agreement, Offer};
use crate::unit::{Direction, Instant, PortId};
use crate::wire::Vlan;
use crate::wire::emit::Template;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The client's SYN was forwarded.
    SynSent,
    /// The server's SYN was forwarded.
    SynReceived,
    /// The client has acknowledged it.
    Established,
    /// Its beginning was not seen; its segments pass as they are.
    PickedUp,
    /// Both sides have sent FIN, or one a RST; kept a little while for what is still under way.
    Finished,
}

impl Stage {
    /// Whether the handshake is still under way.
    #[must_use]
    pub fn is_half_open(self) -> bool {
        matches!(self, Stage::SynSent | Stage::SynReceived)
    }
}

/// Which plain frames of a connection may leave without the long way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// None.
    Closed,
    /// Those that continue their stream, uninspected ([`super::lane`]).
    Numbered,
    /// All: nobody knows the connection's numbers ([`super::lane`]).
    Unnumbered,
    /// Those that continue their stream, when the dialogue has seen their octets ([`super::plain`]).
    Read,
    /// Those without octets that acknowledge everything: the session opens or ends ([`super::plain::turn`]).
    Turning,
}

/// Seconds that a FIN may still be repeated: about what Linux does for a connection that its program has closed
/// (`tcp_orphan_retries`).
const UNSETTLED_SECONDS: u32 = 120;

/// One connection. In the order in which a frame needs it: what stands first shares the cache lines of the key.
#[derive(Debug)]
#[repr(C)]
pub struct Flow {
    /// Which of its frames may leave without the long way.
    pub lane: Lane,
    /// How far it has come.
    pub stage: Stage,
    /// The port that the client's frames come in by.
    pub client_port: PortId,
    /// Whether the client is the lower end of the connection's key.
    pub client_is_low: bool,
    /// Frames took the short way: their numbers were not verified, their octets are not remembered.
    pub is_loose: bool,
    /// The state in which its class counts it.
    pub counted: State,
    /// Index into the policy's session parameters.
    pub parameters: u16,
    /// Last frame.
    pub last_heard: Instant,
    /// The two directions, by [`Direction::index`].
    pub streams: [Stream; 2],
    /// Totals for the audit trail.
    pub totals: FlowEnd,
    /// What both agreed on.
    pub agreement: Agreement,
    /// Who, with whom, under which rules.
    pub tag: FlowTag,
    /// The session's bytes; `None` for a pinhole and once the session is opaque.
    pub dialogue: Option<Dialogue>,
    /// Being refused, and how far that has come.
    pub closing: Option<Closing>,
    /// When to look after a receiver from which something is due.
    pub watch: Option<Instant>,
    /// What the client's SYN offered.
    pub offer: Offer,
    /// What the server's answered.
    pub answer: Offer,
    /// Addresses for segments of the gateway's own.
    pub template: Template,
    /// Whether the server advertised enhanced status codes (kept when the dialogue is gone).
    pub enhanced_codes: bool,
    /// First frame.
    pub created: Instant,
    /// From when on a SYN or RST may be questioned, or a receiver be asked for its window, again.
    pub next_challenge: Instant,
    /// What the server acknowledged instead of the client's SYN: it has an older connection between the same ends.
    pub older: Option<u32>,
    /// Anomalies already reported for this flow, one bit each.
    reported: u64,
}

const _: () = assert!(Anomaly::ALL.len() <= 64, "one bit for each anomaly");
const _: () = assert!(
    size_of::<Flow>() <= 848,
    "with its key it takes 14 cache lines, of which there may be a million"
);

impl Flow {
    /// A connection whose first SYN was just seen, with a dialogue if it is inspected.
    #[must_use]
    pub fn new(
        tag: FlowTag,
        client_port: PortId,
        parameters: u16,
        syn_seq: u32,
        template: Template,
        now: Instant,
    ) -> Self {
        let (_, client_is_low) = FlowKey::between(Vlan::default(), &tag.client, &tag.server);
        Self {
            lane: Lane::Closed,
            stage: Stage::SynSent,
            client_port,
            client_is_low,
            is_loose: false,
            counted: State::Opening,
            parameters,
            last_heard: now,
            streams: [Stream::new(syn_seq), Stream::default()],
            totals: FlowEnd::default(),
            agreement: Agreement::default(),
            tag,
            dialogue: tag.smtp.map(Dialogue::new),
            closing: None,
            watch: None,
            offer: Offer::default(),
            answer: Offer::default(),
            template,
            enhanced_codes: false,
            created: now,
            next_challenge: now,
            older: None,
            reported: 0,
        }
    }

    /// Asks for what a segment needs of the queues of its stream and of the one that goes back, and does not wait.
    #[inline]
    pub fn prefetch_queues(&self) {
        for queues in self.streams.iter().filter_map(|stream| stream.queues.as_deref()) {
            queues.prefetch();
        }
    }

    /// The stream that goes this way.
    pub fn stream(&mut self, direction: Direction) -> &mut Stream {
        &mut self.streams[direction.index()]
    }

    /// The stream that goes this way, and the one that goes back.
    #[inline]
    pub fn both(&mut self, direction: Direction) -> (&mut Stream, &mut Stream) {
        let [client, server] = &mut self.streams;
        match direction {
            Direction::ClientToServer => (client, server),
            Direction::ServerToClient => (server, client),
        }
    }

    /// The port by which frames of this direction leave.
    #[must_use]
    pub fn egress(&self, direction: Direction) -> PortId {
        match direction {
            Direction::ClientToServer => self.client_port.other(),
            Direction::ServerToClient => self.client_port,
        }
    }

    /// Whether this is the first time that the flow shows this anomaly.
    pub fn first_report(&mut self, anomaly: Anomaly) -> bool {
        let bit = 1 << anomaly as u64;
        let first = self.reported & bit == 0;
        self.reported |= bit;
        first
    }

    /// What the flow's timer depends on: when it is to be set anew, this has changed. (Not the time a segment was last
    /// heard: the timer finds out when it fires too early. Nor which of the two SYNs was: a handshake has one deadline.)
    #[must_use]
    #[inline]
    pub fn due(&self) -> (Stage, bool, Option<Instant>) {
        let stage = if self.stage.is_half_open() { Stage::SynSent } else { self.stage };
        (stage, self.is_unsettled(), self.closing.as_ref().map_or(self.watch, |closing| Some(closing.due)))
    }

    /// Whether both sides have said FIN and one of the two may have been lost: a stack repeats it for minutes.
    fn is_unsettled(&self) -> bool {
        let [client, server] = &self.streams;
        client.finished && server.finished && !(client.finish_acked && server.finish_acked)
    }

    /// When the flow is over if nothing more is heard.
    #[must_use]
    pub fn expires(&self, parameters: &InspectParameters) -> Instant {
        let seconds = match self.stage {
            Stage::SynSent | Stage::SynReceived => parameters.tcp_synwait_time,
            Stage::PickedUp if self.is_unsettled() => parameters.tcp_finwait_time.max(UNSETTLED_SECONDS),
            Stage::Established | Stage::PickedUp => parameters.tcp_idle_time,
            Stage::Finished if self.is_unsettled() => parameters.tcp_finwait_time.max(UNSETTLED_SECONDS),
            Stage::Finished => parameters.tcp_finwait_time,
        };
        let since = match self.stage {
            Stage::SynSent | Stage::SynReceived => self.created,
            Stage::Established | Stage::PickedUp | Stage::Finished => self.last_heard,
        };
        since.after_seconds(seconds)
    }
}
