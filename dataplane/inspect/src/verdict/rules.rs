//! A policy as tables, built once when it is loaded.

use artifact::model::Mode;
use artifact::smtp::{Base, Criterion, Encoding, Region, SmtpPolicy, Terminal, Test};

use super::words::Words;
use super::{Cause, Facts, Observation};
use crate::event::ReplyCode;
use crate::scan::CriterionSet;

/// Classes of a policy whose logging is remembered; those beyond it log at every event.
pub const MAX_CLASSES: usize = artifact::smtp::MAX_CRITERIA;

/// Legal verbs of `smtp` inspection (Cisco ESMTP document, "SMTP Functionality").
const SMTP_VERBS: [&str; 12] =
    ["DATA", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "SAML", "SEND", "SOML", "VRFY"];
/// What `esmtp` inspection adds to them (ibid., "ESMTP Functionality").
const ESMTP_VERBS: [&str; 3] = ["AUTH", "EHLO", "ETRN"];
/// Extensions that `esmtp` inspection supports (ibid.). BINARYMIME is among the document's, but needs CHUNKING (RFC 3030), which is not.
const ESMTP_KEYWORDS: [&str; 7] =
    ["8BITMIME", "AUTH", "DSN", "ENHANCEDSTATUSCODES", "ETRN", "PIPELINING", "SIZE"];
/// Always overwritten where a session is inspected (Cisco AIC document, "Restrictions": BDAT is not supported, so CHUNKING
/// is masked), and what needs it.
const NEVER_KEYWORDS: [&str; 2] = ["BINARYMIME", "CHUNKING"];

/// What a policy asks of message content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// Header fields, their length, types or encodings of parts, or text: content must be read as MIME.
    pub mime: bool,
    /// Text of parts.
    pub body: bool,
    /// Fields of the message's header.
    pub header: bool,
}

/// A class as sets.
#[derive(Debug, Clone)]
pub struct ClassRule {
    mode: Mode,
    criteria: CriterionSet,
    /// It has no criteria: true whenever it is asked.
    always: bool,
    /// It writes a log line.
    pub log: bool,
    /// Its action that decides.
    pub terminal: Option<Terminal>,
}

impl ClassRule {
    /// Whether it is true, and something that was just decided has to do with it.
    pub(super) fn is_true(&self, now: &CriterionSet, held: &CriterionSet) -> bool {
        match self.mode {
            _ if self.always => true,
            Mode::Any => now.intersects(&self.criteria),
            Mode::All => now.intersects(&self.criteria) && held.contains_all(&self.criteria),
        }
    }

    /// The first of its criteria that just became true.
    pub(super) fn cause(&self, now: &CriterionSet) -> Option<u16> {
        self.criteria.iter().find(|criterion| now.contains(*criterion))
    }
}

/// One SMTP policy, ready to be asked.
#[derive(Debug, Clone)]
pub struct Rules {
    base: Base,
    classes: Box<[ClassRule]>,
    tests: Box<[Test]>,
    negated: CriterionSet,
    always: CriterionSet,
    lasting: CriterionSet,
    connection: CriterionSet,
    regions: [CriterionSet; REGIONS.len()],
    verbs: Words,
    keywords: Words,
    wants: Wants,
    /// Limits of message content, each once.
    data_lengths: Box<[u64]>,
    audit_trail: bool,
    max_data: Option<u64>,
}

const REGIONS: [Region; 5] =
    [Region::Sender, Region::Recipient, Region::Header, Region::Body, Region::ContentType];

/// What a word stands on: the two kinds of events whose outcome a mask can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Verb,
    Keyword,
}

