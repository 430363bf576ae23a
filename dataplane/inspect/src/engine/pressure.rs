//! A full flow table: who makes room for a session that begins.
//!
//! A session that is over, first. Then one that is half-open: of some picked at random the oldest, since a handshake that is
//! completed at all is completed soon. An established one only where its client's network has a large share of the
//! table, and never for a session of that same network; otherwise the new session is refused. So a flood of SYNs costs
//! nobody an established session, whatever sources it claims; a host that opens connections until the table is full
//! loses its own; and since who is looked at is left to chance, nobody can aim at somebody else ("Robust TCP Stream
//! Reassembly in the Presence of Adversaries", Dharmapurikar and Paxson 2005, section 5.4).

use super::flow::{Flow, Stage};
use super::{Engine, Io, close};
use crate::event::EndReason;
use crate::flow::FlowIndex;
use crate::frame::Memory;
use crate::scan::Matcher;
use crate::unit::Instant;
use crate::wire::Endpoint;

/// Sessions that are looked at.
const SAMPLE_LEN: usize = 32;
/// Of these, how many one network has that has a large share: a quarter.
const LARGE_SHARE: usize = SAMPLE_LEN / 4;

/// A small generator (xorshift64*): nobody sees its numbers, and its seed is the flow table's secret.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Seeded.
    pub fn new(key: &[u8; 16]) -> Self {
        let (words, _) = key.as_chunks::<8>();
        Self(words.iter().fold(0x9e37_79b9_7f4a_7c15, |seed, word| seed ^ u64::from_le_bytes(*word)) | 1)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((random * limit as u64) >> 32) as usize
    }
}

/// A session that was looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    index: FlowIndex,
    stage: Stage,
    network: [u8; 16],
    created: Instant,
    last_heard: Instant,
}

impl Seen {
    fn new(index: FlowIndex, flow: &Flow) -> Self {
        let Flow { stage, created, last_heard, .. } = *flow;
        Self { index, stage, network: network(&flow.tag.client), created, last_heard }
    }
}

/// Whom an address belongs to: one of IPv4 is one host's, of IPv6 a host has 2^64 (RFC 4291 section 2.5.1).
fn network(endpoint: &Endpoint) -> [u8; 16] {
    let mut address = endpoint.address;
    if endpoint.ip().is_ipv6() {
        address[8..].fill(0);
    }
    address
}

impl<X: Matcher> Engine<X> {
    /// Makes room in a full table for a session of this client. Returns whether there is room.
    pub(super) fn make_room<M: Memory>(&mut self, client: &Endpoint, io: &mut Io<'_, M>) -> bool {
        let mut sample: [Option<Seen>; SAMPLE_LEN] = [None; SAMPLE_LEN];
        for place in &mut sample {
            let slot = self.dice.below(self.table.limit());
            *place = self.table.from(slot).next().map(|(index, _, flow)| Seen::new(index, flow));
        }
        let seen = || sample.iter().flatten();
        if let Some(over) = seen().find(|seen| seen.stage == Stage::Finished) {
            let reason = self.table.get(over.index).map_or(EndReason::Finished, |flow| flow.totals.reason);
            self.remove(over.index, reason, io.now);
            return true;
        }
        let half_open = seen().filter(|seen| seen.stage.is_half_open());
        if let Some(oldest) = half_open.min_by_key(|seen| seen.created) {
            self.evict(oldest.index, io);
            return true;
        }
        let share = |of: &Seen| seen().filter(|other| other.network == of.network).count();
        let Some(largest) = seen().max_by_key(|seen| share(seen)) else { return false };
        if share(largest) < LARGE_SHARE || largest.network == network(client) {
            return false;
        }
        let of_largest = seen().filter(|seen| seen.network == largest.network);
        if let Some(idlest) = of_largest.min_by_key(|seen| seen.last_heard) {
            self.evict(idlest.index, io);
        }
        true
    }

    /// Ends a session toward both sides, for another.
    fn evict<M: Memory>(&mut self, index: FlowIndex, io: &mut Io<'_, M>) {
        let Some(flow) = self.table.get_mut(index) else { return };
        self.shared.journal.subject(io.now, Some(flow.tag));
        match flow.stage {
            Stage::SynSent | Stage::SynReceived => close::delete(flow, &mut self.shared, io),
            Stage::Established | Stage::Finished => close::reset_both(flow, &mut self.shared, io),
            // Its numbers are not known.
            Stage::PickedUp => {}
        }
        self.remove(index, EndReason::Evicted, io.now);
    }
}
