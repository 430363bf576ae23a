use artifact::model::{AddressMatch, Mode, PortName, TopClass};

use super::Action::{Bridge, Drop, Inspect};
use super::*;

const INSIDE: Option<PortIndex> = Some(0);
const OUTSIDE: Option<PortIndex> = Some(1);
const INSPECT_SMTP: TopAction = TopAction::Inspect { parameters: 0, smtp: Some(0) };
const PASS: TopAction = TopAction::Pass { log: false };
const DROP: TopAction = TopAction::Drop { log: false };

fn port(name: &str) -> PortName {
    PortName { name: name.into(), interfaces: Vec::new() }
}

fn path(source: Option<PortIndex>, destination: Option<PortIndex>, classes: &[(u16, TopAction)]) -> Path {
    let classes = classes.iter().map(|(condition, action)| TopClass {
        name: "class".into(),
        mode: Mode::Any,
        condition: *condition,
        matches: Vec::new(),
        action: *action,
        line: 1,
    });
    Path {
        source,
        destination,
        zone_pair: "pair".into(),
        policy: "policy".into(),
        classes: classes.collect(),
    }
}

/// Conditions 0 any, 1 SMTP, then `more`.
fn policy(form: Form, more: Vec<Condition>, paths: Vec<Path>) -> Policy {
    let mut conditions = vec![Condition::Any, Condition::Smtp];
    conditions.extend(more);
    Policy {
        form,
        ports: vec![port("inside"), port("outside")],
        conditions,
        paths,
        smtp_ports: vec![25, 2525],
        ..Policy::default()
    }
}

fn classify(policy: &Policy) -> [Ingress; 2] {
    Classification::from_policy(policy, [INSIDE, OUTSIDE]).ingress
}

#[test]
fn a_zone_pair_inspects_its_ports_and_drops_the_rest() {
    let policy = policy(Form::Zone, vec![], vec![path(INSIDE, OUTSIDE, &[(1, INSPECT_SMTP), (0, DROP)])]);
    let [inside, outside] = classify(&policy);
    assert_eq!(
        [24, 25, 26, 2524, 2525, 2526].map(|port| inside.tcp(port)),
        [Drop, Inspect, Drop, Drop, Inspect, Drop]
    );
    assert!(outside.tcp.iter().all(|action| *action == Drop), "answers are found by the other side's table");
    for side in [&inside, &outside] {
        assert_eq!([side.udp, side.icmp, side.other, side.ethertype], [Drop; 4]);
        assert_eq!([side.fragment, side.fragment_v6, side.icmp_error], [Inspect; 3]);
        assert_eq!(side.link_control, Bridge);
    }
}

#[test]
fn pass_is_one_way() {
    let icmp = Condition::Protocol(1);
    let policy = policy(
        Form::Zone,
        vec![icmp],
        vec![path(INSIDE, OUTSIDE, &[(1, INSPECT_SMTP), (2, PASS), (0, DROP)])],
    );
    let [inside, outside] = classify(&policy);
    assert_eq!([inside.icmp, inside.icmp_error, inside.udp], [Bridge, Bridge, Drop]);
    assert_eq!([outside.icmp, outside.icmp_error], [Drop, Inspect]);
}

#[test]
fn inspected_protocols_need_their_answers() {
    let udp = Condition::Protocol(17);
    let pinhole = TopAction::Inspect { parameters: 0, smtp: None };
    let policy = policy(Form::Zone, vec![udp], vec![path(INSIDE, OUTSIDE, &[(2, pinhole), (0, DROP)])]);
    let [inside, outside] = classify(&policy);
    assert_eq!([inside.udp, outside.udp, inside.icmp, outside.icmp], [Inspect, Inspect, Drop, Drop]);
    assert_eq!([inside.icmp_error, outside.icmp_error], [Inspect, Inspect], "may be about UDP");
    assert_eq!(inside.fragment, Drop, "no TCP is inspected");
    assert_eq!(inside.fragment_v6, Inspect, "may be UDP");
}

#[test]
fn what_must_be_logged_is_seen_by_a_worker() {
    for action in [TopAction::Pass { log: true }, TopAction::Drop { log: true }] {
        let policy = policy(Form::Zone, vec![], vec![path(INSIDE, OUTSIDE, &[(0, action)])]);
        assert_eq!(classify(&policy)[0].udp, Inspect);
    }
}

#[test]
fn zones_without_a_pair_are_closed_and_one_zone_is_a_wire() {
    let policy = policy(Form::Zone, vec![], vec![path(INSIDE, OUTSIDE, &[(1, INSPECT_SMTP)])]);
    assert_eq!(classify(&policy)[1], {
        let mut closed = Ingress::uniform(Drop);
        (closed.link_control, closed.fragment, closed.fragment_v6) = (Bridge, Inspect, Inspect);
        closed.icmp_error = Inspect;
        closed
    });
    let same = Classification::from_policy(&policy, [INSIDE, INSIDE]);
    assert_eq!(same.ingress[0], Ingress::uniform(Bridge));
    assert!(!same.is_guarded());
    let unknown = Classification::from_policy(&policy, [None, None]);
    assert_eq!(unknown.ingress[0].tcp(25), Drop);
}

#[test]
fn the_classic_form_is_a_wire_but_for_what_it_inspects() {
    // `ip inspect N in` on inside: sessions that enter there.
    let policy = policy(Form::Classic, vec![], vec![path(INSIDE, None, &[(1, INSPECT_SMTP)])]);
    let [inside, outside] = classify(&policy);
    assert_eq!([inside.tcp(25), inside.tcp(80), outside.tcp(25)], [Inspect, Bridge, Bridge]);
    assert_eq!([inside.udp, inside.icmp, inside.other, inside.ethertype], [Bridge; 4]);
    assert_eq!([inside.fragment, outside.fragment_v6], [Inspect; 2]);
    assert_eq!(inside.icmp_error, Bridge);
}

