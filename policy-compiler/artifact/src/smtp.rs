//! What a policy says about an SMTP session: classes over criteria, and the databases that decide them.

use serde::{Deserialize, Serialize};

use crate::model::Mode;
use crate::settings::Settings;

/// A `policy-map type inspect smtp`, or a classic inspection rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmtpPolicy {
    /// Name of the policy map or inspection rule.
    pub name: String,
    /// Verbs and extensions that are legal before any class is asked.
    pub base: Base,
    /// Classes in configuration order.
    pub classes: Vec<SmtpClass>,
    /// What the classes ask; at most [`MAX_CRITERIA`]. A database's pattern ids are indexes into this.
    pub criteria: Vec<Criterion>,
    /// At most one for each [`Region`] that some criterion asks about.
    pub databases: Vec<Database>,
    /// Alerts are logged (classic `alert on|off`).
    pub alert: bool,
    /// Session records are logged (classic `audit-trail on|off`).
    pub audit_trail: bool,
    /// Octets that the messages of one session may have in all (classic `max-data`).
    pub max_data: Option<u64>,
    /// What is done about the protocol itself (`parameters` block).
    pub settings: Settings,
}

impl SmtpPolicy {
    /// A policy without classes, every parameter at its default: alerts on, session records off, no `max-data`.
    #[must_use]
    pub fn new(name: &str, base: Base) -> Self {
        Self {
            name: name.into(),
            base,
            classes: Vec::new(),
            criteria: Vec::new(),
            databases: Vec::new(),
            alert: true,
            audit_trail: false,
            max_data: None,
            settings: Settings::default(),
        }
    }
}

/// Criteria of one policy, so that the facts of a session are four words.
pub const MAX_CRITERIA: usize = 256;

/// Index into [`SmtpPolicy::criteria`].
pub type CriterionIndex = u16;

/// The verbs and extensions that are legal before any class is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Base {
    /// All (zone form: classes alone decide; BDAT and CHUNKING only as
    /// [`Settings::chunking`] says).
    None,
    /// RFC 821: DATA HELO HELP MAIL NOOP QUIT RCPT RSET SAML SEND SOML VRFY; any other is masked.
    Smtp,
    /// Those and AUTH EHLO ETRN; any other verb is masked, as is every EHLO keyword but SIZE ETRN
    /// PIPELINING AUTH DSN ENHANCEDSTATUSCODES 8BITMIME (BINARYMIME needs CHUNKING, so it goes too).
    Esmtp,
}

/// A `class-map type inspect smtp` used by the policy, with its actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmtpClass {
    /// Class-map name, or `class-default` (whose one criterion is [`Test::Always`]).
    pub name: String,
    /// How its criteria are combined.
    pub mode: Mode,
    /// Its criteria; never empty.
    pub criteria: Vec<CriterionIndex>,
    /// Write a log line when it becomes true.
    pub log: bool,
    /// What ends the search for a class; `None`: only log.
    pub terminal: Option<Terminal>,
    /// Line of the policy text where the class is used, from 1.
    pub line: u32,
}

/// An action that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Terminal {
    /// Let it through; later classes are not asked for this event.
    Allow,
    /// Overwrite the command or keyword.
    Mask,
    /// Answer 5xx and close both sides.
    Reset,
}

/// One `match` line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Criterion {
    /// `match not`.
    pub negated: bool,
    /// What is asked.
    pub test: Test,
    /// The line as written, without `match`, for events: `sender address regex bad-senders`.
    pub text: String,
    /// Line of the policy text, from 1.
    pub line: u32,
}

/// What a criterion asks. Every `greater than` is strict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// Patterns on the argument of MAIL FROM ([`Region::Sender`]).
    SenderAddress,
    /// Patterns on the argument of RCPT TO, source route included ([`Region::Recipient`]).
    RecipientAddress,
    /// More RCPT commands than this in a transaction.
    RecipientCount(u32),
    /// More recipients refused by the server than this on the connection.
    RecipientInvalidCount(u32),
    /// The verb, upper case.
    CommandVerb(String),
    /// A longer command line, CRLF included.
    CommandLineLength(u32),
    /// A longer header block, through the empty line.
    HeaderLength(u32),
    /// Patterns on unfolded header fields ([`Region::Header`]).
    Header,
    /// Patterns on the text of body parts ([`Region::Body`]).
    Body,
    /// More octets of message content.
    DataLength(u64),
    /// Patterns on Content-Type of the message and of every part ([`Region::ContentType`]).
    MimeContentType,
    /// The Content-Transfer-Encoding of the message or a part.
    MimeEncoding(Encoding),
    /// A keyword in the reply to EHLO, upper case.
    ReplyEhlo(String),
    /// Always true (`class-default`).
    Always,
}

impl Test {
    /// The region whose database decides it; `None` if no pattern is involved.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        match self {
            Test::SenderAddress => Some(Region::Sender),
            Test::RecipientAddress => Some(Region::Recipient),
            Test::Header => Some(Region::Header),
            Test::Body => Some(Region::Body),
            Test::MimeContentType => Some(Region::ContentType),
            Test::RecipientCount(_)
            | Test::RecipientInvalidCount(_)
            | Test::CommandVerb(_)
            | Test::CommandLineLength(_)
            | Test::HeaderLength(_)
            | Test::DataLength(_)
            | Test::MimeEncoding(_)
            | Test::ReplyEhlo(_)
            | Test::Always => None,
        }
    }
}

/// A Content-Transfer-Encoding asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// This token, lower case.
    Token(String),
    /// Any that is not 7bit, 8bit, base64, quoted-printable, binary or x-uuencode.
    Unknown,
}

/// What a database is run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Region {
    /// Path of MAIL FROM, without its angle brackets.
    Sender,
    /// Path of RCPT TO, without its angle brackets.
    Recipient,
    /// One unfolded header field, `Name: value`.
    Header,
    /// Text of a body part, line ends included; comes piece by piece.
    Body,
    /// Value of one unfolded Content-Type field.
    ContentType,
}

impl Region {
    /// Whether its text comes piece by piece, frame after frame, and not at once. Its database is then always in
    /// streaming mode.
    #[must_use]
    pub fn is_streaming(self) -> bool {
        matches!(self, Region::Body)
    }
}

/// A serialized database of the matcher library. Each pattern's id is the index of its criterion;
/// several patterns may share one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// What it is run over.
    pub region: Region,
    /// Patterns in it.
    pub pattern_count: u32,
    /// Whether it was compiled in streaming mode: for a region whose text comes piece by piece.
    pub streaming: bool,
    /// Octets of stream state it needs; 0 in block mode.
    pub stream_len: u32,
    /// As the library serialized it. Stands in a section of its own in the file.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("region", &self.region)
            .field("pattern_count", &self.pattern_count)
            .field("streaming", &self.streaming)
            .field("stream_len", &self.stream_len)
            .field("bytes_len", &self.bytes.len())
            .finish()
    }
}
