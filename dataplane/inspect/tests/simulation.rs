//! What leaves the gateway, between two real TCP stacks on bad links, is what was inspected, and it arrives.

mod inspecting;
mod network;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use artifact::model::{Form, InspectParameters, Policy};
use artifact::smtp::{Base, SmtpPolicy};
use inspect::scan::NoPatterns;

use inspecting::inspecting;
use network::host::Family;
use network::smtp::{Client, Server};
use network::{Faults, Network, Random};

/// Zones `outside` (first port) and `inside`; SMTP from outside is inspected with this base, the rest passes.
fn policy(base: Option<Base>) -> Policy {
    inspecting(Form::Classic, base.map(|base| SmtpPolicy::new("mail", base)))
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
    let mut network = Network::new(policy(base), NoPatterns, seed);
    (network.client_link, network.server_link) = (client, server);
    assert!(deliver_over(&mut network, family, seed, len), "seed {seed}: an end fell silent");
}

/// Longer than any timer of smoltcp's (microseconds).
const SILENCE: u64 = 400_000_000;

/// One mail over a network that is as it is to be. Returns whether it arrived; if not, an end fell silent with octets to
/// send, which no end may do whatever it hears (RFC 9293 section 3.8): smoltcp does when windows are tiny and an old
/// acknowledgement arrives late, without a gateway as well.
fn deliver_over(network: &mut Network<NoPatterns>, family: Family, seed: u64, len: usize) -> bool {
    let body = body(seed, len);
    network.server.listen(Server::offering(&["PIPELINING", "SIZE 1000000", "8BITMIME"]));
    let talk = Client::mail("EHLO client.example", "a@example.com", "b@example.org", &body);
    network.client.connect(family, 2, talk);
    // Whether the very last acknowledgement arrives is not the gateway's to promise: it forgets a closed session.
    let finished = network.run(Duration::from_secs(3600), |network| {
        let closed = network.client.is_closed() && network.server.is_closed();
        let over = network.client.talk::<Client>().replies.len() == 7 && network.engine.flow_count() == 0;
        closed || over || network.now_micros - network.last_sent_micros > SILENCE
    });
    if network.now_micros - network.last_sent_micros > SILENCE && !network.client.is_closed() {
        let has_more = network.client.socket().send_queue() + network.server.socket().send_queue() > 0;
        assert!(has_more, "seed {seed}: both ends wait for something that is in the gateway");
        return false;
    }
    let seconds = network.now_micros / 1_000_000;
    let replies = network.client.talk::<Client>().replies.clone();
    assert!(finished, "seed {seed}: stalled after {seconds} s, client read {replies:?}");
    let mut expected = body;
    expected.extend_from_slice(b"\r\n.\r\n");
    let counters = network.engine.counters();
    // A masked keyword that its server sends again is restored to its mask; nothing else differs from what came first.
    let honest = counters.retransmitted_bytes_restored == 0 || counters.smtp_masked_keywords > 0;
    assert!(honest, "seed {seed}: both ends are honest");
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
    true
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

#[test]
fn what_is_said_behind_starttls_arrives_over_bad_links() {
    for seed in 0..150 {
        let mut random = Random::new(seed + 5_000);
        let worst = [0, 30, 100][random.below(3) as usize];
        let mut link = || Faults {
            loss: random.below(worst + 1),
            duplication: random.below(worst + 1),
            reordering: random.below(3 * worst + 1),
        };
        let mut network = Network::new(policy(Some(Base::None)), NoPatterns, seed);
        (network.client_link, network.server_link) = (link(), link());
        let family = if seed % 2 == 0 { Family::V4 } else { Family::V6 };
        let body = body(seed, 30_000);
        network.server.listen(Server::offering(&["STARTTLS"]));
        let talk = Client::opaque_mail("EHLO client.example", "a@example.com", "b@example.org", &body);
        network.client.connect(family, 2, talk);
        network.run(Duration::from_secs(3600), |network| {
            network.client.talk::<Client>().replies.len() == 9 && network.engine.flow_count() == 0
        });
        let replies = network.client.talk::<Client>().replies.clone();
        assert_eq!(replies.len(), 9, "seed {seed}: {replies:?}");
        let server: &mut Server = network.server.talk();
        assert!(server.messages == [[&body[..], b"\r\n.\r\n"].concat()], "seed {seed}: the message changed");
        let counters = network.engine.counters();
        assert_eq!((counters.smtp_opaque, counters.smtp_messages), (1, 0), "seed {seed}");
        assert_eq!(network.kept(), 0, "seed {seed}: frames were kept");
    }
}

/// Networks that differ in everything: faults of both links, sizes of the ends' buffers (and so their windows), of
/// segments, of what applications write at once, and how the path's MTU changes on the way.
fn any_network(seed: u64) -> (Network<NoPatterns>, Family, usize) {
    let mut random = Random::new(seed.wrapping_add(1 << 40));
    let base = [None, Some(Base::None), Some(Base::Esmtp)][random.below(3) as usize];
    let mut network = Network::new(policy(base), NoPatterns, seed);
    let worst = [0, 20, 60, 100][random.below(4) as usize];
    let mut link = || Faults {
        loss: random.below(worst + 1),
        duplication: random.below(worst + 1),
        reordering: random.below(3 * worst + 1),
    };
    (network.client_link, network.server_link) = (link(), link());
    let mut len = 500 + random.below(12_000) as usize;
    let stamps = random.below(2) == 0;
    for side in 0..2 {
        let sizes = [48, 200, 700, 3_000, 16_000, 65_536];
        let receive = sizes[random.below(6) as usize];
        let send = sizes[2 + random.below(4) as usize];
        if receive < 1_500 {
            len = len.min(2_000);
        }
        let piece = [0, 0, 0, 1, 7, 100][random.below(6) as usize];
        if piece == 1 {
            len = len.min(300);
        }
        let host = if side == 0 { &mut network.client } else { &mut network.server };
        let mtu = [1_300, 1_514][random.below(2) as usize];
        host.set_buffers(receive, send);
        host.set_mtu(mtu);
        if stamps {
            host.set_timestamps();
        }
        host.set_piece(piece);
    }
    let mut at = 0;
    while random.below(3) > 0 {
        let limit = [1, 20, 100, 500, 1_000, 1_460][random.below(6) as usize];
        network.segment_limits.push((at, limit));
        at += 1_000 * u64::from(random.below(400));
    }
    if network.segment_limits.iter().any(|(_, limit)| *limit == 1) {
        len = len.min(300);
    }
    let family = if random.below(2) == 0 { Family::V4 } else { Family::V6 };
    (network, family, len)
}

/// Thousands of networks. `POSTERN_SEEDS` says how many, or which: `5000`, or `77..78`.
#[test]
fn a_mail_arrives_over_any_network() {
    let wanted = std::env::var("POSTERN_SEEDS").unwrap_or_else(|_| "3000".into());
    let (from, to) = wanted.split_once("..").unwrap_or(("0", &wanted));
    let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
    let next = AtomicU64::new(from);
    let totals = Mutex::new([0_u64; 5]);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        break;
                    }
                    let (mut network, family, len) = any_network(seed);
                    let arrived = deliver_over(&mut network, family, seed, len);
                    let counters = network.engine.counters();
                    let mut totals = totals.lock().expect("no other seed failed");
                    totals[4] += u64::from(!arrived);
                    totals[0] += network.now_micros / 1_000_000;
                    totals[1] += counters.frames_received_a + counters.frames_received_b;
                    totals[2] += counters.retransmitted_segments;
                    totals[3] += counters.out_of_order_segments;
                }
            });
        }
    });
    let [seconds, frames, retransmitted, out_of_order, silent] = totals.into_inner().expect("no seed failed");
    println!(
        "{} networks, {seconds} simulated seconds, {frames} frames, {retransmitted} sent again, {out_of_order} out of order; in {silent} an end fell silent",
        to - from
    );
    if to - from >= 100 {
        let count = to - from;
        assert!(retransmitted > count && out_of_order > count, "these networks are too good");
        assert!(silent * 50 < count, "in {silent} of {count} networks an end fell silent");
    }
}

/// Timestamps on both sides, and a clock that wraps on the way: what waited here is not too old for its receiver (PAWS).
#[test]
fn a_mail_arrives_between_ends_with_timestamps() {
    for seed in 0..400 {
        let mut random = Random::new(seed + 7_000);
        let mut link = || Faults {
            loss: random.below(80),
            duplication: random.below(80),
            reordering: random.below(300),
        };
        let mut network = Network::new(policy(Some(Base::None)), NoPatterns, seed);
        (network.client_link, network.server_link) = (link(), link());
        let mtu = [600, 900, 1_300, 1_514][random.below(4) as usize];
        let family = if mtu < 1_300 || seed % 2 == 0 { Family::V4 } else { Family::V6 };
        network.client.set_mtu(mtu);
        network.client.set_timestamps();
        network.server.set_timestamps();
        assert!(deliver_over(&mut network, family, seed, 20_000), "seed {seed}: an end fell silent");
    }
}
