//! What the client says: command lines, and what they may not be.

use artifact::settings::EndOfData;
use artifact::smtp::Region;

use super::protocol::{Asked, ends_group, is_foreign, may_hide, protocol};
use super::reading::block;
use super::report::{self, Judged};
use super::ruling::{Overwritten, Ruling};
use super::{CLIENT, Context, Dialogue, Next, Passage};
use crate::anomaly::Anomaly;
use crate::event::{Action, Kind, ReplyCode};
use crate::rewrite::mask;
use crate::scan::{CriterionSet, Matcher};
use crate::smtp::chunk::Chunk;
use crate::smtp::ext::CHUNKING;
use crate::smtp::line::without_end;
use crate::smtp::path::{self, Place};
use crate::smtp::session::{AuthLines, Shape};
use crate::smtp::signature::{self, Seen};
use crate::smtp::{ClientEvent, Fault, Head, Session, Verb, word};
use crate::unit::Direction;
use crate::verdict::{ODD_BASE64, Observation, Outcome, Rules};

impl Dialogue {
    pub(super) fn hear_client<X: Matcher>(
        &mut self,
        bytes: &mut [u8],
        context: &mut Context<'_, X>,
    ) -> Passage {
        let mut at = 0;
        let auth = AuthLines {
            limit: context.rules.auth_line_limit(),
            groups_of_four: context.rules.wants_groups_of_four(),
        };
        while at < bytes.len() {
            let usual = self.usual_recipients(&bytes[at..], context);
            at += usual.len;
            if at == bytes.len() {
                break;
            }
            let here = self.offsets[CLIENT] + at as u64;
            let event = self.session.client(&bytes[at..], auth, &mut context.stores.lines);
            self.early &= event == ClientEvent::Blocked;
            match event {
                ClientEvent::Blocked => {
                    if !self.early {
                        self.early = true;
                        context.anomaly(Anomaly::EarlyClientData, Direction::ClientToServer, here);
                    }
                    if context.rules.is_strict_about_turns() {
                        let reply = self.out_of_step(here, context);
                        return self.refused(at, reply, context);
                    }
                    return Passage { forward: at, next: Next::Wait };
                }
                ClientEvent::Early => return Passage { forward: at, next: Next::Keep },
                ClientEvent::Partial(len) => {
                    self.mask_partial(&mut bytes[at..at + len], context.rules);
                    at += len;
                }
                ClientEvent::Command(len, head) => {
                    match self.command(&mut bytes[at..at + len], head, usual.hits, here, context) {
                        Ok(()) => at += len,
                        // Its chunk comes before its reply is read.
                        Err(reply) if self.session.in_chunk() => {
                            return self.refused_message(bytes, at, at + len, reply, context);
                        }
                        Err(reply) => return self.refused(at, reply, context),
                    }
                }
                ClientEvent::Exchange(len) => at += len,
                ClientEvent::Text(len) => match self.text(&bytes[at..at + len], context) {
                    Ok(()) => at += len,
                    Err(reply) => return self.refused_message(bytes, at, at + len, reply, context),
                },
                ClientEvent::Chunk(len, complete) => {
                    match self.chunk(&bytes[at..at + len], complete, here, context) {
                        Ok(()) => at += len,
                        // Here its reply is read.
                        Err(reply) if complete => return self.refused(at, reply, context),
                        Err(reply) => return self.refused_message(bytes, at, at + len, reply, context),
                    }
                }
                ClientEvent::Dot(len) => {
                    self.content.dot();
                    at += len;
                }
                ClientEvent::EndOfData(len) => match self.end_of_data(here, context) {
                    Ok(()) => at += len,
                    Err(reply) => return self.refused(at, reply, context),
                },
                ClientEvent::Smuggling(len) if context.rules.end_of_data() == EndOfData::Off => {
                    match self.text(&bytes[at..at + len], context) {
                        Ok(()) => at += len,
                        Err(reply) => return self.refused_message(bytes, at, at + len, reply, context),
                    }
                }
                ClientEvent::Smuggling(len) => {
                    let judged = Judged::at(Direction::ClientToServer, here);
                    let reply = ReplyCode::Smuggling;
                    context.decision(Kind::SmtpSmuggling, &judged, None, Action::Close, Some(reply));
                    // Nor the dot and the CR before it: to some server they are the end by themselves.
                    let held_back = at.saturating_sub(self.content.end_len());
                    return self.refused_message(bytes, held_back, at + len, reply, context);
                }
                ClientEvent::Tls(len, false) => at += len,
                ClientEvent::Tls(_, true) => {
                    return self.opaque(bytes.len(), context);
                }
                ClientEvent::Layer(_) => return self.opaque(bytes.len(), context),
                ClientEvent::Fault(fault) => {
                    let reply = self.fault(fault, &bytes[at..], here, context);
                    return self.refused(at, reply, context);
                }
            }
        }
        Passage { forward: at, next: Next::Go }
    }

