//! Receivers as they are in the field, each with its own idea of which copy of an octet counts.
//!
//! The names are those of Ptacek and Newsham (1998) and of Novak and Sturges (Target-based TCP stream reassembly,
//! 2007), as Snort and Suricata have them. A receiver that had a policy of none of these kinds would still take octets from frames
//! that left the gateway, and the gateway makes all of those agree.

use std::collections::{BTreeMap, HashMap};

use super::frame::{self, Part, Read, Reading};

/// Who wins when an octet comes twice before it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// What came first.
    First,
    /// What came last.
    Last,
    /// What came first, unless the later segment begins before it.
    Bsd,
    /// What came first, unless the later segment begins before it or with it.
    Linux,
    /// What came first, unless the later segment begins before it and ends after it.
    Windows,
    /// What came last, unless it ends before the other.
    Solaris,
}

impl Overlap {
    /// All of them.
    pub const ALL: [Overlap; 6] =
        [Overlap::First, Overlap::Last, Overlap::Bsd, Overlap::Linux, Overlap::Windows, Overlap::Solaris];

    /// Whether the later one wins; both are (first octet, octet after the last).
    fn later_wins(self, earlier: (u32, u32), later: (u32, u32)) -> bool {
        match self {
            Overlap::First => false,
            Overlap::Last => true,
            Overlap::Bsd => later.0 < earlier.0,
            Overlap::Linux => later.0 <= earlier.0,
            Overlap::Windows => later.0 < earlier.0 && later.1 > earlier.1,
            Overlap::Solaris => later.1 >= earlier.1,
        }
    }
}

/// An octet that waits, and the segment that it came in.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    octet: u8,
    segment: (u32, u32),
}

/// One receiver of one stream. Offsets are from the first octet after SYN.
#[derive(Debug, Clone)]
pub struct Receiver {
    overlap: Overlap,
    /// Octets that it takes beyond what it has delivered.
    window: u32,
    /// It loses every so-manieth frame; 0 is none.
    loses: u32,
    frame_count: u32,
    waiting: BTreeMap<u32, Waiting>,
    /// What its application was given.
    pub delivered: Vec<u8>,
}

impl Receiver {
    /// A receiver that has nothing yet.
    #[must_use]
    pub fn new(overlap: Overlap, window: u32, loses: u32) -> Self {
        Self { overlap, window, loses, frame_count: 0, waiting: BTreeMap::new(), delivered: Vec::new() }
    }

    /// Takes a segment.
    pub fn take(&mut self, start: u32, payload: &[u8]) {
        self.frame_count += 1;
        if self.loses > 0 && self.frame_count.is_multiple_of(self.loses) {
            return;
        }
        let next = self.delivered.len() as u32;
        let segment = (start, start.wrapping_add(payload.len() as u32));
        for (index, octet) in payload.iter().enumerate() {
            let offset = start.wrapping_add(index as u32);
            // Before what is delivered, or beyond the window: not taken.
            if offset.wrapping_sub(next) >= self.window {
                continue;
            }
            let later = Waiting { octet: *octet, segment };
            let kept = self.waiting.entry(offset).or_insert(later);
            if self.overlap.later_wins(kept.segment, segment) {
                *kept = later;
            }
        }
        while let Some(waiting) = self.waiting.remove(&(self.delivered.len() as u32)) {
            self.delivered.push(waiting.octet);
        }
    }
}

/// Fragments of one packet by their first octet: octets, and whether another one follows.
type Parts = BTreeMap<usize, (Vec<u8>, bool)>;

/// Puts packets together whose fragments leave the gateway, and insists that these do not overlap: of those that do, every
/// receiver makes something else (RFC 5722, RFC 1858, Novak 2005).
#[derive(Debug, Default)]
pub struct Reassembly {
    packets: HashMap<Vec<u8>, Parts>,
}

