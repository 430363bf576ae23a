//! IP fragments: whole datagrams only, none that overlap, within every budget.

use std::time::Duration;

use inspect::anomaly::Anomaly;
use inspect::engine::Config;
use inspect::fragment::{DATAGRAM_LIMIT, Limits};
use inspect::unit::PortId;
use inspect::wire::emit::Outgoing;
use inspect::wire::{self, Checksums, Flags, Packet};

use super::puppet::{Ends, Left, Puppet, V4, V6};

/// A frame taken apart: everything before the transport header, and that with what follows.
struct Whole {
    is_v6: bool,
    link: Vec<u8>,
    header: Vec<u8>,
    payload: Vec<u8>,
}

impl Whole {
    fn new(frame: &[u8]) -> Self {
        let is_v6 = frame[12] == 0x86;
        let header_len = if is_v6 { 40 } else { 20 };
        Self {
            is_v6,
            link: frame[..14].to_vec(),
            header: frame[14..14 + header_len].to_vec(),
            payload: frame[14 + header_len..].to_vec(),
        }
    }

    /// A segment of the client's with these octets.
    fn segment(ends: Ends, payload: &[u8]) -> Self {
        let outgoing = Outgoing {
            seq: super::puppet::CLIENT_ISN.wrapping_add(1),
            ack: super::puppet::SERVER_ISN + 1,
            flags: Flags::ACK.with(Flags::PSH),
            window: 512,
            payload,
            ..Outgoing::default()
        };
        Self::new(&ends.frame(true, &outgoing))
    }

    fn fragment(&self, identification: u16, offset: usize, payload: &[u8], more: bool) -> Vec<u8> {
        let mut frame = self.link.clone();
        let start = frame.len();
        frame.extend_from_slice(&self.header);
        let word = if self.is_v6 {
            (offset as u16) | u16::from(more)
        } else {
            (offset / 8) as u16 | u16::from(more) << 13
        };
        if self.is_v6 {
            frame[start + 4..start + 6].copy_from_slice(&(payload.len() as u16 + 8).to_be_bytes());
            frame[start + 6] = 44;
            frame.extend_from_slice(&[self.header[6], 0]);
            frame.extend_from_slice(&word.to_be_bytes());
            frame.extend_from_slice(&[0, 0]);
            frame.extend_from_slice(&identification.to_be_bytes());
        } else {
            frame[start + 2..start + 4].copy_from_slice(&(payload.len() as u16 + 20).to_be_bytes());
            frame[start + 4..start + 6].copy_from_slice(&identification.to_be_bytes());
            frame[start + 6..start + 8].copy_from_slice(&word.to_be_bytes());
            wire::ipv4::fix_checksum(&mut frame[start..]);
        }
        frame.extend_from_slice(payload);
        frame
    }

    /// Cut at these places, multiples of 8.
    fn cut(&self, identification: u16, cuts: &[usize]) -> Vec<Vec<u8>> {
        let mut bounds = vec![0];
        bounds.extend_from_slice(cuts);
        bounds.push(self.payload.len());
        bounds
            .windows(2)
            .map(|pair| {
                let payload = &self.payload[pair[0]..pair[1]];
                self.fragment(identification, pair[0], payload, pair[1] < self.payload.len())
            })
            .collect()
    }
}

const LETTER: &[u8] =
    b"HELO client.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";

fn payloads(left: &[Left]) -> Vec<u8> {
    left.iter().filter(|left| left.port == PortId::B).flat_map(|left| left.payload().to_vec()).collect()
}

fn put_all(puppet: &mut Puppet, frames: &[Vec<u8>]) -> Vec<Left> {
    frames.iter().flat_map(|frame| puppet.put(PortId::A, frame)).collect()
}

fn is_fragment(frame: &[u8]) -> bool {
    matches!(wire::parse(frame, Checksums::Trust), Ok(Packet::Fragment(_)))
}

