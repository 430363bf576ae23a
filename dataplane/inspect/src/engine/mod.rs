//! The journey of a frame as one function, and of a session's bytes as another.
//!
//! [`dialogue`] is the upper half: bytes of one session, both directions, in; how many may leave, out. It
//! knows SMTP, MIME, patterns and the policy, and nothing of packets. The rest is the lower half: frames,
//! connections, TCP, closing. The upper half says *what*, the lower half makes it so on the wire.
//!
//! | file | does |
//! | --- | --- |
//! | [`path`] | which class of the top-level policy a connection belongs to |
//! | [`open`] | first segments: SYNs, refusals, what belongs to no connection |
//! | [`control`] | SYN and RST of a connection |
//! | [`segment`] | its other segments: what left before, what is new, what the dialogue says of it |
//! | [`order`] | segments that wait for octets in front of them |
//! | [`limits`] | how many sessions there may be, how many of them half-open |
//! | `half_open` | half-open sessions by age |
//! | [`due`] | timeouts, and frames that run short |
//! | [`close`] | a refused session: the 5xx to the client, the RST to the server, all to the end |
//! | [`flow`] | the state of one connection |
//! | `generation` | the artifact that new sessions begin under, and those that older ones live under |

pub mod close;
mod config;
pub mod control;
pub mod dialogue;
pub mod due;
pub mod flow;
mod generation;
mod half_open;
pub mod limits;
pub mod open;
pub mod order;
pub mod path;
pub mod segment;
pub mod session;

pub use config::Config;
pub use generation::{GENERATION_LIMIT, TooManyGenerations};
pub use session::{SessionView, State as SessionState};

use core::time::Duration;
use std::sync::Arc;

use artifact::model::Policy;

use crate::anomaly::Anomaly;
use crate::counter::Counters;
use crate::engine::dialogue::Stores;
use crate::engine::flow::{Flow, Stage};
use crate::engine::path::{Opening, Route, route};
use crate::event::{Body, EndReason, FlowEnd, Journal};
use crate::flow::{FlowIndex, FlowKey, Table, Wheel};
use crate::frame::{Frame, Memory, Pool, Sealed};
use crate::scan::Matcher;
use crate::tcp::Spare;
use crate::unit::{Direction, Instant, PortId, StreamOffset};
use crate::wire::{self, Checksums, Malformed, Packet, Segment};
use due::Relief;
use generation::Generation;
use limits::Limits;

/// One worker's engine: everything between the receive and the transmit rings.
#[derive(Debug)]
pub struct Engine<X> {
    table: Table<Flow>,
    timers: Wheel,
    relief: Relief,
    limits: Limits,
    next_id: u64,
    shared: Shared<X>,
}

/// What every connection of a worker uses.
#[derive(Debug)]
pub(crate) struct Shared<X> {
    /// The last is the current one.
    pub generations: Vec<Generation<X>>,
    /// No session may begin.
    pub refusing: bool,
    pub stores: Stores,
    pub config: Config,
    pub counters: Counters,
    pub journal: Journal,
    pub spare: Spare,
    /// Segments that wait now.
    pub held_count: usize,
    /// Octets to be sent again, on their way from one frame to another.
    pub scratch: Vec<u8>,
}

/// What one call was given to work with.
#[derive(Debug)]
pub(crate) struct Io<'a, M> {
    pub now: Instant,
    pub pool: &'a mut Pool<M>,
    pub out: &'a mut Vec<(PortId, Sealed)>,
}

impl<M: Memory> Io<'_, M> {
    /// Seals a frame and queues it.
    pub fn forward(&mut self, egress: PortId, frame: Frame) {
        let sealed = self.pool.seal(frame);
        self.out.push((egress, sealed));
    }
}

/// Records there is room for between two drains.
const JOURNAL_CAPACITY: usize = 4096;

impl<X: Matcher> Engine<X> {
    /// An engine without flows.
    #[must_use]
    pub fn new(policy: Arc<Policy>, matcher: X, config: Config) -> Self {
        let generation = Generation::new(config.generation, policy, matcher, config.ports, config.worker_count);
        let mut limits = Limits::default();
        if !generation.groups.is_empty() {
            limits.reserve(config.flow_limit, &config.hash_key);
        }
        Self {
            table: Table::new(config.flow_limit, &config.hash_key),
            timers: Wheel::new(config.flow_limit),
            relief: Relief::default(),
            limits,
            next_id: config.flow_id_start,
            shared: Shared {
                refusing: false,
                generations: vec![generation],
                stores: Stores::default(),
                config,
                counters: Counters::default(),
                journal: Journal::new(JOURNAL_CAPACITY),
                spare: Spare::default(),
                held_count: 0,
                scratch: Vec::with_capacity(4096),
            },
        }
    }