impl Reassembly {
    /// Takes a fragment; returns the octets of the whole packet when it is complete.
    ///
    /// # Panics
    /// When it overlaps another one of its packet.
    pub fn take(&mut self, part: &Part<'_>) -> Option<Vec<u8>> {
        let parts = self.packets.entry(part.key.clone()).or_default();
        for (start, (octets, _)) in parts.iter() {
            let apart = part.offset >= start + octets.len() || part.offset + part.octets.len() <= *start;
            assert!(apart, "overlapping fragments left the gateway");
        }
        parts.insert(part.offset, (part.octets.to_vec(), part.more));
        let mut whole = Vec::new();
        for (start, (octets, more)) in parts.iter() {
            if *start != whole.len() {
                return None;
            }
            whole.extend_from_slice(octets);
            if !more {
                self.packets.remove(&part.key);
                return Some(whole);
            }
        }
        None
    }
}

/// What leaves for one end of one connection.
#[derive(Debug)]
pub struct Listener {
    /// Number of the last SYN, if any left.
    isn: Option<u32>,
    /// The first value of each octet.
    seen: HashMap<u32, u8>,
    /// The first octet that has not left.
    pub front: u32,
    /// Nothing is promised any more of what leaves.
    pub is_loose: bool,
    receivers: Vec<Receiver>,
    losses: [u8; 6],
}

impl Listener {
    /// One that has heard nothing. `losses` says how often each receiver loses a frame.
    #[must_use]
    pub fn new(losses: [u8; 6]) -> Self {
        Self { isn: None, seen: HashMap::new(), front: 0, is_loose: false, receivers: Vec::new(), losses }
    }

    /// Sequence number of the SYN that left last.
    #[must_use]
    pub fn isn(&self) -> Option<u32> {
        self.isn
    }

    /// Forgets the connection, and everything that was heard.
    pub fn restart(&mut self) {
        *self = Self::new(self.losses);
    }

    /// Hears a segment that left.
    ///
    /// # Panics
    /// When an octet leaves out of order, or with another value than before.
    pub fn hear(&mut self, segment: &Reading<'_>) {
        // Of a plain segment that nobody reads, the receiver verifies it.
        let is_plain = segment.flags & !8 == frame::ACK;
        assert!(segment.is_sound || self.is_loose && is_plain, "a wrong checksum left the gateway");
        assert!(segment.flags & frame::URG == 0 && segment.urgent == 0, "an urgent pointer left");
        assert!(
            segment.options.iter().all(|kind| matches!(kind, 2 | 3 | 4 | 5 | 8)),
            "{:?}",
            segment.options
        );
        if segment.flags & frame::SYN != 0 {
            assert!(segment.payload.is_empty(), "octets on a SYN");
            assert!(segment.flags & (frame::FIN | frame::RST) == 0, "SYN with FIN or RST");
            self.isn = Some(segment.seq);
            if self.receivers.is_empty() {
                let windows = [65_536, 1 << 20, 400, 65_536, 4_000, 65_536];
                for ((overlap, window), loses) in Overlap::ALL.into_iter().zip(windows).zip(self.losses) {
                    self.receivers.push(Receiver::new(overlap, window, u32::from(loses)));
                }
            }
            return;
        }
        if segment.flags & frame::RST != 0 {
            assert!(segment.payload.is_empty(), "octets on a RST");
            return;
        }
        assert!(segment.flags & frame::ACK != 0, "a segment without ACK left");
        if segment.payload.is_empty() {
            return;
        }
        let Some(isn) = self.isn else { panic!("octets left before a SYN") };
        let start = segment.seq.wrapping_sub(isn.wrapping_add(1));
        if self.is_loose {
            // Where its sender goes on.
            let end = start.wrapping_add(segment.payload.len() as u32);
            if end.wrapping_sub(self.front) < 1 << 30 {
                self.front = end;
            }
            return;
        }
        for (index, octet) in segment.payload.iter().enumerate() {
            let offset = start.wrapping_add(index as u32);
            assert!(offset <= self.front, "octet {offset} left before octet {}", self.front);
            let first = *self.seen.entry(offset).or_insert(*octet);
            assert_eq!(first, *octet, "octet {offset} left with two values");
            self.front = self.front.max(offset + 1);
        }
        for receiver in &mut self.receivers {
            receiver.take(start, segment.payload);
        }
    }

