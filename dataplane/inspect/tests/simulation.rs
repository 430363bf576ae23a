//! What leaves the gateway, between two real TCP stacks on bad links, is what was inspected, and it arrives.

mod network;

use std::time::Duration;

use artifact::model::{
    Condition, Form, InspectParameters, Mode, Path, Policy, PortName, TopAction, TopClass,
};
use artifact::smtp::{Base, SmtpPolicy};
use inspect::scan::NoPatterns;

use network::host::Family;
use network::smtp::{Client, Server};
use network::{Faults, Network, Random};

/// Zones `outside` (first port) and `inside`; SMTP from outside is inspected with this base, the rest passes.
fn policy(base: Option<Base>) -> Policy {
    let smtp = base.map(|base| SmtpPolicy {
        name: "mail".into(),
        base,
        classes: vec![],
        criteria: vec![],
        databases: vec![],
        alert: true,
        audit_trail: false,
        max_data: None,
        settings: artifact::settings::Settings::default(),
    });
    let inspect = TopAction::Inspect { parameters: 0, smtp: smtp.as_ref().map(|_| 0) };
    Policy {
        form: Form::Classic,
        ports: ["outside", "inside"].map(|name| PortName { name: name.into(), interfaces: vec![] }).into(),
        paths: vec![Path {
            source: Some(0),
            destination: None,
            zone_pair: "mail".into(),
            policy: "mail".into(),
            classes: vec![TopClass {
                name: "mail".into(),
                mode: Mode::Any,
                condition: 0,
                matches: vec!["protocol smtp".into()],
                action: inspect,
                line: 1,
            }],
        }],
        conditions: vec![Condition::Smtp],
        parameters: vec![InspectParameters::default()],
        smtp: smtp.into_iter().collect(),
        smtp_ports: vec![25],
        ..Policy::default()
    }
}

fn body(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut body = Vec::with_capacity(len + 80);
    while body.len() < len {
        for _ in 0..70 {
            body.push(b'a' + random.below(26) as u8);
        }
        body.extend_from_slice(b"\r\n");
    }
    body
}

fn deliver(family: Family, base: Option<Base>, seed: u64, len: usize, client: Faults, server: Faults) {
    deliver_between(family, base, seed, len, (client, server), |_| {});
}

/// A mail of `len` octets, over these links, between ends that `set_up` has changed.
fn deliver_between(
    family: Family,
    base: Option<Base>,
    seed: u64,
    len: usize,
    (client, server): (Faults, Faults),
    set_up: impl FnOnce(&mut Network<NoPatterns>),
) {
    let mut network = Network::new(policy(base), NoPatterns, seed);
    (network.client_link, network.server_link) = (client, server);
    set_up(&mut network);
    let body = body(seed, len);
    network.server.listen(Server::offering(&["PIPELINING", "SIZE 1000000", "8BITMIME"]));
    let talk = Client::mail("EHLO client.example", "a@example.com", "b@example.org", &body);
    network.client.connect(family, 2, talk);
    // Whether the very last acknowledgement arrives is not the gateway's to promise: it forgets a closed session.
    let finished = network.run(Duration::from_secs(600), |network| {
        let closed = network.client.is_closed() && network.server.is_closed();
        closed || (network.client.talk::<Client>().replies.len() == 7 && network.engine.flow_count() == 0)
    });
    let seconds = network.now_micros / 1_000_000;
    let replies = network.client.talk::<Client>().replies.clone();
    assert!(finished, "seed {seed}: stalled after {seconds} s, client read {replies:?}");
    let mut expected = body;
    expected.extend_from_slice(b"\r\n.\r\n");
    assert_eq!(
        network.engine.counters().retransmitted_bytes_restored,
        0,
        "seed {seed}: the client is honest"
    );
    let server: &mut Server = network.server.talk();
    assert_eq!(server.messages.len(), 1, "seed {seed}");
    let got = &server.messages[0];
    let first = got.iter().zip(&expected).position(|(a, b)| a != b);
    assert!(
        *got == expected,
        "seed {seed}: the message changed: {} octets of {}, first at {first:?}",
        got.len(),
        expected.len()
    );
    assert_eq!(replies.len(), 7, "seed {seed}: {replies:?}");
    // The connection is forgotten in the end, and nothing is kept of it.
    network.run(Duration::from_secs(150), |network| network.engine.flow_count() == 0);
    assert_eq!(network.engine.flow_count(), 0, "seed {seed}");
    assert_eq!(network.kept(), 0, "seed {seed}: frames were kept");
}

