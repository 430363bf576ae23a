//! A client uses its port again: whatever the gateway and the server still have of an older connection between the same
//! ends, the new one is established within a few SYNs.
//!
//! The two ends are models of what a stack does with a SYN and with its answers: RFC 9293 section 3.10.7, with RFC 5961 section 4.
//! The older connection is played by hand up to the stage where it is left.

use std::time::Duration;

use inspect::anomaly::Anomaly;
use inspect::engine::{Config, Uninspected};
use inspect::unit::PortId;
use inspect::wire::emit::Outgoing;
use inspect::wire::{Flags, Options, Segment, Timestamps};

use super::puppet::{CLIENT_ISN, Ends, Left, Puppet, SERVER_ISN, V4, V6};

/// What became of the older connection before its client forgot it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There was none.
    None,
    /// The server never had its SYN.
    SynLost,
    /// The server answered; the client never had that.
    Answered,
    Established,
    /// The client has said FIN.
    HalfClosed,
    /// Both have.
    Closed,
    /// The client's RST ended it.
    Reset,
    /// The client's RST passed here and was lost behind the gateway.
    ResetLost,
}

const STAGES: [Stage; 8] = [
    Stage::None,
    Stage::SynLost,
    Stage::Answered,
    Stage::Established,
    Stage::HalfClosed,
    Stage::Closed,
    Stage::Reset,
    Stage::ResetLost,
];

/// What a server has between two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Listens,
    /// It has answered the SYN with this number, and expects the next.
    Answered {
        next: u32,
    },
    /// An older connection: what it sends next, what it expects next.
    Has {
        seq: u32,
        next: u32,
    },
    /// TIME-WAIT: a SYN beyond what it expected ends it, another is acknowledged.
    Waits {
        seq: u32,
        next: u32,
    },
}

const NEW_SERVER_ISN: u32 = 0x4000_0000;

impl Server {
    /// What it has after the older connection came so far.
    fn after(stage: Stage) -> Self {
        let (seq, next) = (SERVER_ISN + 1, CLIENT_ISN.wrapping_add(1));
        match stage {
            Stage::None | Stage::SynLost | Stage::Reset => Server::Listens,
            Stage::Answered => Server::Answered { next },
            Stage::Established | Stage::ResetLost => Server::Has { seq, next },
            Stage::HalfClosed => Server::Has { seq, next: next.wrapping_add(1) },
            Stage::Closed => Server::Waits { seq: seq + 1, next: next.wrapping_add(1) },
        }
    }

    fn hears(&mut self, segment: &Segment, options: Options) -> Option<Outgoing<'static>> {
        let acknowledges = |seq, next, flags| Outgoing {
            seq,
            ack: next,
            flags,
            window: 500,
            options,
            ..Outgoing::default()
        };
        let old = |seq, next| {
            let answer = acknowledges(seq, next, Flags::ACK);
            // An older connection may have timestamps where the new one has none, and never has the options of a SYN.
            let stamps = Timestamps { value: 4_000, echo: 3_000 };
            Some(Outgoing { options: Options { timestamps: Some(stamps), ..Options::default() }, ..answer })
        };
        let (syn, rst) = (segment.flags.syn(), segment.flags.rst());
        match *self {
            Server::Has { next, .. } | Server::Answered { next } | Server::Waits { next, .. }
                if rst && segment.seq == next =>
            {
                *self = Server::Listens;
                None
            }
            Server::Waits { next, .. } if syn && (segment.seq.wrapping_sub(next) as i32) > 0 => {
                *self = Server::Listens;
                self.hears(segment, options)
            }
            Server::Listens if syn => {
                let next = segment.seq.wrapping_add(1);
                *self = Server::Answered { next };
                Some(acknowledges(NEW_SERVER_ISN, next, Flags::SYN.with(Flags::ACK)))
            }
            Server::Answered { next } if syn && segment.seq.wrapping_add(1) == next => {
                Some(acknowledges(NEW_SERVER_ISN, next, Flags::SYN.with(Flags::ACK)))
            }
            // Some repeat their answer to the SYN that they have, others acknowledge it.
            Server::Answered { next } if syn && next & 1 == 0 => {
                Some(acknowledges(NEW_SERVER_ISN, next, Flags::SYN.with(Flags::ACK)))
            }
            Server::Answered { next } if syn => old(SERVER_ISN + 1, next),
            Server::Has { seq, next } | Server::Waits { seq, next } if syn => old(seq, next),
            _ => None,
        }
    }
}

