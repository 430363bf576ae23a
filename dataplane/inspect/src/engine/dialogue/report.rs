//! Decisions and transactions as records.

use super::Context;
use crate::anomaly::Anomaly;
use crate::counter::Counters;
use crate::event::{Action, Body, Decision, Journal, Kind, ReplyCode, Transaction, Value};
use crate::smtp::{Verb, command};
use crate::unit::{Direction, StreamOffset};
use crate::verdict::{Cause, Facts, Noted};

/// What was judged: where it stands and what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub direction: Direction,
    pub offset: u64,
    pub value: Value,
    pub value_len: usize,
    /// The signature that it is of.
    pub signature: Option<u16>,
}

impl Judged {
    /// Something that a decision is about but that has no octets to show (a length, text of a body).
    pub fn at(direction: Direction, offset: u64) -> Self {
        Self { direction, offset, value: Value::EMPTY, value_len: 0, signature: None }
    }

    /// Some octets.
    pub fn octets(direction: Direction, offset: u64, octets: &[u8]) -> Self {
        Self { direction, offset, value: Value::new(octets), value_len: octets.len(), signature: None }
    }

    /// A command line without its CRLF, `len` octets long of which `line` are known. What follows the mechanism of an AUTH
    /// is a password and is left out.
    pub fn command(offset: u64, line: &[u8], len: usize) -> Self {
        let word = command::word(line);
        let shown = if Verb::new(&line[word]) == Verb::Auth {
            let end = command::words(line).nth(1).map_or(line.len(), |mechanism| {
                mechanism.as_ptr() as usize - line.as_ptr() as usize + mechanism.len()
            });
            &line[..end]
        } else {
            line
        };
        Self {
            direction: Direction::ClientToServer,
            offset,
            value: Value::new(shown),
            value_len: len,
            signature: None,
        }
    }
}

/// Reports a decision.
pub(super) fn decision(
    journal: &mut Journal,
    kind: Kind,
    judged: &Judged,
    cause: Option<Cause>,
    action: Action,
    reply: Option<ReplyCode>,
) {
    journal.push(Body::Decision(Decision {
        kind,
        direction: judged.direction,
        class: cause.map(|cause| cause.class),
        criterion: cause.and_then(|cause| cause.criterion),
        signature: judged.signature,
        value: judged.value,
        value_len: u32::try_from(judged.value_len).unwrap_or(u32::MAX),
        action,
        reply,
        enhanced: journal.is_enhanced(),
        offset: StreamOffset(judged.offset),
    }));
}

/// Reports a class that does nothing else, or allows.
pub(super) fn noted(journal: &mut Journal, judged: &Judged, noted: Noted) {
    let action = if noted.allows { Action::Forward } else { Action::Log };
    decision(journal, Kind::SmtpMatch, judged, Some(noted.cause), action, None);
}

impl<X> Context<'_, X> {
    pub(super) fn decision(
        &mut self,
        kind: Kind,
        judged: &Judged,
        cause: Option<Cause>,
        action: Action,
        reply: Option<ReplyCode>,
    ) {
        if let Some(id) = judged.signature {
            self.counters.signature(id);
        }
        decision(self.journal, kind, judged, cause, action, reply);
    }

    pub(super) fn anomaly(&mut self, anomaly: Anomaly, direction: Direction, offset: u64) {
        self.counters.anomaly(anomaly);
        self.journal.push(Body::Anomaly { anomaly, direction, offset: StreamOffset(offset) });
    }
}

/// Counts a command line by its verb.
pub(super) fn count_command(counters: &mut Counters, verb: Verb) {
    counters.smtp_commands += 1;
    let count = match verb {
        Verb::Auth => &mut counters.smtp_commands_auth,
        Verb::Bdat => &mut counters.smtp_commands_bdat,
        Verb::Data => &mut counters.smtp_commands_data,
        Verb::Ehlo => &mut counters.smtp_commands_ehlo,
        Verb::Helo => &mut counters.smtp_commands_helo,
        Verb::Mail => &mut counters.smtp_commands_mail,
        Verb::Quit => &mut counters.smtp_commands_quit,
        Verb::Rcpt => &mut counters.smtp_commands_rcpt,
        Verb::Rset => &mut counters.smtp_commands_rset,
        Verb::StartTls => &mut counters.smtp_commands_starttls,
        Verb::Other => &mut counters.smtp_commands_other,
    };
    *count += 1;
}

