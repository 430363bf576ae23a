//! A message read as MIME, and what the policy says of its regions.

use artifact::smtp::Region;

use super::Context;
use super::conduct::Conduct;
use super::report::{self, Judged};
use crate::anomaly::Anomaly;
use crate::counter::Counters;
use crate::event::{Action, Journal, Kind, ReplyCode};
use crate::mime::{Field, FieldText, Message, NoRoom, Plain, Sink, plain};
use crate::scan::{CriterionSet, Matcher, NoStream, StreamId};
use crate::shelf::Shelf;
use crate::smtp::signature::{self, Field as Named, Seen};
use crate::unit::Direction;
use crate::verdict::{Facts, Observation, Outcome, Rules};

/// A message that is read as MIME.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub message: Message,
    /// The scan of the text under way.
    pub stream: Option<StreamId>,
    /// Text is under way, whether the policy has patterns for it or not.
    in_text: bool,
    /// The message's own header is complete.
    pub past_header: bool,
    /// What was found in header fields and in text.
    found: CriterionSet,
    /// What readers may differ about.
    odd: Odd,
}

/// What readers of a message may differ about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Odd {
    /// How it is divided, or decoded.
    ambiguous: bool,
    /// Which of two fields counts.
    duplicate: bool,
}

impl Reading {
    /// Ready for a new message.
    pub fn restart(&mut self, rules: &Rules, fields: &mut Shelf<Field>) {
        self.message.restart(rules.decode(), fields);
        self.in_text = false;
        self.past_header = false;
        self.found = CriterionSet::EMPTY;
        self.odd = Odd::default();
    }

    /// The next octets, without dot-stuffing.
    ///
    /// # Errors
    /// The reply with which the message is refused; the decision is reported.
    pub fn push<X: Matcher>(
        &mut self,
        text: &[u8],
        smtp: u16,
        facts: &mut Facts,
        start: u64,
        conduct: &mut Conduct,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        self.with(smtp, facts, start, conduct, context, |message, fields, judge| {
            message.push(text, fields, judge)
        })
    }

    /// The end of the message.
    ///
    /// # Errors
    /// As for [`Reading::push`].
    pub fn finish<X: Matcher>(
        &mut self,
        smtp: u16,
        facts: &mut Facts,
        start: u64,
        conduct: &mut Conduct,
        context: &mut Context<'_, X>,
    ) -> Result<(), ReplyCode> {
        self.with(smtp, facts, start, conduct, context, |message, fields, judge| {
            message.finish(fields, judge)
        })
    }

    /// Text patterns that were asked for in the negative, at the end of the message.
    pub fn absent(&self, rules: &Rules) -> Observation {
        let mut seen = Observation::default();
        seen.ended(rules, Region::Body, &self.found);
        seen
    }

    fn with<X: Matcher>(
        &mut self,
        smtp: u16,
        facts: &mut Facts,
        start: u64,
        conduct: &mut Conduct,
        context: &mut Context<'_, X>,
        read: impl FnOnce(&mut Message, &mut Shelf<Field>, &mut Judge<'_, X>) -> Result<(), NoRoom>,
    ) -> Result<(), ReplyCode> {
        let mut judge = Judge {
            smtp,
            rules: context.rules,
            matcher: context.matcher,
            journal: context.journal,
            counters: context.counters,
            facts,
            start,
            conduct,
            stream: &mut self.stream,
            in_text: &mut self.in_text,
            past_header: &mut self.past_header,
            found: &mut self.found,
            odd: &mut self.odd,
            result: Ok(()),
        };
        let read = read(&mut self.message, &mut context.stores.fields, &mut judge);
        if read.is_err() && judge.result.is_ok() {
            judge.exhausted();
        }
        judge.result
    }
}

/// Hears what is in a message and asks the policy about it, until that refuses.
struct Judge<'a, X> {
    smtp: u16,
    rules: &'a Rules,
    matcher: &'a mut X,
    journal: &'a mut Journal,
    counters: &'a mut Counters,
    facts: &'a mut Facts,
    start: u64,
    conduct: &'a mut Conduct,
    stream: &'a mut Option<StreamId>,
    in_text: &'a mut bool,
    past_header: &'a mut bool,
    found: &'a mut CriterionSet,
    odd: &'a mut Odd,
    result: Result<(), ReplyCode>,
}

