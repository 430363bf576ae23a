//! Changes a received frame in place, and its [`Segment`] with it.
//!
//! The functions that set a field leave the checksums as they are: call [`fix_checksums`] once after the last of them.
//! [`overwrite`], [`fill`] and [`set_ttl`] alone keep a right checksum right.
//!
//! # Panics
//! All of them panic when the segment is not that of the frame: a bug of the caller, which no octet of a peer reaches,
//! since [`super::parse`] says nothing that is not in the frame.

use super::{Flags, Segment, checksum, ipv4, ipv6, pseudo_header, tcp};

/// Cuts the payload's end off so that `payload_len` octets are left, and what follows it (padding) too. FIN is cleared
/// if octets were cut off, because it stands after them. Returns the new length of the frame, which the caller then
/// truncates.
pub fn cut(frame: &mut [u8], segment: &mut Segment, payload_len: usize) -> usize {
    if payload_len < usize::from(segment.payload_len) {
        segment.payload_len = payload_len as u16;
        set_flags(frame, segment, segment.flags.without(Flags::FIN));
        set_ip_len(frame, segment);
    }
    segment.payload_end()
}

/// Cuts `count` octets off the payload's start (at most all of them), and what follows it (padding) too. The rest of the
/// payload moves down, and the sequence number up; SYN is cleared, because it stands before them. Returns the new length
/// of the frame, which the caller then truncates. The urgent pointer is not moved: clear it.
pub fn cut_start(frame: &mut [u8], segment: &mut Segment, count: usize) -> usize {
    let count = count.min(usize::from(segment.payload_len));
    if count > 0 {
        let start = usize::from(segment.payload_start);
        frame.copy_within(start + count..segment.payload_end(), start);
        segment.payload_len -= count as u16;
        let seq = segment.seq.wrapping_add(u32::from(segment.flags.syn())).wrapping_add(count as u32);
        set_seq(frame, segment, seq);
        set_flags(frame, segment, segment.flags.without(Flags::SYN));
        set_ip_len(frame, segment);
    }
    segment.payload_end()
}

/// Sets the sequence number.
pub fn set_seq(frame: &mut [u8], segment: &mut Segment, seq: u32) {
    segment.seq = seq;
    header(frame, segment).set_seq(seq);
}

/// Sets the acknowledgement number.
pub fn set_ack(frame: &mut [u8], segment: &mut Segment, ack: u32) {
    segment.ack = ack;
    header(frame, segment).set_ack(ack);
}

/// Sets the flags.
pub fn set_flags(frame: &mut [u8], segment: &mut Segment, flags: Flags) {
    segment.flags = flags;
    header(frame, segment).set_flags(flags);
}

/// Sets the window, not scaled.
pub fn set_window(frame: &mut [u8], segment: &mut Segment, window: u16) {
    segment.window = window;
    header(frame, segment).set_window(window);
}

/// Clears URG and the urgent pointer. Returns whether one of them was set.
pub fn clear_urgent(frame: &mut [u8], segment: &mut Segment) -> bool {
    if !segment.flags.urg() && segment.urgent == 0 {
        return false;
    }
    segment.urgent = 0;
    header(frame, segment).set_urgent(0);
    set_flags(frame, segment, segment.flags.without(Flags::URG));
    true
}

/// Clears the four bits before the flags. Returns whether one of them was set.
pub fn clear_reserved(frame: &mut [u8], segment: &Segment) -> bool {
    let mut header = header(frame, segment);
    let is_set = header.reserved() != 0;
    header.clear_reserved();
    is_set
}

/// Overwrites the options that may not pass: [`tcp::sanitize_options`]. Returns whether anything changed.
pub fn sanitize_options(frame: &mut [u8], segment: &mut Segment) -> bool {
    segment.options.unwanted = false;
    tcp::sanitize_options(&mut frame[usize::from(segment.tcp_start)..usize::from(segment.payload_start)])
}

/// Overwrites what no receiver needs and some read differently: IPv4 options and the options of IPv6 extension headers
/// become padding, and the reserved bits of IPv4 and of TCP are cleared. Nothing moves. Returns whether anything changed.
pub fn tidy(frame: &mut [u8], segment: &mut Segment) -> bool {
    segment.untidy = false;
    let mut is_changed = clear_reserved(frame, segment);
    let [ip_start, tcp_start] = [segment.ip_start, segment.tcp_start].map(usize::from);
    if segment.is_v6 {
        let next = ipv6_header(frame, segment).next_header();
        let extensions = &mut frame[ip_start + ipv6::HEADER_LEN..tcp_start];
        return is_changed | ipv6::pad_options(extensions, next);
    }
    let mut header = ipv4_header(frame, segment);
    is_changed |= header.reserved();
    header.clear_reserved();
    let options = &mut frame[ip_start + ipv4::HEADER_LEN..tcp_start];
    is_changed |= options.iter().any(|&octet| octet != 0);
    // End of the option list, and padding (RFC 791 section 3.1).
    options.fill(0);
    is_changed
}

