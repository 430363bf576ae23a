//! What the server says: replies, matched with commands, and the keywords of EHLO.

use super::Next;
use super::report::{self, Judged};
use super::{CLIENT, Context, Dialogue, Gate, Passage, SERVER};
use crate::anomaly::Anomaly;
use crate::event::{Action, Kind, ReplyCode};
use crate::rewrite::mask;
use crate::scan::Matcher;
use crate::smtp::line::without_end;
use crate::smtp::reply::REPLY_LINE_LIMIT;
use crate::smtp::{Answer, Answered, ServerEvent, sasl, word};
use crate::unit::Direction;
use crate::verdict::{Outcome, Rules};

/// Octets of a reply line before its text: code and separator.
const TEXT: usize = 4;

/// The keyword behind which mechanisms stand.
const AUTH: &[u8] = b"AUTH";

/// Why the session is refused by what the server said, and whether the reply that did it may still be read.
struct Refusal {
    reply: ReplyCode,
    passes: bool,
}

impl Dialogue {
    pub(super) fn hear_server<X: Matcher>(
        &mut self,
        bytes: &mut [u8],
        context: &mut Context<'_, X>,
    ) -> Passage {
        let mut at = 0;
        // Where the reply under way begins, if none of it has left.
        let mut reply_start = None;
        while at < bytes.len() {
            at += self.usual_replies(&bytes[at..], context);
            if at == bytes.len() {
                break;
            }
            let here = self.offsets[SERVER] + at as u64;
            if !self.session.is_replying() {
                reply_start = Some(at);
            }
            match self.session.server(&bytes[at..], &mut context.stores.lines) {
                ServerEvent::Partial(len, keyword) => {
                    if keyword {
                        self.mask_partial_keyword(&mut bytes[at..at + len], context.rules);
                    }
                    at += len;
                }
                ServerEvent::Line(len, keyword) => {
                    let whole_line = self.session.reply_line_len() as usize == len;
                    // Nothing but whole lines may stand before the gateway's own reply.
                    let before = reply_start.unwrap_or(if whole_line { at } else { at + len });
                    match self.reply_line(&mut bytes[at..at + len], keyword, here, context) {
                        Ok(()) => at += len,
                        Err(Refusal { reply, passes }) => {
                            let forward = if passes { at + len } else { before };
                            return self.refused_by_server(forward, reply, context);
                        }
                    }
                    if let Gate::Drain { reply, .. } = self.gate
                        && self.session.is_answered()
                    {
                        return self.closed(at, reply, context);
                    }
                }
                event => {
                    let reply = self.server_fault(event, here, context);
                    return self.refused_by_server(at, reply, context);
                }
            }
        }
        let draining = matches!(self.gate, Gate::Drain { .. });
        Passage { forward: at, next: if draining { Next::Drain } else { Next::Go } }
    }

    /// In content the client reads no reply before its end of data.
    fn refused_by_server<X: Matcher>(
        &mut self,
        forward: usize,
        reply: ReplyCode,
        context: &mut Context<'_, X>,
    ) -> Passage {
        match self.gate {
            Gate::Drain { reply, .. } => self.closed(forward, reply, context),
            _ if self.session.in_content() => self.refused_message(&[], forward, 0, reply, context),
            _ => self.closed(forward, reply, context),
        }
    }

    fn server_fault<X: Matcher>(
        &mut self,
        event: ServerEvent,
        here: u64,
        context: &mut Context<'_, X>,
    ) -> ReplyCode {
        let judged = Judged::at(Direction::ServerToClient, here);
        let (kind, reply) = match event {
            ServerEvent::NoRoom => (Kind::ResourceExhausted, ReplyCode::Unavailable),
            ServerEvent::NoTls => (Kind::SmtpStarttlsInjection, ReplyCode::OutOfSync),
            _ => {
                context.anomaly(Anomaly::MalformedReply, Direction::ServerToClient, here);
                (Kind::SmtpOutOfSync, ReplyCode::OutOfSync)
            }
        };
        context.decision(kind, &judged, None, Action::Close, Some(reply));
        reply
    }

    /// A part of a line with a keyword: compared as its letters arrive.
    fn mask_partial_keyword(&mut self, piece: &mut [u8], rules: &Rules) {
        let start = self.session.reply_line_len() as usize - piece.len();
        if self.masking[SERVER].is_some() {
            mask::keyword(piece);
            return;
        }
        let line = self.session.reply_line(piece);
        let Some(text) = line.get(TEXT..) else { return };
        let keyword = word(text);
        let complete = keyword.end < text.len() && (!keyword.is_empty() || text[keyword.end] != b'\r');
        let Some(illegal) = rules.keywords().illegal_from(&text[keyword.clone()], complete) else {
            return self.mask_mechanisms(piece, rules);
        };
        let from = (TEXT + keyword.start + illegal).max(start);
        if from <= TEXT + keyword.end && from < without_end(line).len() {
            self.masking[SERVER] = Some(keyword.len() as u16);
            mask::keyword(&mut piece[from - start..]);
        }
    }

