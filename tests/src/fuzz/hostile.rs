//! Two peers that play by no rules, move by move.
//!
//! **Whatever copy of an octet a receiver prefers, it is the same octet; it left only after every octet before it; and no command that
//! the policy bans is among them.** Segments with any number, length, flag, option and time stamp; overlaps and
//! retransmissions with other octets; fragments; wrong checksums and header lengths; time that passes; in both directions of
//! three connections at once.
//!
//! A move is eight octets, then its payload; the engine that makes up inputs so meets every field by itself.

use inspect::engine::{SessionView, Uninspected};
use inspect::unit::PortId;

use super::frame::{self, ACK, FIN, RST, Read, SYN, Sketch};
use super::house::{Stage, loaded, policy, verb};
use super::octets::Octets;
use super::receiver::{Listener, Wire};
use inspect::scan::Matcher;

/// Numbers of the first octets: one of them wraps soon.
const ISN: [u32; 2] = [u32::MAX - 300, 77];

/// The connections: IPv6 or not, the client's port, the server's port. What goes to port 26 nobody judges.
const CONNECTIONS: [(bool, u16, u16); 3] = [(false, 40_000, 25), (true, 40_001, 25), (false, 40_002, 26)];

/// Client's and server's words that lead somewhere.
const WORDS: &[&[u8]] = &[
    b"EVIL now\r\n",
    b"EHLO client\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"MAIL FROM:<x@spam.example>\r\n",
    b"RCPT TO:<a@b.example>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\ntext\r\n",
    b".\r\n",
    b"EV",
    b"IL",
    b" now\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b"NOOP\r\n",
    b"XRESET\r\n",
    b"STARTTLS\r\n",
    b"BDAT 5 LAST\r\n",
    b"AUTH PLAIN\r\n",
    b"220 ready\r\n",
    b"250-server\r\n250-XEVIL\r\n250 SIZE\r\n",
    b"250 ok\r\n",
    b"354 go\r\n",
    b"334 \r\n",
    b"500 what\r\n",
    b"421 closing\r\n",
    b"25",
    b"0 ok\r\nEVIL\r\n",
    b"evil\r\n",
    b"EVIL\r\nEVIL\r\nNOOP\r\n",
    b"QUIT\r\n",
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// One connection as the puppeteer knows it.
struct Connection {
    /// Toward the server, toward the client.
    listeners: [Listener; 2],
    /// Whether its ends use time stamps.
    stamps: bool,
    clock: [u32; 2],
    /// The last frame of each direction.
    last: [Vec<u8>; 2],
}

struct Play<X> {
    stage: Stage<X>,
    connections: Vec<Connection>,
    wires: [Wire; 2],
    /// The server never says a 3: no content, no exchange, only commands.
    only_commands: bool,
    /// The frame under way began a session.
    has_begun: bool,
}

/// Plays an input.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let mut octets = Octets::new(data);
    let Ok(matcher) = loaded().patterns.matcher(8) else { return };
    let settings = octets.u8();
    let losses = std::array::from_fn(|_| octets.u8() % 8);
    let uninspected = if settings & 32 == 0 { Uninspected::Normalize } else { Uninspected::Pass };
    let mut play = Play {
        stage: Stage::with(policy(), matcher, uninspected),
        connections: CONNECTIONS
            .iter()
            .map(|_| Connection {
                listeners: [Listener::new(losses), Listener::new(losses)],
                stamps: settings & 2 != 0,
                clock: [1_000, u32::MAX - 5],
                last: [Vec::new(), Vec::new()],
            })
            .collect(),
        wires: [Wire::default(), Wire::default()],
        only_commands: settings & 1 != 0,
        has_begun: false,
    };
    for index in 0..CONNECTIONS.len() {
        if settings & (4 << index) == 0 {
            play.handshake(index);
        }
    }
    for _ in 0..400 {
        if octets.is_empty() {
            break;
        }
        play.step(&mut octets);
    }
    play.finish();
}

