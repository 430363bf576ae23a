//! The journey of a frame as one function, and of a session's bytes as another.
//!
//! [`dialogue`] is the upper half: bytes of one session, both directions, in; how many may leave, out. It
//! knows SMTP, MIME, patterns and the policy, and nothing of packets. The engine itself is the lower
//! half: frames, flows, TCP, closing. The upper half says *what*, the lower half makes it so on the wire.

pub mod dialogue;
mod session;

pub use session::{SessionState, SessionView};

use std::sync::Arc;

use artifact::model::{Policy, PortIndex};

use crate::counter::Counters;
use crate::event::Journal;
use crate::frame::{Frame, Memory, Pool, Sealed};
use crate::scan::Matcher;
use crate::unit::{Instant, PortId};

/// What an engine is given at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which port of the policy each port of the gateway is; `None` is one that the policy does not know.
    pub ports: [Option<PortIndex>; 2],
    /// Sessions there may be at once.
    pub flow_limit: usize,
    /// Key of the flow table's hash, unpredictable in live use, fixed in replay.
    pub hash_key: [u8; 16],
    /// Whether TCP and IP checksums are verified on receive.
    pub verify_checksums: bool,
    /// First flow id of this worker; ids go up in steps of `flow_id_step`.
    pub flow_id_start: u64,
    /// Number of workers.
    pub flow_id_step: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ports: [None, None],
            flow_limit: 65_536,
            hash_key: [0; 16],
            verify_checksums: true,
            flow_id_start: 1,
            flow_id_step: 1,
        }
    }
}

/// One worker's engine: everything between the receive and the transmit rings.
#[derive(Debug)]
pub struct Engine<X> {
    policy: Arc<Policy>,
    matcher: X,
    config: Config,
    counters: Counters,
    journal: Journal,
}

impl<X: Matcher> Engine<X> {
    /// An engine without flows.
    #[must_use]
    pub fn new(policy: Arc<Policy>, matcher: X, config: Config) -> Self {
        Self { policy, matcher, config, counters: Counters::default(), journal: Journal::new(4096) }
    }

    /// Takes one received frame and appends what is to be transmitted, in order, to `out`.
    pub fn receive<M: Memory>(
        &mut self,
        now: Instant,
        ingress: PortId,
        frame: Frame,
        pool: &mut Pool<M>,
        out: &mut Vec<(PortId, Sealed)>,
    ) {
        let _ = (now, &self.policy, &self.matcher, &self.config);
        let sealed = pool.seal(frame);
        out.push((ingress.other(), sealed));
    }

    /// Does what is due: timeouts, retransmissions of the gateway's own segments. To be called about every
    /// millisecond, and cheap when nothing is due.
    pub fn tick<M: Memory>(&mut self, now: Instant, pool: &mut Pool<M>, out: &mut Vec<(PortId, Sealed)>) {
        let _ = (now, pool, out);
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sessions under way, in no particular order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView> + '_ {
        core::iter::empty()
    }

    /// Records since the last drain.
    pub fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }
}
