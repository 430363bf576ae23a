//! What both ends see of a gap in front of the gateway, and of one behind it.

use std::time::Duration;

use inspect::engine::Config;
use inspect::unit::PortId;
use inspect::wire::emit::Outgoing;
use inspect::wire::{Flags, SackBlock};

use super::puppet::{CLIENT_ISN, Left, Puppet, SERVER_ISN, V4, V6};

/// Octets of each segment here.
const LEN: u32 = 100;

fn seq(offset: u32) -> u32 {
    CLIENT_ISN.wrapping_add(1).wrapping_add(offset)
}

/// What a segment at this offset carries: no two are alike.
fn octets(offset: u32) -> Vec<u8> {
    vec![(offset / LEN) as u8; LEN as usize]
}

fn client(puppet: &mut Puppet, offset: u32) -> Vec<Left> {
    puppet.client(offset, &octets(offset), |_| ())
}

/// The server acknowledges, and names a range that it has behind a gap.
fn server(puppet: &mut Puppet, acked: u32, range: Option<(u32, u32)>) -> Vec<Left> {
    let blocks: Vec<SackBlock> =
        range.iter().map(|(left, right)| SackBlock { left: seq(*left), right: seq(*right) }).collect();
    let (seq, ack, flags) = (SERVER_ISN + 1, seq(acked), Flags::ACK);
    puppet.send(false, &Outgoing { seq, ack, flags, window: 512, sack: &blocks, ..Outgoing::default() })
}

/// Of the only segment that left, and which was for the client: what it acknowledges, and the ranges it names.
fn told(left: &[Left]) -> (u32, Vec<(u32, u32)>) {
    let [left] = left else { panic!("{} segments instead of one: {left:?}", left.len()) };
    assert_eq!(left.port, PortId::A);
    let (segment, offset) = (left.segment(), |number: u32| number.wrapping_sub(seq(0)));
    assert_eq!((segment.seq, segment.payload_len), (SERVER_ISN + 1, 0));
    let ranges = segment.sack_blocks(&left.bytes).map(|block| (offset(block.left), offset(block.right)));
    (offset(segment.ack), ranges.collect())
}

/// Offsets of the segments that left for the server, each with the octets that belong there.
fn forwarded(left: &[Left]) -> Vec<u32> {
    let offsets = left.iter().map(|left| {
        let offset = left.segment().seq.wrapping_sub(seq(0));
        assert_eq!((left.port, left.payload()), (PortId::B, &octets(offset)[..]));
        offset
    });
    offsets.collect()
}

#[test]
fn a_gap_is_reported_with_the_acknowledgement_of_what_is_in_front_of_it() {
    for ends in [V4, V6] {
        let mut puppet = Puppet::connected(ends);
        assert_eq!(forwarded(&client(&mut puppet, 0)), [0]);
        assert!(client(&mut puppet, 200).is_empty(), "the receiver has not accounted for the first");
        // A new window says nothing of a gap.
        let left = puppet.server(0, 0, b"", |outgoing| outgoing.window = 600);
        assert_eq!(told(&left), (0, vec![]));
        assert_eq!(told(&server(&mut puppet, 100, None)), (100, vec![(200, 300)]), "one segment says both");
        assert_eq!(told(&client(&mut puppet, 300)), (100, vec![(200, 400)]));
        assert_eq!(told(&client(&mut puppet, 500)), (100, vec![(500, 600), (200, 400)]));
    }
}

#[test]
fn what_came_meanwhile_is_named_with_what_fills_a_gap() {
    let mut puppet = Puppet::connected(V4);
    client(&mut puppet, 100);
    assert_eq!(forwarded(&client(&mut puppet, 0)), [0, 100]);
    for offset in [300, 500, 700, 900] {
        assert!(client(&mut puppet, offset).is_empty());
    }
    assert!(server(&mut puppet, 100, None).is_empty(), "a part of what was promised");
    // Four gaps are more than one segment can name: all are named when anything is acknowledged.
    let left = server(&mut puppet, 200, None);
    assert_eq!(left.len(), 2);
    assert_eq!(told(&left[..1]), (0, vec![(300, 400)]));
    assert_eq!(told(&left[1..]), (200, vec![(900, 1000), (700, 800), (500, 600)]));
}

#[test]
fn a_sender_that_knows_of_a_gap_hears_of_the_rest_of_a_burst_at_once() {
    let mut puppet = Puppet::connected(V4);
    let burst = |offsets: &[u32]| -> Vec<Vec<u8>> {
        let frame = |offset: &u32| {
            let (ack, flags, window, payload) = (SERVER_ISN + 1, Flags::ACK, 512, &octets(*offset)[..]);
            V4.frame(
                true,
                &Outgoing { seq: seq(*offset), ack, flags, window, payload, ..Outgoing::default() },
            )
        };
        offsets.iter().map(frame).collect()
    };
    // One that goes by duplicates has its three.
    let left = puppet.put_burst(PortId::A, &burst(&[100, 200, 300, 400, 600]));
    assert_eq!(left.len(), 4);
    for (number, end) in [(0, 200), (1, 300), (2, 400)] {
        assert_eq!(told(&left[number..=number]), (0, vec![(100, end)]));
    }
    assert_eq!(told(&left[3..]), (0, vec![(600, 700), (100, 500)]));
    // Five ranges are two segments; the newest are in the last one.
    let left = puppet.put_burst(PortId::A, &burst(&[700, 900, 1100, 1300, 1500, 1600]));
    assert_eq!(left.len(), 2);
    assert_eq!(told(&left[..1]), (0, vec![(900, 1000), (600, 800), (100, 500)]));
    assert_eq!(told(&left[1..]), (0, vec![(1500, 1700), (1300, 1400), (1100, 1200)]));
    let left = puppet.put_burst(PortId::A, &burst(&[0, 800, 1700]));
    assert_eq!(forwarded(&left[..5]), [0, 100, 200, 300, 400]);
    assert!(left[5..].is_empty(), "the receiver has not accounted for these");
    let left = server(&mut puppet, 500, None);
    assert_eq!(told(&left), (500, vec![(1500, 1800), (600, 1000), (1300, 1400)]));
}

