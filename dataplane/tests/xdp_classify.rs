//! The XDP program judged frame by frame, on no wire (`BPF_PROG_TEST_RUN`). Needs root; says "skipped" elsewhere.
//!
//! The frames come in by the loopback interface, as far as the program knows, which is port A; no socket is bound, so
//! what would go to a worker is counted as `dropped_no_worker`.

#![allow(clippy::unwrap_used)] // also in what the tests share

use artifact::model::{Condition, Form, Mode, Path, Policy, PortName, TopAction, TopClass};
use inspect::unit::PortId;
use postern::port::xdp::classification::{Action, Ingress};
use postern::port::xdp::program::Program;
use postern::port::xdp::{Classification, Fate};

const INSPECTED: Fate = Fate::DroppedNoWorker;
const LOOPBACK: u32 = 1;

/// A program that knows loopback as both ports, with a policy; `None` without root.
fn program(policy: &Classification, open: bool) -> Option<Program> {
    let mut program = match Program::load(open) {
        Ok(program) => program,
        Err(error) if is_root() => panic!("{error}"),
        Err(error) => {
            println!("skipped: loading an XDP program needs root ({error})");
            return None;
        }
    };
    program.set_port(PortId::B, Some(LOOPBACK)).unwrap();
    program.set_port(PortId::A, Some(LOOPBACK)).unwrap();
    program.set_policy(policy).unwrap();
    Some(program)
}

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

/// The one fate that a frame had.
fn fate(program: &mut Program, frame: &[u8]) -> Fate {
    let before = program.counts(PortId::A).unwrap();
    program.try_frame(frame, 1).unwrap();
    let after = program.counts(PortId::A).unwrap();
    let counted: Vec<Fate> =
        Fate::ALL.into_iter().filter(|fate| after.of(*fate).frames != before.of(*fate).frames).collect();
    let [fate] = counted[..] else { panic!("counted as {counted:?}") };
    assert_eq!(after.of(fate).frames - before.of(fate).frames, 1);
    assert_eq!(after.of(fate).bytes - before.of(fate).bytes, frame.len() as u64);
    fate
}

/// A zone pair from A to B that inspects port 25, passes ICMP, and drops the rest.
fn mail_only() -> Classification {
    let mut inside = Ingress::uniform(Action::Drop);
    inside.set_tcp(25, Action::Inspect);
    (inside.icmp, inside.icmp_error, inside.link_control) = (Action::Bridge, Action::Bridge, Action::Bridge);
    (inside.fragment, inside.fragment_v6) = (Action::Inspect, Action::Inspect);
    let mut outside = Ingress::uniform(Action::Drop);
    (outside.fragment, outside.fragment_v6) = (Action::Inspect, Action::Inspect);
    Classification { ingress: [inside, outside] }
}

// --- frames, made by words -----------------------------------------------------------------------------------

fn ethernet(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn tcp(source: u16, destination: u16) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}

fn ipv4_with(protocol: u8, options_len: usize, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options_len;
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
    packet.extend(((header_len + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.resize(header_len, 1);
    packet.extend(payload);
    packet
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x800, &ipv4_with(protocol, 0, 0x4000, payload))
}

fn ipv6(next: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, hop_limit]);
    packet.extend([0xfd; 32]);
    packet.extend(payload);
    packet
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(&[], 0x86dd, &ipv6(next, 64, payload))
}

/// Extension headers of 8 octets each, then `last` with `payload`. Gives the first header's number, too.
fn chain(headers: &[u8], last: u8, payload: &[u8]) -> (u8, Vec<u8>) {
    let mut packet = Vec::new();
    let numbers: Vec<u8> = headers.iter().copied().chain([last]).collect();
    for next in &numbers[1..] {
        packet.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
    }
    packet.extend(payload);
    (numbers[0], packet)
}

fn with(mut frame: Vec<u8>, at: usize, octet: u8) -> Vec<u8> {
    frame[at] = octet;
    frame
}

