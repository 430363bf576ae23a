//! The invariant of the TCP layer, against peers that play by no rules: **whatever copy of an octet a receiver
//! prefers, it is the same octet, and it left only after every octet before it.** Overlaps, rewritten
//! retransmissions, gaps, wild numbers, odd flags, in any order; with the other side acknowledging at its whim.

mod inspecting;
mod network;
mod receiver;

use std::collections::HashMap;
use std::sync::Arc;

use artifact::model::{Form, Policy};
use artifact::smtp::{Base, SmtpPolicy};
use inspect::engine::{Config, Engine, Uninspected};
use inspect::frame::{Pool, VecMemory};
use inspect::scan::NoPatterns;
use inspect::unit::{Instant, PortId};
use inspect::wire::emit::{self, Outgoing, Template, Toward};
use inspect::wire::{self, Checksums, Flags, Options, Packet, SackBlock, Segment, Timestamps};

use inspecting::inspecting;
use network::Random;
use receiver::{Policy as Overlap, Receiver};

const CHUNKS: usize = 512;
const CLIENT_ISN: u32 = u32::MAX - 2_000;
const SERVER_ISN: u32 = 77;

/// From zone `outside` to zone `inside`: SMTP is inspected, or a pinhole whose octets nobody judges.
fn policy(inspected: bool) -> Policy {
    inspecting(Form::Zone, inspected.then(|| SmtpPolicy::new("mail", Base::None)))
}