#[test]
fn a_datagram_leaves_as_whole_segments_in_whatever_order_it_comes() {
    for ends in [V4, V6] {
        let fragments = Whole::segment(ends, LETTER).cut(7, &[24, 48, 80]);
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut puppet = Puppet::connected(ends);
            let free = puppet.pool.free_count();
            for index in &order[..3] {
                assert!(
                    puppet.put(PortId::A, &fragments[*index]).is_empty(),
                    "nothing leaves before all is here"
                );
            }
            let left = puppet.put(PortId::A, &fragments[order[3]]);
            assert!(left.iter().all(|left| !is_fragment(&left.bytes)));
            assert_eq!(payloads(&left), LETTER, "{order:?}");
            assert_eq!(puppet.pool.free_count() + 1, free, "only what left is remembered");
            let counters = puppet.engine.counters();
            assert_eq!((counters.fragments_received, counters.datagrams_reassembled), (4, 1));
        }
    }
}

#[test]
fn a_large_datagram_leaves_in_segments_no_larger_than_its_fragments() {
    for (ends, len) in [(V4, 6_000), (V6, 6_000), (V4, 60_000)] {
        let letter: Vec<u8> = (0..len).map(|at| b'a' + (at % 26) as u8).collect();
        let mut puppet = Puppet::connected(ends);
        let mut whole = Whole::segment(ends, &letter[..1_000]);
        // A frame of 64 KiB cannot be emitted into a chunk, but its fragments can.
        let template = ends.template();
        let outgoing = Outgoing {
            seq: super::puppet::CLIENT_ISN.wrapping_add(1),
            ack: super::puppet::SERVER_ISN + 1,
            flags: Flags::ACK.with(Flags::PSH).with(Flags::FIN),
            window: 512,
            payload: &letter,
            ..Outgoing::default()
        };
        let mut frame = vec![0; wire::emit::emit_len(&template, &outgoing)];
        wire::emit::emit(&template, wire::emit::Toward::Receiver, &outgoing, &mut frame);
        whole.payload = Whole::new(&frame).payload;
        let cuts: Vec<usize> =
            (1..).map(|n| n * 1_400).take_while(|cut| *cut < whole.payload.len()).collect();
        // Within the window that the server allows.
        puppet.server(0, 0, b"", |outgoing| outgoing.window = 2_000);
        let left = put_all(&mut puppet, &whole.cut(9, &cuts));
        assert_eq!(payloads(&left), letter);
        let headers = if ends.is_v6 { 40 + 8 } else { 20 };
        assert!(left.iter().all(|left| left.bytes.len() <= 14 + headers + 1_400));
        let flags: Vec<_> = left.iter().map(|left| left.segment().flags.fin()).collect();
        assert!(
            flags.split_last().is_some_and(|(last, rest)| *last && !rest.contains(&true)),
            "FIN comes last"
        );
    }
}