impl<X: Matcher> Judge<'_, X> {
    fn judge(&mut self, seen: &Observation, judged: Judged) {
        if self.result.is_ok() {
            self.result = judge(self.rules, self.facts, seen, judged, self.journal);
        }
    }

    /// Reports what readers may differ about, where it is found: the order of events is that of the message, however it was cut.
    fn odd(&mut self, anomaly: Anomaly) {
        if self.result.is_ok() {
            self.conduct.note(anomaly, Direction::ClientToServer, self.start, self.counters, self.journal);
        }
    }

    fn at(&self) -> Judged {
        Judged::at(Direction::ClientToServer, self.start)
    }

    fn octets(&self, octets: &[u8]) -> Judged {
        Judged::octets(Direction::ClientToServer, self.start, octets)
    }

    fn block(&mut self, region: Region, octets: &[u8]) -> CriterionSet {
        block(self.matcher, self.counters, self.smtp, region, octets)
    }

    /// Looks for the signatures that are on in a field, and in the names that it has in the form of RFC 2231, in the plain one.
    #[inline]
    fn look(&mut self, field: &FieldText<'_>, is_own: bool) {
        let named = Named::cut(field.text, field.name, field.plain);
        let rows = named.possible(self.rules.signatures());
        if rows != 0 {
            self.look_for(&seen(named, is_own), rows, field.text);
        }
        if !field.plain && may_name(field.text) {
            self.look_at_names(field.text, is_own);
        }
    }

    /// Looks for these rows of signatures.
    fn look_for(&mut self, seen: &Seen<'_>, rows: u32, field: &[u8]) {
        if self.result.is_ok()
            && let Some(id) = signature::find_of(seen, rows)
        {
            let reply = ReplyCode::Policy;
            let judged = Judged { signature: Some(id), ..self.octets(field) };
            self.counters.signature(id);
            report::decision(self.journal, Kind::SmtpSignature, &judged, None, Action::Close, Some(reply));
            self.result = Err(reply);
        }
    }

    /// By itself, as it needs a buffer that other fields need not have room for.
    #[inline(never)]
    fn look_at_names(&mut self, field: &[u8], is_own: bool) {
        let mut buffer = [0; size_of::<Plain>()];
        if let Some(plain) = plain(field, &mut buffer) {
            let named = Named::new(plain);
            let rows = named.possible(self.rules.signatures());
            self.look_for(&seen(named, is_own), rows, field);
        }
    }

    /// The same for the value of Content-Type.
    #[inline(never)]
    fn scan_names(&mut self, value: &[u8], hits: &mut CriterionSet) {
        let mut buffer = [0; size_of::<Plain>()];
        if let Some(plain) = plain(value, &mut buffer) {
            hits.union(&self.block(Region::ContentType, plain));
        }
    }

    /// The session cannot be inspected, so it is refused.
    fn exhausted(&mut self) {
        let reply = ReplyCode::Unavailable;
        let judged = self.at();
        report::decision(self.journal, Kind::ResourceExhausted, &judged, None, Action::Close, Some(reply));
        self.result = Err(reply);
    }

    fn found_in_text(&mut self, hits: &CriterionSet) {
        if hits.is_empty() {
            return;
        }
        self.counters.scan_hits += hits.iter().count() as u64;
        // A pattern is found again wherever it ends again; that is no news.
        let mut news = *hits;
        news.subtract(self.found);
        if !news.is_empty() {
            self.found.union(&news);
            let mut seen = Observation::default();
            seen.found(&news);
            self.judge(&seen, self.at());
        }
    }
}