    /// Overwrites the mechanisms of an AUTH line that must not be used, as far as they are in this piece of it: whole, or from the
    /// letter on that completes them.
    fn mask_mechanisms(&mut self, piece: &mut [u8], rules: &Rules) {
        let start = self.session.reply_line_len() as usize - piece.len();
        let mut done = start;
        loop {
            let line = self.session.reply_line(piece);
            let known = line.len();
            let Some(text) = line.get(TEXT..) else { return };
            let keyword = word(text);
            if keyword.end == text.len() || !text[keyword].eq_ignore_ascii_case(AUTH) {
                return;
            }
            let next = sasl::mechanisms(text).find_map(|at| {
                let (from, end) = (TEXT + at.start, TEXT + at.end);
                let name = &text[at.clone()];
                let illegal = rules.mechanisms().illegal_from(name, at.end < text.len())?;
                let from = if from >= start { from } else { from + illegal };
                (end > done).then_some((from.max(done), end))
            });
            let Some((from, end)) = next else {
                // Of what is beyond nothing is known.
                if known < start + piece.len() {
                    mask::keyword(&mut piece[known.max(start) - start..]);
                    self.mechanisms_masked = true;
                }
                return;
            };
            mask::keyword(&mut piece[from - start..end - start]);
            self.mechanisms_masked = true;
            done = end;
        }
    }

    /// A complete line, of which `piece` is the last part.
    fn reply_line<X: Matcher>(
        &mut self,
        piece: &mut [u8],
        keyword: bool,
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), Refusal> {
        if self.session.reply_line_len() > REPLY_LINE_LIMIT {
            self.conduct.anomaly(Anomaly::ReplyLineTooLong, Direction::ServerToClient, here, context);
        }
        if keyword {
            self.keyword(piece, here, context).map_err(|reply| Refusal { reply, passes: false })?;
        }
        let answer = self.session.reply(&mut context.stores.lines);
        if self.session.reply_is_odd() {
            self.conduct.anomaly(Anomaly::OddReplyCode, Direction::ServerToClient, here, context);
        }
        let Some(answer) = answer else { return Ok(()) };
        report::count_reply(context.counters, answer.code);
        self.answered(answer, here, context)
    }

    /// A line of the EHLO reply.
    fn keyword<X: Matcher>(
        &mut self,
        piece: &mut [u8],
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        let rules = context.rules;
        let start = self.session.reply_line_len() as usize - piece.len();
        let masking = self.masking[SERVER].take();
        let line = without_end(self.session.reply_line(piece));
        let text = line.get(TEXT..).unwrap_or_default();
        let mut at = word(text);
        let is_auth = text[at.clone()].eq_ignore_ascii_case(AUTH);
        // As in commands: a word that began to be overwritten is judged as it was then, unless as a whole it fares no better.
        let judged_early = masking.filter(|_| !rules.keywords().is_masked(&text[at.clone()]));
        at.end = judged_early.map_or(at.end, |len| at.end.min(at.start + usize::from(len)));
        if at.start == text.len() {
            return Ok(());
        }
        let name = &text[at.clone()];
        let offset = here - start as u64;
        let judged = |text: &[u8]| Judged::octets(Direction::ServerToClient, offset, text);
        // Whether the client is shown it or not.
        self.offers_tls |= name.eq_ignore_ascii_case(b"STARTTLS");
        let mechanisms_masked = core::mem::take(&mut self.mechanisms_masked);

        let cause = if rules.is_legal_keyword(name) {
            let seen = rules.keyword(name);
            match rules
                .judge(&mut self.facts, &seen, |noted| report::noted(context.journal, &judged(text), noted))
            {
                Outcome::Pass if rules.is_denied(name) => None,
                Outcome::Pass | Outcome::Allow => {
                    // As it was before it is overwritten.
                    let judged = (is_auth || mechanisms_masked).then(|| judged(text));
                    // A refusal that is only still to be said keeps the form it was reported in.
                    if self.gate == Gate::Open {
                        self.session.advertise(piece, TEXT + at.start..TEXT + at.end);
                        context.journal.set_enhanced(self.enhanced_status_codes());
                    }
                    if is_auth {
                        self.mask_mechanisms(piece, rules);
                    }
                    if (core::mem::take(&mut self.mechanisms_masked) || mechanisms_masked)
                        && let Some(judged) = judged
                    {
                        context.counters.smtp_masked_keywords += 1;
                        context.decision(Kind::SmtpEhloMasked, &judged, None, Action::Mask, None);
                    }
                    return Ok(());
                }
                Outcome::Reset(cause) => {
                    let reply = rules.reply(cause);
                    context.decision(Kind::SmtpMatch, &judged(text), Some(cause), Action::Close, Some(reply));
                    return Err(reply);
                }
                Outcome::Mask(cause) => Some(cause),
            }
        } else {
            None
        };

        let judged = judged(text);
        let kind = if cause.is_some() { Kind::SmtpMatch } else { Kind::SmtpEhloMasked };
        let illegal = rules.keywords().illegal_from(name, true).unwrap_or(name.len());
        let from = match masking {
            Some(_) => Some(0),
            None if start <= TEXT => Some(TEXT - start),
            // Overwriting must change the keyword, or the client might believe it all the same.
            None => Some((TEXT + at.start + illegal).max(start))
                .filter(|from| *from <= TEXT + at.end && *from < line.len())
                .map(|from| from - start),
        };
        let Some(from) = from else {
            let reply = ReplyCode::Policy;
            context.decision(kind, &judged, cause, Action::Close, Some(reply));
            return Err(reply);
        };
        mask::keyword(&mut piece[from..]);
        context.counters.smtp_masked_keywords += 1;
        context.decision(kind, &judged, cause, Action::Mask, None);
        Ok(())
    }

