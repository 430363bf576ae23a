//! One session's bytes: SMTP, MIME, patterns, policy.
//!
//! [`Dialogue`] takes the octets of both sides, in order, each once, and says how many of them may leave. It keeps the two
//! promises that make the gateway a firewall. *The LF gate*: octets of a command line, or of a message, may leave as they come, but
//! the LF that makes the server act only when the verdict is final. *Masking by prefix*: a verb is judged as its letters
//! arrive; from the first octet that makes it illegal, what is in hand is overwritten in place.
//!
//! | file | what |
//! | --- | --- |
//! | `client.rs` | command lines and what they may not be |
//! | `usual.rs` | command lines about which there is nothing to say |
//! | `protocol.rs` | what the protocol itself says of them |
//! | `ruling.rs` | command lines that are overwritten or refused |
//! | `conduct.rs` | junk, failed logins, time |
//! | `content.rs` | messages: counted, refused, swallowed |
//! | `reading.rs` | messages: read as MIME, judged |
//! | `server.rs` | replies, keywords |
//! | `tls_memory.rs` | servers that have offered STARTTLS |
//! | `report.rs` | decisions and transactions as records |
//! | `stores.rs` | what busy sessions borrow from their worker |

mod client;
mod conduct;
mod content;
mod protocol;
mod reading;
mod report;
mod ruling;
mod server;
mod state;
mod stores;
mod tls_memory;
mod usual;

use core::time::Duration;

use crate::counter::Counters;
use crate::event::{Journal, ReplyCode};
use crate::scan::Matcher;
use crate::smtp::Session;
use crate::smtp::ext::ENHANCEDSTATUSCODES;
use crate::unit::Instant;
use crate::verdict::{Facts, Rules};

pub use stores::{Limits, Stores};
pub use tls_memory::{TLS_MEMORY, TLS_SERVERS};

/// How much of the bytes just given may leave, and what the session needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    /// This many octets, from the first, may leave (they were masked in place where needed). The others
    /// must not: they were not accepted and will be judged when their sender sends them again, unless
    /// `next` says that they were swallowed.
    pub forward: usize,
    /// What the session needs.
    pub next: Next,
}

/// What the session needs after some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More bytes.
    Go,
    /// The octets beyond `forward` cannot be judged before the other side has spoken (what follows DATA
    /// depends on the reply to it). Drop them unacknowledged; their sender sends them again.
    Wait,
    /// The same, but an honest client sends them so early (BDAT behind the commands it depends on): they may be kept, and given
    /// again when the server has spoken, so that their sender need not send them again.
    Keep,
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

/// Octets of a refused message that are swallowed while its sender still sends; then the session is closed at once.
/// Counted as the anomaly `close_swallow_limit`.
pub const SWALLOW_LIMIT: u64 = 64 << 20;

/// How long a refused message is swallowed. The same when it is over.
pub const SWALLOW_TIME: Duration = Duration::from_secs(300);

/// How long the replies to commands before a refused one are waited for.
pub const DRAIN_TIME: Duration = Duration::from_secs(5);

/// What a dialogue needs from its worker for as long as one call lasts.
#[derive(Debug)]
pub struct Context<'a, X> {
    /// Time of the burst.
    pub now: Instant,
    /// The tables of the SMTP policy that the session began under, made by [`Rules::new`] when the artifact was loaded.
    pub rules: &'a Rules,
    /// Its patterns.
    pub matcher: &'a mut X,
    /// What busy sessions borrow; one for each worker.
    pub stores: &'a mut Stores,
    /// Where decisions are reported; the subject is already set.
    pub journal: &'a mut Journal,
    /// The worker's counters.
    pub counters: &'a mut Counters,
}

/// Whether octets may leave at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Opaque,
    Drain { reply: ReplyCode, until: Instant },
    Swallow { reply: ReplyCode, left: u64, until: Instant },
    Closed(ReplyCode),
}

