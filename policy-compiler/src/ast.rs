//! What was written, before anybody asks whether it makes sense.

use artifact::defence::Defences;
use artifact::model::{AccessEntry, Mode};
use artifact::settings::{Chunking, Decode, EndOfData, SIGNATURES, Settings, Signature, StartTls};
use artifact::smtp::Base;

use crate::kind::{Argument, MatchKind};
use crate::protocol::Protocol;
use crate::source::Span;

/// The class that takes what no other does.
pub const CLASS_DEFAULT: &str = "class-default";

/// A name as written; names are case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// Free text up to the end of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text, blanks at its ends removed.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// A value and where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<T> {
    /// The value.
    pub value: T,
    /// The line.
    pub span: Span,
}

/// A whole file.
#[derive(Debug, Default)]
pub struct Config {
    /// `parameter-map type regex`.
    pub regex_maps: Vec<RegexMap>,
    /// `parameter-map type inspect`.
    pub inspect_maps: Vec<InspectMap>,
    /// `class-map type inspect smtp`.
    pub smtp_classes: Vec<SmtpClassMap>,
    /// `policy-map type inspect smtp`.
    pub smtp_policies: Vec<SmtpPolicyMap>,
    /// `class-map type inspect`.
    pub top_classes: Vec<TopClassMap>,
    /// `policy-map type inspect`.
    pub top_policies: Vec<TopPolicyMap>,
    /// `zone security`.
    pub zones: Vec<Zone>,
    /// `zone-pair security`.
    pub zone_pairs: Vec<ZonePair>,
    /// `interface`.
    pub interfaces: Vec<Interface>,
    /// `ip inspect name`, a line each.
    pub inspections: Vec<Inspection>,
    /// `ip inspect` without a name.
    pub inspect_globals: InspectGlobals,
    /// `access-list`, `ip access-list`, `ipv6 access-list`.
    pub access_lists: Vec<AccessList>,
    /// `ip port-map smtp`.
    pub port_maps: Vec<Set<u16>>,
}

/// `parameter-map type regex`.
#[derive(Debug)]
pub struct RegexMap {
    /// Its name.
    pub name: Name,
    /// Its patterns: one that matches suffices.
    pub patterns: Vec<PatternLine>,
    /// A line under it could not be read, so what is missing may be there.
    pub spoiled: bool,
}

/// `pattern`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternLine {
    /// Everything after the keyword.
    pub text: Text,
}

/// `parameter-map type inspect`.
#[derive(Debug)]
pub struct InspectMap {
    /// Its name; `global` and `default` are special.
    pub name: Name,
    /// What it says.
    pub values: InspectValues,
}

/// Lines of a `parameter-map type inspect` or of `ip inspect`; `None` was not said.
#[derive(Debug, Default, Clone)]
pub struct InspectValues {
    /// `alert`.
    pub alert: Option<Set<bool>>,
    /// `audit-trail`.
    pub audit_trail: Option<Set<bool>>,
    /// `tcp idle-time`, seconds.
    pub tcp_idle_time: Option<Set<u32>>,
    /// `tcp synwait-time`, seconds.
    pub tcp_synwait_time: Option<Set<u32>>,
    /// `tcp finwait-time`, seconds.
    pub tcp_finwait_time: Option<Set<u32>>,
    /// `udp idle-time`, seconds.
    pub udp_idle_time: Option<Set<u32>>,
    /// `icmp idle-time`, seconds.
    pub icmp_idle_time: Option<Set<u32>>,
    /// `max-incomplete low`.
    pub max_incomplete_low: Option<Set<u32>>,
    /// `max-incomplete high`.
    pub max_incomplete_high: Option<Set<u32>>,
    /// `one-minute low`.
    pub one_minute_low: Option<Set<u32>>,
    /// `one-minute high`.
    pub one_minute_high: Option<Set<u32>>,
    /// `sessions maximum`.
    pub sessions_maximum: Option<Set<u32>>,
    /// `tcp max-incomplete host N block-time MINUTES`.
    pub max_incomplete_host: Option<Set<(u32, u32)>>,
}

/// `class-map type inspect smtp`.
#[derive(Debug)]
pub struct SmtpClassMap {
    /// Its name.
    pub name: Name,
    /// How matches combine, and where that was said (the name if it was not).
    pub mode: Set<Mode>,
    /// Its `match` lines.
    pub matches: Vec<SmtpMatch>,
    /// Lines of a top-level class that stand here, kept until the whole class is known.
    pub misplaced: Vec<TopMatch>,
    /// A line under it could not be read, so what is missing may be there.
    pub spoiled: bool,
}

