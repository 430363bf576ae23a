//! IP fragments, put together before anybody looks at what they carry.
//!
//! Receivers disagree about fragments that overlap (Ptacek and Newsham 1998; Novak, "Target-Based Fragmentation Reassembly",
//! 2005), so none of them is asked: fragments wait here, in the frames they came in, until a datagram is whole, and
//! a datagram of which two parts overlap is dropped, with all that is still to come of it (RFC 5722; RFC 8200 section 4.5).
//! The engine then reads the datagram as it reads every other packet.
//!
//! A peer can make this hold frames, so every number has a limit ([`Limits`]). When one is reached it is the oldest datagram
//! that goes: honest fragments come within milliseconds of each other, so one that is old is not being completed.
//! To push somebody else's datagram out, a flood must bring as many new ones as there may be in those milliseconds.

use core::time::Duration;
use std::collections::VecDeque;

use crate::anomaly::Anomaly;
use crate::frame::{Frame, Memory, Pool};
use crate::unit::{Instant, PortId};
use crate::wire::{Fragment, TCP, Vlan, ethernet, ipv4, ipv6, tcp};

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Datagrams in all.
    pub datagrams: usize,
    /// Datagrams from one address.
    pub datagrams_per_source: usize,
    /// Fragments of one datagram.
    pub fragments: usize,
    /// Fragments in all, as a share of the pool's chunks: one in this many.
    pub share: usize,
    /// How long a datagram may take from its first fragment to its last.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            datagrams: 256,
            datagrams_per_source: 16,
            fragments: 64,
            share: 16,
            // As long as Linux waits (`net.ipv4.ipfrag_time`).
            timeout: Duration::from_secs(30),
        }
    }
}

/// Octets of a datagram's payload at the most: with the longest headers it is still a frame that [`crate::wire::parse`]
/// reads.
pub const DATAGRAM_LIMIT: usize = 65_535 - HEADERS_LIMIT;
const HEADERS_LIMIT: usize =
    ethernet::HEADER_LEN + ethernet::TAG_LIMIT * ethernet::TAG_LEN + ipv6::HEADER_LEN;

/// What became of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It waits for others.
    Waits,
    /// It was there already, octet for octet.
    Duplicate,
    /// It was the last that was missing: see [`Reassembly::take`].
    Whole,
    /// It was dropped, with its datagram.
    Dropped(Anomaly),
    /// Its datagram was dropped before.
    Spoiled,
}

/// A datagram that is whole.
#[derive(Debug, Default)]
pub struct Datagram {
    /// It as one frame: link header, an IP header without options, payload.
    pub bytes: Vec<u8>,
    /// The frames it came in, in the order of their octets.
    pub frames: Vec<Frame>,
    /// Octets of the largest of its packets, IP header included.
    pub largest: usize,
}

/// Which datagram a fragment is of (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    ingress: PortId,
    vlan: Vlan,
    source: [u8; 16],
    destination: [u8; 16],
    identification: u32,
    /// 0 in IPv6.
    protocol: u8,
    is_v6: bool,
}

impl Key {
    fn new(ingress: PortId, fragment: &Fragment) -> Self {
        Self {
            ingress,
            vlan: fragment.vlan,
            source: fragment.source,
            destination: fragment.destination,
            identification: fragment.piece.identification,
            protocol: if fragment.is_v6 { 0 } else { fragment.protocol },
            is_v6: fragment.is_v6,
        }
    }
}

/// A fragment that waits.
#[derive(Debug)]
struct Part {
    fragment: Fragment,
    frame: Frame,
}

impl Part {
    fn from(&self) -> usize {
        usize::from(self.fragment.piece.offset)
    }

    fn to(&self) -> usize {
        self.from() + usize::from(self.fragment.payload_len)
    }

    fn payload<'a, M: Memory>(&self, pool: &'a Pool<M>) -> &'a [u8] {
        payload(&self.fragment, pool.bytes(&self.frame))
    }
}