    /// No octet of either direction is judged from here on.
    fn opaque<X: Matcher>(&mut self, forward: usize, context: &mut Context<'_, X>) -> Passage {
        self.release(context);
        self.gate = super::Gate::Opaque;
        context.counters.smtp_opaque += 1;
        Passage { forward, next: Next::Opaque }
    }

    /// The client does not wait for its turn.
    fn out_of_step<X: Matcher>(&mut self, here: u64, context: &mut Context<'_, X>) -> ReplyCode {
        let reply = ReplyCode::OutOfSync;
        let judged = Judged::at(Direction::ClientToServer, here);
        context.decision(Kind::SmtpOutOfSync, &judged, None, Action::Close, Some(reply));
        reply
    }

    /// A part of a line: its verb is compared as its letters arrive.
    fn mask_partial(&mut self, piece: &mut [u8], rules: &Rules) {
        let start = self.session.line_len() - piece.len();
        if self.masking[CLIENT].is_none() {
            let line = self.session.line(piece);
            let verb = word(line);
            // A line of blanks has no verb yet.
            let complete = verb.end < line.len() && (!verb.is_empty() || line[verb.end] != b'\r');
            let Some(illegal) = rules.verbs().illegal_from(&line[verb.clone()], complete) else { return };
            let from = (verb.start + illegal).max(start);
            let reaches = from <= verb.end && from < without_end(line).len();
            if !reaches {
                return;
            }
            self.masking[CLIENT] = Some(verb.len() as u16);
            mask::command(&mut piece[from - start..]);
        } else {
            mask::command(piece);
        }
    }

