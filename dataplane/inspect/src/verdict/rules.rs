//! A policy as tables, built once when it is loaded.

use artifact::defence::{
    Auth, Defences, EightBit, LAYERED_MECHANISMS, Limits, RelayProbes, SaslLayers, Synchronization,
};
use artifact::model::Mode;
use artifact::settings::{Decode, EndOfData, Place as Looks, SIGNATURES, Signature, StartTls};
use artifact::smtp::{Base, Region, SmtpPolicy, Terminal, Test};

use super::legal::{Legal, Place, denied, is_legal, words};
use super::observe::{Compared, passes_recipients};
use super::words::Words;
use super::{Cause, Observation};
use crate::event::ReplyCode;
use crate::scan::CriterionSet;

/// Classes of a policy whose logging is remembered; those beyond it log at every event.
pub const MAX_CLASSES: usize = artifact::smtp::MAX_CRITERIA;

/// What a policy asks of message content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// Header fields, their length, types or encodings of parts, or text: content must be read as MIME.
    pub mime: bool,
    /// Text of parts.
    pub body: bool,
    /// Fields of the message's header.
    pub header: bool,
    /// Nothing behind the message's own header.
    pub only_header: bool,
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
    legal: Legal,
    end_of_data: EndOfData,
    decode: Decode,
    requires_tls: bool,
    classes: Box<[ClassRule]>,
    /// Some class has no criteria, or one that always holds: it is true at whatever is asked about.
    pub(super) catches_all: bool,
    pub(super) tests: Box<[Test]>,
    pub(super) compared: Compared,
    pub(super) negated: CriterionSet,
    always: CriterionSet,
    lasting: CriterionSet,
    connection: CriterionSet,
    regions: [CriterionSet; REGIONS.len()],
    silent: [bool; REGIONS.len()],
    verbs: Words,
    keywords: Words,
    /// Mechanisms of AUTH.
    mechanisms: Words,
    /// Verbs and keywords that are overwritten unless a class allows them.
    denied: Box<[&'static str]>,
    /// What they begin with: [`letter`] of each.
    denied_letters: u32,
    defences: Defences,
    groups_of_four: bool,
    wants: Wants,
    /// Limits of message content, each once.
    pub(super) data_lengths: Box<[u64]>,
    audit_trail: bool,
    signatures: u32,
    /// Recipients that a transaction may have before a RCPT as nearly every client says it is looked at by more than patterns.
    usual_recipients: u32,
    pub(super) max_data: Option<u64>,
}

/// The signature that counts recipients.
const SPAM: u16 = 3106;

/// The signature that looks at the base64 of AUTH.
pub const ODD_BASE64: u16 = 7006;

