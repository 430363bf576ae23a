//! Limits of sessions, at, below and above: how many of a class, how many half-open, how many to one host.

use std::sync::Arc;
use std::time::Duration;

use artifact::model::{
    Condition, Form, InspectParameters, Mode, Path, Policy, PortName, Thresholds, TopAction, TopClass,
};
use inspect::engine::limits::HOST_LIMIT;
use inspect::engine::{Config, Engine};
use inspect::event::{Body, EndReason, Limit};
use inspect::frame::{Pool, VecMemory};
use inspect::scan::NoPatterns;
use inspect::unit::{Instant, PortId};
use inspect::wire::emit::{self, Outgoing, Template, Toward};
use inspect::wire::{self, Checksums, Flags, Packet, Segment};

const CHUNKS: usize = 1024;
const CLIENT_ISN: u32 = 1000;
const SERVER_ISN: u32 = 5000;

/// TCP from zone `outside` to zone `inside` is followed, under these limits; or the classic form with two rules.
fn policy(form: Form, parameters: InspectParameters) -> Policy {
    let class = |name: &str| TopClass {
        name: name.into(),
        mode: Mode::Any,
        condition: 0,
        matches: vec![],
        action: TopAction::Inspect { parameters: 0, smtp: None },
        line: 1,
    };
    let path = |source, destination, name: &str| Path {
        source,
        destination,
        zone_pair: name.into(),
        policy: name.into(),
        classes: vec![class(name)],
    };
    let classic = form == Form::Classic;
    let paths = match form {
        Form::Zone => vec![path(Some(0), Some(1), "in"), path(Some(1), Some(0), "out")],
        Form::Classic => vec![path(Some(0), None, "in"), path(Some(1), None, "out")],
    };
    assert_eq!(classic, paths[0].destination.is_none());
    Policy {
        form,
        ports: ["outside", "inside"].map(|name| PortName { name: name.into(), interfaces: vec![] }).into(),
        paths,
        conditions: vec![Condition::All(vec![])],
        parameters: vec![parameters],
        smtp_ports: vec![25],
        ..Policy::default()
    }
}

/// A connection: number of the client, number of the server, port of the gateway that the client is at.
#[derive(Debug, Clone, Copy)]
struct Call(u32, u16, PortId);

fn template(Call(client, server, _): Call) -> Template {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let [_, high, middle, low] = client.to_be_bytes();
    let [server_high, server_low] = server.to_be_bytes();
    frame.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend_from_slice(&[10, high, middle, low, 192, 168, server_high, server_low]);
    frame.extend_from_slice(&[0x9c, 0x40, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let Ok(Packet::Tcp(segment)) = wire::parse(&frame, Checksums::Trust) else { panic!("a SYN") };
    Template::capture(&frame, &segment)
}

struct Lab {
    engine: Engine<NoPatterns>,
    pool: Pool<VecMemory>,
    now: Instant,
    /// What left since the last look.
    left: Vec<(PortId, Segment)>,
    limits: Vec<Limit>,
    evicted: Vec<u32>,
}

impl Lab {
    fn new(parameters: InspectParameters) -> Self {
        Self::with(Form::Zone, parameters)
    }

    fn with(form: Form, parameters: InspectParameters) -> Self {
        let ports = [Some(0), Some(1)];
        let config = Config { ports, flow_limit: 16_384, low_water: 16, ..Config::default() };
        Self {
            engine: Engine::new(Arc::new(policy(form, parameters)), NoPatterns, config),
            pool: VecMemory::pool(CHUNKS, 2048),
            now: Instant::from_millis(1_000),
            left: Vec::new(),
            limits: Vec::new(),
            evicted: Vec::new(),
        }
    }

    fn collect(&mut self, out: Vec<(PortId, inspect::frame::Sealed)>) {
        for (egress, sealed) in out {
            let bytes = self.pool.sealed(&sealed).to_vec();
            let Ok(Packet::Tcp(segment)) = wire::parse(&bytes, Checksums::Verify) else { panic!("TCP") };
            self.left.push((egress, segment));
        }
        for record in self.engine.journal_mut().drain() {
            match record.body {
                Body::Limit(limit) => {
                    assert!(record.flow.is_some(), "every report has its ends");
                    self.limits.push(limit);
                }
                Body::FlowEnd(end) if end.reason == EndReason::Evicted => {
                    let client = record.flow.expect("a session").client.address;
                    self.evicted.push(u32::from_be_bytes([0, client[13], client[14], client[15]]));
                }
                _ => {}
            }
        }
    }

    /// Whether something left by the other port.
    fn send(&mut self, call: Call, from_client: bool, flags: Flags) -> bool {
        let toward = if from_client { Toward::Receiver } else { Toward::Sender };
        let (seq, ack) = if from_client { (CLIENT_ISN, SERVER_ISN) } else { (SERVER_ISN, CLIENT_ISN) };
        let outgoing = Outgoing {
            seq: seq + u32::from(!flags.syn()),
            ack: if flags.ack() { ack + 1 } else { 0 },
            flags,
            window: 65_535,
            ..Outgoing::default()
        };
        let template = template(call);
        let mut bytes = vec![0; emit::emit_len(&template, &outgoing)];
        emit::emit(&template, toward, &outgoing, &mut bytes);
        let ingress = if from_client { call.2 } else { call.2.other() };
        let mut frame = self.pool.alloc(0, bytes.len()).expect("frames leak");
        self.pool.bytes_mut(&mut frame).copy_from_slice(&bytes);
        let mut out = Vec::new();
        self.engine.receive(self.now, ingress, frame, &mut self.pool, &mut out);
        let from = self.left.len();
        self.collect(out);
        self.left[from..].iter().any(|(egress, left)| *egress == ingress.other() && left.flags == flags)
    }

    fn syn(&mut self, call: Call) -> bool {
        self.send(call, true, Flags::SYN)
    }

    /// Whether a whole handshake gets through.
    fn establish(&mut self, call: Call) -> bool {
        self.syn(call)
            && self.send(call, false, Flags::SYN.with(Flags::ACK))
            && self.send(call, true, Flags::ACK)
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        let mut out = Vec::new();
        self.engine.tick(self.now, &mut self.pool, &mut out);
        self.collect(out);
    }

    fn half_open(&self) -> u64 {
        self.engine.counters().flows_half_open
    }

    fn reports(&mut self) -> Vec<&'static str> {
        self.limits.drain(..).map(Limit::mnemonic).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.engine.shut_down(self.now);
            assert_eq!(self.pool.free_count(), CHUNKS, "frames leaked");
            assert_eq!(self.engine.counters().flows_half_open, 0);
            assert_eq!(self.engine.journal_mut().lost_count, 0);
        }
    }
}

