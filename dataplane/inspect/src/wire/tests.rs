//! Whole frames.

use super::*;
use proptest::prelude::*;

/// The segment of a frame that must be right in every checksum.
pub(super) fn segment_of(frame: &[u8]) -> Segment {
    match parse(frame, Checksums::Verify) {
        Ok(Packet::Tcp(segment)) => segment,
        other => panic!("{other:?}"),
    }
}

/// A client's `EHLO a` as a Linux host sends it over IPv4, with four octets of padding behind.
#[rustfmt::skip]
const EHLO: [u8; 78] = [
    0x02, 0x42, 0xac, 0x11, 0x00, 0x02, 0x02, 0x42, 0x99, 0x1d, 0x8a, 0x31, 0x08, 0x00,
    0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0xc6, 0x50, 0xac, 0x11, 0x00, 0x01, 0xac, 0x11, 0x00, 0x02,
    0xd4, 0x31, 0x00, 0x19, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x60, 0x71, 0x82, 0x80, 0x18, 0x01, 0xf6, 0x26, 0x7b, 0x00, 0x00,
    0x01, 0x01, 0x08, 0x0a, 0x00, 0x00, 0x30, 0x39, 0x00, 0x01, 0x09, 0x32,
    b'E', b'H', b'L', b'O', b' ', b'a', b'\r', b'\n',
    0, 0, 0, 0,
];

#[test]
fn deconstruct() {
    let expected = Segment {
        vlan: Vlan::default(),
        source: Endpoint::new("172.17.0.1".parse().unwrap(), 54321),
        destination: Endpoint::new("172.17.0.2".parse().unwrap(), 25),
        is_v6: false,
        ip_start: 14,
        tcp_start: 34,
        payload_start: 66,
        payload_len: 8,
        seq: 0x1b2c_3d4e,
        ack: 0x5f60_7182,
        flags: Flags::PSH.with(Flags::ACK),
        window: 502,
        urgent: 0,
        ttl: 64,
        untidy: false,
        options: Options { timestamps: Some(Timestamps { value: 12345, echo: 67890 }), ..Options::default() },
    };
    let segment = segment_of(&EHLO);
    assert_eq!(segment, expected);
    assert_eq!(segment.payload(&EHLO), b"EHLO a\r\n");
    assert_eq!((segment.payload_end(), segment.tcp_header_len(), segment.seq_len()), (74, 32, 8));
    assert_eq!(segment.sack_blocks(&EHLO).count(), 0);
    assert_eq!(segment.payload(&EHLO[..70]), b"", "another frame");
}

/// Changes some octets, computes both checksums anew, and parses.
fn changed(changes: &[(usize, u8)]) -> Result<Packet, Malformed> {
    let mut frame = EHLO;
    for &(at, octet) in changes {
        frame[at] = octet;
    }
    edit::fix_checksums(&mut frame, &segment_of(&EHLO));
    parse(&frame, Checksums::Verify)
}

#[test]
fn impossible_lengths() {
    for len in 0..74 {
        assert_eq!(parse(&EHLO[..len], Checksums::Verify), Err(Malformed::Truncated), "{len}");
    }
    assert!(parse(&EHLO[..74], Checksums::Verify).is_ok(), "without padding");
    assert_eq!(changed(&[(14, 0x44)]), Err(Malformed::BadField), "IP header of 16 octets");
    assert_eq!(changed(&[(17, 19)]), Err(Malformed::BadField), "total length within the IP header");
    assert_eq!(changed(&[(17, 39)]), Err(Malformed::Truncated), "total length within the TCP header");
    assert_eq!(changed(&[(17, 65)]), Err(Malformed::Truncated), "total length beyond the frame");
    assert_eq!(changed(&[(46, 0x40)]), Err(Malformed::BadField), "data offset of 16 octets");
    assert_eq!(changed(&[(46, 0xf0)]), Err(Malformed::Truncated), "data offset beyond the packet");
    assert_eq!(parse(&[0; 1 << 16], Checksums::Trust), Err(Malformed::BadField), "longer than any frame");
}

#[test]
fn every_wrong_bit_of_ip_header_and_segment_is_noticed() {
    for at in 14..74 {
        for bit in 0..8 {
            let mut frame = EHLO;
            frame[at] ^= 1 << bit;
            assert!(parse(&frame, Checksums::Verify).is_err(), "octet {at} bit {bit}");
        }
    }
    let mut frame = EHLO;
    frame[70] ^= 1;
    assert_eq!(parse(&frame, Checksums::Verify), Err(Malformed::Checksum));
    assert!(parse(&frame, Checksums::Trust).is_ok());
    assert!(changed(&[(70, 1)]).is_ok(), "a changed octet with a right checksum");
}

#[test]
fn what_is_not_a_segment() {
    assert!(matches!(changed(&[(20, 0x20)]), Ok(Packet::Fragment(fragment)) if fragment.piece.more));
    let [source, destination] = ["172.17.0.1", "172.17.0.2"].map(|ip| ip.parse().unwrap());
    for (protocol, ports) in [(17, (0xd431, 25)), (1, (0, 0))] {
        let expected = Packet::OtherIp(Other {
            vlan: Vlan::default(),
            protocol,
            source: Endpoint::new(source, ports.0),
            destination: Endpoint::new(destination, ports.1),
            query: None,
        });
        assert_eq!(changed(&[(23, protocol)]), Ok(expected));
    }
    assert_eq!(changed(&[(12, 0x08), (13, 0x06)]), Ok(Packet::NotIp), "ARP");
    assert_eq!(changed(&[(12, 0x86), (13, 0xdd)]), Err(Malformed::BadField), "IPv4 in the type of IPv6");
}

