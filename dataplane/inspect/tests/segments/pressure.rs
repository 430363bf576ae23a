//! A full flow table: who makes room.

use inspect::engine::Config;
use inspect::event::EndReason;
use inspect::unit::PortId;
use inspect::wire::Options;

use super::puppet::{Ends, Puppet, V4, V6};

const LIMIT: usize = 512;

fn full_of(ends: impl Fn(u32) -> Ends, count: u32, established: bool) -> Puppet {
    let config = Config { flow_limit: LIMIT, ..Config::default() };
    let mut puppet = Puppet::with(ends(0), false, config);
    for number in 0..count {
        puppet.ends = ends(number);
        if established {
            assert!(establish(&mut puppet, ends(number)), "{number}");
        } else {
            puppet.syn(Options::default());
        }
    }
    puppet
}

/// Whether a session of these ends is let in.
fn establish(puppet: &mut Puppet, ends: Ends) -> bool {
    puppet.ends = ends;
    let left = puppet.syn(Options::default());
    if !left.iter().any(|left| left.port == PortId::B && left.segment().flags.syn()) {
        return false;
    }
    puppet.syn_ack(Options::default());
    puppet.client(0, b"", |_| ());
    true
}

fn is_there(puppet: &Puppet, ends: Ends) -> bool {
    let template = ends.frame(true, &inspect::wire::emit::Outgoing::default());
    let Ok(inspect::wire::Packet::Tcp(segment)) =
        inspect::wire::parse(&template, inspect::wire::Checksums::Trust)
    else {
        panic!("a segment")
    };
    puppet.engine.sessions().any(|session| session.tag.client == segment.source)
}

#[test]
fn a_flood_of_syns_costs_nobody_an_established_session() {
    for v in [V4, V6] {
        let honest = |number: u32| Ends { client: 1 + number, ..v };
        let mut puppet = full_of(honest, 300, true);
        for number in 0..10_000 {
            // Sources of their choice, those of honest hosts among them.
            puppet.ends = Ends { client: number % 700, port: 1_000 + (number % 60_000) as u16, ..v };
            puppet.syn(Options::default());
        }
        assert_eq!(puppet.engine.flow_count(), LIMIT);
        assert!((0..300).all(|number| is_there(&puppet, honest(number))));
        assert!(puppet.ended(EndReason::Evicted) > 9_000);
        // And new honest sessions still begin.
        for number in 300..320 {
            assert!(establish(&mut puppet, honest(10_000 + number)), "{number}");
        }
    }
}

#[test]
fn who_fills_the_table_loses_their_own() {
    for v in [V4, V6] {
        let greedy = |number: u32| Ends { client: 7, port: 1_000 + number as u16, ..v };
        let mut puppet = full_of(greedy, LIMIT as u32, true);
        let honest = |number: u32| Ends { client: 100 + number, ..v };
        for number in 0..200 {
            assert!(establish(&mut puppet, honest(number)), "{number}");
        }
        assert!((0..200).all(|number| is_there(&puppet, honest(number))), "theirs stay");
        // Its own further ones push nobody out, not even each other.
        let before = puppet.ended(EndReason::Evicted);
        for number in 0..100 {
            assert!(!establish(&mut puppet, Ends { port: 60_000 + number, ..greedy(0) }));
        }
        assert_eq!(puppet.ended(EndReason::Evicted), before);
        assert!(puppet.engine.counters().dropped_flow_table >= 100);
    }
}

#[test]
fn a_table_full_of_many_hosts_refuses_the_next() {
    let host = |number: u32| Ends { client: 1 + number, ..V4 };
    let mut puppet = full_of(host, LIMIT as u32, true);
    assert!(!establish(&mut puppet, host(5_000)));
    assert!((0..LIMIT as u32).all(|number| is_there(&puppet, host(number))));
}

#[test]
fn a_session_that_is_over_goes_first() {
    let host = |number: u32| Ends { client: 1 + number, ..V4 };
    let mut puppet = full_of(host, LIMIT as u32, true);
    for number in 0..LIMIT as u32 / 4 {
        puppet.ends = host(number);
        puppet.client(0, b"", |outgoing| outgoing.flags = inspect::wire::Flags::RST);
    }
    assert!(establish(&mut puppet, host(5_000)));
    assert_eq!((puppet.ended(EndReason::ClientReset), puppet.ended(EndReason::Evicted)), (1, 0));
}