#[test]
fn each_frame_has_its_fate() {
    let Some(mut program) = program(&mail_only(), false) else { return };
    let (hops, hops_payload) = chain(&[0, 60, 43, 135], 6, &tcp(4000, 25));
    let (eight, eight_payload) = chain(&[60; 8], 6, &tcp(4000, 25));
    let (nine, nine_payload) = chain(&[60; 9], 6, &tcp(4000, 25));
    let ah = [&[6, 4, 0, 0][..], &[0; 20], &tcp(4000, 25)].concat();
    let icmp_echo = [8, 0, 0, 0, 0, 1, 0, 1];
    let solicitation = [&[135, 0, 0, 0][..], &[0; 20]].concat();
    let mail = || v4(6, &tcp(4000, 25));
    let llc = |octets: &[u8]| ethernet(&[], 38, octets);
    let snap_ip = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &ipv4_with(6, 0, 0, &tcp(4000, 25))].concat();

    let rows: Vec<(&str, Vec<u8>, Fate)> = vec![
        ("to port 25", mail(), INSPECTED),
        (
            "from port 25: B opened none, but A's sessions go there",
            v4(6, &tcp(25, 4000)),
            Fate::DroppedPolicy,
        ),
        ("to another port", v4(6, &tcp(4000, 80)), Fate::DroppedPolicy),
        ("to port 0x1900, which is 25 in the wrong order", v4(6, &tcp(4000, 0x1900)), Fate::DroppedPolicy),
        ("IPv4 options", ethernet(&[], 0x800, &ipv4_with(6, 40, 0, &tcp(4000, 25))), INSPECTED),
        ("one VLAN tag", ethernet(&[0x8100], 0x800, &ipv4_with(6, 0, 0, &tcp(4000, 25))), INSPECTED),
        ("QinQ", ethernet(&[0x88a8, 0x8100], 0x800, &ipv4_with(6, 0, 0, &tcp(4000, 25))), INSPECTED),
        ("QinQ with IPv6", ethernet(&[0x8100, 0x8100], 0x86dd, &ipv6(6, 64, &tcp(4000, 25))), INSPECTED),
        (
            "three tags",
            ethernet(&[0x88a8, 0x8100, 0x8100], 0x800, &ipv4_with(6, 0, 0, &tcp(4000, 25))),
            Fate::DroppedVlan,
        ),
        (
            "an old QinQ tag",
            ethernet(&[0x9100], 0x800, &ipv4_with(6, 0, 0, &tcp(4000, 25))),
            Fate::DroppedVlan,
        ),
        ("a tag and no more", ethernet(&[], 0x8100, &[0, 7]), Fate::DroppedMalformed),
        ("padding behind", [mail(), vec![0; 20]].concat(), INSPECTED),
        ("IPv6", v6(6, &tcp(4000, 25)), INSPECTED),
        ("IPv6, other port", v6(6, &tcp(4000, 80)), Fate::DroppedPolicy),
        ("IPv6 extension headers", v6(hops, &hops_payload), INSPECTED),
        ("eight extension headers", v6(eight, &eight_payload), INSPECTED),
        ("nine extension headers", v6(nine, &nine_payload), Fate::DroppedExtensions),
        ("authentication header", v6(51, &ah), INSPECTED),
        ("shim6", v6(140, &[6; 40]), Fate::DroppedExtensions),
        ("extension longer than the packet", v6(60, &[6, 9, 0, 0, 0, 0, 0, 0]), Fate::DroppedMalformed),
        ("extension header of 7 octets", v6(60, &[6; 7]), Fate::DroppedMalformed),
        ("jumbogram", with(with(v6(0, &hops_payload), 18, 0), 19, 0), Fate::DroppedJumbogram),
        ("first fragment", ethernet(&[], 0x800, &ipv4_with(6, 0, 0x2000, &tcp(4000, 80))), INSPECTED),
        ("later fragment", ethernet(&[], 0x800, &ipv4_with(6, 0, 0x0003, &[0; 8])), INSPECTED),
        ("fragment of UDP", ethernet(&[], 0x800, &ipv4_with(17, 0, 0x2000, &[0; 8])), Fate::DroppedPolicy),
        ("fragment of ICMP", ethernet(&[], 0x800, &ipv4_with(1, 0, 0x2000, &icmp_echo)), Fate::Bridged),
        (
            "IPv6 fragment that says UDP",
            v6(44, &[&[17, 0, 0, 9, 0, 0, 0, 1][..], &[0; 8]].concat()),
            INSPECTED,
        ),
        ("atomic fragment", v6(44, &[&[6, 0, 0, 0, 0, 0, 0, 1][..], &tcp(4000, 25)].concat()), INSPECTED),
        ("TCP header of 19 octets", v4(6, &tcp(4000, 25)[..19]), Fate::DroppedMalformed),
        (
            "TCP header of 19 octets, padded",
            [v4(6, &tcp(4000, 25)[..19]), vec![0; 40]].concat(),
            Fate::DroppedMalformed,
        ),
        ("IPv6, TCP header of 19 octets", v6(6, &tcp(4000, 25)[..19]), Fate::DroppedMalformed),
        ("total length beyond the frame", with(mail(), 17, 200), Fate::DroppedMalformed),
        ("total length below the header", with(mail(), 17, 19), Fate::DroppedMalformed),
        ("header length of 16", with(mail(), 14, 0x44), Fate::DroppedMalformed),
        ("version 6 in an IPv4 frame", with(mail(), 14, 0x65), Fate::DroppedMalformed),
        ("version 4 in an IPv6 frame", with(v6(6, &tcp(4000, 25)), 14, 0x40), Fate::DroppedMalformed),
        ("IPv6 length beyond the frame", with(v6(6, &tcp(4000, 25)), 19, 200), Fate::DroppedMalformed),
        ("IPv4 header cut", ethernet(&[], 0x800, &ipv4_with(6, 0, 0, &[])[..19]), Fate::DroppedMalformed),
        ("UDP", v4(17, &[0; 8]), Fate::DroppedPolicy),
        ("ping", v4(1, &icmp_echo), Fate::Bridged),
        ("IPv6 ping", v6(58, &[128, 0, 0, 0, 0, 0, 0, 0]), Fate::Bridged),
        ("IP in IP", v4(4, &[0; 40]), Fate::DroppedPolicy),
        ("no next header", v6(59, &[]), Fate::DroppedPolicy),
        ("neighbour solicitation", ethernet(&[], 0x86dd, &ipv6(58, 255, &solicitation)), Fate::Bridged),
        ("ARP", ethernet(&[], 0x806, &[0; 28]), Fate::Bridged),
        ("ARP in a VLAN", ethernet(&[0x8100], 0x806, &[0; 28]), Fate::Bridged),
        ("LLDP", ethernet(&[], 0x88cc, &[0; 46]), Fate::Bridged),
        ("spanning tree", llc(&[0x42, 0x42, 3, 0, 0, 0, 0, 0, 0]), Fate::Bridged),
        ("CDP", llc(&[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0]), Fate::Bridged),
        ("IP in SNAP", ethernet(&[], snap_ip.len() as u16, &snap_ip), Fate::DroppedEncapsulated),
        ("IP in LLC", llc(&[6, 6, 3, 0x45, 0, 0, 40, 0]), Fate::DroppedEncapsulated),
        ("LLC cut", llc(&[0x42, 0x42]), Fate::DroppedMalformed),
        ("MPLS", ethernet(&[], 0x8847, &[0; 46]), Fate::DroppedEncapsulated),
        ("PPPoE", ethernet(&[], 0x8864, &[0; 46]), Fate::DroppedEncapsulated),
        ("an ethertype nobody knows", ethernet(&[], 0x1234, &[0; 46]), Fate::DroppedPolicy),
    ];
    let mut wrong = Vec::new();
    for (name, frame, expected) in &rows {
        let found = fate(&mut program, frame);
        if found != *expected {
            wrong.push(format!("{name}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Answers come in by the other port, where nothing is opened.
#[test]
fn answers_are_inspected_too() {
    let mut policy = mail_only();
    policy.ingress.swap(0, 1);
    let Some(mut program) = program(&policy, false) else { return };
    assert_eq!(fate(&mut program, &v4(6, &tcp(25, 4000))), INSPECTED);
    assert_eq!(fate(&mut program, &v6(6, &tcp(25, 4000))), INSPECTED);
    assert_eq!(
        fate(&mut program, &v4(6, &tcp(4000, 25))),
        Fate::DroppedPolicy,
        "nobody may open a session from here"
    );
    assert_eq!(fate(&mut program, &v4(1, &[8, 0, 0, 0, 0, 1, 0, 1])), Fate::DroppedPolicy);
}

/// Every prefix of every kind of frame that is to be inspected is inspected or dropped, never bridged, even where the
/// policy bridges everything else.
#[test]
fn no_part_of_an_inspected_frame_is_bridged() {
    let Some(mut program) = program(&Classification::inspecting(&[25]), false) else { return };
    let (hops, hops_payload) = chain(&[0, 60, 43], 6, &tcp(4000, 25));
    for frame in [
        v4(6, &tcp(4000, 25)),
        v4(6, &tcp(25, 4000)),
        ethernet(&[0x88a8, 0x8100], 0x800, &ipv4_with(6, 8, 0, &tcp(4000, 25))),
        v6(6, &tcp(4000, 25)),
        v6(hops, &hops_payload),
    ] {
        assert_eq!(fate(&mut program, &frame), INSPECTED);
        for len in 14..frame.len() {
            let found = fate(&mut program, &frame[..len]);
            assert_eq!(found, Fate::DroppedMalformed, "cut to {len} octets");
        }
        // A version or header length that does not fit: a lenient receiver might look past it.
        let links = 12 + 4 * frame[12..].chunks(4).take_while(|tag| [0x81, 0x88].contains(&tag[0])).count();
        for version in [0x15, 0x55, 0x60, 0x75] {
            assert_ne!(
                fate(&mut program, &with(frame.clone(), links + 2, version)),
                Fate::Bridged,
                "version {version:x}"
            );
        }
    }
    assert_eq!(fate(&mut program, &v4(6, &tcp(4000, 80))), Fate::Bridged);
    assert_eq!(fate(&mut program, &v4(17, &[0; 8])), Fate::Bridged);
    assert_eq!(fate(&mut program, &ethernet(&[], 0x1234, &[0; 46])), Fate::Bridged);
    assert_eq!(fate(&mut program, &ethernet(&[], 0x8847, &[0; 46])), Fate::DroppedEncapsulated);
}

#[test]
fn a_wire_that_inspects_nothing_passes_everything_well_formed() {
    let Some(mut program) = program(&Classification::inspecting(&[]), false) else { return };
    let (nine, nine_payload) = chain(&[60; 9], 6, &tcp(4000, 25));
    for frame in [
        v4(6, &tcp(4000, 25)),
        v6(nine, &nine_payload),
        v6(139, &[6; 40]),
        ethernet(&[0x88a8, 0x8100, 0x8100], 0x800, &[0; 46]),
        ethernet(&[], 0x8847, &[0; 46]),
        ethernet(&[], 40, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
        ethernet(&[], 0x800, &ipv4_with(6, 0, 0x2000, &tcp(4000, 80))),
        v6(44, &[6, 0, 0, 1, 0, 0, 0, 1]),
    ] {
        assert_eq!(fate(&mut program, &frame), Fate::Bridged);
    }
}

#[test]
fn failing_open_bridges_what_no_worker_takes() {
    let Some(mut program) = program(&mail_only(), true) else { return };
    assert_eq!(fate(&mut program, &v4(6, &tcp(4000, 25))), Fate::BridgedUninspected);
    assert_eq!(
        fate(&mut program, &v4(6, &tcp(4000, 80))),
        Fate::DroppedPolicy,
        "what is dropped stays dropped"
    );
}

#[test]
fn a_policy_is_exchanged_as_a_whole_and_every_port_has_its_own_action() {
    let Some(mut program) = program(&Classification::inspecting(&[]), false) else { return };
    for port in [0, 1, 25, 31, 32, 63, 2525, 32_767, 32_768, 65_535] {
        program.set_policy(&Classification::inspecting(&[port])).unwrap();
        assert_eq!(fate(&mut program, &v4(6, &tcp(40_000, port))), INSPECTED, "port {port}");
        for other in [port.wrapping_sub(1), port.wrapping_add(1), port ^ 0x100] {
            assert_eq!(
                fate(&mut program, &v4(6, &tcp(40_000, other))),
                Fate::Bridged,
                "port {other} beside {port}"
            );
        }
    }
}

#[test]
fn a_class_is_counted_where_it_decides() {
    let mut policy = mail_only();
    let side = &mut policy.ingress[0];
    side.set_tcp(80, Action::Bridge);
    side.set_tcp_class(25, 9);
    side.set_tcp_class(80, 1);
    side.set_tcp_class(65535, 255);
    (side.udp_class, side.icmp_class, side.other_class) = (2, 3, 4);
    let Some(mut program) = program(&policy, false) else { return };
    let mut counted = |frame: &[u8]| {
        let before = program.class_counts(255).unwrap();
        program.try_frame(frame, 1).unwrap();
        let after = program.class_counts(255).unwrap();
        assert_eq!(after.len(), 255);
        let grown =
            (1..=u8::MAX).zip(before.iter().zip(&after)).filter(|(_, (before, after))| before != after);
        let grown: Vec<(u8, u64, u64)> = grown
            .map(|(class, (before, after))| (class, after.frames - before.frames, after.bytes - before.bytes))
            .collect();
        let others: Vec<_> =
            grown.iter().filter(|(_, frames, bytes)| (*frames, *bytes) != (1, frame.len() as u64)).collect();
        assert!(others.is_empty() && grown.len() <= 1, "{grown:?}");
        grown.first().map_or(0, |(class, ..)| *class)
    };
    assert_eq!(counted(&v4(6, &tcp(40000, 80))), 1, "passed");
    assert_eq!(counted(&v6(6, &tcp(40000, 80))), 1);
    assert_eq!(counted(&v4(6, &tcp(40000, 65535))), 255, "dropped");
    assert_eq!(counted(&v4(6, &tcp(40000, 25))), 0, "a worker's");
    assert_eq!(counted(&v4(6, &tcp(40000, 81))), 0, "no class is known");
    assert_eq!(counted(&v4(17, &[0; 8])), 2);
    assert_eq!(counted(&v4(1, &[8, 0, 0, 0, 0, 0, 0, 0])), 3);
    assert_eq!(counted(&v4(1, &[3, 4, 0, 0, 0, 0, 0, 0])), 0, "an error may be of any session");
    assert_eq!(counted(&v4(47, &[0; 8])), 4);
    assert_eq!(counted(&v6(47, &[0; 8])), 4);
}

#[test]
fn icmp_has_an_action_for_errors() {
    let mut policy = mail_only();
    (policy.ingress[0].icmp, policy.ingress[0].icmp_error) = (Action::Drop, Action::Inspect);
    let Some(mut program) = program(&policy, false) else { return };
    let message = |kind: u8| [kind, 4, 0, 0, 0, 0, 5, 0];
    for (frame, expected) in [
        (v4(1, &message(3)), INSPECTED),
        (v4(1, &message(11)), INSPECTED),
        (v4(1, &message(8)), Fate::DroppedPolicy),
        (v6(58, &message(2)), INSPECTED),
        (v6(58, &message(128)), Fate::DroppedPolicy),
        (v6(58, &message(135)), Fate::DroppedPolicy),
        (ethernet(&[], 0x86dd, &ipv6(58, 255, &message(135))), Fate::Bridged),
        (ethernet(&[], 0x86dd, &ipv6(58, 1, &message(143))), Fate::Bridged),
        (v6(58, &message(143)), Fate::DroppedPolicy),
        (v6(58, &[2, 0, 0]), Fate::DroppedMalformed),
        (v4(1, &message(3)[..7]), Fate::DroppedMalformed),
    ] {
        assert_eq!(fate(&mut program, &frame), expected);
    }
}

#[test]
fn an_interface_that_is_no_port_gets_nothing_through() {
    let Some(mut program) = program(&Classification::inspecting(&[]), false) else { return };
    program.set_port(PortId::A, None).unwrap();
    program.set_port(PortId::B, None).unwrap();
    let before = [PortId::A, PortId::B].map(|port| program.counts(port).unwrap());
    program.try_frame(&v4(6, &tcp(4000, 80)), 1).unwrap();
    assert_eq!(before, [PortId::A, PortId::B].map(|port| program.counts(port).unwrap()));
}

#[test]
fn a_frame_costs_little() {
    let Some(mut program) = program(&mail_only(), false) else { return };
    for (name, frame) in [("IPv4 TCP", v4(6, &tcp(4000, 25))), ("IPv6 TCP", v6(6, &tcp(4000, 25)))] {
        let time = program.try_frame(&frame, 1_000_000).unwrap();
        println!("{name}: {} ns a frame, counting included", time.as_nanos());
        assert!(time.as_micros() < 50);
    }
}

/// `inspect` of UDP from A to B, nothing back: the kernel bridges neither question nor answer, so that a worker, who
/// remembers who was asked, sees both.
#[test]
fn answers_without_a_connection_are_a_workers() {
    let class = |condition, action| TopClass {
        name: "class".into(),
        mode: Mode::Any,
        condition,
        matches: Vec::new(),
        action,
        line: 1,
    };
    let policy = Policy {
        form: Form::Zone,
        ports: ["inside", "outside"]
            .map(|name| PortName { name: name.into(), interfaces: Vec::new() })
            .into(),
        conditions: vec![Condition::Any, Condition::Protocol(17)],
        paths: vec![Path {
            source: Some(0),
            destination: Some(1),
            zone_pair: "pair".into(),
            policy: "policy".into(),
            classes: vec![
                class(1, TopAction::Inspect { parameters: 0, smtp: None }),
                class(0, TopAction::Drop { log: false }),
            ],
        }],
        ..Policy::default()
    };
    for ports in [[Some(0), Some(1)], [Some(1), Some(0)]] {
        let Some(mut program) = program(&Classification::from_policy(&policy, ports), false) else { return };
        for (frame, expected) in [
            (v4(17, &[0; 8]), INSPECTED),
            (v6(17, &[0; 8]), INSPECTED),
            (ethernet(&[], 0x800, &ipv4_with(17, 0, 0x2000, &[0; 8])), INSPECTED),
            (ethernet(&[], 0x800, &ipv4_with(17, 0, 0x0001, &[0; 8])), INSPECTED),
            (v6(44, &[&[17, 0, 0, 1, 0, 0, 0, 1][..], &[0; 8]].concat()), INSPECTED),
            (v4(1, &[3, 3, 0, 0, 0, 0, 0, 0]), INSPECTED),
            (v6(58, &[1, 4, 0, 0, 0, 0, 0, 0]), INSPECTED),
            (v4(1, &[8, 0, 0, 0, 0, 1, 0, 1]), Fate::DroppedPolicy),
            (v4(47, &[0; 8]), Fate::DroppedPolicy),
        ] {
            assert_eq!(fate(&mut program, &frame), expected, "{ports:?}");
        }
    }
}
