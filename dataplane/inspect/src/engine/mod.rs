//! The journey of a frame as one function, and of a session's bytes as another.
//!
//! [`dialogue`] is the upper half: bytes of one session, both directions, in; how many may leave, out. It
//! knows SMTP, MIME, patterns and the policy, and nothing of packets. The rest is the lower half: frames,
//! connections, TCP, closing. The upper half says *what*, the lower half makes it so on the wire.
//!
//! | file | does |
//! | --- | --- |
//! | [`fragments`] | datagrams that came in fragments |
//! | `burst` | received frames, taken apart and handed on, with the flows of all of them fetched at once |
//! | [`path`] | which class of the top-level policy a connection belongs to |
//! | [`open`] | first segments: SYNs, refusals, what belongs to no connection |
//! | `exchange` | IP that is not TCP, and the answers to it |
//! | [`pickup`] | sessions that began before the gateway did |
//! | [`pressure`] | who makes room when the flow table is full |
//! | `lane` | the short way of frames whose octets are nobody's business |
//! | `plain` | the way of plain segments of sessions that are read, and of those that open and end one |
//! | [`control`] | SYN and RST of a connection |
//! | [`segment`] | its other segments that are not plain: what left before, what is new, what the dialogue says of it |
//! | `depart` | octets that the dialogue is given, and what it says of them |
//! | [`normalize`] | what a single segment may look like |
//! | [`order`] | segments that wait for octets in front of them |
//! | `repair` | what waited here and was lost behind the gateway |
//! | [`limits`] | how many sessions there may be, how many of them half-open |
//! | [`level`] | what each class has of sessions, has had at most, and carried lately |
//! | `half_open`, `rate` | half-open sessions by age; how much happened lately |
//! | [`due`] | timeouts, and frames that run short |
//! | [`close`] | a refused session: the 5xx to the client, the RST to the server, all to the end |
//! | [`flow`] | the state of one connection |
//! | `generation` | the artifact that new sessions begin under, and those that older ones live under |

mod burst;
pub mod close;
mod config;
pub mod control;
mod depart;
pub mod dialogue;
pub mod due;
mod exchange;
pub mod flow;
pub mod fragments;
mod generation;
mod half_open;
mod lane;
pub mod level;
pub mod limits;
pub mod normalize;
pub mod open;
pub mod order;
pub mod path;
pub mod pickup;
mod plain;
pub mod pressure;
mod rate;
mod repair;
pub mod segment;
pub mod session;

pub use config::{Config, Pickup, Uninspected};
pub use generation::{GENERATION_LIMIT, TooManyGenerations};
pub use session::{SessionView, State as SessionState};

use core::time::Duration;
use std::sync::Arc;

use artifact::model::Policy;

use crate::anomaly::Anomaly;
use crate::counter::Counters;
use crate::engine::dialogue::Stores;
use crate::engine::flow::{Flow, Stage};
use crate::engine::path::Route;
use crate::event::{Body, EndReason, FlowEnd, Journal};
use crate::flow::{Exchanges, FlowIndex, FlowKey, KeyHash, Table, Wheel};
use crate::fragment::Reassembly;
use crate::frame::{Frame, Memory, Pool, Sealed};
use crate::scan::Matcher;
use crate::tcp::Spare;
use crate::unit::{Direction, Instant, PortId, StreamOffset};
use crate::wire::{Checksums, Segment};
use burst::Arrival;
use due::Relief;
use generation::Generation;
use limits::Limits;
use pressure::Dice;

