//! One TCP connection as the gateway sees it: both ends' segments, in the order they pass.
//!
//! The ends behave as common stacks do: timestamps, window scale, an acknowledgement for every second segment, a dozen
//! segments in flight, an answer carries the last acknowledgement. Nothing is lost on the way, unless a [`Turn`]
//! asks for trouble.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::Range;

use inspect::unit::Direction;
use inspect::wire::emit::{Outgoing, Template, Toward, emit, emit_len};
use inspect::wire::{
    Checksums, Endpoint, Flags, Options, Packet, Timestamps, ethernet, ipv4, ipv6, parse, tcp,
};

/// Segments under way before the sender waits for an acknowledgement: a usual initial window and a bit.
const FLIGHT: usize = 12;
/// Octets of a TCP header with timestamps.
const TCP_LEN: usize = tcp::HEADER_LEN + 12;
/// Octets of an IP packet on Ethernet.
const MTU: usize = 1500;
/// Window in SYN and, shifted by [`WINDOW_SCALE`], afterwards.
const WINDOW: [u16; 2] = [64_240, 502];
const WINDOW_SCALE: u8 = 7;

/// Octets that one end says before it is the other's turn.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Who speaks.
    pub speaker: Direction,
    /// What.
    pub octets: Vec<u8>,
    /// How it is cut into segments.
    pub style: Style,
}

/// How octets are cut into segments, and what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Full segments, in order, each once.
    #[default]
    Plain,
    /// An octet per segment.
    Octets,
    /// Pairs of segments of at most 100 octets change places.
    Reordered,
    /// Every segment, of at most 100 octets, comes twice.
    Repeated,
    /// Every segment, of at most 100 octets, comes a second time with other octets in it.
    Inconsistent,
    /// Segments of at most 100 octets; each begins with the last 20 octets of the one before, some of them changed.
    Overlapping,
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// Who opens the connection.
    pub client: (IpAddr, u16),
    /// Whom it is opened to; of the same family.
    pub server: (IpAddr, u16),
    /// Initial sequence numbers.
    pub isn: [u32; 2],
    /// What the timestamp clocks show at time zero.
    pub clocks: [u32; 2],
}

/// A segment that is to be sent.
#[derive(Debug, Clone)]
struct Step {
    from: Direction,
    flags: Flags,
    /// Sequence number of the first octet.
    seq: u32,
    /// Acknowledgement; `None` is all that the other end has sent.
    ack: Option<u32>,
    /// Octets of the turn.
    payload: Range<usize>,
    /// The octets are changed on the way.
    changed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Talking,
    Closed,
}

/// Both ends of a connection.
#[derive(Debug)]
pub struct Connection {
    template: Template,
    segment_len: usize,
    /// Next sequence number of each end.
    next: [u32; 2],
    clocks: [u32; 2],
    /// The timestamp that each end sent last.
    stamps: [u32; 2],
    turns: VecDeque<Turn>,
    /// The octets that the steps are cut from.
    current: Vec<u8>,
    steps: VecDeque<Step>,
    phase: Phase,
}

impl Connection {
    /// A connection that is yet to be opened; it is closed, server first, after the last of `turns`.
    #[must_use]
    pub fn new(ends: &Ends, turns: impl Into<VecDeque<Turn>>) -> Self {
        let template = template(ends);
        let is_v6 = ends.client.0.is_ipv6();
        let ip_len = if is_v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let mut connection = Self {
            template,
            segment_len: MTU - ip_len - TCP_LEN,
            next: ends.isn,
            clocks: ends.clocks,
            stamps: [0; 2],
            turns: turns.into(),
            current: Vec::new(),
            steps: VecDeque::new(),
            phase: Phase::Opening,
        };
        connection.plan();
        connection
    }

    /// Says something more before it is closed.
    pub fn say(&mut self, turn: Turn) {
        self.turns.push_back(turn);
    }

