//! Every frame is read back, and both ends' numbers are followed.

use std::collections::HashMap;

use inspect::wire::{Checksums, Endpoint, Packet, Segment, parse};

use super::*;

fn frames(profile: Profile, sessions: u64, seed: u64) -> Vec<(Vec<u8>, Sent)> {
    let mut traffic = Traffic::new(profile, sessions, seed);
    let mut frames = Vec::new();
    while let Some((frame, sent)) = traffic.next_frame() {
        frames.push((frame.to_vec(), sent));
    }
    frames
}

fn segment(frame: &[u8]) -> Segment {
    match parse(frame, Checksums::Verify) {
        Ok(Packet::Tcp(segment)) => segment,
        other => panic!("{other:?}"),
    }
}

/// What one end has sent so far.
#[derive(Default)]
struct End {
    next: Option<u32>,
    /// The highest acknowledgement it gave.
    acked: Option<u32>,
    stamp: u32,
    is_finished: bool,
    octets: Vec<u8>,
}

/// Follows connections whose segments come in order and once; returns what each end said, client first.
fn follow(frames: &[(Vec<u8>, Sent)]) -> HashMap<(Endpoint, Endpoint), [Vec<u8>; 2]> {
    let mut live: HashMap<(Endpoint, Endpoint), [End; 2]> = HashMap::new();
    for (frame, sent) in frames {
        let segment = segment(frame);
        assert_eq!(segment.payload(frame), &frame[sent.payload.clone()]);
        let from = usize::from(sent.port == PortId::B);
        let key = [(segment.source, segment.destination), (segment.destination, segment.source)][from];
        assert_eq!(key.1.port, 25);
        let is_new = segment.flags.syn() && !segment.flags.ack();
        assert_eq!(is_new, !live.contains_key(&key), "a SYN begins each connection, once");
        let ends = live.entry(key).or_default();
        let [mine, theirs] = match ends {
            [client, server] if from == 0 => [client, server],
            [client, server] => [server, client],
        };
        assert!(!mine.is_finished || segment.seq_len() == 0, "nothing after FIN");
        if segment.flags.syn() {
            assert_eq!(segment.options.mss, Some(if segment.is_v6 { 1440 } else { 1460 }));
            assert!(segment.options.window_scale.is_some() && segment.options.sack_permitted);
            assert_eq!(mine.next, None);
        } else {
            assert_eq!(mine.next, Some(segment.seq), "the next octet");
            assert!(frame.len() <= 1514);
        }
        mine.next = Some(segment.seq.wrapping_add(segment.seq_len()));
        if segment.flags.ack() {
            let sent_by_other = theirs.next.unwrap();
            assert!(sent_by_other.wrapping_sub(segment.ack) < 1 << 16, "acknowledges what was sent");
            if let Some(before) = mine.acked {
                assert!(segment.ack.wrapping_sub(before) < 1 << 31, "never goes back");
            }
            mine.acked = Some(segment.ack);
        } else {
            assert!(is_new);
        }
        if let (Some(acked), Some(next)) = (theirs.acked, mine.next) {
            assert!(next.wrapping_sub(acked) <= 64_240, "within the window");
        }
        let stamps = segment.options.timestamps.unwrap();
        assert_eq!(stamps.echo, theirs.stamp);
        assert!(is_new || mine.octets.is_empty() || stamps.value.wrapping_sub(mine.stamp) < 1 << 31);
        mine.stamp = stamps.value;
        mine.octets.extend(segment.payload(frame));
        mine.is_finished |= segment.flags.fin();
        let is_over =
            mine.is_finished && theirs.is_finished && mine.acked == theirs.next && theirs.acked == mine.next;
        assert_eq!(is_over, sent.is_last);
    }
    live.into_iter()
        .map(|(key, ends)| {
            assert!(ends.iter().all(|end| end.is_finished), "both ends closed");
            (key, ends.map(|end| end.octets))
        })
        .collect()
}

fn count(octets: &[u8], of: &[u8]) -> usize {
    octets.windows(of.len()).filter(|window| *window == of).count()
}