impl<X: Matcher> Play<X> {
    fn step(&mut self, octets: &mut Octets<'_>) {
        let mut fields = Octets::new(octets.take(8));
        let (who, kind) = (fields.u8(), fields.u8());
        let index = usize::from(who & 3) % CONNECTIONS.len();
        // Clients send most.
        let side = usize::from(who & 0x1c == 0x1c);
        match kind {
            0..=5 => return self.pass(1_000_000 << (kind * 2 + who % 2)),
            6 => return self.pass(u64::from(who) * 1_000_000_000),
            7 => return self.pass(u64::from(who) * 60_000_000_000),
            8 => return self.handshake(index),
            9..=11 => {
                let mut frame = self.connections[index].last[side].clone();
                if kind == 11 && !frame.is_empty() {
                    let at = usize::from(fields.u16()) % frame.len();
                    frame[at] ^= 1 << (fields.u8() % 8);
                    if fields.u8().is_multiple_of(2) {
                        frame::mend(&mut frame);
                    }
                }
                if !frame.is_empty() {
                    self.put(index, side, &frame);
                }
                return;
            }
            _ => {}
        }
        let (is_v6, client, server) = CONNECTIONS[index];
        let (place, acked, flags, option) = (fields.u8(), fields.u8(), fields.u8(), fields.u8());
        let (extra, said) = (fields.u8(), fields.u8());
        let connection = &mut self.connections[index];
        let [isn, other_isn] = if side == 0 { ISN } else { [ISN[1], ISN[0]] };
        let (front, other_front) = (connection.listeners[side].front, connection.listeners[1 - side].front);
        let seq = match place {
            0..=119 => front,
            120..=183 => front.wrapping_sub(u32::from(place & 63)),
            184..=223 => front.wrapping_add(u32::from(place - 183)),
            224..=239 => front.wrapping_add(u32::from(place & 15) * 1_500),
            _ => u32::from(place & 15).wrapping_mul(0x1111_1111),
        };
        let ack = match acked {
            0..=159 => other_front,
            160..=199 => other_front.wrapping_sub(u32::from(acked - 160)),
            200..=239 => other_front.wrapping_add(u32::from(acked - 200)),
            _ => u32::from(acked & 15).wrapping_mul(0x1111_1111),
        };
        let (seq, flags) = match flags {
            0..=190 => (seq, ACK),
            191..=205 => (seq, ACK | 8),
            206..=215 => (seq, ACK | FIN),
            216..=220 => (seq, RST),
            221..=223 => (seq, RST | ACK),
            224..=227 => (u32::MAX, SYN),
            228..=230 => (u32::MAX, SYN | ACK),
            231..=233 => (seq, ACK | frame::URG),
            other => (seq, other.wrapping_mul(37)),
        };
        let mut payload = if said < 96 {
            octets.take(usize::from(said % 32)).to_vec()
        } else {
            WORDS[usize::from(said - 96) % WORDS.len()].to_vec()
        };
        if kind >= 250 {
            payload = payload.iter().cycle().take(payload.len() * 12).copied().collect();
        }
        if side == 1 && self.only_commands {
            payload.iter_mut().filter(|octet| **octet == b'3').for_each(|octet| *octet = b'2');
        }
        connection.clock[side] = connection.clock[side].wrapping_add(1);
        let mut stamps = vec![1, 1, 8, 10];
        stamps.extend_from_slice(&connection.clock[side].to_be_bytes());
        stamps.extend_from_slice(&connection.clock[1 - side].to_be_bytes());
        let options = match option {
            0..=159 if connection.stamps => stamps,
            0..=159 => Vec::new(),
            160..=179 => {
                // A clock that stood still, went back, or is far ahead.
                let value = connection.clock[side].wrapping_add(u32::from(option).wrapping_sub(168) << 20);
                stamps[4..8].copy_from_slice(&value.to_be_bytes());
                stamps
            }
            180..=199 => {
                let left = other_isn.wrapping_add(other_front).wrapping_add(u32::from(option));
                let mut sack = vec![1, 1, 5, 10];
                sack.extend_from_slice(&left.to_be_bytes());
                sack.extend_from_slice(&left.wrapping_add(u32::from(extra)).to_be_bytes());
                sack
            }
            200..=209 => [&[19, 18][..], &[option; 16], &[1, 1]].concat(),
            210..=219 => vec![2, 4, extra, option, 3, 3, extra, 1, 4, 2, 1, 1],
            220..=225 => [&[34, 10][..], &[option; 8]].concat(),
            226..=229 => vec![28, 4, 0, 1],
            _ => octets.take(usize::from(option % 16)).to_vec(),
        };
        let ports = if side == 0 { [client, server] } else { [server, client] };
        let sketch = Sketch {
            is_v6,
            hosts: if side == 0 { [1, 2] } else { [2, 1] },
            ports,
            seq: isn.wrapping_add(1).wrapping_add(seq),
            ack: other_isn.wrapping_add(1).wrapping_add(ack),
            flags,
            window: if extra < 200 { 65_535 } else { u16::from(extra - 200) * 30 },
            urgent: if flags & frame::URG != 0 { u16::from(extra) } else { 0 },
            ttl: if kind == 20 { 1 } else { 64 },
            options: &options,
            data_offset: (kind == 21).then_some(extra % 16),
            checksum_error: u16::from(kind == 22),
            id: u16::from(who),
            payload: &payload,
        };
        match kind {
            12..=19 => {
                let overlap = usize::from(kind == 13);
                let mut parts =
                    sketch.fragments(&[usize::from(extra % 8), 3 + usize::from(extra / 64)], overlap);
                if kind & 2 != 0 {
                    parts.reverse();
                }
                if kind == 19 {
                    parts.pop();
                }
                for part in parts {
                    self.put(index, side, &part);
                }
            }
            _ => self.put(index, side, &sketch.frame()),
        }
    }

