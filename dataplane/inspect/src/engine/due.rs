//! What is due: timeouts, the gateway's own retransmissions, and room for frames when they run short.

use super::flow::Stage;
use super::{Engine, Fate, Io, close, repair};
use crate::event::EndReason;
use crate::flow::FlowIndex;
use crate::frame::{Memory, Pool, Sealed};
use crate::scan::Matcher;
use crate::unit::{Instant, PortId};

/// Flows whose timers are looked at in one tick, so that a tick is short.
const EXPIRIES_PER_TICK: usize = 256;

/// Flows that [`Engine::tick`] looks at in one call when frames are short.
const RELIEF_PAGE: usize = 256;

/// How far the engine has come in copying remembered octets out of their frames.
#[derive(Debug, Default)]
pub(super) struct Relief {
    /// Slot of the flow table to go on from.
    cursor: usize,
    /// Octets of copies seen since the first slot.
    copied: usize,
    page: Vec<FlowIndex>,
}

impl<X: Matcher> Engine<X> {
    /// Does what is due: timeouts, retransmissions of the gateway's own segments. To be called about every
    /// millisecond, and cheap when nothing is due.
    pub fn tick<M: Memory>(&mut self, now: Instant, pool: &mut Pool<M>, out: &mut Vec<(PortId, Sealed)>) {
        let mut io = Io { now, pool, out };
        let queued = io.out.len();
        for _ in 0..EXPIRIES_PER_TICK {
            let Some(index) = self.timers.pop(now) else { break };
            self.expired(index, &mut io);
        }
        self.keep_limits(&mut io);
        self.expire_fragments(&io);
        self.shared.sent(&io.out[queued..]);
        if io.pool.free_count() < self.shared.config.low_water {
            self.relieve(io.pool);
        }
    }

    /// Until when [`Engine::tick`] has nothing to do that a peer would notice, if no frame comes; `None` where nothing is due at all. It
    /// may be a little earlier than the first timeout. Of the pool's chunks `free` are free.
    #[must_use]
    pub fn idle_until(&self, now: Instant, free: usize) -> Option<Instant> {
        // Then each tick does a part of the work.
        let is_pressed = free < self.shared.config.low_water || self.limits.are_kept();
        if is_pressed { Some(now) } else { self.timers.next_due() }
    }

    fn expired<M: Memory>(&mut self, index: FlowIndex, io: &mut Io<'_, M>) {
        let Some(flow) = self.table.get_mut(index) else { return };
        self.shared.journal.subject(io.now, Some(flow.tag));
        if flow.closing.is_some() {
            match close::due(flow, &mut self.shared, io) {
                Fate::Lives => self.schedule(index),
                Fate::Ends(reason) => self.remove(index, reason, io.now),
            }
            return;
        }
        if flow.watch.is_some_and(|watch| watch <= io.now) {
            repair::due(flow, &mut self.shared, io);
        }
        let generation = &self.shared.generations[self.shared.generation(flow.tag.generation)];
        let deadline = flow.expires(generation.parameters(flow.parameters));
        if deadline > io.now {
            self.schedule(index);
            return;
        }
        let reason = match flow.stage {
            Stage::SynSent | Stage::SynReceived => EndReason::SynTimeout,
            Stage::Established | Stage::PickedUp => EndReason::IdleTimeout,
            Stage::Finished => flow.totals.reason,
        };
        if !matches!(flow.stage, Stage::Finished | Stage::PickedUp) {
            // Neither side learns it otherwise; both could wait for hours.
            close::reset_both(flow, &mut self.shared, io);
        }
        self.remove(index, reason, io.now);
    }

    /// Copies remembered octets out of their frames, so that frames can be received again: better than dropping
    /// what arrives. Looks at a part of the table at a time.
    fn relieve<M: Memory>(&mut self, pool: &mut Pool<M>) {
        let Relief { cursor, copied, page } = &mut self.relief;
        page.clear();
        page.extend(self.table.from(*cursor).take(RELIEF_PAGE).map(|(index, ..)| index));
        for index in page.iter() {
            let Some(flow) = self.table.get_mut(*index) else { continue };
            let queues = flow.streams.iter_mut().filter_map(|stream| stream.queues.as_mut());
            for entry in queues.flat_map(|queues| &mut queues.remembered) {
                if *copied < self.shared.config.copied_limit {
                    self.shared.counters.copied_bytes += entry.copy_out(pool) as u64;
                }
                *copied += entry.copied_len();
            }
        }
        match page.last() {
            Some(last) if page.len() == RELIEF_PAGE => *cursor = last.slot() + 1,
            // Once round: what is copied out is counted anew.
            _ => (*cursor, *copied) = (0, 0),
        }
    }
}