#[test]
fn a_second_classic_rule_is_not_hidden_by_the_first() {
    let paths = vec![path(INSIDE, None, &[(2, INSPECT_SMTP)]), path(None, OUTSIDE, &[(1, INSPECT_SMTP)])];
    let policy = policy(Form::Classic, vec![Condition::Port { protocol: 6, port: 80 }], paths);
    let [inside, _] = classify(&policy);
    assert_eq!([inside.tcp(80), inside.tcp(25), inside.tcp(81)], [Inspect, Inspect, Bridge]);
}

fn entry(permit: bool, protocol: Option<u8>) -> AccessEntry {
    AccessEntry {
        permit,
        protocol,
        source: None,
        source_ports: None,
        destination: None,
        destination_ports: None,
        line: 1,
    }
}

#[test]
fn access_lists_are_decided_as_far_as_ports_go() {
    let host = Some(AddressMatch::V4 { address: [192, 0, 2, 1], mask: [255; 4] });
    let list = |entries| AccessList { name: "101".into(), entries };
    let conditions = vec![Condition::AccessList(0)];
    let ask = |entries: Vec<AccessEntry>, action| {
        let mut policy =
            policy(Form::Zone, conditions.clone(), vec![path(INSIDE, OUTSIDE, &[(2, action), (0, DROP)])]);
        policy.access_lists = vec![list(entries)];
        classify(&policy)[0].clone()
    };
    let range = AccessEntry { destination_ports: Some((100, 200)), ..entry(true, Some(6)) };
    let side = ask(vec![range.clone()], PASS);
    assert_eq!([99, 100, 200, 201].map(|port| side.tcp(port)), [Drop, Bridge, Bridge, Drop]);
    assert_eq!([side.udp, side.icmp], [Drop, Drop]);

    let to_host = AccessEntry { destination: host, ..range.clone() };
    let side = ask(vec![to_host.clone()], PASS);
    assert_eq!([99, 100].map(|port| side.tcp(port)), [Drop, Inspect], "the address decides: a worker's");
    assert_eq!(ask(vec![to_host.clone()], DROP).tcp(100), Drop, "the same either way");

    let denied = AccessEntry { permit: false, ..to_host };
    let side = ask(vec![denied, entry(true, None)], PASS);
    assert_eq!([99, 100].map(|port| side.tcp(port)), [Bridge, Inspect]);
    assert_eq!([side.udp, side.other], [Bridge, Bridge]);
    let gre = ask(vec![entry(true, Some(47))], PASS);
    assert_eq!([gre.other, gre.tcp(47), gre.udp], [Inspect, Drop, Drop]);
}

#[test]
fn conditions_combine() {
    let conditions = vec![
        Condition::Protocol(6),                     // 2
        Condition::Port { protocol: 17, port: 53 }, // 3
        Condition::Not(1),                          // 4
        Condition::All(vec![2, 4]),                 // 5: TCP but SMTP
        Condition::AnyOf(vec![1, 3]),               // 6: SMTP or DNS
        Condition::All(vec![9, 2]),                 // 7: refers forward: not known
        Condition::All(vec![]),                     // 8
    ];
    let ask = |condition| {
        let paths = vec![path(INSIDE, OUTSIDE, &[(condition, PASS), (0, DROP)])];
        classify(&policy(Form::Zone, conditions.clone(), paths))[0].clone()
    };
    let side = ask(5);
    assert_eq!([side.tcp(25), side.tcp(80), side.udp], [Drop, Bridge, Drop]);
    let side = ask(6);
    assert_eq!([side.tcp(25), side.tcp(80), side.udp, side.icmp], [Bridge, Drop, Inspect, Drop]);
    let side = ask(7);
    assert_eq!([side.tcp(80), side.udp], [Inspect, Drop]);
    assert_eq!([ask(8).udp, ask(999).udp], [Bridge, Inspect]);
}

#[test]
fn a_class_that_alone_decides_is_counted() {
    let web = Condition::Port { protocol: TCP, port: 80 };
    let name_service = Condition::Port { protocol: UDP, port: 53 };
    let icmp = Condition::Protocol(ICMP);
    let classes = [(1, INSPECT_SMTP), (2, PASS), (3, PASS), (4, PASS), (0, DROP)];
    let policy = policy(Form::Zone, vec![web, name_service, icmp], vec![path(INSIDE, OUTSIDE, &classes)]);
    let number = |path: usize, class: usize| {
        assert_eq!(path, 0);
        10 + class as u8
    };
    let [inside, outside] = Classification::counting(&policy, [INSIDE, OUTSIDE], &number).ingress;
    assert_eq!([79, 80, 81].map(|port: usize| inside.tcp_class[port]), [14, 11, 14]);
    // Which of two classes has it is not known of UDP, and a worker decides.
    assert_eq!((inside.udp, inside.udp_class), (Inspect, 0));
    assert_eq!((inside.icmp, inside.icmp_class), (Bridge, 13));
    assert_eq!((inside.other, inside.other_class), (Drop, 14));
    assert!(outside.tcp_class.iter().all(|class| *class == 0), "no class stands on the way back");
    let [inside, _] = classify(&policy);
    assert!(inside.tcp_class.iter().all(|class| *class == 0) && inside.other_class == 0);
}
