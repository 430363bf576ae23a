//! Messages: counted, read, judged; and swallowed when they are refused.

use artifact::smtp::Region;

use super::report::{self, Judged};
use super::{CLIENT, Context, Dialogue, Gate, Next, Passage, SWALLOW_LIMIT, SWALLOW_TIME};
use crate::anomaly::Anomaly;
use crate::event::{Action, Kind, ReplyCode};
use crate::scan::{CriterionSet, Matcher};
use crate::smtp::ClientEvent;
use crate::unit::Direction;
use crate::verdict::{Observation, Outcome};

/// The message under way.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// A dot at the start of a line, of which the next octet will tell whether it is content.
    dot: bool,
}

impl Content {
    /// Such a dot, or what followed it on the way to the end of data.
    pub fn dot(&mut self) {
        self.dot = true;
    }

    /// Gives back what it holds.
    pub fn end<X: Matcher>(&mut self, context: &mut Context<'_, X>) {
        let _ = context;
    }
}

impl<X: Matcher> Context<'_, X> {
    /// Scans octets as a whole.
    pub(super) fn scan(&mut self, smtp: u16, region: Region, octets: &[u8]) -> CriterionSet {
        let mut hits = CriterionSet::EMPTY;
        self.matcher.block(smtp, region, octets, &mut hits);
        self.counters.scans += 1;
        self.counters.scanned_bytes += octets.len() as u64;
        self.counters.scan_hits += hits.iter().count() as u64;
        hits
    }
}

impl Dialogue {
    /// The server is ready for content.
    pub(super) fn begin_content(&mut self) {
        self.content_start = self.offsets[CLIENT];
        self.content.dot = false;
    }

    /// Text of a message.
    pub(super) fn text<X: Matcher>(
        &mut self,
        text: &[u8],
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        // RFC 5321, 4.5.2: a dot that starts a line and is not alone was added by the sender. It is content that was
        // moved, but not text that anyone reads.
        let stuffed = u64::from(core::mem::take(&mut self.content.dot));
        let before = self.facts.content_len;
        self.facts.content_len = before + stuffed + text.len() as u64;
        context.counters.smtp_content_bytes += stuffed + text.len() as u64;
        let seen = context.rules.data_length(&self.facts, false);
        self.judge_content(&seen, context)?;
        self.max_data(context)
    }

    /// The end of data is complete: the last moment at which the message can be refused.
    pub(super) fn end_of_data<X: Matcher>(
        &mut self,
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        let seen = context.rules.data_length(&self.facts, true);
        self.judge_content(&seen, context)?;
        self.session.end_of_data().map_err(|_| {
            let judged = Judged::at(Direction::ClientToServer, here);
            context.anomaly(Anomaly::PipelineOverflow, Direction::ClientToServer, here);
            let reply = ReplyCode::OutOfSync;
            context.decision(Kind::SmtpOutOfSync, &judged, None, Action::Close, Some(reply));
            reply
        })?;
        report::message_sent(&mut self.audit, &mut self.facts, context);
        Ok(())
    }

    fn judge_content<X: Matcher>(
        &mut self,
        seen: &Observation,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        let judged = Judged::at(Direction::ClientToServer, self.content_start);
        let rules = context.rules;
        match rules.judge(&mut self.facts, seen, |noted| context.noted(&judged, noted)) {
            // Content is never overwritten (DKIM).
            Outcome::Pass | Outcome::Allow | Outcome::Mask(_) => Ok(()),
            Outcome::Reset(cause) => {
                let reply = rules.reply(cause);
                context.decision(Kind::SmtpMatch, &judged, Some(cause), Action::Close, Some(reply));
                Err(reply)
            }
        }
    }

    /// Cisco ESMTP document, `ip inspect name ... max-data`: octets of all messages of the session.
    fn max_data<X: Matcher>(&mut self, context: &mut Context<'_, X>) -> Result<(), ReplyCode> {
        let total = self.facts.earlier_len.saturating_add(self.facts.content_len);
        match context.rules.max_data() {
            Some(limit) if total > limit => {
                let judged = Judged {
                    value_len: usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1),
                    ..Judged::at(Direction::ClientToServer, self.content_start)
                };
                let reply = ReplyCode::Policy;
                context.decision(Kind::SmtpMatch, &judged, None, Action::Close, Some(reply));
                Err(reply)
            }
            _ => Ok(()),
        }
    }

    /// The message is refused: nothing from octet `forward` on leaves. Its sender reads no reply before the end of
    /// data, so the rest, from octet `from` on, is swallowed.
    pub(super) fn refused_message<X: Matcher>(
        &mut self,
        bytes: &[u8],
        forward: usize,
        from: usize,
        reply: ReplyCode,
        context: &mut Context<'_, X>,
    ) -> Passage {
        self.release(context);
        self.gate = Gate::Swallow { reply, left: SWALLOW_LIMIT, until: context.now + SWALLOW_TIME };
        Passage { forward, ..self.swallow(bytes, from, context) }
    }

    /// Follows a refused message to its true end.
    pub(super) fn swallow<X: Matcher>(
        &mut self,
        bytes: &[u8],
        from: usize,
        context: &mut Context<'_, X>,
    ) -> Passage {
        let Gate::Swallow { reply, left, until } = &mut self.gate else {
            return Passage { forward: 0, next: Next::Go };
        };
        let reply = *reply;
        let taken = (bytes.len() - from) as u64;
        if *left < taken || context.now >= *until {
            let here = self.offsets[CLIENT];
            context.anomaly(Anomaly::SwallowLimit, Direction::ClientToServer, here);
            return self.closed(0, reply, context);
        }
        *left -= taken;
        let mut at = from;
        while at < bytes.len() {
            match self.session.client(&bytes[at..], &mut context.stores.lines) {
                ClientEvent::Text(len) | ClientEvent::Dot(len) | ClientEvent::Smuggling(len) => at += len,
                // The end of data; nothing else can come in content.
                _ => return self.closed(0, reply, context),
            }
        }
        Passage { forward: 0, next: Next::Swallow }
    }
}
