//! The top level of a policy: which class a session's first packet belongs to.

use artifact::model::{
    AccessEntry, AccessList, AddressMatch, Condition, ConditionIndex, Form, Policy, PortIndex, TopAction,
};

use crate::unit::PortId;
use crate::wire::icmp::{ICMP, ICMPV6};
use crate::wire::{Endpoint, TCP};

/// What the policy says about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A class decides.
    Class {
        /// Index into [`Policy::paths`].
        path: u16,
        /// Index into the path's classes.
        class: u16,
        /// What it does.
        action: TopAction,
    },
    /// No policy stands between the two ports (same zone, or the classic form without a rule that applies).
    Open,
    /// Nobody lets it through (two zones without a zone-pair).
    Shut,
}

/// The first packet of a session, as far as the top level looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Port it came in by.
    pub ingress: PortId,
    /// IP protocol number.
    pub protocol: u8,
    /// Source.
    pub source: Endpoint,
    /// Destination.
    pub destination: Endpoint,
}

impl Opening {
    /// The same packet as if the other side had opened the session.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            ingress: self.ingress.other(),
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
        }
    }
}

/// Looks a session up.
#[must_use]
pub fn route(policy: &Policy, ports: &[Option<PortIndex>; 2], opening: &Opening) -> Route {
    let source = ports[opening.ingress.index()];
    let destination = ports[opening.ingress.other().index()];
    if policy.form == Form::Zone && source.is_some() && source == destination {
        return Route::Open;
    }
    for (path_index, path) in policy.paths.iter().enumerate() {
        let from = path.source.is_none() || path.source == source;
        let to = path.destination.is_none() || path.destination == destination;
        if !(from && to) {
            continue;
        }
        for (class_index, class) in path.classes.iter().enumerate() {
            if holds(policy, class.condition, opening, 0) {
                return Route::Class {
                    path: path_index as u16,
                    class: class_index as u16,
                    action: class.action,
                };
            }
        }
    }
    match policy.form {
        Form::Zone => Route::Shut,
        Form::Classic => Route::Open,
    }
}

/// Conditions nest no deeper than classes do in configurations; the artifact loader refuses more.
pub const MAX_CONDITION_DEPTH: usize = 32;

fn holds(policy: &Policy, index: ConditionIndex, opening: &Opening, depth: usize) -> bool {
    let Some(condition) = policy.conditions.get(usize::from(index)) else { return false };
    if depth > MAX_CONDITION_DEPTH {
        return false;
    }
    let holds_inner = |inner: &ConditionIndex| holds(policy, *inner, opening, depth + 1);
    match condition {
        Condition::Any => true,
        Condition::Smtp => {
            opening.protocol == TCP && policy.smtp_ports.binary_search(&opening.destination.port).is_ok()
        }
        Condition::Protocol(protocol) => {
            opening.protocol == *protocol || (*protocol == ICMP && opening.protocol == ICMPV6)
        }
        Condition::Port { protocol, port } => {
            opening.protocol == *protocol && opening.destination.port == *port
        }
        Condition::AccessList(list) => {
            policy.access_lists.get(usize::from(*list)).is_some_and(|list| permits(list, opening))
        }
        Condition::Not(inner) => !holds_inner(inner),
        Condition::All(inner) => inner.iter().all(holds_inner),
        Condition::AnyOf(inner) => inner.iter().any(holds_inner),
    }
}

/// The first entry that matches decides; none is an implicit deny.
fn permits(list: &AccessList, opening: &Opening) -> bool {
    list.entries.iter().find(|entry| entry_matches(entry, opening)).is_some_and(|entry| entry.permit)
}

fn entry_matches(entry: &AccessEntry, opening: &Opening) -> bool {
    let ports = |range: Option<(u16, u16)>, port: u16| {
        range.is_none_or(|(first, last)| (first..=last).contains(&port))
    };
    entry.protocol.is_none_or(|protocol| protocol == opening.protocol)
        && address_matches(entry.source, &opening.source)
        && address_matches(entry.destination, &opening.destination)
        && ports(entry.source_ports, opening.source.port)
        && ports(entry.destination_ports, opening.destination.port)
}