fn payload<'a>(fragment: &Fragment, frame: &'a [u8]) -> &'a [u8] {
    &frame[usize::from(fragment.payload_start)..][..usize::from(fragment.payload_len)]
}

/// A datagram of which something is missing.
///
/// Invariant: `parts` are ascending and do not overlap, and none reaches beyond `total`; a spoiled one has none.
#[derive(Debug)]
struct Partial {
    key: Key,
    since: Instant,
    parts: Vec<Part>,
    /// Octets in all, once the last fragment is known.
    total: Option<usize>,
    /// Whatever comes of it is dropped.
    is_spoiled: bool,
}

/// Datagrams of which something is missing, oldest first.
#[derive(Debug)]
pub struct Reassembly {
    limits: Limits,
    partials: VecDeque<Partial>,
    held_count: usize,
    whole: Datagram,
    spare: Vec<Vec<Part>>,
    /// Datagrams that were given up because a limit was reached.
    pub evicted_count: u64,
    /// Datagrams that were given up because the rest did not come.
    pub expired_count: u64,
}

impl Reassembly {
    /// Nothing waits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            partials: VecDeque::with_capacity(limits.datagrams + 1),
            held_count: 0,
            whole: Datagram { bytes: Vec::with_capacity(1 << 16), ..Datagram::default() },
            spare: Vec::new(),
            evicted_count: 0,
            expired_count: 0,
        }
    }

    /// Frames that wait.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.held_count
    }

    /// Takes a fragment.
    pub fn receive<M: Memory>(
        &mut self,
        now: Instant,
        ingress: PortId,
        fragment: Fragment,
        frame: Frame,
        pool: &Pool<M>,
    ) -> Outcome {
        if let Err(anomaly) = check_form(&fragment) {
            return Outcome::Dropped(anomaly);
        }
        if fragment.piece.offset == 0 && !has_all_headers(&fragment, pool.bytes(&frame)) {
            let key = Key::new(ingress, &fragment);
            let at = self.find(&key).unwrap_or_else(|| self.begin(now, key));
            self.spoil(at);
            return Outcome::Dropped(Anomaly::TinyFragment);
        }
        let part = Part { fragment, frame };
        if fragment.piece.offset == 0 && !fragment.piece.more {
            // An atomic fragment is a packet of its own, whatever else has its identification (RFC 6946 section 4).
            self.whole.begin(&part, part.to(), pool);
            self.whole.add(part, pool);
            return Outcome::Whole;
        }
        let key = Key::new(ingress, &fragment);
        let at = self.find(&key).unwrap_or_else(|| self.begin(now, key));
        if self.partials[at].is_spoiled {
            return Outcome::Spoiled;
        }
        let place = match self.partials[at].place(&part, pool) {
            Ok(Some(place)) => place,
            Ok(None) => return Outcome::Duplicate,
            Err(anomaly) => {
                self.spoil(at);
                return Outcome::Dropped(anomaly);
            }
        };
        if self.partials[at].parts.len() >= self.limits.fragments {
            self.spoil(at);
            return Outcome::Dropped(Anomaly::FragmentOverflow);
        }
        let Some(at) = self.make_room(at, pool.memory().chunk_count() / self.limits.share.max(1)) else {
            self.spoil(at);
            return Outcome::Dropped(Anomaly::FragmentOverflow);
        };
        let partial = &mut self.partials[at];
        if !fragment.piece.more {
            partial.total = Some(part.to());
        }
        partial.parts.insert(place, part);
        self.held_count += 1;
        match partial.total {
            Some(total) if partial.is_whole() => self.put_together(at, total, pool),
            _ => return Outcome::Waits,
        }
        Outcome::Whole
    }

    /// The datagram that became whole, its memory to be given back with [`Reassembly::put_back`].
    pub fn take(&mut self) -> Datagram {
        core::mem::take(&mut self.whole)
    }

    /// Takes back what [`Reassembly::take`] gave; drops the frames.
    pub fn put_back(&mut self, mut datagram: Datagram) {
        datagram.frames.clear();
        self.whole = datagram;
    }

    /// Gives up datagrams whose time is over. To be called at every tick; cheap when there is none.
    pub fn expire(&mut self, now: Instant) {
        while self.partials.front().is_some_and(|oldest| now.since(oldest.since) >= self.limits.timeout) {
            let was_spoiled = self.remove(0);
            self.expired_count += u64::from(!was_spoiled);
        }
    }

    /// Gives up everything.
    pub fn clear(&mut self) {
        while !self.partials.is_empty() {
            self.remove(0);
        }
    }

    fn find(&self, key: &Key) -> Option<usize> {
        // The latest are the likeliest.
        self.partials.iter().rposition(|partial| partial.key == *key)
    }

    /// A datagram of which nothing is there yet.
    fn begin(&mut self, now: Instant, key: Key) -> usize {
        let same = |partial: &Partial| partial.key.source == key.source;
        if self.partials.iter().filter(|partial| same(partial)).count() >= self.limits.datagrams_per_source
            && let Some(oldest) = self.partials.iter().position(same)
        {
            self.evict(oldest);
        }
        if self.partials.len() >= self.limits.datagrams.max(1) {
            self.evict(0);
        }
        let parts = self.spare.pop().unwrap_or_default();
        self.partials.push_back(Partial { key, since: now, parts, total: None, is_spoiled: false });
        self.partials.len() - 1
    }

    /// Gives up the oldest datagrams until one more frame may be held for that at `at`; says where that is then, and
    /// `None` if it alone holds as many as there may be.
    fn make_room(&mut self, mut at: usize, limit: usize) -> Option<usize> {
        while self.held_count >= limit.max(1) {
            let oldest = self
                .partials
                .iter()
                .enumerate()
                .position(|(index, partial)| index != at && !partial.parts.is_empty())?;
            self.evict(oldest);
            at -= usize::from(oldest < at);
        }
        Some(at)
    }

    fn evict(&mut self, at: usize) {
        let was_spoiled = self.remove(at);
        self.evicted_count += u64::from(!was_spoiled);
    }

    /// Returns whether it was spoiled.
    fn remove(&mut self, at: usize) -> bool {
        let Some(mut partial) = self.partials.remove(at) else { return true };
        self.held_count -= partial.parts.len();
        partial.parts.clear();
        self.spare.push(partial.parts);
        partial.is_spoiled
    }

    /// Drops what there is of a datagram, and remembers to drop the rest.
    fn spoil(&mut self, at: usize) {
        let partial = &mut self.partials[at];
        self.held_count -= partial.parts.len();
        partial.parts.clear();
        partial.is_spoiled = true;
    }

    fn put_together<M: Memory>(&mut self, at: usize, total: usize, pool: &Pool<M>) {
        let Some(mut partial) = self.partials.remove(at) else { return };
        self.held_count -= partial.parts.len();
        if let Some(first) = partial.parts.first() {
            self.whole.begin(first, total, pool);
        }
        for part in partial.parts.drain(..) {
            self.whole.add(part, pool);
        }
        self.spare.push(partial.parts);
    }
}