    fn handshake(&mut self, index: usize) {
        let (is_v6, client, server) = CONNECTIONS[index];
        let mut options = vec![2, 4, 5, 180, 4, 2, 1, 3, 3, 2];
        if self.connections[index].stamps {
            options.extend_from_slice(&[8, 10, 0, 0, 0, 1, 0, 0, 0, 0]);
        }
        let syn = Sketch {
            is_v6,
            ports: [client, server],
            seq: ISN[0],
            flags: SYN,
            options: &options,
            ..Sketch::default()
        };
        let answer = Sketch {
            hosts: [2, 1],
            ports: [server, client],
            seq: ISN[1],
            ack: ISN[0].wrapping_add(1),
            flags: SYN | ACK,
            ..syn.clone()
        };
        let last = Sketch {
            seq: ISN[0].wrapping_add(1),
            ack: ISN[1].wrapping_add(1),
            flags: ACK,
            options: &[],
            ..syn.clone()
        };
        self.put(index, 0, &syn.frame());
        self.put(index, 1, &answer.frame());
        self.put(index, 0, &last.frame());
    }

    fn put(&mut self, index: usize, side: usize, frame: &[u8]) {
        self.connections[index].last[side] = frame.to_vec();
        let before = self.stage.engine.counters().flows_created;
        let left = self.stage.put(if side == 0 { PortId::A } else { PortId::B }, frame);
        self.has_begun = self.stage.engine.counters().flows_created != before;
        self.hear(left);
        self.has_begun = false;
        self.pass(1_000_000);
    }

    fn pass(&mut self, nanos: u64) {
        let left = self.stage.pass(nanos);
        self.hear(left);
        self.stage.engine.journal_mut().drain().for_each(drop);
    }

    fn hear(&mut self, left: Vec<(PortId, Vec<u8>)>) {
        for (egress, bytes) in left {
            let side = usize::from(egress == PortId::A);
            let Some(segment) = self.wires[side].segment(&bytes) else { continue };
            let Read::Tcp(reading) = frame::read(&segment) else { continue };
            let client_port = reading.ports[side];
            let found = CONNECTIONS.iter().position(|(_, client, _)| *client == client_port);
            // A move may have made up other ports and addresses; what is judged is what belongs to the three.
            let is_between = |index: &usize| {
                let (is_v6, _, server_port) = CONNECTIONS[*index];
                let hosts = if side == 0 { [1, 2] } else { [2, 1] };
                server_port == reading.ports[1 - side]
                    && reading.addresses == hosts.map(|host| frame::address(is_v6, host))
            };
            let Some(index) = found.filter(is_between) else { continue };
            if self.has_begun && side == 0 && reading.flags & (SYN | ACK) == SYN {
                // Another connection between the same ends: what was said in the one before does not count.
                self.judge(index);
                self.connections[index].listeners.iter_mut().for_each(Listener::restart);
            }
            if self.is_loose(index) {
                self.connections[index].listeners.iter_mut().for_each(|listener| listener.is_loose = true);
            }
            self.connections[index].listeners[side].hear(&reading);
        }
    }

    /// Whether segments of this connection pass as they are: only what left before that is promised to be one reading.
    fn is_loose(&self, index: usize) -> bool {
        let (is_v6, client, server) = CONNECTIONS[index];
        let is_it = |session: &SessionView| {
            !session.inspected
                && (session.tag.client.port, session.tag.server.port) == (client, server)
                && session.tag.client.ip().is_ipv6() == is_v6
        };
        self.stage.config.uninspected == Uninspected::Pass
            && self.stage.engine.sessions().any(|session| is_it(&session))
    }

    /// What the ends of a connection were given.
    fn judge(&self, index: usize) {
        let connection = &self.connections[index];
        connection.listeners.iter().for_each(Listener::agree);
        if self.only_commands && CONNECTIONS[index].2 == 25 {
            let through = connection.listeners[0].let_through();
            for line in through.split_inclusive(|octet| *octet == b'\n') {
                assert!(!is_banned(line), "a banned command left: {}", line.escape_ascii());
            }
        }
    }

    fn finish(mut self) {
        (0..CONNECTIONS.len()).for_each(|index| self.judge(index));
        self.pass(1_000_000_000);
        (0..CONNECTIONS.len()).for_each(|index| self.judge(index));
        self.stage.finish();
    }
}

/// A whole line that no server may get: the verb EVIL, and a sender at spam.example.
fn is_banned(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\n") else { return false };
    let line = line.to_ascii_uppercase();
    let line = line.trim_ascii();
    let verb = verb(line);
    verb == b"EVIL" || line == b"MAIL FROM:<X@SPAM.EXAMPLE>"
}