/// `match` in a `class-map type inspect smtp`.
#[derive(Debug)]
pub struct SmtpMatch {
    /// `match not`.
    pub negated: bool,
    /// What is looked at.
    pub kind: &'static dyn MatchKind,
    /// What it is compared with.
    pub argument: Argument,
    /// The line.
    pub span: Span,
}

/// `policy-map type inspect smtp`.
#[derive(Debug)]
pub struct SmtpPolicyMap {
    /// Its name.
    pub name: Name,
    /// Its classes in order.
    pub uses: Vec<SmtpUse>,
    /// Its `parameters` block.
    pub parameters: SmtpParameters,
    /// A line under it could not be read, so what is missing may be there.
    pub spoiled: bool,
}

/// `parameters` in a `policy-map type inspect smtp`.
#[derive(Debug, Default, PartialEq)]
pub struct SmtpParameters {
    /// `base`.
    pub base: Option<Set<Base>>,
    /// `alert`.
    pub alert: Option<Set<bool>>,
    /// `audit-trail`.
    pub audit_trail: Option<Set<bool>>,
    /// `max-data`, octets.
    pub max_data: Option<Set<u64>>,
    /// `end-of-data`.
    pub end_of_data: Option<Set<EndOfData>>,
    /// `starttls`.
    pub starttls: Option<Set<StartTls>>,
    /// `chunking`.
    pub chunking: Option<Set<Chunking>>,
    /// `decode`.
    pub decode: Option<Set<Decode>>,
    /// `signature`: id and whether it is on; each id once.
    pub signatures: Vec<Set<(u16, bool)>>,
    /// What is refused besides.
    pub defences: Defences,
}

impl SmtpParameters {
    /// What is set, and the defaults for what is not.
    pub fn settings(&self) -> Settings {
        let default = Settings::default();
        let is_on = |row: &&Signature| {
            let set = self.signatures.iter().find(|set| set.value.0 == row.id);
            set.map_or(row.on, |set| set.value.1)
        };
        Settings {
            end_of_data: self.end_of_data.map_or(default.end_of_data, |set| set.value),
            starttls: self.starttls.map_or(default.starttls, |set| set.value),
            chunking: self.chunking.map_or(default.chunking, |set| set.value),
            decode: self.decode.map_or(default.decode, |set| set.value),
            signatures: SIGNATURES.iter().filter(is_on).map(|row| row.id).collect(),
            defences: self.defences.clone(),
        }
    }
}

/// `class type inspect smtp` in a policy map.
#[derive(Debug)]
pub struct SmtpUse {
    /// The class map, or [`CLASS_DEFAULT`].
    pub class: Name,
    /// What is done.
    pub actions: Vec<Set<SmtpAction>>,
    /// The action of a top-level policy that stands here, kept until the whole policy is known.
    pub inspect: Option<Span>,
    /// The line.
    pub span: Span,
    /// A line under it could not be read, so what is missing may be there.
    pub spoiled: bool,
}

/// What can be done with what a class matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpAction {
    /// Let it through.
    Allow,
    /// Write a log line.
    Log,
    /// Overwrite it.
    Mask,
    /// Refuse it and close.
    Reset,
}

impl SmtpAction {
    /// The keyword.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            SmtpAction::Allow => "allow",
            SmtpAction::Log => "log",
            SmtpAction::Mask => "mask",
            SmtpAction::Reset => "reset",
        }
    }
}

/// `class-map type inspect`.
#[derive(Debug)]
pub struct TopClassMap {
    /// Its name.
    pub name: Name,
    /// How matches combine.
    pub mode: Set<Mode>,
    /// Its `match` lines.
    pub matches: Vec<TopMatch>,
    /// A line under it could not be read, so what is missing may be there.
    pub spoiled: bool,
}

/// `match` in a `class-map type inspect`.
#[derive(Debug)]
pub struct TopMatch {
    /// `match not`.
    pub negated: bool,
    /// What is asked of the first packet.
    pub test: TopTest,
    /// The line.
    pub span: Span,
}

/// What a `class-map type inspect` can ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopTest {
    /// `protocol`, and whether `extended` was said.
    Protocol(&'static Protocol, bool),
    /// `access-group`.
    AccessGroup(Name),
    /// `class-map`.
    ClassMap(Name),
}

