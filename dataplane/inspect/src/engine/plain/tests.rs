//! What leaves by the plain way would have left by the long one, and the connection is the same afterwards.

use std::sync::Arc;

use artifact::model::{Condition, InspectParameters, Mode, Path, Policy, TopAction, TopClass};
use proptest::prelude::*;

use super::*;
use crate::engine::flow::Lane;
use crate::engine::{Config, Engine, Uninspected};
use crate::flow::FlowIndex;
use crate::frame::{Pool, VecMemory};
use crate::scan::NoPatterns;
use crate::unit::Instant;
use crate::wire::emit::{self, Outgoing, Template, Toward};
use crate::wire::{Options, Packet, Timestamps};

const ISN: [u32; 2] = [u32::MAX - 3, 77];

/// What one end sends: mostly what comes next, sometimes something beside it.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: usize,
    seq: i8,
    ack: i8,
    stamp: i8,
    echo: i8,
    fin: bool,
    psh: bool,
    len: u8,
    window: u16,
}

fn step() -> impl Strategy<Value = Step> {
    let near = || prop_oneof![15 => Just(0i8), 1 => -2i8..3];
    let len = prop_oneof![3 => Just(0u8), 1 => 1u8..5];
    let window = prop_oneof![3 => Just(512u16), 1 => any::<u16>()];
    let flags = (prop::bool::weighted(0.3), any::<bool>());
    (0usize..2, near(), near(), near(), near(), flags, len, window).prop_map(
        |(from, seq, ack, stamp, echo, (fin, psh), len, window)| Step {
            from,
            seq,
            ack,
            stamp,
            echo,
            fin,
            psh,
            len,
            window,
        },
    )
}

/// Follows sessions of anybody, reads none, and puts all segments in order.
struct Gateway {
    engine: Engine<NoPatterns>,
    pool: Pool<VecMemory>,
}

impl Gateway {
    fn new() -> Self {
        let class = TopClass {
            name: "all".into(),
            mode: Mode::Any,
            condition: 0,
            matches: vec![],
            action: TopAction::Inspect { parameters: 0, smtp: None },
            line: 1,
        };
        let (zone_pair, policy) = ("all".into(), "all".into());
        let path = Path { source: None, destination: None, zone_pair, policy, classes: vec![class] };
        let policy = Policy {
            paths: vec![path],
            conditions: vec![Condition::Any],
            parameters: vec![InspectParameters::default()],
            ..Policy::default()
        };
        let config = Config { flow_limit: 4, uninspected: Uninspected::Normalize, ..Config::default() };
        let engine = Engine::new(Arc::new(policy), NoPatterns, config);
        Self { engine, pool: VecMemory::pool(64, 256) }
    }

    fn index(&self) -> Option<FlowIndex> {
        self.engine.table.iter().map(|(index, ..)| index).next()
    }

    fn lane(&self) -> Option<Lane> {
        self.engine.table.get(self.index()?).map(|flow| flow.lane)
    }

    /// What leaves, when a frame comes.
    fn put(&mut self, now: Instant, from: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut frame = self.pool.alloc(0, bytes.len()).expect("a frame");
        self.pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        let mut out = Vec::new();
        self.engine.receive(now, PortId::ALL[from], frame, &mut self.pool, &mut out);
        out.iter().map(|(_, sealed)| self.pool.sealed(sealed).to_vec()).collect()
    }

    /// The same when only the long way is open.
    fn put_long(&mut self, now: Instant, from: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        if let Some(flow) = self.index().and_then(|index| self.engine.table.get_mut(index)) {
            flow.lane = Lane::Closed;
        }
        self.put(now, from, bytes)
    }

    /// Everything that is known.
    fn state(&mut self) -> String {
        let records: Vec<_> = self.engine.journal_mut().drain().collect();
        let flows: Vec<_> = self.engine.table.iter().collect();
        let due = self.index().map(|index| self.engine.timers.due(index));
        let state = format!("{flows:?} {due:?} {:?} {records:?}", self.engine.counters());
        // Since when something is owed means nothing while nothing is.
        let mut parts = state.split("owed: Owed { count: 0, since: Instant(");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |state, part| state + part.split_once(')').map_or(part, |(_, rest)| rest))
    }
}

/// Two ends, and what they have sent.
struct Ends {
    template: Template,
    options: Options,
    sent: [u32; 2],
    clocks: [u32; 2],
}

