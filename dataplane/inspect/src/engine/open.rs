//! First segments of a connection, and segments that belong to none.

use artifact::model::TopAction;

use super::flow::Flow;
use super::generation::Generation;
use super::normalize::normalize;
use super::path::{Opening, Route, route};
use super::{Engine, Io, Pickup, Shared};
use crate::anomaly::Anomaly;
use crate::event::{Body, FlowTag};
use crate::flow::{FlowKey, KeyHash};
use crate::frame::{Frame, Memory};
use crate::scan::Matcher;
use crate::tcp::handshake::Offer;
use crate::unit::{Direction, FlowId, PortId, StreamOffset};
use crate::wire::emit::Template;
use crate::wire::{Segment, TCP, edit};

impl<X: Matcher> Engine<X> {
    /// A TCP segment of no known connection.
    pub(super) fn open<M: Memory>(
        &mut self,
        key: (KeyHash, FlowKey),
        ingress: PortId,
        segment: Segment,
        frame: Frame,
        io: &mut Io<'_, M>,
    ) {
        let opening =
            Opening { ingress, protocol: TCP, source: segment.source, destination: segment.destination };
        let Generation { policy, ports, number, .. } = self.shared.current();
        let there = route(policy, ports, &opening);
        let flags = segment.flags;
        if flags.syn() && !flags.ack() {
            match there {
                Route::Class { path, class, action: TopAction::Inspect { parameters, smtp } } => {
                    let odd = if flags.rst() || flags.fin() {
                        Some(Anomaly::BadFlags)
                    } else {
                        is_martian(&segment).then_some(Anomaly::Martian)
                    };
                    if let Some(anomaly) = odd {
                        self.shared.counters.anomaly(anomaly);
                        self.shared.counters.dropped_state += 1;
                        return;
                    }
                    if self.shared.refusing {
                        // Its client tries again, and finds who comes after this gateway.
                        self.shared.counters.dropped_draining += 1;
                        return;
                    }
                    let tag = FlowTag {
                        id: FlowId(self.next_id),
                        client: segment.source,
                        server: segment.destination,
                        path,
                        class,
                        smtp,
                        generation: *number,
                    };
                    if !self.admit(&tag, io) {
                        return;
                    }
                    self.begin(key, tag, parameters, ingress, segment, frame, io);
                }
                Route::Class { action: TopAction::Pass { .. }, .. } | Route::Open => {
                    self.pass(there, ingress, frame, io)
                }
                Route::Class { action: TopAction::Drop { .. }, .. } | Route::Shut => {
                    self.refuse(&opening, there, frame.len(), io.now);
                }
            }
            return;
        }
        // The middle of a connection. If either side could have opened it as an inspected one, nobody
        // knows what was said before.
        let inspects =
            |route: &Route| matches!(route, Route::Class { action: TopAction::Inspect { .. }, .. });
        let Generation { policy, ports, .. } = self.shared.current();
        let back = route(policy, ports, &opening.reversed());
        if inspects(&there) || inspects(&back) {
            let may_pass = self.shared.config.pickup == Pickup::Pass
                && !self.shared.refusing
                && flags.ack()
                && !(flags.syn() || flags.rst() || is_martian(&segment));
            if may_pass {
                if !self.pick_up(key, &opening, &segment, frame, io) {
                    self.shared.counters.dropped_flow_table += 1;
                }
                return;
            }
            self.shared.counters.anomaly(Anomaly::MiddleOfConnection);
            self.shared.counters.dropped_state += 1;
            return;
        }
        match there {
            Route::Class { action: TopAction::Pass { .. }, .. } | Route::Open => {
                self.pass(there, ingress, frame, io)
            }
            _ => self.refuse(&opening, there, frame.len(), io.now),
        }
    }

    fn pass<M: Memory>(&mut self, route: Route, ingress: PortId, frame: Frame, io: &mut Io<'_, M>) {
        self.decided(route, frame.len());
        self.shared.counters.frames_forwarded += 1;
        io.forward(ingress.other(), frame);
    }