    /// Acknowledges all that this end has received, by a segment of its own. Only when the connection is quiet.
    pub fn settle(&mut self, end: Direction) {
        debug_assert!(self.is_quiet());
        self.bare(end, Flags::ACK, 0);
    }

    /// Whether everything that was to be said has been; only the closing is left.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.phase == Phase::Talking && self.turns.is_empty() && self.steps.is_empty()
    }

    /// Who sends the next segment; `None` when the connection is closed.
    #[must_use]
    pub fn speaker(&mut self) -> Option<Direction> {
        if self.steps.is_empty() {
            self.plan();
        }
        self.steps.front().map(|step| step.from)
    }

    /// Writes the next segment to `frame`, in place of what was there, and says where its payload stands; `None` when
    /// the connection is closed.
    pub fn emit(&mut self, now_millis: u32, frame: &mut Vec<u8>) -> Option<Range<usize>> {
        self.speaker()?;
        let step = self.steps.pop_front()?;
        let from = step.from.index();
        let stamp = self.clocks[from].wrapping_add(now_millis);
        let is_syn = step.flags.syn();
        let mut options = Options {
            timestamps: Some(Timestamps { value: stamp, echo: self.stamps[1 - from] }),
            ..Options::default()
        };
        if is_syn {
            let mss = self.segment_len + TCP_LEN - tcp::HEADER_LEN;
            options.mss = u16::try_from(mss).ok();
            options.window_scale = Some(WINDOW_SCALE);
            options.sack_permitted = true;
        }
        self.stamps[from] = stamp;
        let changed: Vec<u8>;
        let mut payload = &self.current[step.payload];
        if step.changed {
            changed = payload.iter().map(|octet| octet ^ 1).collect();
            payload = &changed;
        }
        let outgoing = Outgoing {
            seq: step.seq,
            ack: match step.ack {
                _ if !step.flags.ack() => 0,
                Some(ack) => ack,
                None => self.next[1 - from],
            },
            flags: step.flags,
            window: WINDOW[usize::from(!is_syn)],
            options,
            sack: &[],
            payload,
        };
        let toward = match step.from {
            Direction::ClientToServer => Toward::Receiver,
            Direction::ServerToClient => Toward::Sender,
        };
        frame.clear();
        frame.resize(emit_len(&self.template, &outgoing), 0);
        emit(&self.template, toward, &outgoing, frame);
        let end = step
            .seq
            .wrapping_add(payload.len() as u32)
            .wrapping_add(u32::from(is_syn) + u32::from(step.flags.fin()));
        if end.wrapping_sub(self.next[from]) < 1 << 31 {
            self.next[from] = end;
        }
        Some(frame.len() - payload.len()..frame.len())
    }

    /// Fills the list of steps with what comes next.
    fn plan(&mut self) {
        use Direction::{ClientToServer, ServerToClient};
        match self.phase {
            Phase::Opening => {
                self.bare(ClientToServer, Flags::SYN, 0);
                self.bare(ServerToClient, Flags::SYN.with(Flags::ACK), 0);
                self.bare(ClientToServer, Flags::ACK, 1);
                self.phase = Phase::Talking;
            }
            Phase::Talking => match self.turns.pop_front() {
                Some(turn) => self.cut(turn),
                None => {
                    let fin = Flags::FIN.with(Flags::ACK);
                    self.bare(ServerToClient, fin, 0);
                    self.bare(ClientToServer, fin, 0);
                    self.bare(ServerToClient, Flags::ACK, 1);
                    self.phase = Phase::Closed;
                }
            },
            Phase::Closed => {}
        }
    }

    /// A segment without octets; `ahead` is how many numbers the planned ones before it take.
    fn bare(&mut self, from: Direction, flags: Flags, ahead: u32) {
        let seq = self.next[from.index()].wrapping_add(ahead);
        self.steps.push_back(Step { from, flags, seq, ack: None, payload: 0..0, changed: false });
    }

    /// Plans the segments of a turn.
    fn cut(&mut self, turn: Turn) {
        let Turn { speaker: from, octets, style } = turn;
        let start = self.next[from.index()];
        let limit = match style {
            Style::Plain => self.segment_len,
            Style::Octets => 1,
            _ => 100,
        };
        let len = octets.len();
        let segment = |range: Range<usize>, changed: bool| Step {
            from,
            flags: if range.end == len { Flags::PSH.with(Flags::ACK) } else { Flags::ACK },
            seq: start.wrapping_add(range.start as u32),
            ack: None,
            payload: range,
            changed,
        };
        self.current = octets;
        let mut in_flight = 0;
        let mut acks = VecDeque::new();
        let mut at = 0;
        let mut count = 0;
        while at < len {
            let end = (at + limit).min(len);
            match style {
                Style::Plain | Style::Octets => self.steps.push_back(segment(at..end, false)),
                Style::Repeated | Style::Inconsistent => {
                    self.steps.push_back(segment(at..end, false));
                    self.steps.push_back(segment(at..end, style == Style::Inconsistent));
                }
                Style::Reordered => {
                    self.steps.push_back(segment(at..end, false));
                    if count % 2 == 1 {
                        self.steps.swap(count - 1, count);
                    }
                }
                Style::Overlapping => {
                    if at >= 20 {
                        self.steps.push_back(segment(at - 20..at, true));
                    }
                    self.steps.push_back(segment(at.saturating_sub(20)..end, false));
                }
            }
            at = end;
            count += 1;
            in_flight += 1;
            if count % 2 == 0 {
                acks.push_back(start.wrapping_add(at as u32));
            }
            if in_flight >= FLIGHT
                && style != Style::Reordered
                && let Some(ack) = acks.pop_front()
            {
                self.acknowledge(from.reverse(), ack);
                in_flight -= 2;
            }
        }
        // The last acknowledgement comes with the answer, or with FIN.
        if acks.back() == Some(&start.wrapping_add(len as u32)) {
            acks.pop_back();
        }
        for ack in acks {
            self.acknowledge(from.reverse(), ack);
        }
    }

    fn acknowledge(&mut self, from: Direction, ack: u32) {
        let seq = self.next[from.index()];
        let step = Step { from, flags: Flags::ACK, seq, ack: Some(ack), payload: 0..0, changed: false };
        self.steps.push_back(step);
    }
}