    /// What the gateway let through, in order.
    #[must_use]
    pub fn let_through(&self) -> Vec<u8> {
        (0..self.front).map_while(|offset| self.seen.get(&offset).copied()).collect()
    }

    /// Checks that every receiver was given the same.
    ///
    /// # Panics
    /// When one was not.
    pub fn agree(&self) {
        let through = self.let_through();
        if self.is_loose {
            return;
        }
        assert_eq!(through.len(), self.front as usize, "there is a hole in what left");
        for receiver in &self.receivers {
            assert!(
                through.starts_with(&receiver.delivered),
                "{:?} was given something else",
                receiver.overlap
            );
        }
    }
}

/// Reads what left through a port: segments, also those that leave in fragments.
#[derive(Debug, Default)]
pub struct Wire {
    reassembly: Reassembly,
}

impl Wire {
    /// The TCP segment of a frame; `None` while it is not complete. The octets are those of a frame without fragments.
    #[must_use]
    pub fn segment(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        match frame::read(frame) {
            Read::Tcp(_) => Some(frame.to_vec()),
            Read::Part(part) => {
                let whole = self.reassembly.take(&part)?;
                Some(unfragmented(frame, &whole))
            }
            Read::Other => None,
        }
    }
}

/// A frame with the addresses of this fragment and these octets as its payload.
fn unfragmented(frame: &[u8], whole: &[u8]) -> Vec<u8> {
    let is_v6 = frame[12] == 0x86;
    let mut made = frame[..14].to_vec();
    if is_v6 {
        made.extend_from_slice(&frame[14..18]);
        made.extend_from_slice(&(whole.len() as u16).to_be_bytes());
        made.extend_from_slice(&[6, frame[21]]);
        made.extend_from_slice(&frame[22..54]);
    } else {
        let mut header = frame[14..34].to_vec();
        header[0] = 0x45;
        header[2..4].copy_from_slice(&((20 + whole.len()) as u16).to_be_bytes());
        header[6..8].fill(0);
        made.extend_from_slice(&header);
    }
    made.extend_from_slice(whole);
    // The header was changed; the sum over the segment is left as the sender made it.
    if !is_v6 {
        let mut mended = made.clone();
        frame::mend(&mut mended);
        made[24..26].copy_from_slice(&mended[24..26]);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(overlap: Overlap) -> Vec<u8> {
        let mut receiver = Receiver::new(overlap, 65_536, 0);
        // Segments that begin before, with and after each other, and end so; the first octet comes last.
        for (start, octets) in
            [(4, "11"), (4, "222"), (3, "3333"), (5, "44"), (5, "5"), (1, "666"), (1, "777"), (0, "0")]
        {
            receiver.take(start, octets.as_bytes());
        }
        receiver.delivered
    }

    #[test]
    fn receivers_disagree_unless_somebody_makes_them_agree() {
        let all = Overlap::ALL.map(|overlap| String::from_utf8(given(overlap)).expect("ASCII"));
        assert_eq!(all, ["0663112", "0777354", "0666333", "0777333", "0663332", "0773344"]);
    }

    #[test]
    #[should_panic(expected = "two values")]
    fn a_second_value_is_seen() {
        let mut listener = Listener::new([0; 6]);
        let reading = |seq, flags, payload| Reading {
            is_v6: false,
            addresses: [&[], &[]],
            ports: [1, 2],
            seq,
            ack: 0,
            flags,
            urgent: 0,
            ttl: 64,
            options: vec![],
            payload,
            is_sound: true,
        };
        listener.hear(&reading(9, frame::SYN, b""));
        listener.hear(&reading(10, frame::ACK, b"abc"));
        listener.agree();
        listener.hear(&reading(11, frame::ACK, b"bc"));
        listener.hear(&reading(11, frame::ACK, b"x"));
    }
}
