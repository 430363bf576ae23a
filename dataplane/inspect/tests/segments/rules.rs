//! One rule for each ambiguity of a header, each with its test. The table is `ambiguities.toml`.

use std::time::Duration;

use inspect::anomaly::Anomaly;
use inspect::engine::Config;
use inspect::unit::PortId;
use inspect::wire::emit::Outgoing;
use inspect::wire::{self, Flags, Options, SackBlock, Timestamps};

use super::puppet::{CLIENT_ISN, Ends, Left, Puppet, SERVER_ISN, V4, V6};

const CLIENT: u32 = CLIENT_ISN.wrapping_add(1);

fn fixed(mut frame: Vec<u8>) -> Vec<u8> {
    let Ok(wire::Packet::Tcp(segment)) = wire::parse(&frame, wire::Checksums::Trust) else {
        panic!("a segment")
    };
    wire::edit::fix_checksums(&mut frame, &segment);
    frame
}

/// A frame of the client's with five octets at the start of its stream, changed, its checksums right again.
fn odd(ends: Ends, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let outgoing = Outgoing {
        seq: CLIENT,
        ack: SERVER_ISN + 1,
        flags: Flags::ACK,
        window: 512,
        payload: b"NOOP\r",
        ..Outgoing::default()
    };
    let mut frame = ends.frame(true, &outgoing);
    change(&mut frame);
    fixed(frame)
}

fn only(left: Vec<Left>) -> Left {
    let [left] = <[Left; 1]>::try_from(left).expect("one frame leaves");
    left
}

#[test]
fn hops_are_raised_to_the_floor() {
    for (ends, place) in [(V4, 14 + 8), (V6, 14 + 7)] {
        for (ttl, expected) in [(1, 32), (31, 32), (32, 32), (33, 33), (255, 255)] {
            let mut puppet = Puppet::connected(ends);
            let left = only(puppet.put(PortId::A, &odd(ends, |frame| frame[place] = ttl)));
            assert_eq!(left.segment().ttl, expected);
            assert_eq!(left.payload(), b"NOOP\r");
            assert_eq!(puppet.count(Anomaly::LowTtl), u64::from(ttl < 32));
        }
        // SYN and RST too, and from the server; and not where the floor is 0.
        let mut puppet = Puppet::new(ends);
        let mut syn =
            ends.frame(true, &Outgoing { seq: CLIENT_ISN, flags: Flags::SYN, ..Outgoing::default() });
        syn[place] = 2;
        let syn = fixed(syn);
        assert_eq!(only(puppet.put(PortId::A, &syn)).segment().ttl, 32);
        let mut puppet = Puppet::with(ends, false, Config { ttl_floor: 0, ..Config::default() });
        assert_eq!(only(puppet.put(PortId::A, &syn)).segment().ttl, 2);
    }
}

#[test]
fn reserved_bits_are_cleared() {
    let mut puppet = Puppet::connected(V4);
    let left = only(puppet.put(
        PortId::A,
        &odd(V4, |frame| {
            frame[14 + 6] |= 0x80;
            frame[34 + 12] |= 0x0f;
        }),
    ));
    assert_eq!((left.bytes[14 + 6] & 0x80, left.bytes[34 + 12] & 0x0f), (0, 0));
    assert_eq!((left.payload(), puppet.count(Anomaly::Untidy)), (&b"NOOP\r"[..], 1));
}