/// One worker's engine: everything between the receive and the transmit rings.
#[derive(Debug)]
pub struct Engine<X> {
    table: Table<Flow>,
    timers: Wheel,
    relief: Relief,
    limits: Limits,
    fragments: Reassembly,
    exchanges: Exchanges,
    dice: Dice,
    /// Of the last packet that was made of fragments.
    identification: u16,
    next_id: u64,
    /// Empty between two calls.
    arrivals: (Vec<Arrival>, Vec<Frame>),
    /// Streams whose senders are to be told of what waits; empty between two calls.
    owing: Vec<(FlowIndex, Direction)>,
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
    /// Octets of frames that are not yet counted for their class.
    pub carried: level::Carried,
    /// Segments that wait now.
    pub held_count: usize,
    /// Most that ever waited at once, and most that ever waited in one stream.
    pub held_most: usize,
    pub held_longest: usize,
    /// The sender of a segment is to be told of what waits when the burst is over.
    pub owes: bool,
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
        let generation =
            Generation::new(config.generation, policy, matcher, config.ports, config.worker_count);
        let mut limits = Limits::default();
        if !generation.groups.is_empty() {
            limits.reserve(config.flow_limit, &config.hash_key);
        }
        Self {
            table: Table::new(config.flow_limit, &config.hash_key),
            timers: Wheel::new(config.flow_limit),
            relief: Relief::default(),
            limits,
            fragments: Reassembly::new(config.fragments),
            exchanges: Exchanges::new(config.exchange_limit, &config.hash_key),
            dice: Dice::new(&config.hash_key),
            identification: u16::from_ne_bytes([config.hash_key[0], config.hash_key[1]]),
            next_id: config.flow_id_start,
            arrivals: (Vec::with_capacity(burst::USUAL), Vec::with_capacity(burst::USUAL)),
            owing: Vec::with_capacity(burst::USUAL),
            shared: Shared {
                refusing: false,
                generations: vec![generation],
                stores: Stores::default(),
                config,
                counters: Counters::default(),
                journal: Journal::new(JOURNAL_CAPACITY),
                spare: Spare::default(),
                carried: level::Carried::default(),
                held_count: 0,
                held_most: 0,
                held_longest: 0,
                owes: false,
                scratch: Vec::with_capacity(4096),
            },
        }
    }

    /// Takes a segment; `index` is its connection's, if there is one.
    fn tcp<M: Memory>(
        &mut self,
        ingress: PortId,
        segment: Segment,
        key: (KeyHash, FlowKey),
        index: Option<FlowIndex>,
        frame: Frame,
        io: &mut Io<'_, M>,
    ) {
        let Some(index) = index else {
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
        if segment.flags.syn()
            && !segment.flags.ack()
            && let Some(reason) = begins_anew(flow, direction, &segment)
        {
            self.remove(index, reason, io.now);
            self.open(key, ingress, segment, frame, io);
            return;
        }
        self.shared.journal.subject(io.now, Some(flow.tag));
        let earlier = Earlier::of(flow, direction);
        let fate = segment::receive(flow, &mut self.shared, direction, segment, frame, io);
        self.follow_up(index, earlier, fate, io.now);
    }

    /// Brings up to date what depends on a connection's state, which a segment may have changed.
    fn follow_up(&mut self, index: FlowIndex, earlier: Earlier, fate: Fate, now: Instant) {
        let Some(flow) = self.table.get_mut(index) else { return };
        self.shared.level_changed(flow, flow.totals.octets() - earlier.carried, now);
        let owes = core::mem::take(&mut self.shared.owes);
        if let Fate::Ends(reason) = fate {
            return self.remove(index, reason, now);
        }
        if owes {
            self.owing.push((index, earlier.direction));
        }
        flow.lane = lane::lane(flow, self.shared.config.uninspected);
        if earlier.due != flow.due() {
            let due = self.shared.due(flow);
            // A timer that fires too early is set anew, but not that of a refused session.
            let is_early = self.timers.due(index).is_some_and(|scheduled| scheduled <= due);
            if flow.closing.is_some() || !is_early {
                self.timers.schedule(index, due);
            }
        }
        if earlier.stage.is_half_open() && !flow.stage.is_half_open() {
            let tag = flow.tag;
            self.shared.counters.flows_half_open -= 1;
            self.settled(index, &tag, now);
        }
    }

    /// Sets the flow's timer to what is due next.
    pub(super) fn schedule(&mut self, index: FlowIndex) {
        let Some(flow) = self.table.get(index) else { return };
        self.timers.schedule(index, self.shared.due(flow));
    }

    /// Counts a frame for the class that passed or dropped it.
    pub(super) fn decided(&mut self, route: Route, len: usize) {
        if let Route::Class { path, class, .. } = route {
            self.shared.level_decided(path, class, len);
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
        shared.level_ended(&flow);
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
        self.fragments.clear();
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

/// Whether a SYN opens another connection in place of this one, and how this one ended.
fn begins_anew(flow: &Flow, direction: Direction, syn: &Segment) -> Option<EndReason> {
    let from_client = direction == Direction::ClientToServer;
    match flow.stage {
        // What begins while the gateway is there is inspected.
        Stage::PickedUp => Some(EndReason::Finished),
        // The client uses its port again (RFC 9293 section 3.6.1, TIME-WAIT assassination by a new SYN).
        Stage::Finished if from_client => Some(EndReason::Finished),
        // It gave up before it had an answer, and tries again from the same port. Whichever of the two the server answers, only
        // the answer to the last passes.
        Stage::SynSent if from_client && !flow.streams[0].began_with(syn.seq) => Some(EndReason::SynTimeout),
        _ => None,
    }
}

/// What a connection was like before a segment, as far as something else depends on it.
#[derive(Debug)]
pub(crate) struct Earlier {
    due: (Stage, bool, Option<Instant>),
    stage: Stage,
    carried: u64,
    /// The segment's.
    direction: Direction,
}

impl Earlier {
    #[inline]
    fn of(flow: &Flow, direction: Direction) -> Self {
        Self { due: flow.due(), stage: flow.stage, carried: flow.totals.octets(), direction }
    }
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lives,
    Ends(EndReason),
}

impl<X> Shared<X> {
    /// Whether checksums are verified.
    pub fn checksums(&self) -> Checksums {
        if self.config.verify_checksums { Checksums::Verify } else { Checksums::Trust }
    }

    /// What a dialogue under this SMTP policy needs.
    #[inline(always)]
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

    /// What is due next for a connection, and when.
    #[inline]
    fn due(&self, flow: &Flow) -> Instant {
        if let Some(closing) = &flow.closing {
            return closing.due;
        }
        let generation = &self.generations[self.generation(flow.tag.generation)];
        let expires = flow.expires(generation.parameters(flow.parameters));
        flow.watch.map_or(expires, |watch| watch.min(expires))
    }

    /// Counts frames handed to ports.
    pub fn sent(&mut self, frames: &[(PortId, Sealed)]) {
        for (egress, sealed) in frames {
            self.counters.transmitted(*egress, sealed.len());
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