impl TopMatch {
    /// The line as `show` prints it, without `match`.
    #[must_use]
    pub fn text(&self) -> String {
        let not = if self.negated { "not " } else { "" };
        match &self.test {
            TopTest::Protocol(protocol, false) => format!("{not}protocol {}", protocol.name),
            TopTest::Protocol(protocol, true) => format!("{not}protocol {} extended", protocol.name),
            TopTest::AccessGroup(list) => {
                let name = if list.text.bytes().all(|octet| octet.is_ascii_digit()) { "" } else { "name " };
                format!("{not}access-group {name}{}", list.text)
            }
            TopTest::ClassMap(class) => format!("{not}class-map {}", class.text),
        }
    }
}

/// `policy-map type inspect`.
#[derive(Debug)]
pub struct TopPolicyMap {
    /// Its name.
    pub name: Name,
    /// Its classes in order.
    pub uses: Vec<TopUse>,
}

/// `class type inspect` in a policy map.
#[derive(Debug)]
pub struct TopUse {
    /// The class map, or [`CLASS_DEFAULT`].
    pub class: Name,
    /// What is done; exactly one is legal.
    pub actions: Vec<Set<TopVerdict>>,
    /// Map of `inspect MAP`.
    pub parameters: Option<Name>,
    /// Policy of `service-policy smtp`, and the line.
    pub service: Option<(Name, Span)>,
    /// The line.
    pub span: Span,
    /// A line under it could not be read, so what is missing may be there.
    pub spoiled: bool,
}

/// What can be done with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopVerdict {
    /// Follow it.
    Inspect,
    /// Let it through; with `log`.
    Pass(bool),
    /// Discard it; with `log`.
    Drop(bool),
}

/// `zone security`.
#[derive(Debug)]
pub struct Zone {
    /// Its name.
    pub name: Name,
}

/// `zone-pair security`.
#[derive(Debug)]
pub struct ZonePair {
    /// Its name.
    pub name: Name,
    /// Where sessions come from.
    pub source: Name,
    /// Where they go.
    pub destination: Name,
    /// `service-policy type inspect`, and the line.
    pub policy: Option<(Name, Span)>,
    /// The line.
    pub span: Span,
    /// A line under it could not be read, so what is missing may be there.
    pub spoiled: bool,
}

/// `interface`.
#[derive(Debug)]
pub struct Interface {
    /// Type and number without the blank between.
    pub name: Name,
    /// `zone-member security`.
    pub zone: Option<Name>,
    /// `ip inspect NAME in|out`.
    pub rules: Vec<AppliedRule>,
}

/// `ip inspect NAME in|out`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedRule {
    /// The rule.
    pub rule: Name,
    /// Which sessions.
    pub direction: Direction,
    /// The line.
    pub span: Span,
}

/// Which sessions an applied rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Those whose first packet enters by the interface.
    In,
    /// Those whose first packet leaves by it.
    Out,
}

/// `ip inspect name NAME PROTOCOL`.
#[derive(Debug)]
pub struct Inspection {
    /// The rule.
    pub rule: Name,
    /// What is inspected.
    pub protocol: Inspected,
    /// Where that was said.
    pub protocol_span: Span,
    /// `alert`.
    pub alert: Option<bool>,
    /// `audit-trail`.
    pub audit_trail: Option<bool>,
    /// `max-data`, octets.
    pub max_data: Option<u64>,
    /// `timeout`, seconds.
    pub timeout: Option<u32>,
    /// The line.
    pub span: Span,
}

/// What an inspection rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspected {
    /// RFC 821 mail.
    Smtp,
    /// Extended mail.
    Esmtp,
    /// Anything else is followed, but not read.
    Other(&'static Protocol),
}

/// `ip inspect` without a name.
#[derive(Debug, Default)]
pub struct InspectGlobals {
    /// `ip inspect alert-off` was said.
    pub alert_off: bool,
    /// `ip inspect audit-trail` was said.
    pub audit_trail: bool,
    /// `ip audit smtp spam`: recipients of a message.
    pub spam_recipients: Option<u32>,
    /// Times and thresholds.
    pub values: InspectValues,
}

/// An access list.
#[derive(Debug)]
pub struct AccessList {
    /// Number or name.
    pub name: Name,
    /// Its lines.
    pub entries: Vec<Set<AccessEntry>>,
    /// A line under it could not be read, so what is missing may be there.
    pub spoiled: bool,
}