/// Counts a reply by the first digit of its code.
pub(super) fn count_reply(counters: &mut Counters, code: u16) {
    counters.smtp_replies += 1;
    let count = match code {
        ..300 => &mut counters.smtp_replies_2xx,
        300..400 => &mut counters.smtp_replies_3xx,
        400..500 => &mut counters.smtp_replies_4xx,
        500.. => &mut counters.smtp_replies_5xx,
    };
    *count += 1;
}

/// What the audit trail says of a session's mail.
#[derive(Debug)]
pub struct Audit {
    /// The transaction under way; `helo` stays.
    current: Transaction,
    /// A MAIL has begun it.
    open: bool,
    /// One whose end of data has no reply yet.
    sent: Option<Transaction>,
}

impl Default for Audit {
    fn default() -> Self {
        let current = Transaction {
            helo: Value::EMPTY,
            mail_from: Value::EMPTY,
            first_rcpt_to: Value::EMPTY,
            rcpt_count: 0,
            content_len: 0,
            reply: 0,
        };
        Self { current, open: false, sent: None }
    }
}

impl Audit {
    fn restart(&mut self) {
        let helo = self.current.helo;
        *self = Self { sent: self.sent, ..Self::default() };
        self.current.helo = helo;
    }
}

/// A command leaves for the server as it is: what the audit trail needs of it.
pub(super) fn audit_command<X>(
    slot: &mut Option<Box<Audit>>,
    verb: Verb,
    line: &[u8],
    path: &[u8],
    context: &mut Context<'_, X>,
) {
    if !context.rules.audit_trail() {
        return;
    }
    if slot.is_none() && matches!(verb, Verb::Ehlo | Verb::Helo | Verb::Mail) {
        *slot = context.stores.audits.take();
        match slot.as_deref_mut() {
            Some(audit) => *audit = Audit::default(),
            None => context.counters.records_lost += 1,
        }
    }
    let Some(audit) = slot.as_deref_mut() else { return };
    match verb {
        Verb::Ehlo | Verb::Helo => {
            audit.current.helo = Value::new(command::trim(&line[command::word(line).end..]));
        }
        Verb::Mail => {
            audit.open = true;
            audit.current.mail_from = Value::new(path);
        }
        Verb::Rcpt => {
            if audit.current.rcpt_count == 0 {
                audit.current.first_rcpt_to = Value::new(path);
            }
            audit.current.rcpt_count = audit.current.rcpt_count.saturating_add(1);
        }
        _ => {}
    }
}

/// The mail transaction under way was given up: the server forgets it, or will.
pub(super) fn forget<X>(slot: &mut Option<Box<Audit>>, facts: &mut Facts, context: &mut Context<'_, X>) {
    if let Some(audit) = slot.as_deref_mut() {
        if audit.open {
            let content_len = facts.content_len;
            context.journal.push(Body::Transaction(Transaction { content_len, ..audit.current }));
        }
        audit.restart();
    }
    facts.end_transaction(context.rules);
}

/// The end of data leaves for the server.
pub(super) fn message_sent<X>(
    slot: &mut Option<Box<Audit>>,
    facts: &mut Facts,
    context: &mut Context<'_, X>,
) {
    if let Some(audit) = slot.as_deref_mut() {
        audit.sent = Some(Transaction { content_len: facts.content_len, ..audit.current });
        audit.restart();
    }
    facts.end_transaction(context.rules);
}

/// The server answered the end of data; 0 if it never did.
pub(super) fn message_answered<X>(slot: &mut Option<Box<Audit>>, code: u16, context: &mut Context<'_, X>) {
    if let Some(sent) = slot.as_deref_mut().and_then(|audit| audit.sent.take()) {
        context.journal.push(Body::Transaction(Transaction { reply: code, ..sent }));
    }
}
