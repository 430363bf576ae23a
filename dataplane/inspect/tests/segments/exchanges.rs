//! IP that is not TCP under `inspect`: only who was asked may answer, and not for long.

use std::sync::Arc;
use std::time::Duration;

use artifact::model::{Condition, InspectParameters, Path, Policy, TopAction, TopClass};
use inspect::engine::{Config, Engine};
use inspect::flow::owner::Owners;
use inspect::scan::NoPatterns;
use inspect::unit::PortId;
use inspect::wire;

use super::puppet::{Puppet, V4, policy};

const ICMP: u8 = 1;
const UDP: u8 = 17;
const GRE: u8 = 47;
const ICMPV6: u8 = 58;

const INSPECT: TopAction = TopAction::Inspect { parameters: 0, smtp: None };
const PASS: TopAction = TopAction::Pass { log: false };

/// An address by its last octet, of IPv4 or IPv6.
#[derive(Clone, Copy)]
struct Family {
    is_v6: bool,
}

const FAMILIES: [Family; 2] = [Family { is_v6: false }, Family { is_v6: true }];
const HOST: u8 = 1;
const SERVER: u8 = 2;
const STRANGER: u8 = 3;

impl Family {
    /// The IP packet.
    fn packet(self, protocol: u8, [from, to]: [u8; 2], payload: &[u8]) -> Vec<u8> {
        let len = payload.len() as u8;
        if self.is_v6 {
            let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
            let fixed = [0x60, 0, 0, 0, 0, len, protocol, 64];
            return [&fixed[..], &address(from), &address(to), payload].concat();
        }
        let mut packet = vec![0x45, 0, 0, 20 + len, 0, 9, 0, 0, 64, protocol, 0, 0];
        packet.extend_from_slice(&[192, 0, 2, from, 192, 0, 2, to]);
        wire::ipv4::fix_checksum(&mut packet[..20]);
        packet.extend_from_slice(payload);
        packet
    }

    fn frame(self, packet: &[u8]) -> Vec<u8> {
        let ethertype: [u8; 2] = if self.is_v6 { [0x86, 0xdd] } else { [8, 0] };
        [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &ethertype, packet].concat()
    }

    fn udp(self, ends: [u8; 2], [from, to]: [u16; 2]) -> Vec<u8> {
        let payload = [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 16, 0, 0], b"question"].concat();
        self.frame(&self.packet(UDP, ends, &payload))
    }

    fn icmp(self) -> u8 {
        if self.is_v6 { ICMPV6 } else { ICMP }
    }

    fn echo(self, ends: [u8; 2], asks: bool, identifier: u8) -> Vec<u8> {
        let kind = match (self.is_v6, asks) {
            (false, true) => 8,
            (false, false) => 0,
            (true, true) => 128,
            (true, false) => 129,
        };
        self.frame(&self.packet(self.icmp(), ends, &[kind, 0, 0, 0, 0, identifier, 0, 1]))
    }

    /// "Unreachable", about a frame.
    fn error(self, ends: [u8; 2], about: &[u8]) -> Vec<u8> {
        let kind = if self.is_v6 { 1 } else { 3 };
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &about[14..]].concat();
        self.frame(&self.packet(self.icmp(), ends, &message))
    }
}

/// From the zone at port A to the zone at port B what `there` says, back what `back` says; the rest is dropped.
fn zones(there: &[(u8, TopAction)], back: &[(u8, TopAction)]) -> Policy {
    let model = policy(false);
    let numbers = [ICMP, UDP, GRE];
    let path = |from, to, classes: &[(u8, TopAction)]| Path {
        source: Some(from),
        destination: Some(to),
        classes: classes
            .iter()
            .map(|(protocol, action)| TopClass {
                condition: 1 + numbers.iter().position(|number| number == protocol).expect("known") as u16,
                action: *action,
                ..model.paths[0].classes[0].clone()
            })
            .chain([TopClass {
                condition: 0,
                action: TopAction::Drop { log: false },
                ..model.paths[0].classes[0].clone()
            }])
            .collect(),
        ..model.paths[0].clone()
    };
    let mut paths = vec![path(0, 1, there)];
    if !back.is_empty() {
        paths.push(path(1, 0, back));
    }
    let conditions = [Condition::Any].into_iter().chain(numbers.map(Condition::Protocol)).collect();
    Policy { paths, conditions, ..model }
}

