//! An engine between two ends that do what a test says.

use std::sync::Arc;
use std::time::Duration;

use artifact::model::{Condition, Form, Policy, TopAction, TopClass};
use artifact::smtp::{Base, SmtpPolicy};
use inspect::anomaly::Anomaly;
use inspect::engine::{Config, Engine, Uninspected};
use inspect::event::{EndReason, Record};
use inspect::frame::{Pool, VecMemory};
use inspect::scan::NoPatterns;
use inspect::unit::{Instant, PortId};
use inspect::wire::emit::{self, Outgoing, Template, Toward};
use inspect::wire::{self, Checksums, Flags, Options, Packet, Segment, Timestamps};

use crate::inspecting::inspecting;

pub const CHUNKS: usize = 1024;
pub const CLIENT_ISN: u32 = u32::MAX - 2_000;
pub const SERVER_ISN: u32 = 77;

/// From zone `outside` to zone `inside`, TCP to port 25 is inspected (or a pinhole), UDP passes, the rest does not.
pub fn policy(inspected: bool) -> Policy {
    let mut policy = inspecting(Form::Zone, inspected.then(|| SmtpPolicy::new("mail", Base::None)));
    let mail = &mut policy.paths[0].classes;
    mail.push(TopClass { condition: 1, action: TopAction::Pass { log: false }, ..mail[0].clone() });
    policy.conditions.push(Condition::Protocol(17));
    policy
}

/// Two ends: an address of the client's network and its port, to port 25 of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub is_v6: bool,
    pub client: u32,
    pub port: u16,
}

pub const V4: Ends = Ends { is_v6: false, client: 1, port: 40_000 };
pub const V6: Ends = Ends { is_v6: true, client: 1, port: 40_000 };