#[test]
fn headers_between_ip_and_tcp_survive_an_edit() {
    let outgoing =
        emit::Outgoing { flags: Flags::ACK, payload: b"HELO a\r\nEVIL", ..emit::Outgoing::default() };
    for (is_v6, options) in [(true, [6, 0, 1, 4, 0, 0, 0, 0]), (false, [0x94, 4, 0, 0, 1, 1, 1, 0])] {
        let template = emit::Template::example(is_v6, 0);
        let mut frame = vec![0; emit::emit_len(&template, &outgoing)];
        emit::emit(&template, emit::Toward::Receiver, &outgoing, &mut frame);
        let mut segment = segment_of(&frame);
        frame.splice(usize::from(segment.tcp_start)..usize::from(segment.tcp_start), options);
        if is_v6 {
            frame[14 + 5] += 8;
            frame[14 + 6] = 60; // Destination options.
        } else {
            frame[14] += 2;
            frame[14 + 3] += 8;
        }
        segment.tcp_start += 8;
        segment.payload_start += 8;
        segment.untidy = true;
        edit::fix_checksums(&mut frame, &segment);
        assert_eq!(segment_of(&frame), segment);
        let len = edit::cut(&mut frame, &mut segment, 8);
        frame.truncate(len);
        edit::fix_checksums(&mut frame, &segment);
        assert_eq!(segment_of(&frame), segment);
        assert_eq!(segment.payload(&frame), b"HELO a\r\n");
        let start = usize::from(segment.tcp_start) - 8;
        assert_eq!(frame[start..start + 8], options);
        // What is emitted in this connection's name does not repeat them.
        let captured = emit::Template::capture(&frame, &segment);
        assert_eq!(emit::emit_len(&captured, &outgoing), emit::emit_len(&template, &outgoing));
        assert_eq!(edit::tidy(&mut frame, &mut segment), !is_v6, "padding stays padding");
        edit::fix_checksums(&mut frame, &segment);
        segment.untidy = true;
        assert_eq!(segment_of(&frame), segment);
        assert!(!edit::tidy(&mut frame, &mut segment), "twice");
    }
}

#[test]
fn an_address_is_written_as_people_do() {
    let v4 = Endpoint::new("192.0.2.1".parse().unwrap(), 25);
    let v6 = Endpoint::new("2001:db8::1".parse().unwrap(), 25);
    assert_eq!(format!("{v4:?} {v6:?}"), "192.0.2.1:25 [2001:db8::1]:25");
}

/// What we take for a segment, an independent parser takes for the same one.
fn agrees_with_another_reader(frame: &[u8], segment: &Segment) {
    let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP: {sliced:?}") };
    assert_eq!((tcp.source_port(), tcp.destination_port()), (segment.source.port, segment.destination.port));
    assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (segment.seq, segment.ack));
    assert_eq!((tcp.window_size(), tcp.urgent_pointer()), (segment.window, segment.urgent));
    assert_eq!(
        (tcp.syn(), tcp.fin(), tcp.rst()),
        (segment.flags.syn(), segment.flags.fin(), segment.flags.rst())
    );
    assert_eq!(tcp.payload(), segment.payload(frame));
}

proptest! {
    #[test]
    fn no_octets_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&frame, Checksums::Trust);
        let _ = parse(&frame, Checksums::Verify);
    }

    /// A frame that is nearly right gets further in than noise; whatever it says can then be edited.
    #[test]
    fn nearly_right_frames_neither_panic_nor_lie(
        is_v6: bool,
        tag_count in 0usize..=2,
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        changes in proptest::collection::vec((0usize..150, any::<u8>()), 0..6),
        len in 0usize..250,
        cuts in (0usize..70, 0usize..70),
    ) {
        let outgoing = emit::Outgoing { flags: Flags::SYN, payload: &payload, ..emit::Outgoing::default() };
        let template = emit::Template::example(is_v6, tag_count);
        let mut frame = vec![0; emit::emit_len(&template, &outgoing)];
        emit::emit(&template, emit::Toward::Receiver, &outgoing, &mut frame);
        for (at, octet) in changes {
            let at = at % frame.len();
            frame[at] = octet;
        }
        frame.truncate(len);
        if let Ok(Packet::Tcp(mut segment)) = parse(&frame, Checksums::Trust) {
            prop_assert!(segment.payload_end() <= frame.len());
            agrees_with_another_reader(&frame, &segment);
            prop_assert!(segment.ip_start < segment.tcp_start && segment.tcp_start < segment.payload_start);
            edit::sanitize_options(&mut frame, &mut segment);
            edit::clear_urgent(&mut frame, &mut segment);
            let end = edit::cut_start(&mut frame, &mut segment, cuts.0);
            frame.truncate(end);
            let end = edit::cut(&mut frame, &mut segment, cuts.1);
            frame.truncate(end);
            edit::fix_checksums(&mut frame, &segment);
            prop_assert_eq!(parse(&frame, Checksums::Verify).is_ok(), true);
        }
    }
}

#[test]
fn neighbour_discovery_is_told_from_other_icmp() {
    let frame = |hops: u8, icmp_type: u8| {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
        frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 8, 58, hops]);
        frame.extend_from_slice(&[0xfe; 32]);
        frame.extend_from_slice(&[icmp_type, 0, 0, 0, 0, 0, 0, 0]);
        frame
    };
    assert_eq!(parse(&frame(255, 135), Checksums::Verify), Ok(Packet::Neighbor));
    for other in [frame(64, 135), frame(255, 128), frame(255, 138)] {
        assert!(matches!(parse(&other, Checksums::Verify), Ok(Packet::OtherIp(Other { protocol: 58, .. }))));
    }
}
