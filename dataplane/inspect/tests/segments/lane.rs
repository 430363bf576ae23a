//! The short way: which segments take it, which never, and what stays right for those that come after.
//!
//! Whether one took it shows by its checksum, which only the long way verifies.

use std::sync::Arc;
use std::time::Duration;

use inspect::anomaly::Anomaly;
use inspect::engine::{Config, Pickup, SessionState, SessionView, Uninspected};
use inspect::event::EndReason;
use inspect::unit::PortId;
use inspect::wire::emit::Outgoing;
use inspect::wire::{self, Checksums, Flags, Options, Packet, SackBlock, Timestamps};

use super::puppet::{CLIENT_ISN, Ends, Puppet, SERVER_ISN, V4, V6, policy};

const CLIENT: u32 = CLIENT_ISN.wrapping_add(1);
const SERVER: u32 = SERVER_ISN + 1;

fn pinhole(ends: Ends, clocks: Option<[u32; 2]>) -> Puppet {
    let mut puppet = Puppet::with(ends, false, Config::default());
    puppet.clocks = clocks;
    puppet.handshake();
    puppet
}

/// A frame with these offsets of the streams.
fn frame(puppet: &Puppet, from_client: bool, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let (mine, theirs) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let timestamps = puppet.clocks.map(|[client, server]| {
        let (value, echo) = if from_client { (client, server) } else { (server, client) };
        Timestamps { value, echo: echo.wrapping_sub(1) }
    });
    let outgoing = Outgoing {
        seq: mine.wrapping_add(seq),
        ack: theirs.wrapping_add(ack),
        flags: Flags::ACK,
        window: 512,
        options: Options { timestamps, ..Options::default() },
        payload,
        ..Outgoing::default()
    };
    puppet.ends.frame(from_client, &outgoing)
}

/// With a wrong checksum of TCP.
fn damaged(mut frame: Vec<u8>) -> Vec<u8> {
    let Ok(Packet::Tcp(segment)) = wire::parse(&frame, Checksums::Trust) else { panic!("a segment") };
    frame[usize::from(segment.tcp_start) + 17] ^= 0x55;
    frame
}

fn port(from_client: bool) -> PortId {
    if from_client { PortId::A } else { PortId::B }
}

/// Whether a plain segment takes the short way now. It stands at these offsets, and leaves as it came if it does.
fn is_open(puppet: &mut Puppet, from_client: bool, seq: u32, ack: u32, payload: &[u8]) -> bool {
    let bytes = damaged(frame(puppet, from_client, seq, ack, payload));
    let before = puppet.engine.counters().dropped_checksum;
    let left = puppet.put(port(from_client), &bytes);
    let is_dropped = puppet.engine.counters().dropped_checksum > before;
    assert_eq!(left.len(), usize::from(!is_dropped));
    if let [left] = &left[..] {
        assert_eq!((&left.bytes, left.port), (&bytes, port(!from_client)));
    }
    !is_dropped
}

fn session(puppet: &Puppet) -> SessionView {
    puppet.engine.sessions().next().expect("a session")
}

#[test]
fn plain_segments_of_a_pinhole_pass_as_they_are_and_are_counted() {
    for ends in [V4, V6] {
        for clocks in [None, Some([1_000, u32::MAX - 3])] {
            let mut puppet = pinhole(ends, clocks);
            let before = puppet.engine.counters().clone();
            let free = puppet.pool.free_count();
            let (mut sent, mut answered) = (0, 0);
            for round in 0..50 {
                assert!(is_open(&mut puppet, true, sent, answered, b"\x17\x03\x03 sealed"));
                sent += 10;
                assert!(is_open(&mut puppet, false, answered, sent, b"answer"));
                answered += 6;
                assert!(is_open(&mut puppet, true, sent, answered, b""));
                assert_eq!(puppet.pool.free_count(), free, "nothing is remembered, round {round}");
            }
            let view = session(&puppet);
            assert_eq!((view.bytes, view.packets[1], view.state), ([500, 300], 51, SessionState::Open));
            let counters = puppet.engine.counters().clone();
            assert_eq!(counters.frames_forwarded - before.frames_forwarded, 150);
            assert_eq!(counters.frames_transmitted_a - before.frames_transmitted_a, 50);
            assert_eq!(counters.frames_transmitted_b - before.frames_transmitted_b, 100);
            let mut carried = 0;
            puppet.engine.levels(puppet.now, |_, _, _, level| carried += level.octets);
            assert_eq!(carried, 800, "of its class, too");
        }
    }
}