    /// A complete command line, of which `piece` is the last part. Its path may have been scanned already.
    fn command<X: Matcher>(
        &mut self,
        piece: &mut [u8],
        head: Head,
        hits: Option<CriterionSet>,
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        let rules = context.rules;
        let start = self.session.line_len() - piece.len();
        let offset = here - start as u64;
        let line = without_end(self.session.line(piece));
        let Head { verb, octets, .. } = head;
        let mut verb_at = head.word();
        let place = if matches!(verb, Verb::Mail | Verb::Rcpt) {
            path::find(line, verb_at.end)
        } else {
            Place::default()
        };
        report::count_command(context.counters, verb);
        // Once octets were overwritten the word is what it was then: letters that came later cannot take that back. Where
        // the whole word is overwritten too, it says best why.
        let masking = self.masking[CLIENT].take();
        let judged_early = masking.filter(|_| !rules.verbs().is_masked(&line[verb_at.clone()]));
        verb_at.end =
            judged_early.map_or(verb_at.end, |len| verb_at.end.min(verb_at.start + usize::from(len)));
        let name = &line[verb_at.clone()];
        let session = &self.session;
        let judged = || judged_line(session, piece, here);
        let path = &line[place.path.clone()];
        let blank = verb_at.start == line.len();
        let junk = self.conduct.command(verb, rules);
        // Nothing to be asked about the verbs of nearly every command.
        let usual = matches!(
            verb,
            Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Rset | Verb::Quit | Verb::Ehlo | Verb::Helo
        );
        let out_of_turn = self.session.is_out_of_turn();
        if out_of_turn && !rules.is_strict_about_turns() {
            self.conduct.anomaly(Anomaly::OutOfTurn, Direction::ClientToServer, here, context);
        }

        let shape = Shape {
            layered: may_hide(verb, line),
            ends_group: ends_group(verb, name),
            ..self.session.shape(verb, line, place.end)
        };
        let offered = verb == Verb::Bdat && rules.chunking() && self.session.advertised().has(CHUNKING);
        let ruling = if verb == Verb::Bdat && !offered {
            // Overwritten, its payload would reach the server as commands (RFC 3030, 4.2 warns of it).
            Ruling::Close(Kind::SmtpInvalidCommand, None, ReplyCode::NotImplemented)
        } else if verb == Verb::Other && is_foreign(line, name) {
            Ruling::Close(Kind::SmtpInvalidCommand, None, ReplyCode::NotImplemented)
        } else if out_of_turn && rules.is_strict_about_turns() {
            Ruling::Close(Kind::SmtpOutOfSync, None, ReplyCode::OutOfSync)
        } else if let Some(passed) = junk {
            Ruling::Refuse(Kind::SmtpLimit, passed.judged(offset), passed.reply)
        } else if self.session.is_chunking() && !may_stand_between_chunks(verb, name, shape) {
            // A server that refuses it may take the next chunk for commands, whether it was overwritten or not.
            Ruling::Close(Kind::SmtpOutOfSync, None, ReplyCode::BadSequence)
        } else if !blank && !rules.is_legal_verb(name) {
            Ruling::Mask(None)
        } else {
            let mut seen = rules.command(name, self.session.line_len());
            let counted = self.facts.recipient_count;
            match verb {
                Verb::Mail => scan(self.smtp, Region::Sender, path, &mut seen, context),
                Verb::Rcpt => {
                    self.facts.recipient_count = counted.saturating_add(1);
                    match hits {
                        Some(hits) => seen.scanned(rules, Region::Recipient, &hits),
                        None => scan(self.smtp, Region::Recipient, path, &mut seen, context),
                    }
                    rules.recipient(&self.facts, &mut seen);
                }
                Verb::Data | Verb::Bdat => rules.data(&self.facts, &mut seen),
                _ => {}
            }
            let outcome =
                rules.judge(&mut self.facts, &seen, |noted| report::noted(context.journal, &judged(), noted));
            match outcome {
                Outcome::Pass if !usual && rules.is_denied(name) => Ruling::Mask(None),
                Outcome::Pass | Outcome::Allow => {
                    let recipient_count = self.facts.recipient_count;
                    let len = self.session.line_len();
                    let spam_recipients = rules.spam_recipients();
                    let seen = Seen::Command {
                        verb,
                        word: name,
                        line,
                        len,
                        path,
                        octets,
                        recipient_count,
                        spam_recipients,
                    };
                    match signature::find(&seen, rules.signatures()) {
                        Some(id) => {
                            let judged = Judged { signature: Some(id), ..judged() };
                            Ruling::Refuse(Kind::SmtpSignature, judged, ReplyCode::Policy)
                        }
                        None => {
                            let asked = Asked { verb, line, octets, place: &place, shape, offset };
                            protocol(&asked, &self.session, &mut self.conduct, context)
                        }
                    }
                }
                Outcome::Mask(cause) if verb == Verb::Bdat || self.session.is_chunking() => {
                    Ruling::Close(Kind::SmtpMatch, Some(cause), ReplyCode::NotImplemented)
                }
                Outcome::Mask(cause) => {
                    self.facts.recipient_count = counted;
                    Ruling::Mask(Some(cause))
                }
                Outcome::Reset(cause) => Ruling::Close(Kind::SmtpMatch, Some(cause), rules.reply(cause)),
            }
        };

        match ruling {
            Ruling::Pass => {
                if verb == Verb::Rset && shape.obeyed {
                    report::forget(&mut self.audit, &mut self.facts, context);
                }
                report::audit_command(&mut self.audit, verb, line, path, context);
                match shape.chunk {
                    Some(chunk) => self.announced(chunk, shape, piece, here, context),
                    None => self.sent(verb, shape, piece, here, context),
                }
            }
            Ruling::Mask(cause) => {
                let judged = judged();
                self.overwrite(cause, &judged, Overwritten { piece, here, verb_at, masking }, context)
            }
            Ruling::Refuse(kind, part, reply) => {
                self.swallow_chunk(offered, shape);
                context.decision(kind, &part, None, Action::Close, Some(reply));
                Err(reply)
            }
            Ruling::Close(kind, cause, reply) => {
                let judged = judged();
                self.swallow_chunk(offered, shape);
                context.decision(kind, &judged, cause, Action::Close, Some(reply));
                Err(reply)
            }
        }
    }

