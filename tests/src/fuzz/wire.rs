//! A frame, parsed and edited.

use inspect::wire::{self, Checksums, Packet, edit};

use super::frame::{self, Read};

/// Parses, compares with another reader, edits.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    one(data);
    let mut mended = data.to_vec();
    frame::mend(&mut mended);
    if mended != data {
        one(&mended);
    }
}

fn one(data: &[u8]) {
    let trusting = wire::parse(data, Checksums::Trust);
    let verified = wire::parse(data, Checksums::Verify);
    if verified.is_ok() {
        assert_eq!(trusting, verified, "right checksums change nothing else");
    }
    let _ = wire::icmp::quoted(data);
    let Ok(Packet::Tcp(segment)) = trusting else { return };
    assert!(segment.payload_end() <= data.len());
    let Read::Tcp(reading) = frame::read(data) else { panic!("only one of two readers sees a segment") };
    assert_eq!(reading.payload, segment.payload(data));
    assert_eq!((reading.seq, reading.ack, reading.flags), (segment.seq, segment.ack, segment.flags.0));
    assert_eq!(reading.ports, [segment.source.port, segment.destination.port]);
    assert_eq!((reading.ttl, reading.is_v6), (segment.ttl, segment.is_v6));
    assert_eq!(reading.is_sound, verified.is_ok(), "both verify, or both do not");
    for block in segment.sack_blocks(data) {
        std::hint::black_box(block);
    }

    let mut frame = data.to_vec();
    let mut edited = segment;
    edit::clear_urgent(&mut frame, &mut edited);
    let len = usize::from(edited.payload_len);
    // Nobody cuts the start off a SYN, whose options only it may have.
    let skipped = if segment.flags.syn() { 0 } else { len / 3 };
    let end = edit::cut_start(&mut frame, &mut edited, skipped);
    frame.truncate(end);
    let end = edit::cut(&mut frame, &mut edited, len / 2);
    frame.truncate(end);
    edit::sanitize_options(&mut frame, &mut edited);
    assert!(!edit::sanitize_options(&mut frame, &mut edited), "once is enough");
    edit::fix_checksums(&mut frame, &edited);
    assert_eq!(wire::parse(&frame, Checksums::Verify), Ok(Packet::Tcp(edited)), "an edit broke the frame");
    let Read::Tcp(reading) = frame::read(&frame) else { panic!("an edit made it unreadable") };
    assert!(reading.is_sound && reading.urgent == 0);
    assert_eq!(reading.payload, &segment.payload(data)[skipped..][..(len / 2).min(len - skipped)]);
}
