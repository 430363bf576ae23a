//! What the events of a session decide, criterion by criterion.

use artifact::smtp::{Encoding, Test};

use super::{Cause, Facts, Observation, Rules};
use crate::scan::CriterionSet;

/// What happens in a session that criteria are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Command,
    Keyword,
    Recipients,
    RecipientReply,
    HeaderEnd,
    DataLength,
    Encoding,
}

/// Criteria of one policy by the event that decides them; those that patterns decide have none.
#[derive(Debug, Clone, Default)]
pub(super) struct Compared([Box<[u16]>; 7]);

impl Compared {
    pub fn new(tests: &[Test]) -> Self {
        let mut by_event = <[Vec<u16>; 7]>::default();
        for (index, test) in tests.iter().enumerate() {
            let event = match test {
                Test::CommandVerb(_) | Test::CommandLineLength(_) | Test::Always => Event::Command,
                Test::ReplyEhlo(_) => Event::Keyword,
                Test::RecipientCount(_) => Event::Recipients,
                Test::RecipientInvalidCount(_) => Event::RecipientReply,
                Test::HeaderLength(_) => Event::HeaderEnd,
                Test::DataLength(_) => Event::DataLength,
                Test::MimeEncoding(_) => Event::Encoding,
                Test::SenderAddress
                | Test::RecipientAddress
                | Test::Header
                | Test::Body
                | Test::MimeContentType => continue,
            };
            by_event[event as usize].push(index as u16);
        }
        Self(by_event.map(Into::into))
    }

    pub fn by(&self, event: Event) -> &[u16] {
        &self.0[event as usize]
    }
}

/// Whether a RCPT in which no pattern is found is no event to any criterion.
pub(super) fn passes_recipients(tests: &[Test], negated: &CriterionSet) -> bool {
    tests.iter().enumerate().all(|(index, test)| {
        let negated = negated.contains(u16::try_from(index).unwrap_or(u16::MAX));
        match test {
            Test::CommandVerb(name) => !negated && !name.eq_ignore_ascii_case("RCPT"),
            Test::RecipientAddress => !negated,
            Test::RecipientCount(_) => negated,
            Test::CommandLineLength(_) | Test::Always => false,
            _ => true,
        }
    })
}

impl Rules {
    /// What does not hold is left out where that makes nothing true: nearly always.
    fn observe(&self, event: Event, seen: &mut Observation, decide: impl Fn(&Test, bool) -> Option<bool>) {
        for criterion in self.compared.by(event) {
            let Some(test) = self.tests.get(usize::from(*criterion)) else { continue };
            let negated = self.negated.contains(*criterion);
            if let Some(holds) = decide(test, negated)
                && (holds || negated || self.catches_all)
            {
                seen.test(*criterion, holds);
            }
        }
    }

    /// A command line of `line_len` octets, CRLF included.
    #[must_use]
    #[inline]
    pub fn command(&self, verb: &[u8], line_len: usize) -> Observation {
        let mut seen = Observation { always_asked: self.catches_all, ..Observation::default() };
        self.observe(Event::Command, &mut seen, |test, _| match test {
            Test::CommandVerb(name) => Some(name.as_bytes().eq_ignore_ascii_case(verb)),
            Test::CommandLineLength(limit) => Some(line_len as u64 > u64::from(*limit)),
            Test::Always => Some(true),
            _ => None,
        });
        seen
    }

    /// A keyword of the EHLO reply.
    #[must_use]
    pub fn keyword(&self, keyword: &[u8]) -> Observation {
        let mut seen = Observation::default();
        self.observe(Event::Keyword, &mut seen, |test, _| match test {
            Test::ReplyEhlo(name) => Some(name.as_bytes().eq_ignore_ascii_case(keyword)),
            _ => None,
        });
        seen
    }

    /// A RCPT command, already counted in `facts`: added to the command's observation.
    pub fn recipient(&self, facts: &Facts, seen: &mut Observation) {
        self.observe(Event::Recipients, seen, |test, negated| match test {
            Test::RecipientCount(limit) if !negated => Some(facts.recipient_count > *limit),
            _ => None,
        });
    }