    /// A BDAT leaves, whose chunk starts behind `piece`. With `BDAT 0 LAST` its own LF ends the message.
    fn announced<X: Matcher>(
        &mut self,
        chunk: Chunk,
        shape: Shape,
        piece: &[u8],
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        if !self.session.is_chunking() {
            self.begin_content(here + piece.len() as u64);
        }
        let ends = chunk.len == 0 && chunk.last;
        if ends {
            self.message_ended(context)?;
        }
        self.sent(Verb::Bdat, shape, piece, here, context)?;
        if ends {
            report::message_sent(&mut self.audit, &mut self.facts, context);
        }
        Ok(())
    }

    /// The command leaves for the server.
    pub(super) fn sent<X: Matcher>(
        &mut self,
        verb: Verb,
        shape: Shape,
        piece: &[u8],
        here: u64,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        let sent = self.session.command(verb, shape, &mut context.stores.lines);
        sent.map_err(|_| {
            let judged = judged_line(&self.session, piece, here);
            context.anomaly(Anomaly::PipelineOverflow, Direction::ClientToServer, judged.offset);
            let reply = ReplyCode::OutOfSync;
            context.decision(Kind::SmtpOutOfSync, &judged, None, Action::Close, Some(reply));
            reply
        })
    }

    fn fault<X: Matcher>(
        &mut self,
        fault: Fault,
        rest: &[u8],
        here: u64,
        context: &mut Context<'_, X>,
    ) -> ReplyCode {
        let start = here - self.session.line_len() as u64;
        // What an AUTH exchange says is a password, and not shown.
        let held = if self.session.in_exchange() { &[] } else { self.session.line(rest) };
        let (kind, judged, reply) = match fault {
            Fault::LineEnd(at) | Fault::Octet(at) => {
                let line = &held[..at.min(held.len())];
                let reply = if matches!(fault, Fault::Octet(_)) { ReplyCode::Octet } else { ReplyCode::Line };
                (Kind::SmtpInvalidCommand, Judged::command(start, line, at), reply)
            }
            Fault::Base64(len) | Fault::OddBase64(len) => {
                let judged = Judged {
                    value_len: len.saturating_sub(2),
                    ..Judged::at(Direction::ClientToServer, start)
                };
                if matches!(fault, Fault::Base64(_)) {
                    (Kind::SmtpInvalidParameter, judged, ReplyCode::Base64)
                } else {
                    let judged = Judged { signature: Some(ODD_BASE64), ..judged };
                    (Kind::SmtpSignature, judged, ReplyCode::Policy)
                }
            }
            Fault::TooLong(limit) => {
                let line = &held[..limit.min(held.len())];
                (Kind::SmtpLineTooLong, Judged::command(start, line, limit + 1), ReplyCode::Line)
            }
            Fault::NoRoom => (
                Kind::ResourceExhausted,
                Judged::at(Direction::ClientToServer, start),
                ReplyCode::Unavailable,
            ),
            Fault::NoTls => (
                Kind::SmtpStarttlsInjection,
                Judged::at(Direction::ClientToServer, here),
                ReplyCode::OutOfSync,
            ),
        };
        context.decision(kind, &judged, None, Action::Close, Some(reply));
        reply
    }
}

/// The command line of which `piece`, at octet `here` of the client's stream, is the last part.
pub(super) fn judged_line(session: &Session, piece: &[u8], here: u64) -> Judged {
    let len = session.line_len();
    let line = without_end(session.line(piece));
    Judged::command(here - (len - piece.len()) as u64, line, len - 2)
}

/// Whether a command may come after a chunk that was not its message's last (RFC 3030, 4.2; Exim takes only these).
fn may_stand_between_chunks(verb: Verb, name: &[u8], shape: Shape) -> bool {
    match verb {
        Verb::Bdat | Verb::Quit => true,
        Verb::Rset => shape.obeyed,
        _ => name.eq_ignore_ascii_case(b"NOOP"),
    }
}

/// Scans a path, if the policy asks about it.
fn scan<X: Matcher>(
    smtp: u16,
    region: Region,
    path: &[u8],
    seen: &mut Observation,
    context: &mut Context<'_, X>,
) {
    if context.rules.asks(region) {
        let hits = block(context.matcher, context.counters, smtp, region, path);
        seen.scanned(context.rules, region, &hits);
    }
}