fn gateway(policy: Policy, exchange_limit: usize) -> Puppet {
    let config = Config { ports: [Some(0), Some(1)], flow_limit: 64, exchange_limit, ..Config::default() };
    Puppet { engine: Engine::new(Arc::new(policy), NoPatterns, config), ..Puppet::new(V4) }
}

fn inspecting(protocols: &[u8]) -> Puppet {
    let classes: Vec<_> = protocols.iter().map(|protocol| (*protocol, INSPECT)).collect();
    gateway(zones(&classes, &[]), 1024)
}

trait Put {
    fn passes(&mut self, port: PortId, frame: &[u8]) -> bool;
}

impl Put for Puppet {
    /// Whether the frame leaves, as it came, by the other port.
    fn passes(&mut self, port: PortId, frame: &[u8]) -> bool {
        let left = self.put(port, frame);
        assert!(left.iter().all(|left| left.port == port.other() && left.bytes == frame));
        left.len() == 1
    }
}

#[test]
fn a_datagram_from_outside_passes_only_as_the_answer_to_one_from_inside() {
    for family in FAMILIES {
        let mut gate = inspecting(&[UDP]);
        let answer = family.udp([SERVER, HOST], [53, 40_000]);
        assert!(!gate.passes(PortId::B, &answer), "nobody has asked");
        assert!(gate.passes(PortId::A, &family.udp([HOST, SERVER], [40_000, 53])));
        assert!(gate.passes(PortId::B, &answer));
        assert!(gate.passes(PortId::B, &answer), "an answer of two");
        for (why, other) in [
            ("a stranger", family.udp([STRANGER, HOST], [53, 40_000])),
            ("to another host", family.udp([SERVER, STRANGER], [53, 40_000])),
            ("from another port", family.udp([SERVER, HOST], [123, 40_000])),
            ("to another port", family.udp([SERVER, HOST], [53, 40_001])),
            ("the question itself", family.udp([HOST, SERVER], [40_000, 53])),
            ("ping", family.echo([SERVER, HOST], false, 1)),
        ] {
            assert!(!gate.passes(PortId::B, &other), "{why}");
        }
        let mut tagged = answer.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert!(!gate.passes(PortId::B, &tagged), "from another VLAN");
        let counters = gate.engine.counters();
        assert_eq!((counters.exchanges_begun, counters.exchange_answers), (1, 2));
        assert_eq!(counters.dropped_policy, 8);
    }
}

#[test]
fn an_exchange_ends_when_nothing_passes_for_the_idle_time() {
    let family = FAMILIES[0];
    let (question, answer) =
        (family.udp([HOST, SERVER], [40_000, 53]), family.udp([SERVER, HOST], [53, 40_000]));
    let mut gate = inspecting(&[UDP]);
    assert!(gate.passes(PortId::A, &question));
    for _ in 0..3 {
        gate.wait(Duration::from_millis(29_900));
        assert!(gate.passes(PortId::B, &answer), "each packet begins the time anew");
    }
    gate.wait(Duration::from_secs(30));
    assert!(!gate.passes(PortId::B, &answer));
    assert!(gate.passes(PortId::A, &question));
    assert!(gate.passes(PortId::B, &answer));
    assert_eq!(gate.engine.counters().exchanges_begun, 2);

    // As the policy says.
    let mut policy = zones(&[(UDP, INSPECT), (ICMP, INSPECT)], &[]);
    policy.parameters[0] =
        InspectParameters { udp_idle_time: 2, icmp_idle_time: 4, ..InspectParameters::default() };
    let mut gate = gateway(policy, 1024);
    assert!(gate.passes(PortId::A, &question));
    assert!(gate.passes(PortId::A, &family.echo([HOST, SERVER], true, 7)));
    gate.wait(Duration::from_secs(3));
    assert!(!gate.passes(PortId::B, &answer));
    assert!(gate.passes(PortId::B, &family.echo([SERVER, HOST], false, 7)));
}