/// The state of one session above TCP.
#[derive(Debug)]
pub struct Dialogue {
    smtp: u16,
    gate: Gate,
    session: Session,
    facts: Facts,
    /// Octets accepted from the client, and from the server.
    offsets: [u64; 2],
    /// Where the message under way starts in the client's stream.
    content_start: u64,
    /// Letters of the client's verb, or of the server's keyword, when its line began to be overwritten.
    masking: [Option<u16>; 2],
    content: content::Content,
    audit: Option<Box<report::Audit>>,
    /// The client spoke before its turn, which was reported.
    early: bool,
    /// Its octets were given back to be kept.
    keeps: bool,
    /// Mechanisms were overwritten in the line of the server under way.
    mechanisms_masked: bool,
    /// The reply to EHLO under way offers STARTTLS.
    offers_tls: bool,
    conduct: conduct::Conduct,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Dialogue {
    /// A session that just began, inspected under the SMTP policy with index `smtp` (of the matcher's databases; the
    /// [`Context::rules`] of every call are those of the same policy).
    #[must_use]
    pub fn new(smtp: u16) -> Self {
        Self {
            smtp,
            gate: Gate::Open,
            session: Session::default(),
            facts: Facts::default(),
            offsets: [0; 2],
            content_start: 0,
            masking: [None; 2],
            content: content::Content::default(),
            audit: None,
            early: false,
            keeps: false,
            mechanisms_masked: false,
            offers_tls: false,
            conduct: conduct::Conduct::default(),
        }
    }

    /// Octets the client sent, in order, each once (again after [`Next::Wait`] and [`Next::Keep`]). May be called without any, to let time pass.
    pub fn client<X: Matcher>(&mut self, bytes: &mut [u8], context: &mut Context<'_, X>) -> Passage {
        context.journal.set_enhanced(self.enhanced_status_codes());
        let overdue = if self.gate == Gate::Open { self.overdue(context) } else { None };
        let passage = match self.gate {
            _ if overdue.is_some() => overdue.unwrap_or(Passage { forward: 0, next: Next::Go }),
            Gate::Open => self.hear_client(bytes, context),
            Gate::Opaque => Passage { forward: bytes.len(), next: Next::Opaque },
            Gate::Drain { reply, until } if context.now >= until => self.closed(0, reply, context),
            Gate::Drain { .. } => Passage { forward: 0, next: Next::Drain },
            Gate::Swallow { .. } => self.swallow(bytes, 0, context),
            Gate::Closed(reply) => Passage { forward: 0, next: Next::Close(reply) },
        };
        debug_assert!(passage.forward <= bytes.len());
        self.keeps = passage.next == Next::Keep;
        let waits = matches!(passage.next, Next::Wait | Next::Keep);
        let accepted = if waits { passage.forward } else { bytes.len() };
        self.offsets[CLIENT] += accepted as u64;
        self.keep_time(context.now);
        passage
    }

    /// Octets the server sent, in order, each once.
    pub fn server<X: Matcher>(&mut self, bytes: &mut [u8], context: &mut Context<'_, X>) -> Passage {
        context.journal.set_enhanced(self.enhanced_status_codes());
        let passage = match self.gate {
            Gate::Open | Gate::Drain { .. } => self.hear_server(bytes, context),
            Gate::Opaque => Passage { forward: bytes.len(), next: Next::Opaque },
            Gate::Swallow { .. } => Passage { forward: 0, next: Next::Swallow },
            Gate::Closed(reply) => Passage { forward: 0, next: Next::Close(reply) },
        };
        debug_assert!(passage.forward <= bytes.len());
        self.offsets[SERVER] += bytes.len() as u64;
        passage
    }

    /// When [`Dialogue::client`] wants to be called, with no octets if there are none, because a refused session has been
    /// given all the time it gets.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.gate {
            Gate::Drain { until, .. } | Gate::Swallow { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether replies to this client carry enhanced status codes, for [`ReplyCode::text`].
    #[must_use]
    pub fn enhanced_status_codes(&self) -> bool {
        self.session.advertised().has(ENHANCEDSTATUSCODES)
    }

    /// The session is over, for whatever reason: gives back what it holds and reports what was under way.
    pub fn end<X: Matcher>(&mut self, context: &mut Context<'_, X>) {
        self.release(context);
        report::message_answered(&mut self.audit, 0, context);
        report::forget(&mut self.audit, &mut self.facts, context);
        context.stores.audits.give_from(&mut self.audit);
    }

    fn release<X: Matcher>(&mut self, context: &mut Context<'_, X>) {
        self.session.end(&mut context.stores.lines);
        self.content.end(context);
    }

    /// The client's side is refused: nothing from octet `forward` on goes to the server. Told at once, or when the
    /// replies that come before are there.
    fn refused<X: Matcher>(
        &mut self,
        forward: usize,
        reply: ReplyCode,
        context: &mut Context<'_, X>,
    ) -> Passage {
        if self.session.is_answered() {
            return self.closed(forward, reply, context);
        }
        // The server's line under way, if any, is still read: its line buffer stays.
        self.content.end(context);
        self.gate = Gate::Drain { reply, until: context.now + DRAIN_TIME };
        Passage { forward, next: Next::Drain }
    }

    /// The session is refused and told now.
    fn closed<X: Matcher>(
        &mut self,
        forward: usize,
        reply: ReplyCode,
        context: &mut Context<'_, X>,
    ) -> Passage {
        self.release(context);
        self.gate = Gate::Closed(reply);
        context.counters.smtp_closed += 1;
        Passage { forward, next: Next::Close(reply) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Dialogue>() <= 456, "{}", size_of::<Dialogue>());
    }
}
