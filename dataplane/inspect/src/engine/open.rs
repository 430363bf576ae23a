//! First segments of a connection, and segments that belong to none.

use artifact::model::TopAction;

use super::dialogue::Dialogue;
use super::flow::Flow;
use super::generation::Generation;
use super::path::{Opening, Route, TCP, route};
use super::{Engine, Io};
use crate::anomaly::Anomaly;
use crate::event::{Body, FlowTag};
use crate::flow::FlowKey;
use crate::frame::{Frame, Memory};
use crate::scan::Matcher;
use crate::tcp::handshake::Offer;
use crate::unit::{FlowId, PortId};
use crate::wire::emit::Template;
use crate::wire::{Segment, edit};

impl<X: Matcher> Engine<X> {
    /// A TCP segment of no known connection.
    pub(super) fn open<M: Memory>(
        &mut self,
        key: FlowKey,
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
                    if flags.rst() || flags.fin() {
                        self.shared.counters.anomaly(Anomaly::BadFlags);
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
        // knows what was said before, so nothing of it passes ("cold start", Handley and others 2001).
        let inspects =
            |route: &Route| matches!(route, Route::Class { action: TopAction::Inspect { .. }, .. });
        let Generation { policy, ports, .. } = self.shared.current();
        let back = route(policy, ports, &opening.reversed());
        if inspects(&there) || inspects(&back) {
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
        key: FlowKey,
        tag: FlowTag,
        parameters: u16,
        ingress: PortId,
        mut segment: Segment,
        mut frame: Frame,
        io: &mut Io<'_, M>,
    ) {
        let template = Template::capture(io.pool.bytes(&frame), &segment);
        let mut flow = Flow::new(tag, ingress, segment.seq, template, io.now);
        flow.parameters = parameters;
        flow.offer = Offer::new(&segment.options);
        flow.dialogue = tag.smtp.map(Dialogue::new);
        flow.streams[0].window = segment.window;
        flow.streams[0].timestamp = segment.options.timestamps.map_or(0, |stamps| stamps.value);
        let deadline = flow.expires(self.shared.current().parameters(parameters));
        let Ok(index) = self.table.insert(key, flow) else {
            // Fail closed: a session that cannot be followed does not begin.
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
        if segment.payload_len > 0 {
            self.shared.counters.anomaly(Anomaly::DataOnSyn);
        }
        let edited = clean_syn(&mut segment, &mut frame, io);
        self.shared.counters.forwarded(edited);
        io.forward(ingress.other(), frame);
        self.shared.level_begun(&tag, io.now);
        self.begun(index, &tag, io);
    }
}

/// Takes off a SYN what the connection must not have: octets (RFC 7413 and RFC 9293 let a server keep them
/// before the handshake is over, when nobody has inspected them), the urgent pointer, and options that nobody
/// here follows. Returns whether anything was there.
pub(super) fn clean_syn<M: Memory>(segment: &mut Segment, frame: &mut Frame, io: &mut Io<'_, M>) -> bool {
    let bytes = io.pool.bytes_mut(frame);
    let mut edited = segment.options.unwanted && edit::sanitize_options(bytes, segment);
    edited |= edit::clear_urgent(bytes, segment);
    let mut len = bytes.len();
    if segment.payload_len > 0 {
        len = edit::cut(bytes, segment, 0);
        edited = true;
    }
    if edited {
        edit::fix_checksums(&mut bytes[..len], segment);
        frame.truncate(len);
    }
    edited
}
