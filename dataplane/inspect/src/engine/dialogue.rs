//! One session's bytes: SMTP, MIME, patterns, policy.

use std::sync::Arc;

use artifact::model::Policy;

use crate::counter::Counters;
use crate::event::{Journal, ReplyCode};
use crate::scan::Matcher;
use crate::unit::Instant;

/// How much of the bytes just given may leave, and what the session needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// This many octets, from the first, may leave (they were masked in place where needed). The others
    /// must not: they were not accepted and will be judged when their sender sends them again, unless
    /// `next` says that they were swallowed.
    pub forward: usize,
    /// What the session needs.
    pub next: Next,
    /// Whether any of the octets that may leave was overwritten.
    pub edited: bool,
}

/// What the session needs after some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More bytes.
    Go,
    /// The octets beyond `forward` cannot be judged before the other side has spoken (what follows DATA
    /// depends on the reply to it). Drop them unacknowledged; their sender sends them again.
    Wait,
    /// From now on no octet of either direction needs judging (an accepted STARTTLS).
    Opaque,
    /// Refused. Everything beyond `forward` was swallowed. The server gets none of it and is reset at
    /// once. The client is told `reply` now, then FIN.
    Close(ReplyCode),
    /// Refused, but the client reads no reply before it has sent the rest of its message: the server is
    /// reset at once, the client's octets (these beyond `forward`, and all later ones) are acknowledged and given to
    /// [`Dialogue::client`], which swallows them and says `Close` when it is time.
    Swallow,
    /// Refused, but replies to earlier commands are still to come: nothing beyond `forward` goes to the server, the
    /// client's octets from there on are swallowed, the server's are given to [`Dialogue::server`], which says
    /// `Close` right behind the last of those replies.
    Drain,
}

/// What a dialogue needs from its worker for as long as one call lasts.
#[derive(Debug)]
pub struct Context<'a, X> {
    /// Time of the burst.
    pub now: Instant,
    /// The artifact's policy that the session began under.
    pub policy: &'a Arc<Policy>,
    /// Its patterns.
    pub matcher: &'a mut X,
    /// Where decisions are reported; the subject is already set.
    pub journal: &'a mut Journal,
    /// The worker's counters.
    pub counters: &'a mut Counters,
}

/// The state of one session above TCP.
#[derive(Debug)]
pub struct Dialogue {
    smtp: u16,
}

impl Dialogue {
    /// A session that just began, inspected under the SMTP policy with index `smtp`.
    #[must_use]
    pub fn new(smtp: u16) -> Self {
        Self { smtp }
    }

    /// Octets the client sent, in order, each once.
    pub fn client<X: Matcher>(&mut self, bytes: &mut [u8], context: &mut Context<'_, X>) -> Passage {
        let _ = (context, self.smtp);
        Passage { forward: bytes.len(), next: Next::Go, edited: false }
    }

    /// Octets the server sent, in order, each once.
    pub fn server<X: Matcher>(&mut self, bytes: &mut [u8], context: &mut Context<'_, X>) -> Passage {
        let _ = context;
        Passage { forward: bytes.len(), next: Next::Go, edited: false }
    }

    /// Whether the server advertised ENHANCEDSTATUSCODES, so that a refusal may carry such a code.
    #[must_use]
    pub fn enhanced_status_codes(&self) -> bool {
        false
    }

    /// What the client is told if a refused session must be ended before its proper moment has come.
    #[must_use]
    pub fn refusal(&self) -> ReplyCode {
        ReplyCode::Policy
    }

    /// The session is over, for whatever reason: gives back what it holds and reports what was under way.
    pub fn end<X: Matcher>(&mut self, context: &mut Context<'_, X>) {
        let _ = context;
    }
}
