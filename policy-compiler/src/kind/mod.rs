//! Match kinds: what a class of an SMTP policy can ask. One file each.
//!
//! A new kind is a new file and a row in [`KINDS`]; parser, checks, tables and `explain` find it there.

use std::fmt;

use artifact::settings::Chunking;
use artifact::smtp::{Region, Test};

use crate::ast::{Name, SmtpAction, SmtpClassMap, SmtpMatch, SmtpPolicyMap, SmtpUse};
use crate::cursor::Cursor;
use crate::diagnostic::Diagnostic;

mod body_regex;
mod cmd_line_length;
mod cmd_verb;
mod data_length;
mod header_length;
mod header_regex;
mod mime_content_type;
mod mime_encoding;
mod recipient_address;
mod recipient_count;
mod recipient_invalid_count;
mod reply_ehlo;
mod sender_address;

/// Every kind, in the order of the documentation.
pub static KINDS: &[&dyn MatchKind] = &[
    &sender_address::SenderAddress,
    &recipient_address::RecipientAddress,
    &recipient_count::RecipientCount,
    &recipient_invalid_count::RecipientInvalidCount,
    &cmd_verb::CmdVerb,
    &cmd_line_length::CmdLineLength,
    &header_length::HeaderLength,
    &header_regex::HeaderRegex,
    &body_regex::BodyRegex,
    &data_length::DataLength,
    &mime_content_type::MimeContentType,
    &mime_encoding::MimeEncoding,
    &reply_ehlo::ReplyEhlo,
];

/// What is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// A `parameter-map type regex`.
    Map(Name),
    /// A number that must be exceeded.
    Above(u64),
    /// A word, in the case that the artifact wants.
    Word(String),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Map(map) => f.write_str(&map.text),
            Argument::Above(number) => number.fmt(f),
            Argument::Word(word) => f.write_str(word),
        }
    }
}

impl Argument {
    /// The map's name, if it is one.
    #[must_use]
    pub fn map(&self) -> Option<&Name> {
        match self {
            Argument::Map(name) => Some(name),
            Argument::Above(_) | Argument::Word(_) => None,
        }
    }

    /// The number, 0 if it is none.
    #[must_use]
    pub fn above(&self) -> u64 {
        match self {
            Argument::Above(number) => *number,
            Argument::Map(_) | Argument::Word(_) => 0,
        }
    }

    /// The number as far as 32 bits go; the parser allows no more where this is used.
    #[must_use]
    pub fn above_u32(&self) -> u32 {
        u32::try_from(self.above()).unwrap_or(u32::MAX)
    }

    /// The word, empty if it is none.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Argument::Word(word) => word,
            Argument::Map(_) | Argument::Above(_) => "",
        }
    }
}

/// A `match` line in a policy that uses its class.
pub struct Used<'a> {
    /// The line.
    pub line: &'a SmtpMatch,
    /// The policy.
    pub policy: &'a SmtpPolicyMap,
    /// Its class.
    pub class: &'a SmtpClassMap,
    /// What the policy does with the class.
    pub used: &'a SmtpUse,
}

impl Used<'_> {
    /// Whether the policy lets BDAT through.
    #[must_use]
    pub fn allows_chunking(&self) -> bool {
        self.policy.parameters.settings().chunking == Chunking::Allow
    }

    /// Where the policy does this with the class, if it does.
    #[must_use]
    pub fn action(&self, action: SmtpAction) -> Option<crate::source::Span> {
        self.used.actions.iter().find(|set| set.value == action).map(|set| set.span)
    }
}

/// A match kind.
pub trait MatchKind: Sync {
    /// Keywords between `match` and the argument.
    fn keywords(&self) -> &'static [&'static str];

    /// Other spellings of them that are taken too.
    fn aliases(&self) -> &'static [&'static [&'static str]] {
        &[]
    }

    /// The line as documentation writes it.
    fn syntax(&self) -> &'static str;

    /// What is examined, how it is counted, and when it is known. Plain sentences.
    fn documentation(&self) -> &'static str;

    /// Reads the argument.
    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument>;

    /// What the gateway asks.
    fn lower(&self, argument: &Argument) -> Test;

    /// Whether `mask` can be done to what it finds.
    fn maskable(&self) -> bool {
        false
    }

    /// The stretch of mail its patterns are compared with.
    fn region(&self) -> Option<Region> {
        None
    }

    /// What is legal but unwise about a line and what a policy does with it.
    fn unwise(&self, _used: &Used<'_>) -> Option<Diagnostic> {
        None
    }

    /// In plain words, if `test` is of this kind: "the sender's address matches a pattern of M".
    fn describe(&self, test: &Test, map: &str) -> Option<String>;
}

impl fmt::Debug for dyn MatchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keywords().join(" "))
    }
}

/// Whether two are the same kind.
#[must_use]
pub fn same(one: &dyn MatchKind, other: &dyn MatchKind) -> bool {
    one.keywords() == other.keywords()
}

/// Whether this is `match cmd verb`, which restrictions name.
#[must_use]
pub fn is_cmd_verb(kind: &dyn MatchKind) -> bool {
    same(kind, &cmd_verb::CmdVerb)
}

/// Whether this is `match cmd line length`, which restrictions name.
#[must_use]
pub fn is_cmd_line_length(kind: &dyn MatchKind) -> bool {
    same(kind, &cmd_line_length::CmdLineLength)
}

/// Whether this is `match header length`, which a restriction names.
#[must_use]
pub fn is_header_length(kind: &dyn MatchKind) -> bool {
    same(kind, &header_length::HeaderLength)
}

/// A criterion of an artifact in plain words; `text` is its line, whose last word names the map.
#[must_use]
pub fn describe(test: &Test, text: &str) -> String {
    let map = text.rsplit(' ').next().unwrap_or_default();
    let described = KINDS.iter().find_map(|kind| kind.describe(test, map));
    described.unwrap_or_else(|| "anything".into())
}

/// Longest name of a regex map (characters).
const MAX_MAP_NAME_LEN: usize = 205;

/// Reads the name of a regex map.
fn parse_map(cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
    Some(Argument::Map(cursor.name("regex parameter-map", MAX_MAP_NAME_LEN)?))
}

/// Reads a verb or keyword: a word of the protocol, printable ASCII, made upper case.
fn parse_upper_word(cursor: &mut Cursor<'_, '_>, what: &str) -> Option<Argument> {
    let word = parse_token(cursor, what)?;
    Some(Argument::Word(word.to_ascii_uppercase()))
}

/// Longest word of the protocol (octets).
const MAX_TOKEN_LEN: usize = 64;

fn parse_token<'a>(cursor: &mut Cursor<'a, '_>, what: &str) -> Option<&'a str> {
    let token = cursor.word(what)?;
    let good = token.text.len() <= MAX_TOKEN_LEN && token.text.bytes().all(|octet| octet.is_ascii_graphic());
    if !good {
        cursor.report(
            Diagnostic::error(crate::code::Code::BAD_NAME, token.span, format!("{what} cannot be this"))
                .label(format!("expected at most {MAX_TOKEN_LEN} printable ASCII characters")),
        );
        return None;
    }
    Some(token.text)
}