    /// Takes one received frame and appends what is to be transmitted, in order, to `out`.
    pub fn receive<M: Memory>(
        &mut self,
        now: Instant,
        ingress: PortId,
        frame: Frame,
        pool: &mut Pool<M>,
        out: &mut Vec<(PortId, Sealed)>,
    ) {
        let mut io = Io { now, pool, out };
        let queued = io.out.len();
        self.shared.counters.received(ingress, frame.len());
        let checksums =
            if self.shared.config.verify_checksums { Checksums::Verify } else { Checksums::Trust };
        match wire::parse(io.pool.bytes(&frame), checksums) {
            Ok(Packet::Tcp(segment)) => self.tcp(ingress, segment, frame, &mut io),
            Ok(Packet::OtherIp { protocol, source, destination }) => {
                self.other(Opening { ingress, protocol, source, destination }, frame, &mut io);
            }
            Ok(Packet::NotIp | Packet::Neighbor) => {
                self.shared.counters.frames_forwarded += 1;
                io.forward(ingress.other(), frame);
            }
            Ok(Packet::Fragment) => self.shared.counters.dropped_fragment += 1,
            Err(Malformed::Checksum) => self.shared.counters.dropped_checksum += 1,
            Err(_) => self.shared.counters.dropped_malformed += 1,
        }
        for (egress, sealed) in &io.out[queued..] {
            self.shared.counters.transmitted(*egress, sealed.len());
        }
    }

    fn tcp<M: Memory>(&mut self, ingress: PortId, segment: Segment, frame: Frame, io: &mut Io<'_, M>) {
        let (key, _) = FlowKey::new(&segment);
        let Some(index) = self.table.lookup(&key) else {
            self.open(key, ingress, segment, frame, io);
            return;
        };
        let Some(flow) = self.table.get_mut(index) else { return };
        let direction =
            if ingress == flow.client_port { Direction::ClientToServer } else { Direction::ServerToClient };
        let sender = match direction {
            Direction::ClientToServer => flow.tag.client,
            Direction::ServerToClient => flow.tag.server,
        };
        if segment.source != sender {
            // The right addresses at the wrong port of the gateway.
            self.shared.counters.dropped_state += 1;
            return;
        }
        let new_connection = segment.flags.syn()
            && !segment.flags.ack()
            && flow.stage == Stage::Finished
            && direction == Direction::ClientToServer;
        if new_connection {
            // The client uses its port again (RFC 9293 section 3.6.1, TIME-WAIT assassination by a new SYN).
            self.remove(index, EndReason::Finished, io.now);
            self.open(key, ingress, segment, frame, io);
            return;
        }
        self.shared.journal.subject(io.now, Some(flow.tag));
        let due = flow.due();
        let stage = flow.stage;
        let fate = segment::receive(flow, &mut self.shared, direction, segment, frame, io);
        match fate {
            Fate::Ends(reason) => self.remove(index, reason, io.now),
            Fate::Lives => {
                let settled = stage.is_half_open() && !flow.stage.is_half_open();
                let (tag, due_changed) = (flow.tag, due != flow.due());
                if settled {
                    self.shared.counters.flows_half_open -= 1;
                    self.settled(index, &tag, io.now);
                }
                if due_changed {
                    self.schedule(index);
                }
            }
        }
    }

    /// Sets the flow's timer to what is due next.
    pub(super) fn schedule(&mut self, index: FlowIndex) {
        let Some(flow) = self.table.get(index) else { return };
        let due = match &flow.closing {
            Some(closing) => closing.due,
            None => {
                let generation = &self.shared.generations[self.shared.generation(flow.tag.generation)];
                flow.expires(generation.parameters(flow.parameters))
            }
        };
        self.timers.schedule(index, due);
    }

    /// IP that is not TCP: let through or not by the top level alone.
    fn other<M: Memory>(&mut self, opening: Opening, frame: Frame, io: &mut Io<'_, M>) {
        use artifact::model::TopAction;
        let Generation { policy, ports, .. } = self.shared.current();
        let there = route(policy, ports, &opening);
        let passes = match there {
            Route::Open => true,
            Route::Shut => false,
            Route::Class { action, .. } => !matches!(action, TopAction::Drop { .. }),
        };
        // What an `inspect` class lets through, it also lets back.
        let returns = matches!(
            route(policy, ports, &opening.reversed()),
            Route::Class { action: TopAction::Inspect { .. }, .. }
        );
        if passes || returns || self.concerns_session(opening.ingress, io.pool.bytes(&frame)) {
            self.shared.counters.frames_forwarded += 1;
            io.forward(opening.ingress.other(), frame);
        } else {
            self.refuse(&opening, there, io.now);
        }
    }