#[test]
fn a_ping_is_answered_and_nothing_else_comes_back() {
    for family in FAMILIES {
        let mut gate = inspecting(&[ICMP]);
        assert!(gate.passes(PortId::A, &family.echo([HOST, SERVER], true, 7)));
        assert!(gate.passes(PortId::B, &family.echo([SERVER, HOST], false, 7)));
        for (why, other) in [
            ("another identifier", family.echo([SERVER, HOST], false, 8)),
            ("a request", family.echo([SERVER, HOST], true, 7)),
            ("a stranger", family.echo([STRANGER, HOST], false, 7)),
            ("UDP", family.udp([SERVER, HOST], [7, 7])),
        ] {
            assert!(!gate.passes(PortId::B, &other), "{why}");
        }
        // What answers asks for nothing: it opens nothing.
        assert!(gate.passes(PortId::A, &family.echo([HOST, STRANGER], false, 9)));
        assert!(!gate.passes(PortId::B, &family.echo([STRANGER, HOST], true, 9)));
        assert!(!gate.passes(PortId::B, &family.echo([STRANGER, HOST], false, 9)));
        gate.wait(Duration::from_secs(10));
        assert!(!gate.passes(PortId::B, &family.echo([SERVER, HOST], false, 7)), "too late");
    }
    // The other answers of ICMP: timestamp, and not echo for a timestamp.
    let family = FAMILIES[0];
    let message = |ends, kind| family.frame(&family.packet(ICMP, ends, &[kind, 0, 0, 0, 0, 7, 0, 1]));
    let mut gate = inspecting(&[ICMP]);
    assert!(gate.passes(PortId::A, &message([HOST, SERVER], 13)));
    assert!(!gate.passes(PortId::B, &message([SERVER, HOST], 0)));
    assert!(gate.passes(PortId::B, &message([SERVER, HOST], 14)));
}

#[test]
fn an_error_passes_if_it_quotes_what_was_let_through() {
    for family in FAMILIES {
        let mut gate = inspecting(&[UDP]);
        let question = family.udp([HOST, SERVER], [40_000, 53]);
        let answer = family.udp([SERVER, HOST], [53, 40_000]);
        let error = family.error([STRANGER, HOST], &question);
        assert!(!gate.passes(PortId::B, &error), "nothing was sent");
        assert!(gate.passes(PortId::A, &question));
        assert!(gate.passes(PortId::B, &error), "of a router on the way");
        assert!(gate.passes(PortId::A, &family.error([HOST, SERVER], &answer)), "the port is closed by now");
        for (why, port, other) in [
            ("to whom did not send", PortId::B, family.error([SERVER, STRANGER], &question)),
            (
                "about another port",
                PortId::B,
                family.error([SERVER, HOST], &family.udp([HOST, SERVER], [40_000, 54])),
            ),
            ("about an answer, from outside", PortId::B, family.error([HOST, SERVER], &answer)),
            ("about the question, from inside", PortId::A, family.error([SERVER, HOST], &question)),
            (
                "about an error",
                PortId::B,
                family.error([SERVER, HOST], &family.error([HOST, SERVER], &answer)),
            ),
        ] {
            assert!(!gate.passes(port, &other), "{why}");
        }
        gate.wait(Duration::from_secs(20));
        assert!(gate.passes(PortId::B, &error));
        gate.wait(Duration::from_secs(11));
        assert!(!gate.passes(PortId::B, &error), "an error does not prolong it");
        // With several workers it goes to the one that remembers.
        for key in 0..16 {
            let owners = Owners::new(4, &[key; 16]);
            assert_eq!(owners.of(&error), owners.of(&question));
            assert_eq!(owners.of(&answer), owners.of(&question));
        }
    }
}

#[test]
fn protocols_without_ports_go_by_their_addresses() {
    let family = FAMILIES[0];
    let gre = |ends| family.frame(&family.packet(GRE, ends, &[0, 0, 8, 0, 1, 2, 3, 4]));
    let mut gate = inspecting(&[GRE, UDP]);
    assert!(!gate.passes(PortId::B, &gre([SERVER, HOST])));
    assert!(gate.passes(PortId::A, &gre([HOST, SERVER])));
    assert!(gate.passes(PortId::B, &gre([SERVER, HOST])));
    assert!(!gate.passes(PortId::B, &gre([STRANGER, HOST])));
    assert!(!gate.passes(PortId::B, &family.udp([SERVER, HOST], [0, 0])), "another protocol, no port either");
}

