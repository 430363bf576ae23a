//! Messages: counted, read, judged; and swallowed when they are refused.

use artifact::settings::EndOfData;

use super::reading::{Reading, judge};
use super::report::{self, Judged};
use super::{CLIENT, Context, Dialogue, Gate, Next, Passage, SWALLOW_LIMIT, SWALLOW_TIME};
use crate::anomaly::Anomaly;
use crate::event::{Action, Kind, ReplyCode};
use crate::scan::{CriterionSet, Matcher};
use crate::smtp::ClientEvent;
use crate::smtp::session::AuthLines;
use crate::unit::Direction;

/// The message under way.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// What may become the end of data: a dot at the start of a line, then a CR. The next octet will tell.
    end_len: u8,
    /// The text so far ends in CR.
    cr: bool,
    /// How far it is read, where the policy asks for more than its length.
    reading: Option<Box<Reading>>,
    /// All of it was read that the policy asks for.
    read: bool,
}

impl Content {
    /// Such a dot, or what followed it on the way to the end of data.
    pub fn dot(&mut self) {
        self.end_len = self.end_len.saturating_add(1);
        self.cr = false;
    }

    /// Octets just read that may become the end of data.
    pub fn end_len(&self) -> usize {
        usize::from(self.end_len)
    }

    /// Gives back what it holds.
    pub fn end<X: Matcher>(&mut self, context: &mut Context<'_, X>) {
        if let Some(mut reading) = self.reading.take() {
            if let Some(stream) = reading.stream.take() {
                context.matcher.close(stream, &mut CriterionSet::default());
            }
            reading.restart(context.rules, &mut context.stores.fields);
            context.stores.messages.give(reading);
        }
    }
}

impl Dialogue {
    /// The server is ready for content, which starts at octet `start` of the client's stream.
    pub(super) fn begin_content(&mut self, start: u64) {
        self.content_start = start;
        self.content.end_len = 0;
        self.content.cr = false;
        self.content.read = false;
    }

    /// Text of a message.
    pub(super) fn text<X: Matcher>(
        &mut self,
        text: &[u8],
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        // RFC 5321, 4.5.2: a dot that starts a line and is not alone was added by the sender. It is content that was
        // moved, but not text that anyone reads.
        let end_len = core::mem::take(&mut self.content.end_len);
        if context.rules.end_of_data() == EndOfData::Strict {
            self.strict(text, context)?;
        }
        if end_len > 1 {
            // It was not the end, and nobody minds.
            self.add(b"\r", true, context)?;
        }
        self.add(text, end_len == 1, context)
    }

    /// Octets of a chunk, the last one of which leaves like an end of data.
    ///
    /// There is no end of data in a chunk, and a dot is a dot: what servers take for an end of data in DATA is text here, and only
    /// `strict` refuses what is no text (a CR or LF that is not part of CRLF, NUL), unless the message was announced as binary.
    pub(super) fn chunk<X: Matcher>(
        &mut self,
        octets: &[u8],
        complete: bool,
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        if self.is_strict(context) {
            self.strict(octets, context)?;
        }
        self.add(octets, false, context)?;
        if !complete {
            return Ok(());
        }
        let last = self.session.is_last_chunk();
        if last {
            self.message_ended(context)?;
        }
        let confirmed = self.session.end_chunk();
        confirmed.map_err(|_| self.overflow(here, context))?;
        if last {
            report::message_sent(&mut self.audit, &mut self.facts, context);
        }
        Ok(())
    }

    fn is_strict<X>(&self, context: &Context<'_, X>) -> bool {
        context.rules.end_of_data() == EndOfData::Strict && !self.session.is_binary()
    }

    /// Refuses a CR or LF that is not part of CRLF, and NUL.
    fn strict<X: Matcher>(&mut self, text: &[u8], context: &mut Context<'_, X>) -> Result<(), ReplyCode> {
        let [first, rest @ ..] = text else { return Ok(()) };
        let is_odd = |cr: bool, byte: u8| (byte == 0) | (cr != (byte == b'\n'));
        // Without a branch for each octet.
        let odd = text.iter().zip(rest).fold(is_odd(self.content.cr, *first), |odd, (before, byte)| {
            odd | is_odd(*before == b'\r', *byte)
        });
        self.content.cr = text.ends_with(b"\r");
        if odd { Err(self.ambiguous(context)) } else { Ok(()) }
    }

    fn ambiguous<X: Matcher>(&self, context: &mut Context<'_, X>) -> ReplyCode {
        let reply = ReplyCode::Smuggling;
        context.decision(Kind::SmtpSmuggling, &self.judged(), None, Action::Close, Some(reply));
        reply
    }

    fn add<X: Matcher>(
        &mut self,
        text: &[u8],
        mut stuffed: bool,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        let mut text = text;
        while !text.is_empty() {
            // Cut where a limit is passed, so that what is decided first does not depend on how the message is cut.
            let room = usize::try_from(context.rules.room_for_data(&self.facts)).unwrap_or(usize::MAX);
            let (piece, rest) =
                text.split_at(text.len().min(room.saturating_sub(usize::from(stuffed)).max(1)));
            self.read(piece, stuffed, context)?;
            self.count(piece.len() as u64 + u64::from(stuffed), context)?;
            text = rest;
            stuffed = false;
        }
        Ok(())
    }