    /// Whether a frame is an ICMP error about a segment that a session may really have under way, coming from where
    /// that segment went. Anybody can make one up, so the quoted number must be right (RFC 5927 section 4).
    fn concerns_session(&mut self, ingress: PortId, frame: &[u8]) -> bool {
        let Some(quoted) = wire::icmp::quoted(frame) else { return false };
        let (key, _) = FlowKey::between(quoted.vlan, &quoted.source, &quoted.destination);
        let Some(flow) = self.table.lookup(&key).and_then(|index| self.table.get_mut(index)) else {
            return false;
        };
        let direction = if quoted.source == flow.tag.client {
            Direction::ClientToServer
        } else {
            Direction::ServerToClient
        };
        quoted.receiver == quoted.source.address
            && ingress == flow.egress(direction)
            && flow.stream(direction).expects(quoted.seq)
    }

    /// Counts what no policy lets through, and reports it where `drop log` says so.
    fn refuse(&mut self, opening: &Opening, route: Route, now: Instant) {
        use artifact::model::TopAction;
        self.shared.counters.dropped_policy += 1;
        if let Route::Class { action: TopAction::Drop { log: true }, .. } = route {
            self.shared.journal.subject(now, None);
            self.shared.journal.push(Body::Refused {
                ingress: opening.ingress,
                source: opening.source,
                destination: opening.destination,
                protocol: opening.protocol,
            });
        }
    }

    pub(super) fn remove(&mut self, index: FlowIndex, reason: EndReason, now: Instant) {
        self.timers.cancel(index);
        let Some(mut flow) = self.table.remove(index) else { return };
        self.ended(index, &flow.tag, now);
        let shared = &mut self.shared;
        shared.journal.subject(now, Some(flow.tag));
        if let Some(mut dialogue) = flow.dialogue.take() {
            dialogue.end(&mut shared.context(now, flow.tag.generation, dialogue.smtp()));
        }
        for stream in &mut flow.streams {
            shared.held_count -= stream.release_held(&mut shared.spare);
            stream.release(&mut shared.spare);
        }
        shared.leave(flow.tag.generation);
        shared.counters.flows_active -= 1;
        shared.counters.flows_half_open -= u64::from(flow.stage.is_half_open());
        shared.counters.flows_ended[reason as usize] += 1;
        shared.journal.push(Body::FlowEnd(FlowEnd {
            duration_nanos: flow.last_heard.since(flow.created).as_nanos() as u64,
            reason,
            ..flow.totals
        }));
    }

    /// From now on no session begins that would be inspected or followed (or they do again); those that exist go on.
    pub fn refuse_new(&mut self, refuse: bool) {
        self.shared.refusing = refuse;
    }

    /// Ends every session without a word to anybody: the gateway is stopping.
    pub fn shut_down(&mut self, now: Instant) {
        let all: Vec<FlowIndex> = self.table.iter().map(|(index, ..)| index).collect();
        for index in all {
            self.remove(index, EndReason::Shutdown, now);
        }
    }

    /// Sessions there are now.
    #[must_use]
    pub fn flow_count(&self) -> usize {
        self.table.len()
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Records since the last drain.
    pub fn journal_mut(&mut self) -> &mut Journal {
        &mut self.shared.journal
    }
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lives,
    Ends(EndReason),
}

impl<X> Shared<X> {
    /// What a dialogue under this SMTP policy needs.
    pub fn context(&mut self, now: Instant, generation: u32, smtp: u16) -> dialogue::Context<'_, X> {
        let generation = self.generation(generation);
        let generation = &mut self.generations[generation];
        dialogue::Context {
            now,
            rules: &generation.rules[usize::from(smtp)],
            matcher: &mut generation.matcher,
            stores: &mut self.stores,
            journal: &mut self.journal,
            counters: &mut self.counters,
        }
    }

    /// Counts an anomaly, and reports it the first time that a flow shows it.
    pub fn anomaly(&mut self, flow: &mut Flow, anomaly: Anomaly, direction: Direction, offset: StreamOffset) {
        self.counters.anomaly(anomaly);
        if flow.first_report(anomaly) {
            self.journal.push(Body::Anomaly { anomaly, direction, offset });
        }
    }
}

/// Time a segment of the gateway's own has to be acknowledged before it is sent again for the first time.
pub(crate) const FIRST_RETRY: Duration = Duration::from_millis(300);
