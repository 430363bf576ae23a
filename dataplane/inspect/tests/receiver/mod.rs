//! Receivers as they differ: what each takes when the same place of a stream comes twice.
//!
//! The policies are those of Novak and Sturges, "Target-Based TCP Stream Reassembly" (2007), and of Ptacek and Newsham (1998),
//! table 2. An octet that was delivered to the application stays what it was; they differ about octets that wait.
#![allow(dead_code)]

use std::collections::BTreeMap;

/// Who wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// What came first.
    First,
    /// What came last.
    Last,
    /// What came first, unless the new segment begins before it.
    Bsd,
    /// What came last, unless the new segment begins before the old.
    BsdRight,
    /// What came first, unless the new segment begins at or before it.
    Linux,
    /// What came first, unless the new segment begins before it and ends after it.
    Windows,
    /// What came first, unless the new segment covers it.
    Solaris,
    /// As RFC 793 has it: a segment is trimmed to the window, and then kept as it is until its turn comes.
    Rfc793,
}

impl Policy {
    pub const ALL: [Policy; 8] = [
        Policy::First,
        Policy::Last,
        Policy::Bsd,
        Policy::BsdRight,
        Policy::Linux,
        Policy::Windows,
        Policy::Solaris,
        Policy::Rfc793,
    ];

    /// Whether the new segment's octets win over those of an old one.
    fn new_wins(self, old: (u64, u64), new: (u64, u64)) -> bool {
        match self {
            Policy::First | Policy::Rfc793 => false,
            Policy::Last => true,
            Policy::Bsd => new.0 < old.0,
            Policy::BsdRight => new.0 >= old.0,
            Policy::Linux => new.0 <= old.0,
            Policy::Windows => new.0 < old.0 && new.1 > old.1,
            Policy::Solaris => new.0 <= old.0 && new.1 >= old.1,
        }
    }
}

/// A receiver of one stream.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub policy: Policy,
    /// What its application was given.
    pub delivered: Vec<u8>,
    /// Octets that wait, each with the range of its segment.
    waiting: BTreeMap<u64, (u8, (u64, u64))>,
    start: u32,
}

/// Octets beyond the delivered ones that are taken.
const WINDOW: u64 = 65_535;

impl Receiver {
    /// One whose first octet has this number.
    pub fn new(policy: Policy, start: u32) -> Self {
        Self { policy, delivered: Vec::new(), waiting: BTreeMap::new(), start }
    }

    /// Number of the octet that it waits for.
    pub fn next_seq(&self) -> u32 {
        self.start.wrapping_add(self.delivered.len() as u32)
    }

    pub fn receive(&mut self, seq: u32, payload: &[u8]) {
        let next = self.delivered.len() as i64;
        let start = next + i64::from(seq.wrapping_sub(self.next_seq()) as i32);
        if self.waiting.is_empty() && start <= next && next < start + payload.len() as i64 {
            self.delivered.extend_from_slice(&payload[(next - start) as usize..]);
            return;
        }
        let range = (start.max(0) as u64, (start + payload.len() as i64).max(0) as u64);
        for (place, octet) in (start..).zip(payload) {
            if place < next || place as u64 >= next as u64 + WINDOW {
                continue;
            }
            let wins =
                self.waiting.get(&(place as u64)).is_none_or(|(_, old)| self.policy.new_wins(*old, range));
            if wins {
                self.waiting.insert(place as u64, (*octet, range));
            }
        }
        while let Some((octet, _)) = self.waiting.remove(&(self.delivered.len() as u64)) {
            self.delivered.push(octet);
        }
    }
}
