//! IP that is not TCP: what the top level lets through, and which answers it lets back.
//!
//! Such a protocol has no connections, so an `inspect` class remembers what it let through: protocol, both addresses, both ports
//! (of ICMP the identifier, and what it asked for). Its mirror image may come back until nothing has passed for the idle time, and so
//! may ICMP errors that quote it. Nothing else may: who was not asked cannot answer. Of a protocol without ports that
//! Postern knows (GRE, ESP) the two addresses are all there is.

use core::time::Duration;

use artifact::model::TopAction;

use super::generation::Generation;
use super::path::{Opening, Route, route};
use super::{Engine, Shared};
use crate::event::Body;
use crate::flow::{Exchange, ExchangeKey, FlowKey};
use crate::scan::Matcher;
use crate::unit::{Direction, Instant, PortId};
use crate::wire::icmp::Quoted;
use crate::wire::{self, Other, TCP};

impl<X: Matcher> Engine<X> {
    /// Whether a packet that is not TCP may pass; counts it, and reports it where `drop log` says so.
    pub(super) fn lets_through(
        &mut self,
        ingress: PortId,
        packet: &Other,
        frame: &[u8],
        now: Instant,
    ) -> bool {
        let opening = opening(ingress, packet);
        let Generation { policy, ports, .. } = self.shared.current();
        let there = route(policy, ports, &opening);
        match there {
            Route::Open => true,
            Route::Class { action: TopAction::Pass { .. }, .. } => {
                self.decided(there, frame.len());
                true
            }
            _ if self.answers(&opening, packet, now) => {
                self.shared.counters.exchange_answers += 1;
                true
            }
            Route::Class { action: TopAction::Inspect { parameters, .. }, .. } => {
                self.decided(there, frame.len());
                self.expect_answers(ingress, packet, self.shared.idle_time(parameters, packet), now);
                true
            }
            _ if self.concerns_session(ingress, frame, now) => true,
            _ => {
                self.refuse(&opening, there, frame.len(), now);
                false
            }
        }
    }

    /// Whether it was asked for, and whoever asked could do so still. If so, the idle time begins anew.
    fn answers(&mut self, opening: &Opening, packet: &Other, now: Instant) -> bool {
        let Some((key, place)) = ExchangeKey::new(packet) else { return false };
        let Some(exchange) = self.exchanges.get_mut(&key) else { return false };
        if !exchange.is_answered_by(opening.ingress, place, now) {
            return false;
        }
        let Some(idle) = self.shared.inspected(&opening.reversed(), packet) else { return false };
        exchange.ends = now + idle;
        true
    }

    /// Remembers what an `inspect` class let through.
    fn expect_answers(&mut self, ingress: PortId, packet: &Other, idle: Duration, now: Instant) {
        let Some((key, place)) = ExchangeKey::new(packet) else { return };
        if !place.asks {
            return;
        }
        let exchange = Exchange { opener: ingress, from_low: place.is_low, ends: now + idle };
        if let Some(known) = self.exchanges.get_mut(&key)
            && known.ends > now
            && (known.opener, known.from_low) == (ingress, place.is_low)
        {
            *known = exchange;
            return;
        }
        let counters = &mut self.shared.counters;
        counters.exchanges_begun += 1;
        counters.exchanges_evicted += u64::from(self.exchanges.put(key, exchange, now));
    }

    /// Whether a frame is an ICMP error about a packet that may really have been sent, coming from where that packet went.
    fn concerns_session(&mut self, ingress: PortId, frame: &[u8], now: Instant) -> bool {
        let Some(quoted) = wire::icmp::quoted(frame) else { return false };
        if quoted.packet.source.address != quoted.receiver {
            return false;
        }
        if quoted.packet.protocol == TCP {
            self.concerns_flow(ingress, &quoted)
        } else {
            self.concerns_exchange(ingress, &quoted.packet, now)
        }
    }

    /// Anybody can make up an error about a session, so the quoted number must be right (RFC 5927 section 4).
    fn concerns_flow(&mut self, ingress: PortId, quoted: &Quoted) -> bool {
        let Other { vlan, source, destination, .. } = &quoted.packet;
        let (key, _) = FlowKey::between(*vlan, source, destination);
        let Some(flow) = self.table.lookup(&key).and_then(|index| self.table.get_mut(index)) else {
            return false;
        };
        let direction =
            if *source == flow.tag.client { Direction::ClientToServer } else { Direction::ServerToClient };
        ingress == flow.egress(direction) && flow.stream(direction).expects(quoted.seq)
    }

    /// An error about an exchange that is not over; it does not prolong it.
    fn concerns_exchange(&mut self, ingress: PortId, packet: &Other, now: Instant) -> bool {
        let Some((key, place)) = ExchangeKey::new(packet) else { return false };
        let Some(exchange) = self.exchanges.get_mut(&key).copied() else { return false };
        // Where the quoted packet had come in by; the error comes from the other side.
        let sent_by = ingress.other();
        let is_first_way = place.asks && (sent_by, place.is_low) == (exchange.opener, exchange.from_low);
        let sent = opening(sent_by, packet);
        let asked = if is_first_way { sent } else { sent.reversed() };
        (is_first_way || exchange.is_answered_by(sent_by, place, now))
            && exchange.ends > now
            && self.shared.inspected(&asked, packet).is_some()
    }

    /// Counts what no policy lets through, and reports it where `drop log` says so.
    pub(super) fn refuse(&mut self, opening: &Opening, route: Route, len: usize, now: Instant) {
        self.decided(route, len);
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
}

impl<X> Shared<X> {
    /// The idle time of what the current policy would inspect, if somebody sent it.
    fn inspected(&self, opening: &Opening, packet: &Other) -> Option<Duration> {
        let Generation { policy, ports, .. } = self.current();
        match route(policy, ports, opening) {
            Route::Class { action: TopAction::Inspect { parameters, .. }, .. } => {
                Some(self.idle_time(parameters, packet))
            }
            _ => None,
        }
    }

    /// How long a packet of this protocol may be the last one of its exchange.
    fn idle_time(&self, parameters: u16, packet: &Other) -> Duration {
        let parameters = self.current().parameters(parameters);
        let seconds = if packet.is_icmp() { parameters.icmp_idle_time } else { parameters.udp_idle_time };
        Duration::from_secs(seconds.into())
    }
}

fn opening(ingress: PortId, packet: &Other) -> Opening {
    let Other { protocol, source, destination, .. } = *packet;
    Opening { ingress, protocol, source, destination }
}