#[test]
fn small_sessions_are_whole() {
    let frames = frames(Profile::Small, 300, 1);
    let sessions = follow(&frames);
    assert_eq!(sessions.len(), 300);
    assert!(sessions.keys().any(|(client, _)| client.ip().is_ipv6()));
    assert!(sessions.keys().any(|(client, _)| client.ip().is_ipv4()));
    for [client, server] in sessions.values() {
        assert!(client.starts_with(b"EHLO host") && client.ends_with(b"\r\n.\r\nQUIT\r\n"));
        assert!((2048..2600).contains(&client.len()), "{}", client.len());
        assert_eq!(count(client, b"\r\n.\r\n"), 1);
        assert!(server.starts_with(b"220 ") && server.ends_with(b"221 2.0.0 Bye\r\n"));
        assert_eq!(count(server, b"\r\n354 "), 1);
    }
    // Bursts, not a march in step.
    let mut runs = 1;
    for pair in frames.windows(2) {
        runs += usize::from(pair[0].1.port != pair[1].1.port);
    }
    assert!(frames.len() / runs > 20, "{} frames in {runs} runs", frames.len());
}

#[test]
fn large_mails_are_large() {
    let sessions = follow(&frames(Profile::Large, 3, 2));
    assert_eq!(sessions.len(), 3);
    for [client, _] in sessions.values() {
        assert!((1_440_000..1_445_000).contains(&client.len()), "{}", client.len());
        assert_eq!(count(client, b"\r\n.\r\n"), 1);
    }
}

#[test]
fn pipelined_sessions_have_every_recipient() {
    let sessions = follow(&frames(Profile::Pipelined, 40, 3));
    assert_eq!(sessions.len(), 40);
    for [client, server] in sessions.values() {
        assert_eq!(count(client, b"\r\nRCPT TO:<"), 60);
        assert_eq!(count(client, b"\r\n.\r\n"), 3);
        assert!((24_576..32_000).contains(&client.len()), "{}", client.len());
        assert_eq!(count(server, b"250 2.1.5 Ok\r\n"), 60);
    }
}

#[test]
fn attacks_are_frames_too() {
    let frames = frames(Profile::Attack, 400, 4);
    let mut seen: HashMap<(Endpoint, u32), Vec<u8>> = HashMap::new();
    let (mut repeated, mut changed, mut octets) = (0, 0, 0);
    for (frame, _) in &frames {
        let segment = segment(frame);
        if segment.payload_len == 0 {
            continue;
        }
        octets += usize::from(segment.payload_len == 1);
        match seen.insert((segment.source, segment.seq), segment.payload(frame).to_vec()) {
            Some(before) if before == segment.payload(frame) => repeated += 1,
            Some(_) => changed += 1,
            None => {}
        }
    }
    assert!(repeated > 0 && changed > 0 && octets > 100, "{repeated} {changed} {octets}");
    assert_eq!(frames.iter().filter(|(_, sent)| sent.is_last).count(), 400);
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    for profile in [Profile::Small, Profile::Pipelined, Profile::Attack] {
        let [first, second] = [(), ()].map(|()| {
            let mut capture = Vec::new();
            let written = write(&mut Traffic::new(profile, 50, 9), &mut capture).unwrap();
            (written, capture)
        });
        assert_eq!(first, second);
        assert_ne!(frames(profile, 50, 9), frames(profile, 50, 10));
    }
}

#[test]
fn a_trace_is_the_same_traffic() {
    let frames = frames(Profile::Small, 130, 5);
    let trace = Trace::new(Profile::Small, 130, 5);
    assert_eq!(trace.entries().len(), frames.len());
    for (entry, (frame, sent)) in trace.entries().iter().zip(&frames) {
        assert_eq!((trace.frame(entry), trace.payload(entry)), (&frame[..], &frame[sent.payload.clone()]));
        assert_eq!((entry.port, entry.is_last), (sent.port, sent.is_last));
    }
    assert_eq!(trace.planted, Planted { bodies: 3, senders: 2 });
    let runs = trace.runs();
    assert_eq!(runs.iter().map(|(_, range)| range.len()).sum::<usize>(), frames.len());
}

#[test]
fn no_two_sessions_have_the_same_ends() {
    let mut seen = std::collections::HashSet::new();
    for number in (0..200_000).chain((1 << 31) - 1000..1 << 31) {
        let ends = ends(number, &mut Seed::new(number));
        assert!(ends.client.1 >= 1024 && seen.insert((ends.client, ends.server)), "{number}");
    }
}
