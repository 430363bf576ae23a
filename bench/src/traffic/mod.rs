//! Mail traffic of any size, made from a seed: the same seed gives the same octets.
//!
//! [`Traffic`] yields Ethernet frames in the order in which a gateway sees them. Many sessions go on at once, and they
//! come in bursts, first some of one side, then some of the other, as in a busy network. [`Trace`] is such traffic in
//! memory; [`write`] makes a capture of it.

pub mod attack;
pub mod connection;
pub mod mail;
pub mod script;
pub mod seed;
pub mod trace;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use inspect::unit::{Direction, PortId};
use postern::port::capture::Writer;

use connection::{Connection, Ends};
use mail::Label;
use script::{Content, Planted, Script};
use seed::Seed;
pub use trace::Trace;

/// Nanoseconds between two frames.
pub const FRAME_INTERVAL: u64 = 1_000;
/// Time stamp of a capture's first frame: 2025-10-14 09:30:00 UTC, the date of the mails.
pub const CAPTURE_START: u64 = 1_760_434_200_000_000_000;
/// Segments that one session sends before it is another's turn.
const QUANTUM: usize = 16;
/// One session in so many speaks IPv6.
const V6_EVERY: u64 = 8;
/// Octets that attachments are cut from.
const LIBRARY_LEN: usize = 8 << 20;

/// What the sessions are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// One mail of 2 KB a session, command by command
    Small,
    /// One mail with an attachment of 1.44 MB of base64 a session
    Large,
    /// The same octets as `Large`, but the attachment says that it is plain text
    #[value(skip)]
    LargeText,
    /// The same, labelled as plain text in base64.
    LargeEncoded,
    /// Three mails of 8 KB to 20 recipients each a session, pipelined
    Pipelined,
    /// Half honest; the others masked, refused, smuggling, in overlapping segments
    Attack,
}

impl Profile {
    /// As on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Profile::Small => "small",
            Profile::Large => "large",
            Profile::LargeText => "large text",
            Profile::LargeEncoded => "large encoded",
            Profile::Pipelined => "pipelined",
            Profile::Attack => "attack",
        }
    }

    /// Sessions at once.
    const fn breadth(self) -> usize {
        match self {
            Profile::Large | Profile::LargeText | Profile::LargeEncoded => 64,
            Profile::Small | Profile::Pipelined | Profile::Attack => 256,
        }
    }
}

/// What is known of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Port of the gateway that it comes to: clients are behind the first.
    pub port: PortId,
    /// Where its payload stands.
    pub payload: Range<usize>,
    /// Place of its session among those that go on at once; taken again by another session.
    pub slot: usize,
    /// The last of its session.
    pub is_last: bool,
}

/// Sessions of one profile, under way.
#[derive(Debug)]
pub struct Traffic {
    profile: Profile,
    seed: Seed,
    /// Where the order of things comes from.
    order: Seed,
    library: Vec<u8>,
    /// Sessions not yet begun.
    next: u64,
    sessions: u64,
    slots: Vec<Option<Connection>>,
    /// Who is speaking: this slot, of this side, for so many segments more.
    cursor: usize,
    side: Direction,
    quantum: usize,
    frames: u64,
    frame: Vec<u8>,
    planted: Planted,
}

impl Traffic {
    /// So many sessions.
    #[must_use]
    pub fn new(profile: Profile, sessions: u64, seed: u64) -> Self {
        let seed = Seed::new(seed);
        let library = match profile {
            Profile::Large | Profile::LargeText | Profile::LargeEncoded => {
                mail::library(LIBRARY_LEN, &mut seed.part(u64::MAX))
            }
            _ => Vec::new(),
        };
        let breadth = profile.breadth().min(usize::try_from(sessions).unwrap_or(usize::MAX));
        Self {
            profile,
            order: seed.part(u64::MAX - 1),
            seed,
            library,
            next: 0,
            sessions,
            slots: (0..breadth).map(|_| None).collect(),
            cursor: breadth,
            side: Direction::ServerToClient,
            quantum: 0,
            frames: 0,
            frame: Vec::new(),
            planted: Planted::default(),
        }
    }