    /// A complete reply.
    fn answered<X: Matcher>(
        &mut self,
        answer: Answer,
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), Refusal> {
        match answer.to {
            Answered::Plain | Answered::StartTls => {}
            Answered::Greeted => {
                let offered = core::mem::take(&mut self.offers_tls);
                if let Some(server) = context.journal.flow().map(|flow| flow.server)
                    && context.stores.tls.greeted(server, offered, context.now)
                {
                    self.conduct.anomaly(Anomaly::StartTlsStripped, Direction::ServerToClient, here, context);
                }
                report::forget(&mut self.audit, &mut self.facts, context);
            }
            Answered::Forgotten => report::forget(&mut self.audit, &mut self.facts, context),
            Answered::AuthFailed => {
                if let Some(passed) = self.conduct.auth_failed(context.rules)
                    && self.gate == Gate::Open
                {
                    let judged = passed.judged(self.offsets[CLIENT]);
                    context.decision(Kind::SmtpLimit, &judged, None, Action::Close, Some(passed.reply));
                    return Err(Refusal { reply: passed.reply, passes: true });
                }
            }
            Answered::Data => self.begin_content(self.offsets[CLIENT]),
            // What was read of the message is forgotten, as the server does.
            Answered::ChunkRefused => self.content.end(context),
            Answered::EndOfData => {
                if matches!(answer.code, 200..300) {
                    context.counters.smtp_messages += 1;
                    self.conduct.message();
                }
                report::message_answered(&mut self.audit, answer.code, context);
            }
            Answered::Rcpt { refused } => {
                self.facts.refused_count = self.facts.refused_count.saturating_add(u32::from(refused));
                let seen = context.rules.recipient_reply(&self.facts);
                let judged = || Judged::at(Direction::ServerToClient, here);
                let rules = context.rules;
                let outcome = rules
                    .judge(&mut self.facts, &seen, |noted| report::noted(context.journal, &judged(), noted));
                if let Outcome::Reset(cause) = outcome
                    && self.gate == Gate::Open
                {
                    let reply = rules.reply(cause);
                    context.decision(Kind::SmtpMatch, &judged(), Some(cause), Action::Close, Some(reply));
                    return Err(Refusal { reply, passes: true });
                }
            }
            Answered::Unsolicited => {
                self.conduct.anomaly(Anomaly::UnsolicitedReply, Direction::ServerToClient, here, context);
            }
            Answered::OutOfStep => {
                context.anomaly(Anomaly::UnsolicitedReply, Direction::ServerToClient, here);
                let judged = Judged::at(Direction::ServerToClient, here);
                let reply = ReplyCode::OutOfSync;
                context.decision(Kind::SmtpOutOfSync, &judged, None, Action::Close, Some(reply));
                // What a server says that gives up in the middle of a chunk (421 above all) is what its client asks for.
                let passes = self.session.in_chunk() && answer.code >= 400;
                return Err(Refusal { reply, passes });
            }
        }
        Ok(())
    }
}