#[test]
fn pass_expects_no_answer_and_a_direction_of_its_own_needs_none() {
    let family = FAMILIES[0];
    let (question, answer) =
        (family.udp([HOST, SERVER], [40_000, 53]), family.udp([SERVER, HOST], [53, 40_000]));
    let mut gate = gateway(zones(&[(UDP, PASS)], &[]), 1024);
    assert!(gate.passes(PortId::A, &question));
    assert!(!gate.passes(PortId::B, &answer));
    let mut gate = gateway(zones(&[(UDP, INSPECT)], &[(UDP, PASS)]), 1024);
    assert!(gate.passes(PortId::B, &answer));
    // Both sides may begin: what answers does not take the exchange over.
    let mut gate = gateway(zones(&[(UDP, INSPECT)], &[(UDP, INSPECT)]), 1024);
    assert!(gate.passes(PortId::A, &question) && gate.passes(PortId::B, &answer));
    assert!(gate.passes(PortId::A, &question));
    let counters = gate.engine.counters();
    assert_eq!((counters.exchanges_begun, counters.exchange_answers), (1, 1));
}

#[test]
fn a_policy_that_no_longer_inspects_ends_its_exchanges() {
    let family = FAMILIES[0];
    let mut gate = inspecting(&[UDP]);
    let answer = family.udp([SERVER, HOST], [53, 40_000]);
    assert!(gate.passes(PortId::A, &family.udp([HOST, SERVER], [40_000, 53])));
    gate.engine.reload(Arc::new(zones(&[(ICMP, INSPECT)], &[])), NoPatterns, [Some(0), Some(1)]).unwrap();
    assert!(!gate.passes(PortId::B, &answer));
    gate.engine.reload(Arc::new(zones(&[(UDP, INSPECT)], &[])), NoPatterns, [Some(0), Some(1)]).unwrap();
    assert!(gate.passes(PortId::B, &answer), "and one that does goes on with them");
}

#[test]
fn fragments_are_judged_as_the_datagram_they_are_of() {
    let family = FAMILIES[0];
    let cut = |frame: &[u8]| -> [Vec<u8>; 2] {
        let (header, payload) = (&frame[14..34], &frame[34..]);
        [(0x2000_u16, &payload[..8]), (1, &payload[8..])].map(|(field, part)| {
            let mut packet = [header, part].concat();
            packet[3] = packet.len() as u8;
            packet[6..8].copy_from_slice(&field.to_be_bytes());
            wire::ipv4::fix_checksum(&mut packet[..20]);
            family.frame(&packet)
        })
    };
    let mut gate = inspecting(&[UDP]);
    for fragment in cut(&family.udp([HOST, SERVER], [40_000, 53])) {
        gate.put(PortId::A, &fragment);
    }
    let mut through = |frame: Vec<u8>| {
        let fragments = cut(&frame);
        fragments.iter().map(|fragment| gate.put(PortId::B, fragment).len()).sum::<usize>()
    };
    assert_eq!(through(family.udp([SERVER, HOST], [53, 40_000])), 2);
    assert_eq!(through(family.udp([STRANGER, HOST], [53, 40_000])), 0);
}

#[test]
fn a_flood_from_inside_neither_grows_the_table_nor_opens_it() {
    let family = FAMILIES[0];
    let mut gate = gateway(zones(&[(UDP, INSPECT)], &[]), 64);
    for port in 1..=5000 {
        assert!(gate.passes(PortId::A, &family.udp([HOST, SERVER], [port, 53])), "it passes all the same");
    }
    let answered =
        (1..=5000).filter(|port| gate.passes(PortId::B, &family.udp([SERVER, HOST], [53, *port]))).count();
    assert_eq!(answered, 64);
    let counters = gate.engine.counters();
    assert_eq!((counters.exchanges_begun, counters.exchanges_evicted), (5000, 5000 - 64));
}