impl Datagram {
    /// Writes the headers: those of the first fragment's link, and an IP header as if there had been no fragments.
    fn begin<M: Memory>(&mut self, first: &Part, total: usize, pool: &Pool<M>) {
        let Fragment { is_v6, source, destination, protocol, ttl, ip_start, .. } = first.fragment;
        self.bytes.clear();
        self.frames.clear();
        self.largest = 0;
        self.bytes.extend_from_slice(&pool.bytes(&first.frame)[..usize::from(ip_start)]);
        // `DATAGRAM_LIMIT` leaves room for the headers in 16 bits.
        let total = total as u16;
        if is_v6 {
            let mut header = [0; ipv6::HEADER_LEN];
            ipv6::Header(&mut header).emit(&source, &destination, protocol, ttl, total);
            self.bytes.extend_from_slice(&header);
        } else {
            let v4 = |address: [u8; 16]| [address[12], address[13], address[14], address[15]];
            let mut header = [0; ipv4::HEADER_LEN];
            let len = total + ipv4::HEADER_LEN as u16;
            ipv4::Header(&mut header).emit(v4(source), v4(destination), protocol, ttl, len);
            self.bytes.extend_from_slice(&header);
        }
    }

    fn add<M: Memory>(&mut self, part: Part, pool: &Pool<M>) {
        let Fragment { ip_start, payload_start, payload_len, .. } = part.fragment;
        self.largest = self.largest.max(usize::from(payload_start - ip_start) + usize::from(payload_len));
        self.bytes.extend_from_slice(part.payload(pool));
        self.frames.push(part.frame);
    }
}