impl Rules {
    /// The tables of a policy. Whatever an artifact may hold, this does not fail: indexes that lead nowhere are ignored.
    #[must_use]
    pub fn new(policy: &SmtpPolicy) -> Self {
        let set = |wanted: &dyn Fn(&Test) -> bool| {
            let mut set = CriterionSet::EMPTY;
            for (index, criterion) in policy.criteria.iter().enumerate() {
                if wanted(&criterion.test) {
                    set.insert(u16::try_from(index).unwrap_or(u16::MAX));
                }
            }
            set
        };
        let mut negated = CriterionSet::EMPTY;
        for (index, _) in policy.criteria.iter().enumerate().filter(|(_, criterion)| criterion.negated) {
            negated.insert(u16::try_from(index).unwrap_or(u16::MAX));
        }
        let classes = policy.classes.iter().map(|class| {
            let mut criteria = CriterionSet::EMPTY;
            class.criteria.iter().for_each(|index| criteria.insert(*index));
            ClassRule {
                mode: class.mode,
                criteria,
                always: class.criteria.is_empty(),
                log: class.log,
                terminal: class.terminal,
            }
        });
        let wants = Wants {
            mime: policy.criteria.iter().any(|criterion| {
                matches!(
                    criterion.test,
                    Test::HeaderLength(_)
                        | Test::Header
                        | Test::Body
                        | Test::MimeContentType
                        | Test::MimeEncoding(_)
                )
            }),
            body: policy.criteria.iter().any(|criterion| criterion.test == Test::Body),
            header: policy.criteria.iter().any(|criterion| criterion.test == Test::Header),
        };
        Self {
            base: policy.base,
            classes: classes.collect(),
            tests: policy.criteria.iter().map(|criterion| criterion.test.clone()).collect(),
            negated,
            always: set(&|test| *test == Test::Always),
            lasting: set(&|test| {
                !matches!(
                    test,
                    Test::CommandVerb(_) | Test::CommandLineLength(_) | Test::ReplyEhlo(_) | Test::Always
                )
            }),
            connection: set(&|test| matches!(test, Test::RecipientInvalidCount(_))),
            regions: REGIONS.map(|region| set(&|test| region_of(test) == Some(region))),
            verbs: words(policy, Place::Verb),
            keywords: words(policy, Place::Keyword),
            wants,
            data_lengths: policy
                .criteria
                .iter()
                .filter_map(|criterion| match criterion.test {
                    Test::DataLength(limit) => Some(limit),
                    _ => None,
                })
                .collect(),
            audit_trail: policy.audit_trail,
            max_data: policy.max_data,
        }
    }

    /// Verbs, as far as their name alone decides that they are overwritten.
    #[must_use]
    pub fn verbs(&self) -> &Words {
        &self.verbs
    }

    /// Keywords of the EHLO reply, likewise.
    #[must_use]
    pub fn keywords(&self) -> &Words {
        &self.keywords
    }

    /// Whether a verb is legal before any class is asked.
    #[must_use]
    pub fn is_legal_verb(&self, verb: &[u8]) -> bool {
        is_legal(self.base, Place::Verb, verb)
    }

    /// Whether a keyword of the EHLO reply is legal before any class is asked.
    #[must_use]
    pub fn is_legal_keyword(&self, keyword: &[u8]) -> bool {
        is_legal(self.base, Place::Keyword, keyword)
    }

    /// What content must be read for.
    #[must_use]
    pub fn wants(&self) -> Wants {
        self.wants
    }

    /// Whether mail transactions are reported.
    #[must_use]
    pub fn audit_trail(&self) -> bool {
        self.audit_trail
    }

    /// Octets that the messages of one session may have in all.
    #[must_use]
    pub fn max_data(&self) -> Option<u64> {
        self.max_data
    }

    /// The criteria that a region's database decides.
    #[must_use]
    pub fn region(&self, region: Region) -> &CriterionSet {
        &self.regions[region as usize]
    }

    /// Whether some criterion asks about a region.
    #[must_use]
    pub fn asks(&self, region: Region) -> bool {
        !self.region(region).is_empty()
    }

    pub(super) fn negated_in(&self, region: Region) -> CriterionSet {
        self.region(region).intersection(&self.negated)
    }

    /// What the client is told when this class refuses.
    #[must_use]
    pub fn reply(&self, cause: Cause) -> ReplyCode {
        match cause.criterion.and_then(|criterion| self.tests.get(usize::from(criterion))) {
            Some(Test::RecipientAddress) => ReplyCode::Recipient,
            Some(Test::RecipientCount(_)) => ReplyCode::TooManyRecipients,
            Some(Test::CommandLineLength(_)) => ReplyCode::Line,
            _ => ReplyCode::Policy,
        }
    }

    pub(super) fn classes(&self) -> &[ClassRule] {
        &self.classes
    }

    pub(super) fn connection_scope(&self, held: &CriterionSet) -> CriterionSet {
        held.intersection(&self.connection)
    }

    /// Of what is true now, what stays true.
    pub(super) fn lasting(&self, now: &CriterionSet) -> CriterionSet {
        now.intersection(&self.lasting)
    }