#[test]
fn a_silent_receiver_is_not_waited_for_for_ever() {
    let mut puppet = Puppet::connected(V4);
    client(&mut puppet, 0);
    assert!(client(&mut puppet, 200).is_empty());
    assert_eq!(told(&puppet.wait(Duration::from_millis(150))), (0, vec![(200, 300)]));
    assert!(puppet.wait(Duration::from_secs(10)).is_empty(), "once");
}

/// A stream of which all but the first segment waited and have left.
fn promised(count: u32) -> Puppet {
    let mut puppet = Puppet::connected(V4);
    for offset in 1..count {
        assert_eq!(told(&client(&mut puppet, offset * LEN)), (0, vec![(LEN, (offset + 1) * LEN)]));
    }
    let left = client(&mut puppet, 0);
    assert_eq!(forwarded(&left), (0..count).map(|number| number * LEN).collect::<Vec<_>>());
    puppet
}

#[test]
fn what_was_promised_and_lost_behind_the_gateway_is_sent_again() {
    let mut puppet = promised(8);
    assert!(server(&mut puppet, 300, None).is_empty(), "its sender was told that more has come");
    for (behind, again) in [(500, false), (600, false), (700, true), (700, false), (800, false)] {
        let left = server(&mut puppet, 300, Some((400, behind)));
        assert_eq!(forwarded(&left), [300].repeat(usize::from(again)), "up to {behind}");
    }
    assert_eq!(puppet.engine.counters().repaired_segments, 1);
    // That was lost, too: what left after it has arrived.
    assert_eq!(forwarded(&client(&mut puppet, 800)), [800]);
    assert_eq!(forwarded(&server(&mut puppet, 300, Some((400, 900)))), [300]);
    assert_eq!(told(&server(&mut puppet, 900, None)), (900, vec![]), "the sender hears of all of it");
    assert_eq!(puppet.engine.counters().repaired_segments, 2);
    assert!(puppet.wait(Duration::from_secs(10)).is_empty(), "nothing is due");
}

#[test]
fn a_receiver_that_says_nothing_gets_the_first_segment_again_a_few_times() {
    let mut puppet = promised(4);
    assert!(server(&mut puppet, 100, None).is_empty());
    assert_eq!(forwarded(&puppet.wait(Duration::from_secs(5))), [100, 100, 100]);
    assert_eq!(puppet.engine.counters().repairs_given_up, 1);
    // Then the sender sees for itself.
    assert_eq!(told(&server(&mut puppet, 200, Some((300, 400)))), (200, vec![(300, 400)]));
}

#[test]
fn a_receiver_that_lies_gets_no_more_than_a_few_segments_for_one() {
    let mut puppet = promised(40);
    let mut again = Vec::new();
    for _ in 0..20 {
        let left = server(&mut puppet, 0, Some((3_900, 4_000)));
        assert!(left.len() <= 8);
        again.extend(forwarded(&left));
    }
    again.dedup();
    let missing: Vec<u32> = (0..37).map(|number| number * LEN).collect();
    assert_eq!(again, missing, "each once");
}

#[test]
fn nothing_is_promised_in_front_of_which_octets_are_not_remembered() {
    let mut puppet = Puppet::with(V4, false, Config::default());
    puppet.handshake();
    assert_eq!(forwarded(&client(&mut puppet, 0)), [0], "nobody reads it, so it takes the short way");
    for offset in [200, 300, 400] {
        assert!(client(&mut puppet, offset).is_empty());
    }
    assert_eq!(forwarded(&client(&mut puppet, 100)), [100, 200, 300, 400]);
    // Only its sender has the first one.
    assert_eq!(told(&server(&mut puppet, 0, Some((100, 500)))), (0, vec![(100, 500)]));
    assert_eq!(forwarded(&client(&mut puppet, 0)), [0]);
    assert!(server(&mut puppet, 300, None).is_empty());
    assert_eq!(forwarded(&puppet.wait(Duration::from_millis(100))), [300]);
    assert_eq!(told(&server(&mut puppet, 500, None)), (500, vec![]));
}

#[test]
fn without_sack_nothing_is_promised() {
    let mut puppet = Puppet::new(V4);
    puppet.syn(inspect::wire::Options::default());
    puppet.syn_ack(inspect::wire::Options::default());
    puppet.client(0, b"", |_| ());
    client(&mut puppet, 0);
    assert!(client(&mut puppet, 200).is_empty());
    let left = server(&mut puppet, 100, None);
    assert_eq!(told(&left), (100, vec![]), "it stands for the duplicate one, too");
    for offset in [300, 400] {
        assert_eq!(told(&client(&mut puppet, offset)), (100, vec![]), "a duplicate for each");
    }
    assert_eq!(forwarded(&client(&mut puppet, 100)), [100, 200, 300, 400]);
    assert_eq!(told(&server(&mut puppet, 200, None)), (200, vec![]), "every acknowledgement is seen");
    assert!(puppet.wait(Duration::from_secs(10)).is_empty(), "nothing is sent again");
}
