//! Whatever a peer does or leaves undone, everything ends: after its time neither flow nor frame is left.

use std::time::Duration;

use artifact::model::InspectParameters;
use inspect::engine::Config;
use inspect::event::EndReason;
use inspect::unit::PortId;
use inspect::wire::{Flags, Options};

use super::puppet::{Ends, Puppet, V4};

fn idle() -> Duration {
    Duration::from_secs(u64::from(InspectParameters::default().tcp_idle_time) + 130)
}

#[test]
fn a_half_open_flood_leaves_nothing() {
    let mut puppet = Puppet::new(V4);
    for number in 0..3_000 {
        puppet.ends = Ends { client: number, ..V4 };
        puppet.syn(Options::default());
        if number % 3 == 0 {
            puppet.syn_ack(Options::default());
        }
    }
    assert_eq!(puppet.engine.counters().flows_half_open, 3_000);
    let synwait = InspectParameters::default().tcp_synwait_time;
    let left = puppet.wait(Duration::from_secs(u64::from(synwait) + 2));
    assert!(left.iter().any(|left| left.port == PortId::B && left.segment().flags.rst()), "servers are told");
    puppet.assert_empty();
    assert_eq!((puppet.engine.counters().flows_half_open, puppet.ended(EndReason::SynTimeout)), (0, 3_000));
}

/// A session that is refused with a reply for its first command.
fn refused() -> Puppet {
    let mut puppet = Puppet::with(V4, true, Config::default());
    puppet.handshake();
    puppet.server(0, 0, b"220 mx.example ESMTP\r\n", |_| ());
    puppet.client(0, b"", |outgoing| outgoing.ack = outgoing.ack.wrapping_add(22));
    // A line longer than any server takes.
    let mut told = false;
    for piece in 0..40 {
        let left = puppet
            .client(piece * 1_000, &[b'a'; 1_000], |outgoing| outgoing.ack = outgoing.ack.wrapping_add(22));
        told |= left.iter().any(|left| left.port == PortId::A && !left.payload().is_empty());
        puppet.server(22, (piece + 1) * 1_000, b"", |_| ());
    }
    assert!(told, "the test does not do what it says: nobody was refused");
    puppet
}

#[test]
fn a_client_that_never_acknowledges_its_refusal_is_given_up() {
    let mut puppet = refused();
    let left = puppet.wait(Duration::from_secs(90));
    let copies = left.iter().filter(|left| left.port == PortId::A && !left.payload().is_empty()).count();
    assert_eq!(copies, 5, "sent again with growing pauses");
    let last = left.iter().rfind(|left| left.port == PortId::A).unwrap();
    assert!(last.segment().flags.rst());
    puppet.assert_empty();
}

#[test]
fn a_client_that_acknowledges_and_never_closes_is_given_up() {
    let mut puppet = refused();
    let told = puppet.wait(Duration::from_millis(400));
    let told = told.iter().find(|left| !left.payload().is_empty()).unwrap().segment();
    let ack = told.seq.wrapping_add(told.seq_len());
    puppet.client(40_000, b"", |outgoing| outgoing.ack = ack);
    puppet.wait(Duration::from_secs(90));
    puppet.assert_empty();
}

#[test]
fn a_server_that_never_closes_is_given_up_when_it_is_silent() {
    let mut puppet = Puppet::connected(V4);
    puppet.client(0, b"QUIT\r\n", |outgoing| outgoing.flags = Flags::ACK.with(Flags::FIN));
    puppet.server(0, 7, b"", |_| ());
    let left = puppet.wait(idle());
    assert!(left.iter().any(|left| left.port == PortId::B && left.segment().flags.rst()));
    puppet.assert_empty();
}

#[test]
fn a_receiver_that_never_acknowledges_keeps_frames_only_for_the_idle_time() {
    let mut puppet = Puppet::connected(V4);
    for piece in 0..40 {
        puppet.client(piece * 1_000, &[b'a'; 1_000], |_| ());
    }
    assert!(puppet.pool.free_count() < super::puppet::CHUNKS - 30, "they are remembered");
    puppet.wait(idle());
    puppet.assert_empty();
}

#[test]
fn octets_behind_a_hole_that_is_never_filled_are_given_up() {
    let mut puppet = Puppet::connected(V4);
    for piece in 1..60 {
        puppet.client(piece * 1_000, &[b'a'; 900], |_| ());
    }
    puppet.wait(idle());
    puppet.assert_empty();
}