#[test]
fn octets_behind_the_packet_are_cut_off() {
    let mut puppet = pinhole(V4, None);
    let plain = frame(&puppet, true, 0, 0, b"ab");
    let padded = [&damaged(plain.clone())[..], b"EVIL\r\n"].concat();
    assert_eq!(puppet.put(PortId::A, &padded)[0].bytes, damaged(plain));
}

#[test]
fn what_is_odd_takes_the_long_way() {
    type Change = fn(&mut Outgoing<'_>);
    const BLOCK: [SackBlock; 1] = [SackBlock { left: SERVER, right: SERVER + 1 }];
    let odd: [(&str, Change); 15] = [
        ("FIN", |outgoing| outgoing.flags = Flags::ACK.with(Flags::FIN)),
        ("RST", |outgoing| outgoing.flags = Flags::ACK.with(Flags::RST)),
        ("SYN", |outgoing| outgoing.flags = Flags::ACK.with(Flags::SYN)),
        ("URG", |outgoing| outgoing.flags = Flags::ACK.with(Flags::URG)),
        ("ECE", |outgoing| outgoing.flags = Flags::ACK.with(Flags::ECE)),
        ("CWR", |outgoing| outgoing.flags = Flags::ACK.with(Flags::CWR)),
        ("no ACK", |outgoing| outgoing.flags = Flags::PSH),
        ("sent again", |outgoing| outgoing.seq = outgoing.seq.wrapping_sub(1)),
        ("ahead", |outgoing| outgoing.seq = outgoing.seq.wrapping_add(1)),
        ("acknowledges what was not sent", |outgoing| outgoing.ack += 1),
        ("acknowledges less than before", |outgoing| outgoing.ack -= 1),
        ("SACK", |outgoing| outgoing.sack = &BLOCK),
        ("other timestamps", |outgoing| {
            let stamps = Timestamps { value: 1, echo: 1 };
            let agreed = outgoing.options.timestamps.is_some();
            outgoing.options.timestamps = (!agreed).then_some(stamps);
        }),
        ("an option beside them", |outgoing| outgoing.options.mss = Some(1460)),
        ("more than the MSS", |outgoing| outgoing.payload = &[b'x'; 1461]),
    ];
    for clocks in [None, Some([1_000, 2_000])] {
        for (why, change) in odd {
            let mut puppet = pinhole(V4, clocks);
            assert!(is_open(&mut puppet, true, 0, 0, b"abc") && is_open(&mut puppet, false, 0, 3, b"de"));
            let mut outgoing = Outgoing {
                seq: CLIENT.wrapping_add(3),
                ack: SERVER + 2,
                flags: Flags::ACK,
                window: 512,
                options: Options {
                    timestamps: clocks.map(|[value, echo]| Timestamps { value, echo }),
                    ..Options::default()
                },
                payload: b"f",
                ..Outgoing::default()
            };
            // The server's octets are acknowledged.
            assert!(is_open(&mut puppet, true, 3, 2, b""));
            change(&mut outgoing);
            if outgoing.options.mss.is_some() {
                outgoing.flags = outgoing.flags.with(Flags::SYN);
            }
            let mut bytes = V4.frame(true, &outgoing);
            if outgoing.options.mss.is_some() {
                // It stands on a SYN only where it is made.
                bytes[47] = Flags::ACK.0;
            }
            let before = puppet.engine.counters().dropped_checksum;
            assert!(puppet.put(PortId::A, &damaged(bytes)).is_empty(), "{why}");
            assert_eq!(puppet.engine.counters().dropped_checksum, before + 1, "{why}");
            assert!(is_open(&mut puppet, true, 3, 2, b"f"), "{why}: nothing has changed");
        }
    }
}

#[test]
fn headers_that_are_not_plain_take_the_long_way() {
    for (why, at, value) in [
        ("few hops", 22, 31),
        ("reserved bit of IP", 20, 0x80),
        ("reserved bits of TCP", 46, 0x51),
        ("urgent pointer", 53, 1),
    ] {
        let mut puppet = pinhole(V4, None);
        assert!(is_open(&mut puppet, true, 0, 0, b"abc"));
        let mut bytes = damaged(frame(&puppet, true, 3, 0, b"de"));
        bytes[at] = value;
        wire::ipv4::fix_checksum(&mut bytes[14..34]);
        assert!(puppet.put(PortId::A, &bytes).is_empty(), "{why}");
        assert_eq!(puppet.engine.counters().dropped_checksum, 1, "{why}");
    }
    // A wrong checksum of IP's header: nobody can be sure whose it is.
    let mut puppet = pinhole(V4, None);
    let mut bytes = frame(&puppet, true, 0, 0, b"abc");
    bytes[24] ^= 1;
    assert!(puppet.put(PortId::A, &bytes).is_empty());
    assert_eq!(puppet.engine.counters().dropped_checksum, 1);
    // From the wrong side.
    let bytes = frame(&puppet, true, 0, 0, b"abc");
    assert!(puppet.put(PortId::B, &bytes).is_empty());
    assert_eq!(puppet.engine.counters().dropped_state, 1);
}

#[test]
fn a_window_is_not_overrun() {
    let mut puppet = pinhole(V4, None);
    let full = [b'x'; 1_460];
    // What the SYN of the server allows.
    let mut sent = 0;
    while sent + 1_460 <= 65_535 {
        assert!(is_open(&mut puppet, true, sent, 0, &full));
        sent += 1_460;
    }
    assert!(!is_open(&mut puppet, true, sent, 0, &full));
    assert_eq!(puppet.client(sent, &full, |_| {})[0].payload().len() as u32, 65_536 - sent, "trimmed");
    assert_eq!(puppet.count(Anomaly::OutsideWindow), 1);
}

#[test]
fn a_normalising_gateway_has_no_short_way() {
    let config = Config { uninspected: Uninspected::Normalize, ..Config::default() };
    let mut puppet = Puppet::with(V4, false, config);
    puppet.handshake();
    assert!(!is_open(&mut puppet, true, 0, 0, b"abc"));
    let mut puppet = Puppet::with(V4, true, Config::default());
    puppet.handshake();
    assert!(!is_open(&mut puppet, false, 0, 0, b"220 ready\r\n"), "nor has an inspected session");
}

/// Octets of a TLS handshake.
const TLS: &[u8] = b"\x16\x03\x01\x00\x02\x01\x00";

#[test]
fn behind_starttls_masked_octets_are_acknowledged_first() {
    let mut puppet = Puppet::with(V4, true, Config::default());
    puppet.handshake();
    let (mut sent, mut answered) = (0, 0);
    let mut server = |puppet: &mut Puppet, acked: u32, line: &[u8]| {
        assert_eq!(puppet.server(answered, acked, line, |_| {})[0].payload(), line);
        answered += line.len() as u32;
        answered
    };
    let mut client = |puppet: &mut Puppet, acked: u32, line: &[u8], expected: &[u8]| {
        let left = puppet.client(sent, line, |outgoing| outgoing.ack = SERVER + acked);
        assert_eq!(left[0].payload(), expected);
        sent += line.len() as u32;
        sent
    };
    let seen = server(&mut puppet, 0, b"220 ready\r\n");
    let ehlo = client(&mut puppet, seen, b"EHLO a\r\n", b"EHLO a\r\n");
    let seen = server(&mut puppet, ehlo, b"250-a\r\n250 STARTTLS\r\n");
    client(&mut puppet, seen, b"XEXCH50 1 2\r\n", b"xxxxxxxxxxx\r\n");
    // The server never says that it has the masked line.
    let seen = server(&mut puppet, ehlo, b"500 what\r\n");
    client(&mut puppet, seen, b"STARTTLS\r\n", b"STARTTLS\r\n");
    let seen = server(&mut puppet, ehlo, b"220 go\r\n");
    let hello = client(&mut puppet, seen, TLS, TLS);
    assert!(!session(&puppet).inspected);

    assert!(!is_open(&mut puppet, true, hello, seen, b"more"));
    let again = puppet.client(ehlo, b"XEXCH50 1 2\r\n", |outgoing| outgoing.ack = SERVER + seen);
    assert_eq!(again[0].payload(), b"xxxxxxxxxxx\r\n", "what left first wins");
    puppet.server(seen, hello, b"", |_| {});
    assert!(is_open(&mut puppet, true, hello, seen, b"more"));
    assert!(is_open(&mut puppet, false, seen, hello + 4, b"even more"));
    assert!(is_open(&mut puppet, true, hello + 4, seen + 9, b""));
    let bytes = [hello + 4, seen + 9].map(u64::from);
    assert_eq!(session(&puppet).bytes, bytes);
}

#[test]
fn a_gap_closes_it_until_everything_is_acknowledged() {
    let mut puppet = pinhole(V4, None);
    assert!(is_open(&mut puppet, true, 0, 0, b"abc"));
    assert!(puppet.client(6, b"ghi", |_| {}).iter().all(|left| left.port == PortId::A), "it waits");
    assert!(!is_open(&mut puppet, true, 3, 0, b"def"), "what fills the gap is verified");
    let left = puppet.client(3, b"def", |_| {});
    let octets: Vec<u8> = left.iter().flat_map(|left| left.payload().to_vec()).collect();
    assert_eq!(octets, b"defghi");
    assert!(!is_open(&mut puppet, true, 9, 0, b"jkl"), "they are remembered");
    puppet.server(0, 9, b"", |_| {});
    assert!(is_open(&mut puppet, true, 9, 0, b"jkl"));
    assert_eq!(session(&puppet).bytes, [12, 0]);
}

#[test]
fn what_a_receiver_refuses_is_sent_again() {
    for clocks in [None, Some([1_000, 2_000])] {
        let mut puppet = pinhole(V4, clocks);
        // Damaged on its way: octets, then an acknowledgement and a time of the server's, which are too high.
        assert!(is_open(&mut puppet, true, 0, 0, b"abcdef"));
        puppet.clocks = clocks.map(|[client, server]| [client, server + (1 << 30)]);
        assert!(is_open(&mut puppet, false, 0, 4, b""));
        puppet.clocks = clocks;
        // The client sends all of it again, in other pieces, and goes on.
        assert_eq!(puppet.client(0, b"ABC", |_| {})[0].payload(), b"ABC");
        assert_eq!(puppet.client(3, b"DEFGHI", |_| {})[0].payload(), b"DEFGHI");
        assert_eq!(puppet.server(0, 9, b"!", |_| {})[0].payload(), b"!");
        puppet.client(9, b"", |outgoing| outgoing.ack = SERVER + 1);
        assert!(is_open(&mut puppet, true, 9, 1, b"jkl"));
        // FIN and its answer, with times that lie before the wrong one.
        let fin = Flags::ACK.with(Flags::FIN);
        let left = puppet.server(1, 12, b"bye", |outgoing| outgoing.flags = fin);
        assert_eq!((left[0].payload(), left[0].segment().flags.fin()), (&b"bye"[..], true));
        assert_eq!(puppet.engine.counters().dropped_state, 0);
    }
}

#[test]
fn a_reset_must_still_have_the_right_number() {
    for (offset, flags) in [(9, Flags::RST), (11, Flags::RST), (20, Flags::RST.with(Flags::ACK))] {
        let mut puppet = pinhole(V4, None);
        assert!(is_open(&mut puppet, true, 0, 0, b"0123456789"));
        assert!(is_open(&mut puppet, false, 0, 10, b"")); // all of it is acknowledged
        let left = puppet.client(offset, b"", |outgoing| outgoing.flags = flags);
        assert!(left.iter().all(|left| left.port == PortId::A), "at {offset}: at most a question");
        assert_eq!(puppet.count(Anomaly::InvalidReset), 1, "at {offset}");
        assert!(is_open(&mut puppet, true, 10, 0, b"goes on"));
    }
    let mut puppet = pinhole(V4, None);
    assert!(is_open(&mut puppet, true, 0, 0, b"0123456789"));
    let bytes =
        V4.frame(true, &Outgoing { seq: CLIENT.wrapping_add(10), flags: Flags::RST, ..Outgoing::default() });
    assert!(puppet.put(PortId::A, &damaged(bytes.clone())).is_empty(), "a damaged one ends nothing");
    assert!(puppet.put(PortId::A, &bytes)[0].segment().flags.rst());
    assert!(!is_open(&mut puppet, false, 0, 10, b"late"));
    puppet.wait(Duration::from_secs(10));
    puppet.assert_empty();
    assert_eq!(puppet.ended(EndReason::ClientReset), 1);
}

#[test]
fn both_fins_end_it() {
    let mut puppet = pinhole(V6, Some([7, 9]));
    assert!(is_open(&mut puppet, true, 0, 0, b"abc"));
    let fin = Flags::ACK.with(Flags::FIN);
    assert_eq!(puppet.client(3, b"", |outgoing| outgoing.flags = fin).len(), 1);
    assert!(!is_open(&mut puppet, false, 0, 4, b"still"), "half closed");
    assert_eq!(puppet.server(0, 4, b"still", |_| {})[0].payload(), b"still");
    puppet.server(5, 4, b"", |outgoing| outgoing.flags = fin);
    puppet.client(4, b"", |outgoing| outgoing.ack = SERVER + 6);
    assert_eq!(session(&puppet).state, SessionState::Closing);
    puppet.wait(Duration::from_secs(10));
    puppet.assert_empty();
    assert_eq!(puppet.ended(EndReason::Finished), 1);
}

#[test]
fn idle_time_counts_from_the_last_segment_of_either_way() {
    let mut puppet = pinhole(V4, None);
    for round in 0..4 {
        puppet.wait(Duration::from_secs(3_000));
        assert!(is_open(&mut puppet, round % 2 == 0, 0, 0, b""));
        assert_eq!(session(&puppet).last_heard, puppet.now);
    }
    let left = puppet.wait(Duration::from_secs(3_700));
    assert_eq!(left.iter().filter(|left| left.segment().flags.rst()).count(), 2, "both sides are told");
    puppet.assert_empty();
    assert_eq!(puppet.ended(EndReason::IdleTimeout), 1);
}

#[test]
fn a_syn_in_the_middle_is_questioned_with_the_numbers_of_now() {
    let mut puppet = pinhole(V4, Some([50, 60]));
    assert!(is_open(&mut puppet, true, 0, 0, b"abc"));
    assert!(is_open(&mut puppet, false, 0, 3, b"de"));
    let syn = Outgoing { seq: 12_345, flags: Flags::SYN, window: 9, ..Outgoing::default() };
    let left = puppet.put(PortId::A, &V4.frame(true, &syn));
    let asked = left[0].segment();
    assert_eq!((left[0].port, asked.seq, asked.ack), (PortId::A, SERVER + 2, CLIENT.wrapping_add(3)));
    assert_eq!(asked.options.timestamps.map(|stamps| stamps.value), Some(60));
}

#[test]
fn fragments_are_put_together_and_the_lane_stays_open() {
    let mut puppet = pinhole(V4, None);
    assert!(is_open(&mut puppet, true, 0, 0, b"abc"));
    let whole = frame(&puppet, true, 3, 0, &[b'f'; 40]);
    let mut left = Vec::new();
    for (from, to) in [(0, 32), (32, 60)] {
        let mut piece = [&whole[..34], &whole[34 + from..34 + to]].concat();
        piece[16..18].copy_from_slice(&((20 + to - from) as u16).to_be_bytes());
        let word = (from / 8) as u16 | u16::from(to < 60) << 13;
        piece[20..22].copy_from_slice(&word.to_be_bytes());
        wire::ipv4::fix_checksum(&mut piece[14..34]);
        left = puppet.put(PortId::A, &piece);
    }
    assert_eq!(left[0].payload(), &[b'f'; 40]);
    puppet.server(0, 43, b"", |_| {});
    assert!(is_open(&mut puppet, true, 43, 0, b"on"));
}

#[test]
fn it_goes_on_under_the_policy_that_it_began_with() {
    let mut puppet = pinhole(V4, None);
    assert!(is_open(&mut puppet, true, 0, 0, b"abc"));
    let mut closed = policy(true);
    closed.paths.clear();
    puppet.engine.reload(Arc::new(closed), inspect::scan::NoPatterns, [Some(0), Some(1)]).unwrap();
    assert!(is_open(&mut puppet, true, 3, 0, b"def"));
    let mut carried = Vec::new();
    puppet.engine.levels(puppet.now, |generation, _, _, level| carried.push((generation, level.octets)));
    assert_eq!(carried[0], (0, 6), "counted where it belongs");
    puppet.client(6, b"", |outgoing| outgoing.flags = Flags::RST);
    puppet.wait(Duration::from_secs(10));
    puppet.assert_empty();
    assert_eq!(puppet.engine.generations().collect::<Vec<_>>(), [1], "and then forgotten");
}

#[test]
fn sessions_whose_beginning_was_not_seen_take_it_too() {
    let config = Config { pickup: Pickup::Pass, ..Config::default() };
    let mut puppet = Puppet::with(V4, true, config);
    assert!(!is_open(&mut puppet, true, 0, 0, b"no session begins with a damaged segment"));
    assert_eq!(puppet.engine.flow_count(), 0);
    puppet.client(0, b"anything", |_| {});
    assert!(is_open(&mut puppet, false, 9_999, 77, b"at any number"));
    assert!(is_open(&mut puppet, true, 4_444, 1, b""));
    assert_eq!(session(&puppet).bytes, [8, 13]);
    for flags in [Flags::ACK.with(Flags::FIN), Flags::RST] {
        let bytes = V4.frame(true, &Outgoing { flags, ..Outgoing::default() });
        assert!(puppet.put(PortId::A, &damaged(bytes)).is_empty());
    }
    puppet.client(8, b"", |outgoing| outgoing.flags = Flags::RST);
    puppet.wait(Duration::from_secs(130));
    puppet.assert_empty();
}