/// A client's SYN from which frames of both directions are made.
fn template() -> Template {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend_from_slice(&[0x9c, 0x40, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let Ok(Packet::Tcp(segment)) = wire::parse(&frame, Checksums::Trust) else { panic!("a SYN") };
    Template::capture(&frame, &segment)
}

/// The two ends as a puppeteer moves them, and what each has been given.
struct Stage {
    engine: Engine<NoPatterns>,
    pool: Pool<VecMemory>,
    template: Template,
    now: u64,
    /// Octets by offset, as they left for the server and for the client.
    seen: [HashMap<u32, u8>; 2],
    /// First offset that has not left yet.
    front: [u32; 2],
    octets_left: u64,
    /// Numbers of the SYNs that left last.
    isn: [u32; 2],
    /// The server and the client as every system would be them, each behind a link that loses other frames.
    receivers: [Vec<Receiver>; 2],
    /// The same without a gateway in front of them.
    unprotected: [Vec<Receiver>; 2],
    links: Random,
    /// The SYNs had timestamps.
    timestamps: bool,
    created: u64,
}

fn all_receivers(isn: u32) -> Vec<Receiver> {
    Overlap::ALL.map(|policy| Receiver::new(policy, isn.wrapping_add(1))).into()
}

impl Stage {
    fn new(inspected: bool) -> Self {
        let ports = [Some(0), Some(1)];
        // A pinhole is put in order too: any octets can be said in it.
        let uninspected = if inspected { Uninspected::Pass } else { Uninspected::Normalize };
        let config = Config {
            ports,
            flow_limit: 16,
            low_water: 16,
            held_per_stream: 32,
            uninspected,
            ..Config::default()
        };
        Self {
            engine: Engine::new(Arc::new(policy(inspected)), NoPatterns, config),
            pool: VecMemory::pool(CHUNKS, 2048),
            template: template(),
            now: 0,
            seen: [HashMap::new(), HashMap::new()],
            front: [0; 2],
            octets_left: 0,
            isn: [CLIENT_ISN, SERVER_ISN],
            receivers: [all_receivers(CLIENT_ISN), all_receivers(SERVER_ISN)],
            unprotected: [all_receivers(CLIENT_ISN), all_receivers(SERVER_ISN)],
            links: Random::new(77),
            timestamps: false,
            created: 0,
        }
    }

    /// What reached an application was inspected, at that place, with that value.
    fn check_receivers(&self, seed: u64) {
        for side in 0..2 {
            for receiver in &self.receivers[side] {
                for (offset, octet) in receiver.delivered.iter().enumerate() {
                    let inspected = self.seen[side].get(&(offset as u32));
                    assert_eq!(inspected, Some(octet), "seed {seed}: {:?} at {offset}", receiver.policy);
                }
            }
        }
    }

    /// Octets that receivers without a gateway read differently.
    fn disagreements(&self) -> usize {
        let differ = |receivers: &Vec<Receiver>| {
            receivers
                .iter()
                .filter(|receiver| {
                    let len = receiver.delivered.len().min(receivers[0].delivered.len());
                    receiver.delivered[..len] != receivers[0].delivered[..len]
                })
                .count()
        };
        self.unprotected.iter().map(differ).sum()
    }

    fn send(&mut self, from_client: bool, outgoing: &Outgoing<'_>) {
        let toward = if from_client { Toward::Receiver } else { Toward::Sender };
        let mut bytes = vec![0; emit::emit_len(&self.template, outgoing)];
        emit::emit(&self.template, toward, outgoing, &mut bytes);
        if !outgoing.flags.syn() {
            for receiver in &mut self.unprotected[usize::from(!from_client)] {
                receiver.receive(outgoing.seq, outgoing.payload);
            }
        }
        self.put(if from_client { PortId::A } else { PortId::B }, &bytes);
    }

    /// The same, damaged on its way: an octet that the checksum does not match, or a frame cut short.
    fn send_damaged(&mut self, from_client: bool, outgoing: &Outgoing<'_>, damage: u32) {
        let toward = if from_client { Toward::Receiver } else { Toward::Sender };
        let mut bytes = vec![0; emit::emit_len(&self.template, outgoing)];
        emit::emit(&self.template, toward, outgoing, &mut bytes);
        let place = 14 + damage as usize % (bytes.len() - 14);
        if damage & 1 == 0 {
            bytes[place] ^= 1 << (damage >> 1 & 7);
        } else {
            bytes.truncate(place);
        }
        self.put(if from_client { PortId::A } else { PortId::B }, &bytes);
    }

    /// The same in two IP fragments, of which the second may be altered in a third.
    fn send_in_fragments(&mut self, from_client: bool, outgoing: &Outgoing<'_>, choice: u32) {
        let toward = if from_client { Toward::Receiver } else { Toward::Sender };
        let mut bytes = vec![0; emit::emit_len(&self.template, outgoing)];
        emit::emit(&self.template, toward, outgoing, &mut bytes);
        let (header, payload) = bytes.split_at(34);
        let cut = (24 + choice as usize % 8 * 8).min((payload.len() - 1) / 8 * 8);
        let mut fragments = Vec::new();
        for (from, to) in [(0, cut), (cut, payload.len())] {
            let mut frame = [header, &payload[from..to]].concat();
            let word = (from / 8) as u16 | u16::from(to < payload.len()) << 13;
            frame[16..18].copy_from_slice(&((to - from) as u16 + 20).to_be_bytes());
            frame[18..20].copy_from_slice(&(choice as u16).to_be_bytes());
            frame[20..22].copy_from_slice(&word.to_be_bytes());
            wire::ipv4::fix_checksum(&mut frame[14..34]);
            fragments.push(frame);
        }
        if choice & 64 != 0 {
            let mut other = fragments[1].clone();
            let last = other.len() - 1;
            other[last] ^= 1;
            fragments.insert(1, other);
        }
        if choice & 128 != 0 {
            fragments.reverse();
        }
        for frame in fragments {
            self.put(if from_client { PortId::A } else { PortId::B }, &frame);
        }
    }

    fn put(&mut self, port: PortId, bytes: &[u8]) {
        self.now += 1_000_000;
        let Some(mut frame) = self.pool.alloc(0, bytes.len()) else { panic!("frames leak") };
        self.pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        let mut out = Vec::new();
        let now = Instant::from_nanos(self.now);
        self.engine.receive(now, port, frame, &mut self.pool, &mut out);
        self.engine.tick(now, &mut self.pool, &mut out);
        self.engine.journal_mut().drain().for_each(drop);
        if self.engine.counters().flows_created != self.created {
            // A new connection after the end of the one before, perhaps with the same numbers.
            self.created = self.engine.counters().flows_created;
            for side in 0..2 {
                self.seen[side].clear();
                self.front[side] = 0;
                self.receivers[side] = all_receivers(self.isn[side]);
            }
        }
        for (egress, sealed) in out {
            let bytes = self.pool.sealed(&sealed).to_vec();
            let Ok(Packet::Tcp(segment)) = wire::parse(&bytes, Checksums::Verify) else {
                panic!("what leaves is well-formed, its checksums right")
            };
            self.check(egress, &segment, segment.payload(&bytes));
        }
    }

    fn check(&mut self, egress: PortId, segment: &Segment, payload: &[u8]) {
        let side = usize::from(egress == PortId::A);
        if segment.flags.syn() && segment.seq != self.isn[side] {
            // A new connection, after the end of the one before.
            self.isn[side] = segment.seq;
            self.seen[side].clear();
            self.front[side] = 0;
            self.receivers[side] = all_receivers(segment.seq);
        }
        let isn = self.isn[side];
        assert!(!segment.flags.urg() && segment.urgent == 0);
        assert!(!segment.flags.syn() || payload.is_empty(), "octets on a SYN");
        assert!(!segment.flags.rst() || payload.is_empty(), "octets on a RST");
        let start = segment.seq.wrapping_sub(isn.wrapping_add(1));
        self.octets_left += payload.len() as u64;
        for (index, octet) in payload.iter().enumerate() {
            let offset = start.wrapping_add(index as u32);
            assert!(offset <= self.front[side], "octet {offset} left before {}", self.front[side]);
            let first = *self.seen[side].entry(offset).or_insert(*octet);
            assert_eq!(first, *octet, "two versions of octet {offset}");
            self.front[side] = self.front[side].max(offset + 1);
        }
        if segment.flags.syn() {
            return;
        }
        for receiver in &mut self.receivers[side] {
            // One in four is lost on the way to each.
            if self.links.below(4) != 0 {
                receiver.receive(segment.seq, payload);
            }
        }
    }

    fn handshake(&mut self) {
        let timestamps = self.timestamps.then_some(Timestamps { value: 1, echo: 0 });
        let options = Options { mss: Some(1460), sack_permitted: true, timestamps, ..Options::default() };
        let syn =
            Outgoing { seq: CLIENT_ISN, flags: Flags::SYN, window: 65_535, options, ..Outgoing::default() };
        self.send(true, &syn);
        let answer = Outgoing {
            seq: SERVER_ISN,
            ack: CLIENT_ISN.wrapping_add(1),
            flags: Flags::SYN.with(Flags::ACK),
            window: 65_535,
            options,
            ..Outgoing::default()
        };
        self.send(false, &answer);
        self.send(
            true,
            &Outgoing {
                seq: CLIENT_ISN.wrapping_add(1),
                ack: SERVER_ISN + 1,
                flags: Flags::ACK,
                window: 65_535,
                options: Options { timestamps, ..Options::default() },
                ..Outgoing::default()
            },
        );
    }
}

fn play(seed: u64, inspected: bool) -> Stage {
    let mut random = Random::new(seed);
    let mut stage = Stage::new(inspected);
    stage.timestamps = seed.is_multiple_of(3);
    stage.links = Random::new(!seed);
    stage.handshake();
    // What an honest client would send; a hostile one sends other octets at the same places.
    for _ in 0..400 {
        let from_client = random.below(4) != 0;
        let side = usize::from(!from_client);
        let (isn, other_isn) = (stage.isn[side], stage.isn[1 - side]);
        let front = stage.front[side];
        let len = [0, 1, 3, 40, 400][random.below(5) as usize];
        let offset = match random.below(8) {
            0..4 => front,
            4 | 5 => front.wrapping_sub(random.below(60)),
            6 => front.wrapping_add(random.below(100)),
            _ => random.next() as u32,
        };
        let payload: Vec<u8> = (0..len).map(|_| b"abcdefgh .\r\n"[random.below(12) as usize]).collect();
        let flags = match random.below(60) {
            0 => Flags::FIN.with(Flags::ACK),
            1 => Flags::RST,
            2 => Flags::SYN,
            3 => Flags(random.next() as u8),
            4 => Flags::ACK.with(Flags::URG),
            _ => Flags::ACK,
        };
        let acked = match random.below(6) {
            0 => random.next() as u32,
            1 | 2 => random.below(stage.front[1 - side] + 1),
            // As one of the receivers would say it.
            3 => {
                let receivers = &stage.receivers[1 - side];
                let which = random.below(receivers.len() as u32) as usize;
                receivers[which].delivered.len() as u32
            }
            _ => stage.front[1 - side],
        };
        let window = [65_535, 65_535, 65_535, 100, 0][random.below(5) as usize];
        let stamp =
            Timestamps { value: random.below(50) + stage.now as u32 / 500_000, echo: random.below(3) };
        let block =
            [SackBlock { left: random.next() as u32, right: other_isn.wrapping_add(random.below(3_000)) }];
        let outgoing = Outgoing {
            seq: isn.wrapping_add(1).wrapping_add(offset),
            ack: other_isn.wrapping_add(1).wrapping_add(acked),
            flags,
            window,
            options: Options {
                timestamps: (stage.timestamps != (random.below(40) == 0)).then_some(stamp),
                ..Options::default()
            },
            sack: if random.below(6) == 0 { &block } else { &[] },
            payload: &payload,
        };
        match random.below(20) {
            0 => stage.send_damaged(from_client, &outgoing, random.next() as u32 >> 8),
            1 | 2 => stage.send_in_fragments(from_client, &outgoing, random.next() as u32 >> 8),
            _ => stage.send(from_client, &outgoing),
        }
    }
    stage
}

#[test]
fn receivers_agree_whatever_a_peer_sends() {
    let (mut octets, mut delivered, mut disagreements, mut reassembled) = (0, 0, 0, 0);
    for seed in 0..1_000 {
        let mut stage = play(seed, seed % 4 == 0);
        octets += stage.octets_left;
        stage.check_receivers(seed);
        delivered += stage.receivers.iter().flatten().map(|receiver| receiver.delivered.len()).sum::<usize>();
        disagreements += stage.disagreements();
        reassembled += stage.engine.counters().datagrams_reassembled;
        let counters = stage.engine.counters().clone();
        stage.engine.shut_down(Instant::from_nanos(stage.now));
        assert_eq!(stage.pool.free_count(), CHUNKS, "seed {seed}: frames leaked");
        assert_eq!(stage.engine.counters().flows_active, 0);
        assert!(counters.flows_created >= 1);
    }
    assert!(octets > 200_000, "only {octets} octets got through: the test tests nothing");
    assert!(delivered > 100_000, "only {delivered} octets were delivered: the test tests nothing");
    assert!(disagreements > 500, "without a gateway, receivers disagree only {disagreements} times");
    assert!(reassembled > 5_000, "only {reassembled} datagrams came in fragments");
}

#[test]
fn the_second_version_of_an_octet_never_leaves() {
    let mut stage = Stage::new(false);
    stage.handshake();
    let send = |stage: &mut Stage, offset: u32, payload: &[u8]| {
        stage.send(
            true,
            &Outgoing {
                seq: CLIENT_ISN.wrapping_add(1).wrapping_add(offset),
                ack: SERVER_ISN + 1,
                flags: Flags::ACK,
                window: 1000,
                payload,
                ..Outgoing::default()
            },
        );
    };
    send(&mut stage, 6, b"world\r\n");
    assert_eq!(stage.front[0], 0, "it waits for what comes before");
    send(&mut stage, 0, b"hello ");
    assert_eq!(stage.front[0], 13);
    send(&mut stage, 0, b"HELLO WORLD\r\nmore");
    assert_eq!(stage.front[0], 17);
    let left: Vec<u8> = (0..17).map(|offset| stage.seen[0][&offset]).collect();
    assert_eq!(left, b"hello world\r\nmore");
    assert_eq!(stage.engine.counters().retransmitted_bytes_restored, 10);
}

#[test]
fn icmp_errors_pass_only_for_segments_that_are_under_way() {
    let mut stage = Stage::new(false);
    stage.handshake();
    stage.send(
        true,
        &Outgoing {
            seq: CLIENT_ISN.wrapping_add(1),
            ack: SERVER_ISN + 1,
            flags: Flags::ACK,
            window: 1000,
            payload: b"a segment that is too big for some router",
            ..Outgoing::default()
        },
    );
    // "Fragmentation needed" about a segment of the client's, from a router behind the gateway.
    let error = |seq: u32| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
        let mut outer = [0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 1, 192, 0, 2, 1];
        let sum = wire::checksum::Sum::default().with(&outer).checksum();
        outer[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(&outer);
        frame.extend_from_slice(&[3, 4, 0, 0, 0, 0, 5, 120]);
        frame.extend_from_slice(&[0x45, 0, 5, 220, 0, 0, 0x40, 0, 60, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend_from_slice(&[0x9c, 0x40, 0, 25]);
        frame.extend_from_slice(&seq.to_be_bytes());
        frame
    };
    let mut passes = |port: PortId, bytes: &[u8]| {
        let mut frame = stage.pool.alloc(0, bytes.len()).unwrap();
        stage.pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        let mut out = Vec::new();
        stage.engine.receive(Instant::from_nanos(stage.now), port, frame, &mut stage.pool, &mut out);
        !out.is_empty()
    };
    let under_way = CLIENT_ISN.wrapping_add(1);
    assert!(passes(PortId::B, &error(under_way)));
    assert!(!passes(PortId::B, &error(under_way.wrapping_sub(5))), "acknowledged long ago");
    assert!(!passes(PortId::B, &error(under_way.wrapping_add(100))), "never sent");
    assert!(!passes(PortId::A, &error(under_way)), "from the wrong side");
}

/// More than the numbers there are, in both directions of the count: offsets go on where sequence numbers begin again.
#[test]
fn five_gib_go_through_one_connection() {
    const PIECE: usize = 60_000;
    const CHUNK_LEN: usize = 61_440;
    let config = Config {
        ports: [Some(0), Some(1)],
        flow_limit: 16,
        low_water: 1,
        verify_checksums: false,
        uninspected: Uninspected::Normalize,
        ..Config::default()
    };
    let mut engine = Engine::new(Arc::new(policy(false)), NoPatterns, config);
    let mut pool = VecMemory::pool(8, CHUNK_LEN);
    let template = template();
    let mut out = Vec::new();
    let mut put = |port: PortId, bytes: &[u8]| {
        let mut frame = pool.alloc(0, bytes.len()).expect("what is acknowledged is given back");
        pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        engine.receive(Instant::ZERO, port, frame, &mut pool, &mut out);
        let left = out.drain(..).map(|(port, sealed)| (port, pool.sealed(&sealed).to_vec())).next();
        left.expect("something leaves")
    };
    let made = |from_client: bool, outgoing: &Outgoing<'_>| {
        let mut bytes = vec![0; emit::emit_len(&template, outgoing)];
        let toward = if from_client { Toward::Receiver } else { Toward::Sender };
        emit::emit(&template, toward, outgoing, &mut bytes);
        bytes
    };
    let options = Options { mss: Some(60_000), window_scale: Some(2), ..Options::default() };
    let syn = Outgoing { seq: CLIENT_ISN, flags: Flags::SYN, window: 65_535, options, ..Outgoing::default() };
    put(PortId::A, &made(true, &syn));
    let answer = Outgoing {
        seq: SERVER_ISN,
        ack: CLIENT_ISN.wrapping_add(1),
        flags: Flags::SYN.with(Flags::ACK),
        ..syn
    };
    put(PortId::B, &made(false, &answer));
    let start = CLIENT_ISN.wrapping_add(1);
    let payload = vec![b'a'; PIECE];
    let data = Outgoing {
        seq: start,
        ack: SERVER_ISN + 1,
        flags: Flags::ACK,
        window: 65_535,
        payload: &payload,
        ..Outgoing::default()
    };
    let ack = Outgoing { seq: SERVER_ISN + 1, flags: Flags::ACK, window: 65_535, ..Outgoing::default() };
    // The same frame with other numbers: 5 GiB are not to be summed up.
    let (mut data_frame, mut ack_frame) = (made(true, &data), made(false, &ack));
    let total: u64 = 5 << 30;
    let mut sent = 0_u64;
    while sent < total {
        let seq = start.wrapping_add(sent as u32);
        data_frame[38..42].copy_from_slice(&seq.to_be_bytes());
        let (port, left) = put(PortId::A, &data_frame);
        assert_eq!((port, left.len(), &left[38..42]), (PortId::B, data_frame.len(), &seq.to_be_bytes()[..]));
        sent += PIECE as u64;
        if sent.is_multiple_of(97 * PIECE as u64) || sent > total - 3 * PIECE as u64 {
            // Sent again with another first octet, before it is acknowledged.
            data_frame[54] = b'b';
            let (_, again) = put(PortId::A, &data_frame);
            assert_eq!((&again[38..42], again[54]), (&seq.to_be_bytes()[..], b'a'), "after {sent} octets");
            data_frame[54] = b'a';
        }
        ack_frame[42..46].copy_from_slice(&start.wrapping_add(sent as u32).to_be_bytes());
        put(PortId::B, &ack_frame);
    }
    let sessions: Vec<_> = engine.sessions().collect();
    assert_eq!(sessions[0].bytes[0], sent);
}