    /// Begins to follow a connection and forwards its SYN.
    #[allow(clippy::too_many_arguments)]
    fn begin<M: Memory>(
        &mut self,
        key: (KeyHash, FlowKey),
        tag: FlowTag,
        parameters: u16,
        ingress: PortId,
        mut segment: Segment,
        mut frame: Frame,
        io: &mut Io<'_, M>,
    ) {
        if self.table.len() == self.table.limit() && !self.make_room(&tag.client, io) {
            // Fail closed: a session that cannot be followed does not begin.
            self.shared.counters.dropped_flow_table += 1;
            return;
        }
        let template = Template::capture(io.pool.bytes(&frame), &segment);
        let mut flow = Flow::new(tag, ingress, parameters, segment.seq, template, io.now);
        flow.offer = Offer::new(&segment);
        flow.streams[0].window = segment.window;
        flow.streams[0].timestamp = segment.options.timestamps.map_or(0, |stamps| stamps.value);
        flow.streams[0].newest_timestamp = flow.streams[0].timestamp;
        let deadline = flow.expires(self.shared.current().parameters(parameters));
        let Ok(index) = self.table.insert_hashed(key.0, key.1, flow) else {
            self.shared.counters.dropped_flow_table += 1;
            return;
        };
        let current = self.shared.generations.len() - 1;
        self.shared.generations[current].flow_count += 1;
        self.next_id += self.shared.config.flow_id_step;
        self.timers.schedule(index, deadline);
        self.shared.counters.flows_created += 1;
        self.shared.counters.flows_active += 1;
        self.shared.counters.flows_half_open += 1;
        self.shared.journal.subject(io.now, Some(tag));
        self.shared.journal.push(Body::FlowStart);
        if let Some(flow) = self.table.get_mut(index) {
            let edited =
                bare(flow, &mut self.shared, Direction::ClientToServer, &mut segment, &mut frame, io);
            self.shared.counters.forwarded(edited);
        }
        io.forward(ingress.other(), frame);
        self.shared.level_begun(&tag, io.now);
        self.begun(index, &tag, io);
    }
}

/// Whether no host on a network can have one of these addresses, or both ends are the same ("land", CVE-1999-0016): RFC 1812
/// section 5.3.7, RFC 6890, RFC 4291 section 2.5. Only SYNs are asked: no other segment has a session of such.
fn is_martian(segment: &Segment) -> bool {
    let odd = |address: u128| {
        if address >> 32 == 0xffff {
            // IPv4: "this network", loopback, multicast, reserved and broadcast.
            let first = (address >> 24) as u8;
            first == 0 || first == 127 || first >= 224
        } else {
            // IPv6: unspecified, loopback, multicast.
            address <= 1 || address >> 120 == 0xff
        }
    };
    let [source, destination] =
        [segment.source, segment.destination].map(|end| u128::from_be_bytes(end.address));
    odd(source) || odd(destination) || source == destination
}

/// Takes the octets off a SYN or RST. RFC 7413 and RFC 9293 let a server keep those of a SYN before the handshake is over,
/// when nobody has inspected them; those of a RST are text for people (RFC 9293 section 3.5.3). Returns whether anything
/// changed; the checksums are right.
pub(super) fn bare<X, M: Memory>(
    flow: &mut Flow,
    shared: &mut Shared<X>,
    direction: Direction,
    segment: &mut Segment,
    frame: &mut Frame,
    io: &mut Io<'_, M>,
) -> bool {
    let bytes = io.pool.bytes_mut(frame);
    let mut edited = normalize(flow, shared, direction, segment, bytes);
    let mut len = segment.payload_end();
    if segment.payload_len > 0 {
        if segment.flags.syn() {
            shared.anomaly(flow, Anomaly::DataOnSyn, direction, StreamOffset(0));
        }
        len = edit::cut(bytes, segment, 0);
        edited = true;
    }
    if edited {
        edit::fix_checksums(&mut bytes[..len], segment);
    }
    frame.truncate(len);
    edited
}