fn call(client: u32) -> Call {
    Call(client, 1, PortId::A)
}

fn incomplete(low: u32, high: u32) -> InspectParameters {
    InspectParameters { max_incomplete: Some(Thresholds { low, high }), ..InspectParameters::default() }
}

#[test]
fn without_limits_nothing_is_deleted() {
    let mut lab = Lab::new(InspectParameters::default());
    assert!((0..1000).all(|client| lab.syn(call(client))));
    lab.wait(Duration::from_millis(1));
    assert_eq!((lab.half_open(), lab.reports().len(), lab.evicted.len()), (1000, 0, 0));
}

#[test]
fn a_class_has_no_more_sessions_than_its_maximum() {
    let mut lab = Lab::new(InspectParameters { sessions_maximum: Some(3), ..InspectParameters::default() });
    assert!((0..3).all(|client| lab.establish(call(client))));
    assert_eq!(lab.reports(), [""; 0], "at the maximum nothing is refused");
    assert!(!lab.syn(call(3)) && !lab.syn(call(4)));
    assert_eq!(lab.reports(), ["SESSIONS_MAXIMUM"], "once");
    assert!(lab.establish(Call(9, 1, PortId::B)), "the other class has room");
    assert_eq!(lab.engine.counters().dropped_sessions_maximum, 2);
    assert!(lab.send(call(1), true, Flags::RST), "one ends");
    lab.wait(Duration::from_secs(6));
    assert!(lab.syn(call(3)) && !lab.syn(call(4)));
    assert_eq!(lab.reports(), ["SESSIONS_MAXIMUM"], "and once again");
    assert_eq!(lab.evicted.len(), 0);
}