#[test]
fn overlapping_fragments_drop_the_whole_datagram() {
    for ends in [V4, V6] {
        let whole = Whole::segment(ends, LETTER);
        let part = |from: usize, to: usize, other: bool| {
            let mut payload = whole.payload[from..to].to_vec();
            if other {
                payload.iter_mut().for_each(|octet| *octet ^= 1);
            }
            whole.fragment(3, from, &payload, to < whole.payload.len())
        };
        let end = whole.payload.len();
        for (why, parts) in [
            ("other octets", vec![part(0, 40, false), part(0, 40, true), part(40, end, false)]),
            ("same octets, other bounds", vec![part(0, 40, false), part(32, end, false)]),
            ("within another", vec![part(0, 48, false), part(24, 32, false), part(48, end, false)]),
            ("around another", vec![part(24, 32, false), part(0, 48, false), part(48, end, false)]),
            ("from the front", vec![part(40, end, false), part(0, 48, false)]),
            (
                "two ends",
                vec![
                    part(40, end, false),
                    whole.fragment(3, 40, &whole.payload[40..64], false),
                    part(0, 40, false),
                ],
            ),
            (
                "behind the end",
                vec![
                    whole.fragment(3, 24, &whole.payload[24..40], false),
                    part(40, 48, false),
                    part(0, 24, false),
                ],
            ),
            (
                "an end before others",
                vec![
                    part(40, 48, false),
                    whole.fragment(3, 24, &whole.payload[24..40], false),
                    part(0, 24, false),
                ],
            ),
        ] {
            let mut puppet = Puppet::connected(ends);
            let free = puppet.pool.free_count();
            let left = put_all(&mut puppet, &parts);
            assert_eq!(payloads(&left), b"", "{why}");
            assert_eq!(puppet.count(Anomaly::OverlappingFragments), 1, "{why}");
            // And everything that is still to come of it.
            let left = put_all(&mut puppet, &whole.cut(3, &[40]));
            assert_eq!(payloads(&left), b"", "{why}");
            assert_eq!(puppet.pool.free_count(), free, "{why}");
            puppet.wait(Duration::from_secs(31));
            assert_eq!(
                payloads(&put_all(&mut puppet, &whole.cut(3, &[40]))),
                LETTER,
                "{why}: forgotten in time"
            );
        }
    }
}

#[test]
fn an_exact_duplicate_changes_nothing() {
    for ends in [V4, V6] {
        let fragments = Whole::segment(ends, LETTER).cut(7, &[40]);
        let mut puppet = Puppet::connected(ends);
        let twice = [fragments[0].clone(), fragments[0].clone(), fragments[1].clone()];
        assert_eq!(payloads(&put_all(&mut puppet, &twice)), LETTER);
    }
}

#[test]
fn a_first_fragment_without_all_headers_drops_the_datagram() {
    for ends in [V4, V6] {
        let whole = Whole::segment(ends, LETTER);
        for cut in [8, 16] {
            let mut puppet = Puppet::connected(ends);
            let left = put_all(&mut puppet, &whole.cut(7, &[cut]));
            assert_eq!((payloads(&left), puppet.count(Anomaly::TinyFragment)), (vec![], 1), "cut at {cut}");
            let mut puppet = Puppet::connected(ends);
            let mut fragments = whole.cut(7, &[cut]);
            fragments.reverse();
            let left = put_all(&mut puppet, &fragments);
            assert_eq!((payloads(&left), puppet.count(Anomaly::TinyFragment)), (vec![], 1), "cut at {cut}");
        }
    }
    // An extension header that begins in the first fragment and ends in the second.
    let mut whole = Whole::segment(V6, LETTER);
    let mut options = vec![6, 4, 1, 36];
    options.resize(40, 0);
    options.append(&mut whole.payload);
    (whole.header[6], whole.payload) = (60, options);
    let mut puppet = Puppet::connected(V6);
    assert!(put_all(&mut puppet, &whole.cut(7, &[24])).is_empty());
    assert_eq!(puppet.count(Anomaly::TinyFragment), 1);
    let mut puppet = Puppet::connected(V6);
    assert_eq!(payloads(&put_all(&mut puppet, &whole.cut(7, &[72]))), LETTER, "all of them in the first");
}

#[test]
fn fragments_that_no_sender_makes_are_dropped() {
    let whole = Whole::segment(V4, LETTER);
    let bad = |frame: &[u8]| {
        let mut puppet = Puppet::connected(V4);
        assert!(puppet.put(PortId::A, frame).is_empty());
        puppet.count(Anomaly::BadFragment)
    };
    assert_eq!(bad(&whole.fragment(1, 0, &whole.payload[..28], true)), 1, "cut within 8 octets");
    assert_eq!(bad(&whole.fragment(1, 24, b"", true)), 1, "empty");
    let beyond = DATAGRAM_LIMIT / 8 * 8;
    assert_eq!(bad(&whole.fragment(1, beyond, &[0; 16], false)), 1, "beyond 64 KiB");
    let mut must_not = whole.fragment(1, 24, &whole.payload[24..48], true);
    must_not[20] |= 0x40;
    wire::ipv4::fix_checksum(&mut must_not[14..34]);
    assert_eq!(bad(&must_not), 1, "do not fragment, and a fragment");
    assert_eq!(bad(&whole.fragment(1, 24, &whole.payload[24..48], true)), 0, "this one is fine");
}