#[test]
fn a_mail_arrives_over_good_links() {
    for family in [Family::V4, Family::V6] {
        for base in [None, Some(Base::None), Some(Base::Esmtp)] {
            deliver(family, base, 1, 200_000, Faults::default(), Faults::default());
        }
    }
}

#[test]
fn a_session_is_over_when_both_sides_have_closed() {
    let mut network = Network::new(policy(Some(Base::None)), NoPatterns, 1);
    network.server.listen(Server::default());
    let talk = Client::mail("HELO client.example", "a@example.com", "b@example.org", b"hello");
    network.client.connect(Family::V4, 2, talk);
    assert!(network.run(Duration::from_secs(30), |network| network.server.is_closed()));
    let finwait = Duration::from_secs(InspectParameters::default().tcp_finwait_time.into());
    assert!(network.run(finwait + Duration::from_secs(1), |network| network.engine.flow_count() == 0));
}

#[test]
fn no_session_begins_while_new_ones_are_refused() {
    let mut network = Network::new(policy(Some(Base::None)), NoPatterns, 1);
    network.server.listen(Server::default());
    network.engine.refuse_new(true);
    let talk = Client::mail("HELO client.example", "a@example.com", "b@example.org", b"hello");
    network.client.connect(Family::V4, 2, talk);
    assert!(!network.run(Duration::from_secs(4), |network| network.engine.flow_count() > 0));
    assert!(network.engine.counters().dropped_draining > 1, "the client tries again");
    network.engine.refuse_new(false);
    assert!(network.run(Duration::from_secs(30), |network| network.engine.flow_count() == 1));
    network.engine.refuse_new(true);
    assert!(
        network.run(Duration::from_secs(30), |network| network.server.is_closed()),
        "what exists goes on"
    );
    let counters = network.engine.counters();
    let server: &mut Server = network.server.talk();
    assert_eq!(server.messages.len(), 1);
    assert_eq!(
        (counters.smtp_commands_mail, counters.smtp_commands_data, counters.smtp_replies_3xx),
        (1, 1, 1)
    );
    let verbs: u64 = counters.rows().filter(|row| row.0.starts_with("smtp_commands_")).map(|row| row.2).sum();
    assert_eq!(verbs, counters.smtp_commands);
}

#[test]
fn a_mail_arrives_over_bad_links() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut link = || Faults {
            loss: random.below(100),
            duplication: random.below(100),
            reordering: random.below(300),
        };
        let (client, server) = (link(), link());
        let family = if seed % 2 == 0 { Family::V4 } else { Family::V6 };
        deliver(family, Some(Base::None), seed, 30_000, client, server);
    }
}

/// Links that lose, repeat and reorder; ends with timestamps, with windows of a few octets that close and are probed, and
/// with links of another size.
#[test]
fn a_mail_arrives_between_ends_of_every_kind() {
    for seed in 0..1_200 {
        let mut random = Random::new(seed + 7_000);
        let mut link = || Faults {
            loss: random.below(60),
            duplication: random.below(60),
            reordering: random.below(200),
        };
        let mut links = (link(), link());
        let family = if seed % 2 == 0 { Family::V4 } else { Family::V6 };
        let kind = random.below(8);
        if kind & 6 != 0 {
            // A small window closes, and smoltcp does not probe it: the update that opens it must not be lost or overtaken.
            for link in [&mut links.0, &mut links.1] {
                (link.loss, link.reordering) = (0, 0);
            }
        }
        let buffer = [64, 200, 1_000, 5_000][random.below(4) as usize];
        let mtu = [600, 900, 1_300, 1_514][random.below(4) as usize];
        let mtu = if family == Family::V6 { mtu.max(1_300) } else { mtu };
        deliver_between(family, Some(Base::None), seed, 6_000, links, |network| {
            for (bit, host) in [(0, &mut network.client), (1, &mut network.server)] {
                if kind & 1 != 0 {
                    host.set_timestamps();
                }
                if kind & (2 << bit) != 0 {
                    host.set_buffers(buffer, 4_000);
                }
                if random.below(2) == 0 {
                    host.set_mtu(mtu);
                }
            }
        });
    }
}