#[test]
fn a_class_knows_its_most_sessions_and_how_fast_they_come() {
    let mut lab = Lab::new(InspectParameters { tcp_finwait_time: 1, ..InspectParameters::default() });
    let level = |lab: &mut Lab, wanted: u16| {
        let mut found = None;
        lab.engine.levels(lab.now, |_, path, class, level| {
            assert_eq!(class, 0, "there is one in each path");
            found = if path == wanted { Some(level) } else { found };
        });
        found.expect("the class of the path")
    };
    assert!((0..5).all(|client| lab.syn(call(client))));
    assert!((0..3).all(|client| {
        lab.send(call(client), false, Flags::SYN.with(Flags::ACK)) && lab.send(call(client), true, Flags::ACK)
    }));
    assert!(lab.establish(Call(9, 1, PortId::B)), "the other class counts its own");
    let now = level(&mut lab, 0);
    assert_eq!((now.most, now.begun, now.most_begun, now.octets), ([5, 3, 0], 5, 5, 0));
    assert_eq!(level(&mut lab, 1).most, [1, 1, 0]);
    assert!(lab.send(call(0), true, Flags::RST.with(Flags::ACK)));
    lab.wait(Duration::from_secs(40));
    assert!(lab.syn(call(20)));
    let now = level(&mut lab, 0);
    assert_eq!((now.most, now.begun, now.most_begun), ([5, 3, 1], 6, 6));
    lab.wait(Duration::from_secs(50));
    let now = level(&mut lab, 0);
    assert_eq!((now.most, now.begun, now.most_begun), ([5, 3, 1], 1, 6), "what was most stays");
}

#[test]
fn above_high_the_oldest_half_open_sessions_go_until_low() {
    let mut lab = Lab::new(incomplete(4, 10));
    assert!((0..10).all(|client| lab.syn(call(client))));
    lab.wait(Duration::from_millis(1));
    assert_eq!((lab.half_open(), lab.reports().len()), (10, 0), "at `high` nothing happens");
    assert!(lab.syn(call(10)));
    let on = lab.limits[0];
    assert_eq!(on, Limit::Aggressive { on: true, half_open: 11, high: Some(10), per_minute: 11 });
    assert_eq!(lab.evicted, [0, 1], "a few at a time");
    lab.wait(Duration::from_millis(1));
    assert_eq!(lab.half_open(), 4);
    assert_eq!(lab.evicted, [0, 1, 2, 3, 4, 5, 6], "oldest first");
    assert_eq!(lab.reports(), ["ALERT_ON", "ALERT_OFF"]);
    // Below `high` again, nothing goes.
    assert!((11..17).all(|client| lab.syn(call(client))));
    lab.wait(Duration::from_millis(1));
    assert_eq!((lab.half_open(), lab.reports().len()), (10, 0));
    assert_eq!(lab.engine.counters().flows_ended[EndReason::Evicted as usize], 7);
}

#[test]
fn both_sides_of_a_deleted_session_are_told() {
    let mut lab = Lab::new(incomplete(1, 2));
    lab.syn(call(0));
    lab.syn(call(1));
    lab.send(call(1), false, Flags::SYN.with(Flags::ACK));
    lab.left.clear();
    lab.syn(call(2));
    lab.wait(Duration::from_millis(1));
    let resets: Vec<_> = lab.left.iter().filter(|(_, segment)| segment.flags.rst()).collect();
    assert_eq!(lab.evicted, [0, 1]);
    let told = |egress| resets.iter().filter(move |(port, _)| *port == egress).map(|(_, segment)| segment);
    assert!(told(PortId::A).all(|to_client| to_client.flags.ack() && to_client.ack == CLIENT_ISN + 1));
    assert!(told(PortId::B).all(|to_server| to_server.seq == CLIENT_ISN + 1));
    assert_eq!(told(PortId::A).map(|to_client| to_client.seq).collect::<Vec<_>>(), [0, SERVER_ISN + 1]);
    assert_eq!(told(PortId::B).count(), 2);
}

#[test]
fn established_sessions_do_not_count_and_are_never_deleted() {
    let mut lab = Lab::new(incomplete(1, 2));
    assert!((0..50).all(|client| lab.establish(call(client))));
    assert!((50..90).all(|client| lab.syn(call(client))));
    lab.wait(Duration::from_millis(1));
    assert!(lab.evicted.iter().all(|client| *client >= 50));
    assert_eq!(lab.engine.counters().flows_active, 50 + lab.half_open());
    assert!((0..50).all(|client| lab.send(call(client), true, Flags::ACK)));
}

#[test]
fn a_handshake_gets_through_a_flood() {
    let mut lab = Lab::new(incomplete(100, 200));
    let mut flood = 1000..;
    let mut spill = |lab: &mut Lab| {
        for client in flood.by_ref().take(60) {
            assert!(lab.syn(call(client)));
        }
        lab.wait(Duration::from_millis(1));
    };
    for honest in 0..200 {
        spill(&mut lab);
        assert!(lab.syn(call(honest)), "SYN of {honest}");
        spill(&mut lab);
        assert!(lab.send(call(honest), false, Flags::SYN.with(Flags::ACK)), "answer to {honest}");
        assert!(lab.send(call(honest), true, Flags::ACK), "handshake of {honest}");
        assert!(lab.half_open() <= 201);
        lab.left.clear();
    }
    assert!(lab.evicted.iter().all(|client| *client >= 1000));
    assert!(lab.evicted.len() > 20_000, "{}", lab.evicted.len());
    assert_eq!(lab.engine.counters().flows_active, 200 + lab.half_open());
}