/// A client that opens a connection and remembers no other. Gives the number of SYNs that it took.
fn connect(puppet: &mut Puppet, server: &mut Server, isn: u32, options: Options) -> Option<usize> {
    let syn = Outgoing { seq: isn, flags: Flags::SYN, window: 60_000, options, ..Outgoing::default() };
    for (count, pause) in [1, 2, 4].into_iter().enumerate() {
        let mut under_way = puppet.send(true, &syn);
        let mut established = false;
        while let Some(Left { port, bytes }) = under_way.pop() {
            let segment = Left { port, bytes }.segment();
            if port == PortId::B {
                if let Some(answer) = server.hears(&segment, options) {
                    under_way.extend(puppet.send(false, &answer));
                }
                continue;
            }
            assert_eq!(segment.payload_len, 0, "nothing of an older connection is said");
            match (segment.flags.syn(), segment.ack == isn.wrapping_add(1)) {
                (true, true) => {
                    established = true;
                    let ack = segment.seq.wrapping_add(1);
                    let seq = isn.wrapping_add(1);
                    let last = Outgoing { seq, ack, flags: Flags::ACK, window: 500, ..Outgoing::default() };
                    let stamps = segment
                        .options
                        .timestamps
                        .map(|stamps| Timestamps { value: stamps.echo, echo: stamps.value });
                    let options = Options { timestamps: stamps, ..Options::default() };
                    under_way.extend(puppet.send(true, &Outgoing { options, ..last }));
                }
                (_, false) if segment.flags.ack() && !segment.flags.rst() => {
                    // "If SND.UNA < SEG.ACK =< SND.NXT then the ACK is acceptable"; this one is not: `<SEQ=SEG.ACK><CTL=RST>`.
                    let rst = Outgoing { seq: segment.ack, flags: Flags::RST, ..Outgoing::default() };
                    under_way.extend(puppet.send(true, &rst));
                }
                _ => {}
            }
        }
        if established {
            let (seq, ack) = (isn.wrapping_add(1), NEW_SERVER_ISN.wrapping_add(1));
            let stamps = options.timestamps.map(|stamps| Timestamps { value: stamps.value + 9, echo: 0 });
            let options = Options { timestamps: stamps, ..Options::default() };
            let flags = Flags::ACK;
            let octets = Outgoing {
                seq,
                ack,
                flags,
                window: 500,
                options,
                payload: b"NOOP\r\n",
                ..Outgoing::default()
            };
            let left = puppet.send(true, &octets);
            assert!(left.iter().any(|left| left.payload() == b"NOOP\r\n"), "and octets pass");
            return Some(count + 1);
        }
        puppet.wait(Duration::from_secs(pause));
    }
    None
}

