//! What the packet half asks of a dialogue between calls.

use super::{CLIENT, Dialogue, Gate, SERVER};
use crate::event::ReplyCode;
use crate::unit::Direction;

impl Dialogue {
    /// Whether the line under way in this direction is being overwritten.
    #[must_use]
    pub fn is_masking(&self, direction: Direction) -> bool {
        let side = match direction {
            Direction::ClientToServer => CLIENT,
            Direction::ServerToClient => SERVER,
        };
        self.masking[side].is_some() || (side == SERVER && self.mechanisms_masked)
    }

    /// Whether octets that were to be kept ([`super::Next::Keep`]) can be taken now; `None` if there are none.
    #[must_use]
    pub fn takes_kept(&self) -> Option<bool> {
        self.keeps.then(|| self.session.is_answered())
    }

    /// Index of the SMTP policy that it is inspected under.
    #[must_use]
    pub fn smtp(&self) -> u16 {
        self.smtp
    }

    /// What the client of a refused session is told, should that have to be before its proper moment.
    #[must_use]
    pub fn refusal(&self) -> ReplyCode {
        match self.gate {
            Gate::Drain { reply, .. } | Gate::Swallow { reply, .. } | Gate::Closed(reply) => reply,
            Gate::Open | Gate::Opaque => ReplyCode::Policy,
        }
    }
}