impl Ends {
    pub fn template(self) -> Template {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        let [_, high, middle, low] = self.client.to_be_bytes();
        if self.is_v6 {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
            frame.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, high, middle, low, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        } else {
            frame.extend_from_slice(&[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
            frame.extend_from_slice(&[10, high, middle, low, 192, 0, 2, 2]);
        }
        frame.extend_from_slice(&self.port.to_be_bytes());
        frame.extend_from_slice(&[0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
        let Ok(Packet::Tcp(segment)) = wire::parse(&frame, Checksums::Trust) else { panic!("a SYN") };
        Template::capture(&frame, &segment)
    }

    /// A frame from the client (or from the server).
    pub fn frame(self, from_client: bool, outgoing: &Outgoing<'_>) -> Vec<u8> {
        let template = self.template();
        let mut bytes = vec![0; emit::emit_len(&template, outgoing)];
        let toward = if from_client { Toward::Receiver } else { Toward::Sender };
        emit::emit(&template, toward, outgoing, &mut bytes);
        bytes
    }
}

/// A frame that left.
#[derive(Debug, Clone)]
pub struct Left {
    pub port: PortId,
    pub bytes: Vec<u8>,
}

impl Left {
    pub fn segment(&self) -> Segment {
        match wire::parse(&self.bytes, Checksums::Verify) {
            Ok(Packet::Tcp(segment)) => segment,
            other => panic!("{other:?}"),
        }
    }

    pub fn payload(&self) -> &[u8] {
        self.segment().payload(&self.bytes)
    }
}

pub struct Puppet {
    pub engine: Engine<NoPatterns>,
    pub pool: Pool<VecMemory>,
    pub now: Instant,
    pub ends: Ends,
    pub records: Vec<Record>,
    /// Values of timestamps that each side sends next; `None` where the SYNs have none.
    pub clocks: Option<[u32; 2]>,
}

impl Puppet {
    /// One whose sessions are normalised, though nothing is inspected: any octets can be said.
    pub fn new(ends: Ends) -> Self {
        Self::with(ends, false, Config { uninspected: Uninspected::Normalize, ..Config::default() })
    }

    pub fn with(ends: Ends, inspected: bool, config: Config) -> Self {
        let flow_limit = config.flow_limit.min(4096);
        let config = Config { ports: [Some(0), Some(1)], flow_limit, low_water: 16, ..config };
        Self {
            engine: Engine::new(Arc::new(policy(inspected)), NoPatterns, config),
            pool: VecMemory::pool(CHUNKS, 2048),
            now: Instant::from_millis(1_000),
            ends,
            records: Vec::new(),
            clocks: None,
        }
    }

    /// One that has a connection.
    pub fn connected(ends: Ends) -> Self {
        let mut puppet = Self::new(ends);
        puppet.handshake();
        puppet
    }

    pub fn put(&mut self, port: PortId, bytes: &[u8]) -> Vec<Left> {
        let mut frame = self.pool.alloc(0, bytes.len()).expect("frames leak");
        self.pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        let mut out = Vec::new();
        self.engine.receive(self.now, port, frame, &mut self.pool, &mut out);
        self.collect(out)
    }

    /// Puts several frames in at once.
    pub fn put_burst(&mut self, port: PortId, frames: &[Vec<u8>]) -> Vec<Left> {
        let mut burst = Vec::new();
        for bytes in frames {
            let mut frame = self.pool.alloc(0, bytes.len()).expect("frames leak");
            self.pool.bytes_mut(&mut frame).copy_from_slice(bytes);
            burst.push((port, frame));
        }
        let mut out = Vec::new();
        self.engine.receive_burst(self.now, burst.into_iter(), &mut self.pool, &mut out);
        self.collect(out)
    }

    fn collect(&mut self, out: Vec<(PortId, inspect::frame::Sealed)>) -> Vec<Left> {
        self.records.extend(self.engine.journal_mut().drain());
        out.into_iter()
            .map(|(port, sealed)| Left { port, bytes: self.pool.sealed(&sealed).to_vec() })
            .collect()
    }

    /// Lets time pass, with a tick every 50 ms; gives what left.
    pub fn wait(&mut self, time: Duration) -> Vec<Left> {
        let mut left = Vec::new();
        let step = Duration::from_millis(50).max(time / 2_000);
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + step;
            let mut out = Vec::new();
            self.engine.tick(self.now, &mut self.pool, &mut out);
            left.extend(self.collect(out));
        }
        left
    }

    /// Sends a segment of the client (or of the server), with timestamps where they are agreed on.
    pub fn send(&mut self, from_client: bool, outgoing: &Outgoing<'_>) -> Vec<Left> {
        let mut outgoing = *outgoing;
        if outgoing.options.timestamps.is_none()
            && let Some(clocks) = &mut self.clocks
        {
            let [mine, theirs] = if from_client { [0, 1] } else { [1, 0] };
            outgoing.options.timestamps =
                Some(Timestamps { value: clocks[mine], echo: clocks[theirs].wrapping_sub(1) });
            clocks[mine] = clocks[mine].wrapping_add(1);
        }
        let bytes = self.ends.frame(from_client, &outgoing);
        self.put(if from_client { PortId::A } else { PortId::B }, &bytes)
    }

    pub fn syn(&mut self, options: Options) -> Vec<Left> {
        let (seq, flags, window) = (CLIENT_ISN, Flags::SYN, 65_535);
        self.send(true, &Outgoing { seq, flags, window, options, ..Outgoing::default() })
    }

    pub fn syn_ack(&mut self, options: Options) -> Vec<Left> {
        let (seq, ack, window) = (SERVER_ISN, CLIENT_ISN.wrapping_add(1), 65_535);
        let flags = Flags::SYN.with(Flags::ACK);
        self.send(false, &Outgoing { seq, ack, flags, window, options, ..Outgoing::default() })
    }

    pub fn handshake(&mut self) {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: self.clocks.map(|[client, _]| Timestamps { value: client.wrapping_sub(1), echo: 0 }),
            ..Options::default()
        };
        self.syn(options);
        let timestamps = self.clocks.map(|[client, server]| Timestamps {
            value: server.wrapping_sub(1),
            echo: client.wrapping_sub(1),
        });
        self.syn_ack(Options { timestamps, ..options });
        self.client(0, b"", |_| {});
    }

    /// Sends octets of the client at an offset of its stream.
    pub fn client(
        &mut self,
        offset: u32,
        payload: &[u8],
        change: impl FnOnce(&mut Outgoing<'_>),
    ) -> Vec<Left> {
        let mut outgoing = Outgoing {
            seq: CLIENT_ISN.wrapping_add(1).wrapping_add(offset),
            ack: SERVER_ISN + 1,
            flags: Flags::ACK,
            window: 512,
            payload,
            ..Outgoing::default()
        };
        change(&mut outgoing);
        self.send(true, &outgoing)
    }

    /// Sends octets of the server at an offset of its stream; `acked` octets of the client's are acknowledged.
    pub fn server(
        &mut self,
        offset: u32,
        acked: u32,
        payload: &[u8],
        change: impl FnOnce(&mut Outgoing<'_>),
    ) -> Vec<Left> {
        let mut outgoing = Outgoing {
            seq: (SERVER_ISN + 1).wrapping_add(offset),
            ack: CLIENT_ISN.wrapping_add(1).wrapping_add(acked),
            flags: Flags::ACK,
            window: 512,
            payload,
            ..Outgoing::default()
        };
        change(&mut outgoing);
        self.send(false, &outgoing)
    }

    pub fn count(&self, anomaly: Anomaly) -> u64 {
        self.engine.counters().anomalies[anomaly as usize]
    }

    pub fn ended(&self, reason: EndReason) -> u64 {
        self.engine.counters().flows_ended[reason as usize]
    }

    /// Nothing is left: neither flow nor frame.
    pub fn assert_empty(&self) {
        assert_eq!(self.engine.flow_count(), 0, "sessions were left");
        assert_eq!(self.pool.free_count(), CHUNKS, "frames were left");
    }
}