/// Overwrites the timestamps with no-operations. Returns whether there were any.
pub fn remove_timestamps(frame: &mut [u8], segment: &mut Segment) -> bool {
    segment.options.timestamps = None;
    tcp::remove_option(options_mut(frame, segment), tcp::kind::TIMESTAMPS)
}

/// Sets the value of the timestamps, where there are any.
pub fn set_timestamp(frame: &mut [u8], segment: &mut Segment, value: u32) {
    if let Some(stamps) = &mut segment.options.timestamps {
        stamps.value = value;
        if let Some(place) = tcp::option_value(options_mut(frame, segment), tcp::kind::TIMESTAMPS) {
            place[..4].copy_from_slice(&value.to_be_bytes());
        }
    }
}

fn options_mut<'f>(frame: &'f mut [u8], segment: &Segment) -> &'f mut [u8] {
    &mut frame[usize::from(segment.tcp_start) + tcp::HEADER_LEN..usize::from(segment.payload_start)]
}

/// Overwrites the whole SACK option with no-operations. Returns whether there was one.
pub fn remove_sack(frame: &mut [u8], segment: &mut Segment) -> bool {
    let super::Sack { start, count } = core::mem::take(&mut segment.options.sack);
    if count == 0 {
        return false;
    }
    let (start, len) = (usize::from(start), usize::from(count) * super::SackBlock::LEN);
    frame[start - 2..start + len].fill(tcp::kind::NO_OPERATION);
    true
}

/// Sets TTL or hop limit. The IPv4 header checksum is computed anew.
pub fn set_ttl(frame: &mut [u8], segment: &mut Segment, ttl: u8) {
    segment.ttl = ttl;
    if segment.is_v6 {
        ipv6_header(frame, segment).set_hop_limit(ttl);
    } else {
        ipv4_header(frame, segment).set_ttl(ttl);
        fix_ip_checksum(frame, segment);
    }
}

/// Lets routers fragment the packet, if it is IPv4, under this identification. The header checksum is computed anew.
pub fn set_fragmentable(frame: &mut [u8], segment: &mut Segment, identification: u16) {
    if !segment.is_v6 {
        ipv4_header(frame, segment).set_fragmentable(identification);
        fix_ip_checksum(frame, segment);
    }
}

/// Overwrites octets of the payload, from `at` octets into it on. A TCP checksum that was right stays right (RFC 1624),
/// at the cost of these octets only; one that was wrong stays wrong.
pub fn overwrite(frame: &mut [u8], segment: &Segment, at: usize, octets: &[u8]) {
    change(frame, segment, at, octets.len(), |place| place.copy_from_slice(octets));
}

/// Fills `len` octets of the payload, from `at` octets into it on, with one octet; the checksum as in [`overwrite`].
pub fn fill(frame: &mut [u8], segment: &Segment, at: usize, len: usize, octet: u8) {
    change(frame, segment, at, len, |place| place.fill(octet));
}

fn change(frame: &mut [u8], segment: &Segment, at: usize, len: usize, write: impl FnOnce(&mut [u8])) {
    let place = &mut segment.payload_mut(frame)[at..at + len];
    let before = checksum::Sum::default().with(place).fold();
    write(place);
    let after = checksum::Sum::default().with(place).fold();
    // A TCP header is of even length: the payload's parity is that of the summed region.
    let (before, after) =
        if at % 2 == 1 { (before.swap_bytes(), after.swap_bytes()) } else { (before, after) };
    let mut header = header(frame, segment);
    let sum = checksum::update(header.checksum(), &before.to_be_bytes(), &after.to_be_bytes(), false);
    header.set_checksum(sum);
}

/// Computes the TCP checksum, and for IPv4 the header checksum, anew: right whatever they were.
pub fn fix_checksums(frame: &mut [u8], segment: &Segment) {
    fix_ip_checksum(frame, segment);
    let mut header = header(frame, segment);
    header.set_checksum(0);
    let octets = &frame[usize::from(segment.tcp_start)..segment.payload_end()];
    let packet = &frame[usize::from(segment.ip_start)..];
    let sum = pseudo_header(packet, segment.is_v6, octets.len()).with(octets).checksum();
    self::header(frame, segment).set_checksum(sum);
}