    /// Reads text as part of a MIME message, if the policy asks for that.
    fn read<X: Matcher>(
        &mut self,
        text: &[u8],
        stuffed: bool,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        if !context.rules.wants().mime || self.content.read {
            return Ok(());
        }
        self.take_reading(context)?;
        let Some(reading) = self.content.reading.as_deref_mut() else { return Ok(()) };
        if stuffed {
            reading.message.skip_dot();
        }
        let facts = &mut self.facts;
        reading.push(text, self.smtp, facts, self.content_start, &mut self.conduct, context)?;
        let Some(reading) = self.content.reading.as_deref_mut() else { return Ok(()) };
        if reading.past_header && context.rules.wants().only_header {
            self.content.end(context);
            self.content.read = true;
        }
        Ok(())
    }

    fn take_reading<X: Matcher>(&mut self, context: &mut Context<'_, X>) -> Result<(), ReplyCode> {
        if self.content.reading.is_none() {
            let Some(mut reading) = context.stores.messages.take() else {
                return Err(self.exhausted(context));
            };
            reading.restart(context.rules, &mut context.stores.fields);
            self.content.reading = Some(reading);
        }
        Ok(())
    }

    fn exhausted<X: Matcher>(&self, context: &mut Context<'_, X>) -> ReplyCode {
        let judged = Judged::at(Direction::ClientToServer, self.content_start);
        let reply = ReplyCode::Unavailable;
        context.decision(Kind::ResourceExhausted, &judged, None, Action::Close, Some(reply));
        reply
    }

    fn count<X: Matcher>(&mut self, len: u64, context: &mut Context<'_, X>) -> Result<(), ReplyCode> {
        context.counters.smtp_content_bytes += len;
        let before = self.facts.content_len;
        self.facts.content_len = before.saturating_add(len);
        let seen = context.rules.data_grew(before, self.facts.content_len);
        if !seen.is_empty() {
            let judged = self.judged();
            judge(context.rules, &mut self.facts, &seen, judged, context.journal)?;
        }
        // Cisco ESMTP document, `ip inspect name ... max-data`: octets of all messages of the session.
        let total = self.facts.earlier_len.saturating_add(self.facts.content_len);
        match context.rules.max_data() {
            Some(limit) if total > limit => {
                let value_len = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
                let judged = Judged { value_len, ..self.judged() };
                let reply = ReplyCode::Policy;
                context.decision(Kind::SmtpMatch, &judged, None, Action::Close, Some(reply));
                Err(reply)
            }
            _ => Ok(()),
        }
    }

    fn judged(&self) -> Judged {
        Judged::at(Direction::ClientToServer, self.content_start)
    }

    /// The end of data is complete: the last moment at which the message can be refused.
    pub(super) fn end_of_data<X: Matcher>(
        &mut self,
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        self.message_ended(context)?;
        let confirmed = self.session.end_of_data();
        confirmed.map_err(|_| self.overflow(here, context))?;
        report::message_sent(&mut self.audit, &mut self.facts, context);
        Ok(())
    }

    /// All of the message is known.
    pub(super) fn message_ended<X: Matcher>(
        &mut self,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        // Only a chunk can end in CR.
        if self.content.cr && self.is_strict(context) {
            return Err(self.ambiguous(context));
        }
        let mut seen = context.rules.data_ended(self.facts.content_len);
        if context.rules.wants().mime && !self.content.read {
            self.take_reading(context)?;
            if let Some(reading) = self.content.reading.as_deref_mut() {
                let facts = &mut self.facts;
                reading.finish(self.smtp, facts, self.content_start, &mut self.conduct, context)?;
                seen.merge(&reading.absent(context.rules));
            }
        }
        let judged = self.judged();
        judge(context.rules, &mut self.facts, &seen, judged, context.journal)?;
        self.content.end(context);
        Ok(())
    }

    /// The command or message cannot leave: too many are without reply.
    fn overflow<X: Matcher>(&self, here: u64, context: &mut Context<'_, X>) -> ReplyCode {
        let judged = Judged::at(Direction::ClientToServer, here);
        context.anomaly(Anomaly::PipelineOverflow, Direction::ClientToServer, here);
        let reply = ReplyCode::OutOfSync;
        context.decision(Kind::SmtpOutOfSync, &judged, None, Action::Close, Some(reply));
        reply
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
            match self.session.client(&bytes[at..], AuthLines::default(), &mut context.stores.lines) {
                ClientEvent::Text(len)
                | ClientEvent::Dot(len)
                | ClientEvent::Smuggling(len)
                | ClientEvent::Chunk(len, false) => at += len,
                // The end of data, or of the chunk; nothing else can come in content.
                _ => return self.closed(0, reply, context),
            }
        }
        Passage { forward: 0, next: Next::Swallow }
    }
}