#[test]
fn an_atomic_fragment_is_a_packet_of_its_own() {
    let whole = Whole::segment(V6, LETTER);
    let mut puppet = Puppet::connected(V6);
    let other = whole.cut(7, &[40]);
    assert!(puppet.put(PortId::A, &other[0]).is_empty());
    let left = puppet.put(PortId::A, &whole.fragment(7, 0, &whole.payload, false));
    assert_eq!(payloads(&left), LETTER, "whatever else has its identification (RFC 6946)");
    assert!(!is_fragment(&left[0].bytes));
    assert_eq!(payloads(&puppet.put(PortId::A, &other[1])), LETTER, "and the other goes on: sent again");
}

#[test]
fn a_wrong_checksum_of_the_whole_drops_it() {
    for ends in [V4, V6] {
        let mut whole = Whole::segment(ends, LETTER);
        *whole.payload.last_mut().unwrap() ^= 1;
        let mut puppet = Puppet::connected(ends);
        assert!(put_all(&mut puppet, &whole.cut(7, &[40])).is_empty());
        assert_eq!(puppet.engine.counters().dropped_checksum, 1);
    }
}

#[test]
fn a_syn_in_fragments_opens_a_session_without_its_octets() {
    let outgoing = Outgoing {
        seq: super::puppet::CLIENT_ISN,
        flags: Flags::SYN,
        window: 1000,
        payload: LETTER,
        ..Outgoing::default()
    };
    let mut puppet = Puppet::new(V4);
    let left = put_all(&mut puppet, &Whole::new(&V4.frame(true, &outgoing)).cut(7, &[40]));
    assert_eq!(left.len(), 1);
    assert!(left[0].segment().flags.syn() && left[0].payload().is_empty());
    assert_eq!(puppet.count(Anomaly::DataOnSyn), 1);
}

/// A UDP datagram to port `port`, which the policy lets through as UDP.
fn udp(ends: Ends, port: u16) -> Whole {
    let mut whole = Whole::segment(ends, LETTER);
    let [high, low] = port.to_be_bytes();
    whole.payload.splice(0..20, [0x9c, 0x40, high, low, 0, 0, 0, 0]);
    whole.header[if ends.is_v6 { 6 } else { 9 }] = 17;
    whole
}

#[test]
fn other_protocols_pass_as_the_policy_says_in_the_fragments_they_came_in() {
    for ends in [V4, V6] {
        let fragments = udp(ends, 53).cut(7, &[16, 40]);
        let mut puppet = Puppet::new(ends);
        assert!(puppet.put(PortId::A, &fragments[2]).is_empty());
        assert!(puppet.put(PortId::A, &fragments[0]).is_empty());
        let left = puppet.put(PortId::A, &fragments[1]);
        let left: Vec<_> = left.into_iter().map(|left| left.bytes).collect();
        assert_eq!(left, fragments, "as they came, in order");
        let mut other = udp(ends, 53);
        other.header[if ends.is_v6 { 6 } else { 9 }] = 47;
        assert!(put_all(&mut puppet, &other.cut(8, &[16])).is_empty(), "no policy lets GRE through");
        assert_eq!(puppet.engine.counters().dropped_policy, 1);
        puppet.assert_empty();
    }
}