fn fix_ip_checksum(frame: &mut [u8], segment: &Segment) {
    if !segment.is_v6 {
        ipv4::fix_checksum(&mut frame[usize::from(segment.ip_start)..usize::from(segment.tcp_start)]);
    }
}

/// Writes the IP header's length from the segment's payload length.
fn set_ip_len(frame: &mut [u8], segment: &Segment) {
    let len = (segment.payload_end() - usize::from(segment.ip_start)) as u16;
    if segment.is_v6 {
        ipv6_header(frame, segment).set_payload_len(len - ipv6::HEADER_LEN as u16);
    } else {
        ipv4_header(frame, segment).set_total_len(len);
    }
}

fn header<'f>(frame: &'f mut [u8], segment: &Segment) -> tcp::Header<&'f mut [u8; tcp::HEADER_LEN]> {
    tcp::Header(fixed(frame, segment.tcp_start))
}

fn ipv4_header<'f>(frame: &'f mut [u8], segment: &Segment) -> ipv4::Header<&'f mut [u8; ipv4::HEADER_LEN]> {
    ipv4::Header(fixed(frame, segment.ip_start))
}

fn ipv6_header<'f>(frame: &'f mut [u8], segment: &Segment) -> ipv6::Header<&'f mut [u8; ipv6::HEADER_LEN]> {
    ipv6::Header(fixed(frame, segment.ip_start))
}

fn fixed<const N: usize>(frame: &mut [u8], start: u16) -> &mut [u8; N] {
    frame[usize::from(start)..].first_chunk_mut().expect("the segment is that of the frame")
}

#[cfg(test)]
mod tests {
    use super::super::emit::{Outgoing, Template, Toward, emit, emit_len};
    use super::super::tests::segment_of;
    use super::super::{Checksums, Malformed, Packet, SackBlock, Timestamps, Vlan, parse};
    use super::*;
    use proptest::prelude::*;

    fn frame(is_v6: bool, flags: Flags, payload: &[u8]) -> (Vec<u8>, Segment) {
        let template = Template::example(is_v6, 1);
        let sack = [SackBlock { left: 9, right: 10 }];
        let mut outgoing = Outgoing {
            seq: u32::MAX,
            ack: 7,
            flags,
            window: 500,
            sack: &sack,
            payload,
            ..Outgoing::default()
        };
        outgoing.options.timestamps = Some(Timestamps { value: 1, echo: 2 });
        let mut frame = vec![0; emit_len(&template, &outgoing)];
        emit(&template, Toward::Receiver, &outgoing, &mut frame);
        let segment = segment_of(&frame);
        (frame, segment)
    }

    /// Whether the frame, with its checksums computed anew, reads as the segment says.
    fn agrees(frame: &mut [u8], segment: &Segment) {
        fix_checksums(frame, segment);
        assert_eq!(parse(frame, Checksums::Verify), Ok(Packet::Tcp(*segment)));
    }

    #[test]
    fn the_end_of_a_payload_is_cut_off() {
        for is_v6 in [false, true] {
            let (mut frame, mut segment) = frame(is_v6, Flags::ACK.with(Flags::FIN), b"HELO a\r\nEVIL\r\n");
            frame.extend_from_slice(b"padding");
            let whole = frame.clone();
            assert_eq!(cut(&mut frame, &mut segment, 100), whole.len() - 7, "nothing but the padding");
            assert_eq!(frame, whole);
            let len = cut(&mut frame, &mut segment, 8);
            frame.truncate(len);
            agrees(&mut frame, &segment);
            assert_eq!(segment.payload(&frame), b"HELO a\r\n");
            assert!(!segment.flags.fin());
        }
    }

    #[test]
    fn the_start_of_a_payload_is_cut_off() {
        for is_v6 in [false, true] {
            let (mut frame, mut segment) = frame(is_v6, Flags::ACK.with(Flags::FIN), b"old new");
            let len = cut_start(&mut frame, &mut segment, 4);
            frame.truncate(len);
            agrees(&mut frame, &segment);
            assert_eq!((segment.payload(&frame), segment.seq), (&b"new"[..], 3));
            assert!(segment.flags.fin());
            let len = cut_start(&mut frame, &mut segment, 100);
            frame.truncate(len);
            agrees(&mut frame, &segment);
            assert_eq!((segment.payload_len, segment.seq), (0, 6));
        }
    }

    #[test]
    fn the_octet_after_syn_has_the_next_number() {
        let (mut frame, mut segment) = frame(false, Flags::SYN, b"ab");
        let len = cut_start(&mut frame, &mut segment, 1);
        frame.truncate(len);
        assert_eq!((segment.seq, segment.flags.syn()), (1, false), "{} + SYN + one octet", u32::MAX);
    }

