//! Sessions that began before the gateway did.

use std::time::Duration;

use inspect::anomaly::Anomaly;
use inspect::engine::{Config, Pickup, SessionView};
use inspect::event::{Body, EndReason};
use inspect::unit::PortId;
use inspect::wire::Flags;
use inspect::wire::emit::Outgoing;

use super::puppet::{Puppet, V4, V6};

fn passing(ends: super::puppet::Ends) -> Puppet {
    Puppet::with(ends, true, Config { pickup: Pickup::Pass, ..Config::default() })
}

#[test]
fn they_are_dropped_unless_configured() {
    for ends in [V4, V6] {
        let mut puppet = Puppet::with(ends, true, Config::default());
        assert!(puppet.client(0, b"VRFY root\r\n", |_| ()).is_empty());
        assert!(puppet.server(0, 0, b"250 fine\r\n", |_| ()).is_empty());
        assert_eq!((puppet.count(Anomaly::MiddleOfConnection), puppet.engine.flow_count()), (2, 0));
    }
}

#[test]
fn they_pass_marked_where_configured() {
    for from_client in [true, false] {
        let mut puppet = passing(V4);
        let left = if from_client {
            puppet.client(0, b"\xff\0 anything\r\n", |_| ())
        } else {
            puppet.server(0, 0, b"\xff\0 anything\r\n", |_| ())
        };
        assert_eq!(left[0].payload(), b"\xff\0 anything\r\n");
        let sessions: Vec<SessionView> = puppet.engine.sessions().collect();
        assert!(!sessions[0].inspected);
        assert_eq!(sessions[0].tag.server.port, 25, "whoever spoke first");
        assert_eq!(puppet.engine.counters().flows_picked_up, 1);
        let reported = puppet.records.iter().any(|record| {
            matches!(record.body, Body::Anomaly { anomaly: Anomaly::MiddleOfConnection, .. })
                && record.flow.is_some()
        });
        assert!(reported);
        assert_eq!(puppet.server(0, 0, b"250 fine\r\n", |_| ()).len(), 1, "and back");
        // It ends as others do.
        puppet.client(14, b"", |outgoing| outgoing.flags = Flags::ACK.with(Flags::FIN));
        puppet.server(10, 14, b"", |outgoing| outgoing.flags = Flags::ACK.with(Flags::FIN));
        puppet.wait(Duration::from_secs(130));
        puppet.assert_empty();
        assert_eq!(puppet.ended(EndReason::IdleTimeout), 1);
    }
}

#[test]
fn what_begins_now_is_inspected_whatever_came_before() {
    let mut puppet = passing(V4);
    puppet.client(0, b"anything\r\n", |_| ());
    assert_eq!(puppet.syn_ack(inspect::wire::Options::default()).len(), 0, "an answer to no SYN");
    puppet.handshake();
    let sessions: Vec<SessionView> = puppet.engine.sessions().collect();
    assert!(sessions.len() == 1 && sessions[0].inspected);
}

#[test]
fn neither_reset_nor_syn_nor_a_port_that_is_not_inspected_is_picked_up() {
    let mut puppet = passing(V4);
    for flags in [Flags::RST, Flags::RST.with(Flags::ACK), Flags::SYN.with(Flags::ACK), Flags(0), Flags::FIN]
    {
        assert!(puppet.client(0, b"x", |outgoing| outgoing.flags = flags).is_empty(), "{flags:?}");
    }
    let mut frame = V4.frame(true, &Outgoing { flags: Flags::ACK, ..Outgoing::default() });
    frame[37] = 80;
    let Ok(inspect::wire::Packet::Tcp(segment)) =
        inspect::wire::parse(&frame, inspect::wire::Checksums::Trust)
    else {
        panic!("a segment")
    };
    inspect::wire::edit::fix_checksums(&mut frame, &segment);
    assert!(puppet.put(PortId::A, &frame).is_empty());
    assert_eq!(puppet.engine.flow_count(), 0);
}