impl Ends {
    fn new(sack: bool, timestamps: bool) -> Self {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 2]);
        frame.extend_from_slice(&[0x9c, 0x40, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
        let Ok(Packet::Tcp(segment)) = wire::parse(&frame, Checksums::Trust) else { panic!("a SYN") };
        let options = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: sack,
            timestamps: timestamps.then_some(Timestamps::default()),
            ..Options::default()
        };
        Self {
            template: Template::capture(&frame, &segment),
            options,
            sent: [0; 2],
            clocks: [100, 4_000_000_000],
        }
    }

    fn frame(&mut self, step: Step, flags: Flags) -> Vec<u8> {
        let Step { from, seq, ack, stamp, echo, len, window, .. } = step;
        let to = 1 - from;
        let is_syn = flags.syn();
        self.clocks[from] += 1;
        let timestamps = self.options.timestamps.map(|_| Timestamps {
            value: self.clocks[from].wrapping_add_signed(stamp.into()),
            echo: self.clocks[to].wrapping_add_signed(echo.into()),
        });
        let options = if is_syn { self.options } else { Options::default() };
        let outgoing = Outgoing {
            seq: ISN[from].wrapping_add(self.sent[from]).wrapping_add_signed(seq.into()),
            ack: ISN[to].wrapping_add(self.sent[to]).wrapping_add_signed(ack.into()),
            flags,
            window,
            options: Options { timestamps, ..options },
            payload: &b"abcd"[..usize::from(len)],
            ..Outgoing::default()
        };
        let mut bytes = vec![0; emit::emit_len(&self.template, &outgoing)];
        let toward = [Toward::Receiver, Toward::Sender][from];
        emit::emit(&self.template, toward, &outgoing, &mut bytes);
        if seq == 0 {
            self.sent[from] += u32::from(len) + u32::from(flags.fin()) + u32::from(is_syn);
        }
        bytes
    }

    fn handshake(&mut self) -> [(usize, Vec<u8>); 2] {
        let step = Step {
            from: 0,
            seq: 0,
            ack: 0,
            stamp: 0,
            echo: 0,
            fin: false,
            psh: false,
            len: 0,
            window: 60_000,
        };
        let syn = self.frame(step, Flags::SYN);
        [(0, syn), (1, self.frame(Step { from: 1, ..step }, Flags::SYN.with(Flags::ACK)))]
    }
}

fn flags(step: &Step) -> Flags {
    let mut flags = Flags::ACK;
    for (is_set, flag) in [(step.fin, Flags::FIN), (step.psh, Flags::PSH)] {
        if is_set {
            flags = flags.with(flag);
        }
    }
    flags
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn both_ways_come_to_the_same(
        steps in proptest::collection::vec(step(), 1..16),
        sack in any::<bool>(),
        timestamps in any::<bool>(),
    ) {
        let (mut plain, mut long) = (Gateway::new(), Gateway::new());
        let mut ends = Ends::new(sack, timestamps);
        let mut now = Instant::from_millis(1_000);
        for (from, bytes) in ends.handshake() {
            prop_assert_eq!(plain.put(now, from, &bytes), long.put_long(now, from, &bytes));
        }
        for step in steps {
            now = now.after_seconds(1);
            let bytes = ends.frame(step, flags(&step));
            prop_assert_eq!(plain.put(now, step.from, &bytes), long.put_long(now, step.from, &bytes));
            prop_assert_eq!(plain.state(), long.state());
        }
    }
}

#[test]
fn a_session_opens_and_ends_on_the_plain_way() {
    let mut gateway = Gateway::new();
    let mut ends = Ends::new(true, true);
    let now = Instant::from_millis(1_000);
    for (from, bytes) in ends.handshake() {
        assert_eq!(gateway.put(now, from, &bytes), [bytes]);
    }
    let [bare, fin] = [false, true].map(|fin| Step {
        from: 0,
        seq: 0,
        ack: 0,
        stamp: 0,
        echo: 0,
        fin,
        psh: false,
        len: 0,
        window: 512,
    });
    let script = [
        (bare, Lane::Turning, Lane::Read),
        (Step { from: 1, len: 4, ..bare }, Lane::Read, Lane::Read),
        (Step { len: 2, ..bare }, Lane::Read, Lane::Read),
        (Step { from: 1, ..fin }, Lane::Read, Lane::Turning),
        (fin, Lane::Turning, Lane::Turning),
        (Step { from: 1, ..bare }, Lane::Turning, Lane::Turning),
    ];
    for (step, before, after) in script {
        assert_eq!(gateway.lane(), Some(before));
        let bytes = ends.frame(step, flags(&step));
        assert_eq!(gateway.put(now, step.from, &bytes), [bytes], "{step:?}");
        assert_eq!(gateway.lane(), Some(after), "{step:?}");
    }
    let finished = gateway.engine.table.iter().all(|(.., flow)| flow.stage == Stage::Finished);
    assert!(finished && gateway.engine.counters().flows_half_open == 0);
}