#[test]
fn while_too_many_begin_in_a_minute_each_takes_the_place_of_the_oldest() {
    let one_minute = Some(Thresholds { low: 5, high: 10 });
    let mut lab = Lab::new(InspectParameters { one_minute, ..InspectParameters::default() });
    assert!((0..10).all(|client| lab.syn(call(client))));
    assert_eq!((lab.reports().len(), lab.half_open()), (0, 10));
    lab.wait(Duration::from_secs(20));
    assert!((10..13).all(|client| lab.syn(call(client))));
    assert_eq!((lab.half_open(), lab.evicted.as_slice()), (10, [0, 1, 2].as_slice()));
    assert_eq!(lab.limits, [Limit::Aggressive { on: true, half_open: 11, high: None, per_minute: 11 }]);
    lab.limits.clear();
    // 20 seconds later all have run out of time, but the minute is not over.
    lab.wait(Duration::from_secs(39));
    assert_eq!(lab.reports(), [""; 0]);
    lab.wait(Duration::from_secs(1));
    assert_eq!(lab.limits, [Limit::Aggressive { on: false, half_open: 0, high: None, per_minute: 3 }]);
    assert!((20..25).all(|client| lab.syn(call(client))));
    assert_eq!((lab.half_open(), lab.evicted.len()), (5, 3));
}

fn to_host(limit: u32, minutes: u32) -> InspectParameters {
    InspectParameters { max_incomplete_host: Some((limit, minutes)), ..InspectParameters::default() }
}

#[test]
fn at_a_hosts_limit_the_oldest_session_to_it_makes_room() {
    for limit in [1, 5] {
        let mut lab = Lab::new(to_host(limit, 0));
        assert!(lab.syn(Call(999, 2, PortId::A)), "another host's");
        assert!((0..limit).all(|client| lab.syn(call(client))));
        assert_eq!((lab.limits.len(), lab.evicted.len()), (0, 0), "at the limit nothing happens");
        assert!((limit..limit + 7).all(|client| lab.syn(call(client))));
        assert_eq!(lab.evicted, (0..7).collect::<Vec<_>>(), "oldest first, none of the other host");
        assert_eq!(lab.limits, [Limit::HostAlert { limit }], "reported once");
        assert_eq!(lab.half_open(), u64::from(limit) + 1);
        // All run out of time; then it is reported anew.
        lab.wait(Duration::from_secs(31));
        assert_eq!(lab.half_open(), 0);
        assert!((100..101 + limit).all(|client| lab.syn(call(client))));
        assert_eq!(lab.reports(), ["HOST_TCP_ALERT_ON"; 2]);
    }
}

#[test]
fn a_host_with_a_block_time_is_blocked_and_unblocked() {
    let mut lab = Lab::new(to_host(4, 2));
    assert!(lab.establish(call(900)));
    assert!((0..4).all(|client| lab.syn(call(client))));
    assert_eq!(lab.limits, []);
    assert!(!lab.syn(call(4)));
    lab.wait(Duration::from_millis(1));
    assert_eq!(lab.limits, [Limit::HostAlert { limit: 4 }, Limit::HostBlocked { limit: 4, minutes: 2 }]);
    assert_eq!((lab.evicted.as_slice(), lab.half_open()), ([0, 1, 2, 3].as_slice(), 0));
    assert!(lab.send(call(900), true, Flags::ACK), "what is established goes on");
    assert!(lab.syn(Call(901, 2, PortId::A)), "another host is not blocked");
    lab.limits.clear();
    lab.wait(Duration::from_millis(119_998));
    assert!(!lab.syn(call(5)));
    assert_eq!(lab.limits, []);
    lab.wait(Duration::from_millis(1));
    assert_eq!(lab.limits, [Limit::HostUnblocked]);
    assert!(lab.establish(call(5)));
    assert_eq!(lab.engine.counters().dropped_host_blocked, 2);
    // A SYN may come before the tick.
    assert!((10..14).all(|client| lab.syn(call(client))) && !lab.syn(call(14)));
    lab.wait(Duration::from_millis(1));
    lab.now = lab.now + Duration::from_secs(120);
    assert!(lab.syn(call(15)));
    assert_eq!(lab.reports(), ["UNBLOCK_HOST", "HOST_TCP_ALERT_ON", "BLOCK_HOST", "UNBLOCK_HOST"]);
}