#[test]
fn ip_options_become_padding() {
    let mut puppet = Puppet::connected(V4);
    let frame = odd(V4, |frame| {
        frame.splice(34..34, [7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0]);
        frame[14] = 0x48;
        frame[17] += 12;
    });
    let left = only(puppet.put(PortId::A, &frame));
    assert_eq!(left.bytes[34..46], [0; 12]);
    assert_eq!((left.payload(), puppet.count(Anomaly::Untidy)), (&b"NOOP\r"[..], 1));

    let mut puppet = Puppet::connected(V6);
    let frame = odd(V6, |frame| {
        frame.splice(54..54, [6, 0, 0xc2, 4, 0, 1, 0, 0]);
        (frame[20], frame[19]) = (60, frame[19] + 8);
    });
    let left = only(puppet.put(PortId::A, &frame));
    assert_eq!(left.bytes[54..62], [6, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!((left.payload(), puppet.count(Anomaly::Untidy)), (&b"NOOP\r"[..], 1));
}

#[test]
fn octets_behind_the_packet_are_cut_off() {
    let mut puppet = Puppet::connected(V4);
    let frame = odd(V4, |frame| frame.extend_from_slice(b"EVIL\r\n"));
    assert!(!only(puppet.put(PortId::A, &frame)).bytes.ends_with(b"EVIL\r\n"));
}

#[test]
fn a_length_that_contradicts_the_frame_drops_it() {
    for (why, change) in [
        ("IP beyond the frame", (|frame: &mut Vec<u8>| frame[17] += 1) as fn(&mut Vec<u8>)),
        ("IP within its header", |frame| frame[17] = 19),
        ("header of 16 octets", |frame| frame[14] = 0x44),
        ("another version", |frame| frame[14] = 0x65),
        ("TCP header of 16 octets", |frame| frame[46] = 0x40),
        ("TCP header beyond the packet", |frame| frame[46] = 0xf0),
    ] {
        let mut puppet = Puppet::connected(V4);
        let mut frame = odd(V4, |_| ());
        change(&mut frame);
        wire::ipv4::fix_checksum(&mut frame[14..34]);
        assert!(puppet.put(PortId::A, &frame).is_empty(), "{why}");
        assert_eq!(puppet.engine.counters().dropped_malformed, 1, "{why}");
    }
}

#[test]
fn a_wrong_checksum_drops_the_segment_before_any_state() {
    for at in [14 + 10, 34 + 16, 54] {
        let mut puppet = Puppet::connected(V4);
        let mut frame = odd(V4, |_| ());
        frame[at] ^= 1;
        assert!(puppet.put(PortId::A, &frame).is_empty());
        assert_eq!(puppet.engine.counters().dropped_checksum, 1);
        assert_eq!(only(puppet.client(0, b"QUIT\r\n", |_| ())).payload(), b"QUIT\r\n", "it changed nothing");
    }
}

#[test]
fn ecn_stays_only_where_it_was_agreed_on() {
    let ecn = Flags::ECE.with(Flags::CWR);
    for (offered, answered, agreed) in
        [(ecn, Flags::ECE, true), (ecn, ecn, false), (Flags(0), Flags::ECE, false)]
    {
        let mut puppet = Puppet::new(V4);
        let syn = Outgoing {
            seq: CLIENT_ISN,
            flags: Flags::SYN.with(offered),
            window: 1000,
            ..Outgoing::default()
        };
        assert_eq!(only(puppet.send(true, &syn)).segment().flags, syn.flags, "a SYN says what it wants");
        let answer = Outgoing {
            seq: SERVER_ISN,
            ack: CLIENT,
            flags: Flags::SYN.with(Flags::ACK).with(answered),
            window: 1000,
            ..Outgoing::default()
        };
        puppet.send(false, &answer);
        let left = only(puppet.client(0, b"NOOP\r\n", |outgoing| outgoing.flags = Flags::ACK.with(ecn)));
        let expected = if agreed { Flags::ACK.with(ecn) } else { Flags::ACK };
        assert_eq!(left.segment().flags, expected);
        assert_eq!(puppet.count(Anomaly::Untidy), u64::from(!agreed));
    }
}

#[test]
fn the_urgent_pointer_is_cleared_and_its_octet_stays_in_line() {
    for (flags, pointer) in [(Flags::URG, 3), (Flags::URG, 0), (Flags(0), 3), (Flags::URG, 60_000)] {
        let mut puppet = Puppet::connected(V4);
        let left = only(puppet.put(
            PortId::A,
            &odd(V4, |frame| {
                frame[34 + 13] |= flags.0;
                frame[34 + 18..34 + 20].copy_from_slice(&(pointer as u16).to_be_bytes());
            }),
        ));
        assert_eq!((left.segment().flags, left.segment().urgent), (Flags::ACK, 0));
        assert_eq!((left.payload(), puppet.count(Anomaly::Urgent)), (&b"NOOP\r"[..], 1));
    }
}

/// The segment `odd` with this list of options.
fn with_options(list: &[u8]) -> Vec<u8> {
    odd(V4, |frame| {
        frame.splice(54..54, list.iter().copied());
        frame[46] = (((20 + list.len()) / 4) << 4) as u8;
        frame[17] += list.len() as u8;
    })
}

#[test]
fn options_that_may_not_pass_become_no_operations() {
    for (why, list) in [
        ("MD5", [&[19, 18][..], &[7; 16], &[1, 1]].concat()),
        ("Multipath", vec![30, 4, 0x80, 1]),
        ("Fast Open", vec![34, 4, 9, 9]),
        ("TCP-AO", vec![29, 4, 1, 1]),
        ("T/TCP", vec![11, 6, 0, 0, 0, 1, 1, 1]),
        ("not assigned", vec![253, 4, 1, 2]),
        ("MSS, not on SYN", vec![2, 4, 0, 1]),
        ("window scale, not on SYN", vec![3, 3, 14, 1]),
        ("SACK permitted, not on SYN", vec![4, 2, 1, 1]),
        ("octets after the end of the list", vec![0, 8, 10, 1]),
    ] {
        let mut puppet = Puppet::connected(V4);
        let left = only(puppet.put(PortId::A, &with_options(&list)));
        assert!(left.bytes[54..54 + list.len()].iter().all(|octet| *octet <= 1), "{why}");
        assert_eq!((left.payload(), puppet.count(Anomaly::UnwantedOption)), (&b"NOOP\r"[..], 1), "{why}");
    }
}

#[test]
fn options_that_cannot_be_walked_or_come_twice_drop_the_segment() {
    for list in [&[8, 1, 1, 1][..], &[8, 0, 1, 1], &[8, 60, 1, 1], &[2, 3, 5, 1]] {
        let mut puppet = Puppet::connected(V4);
        let mut frame = with_options(&[1; 4]);
        frame[54..58].copy_from_slice(list);
        wire::edit::fix_checksums(
            &mut frame.clone(),
            &only(Puppet::connected(V4).put(PortId::A, &with_options(&[1; 4]))).segment(),
        );
        assert!(puppet.put(PortId::A, &frame).is_empty());
    }
}

#[test]
fn fast_open_neither_passes_its_option_nor_its_octets() {
    let mut puppet = Puppet::new(V4);
    let syn = Outgoing {
        seq: CLIENT_ISN,
        flags: Flags::SYN,
        window: 1000,
        payload: b"EHLO early.example\r\n",
        ..Outgoing::default()
    };
    let mut frame = V4.frame(true, &syn);
    frame.splice(54..54, [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1]);
    frame[46] = 8 << 4;
    frame[17] += 12;
    let left = only(puppet.put(PortId::A, &fixed(frame)));
    assert!(left.payload().is_empty() && left.segment().flags.syn());
    assert_eq!(left.bytes[54..66], [1; 12]);
    assert_eq!((puppet.count(Anomaly::DataOnSyn), puppet.count(Anomaly::UnwantedOption)), (1, 1));
    // The server's answer too.
    let answer = Outgoing {
        seq: SERVER_ISN,
        ack: CLIENT,
        flags: Flags::SYN.with(Flags::ACK),
        payload: b"220 hi\r\n",
        ..syn
    };
    assert!(only(puppet.send(false, &answer)).payload().is_empty());
    assert_eq!(puppet.count(Anomaly::DataOnSyn), 2);
}

fn with_clocks(ends: Ends) -> Puppet {
    let mut puppet = Puppet::new(ends);
    puppet.clocks = Some([u32::MAX - 3, 5_000]);
    puppet.handshake();
    puppet
}

fn stamps(value: u32, echo: u32) -> Options {
    Options { timestamps: Some(Timestamps { value, echo }), ..Options::default() }
}

#[test]
fn a_segment_without_the_agreed_timestamps_is_dropped() {
    let mut puppet = with_clocks(V4);
    assert_eq!(only(puppet.client(0, b"NOOP\r\n", |_| ())).payload(), b"NOOP\r\n");
    puppet.clocks = None;
    assert!(puppet.client(6, b"QUIT\r\n", |_| ()).is_empty());
    assert_eq!(puppet.count(Anomaly::MissingTimestamp), 1);
    // But a RST need not have any (RFC 7323 section 3.2).
    assert_eq!(puppet.client(6, b"", |outgoing| outgoing.flags = Flags::RST).len(), 1);
}

#[test]
fn timestamps_that_were_not_agreed_on_are_taken_off() {
    let mut puppet = Puppet::connected(V4);
    let left = only(puppet.client(0, b"NOOP\r\n", |outgoing| outgoing.options = stamps(7, 7)));
    assert_eq!(left.segment().options.timestamps, None);
    assert_eq!((left.payload(), puppet.count(Anomaly::UnwantedOption)), (&b"NOOP\r\n"[..], 1));
}

#[test]
fn an_old_timestamp_drops_the_segment() {
    let mut puppet = with_clocks(V4);
    let [client, server] = puppet.clocks.unwrap();
    let send = |puppet: &mut Puppet, offset, value: u32| {
        puppet.client(offset, b"NOOP\r\n", |outgoing| outgoing.options = stamps(value, server - 1)).len()
    };
    assert_eq!(send(&mut puppet, 0, client.wrapping_add(9)), 1, "the clock wraps on the way");
    assert_eq!(send(&mut puppet, 6, client.wrapping_add(9)), 1, "the same tick");
    assert_eq!(send(&mut puppet, 12, client.wrapping_add(8)), 0, "PAWS");
    assert_eq!(puppet.count(Anomaly::OldTimestamp), 1);
    assert_eq!(send(&mut puppet, 12, client.wrapping_add(10)), 1);
    // An acknowledgement that another one has overtaken is no anomaly.
    assert!(puppet.client(18, b"", |outgoing| outgoing.options = stamps(client, server - 1)).is_empty());
    assert_eq!(puppet.count(Anomaly::OldTimestamp), 1);
}

#[test]
fn an_echo_of_what_was_never_sent_drops_the_segment() {
    let mut puppet = with_clocks(V4);
    let [client, server] = puppet.clocks.unwrap();
    for (echo, passes) in
        [(server - 1, true), (server, false), (server - 5, true), (server + 70_000, false), (0, true)]
    {
        let left = puppet.client(0, b"NOOP\r\n", |outgoing| outgoing.options = stamps(client, echo));
        assert_eq!(!left.is_empty(), passes, "{echo}");
    }
    assert_eq!(puppet.count(Anomaly::BadEcho), 2);
}

#[test]
fn a_segment_that_waited_leaves_with_the_newest_timestamp() {
    // Its receiver would take it for an old duplicate otherwise (PAWS), and it would have to be sent a third time.
    // So it is in a session of which frames have taken the short way, too.
    for is_loose in [false, true] {
        let mut puppet = with_clocks(V4);
        if is_loose {
            puppet = Puppet::with(V4, false, Config::default());
            puppet.clocks = Some([1_000, 5_000]);
            puppet.handshake();
        }
        let [client, server] = puppet.clocks.unwrap();
        let stamps = |by: u32| stamps(client.wrapping_add(by), server - 1);
        puppet.client(0, b"HELO\r\n", |outgoing| outgoing.options = stamps(1));
        assert!(puppet.client(12, b"QUIT\r\n", |outgoing| outgoing.options = stamps(2)).is_empty());
        let left = puppet.client(6, b"NOOP\r\n", |outgoing| outgoing.options = stamps(300));
        let values: Vec<_> =
            left.iter().map(|left| left.segment().options.timestamps.unwrap().value).collect();
        assert_eq!(values, [client.wrapping_add(300); 2]);
        assert_eq!(left[1].payload(), b"QUIT\r\n");
    }
}

#[test]
fn sack_blocks_name_only_what_was_forwarded() {
    let sack = |puppet: &mut Puppet, left: u32, right: u32| {
        let block = [SackBlock { left: CLIENT.wrapping_add(left), right: CLIENT.wrapping_add(right) }];
        let out = only(puppet.server(0, 0, b"", |outgoing| outgoing.sack = &[]));
        assert_eq!(out.segment().options.sack.count, 0);
        let outgoing = Outgoing {
            seq: SERVER_ISN + 1,
            ack: CLIENT.wrapping_add(6),
            flags: Flags::ACK,
            window: 512,
            sack: &block,
            ..Outgoing::default()
        };
        only(puppet.send(false, &outgoing)).segment().options.sack.count
    };
    let mut puppet = Puppet::connected(V4);
    puppet.client(0, b"NOOP\r\nNOOP\r\nNOOP\r\n", |_| ());
    for (left, right, stays) in [
        (12, 18, true),
        (6, 18, true),
        (0, 6, true),
        (12, 12, false),
        (18, 12, false),
        (12, 19, false),
        (100, 200, false),
    ] {
        // The puppet acknowledges nothing, then 6 octets: only the first time is that news.
        let mut puppet = Puppet::connected(V4);
        puppet.client(0, b"NOOP\r\nNOOP\r\nNOOP\r\n", |_| ());
        assert_eq!(sack(&mut puppet, left, right) == 1, stays, "{left}..{right}");
        assert_eq!(puppet.count(Anomaly::BadSack), u64::from(!stays));
    }
    // And only where both SYNs allowed it.
    let mut puppet = Puppet::new(V4);
    puppet.syn(Options::default());
    puppet.syn_ack(Options::default());
    puppet.client(0, b"NOOP\r\nNOOP\r\nNOOP\r\n", |_| ());
    assert_eq!(sack(&mut puppet, 12, 18), 0);
}

#[test]
fn flags_that_mean_nothing_drop_the_segment() {
    let [fin, syn, rst, psh, ack, urg] =
        [Flags::FIN, Flags::SYN, Flags::RST, Flags::PSH, Flags::ACK, Flags::URG];
    for flags in [
        Flags(0),
        fin,
        psh,
        urg,
        fin.with(psh).with(urg),
        syn.with(fin),
        syn.with(fin).with(ack),
        syn.with(rst),
        syn.with(rst).with(ack),
        fin.with(rst),
        fin.with(rst).with(ack).with(psh).with(urg),
    ] {
        let mut puppet = Puppet::connected(V4);
        assert!(puppet.client(0, b"NOOP\r\n", |outgoing| outgoing.flags = flags).is_empty(), "{flags:?}");
        assert_eq!(puppet.count(Anomaly::BadFlags), 1, "{flags:?}");
    }
    for flags in [syn.with(fin), syn.with(rst)] {
        let mut puppet = Puppet::new(V4);
        let outgoing = Outgoing { seq: CLIENT_ISN, flags, ..Outgoing::default() };
        assert!(puppet.send(true, &outgoing).is_empty(), "{flags:?}");
        assert_eq!(puppet.engine.flow_count(), 0);
    }
}

#[test]
fn acknowledgements_of_what_was_never_sent_drop_the_segment() {
    let mut puppet = Puppet::connected(V4);
    for ack in [SERVER_ISN + 2, SERVER_ISN + 5_000, SERVER_ISN.wrapping_sub(1 << 30)] {
        assert!(puppet.client(0, b"NOOP\r\n", |outgoing| outgoing.ack = ack).is_empty());
    }
    assert_eq!(puppet.count(Anomaly::BadAcknowledgement), 3);
}

#[test]
fn a_copy_of_a_syn_may_lack_options_and_not_change_them() {
    let all = Options { mss: Some(1460), window_scale: Some(7), sack_permitted: true, ..Options::default() };
    let mut puppet = Puppet::new(V4);
    assert_eq!(puppet.syn(all).len(), 1);
    for (why, options) in [
        ("another shift", Options { window_scale: Some(3), ..all }),
        ("a larger segment", Options { mss: Some(9000), ..all }),
        ("timestamps added", Options { timestamps: Some(Timestamps::default()), ..all }),
    ] {
        assert!(puppet.syn(options).is_empty(), "{why}");
    }
    assert_eq!(puppet.count(Anomaly::DifferentSyn), 3);
    assert_eq!(
        puppet.syn(Options { mss: Some(1460), ..Options::default() }).len(),
        1,
        "as BSD does in the end"
    );
    assert!(puppet.syn(all).is_empty(), "and nothing comes back");
    // The server's copies are all alike.
    let plain = Options { mss: Some(1400), ..Options::default() };
    assert_eq!(puppet.syn_ack(plain).len(), 1);
    assert_eq!(puppet.syn_ack(plain).len(), 1);
    assert!(puppet.syn_ack(Options { mss: Some(1200), ..plain }).iter().all(|left| left.port == PortId::B));
}

#[test]
fn a_reset_or_syn_that_its_receiver_would_question_is_questioned() {
    // The client sent octets that never passed, and gives up: its RST stands behind them.
    let mut puppet = Puppet::connected(V4);
    puppet.client(0, b"NOOP\r\n", |_| ());
    puppet.server(0, 6, b"", |_| ());
    let question = only(puppet.client(500, b"", |outgoing| outgoing.flags = Flags::RST));
    assert_eq!((question.port, question.segment().ack), (PortId::A, CLIENT.wrapping_add(6)));
    assert_eq!(question.segment().flags, Flags::ACK);
    assert_eq!((puppet.count(Anomaly::InvalidReset), puppet.count(Anomaly::Challenged)), (1, 1));
    // Not twice in half a second: nobody makes this a reflector (RFC 5961 section 7).
    assert!(puppet.client(500, b"", |outgoing| outgoing.flags = Flags::RST).is_empty());
    puppet.wait(Duration::from_millis(600));
    assert_eq!(puppet.client(500, b"", |outgoing| outgoing.flags = Flags::RST).len(), 1);
    // What is outside of the window is not even questioned.
    puppet.wait(Duration::from_millis(600));
    assert!(puppet.client(1 << 30, b"", |outgoing| outgoing.flags = Flags::RST).is_empty());
    // The answer to the question has the right number.
    let end = only(puppet.client(6, b"", |outgoing| outgoing.flags = Flags::RST));
    assert_eq!((end.port, end.segment().flags), (PortId::B, Flags::RST));

    // A client that has forgotten its connection begins another from the same port.
    let mut puppet = Puppet::connected(V4);
    let syn = Outgoing { seq: 4_000, flags: Flags::SYN, window: 1000, ..Outgoing::default() };
    let question = only(puppet.send(true, &syn));
    assert_eq!((question.port, question.segment().flags), (PortId::A, Flags::ACK));
    let reset = Outgoing { seq: question.segment().ack, flags: Flags::RST, ..Outgoing::default() };
    assert_eq!(only(puppet.send(true, &reset)).port, PortId::B);
    assert_eq!(
        only(puppet.send(true, &syn)).segment().flags,
        Flags::SYN,
        "sent again, it opens a connection"
    );
}

#[test]
fn octets_on_a_reset_are_cut_off() {
    let mut puppet = Puppet::connected(V4);
    let left = only(puppet.client(0, b"EVIL\r\n", |outgoing| outgoing.flags = Flags::RST));
    assert!(left.segment().flags.rst() && left.payload().is_empty());
}

#[test]
fn octets_after_a_fin_do_not_exist() {
    let mut puppet = Puppet::connected(V4);
    puppet.client(0, b"QUIT\r\n", |outgoing| outgoing.flags = Flags::ACK.with(Flags::FIN));
    let left = only(puppet.client(6, b"EVIL\r\n", |_| ()));
    assert!(left.payload().is_empty());
    assert_eq!(puppet.count(Anomaly::DataAfterFin), 1);
}

#[test]
fn octets_beyond_the_window_are_cut_off() {
    let mut puppet = Puppet::new(V4);
    puppet.syn(Options { mss: Some(1460), ..Options::default() });
    puppet.syn_ack(Options { mss: Some(1460), ..Options::default() });
    puppet.server(0, 0, b"", |outgoing| outgoing.window = 10);
    // The SYN's window was larger, and is not taken back.
    let large = vec![b'a'; 1_000];
    assert_eq!(only(puppet.client(0, &large, |_| ())).payload().len(), 1_000);

    // A window that is closed to what has arrived: one octet of a probe passes, and no second one.
    let mut puppet = Puppet::new(V4);
    puppet.syn(Options::default());
    let answer = Outgoing {
        seq: SERVER_ISN,
        ack: CLIENT,
        flags: Flags::SYN.with(Flags::ACK),
        window: 10,
        ..Outgoing::default()
    };
    puppet.send(false, &answer);
    let left =
        only(puppet.client(0, b"0123456789abcdef", |outgoing| outgoing.flags = Flags::ACK.with(Flags::FIN)));
    assert_eq!((left.payload(), left.segment().flags), (&b"0123456789a"[..], Flags::ACK));
    assert_eq!(puppet.count(Anomaly::OutsideWindow), 1);
    assert!(only(puppet.client(11, b"b", |_| ())).payload().is_empty());
    // It was not taken: sent again when the window opens, in whatever form, it is inspected then.
    puppet.server(0, 11, b"", |outgoing| outgoing.window = 100);
    assert_eq!(only(puppet.client(11, b"Bcdef", |_| ())).payload(), b"Bcdef");
}

#[test]
fn octets_beyond_the_segment_size_are_cut_off() {
    let mut puppet = Puppet::connected(V4);
    let large = vec![b'a'; 1_500];
    assert_eq!(only(puppet.client(0, &large, |_| ())).payload().len(), 1_460);
    assert_eq!(puppet.count(Anomaly::BeyondMss), 1);
    assert_eq!(only(puppet.client(1_460, &large[..40], |_| ())).payload().len(), 40, "and sent again");
}

#[test]
fn a_keep_alive_octet_never_leaves() {
    let mut puppet = Puppet::connected(V4);
    puppet.client(0, b"NOOP\r\n", |_| ());
    puppet.server(0, 6, b"", |_| ());
    let left = only(puppet.client(5, b"\0", |_| ()));
    assert!(left.payload().is_empty());
    assert_eq!(left.segment().seq, CLIENT.wrapping_add(5), "but the number that makes its receiver answer");
    // One whose octet was not acknowledged yet leaves with what is remembered.
    puppet.client(6, b"QUIT\r\n", |_| ());
    assert_eq!(only(puppet.client(11, b"\0", |_| ())).payload(), b"\n");
    assert_eq!(puppet.count(Anomaly::InconsistentRetransmission), 1);
}

#[test]
fn no_session_begins_at_an_address_that_nobody_has() {
    let syn = |ends: Ends, change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = ends.frame(true, &Outgoing { seq: 1, flags: Flags::SYN, ..Outgoing::default() });
        change(&mut frame);
        let mut puppet = Puppet::new(ends);
        let left = puppet.put(PortId::A, &fixed(frame));
        assert_eq!(puppet.count(Anomaly::Martian), u64::from(left.is_empty()));
        !left.is_empty()
    };
    assert!(syn(V4, &|_| ()) && syn(V6, &|_| ()));
    for first in [0, 127, 224, 239, 240, 255] {
        assert!(!syn(V4, &|frame| frame[26] = first), "from {first}");
        assert!(!syn(V4, &|frame| frame[30] = first), "to {first}");
    }
    assert!(!syn(V4, &|frame| frame.copy_within(26..30, 30)), "land");
    assert!(!syn(V6, &|frame| frame[22..38].fill(0)), "unspecified");
    assert!(!syn(V6, &|frame| frame[38] = 0xff), "multicast");
    assert!(
        !syn(V6, &|frame| {
            frame[38..54].fill(0);
            frame[53] = 1;
        }),
        "loopback"
    );
}

#[test]
fn a_window_that_is_taken_back_takes_nothing_back_here() {
    // Octets under way when the window shrinks may be kept by the receiver or not. Either way they are remembered until it
    // says so, and come again as they were.
    let mut puppet = Puppet::connected(V4);
    puppet.client(0, b"NOOP first\r\n", |_| ());
    puppet.server(0, 0, b"", |outgoing| outgoing.window = 0);
    assert_eq!(only(puppet.client(0, b"NOOP other\r\n", |_| ())).payload(), b"NOOP first\r\n");
}

#[test]
fn gaps_and_overlaps_leave_as_what_came_first() {
    let mut puppet = Puppet::connected(V4);
    let left = puppet.client(10, b"later\r\n", |_| ());
    assert!(left.iter().all(|left| left.port == PortId::A), "only the question for what is missing");
    let left = puppet.client(0, b"NOOP abcdeXXXXX", |_| ());
    let octets: Vec<u8> =
        left.iter().filter(|left| left.port == PortId::B).flat_map(|left| left.payload().to_vec()).collect();
    assert!(octets.starts_with(b"NOOP abcde"));
    let again = only(puppet.client(0, b"EVIL EVILEEVILEE\n", |_| ()));
    assert!(again.payload().starts_with(b"NOOP abcde"));
}

#[test]
fn the_gateways_own_acknowledgements_take_no_window_back() {
    // An acknowledgement with a closed window that another one has overtaken must not be the last word.
    let mut puppet = Puppet::connected(V4);
    puppet.server(0, 0, b"", |outgoing| outgoing.window = 0);
    let own = only(puppet.client(10, b"later\r\n", |_| ()));
    assert_eq!((own.port, own.segment().window), (PortId::A, 65_535 >> 7));
}

#[test]
fn an_echo_may_be_of_a_segment_behind_a_hole() {
    // RFC 7323 section 4.3 says that it is not, but some stacks echo the newest timestamp they have seen.
    let mut puppet = with_clocks(V4);
    let [client, server] = puppet.clocks.unwrap();
    puppet.client(100, b"", |outgoing| outgoing.options = stamps(client.wrapping_add(50), server - 1));
    let echo = client.wrapping_add(50);
    assert_eq!(
        puppet.server(0, 0, b"220 hi\r\n", |outgoing| outgoing.options = stamps(server, echo)).len(),
        1
    );
    let never = client.wrapping_add(51);
    assert!(
        puppet.server(8, 0, b"220 hi\r\n", |outgoing| outgoing.options = stamps(server, never)).is_empty()
    );
}