impl Partial {
    /// Where a fragment belongs among those that are there; `None` if it is there already.
    fn place<M: Memory>(&self, part: &Part, pool: &Pool<M>) -> Result<Option<usize>, Anomaly> {
        let (from, to) = (part.from(), part.to());
        let place = self.parts.partition_point(|other| other.from() < from);
        if let Some(other) = self.parts.get(place)
            && other.from() == from
            && other.to() == to
            && other.fragment.piece.more == part.fragment.piece.more
            && other.payload(pool) == part.payload(pool)
        {
            // "An implementation may choose to […] drop exact duplicate fragments while keeping the other fragments" (RFC
            // 8200 section 4.5): networks make them.
            return Ok(None);
        }
        let before = place.checked_sub(1).and_then(|before| self.parts.get(before)).map_or(0, Part::to);
        let after = self.parts.get(place).map_or(usize::MAX, Part::from);
        if from < before || to > after {
            return Err(Anomaly::OverlappingFragments);
        }
        // Two ends, or something behind the end.
        let last = self.parts.last().map_or(0, Part::to);
        let contradicts = match self.total {
            Some(total) => !part.fragment.piece.more || to > total || to == total,
            None => !part.fragment.piece.more && last > to,
        };
        if contradicts { Err(Anomaly::OverlappingFragments) } else { Ok(Some(place)) }
    }

    fn is_whole(&self) -> bool {
        let mut next = 0;
        for part in &self.parts {
            if part.from() != next {
                return false;
            }
            next = part.to();
        }
        self.total == Some(next)
    }
}

/// Refuses what no sender makes: a fragment that must not be one, an empty one, one that is not the last and ends within
/// a unit of 8 octets, and one that reaches beyond the largest packet ("ping of death", CVE-1999-0128).
fn check_form(fragment: &Fragment) -> Result<(), Anomaly> {
    let Fragment { piece, payload_len, .. } = fragment;
    let end = usize::from(piece.offset) + usize::from(*payload_len);
    let is_odd = piece.dont_fragment
        || *payload_len == 0
        || piece.more && !payload_len.is_multiple_of(8)
        || end > DATAGRAM_LIMIT;
    if is_odd { Err(Anomaly::BadFragment) } else { Ok(()) }
}

/// Whether the first fragment has all headers up to the end of TCP's: one that has not can only mean to hide them (RFC 1858
/// section 3, RFC 3128, RFC 7112 section 5).
fn has_all_headers(fragment: &Fragment, frame: &[u8]) -> bool {
    let payload = payload(fragment, frame);
    let upper = if fragment.is_v6 {
        ipv6::upper_layer(payload, fragment.protocol)
    } else {
        Ok((fragment.protocol, 0))
    };
    match upper {
        Ok((TCP, start)) => tcp::header(&payload[start..]).is_ok(),
        Ok(_) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