impl<X: Matcher> Sink for Judge<'_, X> {
    fn field(&mut self, field: &FieldText<'_>) {
        if self.result.is_ok() && self.rules.wants().header {
            let hits = self.block(Region::Header, field.text);
            self.found.union(&hits);
            let mut seen = Observation::default();
            seen.found(&hits);
            self.judge(&seen, self.octets(field.text));
        }
        self.look(field, true);
    }

    fn part_field(&mut self, field: &FieldText<'_>) {
        self.look(field, false);
    }

    fn ambiguous(&mut self) {
        self.encoding(b"", true);
    }

    fn duplicate(&mut self) {
        if !core::mem::replace(&mut self.odd.duplicate, true) {
            self.odd(Anomaly::DuplicateField);
        }
    }

    fn header_end(&mut self, len: u64) {
        *self.past_header = true;
        let mut seen = self.rules.header_ended(len);
        seen.ended(self.rules, Region::Header, self.found);
        let value_len = usize::try_from(len).unwrap_or(usize::MAX);
        self.judge(&seen, Judged { value_len, ..self.at() });
    }

    fn content_type(&mut self, value: &[u8]) {
        if self.result.is_ok() && self.rules.asks(Region::ContentType) {
            let mut hits = self.block(Region::ContentType, value);
            if memchr::memchr(b'*', value).is_some() {
                self.scan_names(value, &mut hits);
            }
            let mut seen = Observation::default();
            seen.scanned(self.rules, Region::ContentType, &hits);
            self.judge(&seen, self.octets(value));
        }
    }

    fn encoding(&mut self, token: &[u8], ambiguous: bool) {
        if ambiguous && !core::mem::replace(&mut self.odd.ambiguous, true) {
            self.odd(Anomaly::MimeAmbiguous);
        }
        let seen = self.rules.encoding(token, ambiguous);
        self.judge(&seen, self.octets(token));
    }

    fn text(&mut self, text: &[u8]) {
        if self.result.is_err() || !self.rules.wants().body {
            return;
        }
        if !*self.in_text {
            *self.in_text = true;
            match self.matcher.open(self.smtp, Region::Body) {
                Ok(stream) => *self.stream = stream,
                Err(NoStream) => return self.exhausted(),
            }
        }
        if let Some(stream) = self.stream.as_ref() {
            let mut hits = CriterionSet::EMPTY;
            self.matcher.stream(stream, text, &mut hits);
            self.counters.scans += 1;
            self.counters.scanned_bytes += text.len() as u64;
            self.found_in_text(&hits);
        }
    }

    fn text_end(&mut self) {
        *self.in_text = false;
        if let Some(stream) = self.stream.take() {
            let mut hits = CriterionSet::EMPTY;
            self.matcher.close(stream, &mut hits);
            self.found_in_text(&hits);
        }
    }
}

/// A field of the message's own header, or of a part's, for signatures.
fn seen(field: Named<'_>, is_own: bool) -> Seen<'_> {
    if is_own { Seen::Field(field) } else { Seen::PartField(field) }
}

/// Whether a field may name a file in the form of RFC 2231.
fn may_name(field: &[u8]) -> bool {
    matches!(field.first(), Some(b'C' | b'c'))
        && field.get(..8).is_some_and(|head| head.eq_ignore_ascii_case(b"Content-"))
        && memchr::memchr(b'*', field).is_some()
}

/// Scans octets as a whole.
pub(super) fn block<X: Matcher>(
    matcher: &mut X,
    counters: &mut Counters,
    smtp: u16,
    region: Region,
    octets: &[u8],
) -> CriterionSet {
    let mut hits = CriterionSet::EMPTY;
    matcher.block(smtp, region, octets, &mut hits);
    counters.scans += 1;
    counters.scanned_bytes += octets.len() as u64;
    if !hits.is_empty() {
        counters.scan_hits += hits.iter().count() as u64;
    }
    hits
}

/// Asks the policy about content, which is passed or refused but never overwritten (DKIM).
///
/// # Errors
/// The reply with which it is refused; the decision is reported.
pub(super) fn judge(
    rules: &Rules,
    facts: &mut Facts,
    seen: &Observation,
    judged: Judged,
    journal: &mut Journal,
) -> Result<(), ReplyCode> {
    match rules.judge(facts, seen, |noted| report::noted(journal, &judged, noted)) {
        Outcome::Pass | Outcome::Allow | Outcome::Mask(_) => Ok(()),
        Outcome::Reset(cause) => {
            let reply = rules.reply(cause);
            report::decision(journal, Kind::SmtpMatch, &judged, Some(cause), Action::Close, Some(reply));
            Err(reply)
        }
    }
}