    /// The criteria that are true by what an event decided: found, or not found and negated.
    pub(super) fn truth(&self, seen: &Observation) -> CriterionSet {
        let mut truth = seen.hits;
        truth.subtract(&self.negated);
        let mut absent = seen.decided;
        absent.subtract(&seen.hits);
        truth.union(&absent.intersection(&self.negated));
        truth.union(&self.always);
        truth
    }

    fn observe(&self, seen: &mut Observation, decide: impl Fn(&Test, bool) -> Option<bool>) {
        for (index, test) in self.tests.iter().enumerate() {
            let criterion = index as u16;
            if let Some(holds) = decide(test, self.negated.contains(criterion)) {
                seen.test(criterion, holds);
            }
        }
    }

    /// A command line of `line_len` octets, CRLF included.
    #[must_use]
    pub fn command(&self, verb: &[u8], line_len: usize) -> Observation {
        let mut seen = Observation::default();
        self.observe(&mut seen, |test, _| match test {
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
        self.observe(&mut seen, |test, _| match test {
            Test::ReplyEhlo(name) => Some(name.as_bytes().eq_ignore_ascii_case(keyword)),
            _ => None,
        });
        seen
    }

    /// A RCPT command, already counted in `facts`: added to the command's observation.
    pub fn recipient(&self, facts: &Facts, seen: &mut Observation) {
        self.observe(seen, |test, negated| match test {
            Test::RecipientCount(limit) if !negated => Some(facts.recipient_count > *limit),
            _ => None,
        });
    }

    /// A DATA command: no more recipients can come.
    pub fn data(&self, facts: &Facts, seen: &mut Observation) {
        self.observe(seen, |test, negated| match test {
            Test::RecipientCount(limit) if negated => Some(facts.recipient_count > *limit),
            _ => None,
        });
    }

    /// A reply to RCPT, already counted in `facts`.
    #[must_use]
    pub fn recipient_reply(&self, facts: &Facts) -> Observation {
        let mut seen = Observation::default();
        self.observe(&mut seen, |test, _| match test {
            Test::RecipientInvalidCount(limit) => Some(facts.refused_count > *limit),
            _ => None,
        });
        seen
    }

    /// A header block of `len` octets, through its empty line.
    #[must_use]
    pub fn header_ended(&self, len: u64) -> Observation {
        let mut seen = Observation::default();
        self.observe(&mut seen, |test, _| match test {
            Test::HeaderLength(limit) => Some(len > u64::from(*limit)),
            _ => None,
        });
        seen
    }

    /// Content grew from `before` octets to `now`: the lengths that were passed.
    #[must_use]
    pub fn data_grew(&self, before: u64, now: u64) -> Observation {
        let mut seen = Observation::default();
        self.observe(&mut seen, |test, _| match test {
            Test::DataLength(limit) => (before <= *limit && now > *limit).then_some(true),
            _ => None,
        });
        seen
    }

    /// Content has ended with `len` octets: the lengths that were not passed.
    #[must_use]
    pub fn data_ended(&self, len: u64) -> Observation {
        let mut seen = Observation::default();
        self.observe(&mut seen, |test, negated| match test {
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
        self.observe(&mut seen, |test, _| match test {
            Test::MimeEncoding(Encoding::Token(name)) => Some(name.as_bytes().eq_ignore_ascii_case(token)),
            Test::MimeEncoding(Encoding::Unknown) => {
                Some(ambiguous || !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(token)))
            }
            _ => None,
        });
        seen
    }
}

fn region_of(test: &Test) -> Option<Region> {
    match test {
        Test::SenderAddress => Some(Region::Sender),
        Test::RecipientAddress => Some(Region::Recipient),
        Test::Header => Some(Region::Header),
        Test::Body => Some(Region::Body),
        Test::MimeContentType => Some(Region::ContentType),
        _ => None,
    }
}

fn is_legal(base: Base, place: Place, word: &[u8]) -> bool {
    let one_of = |list: &[&str]| list.iter().any(|text| text.as_bytes().eq_ignore_ascii_case(word));
    match (place, base) {
        (Place::Verb, Base::None) => true,
        (Place::Verb, Base::Smtp) => one_of(&SMTP_VERBS),
        (Place::Verb, Base::Esmtp) => one_of(&SMTP_VERBS) || one_of(&ESMTP_VERBS),
        (Place::Keyword, Base::Esmtp) => one_of(&ESMTP_KEYWORDS),
        (Place::Keyword, _) => !one_of(&NEVER_KEYWORDS),
    }
}

/// Every word that the policy or its base names, with what becomes of it, and of any other.
fn words(policy: &SmtpPolicy, place: Place) -> Words {
    let named = policy.criteria.iter().filter_map(|criterion| match (&criterion.test, place) {
        (Test::CommandVerb(word), Place::Verb) | (Test::ReplyEhlo(word), Place::Keyword) => {
            Some(word.as_str())
        }
        _ => None,
    });
    let built_in: &[&[&str]] = match place {
        Place::Verb => &[&SMTP_VERBS, &ESMTP_VERBS],
        Place::Keyword => &[&ESMTP_KEYWORDS, &NEVER_KEYWORDS],
    };
    let mut known: Vec<Vec<u8>> = named
        .chain(built_in.iter().flat_map(|list| list.iter().copied()))
        .map(|word| word.to_ascii_uppercase().into_bytes())
        .collect();
    known.sort();
    known.dedup();
    let masked = |word: &[u8]| !is_legal(policy.base, place, word) || is_masked(policy, place, Some(word));
    // No word is empty, so this stands for any that nobody names.
    let others_masked = !is_legal(policy.base, place, b"") || is_masked(policy, place, None);
    Words::new(
        known.into_iter().map(|word| {
            let masked = masked(&word);
            (word, masked)
        }),
        others_masked,
    )
}

/// Whether the classes overwrite a word whatever else may be true; `None` is any word that no criterion names.
///
/// Three-valued: what depends on more than the word is unknown, and a class that might decide something else ends the search.
fn is_masked(policy: &SmtpPolicy, place: Place, word: Option<&[u8]>) -> bool {
    for class in &policy.classes {
        let truths = || {
            class.criteria.iter().map(|index| match policy.criteria.get(usize::from(*index)) {
                Some(criterion) => foresee(criterion, class.mode, place, word),
                None => Foreseen { now: false, holds: Some(false) },
            })
        };
        let truth = match class.mode {
            _ if class.criteria.is_empty() => Some(true),
            Mode::Any if truths().any(|truth| truth.holds == Some(true)) => Some(true),
            Mode::Any if truths().all(|truth| truth.holds == Some(false)) => Some(false),
            Mode::All if truths().any(|truth| truth.holds == Some(false)) => Some(false),
            Mode::All if !truths().any(|truth| truth.now) => Some(false),
            Mode::All if truths().all(|truth| truth.holds == Some(true)) => Some(true),
            _ => None,
        };
        match (truth, class.terminal) {
            (Some(false), _) | (_, None) => {}
            (Some(true), Some(Terminal::Mask)) => return true,
            (_, Some(_)) => return false,
        }
    }
    false
}

/// What can be said of a criterion when only the word is known.
struct Foreseen {
    /// Whether the event may decide it.
    now: bool,
    /// Whether it holds; `None` if that depends on more.
    holds: Option<bool>,
}

fn foresee(criterion: &Criterion, mode: Mode, place: Place, word: Option<&[u8]>) -> Foreseen {
    let is = |names: &[&str]| {
        place == Place::Verb
            && word.is_some_and(|word| names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word)))
    };
    let known = |holds: bool| Foreseen { now: true, holds: Some(holds != criterion.negated) };
    let now = match (&criterion.test, place) {
        (Test::CommandVerb(name), Place::Verb) | (Test::ReplyEhlo(name), Place::Keyword) => {
            return known(word.is_some_and(|word| name.as_bytes().eq_ignore_ascii_case(word)));
        }
        (Test::Always, _) => return known(true),
        // Never true outside their own event.
        (Test::CommandVerb(_) | Test::CommandLineLength(_), Place::Keyword)
        | (Test::ReplyEhlo(_), Place::Verb) => {
            return Foreseen { now: false, holds: Some(false) };
        }
        (Test::CommandLineLength(_), Place::Verb) => true,
        (Test::SenderAddress, _) => is(&["MAIL", "SAML", "SEND", "SOML"]),
        (Test::RecipientAddress, _) => is(&["RCPT"]),
        (Test::RecipientCount(_), _) => is(&["RCPT", "DATA"]),
        _ => false,
    };
    // In a match-all class it may be true from earlier.
    let holds = if now || mode == Mode::All { None } else { Some(false) };
    Foreseen { now, holds }
}
