//! A sender that believes another window than its receiver has announced.

use std::time::Duration;

use inspect::anomaly::Anomaly;
use inspect::unit::PortId;

use super::puppet::{CLIENT_ISN, Ends, Puppet, SERVER_ISN, V4, V6};

const FIRST: u32 = CLIENT_ISN.wrapping_add(1);

fn lost_track(ends: Ends) -> Puppet {
    let mut puppet = Puppet::connected(ends);
    puppet.client(0, b"HELO a\r\n", |_| {});
    puppet.server(0, 8, b"", |outgoing| outgoing.window = 0);
    puppet
}

/// Its octets do not pass, and its receiver is asked: the answer has the window that counts (RFC 9293 section 3.10.7.4).
#[test]
fn a_receiver_is_asked_when_its_sender_is_outside_of_the_window() {
    for ends in [V4, V6] {
        let mut puppet = lost_track(ends);
        let far = 8 + (1 << 24);
        let left = puppet.client(far, b"?", |_| {});
        assert_eq!(left.len(), 1, "the question, and nothing of the segment");
        let asked = left[0].segment();
        assert_eq!((left[0].port, asked.payload_len), (PortId::B, 0));
        // An octet that the receiver has: it cannot but answer.
        assert_eq!((asked.seq, asked.ack), (FIRST + 7, SERVER_ISN + 1));
        assert_eq!(puppet.count(Anomaly::OutsideWindow), 1);
        // Whoever sends more of them does not make the gateway ask more.
        for _ in 0..10 {
            assert!(puppet.client(far, b"?", |_| {}).is_empty());
        }
        puppet.wait(Duration::from_secs(1));
        assert_eq!(puppet.client(far, b"?", |_| {}).len(), 1, "asked again after a while");
    }
}