#[test]
fn neighbour_discovery_in_fragments_is_dropped() {
    // RFC 6980: a neighbour advertisement.
    let mut whole = udp(V6, 0);
    (whole.header[6], whole.header[7]) = (58, 255);
    whole.payload[..8].copy_from_slice(&[136, 0, 0, 0, 0, 0, 0, 0]);
    // The hop limit of the made packet is the fragments'.
    let mut puppet = Puppet::new(V6);
    assert!(put_all(&mut puppet, &whole.cut(7, &[16])).is_empty());
    assert_eq!(puppet.engine.counters().dropped_malformed, 1);
}

#[test]
fn fragments_wait_within_their_limits() {
    let limits =
        Limits { datagrams: 8, datagrams_per_source: 3, fragments: 4, share: 64, ..Limits::default() };
    let config = || Config { fragments: limits, ..Config::default() };
    let whole = Whole::segment(V4, LETTER);

    // Of one datagram.
    let mut puppet = Puppet::with(V4, false, config());
    puppet.handshake();
    let free = puppet.pool.free_count();
    assert!(put_all(&mut puppet, &whole.cut(1, &[24, 32, 40, 48])).is_empty());
    assert_eq!(puppet.count(Anomaly::FragmentOverflow), 1);
    assert_eq!(puppet.pool.free_count(), free);
    assert_eq!(
        payloads(&put_all(&mut puppet, &whole.cut(2, &[24, 32, 40]))),
        LETTER,
        "as many as there may be"
    );

    // Of one source: its own oldest goes.
    let mut puppet = Puppet::with(V4, false, config());
    puppet.handshake();
    let firsts: Vec<_> = (0..4).map(|n| whole.cut(n, &[40])).collect();
    for fragments in &firsts {
        puppet.put(PortId::A, &fragments[0]);
    }
    assert_eq!(puppet.engine.counters().datagrams_evicted, 1);
    assert!(puppet.put(PortId::A, &firsts[0][1]).is_empty(), "the oldest was given up");
    assert_eq!(payloads(&puppet.put(PortId::A, &firsts[3][1])), LETTER);

    // In all: the oldest goes.
    let mut puppet = Puppet::with(V4, false, config());
    let other = |client: u32| Whole::segment(Ends { client, ..V4 }, LETTER).cut(5, &[40]);
    for client in 0..9 {
        puppet.put(PortId::A, &other(client)[0]);
    }
    assert_eq!(puppet.engine.counters().datagrams_evicted, 1);
    assert_eq!(super::puppet::CHUNKS - puppet.pool.free_count(), 8);

    // Frames: one in 64 of 1,024.
    let limits = Limits { datagrams: 100, datagrams_per_source: 100, ..limits };
    let mut puppet = Puppet::with(V4, false, Config { fragments: limits, ..Config::default() });
    for client in 0..40 {
        puppet.put(PortId::A, &other(client)[0]);
    }
    assert_eq!(super::puppet::CHUNKS - puppet.pool.free_count(), 16);
    assert_eq!(puppet.engine.counters().datagrams_evicted, 24);

    // Time.
    puppet.wait(limits.timeout + Duration::from_secs(1));
    puppet.assert_empty();
    assert_eq!(puppet.engine.counters().datagrams_expired, 16);
}

#[test]
fn what_a_flood_of_fragments_does_to_an_honest_datagram() {
    // 255 datagrams of other sources between the two halves of an honest one: it is still there.
    let mut puppet = Puppet::connected(V4);
    let fragments = Whole::segment(V4, LETTER).cut(7, &[40]);
    puppet.put(PortId::A, &fragments[0]);
    let share = super::puppet::CHUNKS / Limits::default().share;
    for client in 2..u32::try_from(share).unwrap() + 1 {
        puppet.put(PortId::A, &Whole::segment(Ends { client, ..V4 }, LETTER).cut(5, &[40])[0]);
    }
    assert_eq!(payloads(&puppet.put(PortId::A, &fragments[1])), LETTER);
    puppet.engine.shut_down(puppet.now);
    puppet.assert_empty();
}