const REGIONS: [Region; 5] =
    [Region::Sender, Region::Recipient, Region::Header, Region::Body, Region::ContentType];

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
        let tests: Box<[Test]> = policy.criteria.iter().map(|criterion| criterion.test.clone()).collect();
        let denied = denied(policy);
        let regions = REGIONS.map(|region| set(&|test| region_of(test) == Some(region)));
        let always = set(&|test| *test == Test::Always);
        let catches_all = !always.is_empty() || policy.classes.iter().any(|class| class.criteria.is_empty());
        let on = |row: &&Signature| policy.settings.signatures.contains(&row.id);
        let place = SIGNATURES.iter().filter(on).map(|row| row.place).max();
        let asked = policy.criteria.iter().any(|criterion| {
            matches!(
                criterion.test,
                Test::HeaderLength(_)
                    | Test::Header
                    | Test::Body
                    | Test::MimeContentType
                    | Test::MimeEncoding(_)
            )
        });
        let legal = Legal::new(policy);
        let passes = !catches_all
            && !policy.audit_trail
            && is_legal(legal, Place::Verb, b"RCPT")
            && passes_recipients(&tests, &negated);
        let counts = policy.settings.signatures.contains(&SPAM);
        let usual_recipients = match policy.settings.defences.spam_recipients {
            _ if !passes => 0,
            limit if counts => limit,
            _ => u32::MAX,
        };
        let wants = Wants {
            mime: asked || place > Some(Looks::Commands),
            only_header: !asked && place == Some(Looks::Header),
            body: policy.criteria.iter().any(|criterion| criterion.test == Test::Body),
            header: policy.criteria.iter().any(|criterion| criterion.test == Test::Header),
        };
        Self {
            legal,
            end_of_data: policy.settings.end_of_data,
            decode: if wants.body { policy.settings.decode } else { Decode::Off },
            requires_tls: policy.settings.starttls == StartTls::Require,
            classes: classes.collect(),
            catches_all,
            compared: Compared::new(&tests),
            tests,
            negated,
            always,
            lasting: set(&|test| {
                !matches!(
                    test,
                    Test::CommandVerb(_) | Test::CommandLineLength(_) | Test::ReplyEhlo(_) | Test::Always
                )
            }),
            connection: set(&|test| matches!(test, Test::RecipientInvalidCount(_))),
            silent: regions.map(|region| !region.intersects(&negated) && !catches_all),
            regions,
            verbs: words(policy, Place::Verb),
            keywords: words(policy, Place::Keyword),
            mechanisms: Words::new(
                LAYERED_MECHANISMS.map(|name| {
                    (name.as_bytes().to_vec(), policy.settings.defences.sasl_layers == SaslLayers::Mask)
                }),
                false,
            ),
            denied_letters: denied.iter().fold(0, |letters, word| letters | letter(word.as_bytes())),
            denied: denied.into(),
            groups_of_four: policy.settings.signatures.contains(&ODD_BASE64),
            defences: policy.settings.defences.clone(),
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
            usual_recipients,
            signatures: SIGNATURES
                .iter()
                .enumerate()
                .filter(|(_, row)| on(row))
                .fold(0, |set, (index, _)| set | 1 << index),
            max_data: policy.max_data,
        }
    }

    /// What is legal before any class is asked.
    #[must_use]
    pub fn base(&self) -> Base {
        self.legal.base
    }

    /// Whether BDAT is followed, where the server offers it.
    #[must_use]
    pub fn chunking(&self) -> bool {
        self.legal.allows_chunking
    }

    /// What is refused in messages whatever the classes say.
    #[must_use]
    pub fn end_of_data(&self) -> EndOfData {
        self.end_of_data
    }

    /// Which encoded text must be read decoded; none where no pattern asks for text.
    #[must_use]
    pub fn decode(&self) -> Decode {
        self.decode
    }

    /// Whether mail outside TLS is refused.
    #[must_use]
    pub fn requires_tls(&self) -> bool {
        self.requires_tls
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
        is_legal(self.legal, Place::Verb, verb)
    }

    /// Whether a keyword of the EHLO reply is legal before any class is asked.
    #[must_use]
    pub fn is_legal_keyword(&self, keyword: &[u8]) -> bool {
        is_legal(self.legal, Place::Keyword, keyword)
    }

    /// Mechanisms of AUTH, as far as they are overwritten in the reply to EHLO.
    #[must_use]
    pub fn mechanisms(&self) -> &Words {
        &self.mechanisms
    }

    /// Whether a verb or keyword is overwritten unless a class allows it.
    #[must_use]
    pub fn is_denied(&self, word: &[u8]) -> bool {
        // Nearly every word begins with another letter.
        self.denied_letters & letter(word) != 0
            && self.denied.iter().any(|denied| denied.as_bytes().eq_ignore_ascii_case(word))
    }

    /// Octets that an AUTH line, and each line of its exchange, may have.
    #[must_use]
    pub fn auth_line_limit(&self) -> usize {
        usize::try_from(self.defences.auth_line_limit).unwrap_or(usize::MAX)
    }

    /// Whether base64 in an AUTH exchange must come in groups of four ([`ODD_BASE64`]).
    #[must_use]
    pub fn wants_groups_of_four(&self) -> bool {
        self.groups_of_four
    }

    /// Whether AUTH outside TLS is refused.
    #[must_use]
    pub fn auth_requires_tls(&self) -> bool {
        self.defences.auth == Auth::RequireTls
    }

    /// Whether octets of 128 and more in commands need SMTPUTF8.
    #[must_use]
    pub fn eight_bit_needs_smtputf8(&self) -> bool {
        self.defences.eight_bit == EightBit::Smtputf8
    }

    /// Whether a client that does not wait for its turn is refused.
    #[must_use]
    pub fn is_strict_about_turns(&self) -> bool {
        self.defences.synchronization == Synchronization::Strict
    }

    /// What is done about recipients with which servers are tried for an open relay.
    #[must_use]
    pub fn relay_probes(&self) -> RelayProbes {
        self.defences.relay_probes
    }

    /// Recipients above which signature 3106 sees spam.
    #[must_use]
    pub fn spam_recipients(&self) -> u32 {
        self.defences.spam_recipients
    }

    /// Whether a RCPT as nearly every client says it that follows so many others of its transaction passes
    /// when no pattern is found in its path: no criterion, count, record or signature has to do with it.
    #[must_use]
    pub fn passes_usual_recipient(&self, count: u32) -> bool {
        count < self.usual_recipients
    }

    /// Whether a keyword of the EHLO reply passes as it stands: no criterion has to do with keywords, and none of the gateway's own rules
    /// with this one. (What AUTH offers is another question.)
    #[must_use]
    #[inline]
    pub fn passes_usual_keyword(&self, keyword: &[u8]) -> bool {
        !self.asks_keywords() && self.is_legal_keyword(keyword) && !self.is_denied(keyword)
    }

    /// What one connection may do.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.defences.limits
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

    /// Signatures that are on: bit n for row n of [`artifact::settings::SIGNATURES`].
    #[must_use]
    pub fn signatures(&self) -> u32 {
        self.signatures
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

    /// Whether it makes nothing true when a scan of the region finds nothing.
    pub(super) fn is_silent(&self, region: Region) -> bool {
        self.silent[region as usize]
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
}

/// A bit for what a word begins with, the same in any case.
fn letter(word: &[u8]) -> u32 {
    word.first().map_or(0, |first| 1 << (first % 32))
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