fn address_matches(wanted: Option<AddressMatch>, endpoint: &Endpoint) -> bool {
    let masked = |address: &[u8], mask: &[u8], actual: &[u8]| {
        address.iter().zip(mask).zip(actual).all(|((address, mask), actual)| (address ^ actual) & mask == 0)
    };
    match wanted {
        None => true,
        Some(AddressMatch::V4 { address, mask }) => {
            endpoint.address[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
                && masked(&address, &mask, &endpoint.address[12..])
        }
        Some(AddressMatch::V6 { address, mask }) => masked(&address, &mask, &endpoint.address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifact::model::{Mode, Path, PortName, TopClass};

    fn class(condition: u16, action: TopAction) -> TopClass {
        TopClass { name: "c".into(), mode: Mode::Any, condition, matches: vec![], action, line: 1 }
    }

    fn policy(form: Form) -> Policy {
        let inspect = TopAction::Inspect { parameters: 0, smtp: None };
        Policy {
            form,
            ports: vec![
                PortName { name: "outside".into(), interfaces: vec![] },
                PortName { name: "inside".into(), interfaces: vec![] },
            ],
            paths: vec![Path {
                source: Some(0),
                destination: Some(1),
                zone_pair: "zp".into(),
                policy: "p".into(),
                classes: vec![class(1, inspect), class(3, TopAction::Pass { log: false })],
            }],
            conditions: vec![
                Condition::Any,
                Condition::Smtp,
                Condition::AccessList(0),
                Condition::All(vec![2]),
            ],
            access_lists: vec![AccessList {
                name: "101".into(),
                entries: vec![
                    AccessEntry {
                        permit: false,
                        protocol: Some(TCP),
                        source: Some(AddressMatch::V4 { address: [192, 0, 2, 66], mask: [255; 4] }),
                        source_ports: None,
                        destination: None,
                        destination_ports: None,
                        line: 1,
                    },
                    AccessEntry {
                        permit: true,
                        protocol: Some(TCP),
                        source: Some(AddressMatch::V4 { address: [192, 0, 2, 0], mask: [255, 255, 255, 0] }),
                        source_ports: None,
                        destination: None,
                        destination_ports: Some((80, 90)),
                        line: 2,
                    },
                ],
            }],
            smtp_ports: vec![25, 2525],
            ..Policy::default()
        }
    }

    fn opening(ingress: PortId, source: &str, port: u16) -> Opening {
        let source = Endpoint::new(source.parse().unwrap(), 40000);
        let destination = Endpoint::new("198.51.100.1".parse().unwrap(), port);
        Opening { ingress, protocol: TCP, source, destination }
    }

    fn chosen(policy: &Policy, opening: Opening) -> Option<u16> {
        match route(policy, &[Some(0), Some(1)], &opening) {
            Route::Class { class, .. } => Some(class),
            Route::Open | Route::Shut => None,
        }
    }

    #[test]
    fn the_first_class_that_matches_decides() {
        let policy = policy(Form::Zone);
        assert_eq!(chosen(&policy, opening(PortId::A, "192.0.2.1", 2525)), Some(0));
        assert_eq!(chosen(&policy, opening(PortId::A, "192.0.2.1", 85)), Some(1));
        assert_eq!(chosen(&policy, opening(PortId::A, "192.0.2.66", 85)), None, "denied first");
        assert_eq!(chosen(&policy, opening(PortId::A, "192.0.2.1", 91)), None, "implicit deny");
        assert_eq!(chosen(&policy, opening(PortId::A, "2001:db8::1", 85)), None, "other family");
    }

    #[test]
    fn what_no_path_covers_follows_the_form() {
        let ports = [Some(0), Some(1)];
        let back = opening(PortId::B, "192.0.2.1", 25);
        assert_eq!(route(&policy(Form::Zone), &ports, &back), Route::Shut);
        assert_eq!(route(&policy(Form::Classic), &ports, &back), Route::Open);
        assert_eq!(route(&policy(Form::Zone), &[Some(1), Some(1)], &back), Route::Open, "same zone");
        assert_eq!(route(&policy(Form::Zone), &[None, Some(1)], &back), Route::Shut, "no zone");
    }
}