    /// The next frame and what is known of it; `None` after the last session's last.
    pub fn next_frame(&mut self) -> Option<(&[u8], Sent)> {
        let now_millis = (self.frames * FRAME_INTERVAL / 1_000_000) as u32;
        loop {
            if self.quantum == 0 {
                self.pass_on()?;
                continue;
            }
            let slot = self.cursor;
            let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else {
                self.quantum = 0;
                continue;
            };
            if connection.speaker() != Some(self.side) {
                self.quantum = 0;
                continue;
            }
            self.quantum -= 1;
            let payload = connection.emit(now_millis, &mut self.frame)?;
            let is_last = connection.speaker().is_none();
            if is_last {
                self.slots[slot] = None;
                self.quantum = 0;
            }
            self.frames += 1;
            let port = match self.side {
                Direction::ClientToServer => PortId::A,
                Direction::ServerToClient => PortId::B,
            };
            return Some((&self.frame, Sent { port, payload, slot, is_last }));
        }
    }

    /// What patterns will find in all that was begun so far.
    #[must_use]
    pub fn planted(&self) -> Planted {
        self.planted
    }

    /// Goes to the next slot, and from the last one to the first of the other side. `None` when nothing is left.
    fn pass_on(&mut self) -> Option<()> {
        self.cursor += 1;
        if self.cursor >= self.slots.len() {
            self.cursor = 0;
            self.side = self.side.reverse();
            self.refill()?;
        }
        // Now and then a session pauses, so that they do not march in step.
        self.quantum = if self.order.below(4) == 0 { 0 } else { QUANTUM };
        Some(())
    }

    /// Begins sessions in the free slots. `None` when every session is over.
    fn refill(&mut self) -> Option<()> {
        let mut is_over = true;
        for slot in &mut self.slots {
            if slot.is_none() && self.next < self.sessions {
                let number = self.next;
                self.next += 1;
                let seed = self.seed.part(number);
                let mut script = Script::new(number, seed.part(0), &self.library);
                match self.profile {
                    Profile::Small => script.one_mail(Content::SMALL),
                    Profile::Large => script.one_mail(Content::Attachment(Label::Base64)),
                    Profile::LargeEncoded => script.one_mail(Content::Attachment(Label::EncodedText)),
                    Profile::LargeText => script.one_mail(Content::Attachment(Label::Text)),
                    Profile::Pipelined => script.pipelined(),
                    Profile::Attack => attack::session(number, &mut seed.part(1), &mut script),
                }
                self.planted.bodies += script.planted.bodies;
                self.planted.senders += script.planted.senders;
                *slot = Some(Connection::new(&ends(number, &mut seed.part(2)), script.into_turns()));
            }
            is_over &= slot.is_none();
        }
        (!is_over).then_some(())
    }
}

/// The two ends of session `number`. No two sessions below 2^31 have the same: the low 16 bits of the number are in
/// the client's address, the others in its port.
#[must_use]
pub fn ends(number: u64, seed: &mut Seed) -> Ends {
    const PORTS: u64 = 60_000;
    // 7919 is prime and no factor of 60,000: the ports of one address are all different.
    let port = 1024 + ((number >> 16) * 7919 + (number & 0xffff) * 31) % PORTS;
    let [_, _, _, _, _, _, high, low] = number.to_be_bytes();
    let (client, server): (IpAddr, IpAddr) = if number % V6_EVERY == V6_EVERY - 1 {
        let host = u16::from_be_bytes([high, low]);
        (
            Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0x10, host).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 25).into(),
        )
    } else {
        (Ipv4Addr::new(10, 1, high, low).into(), Ipv4Addr::new(198, 51, 100, 25).into())
    };
    let (isn, clocks) = (seed.number(), seed.number());
    Ends {
        client: (client, port as u16),
        server: (server, 25),
        isn: [isn as u32, (isn >> 32) as u32],
        clocks: [clocks as u32, (clocks >> 32) as u32],
    }
}

/// Writes traffic to a capture and returns its frames and their octets.
///
/// # Errors
/// When it cannot be written.
pub fn write<W: io::Write>(traffic: &mut Traffic, output: W) -> io::Result<(u64, u64)> {
    let mut writer = Writer::new(output)?;
    let (mut frames, mut octets) = (0, 0);
    while let Some((frame, _)) = traffic.next_frame() {
        writer.write(CAPTURE_START + frames * FRAME_INTERVAL, frame)?;
        frames += 1;
        octets += frame.len() as u64;
    }
    writer.flush()?;
    Ok((frames, octets))
}

#[cfg(test)]
mod tests;