#[test]
fn more_hosts_than_can_be_counted_do_not_open_more_sessions() {
    let mut lab = Lab::new(to_host(50, 0));
    let hosts = HOST_LIMIT as u32;
    for client in 0..hosts {
        assert!(lab.syn(Call(client, client as u16, PortId::A)));
        lab.left.clear();
    }
    assert_eq!((lab.half_open(), lab.evicted.len()), (u64::from(hosts), 0));
    // The table is full: one more host's session takes the oldest one's place (whose host is then forgotten).
    for more in 0..100 {
        assert!(lab.syn(Call(hosts + more, (hosts + more) as u16, PortId::A)));
    }
    assert_eq!(lab.half_open(), u64::from(hosts));
    assert_eq!(lab.evicted, (0..100).collect::<Vec<_>>());
    assert_eq!(lab.engine.counters().untracked_hosts, 100);
}

#[test]
fn the_limits_of_the_classic_form_are_global() {
    let counted = |form| {
        let mut lab = Lab::with(form, incomplete(2, 4));
        for client in 0..3 {
            assert!(lab.syn(Call(client, 1, PortId::A)) && lab.syn(Call(100 + client, 1, PortId::B)));
        }
        lab.reports()
    };
    assert_eq!(counted(Form::Zone), [""; 0]);
    assert_eq!(counted(Form::Classic)[..1], ["ALERT_ON"]);
}

#[test]
fn sessions_of_an_older_artifact_are_still_counted_where_they_began() {
    let mut lab = Lab::new(InspectParameters::default());
    assert!(lab.syn(call(0)), "one that no limit knows");
    let limited = policy(Form::Zone, InspectParameters { sessions_maximum: Some(1), ..incomplete(1, 2) });
    lab.engine.reload(Arc::new(limited.clone()), NoPatterns, [Some(0), Some(1)]).unwrap();
    assert!(lab.syn(call(1)) && !lab.syn(call(2)));
    lab.engine.reload(Arc::new(limited), NoPatterns, [Some(0), Some(1)]).unwrap();
    assert!(lab.syn(call(3)) && !lab.syn(call(4)), "a new artifact counts anew");
    lab.wait(Duration::from_secs(31));
    assert_eq!(lab.half_open(), 0);
    assert!(lab.syn(call(5)));
}

#[test]
fn all_limits_together_hold_through_reloads() {
    let limited = InspectParameters {
        one_minute: Some(Thresholds { low: 300, high: 600 }),
        sessions_maximum: Some(60),
        max_incomplete_host: Some((6, 0)),
        ..incomplete(10, 20)
    };
    let blocking = InspectParameters { max_incomplete_host: Some((6, 1)), ..limited.clone() };
    let mut lab = Lab::new(limited.clone());
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..30_000 {
        let port = PortId::ALL[random(2) as usize];
        let call = Call(random(400) as u32 + 1000 * (1 + port as u32), random(12) as u16, port);
        match random(100) {
            0..50 => drop(lab.syn(call)),
            50..60 => drop(lab.establish(call)),
            60..70 => drop(lab.send(call, false, Flags::SYN.with(Flags::ACK))),
            70..75 => drop(lab.send(call, true, Flags::ACK)),
            75..85 => drop(lab.send(call, true, Flags::RST)),
            85..99 => lab.wait(Duration::from_millis(random(2_000))),
            _ if random(20) == 0 => {
                let next = [&limited, &blocking, &InspectParameters::default()][random(3) as usize].clone();
                let next = Arc::new(policy(Form::Zone, next));
                // Too many artifacts in use is an answer too.
                let _ = lab.engine.reload(next, NoPatterns, [Some(0), Some(1)]);
            }
            _ => {}
        }
        lab.left.clear();
    }
    for kind in
        ["ALERT_ON", "ALERT_OFF", "SESSIONS_MAXIMUM", "HOST_TCP_ALERT_ON", "BLOCK_HOST", "UNBLOCK_HOST"]
    {
        assert!(lab.limits.iter().any(|limit| limit.mnemonic() == kind), "{kind} did not happen");
    }
    lab.wait(Duration::from_secs(31));
    assert_eq!(lab.half_open(), 0);
}
