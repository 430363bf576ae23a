//! Sessions that began before the gateway did ("cold start", Handley and others 2001).
//!
//! Nobody knows what was said in them, so their octets cannot be inspected: a client that is in the middle of a mail and one
//! that sends commands look alike. By default nothing of them passes. Where they are let through, they are marked: reported
//! and counted when the first segment comes, uninspected in every list of sessions. A SYN ends that: what begins
//! while the gateway is there is inspected, so nobody gets past it by sending something else first.

use artifact::model::TopAction;

use super::flow::{Flow, Stage};
use super::generation::Generation;
use super::path::{Opening, Route, route};
use super::segment::drop_as;
use super::{Engine, Fate, Io, Shared, lane};
use crate::anomaly::Anomaly;
use crate::event::{Body, FlowTag};
use crate::flow::{FlowKey, KeyHash};
use crate::frame::{Frame, Memory};
use crate::scan::Matcher;
use crate::unit::{Direction, FlowId, StreamOffset};
use crate::wire::Segment;
use crate::wire::emit::Template;

impl<X: Matcher> Engine<X> {
    /// Begins to carry a session whose beginning was not seen. Returns whether it can.
    pub(super) fn pick_up<M: Memory>(
        &mut self,
        key: (KeyHash, FlowKey),
        opening: &Opening,
        segment: &Segment,
        frame: Frame,
        io: &mut Io<'_, M>,
    ) -> bool {
        let Generation { policy, ports, number, .. } = self.shared.current();
        // Whoever could have opened it is its client; where both could, who sends to the port that is inspected.
        let mut found = None;
        for (opening, client_port) in
            [(*opening, opening.ingress), (opening.reversed(), opening.ingress.other())]
        {
            if let Route::Class { path, class, action: TopAction::Inspect { parameters, .. } } =
                route(policy, ports, &opening)
            {
                found = found.or(Some((opening, client_port, path, class, parameters)));
            }
        }
        let Some((opening, client_port, path, class, parameters)) = found else { return false };
        let tag = FlowTag {
            id: FlowId(self.next_id),
            client: opening.source,
            server: opening.destination,
            path,
            class,
            smtp: None,
            generation: *number,
        };
        let template = Template::capture(io.pool.bytes(&frame), segment);
        let mut flow = Flow::new(tag, client_port, parameters, 0, template, io.now);
        flow.stage = Stage::PickedUp;
        let deadline = flow.expires(self.shared.current().parameters(parameters));
        let Ok(index) = self.table.insert_hashed(key.0, key.1, flow) else { return false };
        let current = self.shared.generations.len() - 1;
        self.shared.generations[current].flow_count += 1;
        self.next_id += self.shared.config.flow_id_step;
        self.timers.schedule(index, deadline);
        let shared = &mut self.shared;
        shared.counters.flows_created += 1;
        shared.counters.flows_active += 1;
        shared.counters.flows_picked_up += 1;
        shared.level_begun(&tag, io.now);
        shared.journal.subject(io.now, Some(tag));
        shared.journal.push(Body::FlowStart);
        if let Some(flow) = self.table.get_mut(index) {
            let direction = if segment.source == tag.client {
                Direction::ClientToServer
            } else {
                Direction::ServerToClient
            };
            shared.anomaly(flow, Anomaly::MiddleOfConnection, direction, StreamOffset(0));
            carry(flow, shared, direction, segment, frame, io);
            shared.level_changed(flow, flow.totals.octets(), io.now);
            flow.lane = lane::lane(flow, shared.config.uninspected);
        }
        true
    }
}

/// Carries a segment of a session whose beginning was not seen.
pub(super) fn carry<X, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &Segment,
    frame: Frame,
    io: &mut Io<'_, M>,
) -> Fate {
    if segment.flags.syn() {
        // The answer to a SYN that did not pass here.
        return drop_as(flow, shared, Anomaly::DifferentSyn, direction, segment.seq);
    }
    flow.last_heard = io.now;
    flow.stream(direction).finished |= segment.flags.fin();
    if segment.flags.rst() {
        flow.streams.iter_mut().for_each(|stream| stream.finished = true);
    }
    flow.totals.bytes[direction.index()] += u64::from(segment.payload_len);
    flow.totals.packets[direction.index()] += 1;
    shared.counters.forwarded(false);
    io.forward(flow.egress(direction), frame);
    Fate::Lives
}
