//! Sessions as `show` prints them.

use super::Engine;
use super::flow::{Flow, Stage};
use crate::event::FlowTag;
use crate::unit::Instant;

/// A session at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionView {
    /// Who, with whom, under which rules.
    pub tag: FlowTag,
    /// How far it has come.
    pub state: State,
    /// Whether its octets are inspected (not a pinhole, not behind STARTTLS).
    pub inspected: bool,
    /// First frame.
    pub created: Instant,
    /// Last frame.
    pub last_heard: Instant,
    /// Payload octets forwarded, client's first.
    pub bytes: [u64; 2],
    /// Segments forwarded, client's first.
    pub packets: [u64; 2],
}

/// States in the words of Cisco's `show` commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The handshake is under way.
    Opening,
    /// Established.
    Open,
    /// Ending, or being refused.
    Closing,
}

impl State {
    #[inline]
    pub(super) fn of(flow: &Flow) -> Self {
        match flow.stage {
            Stage::SynSent | Stage::SynReceived => State::Opening,
            Stage::Established if flow.closing.is_none() => State::Open,
            Stage::PickedUp => State::Open,
            Stage::Established | Stage::Finished => State::Closing,
        }
    }

    /// `SIS_OPENING`, `SIS_OPEN` or `SIS_CLOSING`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Opening => "SIS_OPENING",
            State::Open => "SIS_OPEN",
            State::Closing => "SIS_CLOSING",
        }
    }
}

impl SessionView {
    fn new(flow: &Flow) -> Self {
        Self {
            tag: flow.tag,
            state: State::of(flow),
            inspected: flow.dialogue.is_some(),
            created: flow.created,
            last_heard: flow.last_heard,
            bytes: flow.totals.bytes,
            packets: flow.totals.packets,
        }
    }
}

impl<X> Engine<X> {
    /// Every session there is now, in no particular order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView> + '_ {
        self.table.iter().map(|(.., flow)| SessionView::new(flow))
    }
}