    /// A DATA command: no more recipients can come.
    pub fn data(&self, facts: &Facts, seen: &mut Observation) {
        self.observe(Event::Recipients, seen, |test, negated| match test {
            Test::RecipientCount(limit) if negated => Some(facts.recipient_count > *limit),
            _ => None,
        });
    }

    /// Whether some criterion compares keywords, or holds whatever they are.
    pub(super) fn asks_keywords(&self) -> bool {
        self.catches_all || !self.compared.by(Event::Keyword).is_empty()
    }

    /// Whether some criterion compares the number of refused recipients.
    #[must_use]
    pub fn counts_refused(&self) -> bool {
        self.catches_all || !self.compared.by(Event::RecipientReply).is_empty()
    }

    /// A reply to RCPT, already counted in `facts`.
    #[must_use]
    pub fn recipient_reply(&self, facts: &Facts) -> Observation {
        let mut seen = Observation::default();
        self.observe(Event::RecipientReply, &mut seen, |test, _| match test {
            Test::RecipientInvalidCount(limit) => Some(facts.refused_count > *limit),
            _ => None,
        });
        seen
    }

    /// A header block of `len` octets, through its empty line.
    #[must_use]
    pub fn header_ended(&self, len: u64) -> Observation {
        let mut seen = Observation::default();
        self.observe(Event::HeaderEnd, &mut seen, |test, _| match test {
            Test::HeaderLength(limit) => Some(len > u64::from(*limit)),
            _ => None,
        });
        seen
    }

    /// Content grew from `before` octets to `now`: the lengths that were passed.
    #[must_use]
    pub fn data_grew(&self, before: u64, now: u64) -> Observation {
        let mut seen = Observation::default();
        self.observe(Event::DataLength, &mut seen, |test, _| match test {
            Test::DataLength(limit) => (before <= *limit && now > *limit).then_some(true),
            _ => None,
        });
        seen
    }

    /// Content has ended with `len` octets: the lengths that were not passed.
    #[must_use]
    pub fn data_ended(&self, len: u64) -> Observation {
        let mut seen = Observation::default();
        self.observe(Event::DataLength, &mut seen, |test, negated| match test {
            Test::DataLength(limit) if negated => Some(len > *limit),
            _ => None,
        });
        seen
    }

    /// How many octets of content a message of `facts.content_len` may still get before a limit is passed, plus one.
    #[must_use]
    pub fn room_for_data(&self, facts: &Facts) -> u64 {
        let limits = self.data_lengths.iter().map(|limit| limit.checked_sub(facts.content_len));
        let session = facts.earlier_len.saturating_add(facts.content_len);
        let max_data = self.max_data.map(|limit| limit.checked_sub(session));
        limits.chain(max_data).flatten().min().map_or(u64::MAX, |left| left.saturating_add(1))
    }

    /// The number that a class's criterion compares with, if it does.
    #[must_use]
    pub fn threshold(&self, cause: Cause) -> Option<u64> {
        match self.tests.get(usize::from(cause.criterion?))? {
            Test::RecipientCount(limit)
            | Test::RecipientInvalidCount(limit)
            | Test::CommandLineLength(limit) => Some(u64::from(*limit)),
            Test::HeaderLength(limit) => Some(u64::from(*limit)),
            Test::DataLength(limit) => Some(*limit),
            _ => None,
        }
    }

    /// A Content-Transfer-Encoding; `ambiguous` when readers may differ about it.
    #[must_use]
    pub fn encoding(&self, token: &[u8], ambiguous: bool) -> Observation {
        const KNOWN: [&[u8]; 6] =
            [b"7bit", b"8bit", b"base64", b"quoted-printable", b"binary", b"x-uuencode"];
        let mut seen = Observation::default();
        self.observe(Event::Encoding, &mut seen, |test, _| match test {
            Test::MimeEncoding(Encoding::Token(name)) => Some(name.as_bytes().eq_ignore_ascii_case(token)),
            Test::MimeEncoding(Encoding::Unknown) => {
                Some(ambiguous || !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(token)))
            }
            _ => None,
        });
        seen
    }
}