    #[test]
    fn fields_are_set() {
        for is_v6 in [false, true] {
            let (mut frame, mut segment) = frame(is_v6, Flags::ACK.with(Flags::URG), b"x");
            set_seq(&mut frame, &mut segment, 1);
            set_ack(&mut frame, &mut segment, 2);
            set_window(&mut frame, &mut segment, 3);
            set_ttl(&mut frame, &mut segment, 99);
            assert!(clear_urgent(&mut frame, &mut segment));
            assert!(!clear_urgent(&mut frame, &mut segment));
            assert!(!clear_reserved(&mut frame, &segment));
            frame[usize::from(segment.tcp_start) + 12] |= 1;
            assert!(clear_reserved(&mut frame, &segment));
            assert_eq!(segment.sack_blocks(&frame).collect::<Vec<_>>(), [SackBlock { left: 9, right: 10 }]);
            assert!(remove_sack(&mut frame, &mut segment));
            assert!(!remove_sack(&mut frame, &mut segment));
            agrees(&mut frame, &segment);
            assert_eq!((segment.seq, segment.ack, segment.window, segment.ttl), (1, 2, 3, 99));
            assert_eq!(segment.flags, Flags::ACK);
        }
    }

    #[test]
    fn a_ttl_is_set_without_touching_the_payload_checksum() {
        let (mut frame, mut segment) = frame(false, Flags::ACK, b"x");
        set_ttl(&mut frame, &mut segment, 7);
        assert_eq!(parse(&frame, Checksums::Verify), Ok(Packet::Tcp(segment)));
    }

    #[test]
    fn options_are_sanitized_in_the_frame() {
        let (mut frame, mut segment) = frame(false, Flags::SYN, b"");
        let start = usize::from(segment.tcp_start) + tcp::HEADER_LEN;
        frame[start..start + 4].copy_from_slice(&[34, 2, 1, 1]); // Fast Open request, over NOP NOP TS
        frame[start + 4..start + 12].fill(1);
        fix_checksums(&mut frame, &segment);
        segment = segment_of(&frame);
        assert!(segment.options.unwanted);
        assert!(sanitize_options(&mut frame, &mut segment));
        assert!(!sanitize_options(&mut frame, &mut segment));
        agrees(&mut frame, &segment);
    }

    proptest! {
        #[test]
        fn overwriting_keeps_the_checksum_right(
            is_v6: bool,
            payload in proptest::collection::vec(any::<u8>(), 1..80),
            at: prop::sample::Index,
            with in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let (mut frame, segment) = frame(is_v6, Flags::ACK, &payload);
            let at = at.index(payload.len());
            let len = with.len().min(payload.len() - at);
            overwrite(&mut frame, &segment, at, &with[..len]);
            prop_assert_eq!(&segment.payload(&frame)[at..at + len], &with[..len]);
            prop_assert_eq!(parse(&frame, Checksums::Verify), Ok(Packet::Tcp(segment)));
            fill(&mut frame, &segment, at, len, b'x');
            prop_assert_eq!(parse(&frame, Checksums::Verify), Ok(Packet::Tcp(segment)));
            if payload[at] != b'x' {
                frame[usize::from(segment.payload_start) + at] = b'X';
                prop_assert_eq!(parse(&frame, Checksums::Verify).is_err(), len > 0 || payload[at] != b'X');
            }
        }

        #[test]
        fn cuts_keep_frames_valid(
            is_v6: bool,
            payload in proptest::collection::vec(any::<u8>(), 0..80),
            start in 0usize..90,
            len in 0usize..90,
        ) {
            let (mut frame, mut segment) = frame(is_v6, Flags::ACK.with(Flags::FIN), &payload);
            let before = segment;
            let end = cut_start(&mut frame, &mut segment, start);
            frame.truncate(end);
            let end = cut(&mut frame, &mut segment, len);
            frame.truncate(end);
            fix_checksums(&mut frame, &segment);
            prop_assert_eq!(parse(&frame, Checksums::Verify), Ok(Packet::Tcp(segment)));
            let start = start.min(payload.len());
            let kept = &payload[start..];
            prop_assert_eq!(segment.payload(&frame), &kept[..len.min(kept.len())]);
            prop_assert_eq!(segment.seq, before.seq.wrapping_add(start as u32));
            prop_assert_eq!(segment.flags.fin(), len >= kept.len());
            prop_assert_eq!(segment.vlan, Vlan { outer: 6, inner: 0 });
            prop_assert_eq!(Err(Malformed::Truncated), parse(&frame[..frame.len() - 1], Checksums::Verify));
        }
    }
}