/// What the frames of a connection have in common, taken from a bare segment written by hand.
fn template(ends: &Ends) -> Template {
    const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x19], [2, 0, 0, 0, 0, 0x01]];
    let (client, server) =
        (Endpoint::new(ends.client.0, ends.client.1), Endpoint::new(ends.server.0, ends.server.1));
    let is_v6 = ends.client.0.is_ipv6();
    let ethertype = if is_v6 { ethernet::ethertype::IPV6 } else { ethernet::ethertype::IPV4 };
    let tcp_len = tcp::HEADER_LEN as u16;
    let mut frame = MACS.concat();
    frame.extend(ethertype.to_be_bytes());
    if is_v6 {
        let mut octets = [0; ipv6::HEADER_LEN];
        ipv6::Header(&mut octets).emit(&client.address, &server.address, 6, 64, tcp_len);
        frame.extend(octets);
    } else {
        let v4 = |endpoint: &Endpoint| {
            let [.., a, b, c, d] = endpoint.address;
            [a, b, c, d]
        };
        let mut octets = [0; ipv4::HEADER_LEN];
        let total_len = ipv4::HEADER_LEN as u16 + tcp_len;
        ipv4::Header(&mut octets).emit(v4(&client), v4(&server), 6, 64, total_len);
        frame.extend(octets);
    }
    let mut octets = [0; tcp::HEADER_LEN];
    let mut header = tcp::Header(&mut octets);
    header.set_ports(client.port, server.port);
    header.set_header_len(tcp::HEADER_LEN);
    frame.extend(octets);
    match parse(&frame, Checksums::Trust) {
        Ok(Packet::Tcp(segment)) => Template::capture(&frame, &segment),
        other => unreachable!("a segment written by hand is well-formed: {other:?}"),
    }
}