/// Plays the older connection.
fn leave(puppet: &mut Puppet, stage: Stage) {
    if stage == Stage::None {
        return;
    }
    puppet.syn(Options::default());
    if stage == Stage::SynLost {
        return;
    }
    puppet.syn_ack(Options::default());
    if stage == Stage::Answered {
        return;
    }
    puppet.client(0, b"", |_| ());
    let fin = Flags::ACK.with(Flags::FIN);
    match stage {
        Stage::HalfClosed | Stage::Closed => {
            puppet.client(0, b"", |segment| segment.flags = fin);
            puppet.server(0, 1, b"", |_| ());
        }
        Stage::Reset | Stage::ResetLost => {
            puppet.client(0, b"", |segment| segment.flags = Flags::RST);
        }
        _ => {}
    }
    if stage == Stage::Closed {
        puppet.server(0, 1, b"", |segment| segment.flags = fin);
        puppet.client(1, b"", |segment| segment.ack = SERVER_ISN + 2);
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    ends: Ends,
    stage: Stage,
    /// The gateway was restarted in between.
    forgotten: bool,
    isn: u32,
    timestamps: bool,
    seconds: u64,
    uninspected: Uninspected,
}

fn establishes(case: Case) -> Puppet {
    let Case { ends, stage, forgotten, isn, timestamps, seconds, uninspected } = case;
    let fresh = || Puppet::with(ends, false, Config { uninspected, ..Config::default() });
    let mut puppet = fresh();
    leave(&mut puppet, stage);
    if forgotten {
        puppet = fresh();
    }
    puppet.wait(Duration::from_secs(seconds));
    let mut server = Server::after(stage);
    let stamps = timestamps.then_some(Timestamps { value: 9_000, echo: 0 });
    let options = Options { mss: Some(1460), timestamps: stamps, ..Options::default() };
    let taken = connect(&mut puppet, &mut server, isn, options);
    // The first SYN may end what the gateway has, the second what the server has; the third is answered.
    assert!(taken.is_some_and(|count| count <= 3), "{case:?}: {taken:?} SYNs, then {server:?}");
    puppet
}

#[test]
fn a_port_that_is_used_again_is_connected_within_three_syns() {
    let mut tried = 0;
    for ends in [V4, V6] {
        for stage in STAGES {
            for forgotten in [false, true] {
                // Beyond, before and far from the numbers of the older connection.
                for isn in
                    [CLIENT_ISN.wrapping_add(90_000), CLIENT_ISN - 90_000, CLIENT_ISN.wrapping_add(1 << 31)]
                {
                    for timestamps in [false, true] {
                        for seconds in [0, 1, 10, 59] {
                            for uninspected in [Uninspected::Normalize, Uninspected::default()] {
                                let case =
                                    Case { ends, stage, forgotten, isn, timestamps, seconds, uninspected };
                                establishes(case);
                                tried += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(tried, 2 * 8 * 2 * 3 * 2 * 4 * 2);
}

#[test]
fn a_connection_that_only_the_server_remembers_is_reported() {
    let case = Case {
        ends: V4,
        stage: Stage::Established,
        forgotten: true,
        isn: 5,
        timestamps: true,
        seconds: 1,
        uninspected: Uninspected::default(),
    };
    assert_eq!(establishes(case).count(Anomaly::OlderConnection), 1);
    let none = establishes(Case { stage: Stage::Closed, forgotten: false, isn: 90_000, ..case });
    assert_eq!(none.count(Anomaly::OlderConnection), 0);
}

/// What the server says there is bare, and the client's answer goes to that connection and to nothing else.
#[test]
fn nothing_but_a_question_and_its_answer_passes_before_the_handshake() {
    let mut puppet = Puppet::new(V4);
    puppet.syn(Options::default());
    let ack = Outgoing { seq: 9, ack: 500, flags: Flags::ACK, window: 7, ..Outgoing::default() };
    let rst = |seq| Outgoing { seq, flags: Flags::RST, ..Outgoing::default() };
    assert!(puppet.send(true, &rst(500)).is_empty(), "nobody asked");
    for (why, odd) in [
        ("octets", Outgoing { payload: b"220 old\r\n", ..ack }),
        ("a FIN", Outgoing { flags: Flags::ACK.with(Flags::FIN), ..ack }),
        ("what the client waits for", Outgoing { ack: CLIENT_ISN.wrapping_add(1), ..ack }),
    ] {
        assert!(puppet.send(false, &odd).is_empty(), "{why}");
    }
    let answer = Outgoing {
        flags: Flags::SYN.with(Flags::ACK),
        options: Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            ..Options::default()
        },
        payload: b"220 old\r\n",
        ..ack
    };
    for question in [ack, answer] {
        let [left] = <[Left; 1]>::try_from(puppet.send(false, &question)).expect("one frame");
        let segment = left.segment();
        assert_eq!(
            (left.port, segment.flags, segment.ack, segment.payload_len),
            (PortId::A, Flags::ACK, 500, 0)
        );
        let options = segment.options;
        assert_eq!((options.mss, options.window_scale, options.sack_permitted), (None, None, false));
    }
    assert!(puppet.send(true, &rst(501)).is_empty(), "another number");
    assert_eq!(puppet.send(true, &rst(500)).len(), 1);
    assert!(puppet.send(true, &rst(500)).is_empty(), "once");
    assert_eq!(puppet.engine.counters().flows_half_open, 1, "the client goes on");
    assert_eq!(puppet.syn_ack(Options::default()).len(), 1);
    assert_eq!(puppet.client(0, b"NOOP\r\n", |_| ()).len(), 1);
}

/// Two SYNs of a client that cannot make up its mind: only the answer to the last passes.
#[test]
fn only_the_answer_to_the_last_syn_passes() {
    let mut puppet = Puppet::new(V4);
    puppet.syn(Options::default());
    let syn = Outgoing { seq: 4_000, flags: Flags::SYN, window: 1000, ..Outgoing::default() };
    assert_eq!(puppet.send(true, &syn).len(), 1);
    assert_eq!((puppet.engine.flow_count(), puppet.engine.counters().flows_half_open), (1, 1));
    let first = puppet.syn_ack(Options::default());
    assert!(first.iter().all(|left| !left.segment().flags.syn()), "{first:?}");
    assert!(puppet.client(0, b"NOOP\r\n", |_| ()).is_empty(), "nor what follows the first");
    let flags = Flags::SYN.with(Flags::ACK);
    let last = Outgoing { seq: 8, ack: 4_001, flags, window: 1000, ..Outgoing::default() };
    assert_eq!(puppet.send(false, &last).len(), 1);
}
