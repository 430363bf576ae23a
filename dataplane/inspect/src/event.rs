//! What the engine reports: fixed-size records, so that the hot path neither allocates nor formats.
//!
//! The worker takes them out of the [`Journal`] after each burst; the program turns them into JSON events and
//! syslog lines, where octets of a peer are escaped.

use crate::anomaly::Anomaly;
use crate::unit::{Direction, FlowId, Instant, PortId, StreamOffset};
use crate::wire::Endpoint;

/// Octets of a peer kept in a record, unescaped; longer ones are cut off.
pub const VALUE_LEN: usize = 64;

/// The first octets of something a peer sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Value {
    bytes: [u8; VALUE_LEN],
    len: u8,
}

impl Value {
    /// Nothing.
    pub const EMPTY: Value = Value { bytes: [0; VALUE_LEN], len: 0 };

    /// The first [`VALUE_LEN`] octets of `bytes`.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut value = Self::EMPTY;
        value.append(bytes);
        value
    }

    /// Adds octets as long as there is room.
    pub fn append(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        let len = bytes.len().min(VALUE_LEN - start);
        self.bytes[start..start + len].copy_from_slice(&bytes[..len]);
        self.len += len as u8;
    }

    /// The octets, raw.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl core::fmt::Debug for Value {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// The session a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowTag {
    /// Name of the session.
    pub id: FlowId,
    /// Who opened it.
    pub client: Endpoint,
    /// With whom.
    pub server: Endpoint,
    /// Index into the policy's paths.
    pub path: u16,
    /// Index into that path's classes.
    pub class: u16,
    /// Index into the policy's SMTP policies, when inspected.
    pub smtp: Option<u16>,
    /// Which loaded artifact decides; counts up with every reload.
    pub generation: u32,
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// In which session; `None` for what belongs to none.
    pub flow: Option<FlowTag>,
    /// What.
    pub body: Body,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// The policy, or the protocol rules that come with inspection, decided something.
    Decision(Decision),
    /// A frame or a session was not let through by the top-level policy.
    Refused {
        /// Port it came in by.
        ingress: PortId,
        /// Source.
        source: Endpoint,
        /// Destination.
        destination: Endpoint,
        /// IP protocol number.
        protocol: u8,
    },
    /// A mail transaction ended (written when the audit trail is on).
    Transaction(Transaction),
    /// A session began (audit trail).
    FlowStart,
    /// A session ended.
    FlowEnd(FlowEnd),
    /// Something that no honest peer does, or a budget that was hit.
    Anomaly {
        /// Which.
        anomaly: Anomaly,
        /// Who caused it: the sender of this direction.
        direction: Direction,
        /// Where in the stream.
        offset: StreamOffset,
    },
    /// A limit of sessions was reached, or is no longer. The record's session is the one that was one too many (it may
    /// not have begun), also where the record says that it is over.
    Limit(Limit),
}

/// A limit of sessions; all numbers are those of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Half-open sessions are deleted, or no longer.
    Aggressive {
        /// Whether it begins.
        on: bool,
        /// Half-open sessions.
        half_open: u32,
        /// How many there may be; `None` where only their rate is limited.
        high: Option<u32>,
        /// New ones in the last minute.
        per_minute: u32,
    },
    /// A class has as many sessions as it may have; reported once until one of them ends.
    SessionsMaximum {
        /// As many.
        maximum: u32,
    },
    /// A host has as many half-open sessions as it may have.
    HostAlert {
        /// As many.
        limit: u32,
    },
    /// No session to the host begins.
    HostBlocked {
        /// Half-open sessions it may have.
        limit: u32,
        /// How long.
        minutes: u32,
    },
    /// Sessions to the host may begin again.
    HostUnblocked,
}

impl Limit {
    /// The mnemonic, as scripts see it in `postern.kind` and in the syslog line.
    #[must_use]
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Limit::Aggressive { on: true, .. } => "ALERT_ON",
            Limit::Aggressive { on: false, .. } => "ALERT_OFF",
            Limit::SessionsMaximum { .. } => "SESSIONS_MAXIMUM",
            Limit::HostAlert { .. } => "HOST_TCP_ALERT_ON",
            Limit::HostBlocked { .. } => "BLOCK_HOST",
            Limit::HostUnblocked => "UNBLOCK_HOST",
        }
    }

    /// Syslog severity, 0 to 7.
    #[must_use]
    pub const fn severity(self) -> u8 {
        match self {
            Limit::HostBlocked { .. } => 2,
            _ => 4,
        }
    }

    /// What is done about sessions that come.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Limit::SessionsMaximum { .. } | Limit::HostBlocked { .. } => Action::Drop,
            _ => Action::Log,
        }
    }

    /// Whether it is about the server's address alone.
    #[must_use]
    pub const fn concerns_host(self) -> bool {
        matches!(self, Limit::HostAlert { .. } | Limit::HostBlocked { .. } | Limit::HostUnblocked)
    }
}

/// A decision about something a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Mnemonic and severity.
    pub kind: Kind,
    /// Who sent what was judged.
    pub direction: Direction,
    /// Index into the SMTP policy's classes, when a class decided.
    pub class: Option<u16>,
    /// Index into its criteria: the one that made the class true.
    pub criterion: Option<u16>,
    /// Which signature decided, when one did.
    pub signature: Option<u16>,
    /// What was judged, cut.
    pub value: Value,
    /// Octets of what was judged, uncut, without CRLF.
    pub value_len: u32,
    /// What was done.
    pub action: Action,
    /// What the client is told; `None` where it is told nothing.
    pub reply: Option<ReplyCode>,
    /// Whether it is told with its enhanced status code, for [`ReplyCode::text`].
    pub enhanced: bool,
    /// Where in the stream it stands.
    pub offset: StreamOffset,
}

/// Mnemonics, as scripts see them in `postern.kind` and in the syslog line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A verb outside the legal set (Cisco ESMTP document, "Command Inspection").
    SmtpInvalidCommand,
    /// A parameter outside the legal set (Cisco ESMTP document, "Parameter Inspection").
    SmtpInvalidParameter,
    /// One of the signatures.
    SmtpSignature,
    /// A class of the policy became true.
    SmtpMatch,
    /// A sequence that some server takes for an end of data.
    SmtpSmuggling,
    /// Octets around STARTTLS that some peer would take for part of the TLS session.
    SmtpStarttlsInjection,
    /// A keyword of an EHLO reply was overwritten.
    SmtpEhloMasked,
    /// Client and server are not in step.
    SmtpOutOfSync,
    /// Mail outside TLS, where the policy requires that.
    SmtpTlsRequired,
    /// A line longer than its limit.
    SmtpLineTooLong,
    /// A limit of commands, failures or time was passed.
    SmtpLimit,
    /// A recipient with which servers are tried for an open relay.
    SmtpRelayProbe,
    /// The gateway is out of something it needs to inspect the session.
    ResourceExhausted,
}

impl Kind {
    /// Every mnemonic, for documentation and counters.
    pub const ALL: [Kind; 13] = [
        Kind::SmtpInvalidCommand,
        Kind::SmtpInvalidParameter,
        Kind::SmtpSignature,
        Kind::SmtpMatch,
        Kind::SmtpSmuggling,
        Kind::SmtpStarttlsInjection,
        Kind::SmtpEhloMasked,
        Kind::SmtpOutOfSync,
        Kind::SmtpTlsRequired,
        Kind::SmtpLineTooLong,
        Kind::SmtpLimit,
        Kind::SmtpRelayProbe,
        Kind::ResourceExhausted,
    ];

    /// The mnemonic.
    #[must_use]
    pub const fn mnemonic(self) -> &'static str {
        match self {
            Kind::SmtpInvalidCommand => "SMTP_INVALID_COMMAND",
            Kind::SmtpInvalidParameter => "SMTP_INVALID_PARAMETER",
            Kind::SmtpSignature => "SMTP_SIGNATURE",
            Kind::SmtpMatch => "SMTP_MATCH",
            Kind::SmtpSmuggling => "SMTP_SMUGGLING",
            Kind::SmtpStarttlsInjection => "SMTP_STARTTLS_INJECTION",
            Kind::SmtpEhloMasked => "SMTP_EHLO_MASKED",
            Kind::SmtpOutOfSync => "SMTP_OUT_OF_SYNC",
            Kind::SmtpTlsRequired => "SMTP_TLS_REQUIRED",
            Kind::SmtpLineTooLong => "SMTP_LINE_TOO_LONG",
            Kind::SmtpLimit => "SMTP_LIMIT",
            Kind::SmtpRelayProbe => "SMTP_RELAY_PROBE",
            Kind::ResourceExhausted => "RESOURCE_EXHAUSTED",
        }
    }

    /// Syslog severity, 0 to 7.
    #[must_use]
    pub const fn severity(self) -> u8 {
        match self {
            Kind::SmtpInvalidCommand | Kind::SmtpInvalidParameter => 3,
            Kind::SmtpEhloMasked => 6,
            _ => 4,
        }
    }
}

/// What was done about it, as in `postern.action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Only reported.
    Log,
    /// Overwritten.
    Mask,
    /// Refused, both sides closed.
    Close,
    /// Let through by an `allow`.
    Forward,
    /// Discarded.
    Drop,
}

impl Action {
    /// The word scripts see.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Action::Log => "log",
            Action::Mask => "mask",
            Action::Close => "close",
            Action::Forward => "forward",
            Action::Drop => "drop",
        }
    }
}

/// Replies the gateway makes up itself. One function, [`ReplyCode::text`], has their texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyCode {
    /// `554 5.7.1`: policy or signature.
    Policy,
    /// `550 5.7.1`: recipient policy.
    Recipient,
    /// `500 5.5.2`: line too long, or not ended by CRLF.
    Line,
    /// `501 5.5.2`: an octet that a command must not have (RFC 5321, 4.1.2).
    Octet,
    /// `553 5.6.7`: an address that needs SMTPUTF8 (RFC 6531, 3.5).
    NeedsSmtpUtf8,
    /// `504 5.5.4`: an AUTH mechanism that is not allowed (RFC 4954, section 4).
    Mechanism,
    /// `501 5.5.2`: an AUTH line that is no mechanism with base64 (RFC 4954, section 4).
    Base64,
    /// `538 5.7.11`: AUTH only inside TLS (RFC 4954, section 6).
    AuthNeedsTls,
    /// `421 4.7.0`: too many commands that lead nowhere, or failed logins.
    TooManyCommands,
    /// `421 4.4.2`: too slow.
    TooSlow,
    /// `502 5.5.1`: command not implemented.
    NotImplemented,
    /// `503 5.5.1`: a command that may not stand here.
    BadSequence,
    /// `501 5.5.4`: bad parameter value.
    BadParameter,
    /// `555 5.5.4`: unknown parameter.
    UnknownParameter,
    /// `530 5.7.0`: mail only inside TLS (RFC 3207, section 4).
    TlsRequired,
    /// `554 5.6.0`: smuggling.
    Smuggling,
    /// `554 5.5.0`: out of step.
    OutOfSync,
    /// `452 4.5.3`: too many recipients.
    TooManyRecipients,
    /// `421 4.3.2`: the gateway is out of resources.
    Unavailable,
}

impl ReplyCode {
    /// The reply without CRLF. `enhanced` says whether the server advertised ENHANCEDSTATUSCODES; else the
    /// second code is left out (RFC 2034).
    #[must_use]
    pub const fn text(self, enhanced: bool) -> &'static str {
        match (self, enhanced) {
            (ReplyCode::Policy, true) => "554 5.7.1 Refused by mail policy",
            (ReplyCode::Policy, false) => "554 Refused by mail policy",
            (ReplyCode::Recipient, true) => "550 5.7.1 Recipient refused by mail policy",
            (ReplyCode::Recipient, false) => "550 Recipient refused by mail policy",
            (ReplyCode::Line, true) => "500 5.5.2 Line too long or not allowed",
            (ReplyCode::Line, false) => "500 Line too long or not allowed",
            (ReplyCode::Octet, true) => "501 5.5.2 Octet not allowed in a command",
            (ReplyCode::Octet, false) => "501 Octet not allowed in a command",
            (ReplyCode::NeedsSmtpUtf8, true) => "553 5.6.7 Address needs SMTPUTF8",
            (ReplyCode::NeedsSmtpUtf8, false) => "553 Address needs SMTPUTF8",
            (ReplyCode::Mechanism, true) => "504 5.5.4 Authentication mechanism not allowed",
            (ReplyCode::Mechanism, false) => "504 Authentication mechanism not allowed",
            (ReplyCode::Base64, true) => "501 5.5.2 Cannot decode authentication line",
            (ReplyCode::Base64, false) => "501 Cannot decode authentication line",
            (ReplyCode::AuthNeedsTls, true) => "538 5.7.11 Encryption required for authentication",
            (ReplyCode::AuthNeedsTls, false) => "538 Encryption required for authentication",
            (ReplyCode::TooManyCommands, true) => "421 4.7.0 Too many commands or failures",
            (ReplyCode::TooManyCommands, false) => "421 Too many commands or failures",
            (ReplyCode::TooSlow, true) => "421 4.4.2 Timeout",
            (ReplyCode::TooSlow, false) => "421 Timeout",
            (ReplyCode::NotImplemented, true) => "502 5.5.1 Command not implemented",
            (ReplyCode::NotImplemented, false) => "502 Command not implemented",
            (ReplyCode::BadSequence, true) => "503 5.5.1 Bad sequence of commands",
            (ReplyCode::BadSequence, false) => "503 Bad sequence of commands",
            (ReplyCode::BadParameter, true) => "501 5.5.4 Invalid parameter value",
            (ReplyCode::BadParameter, false) => "501 Invalid parameter value",
            (ReplyCode::UnknownParameter, true) => "555 5.5.4 Unsupported parameter",
            (ReplyCode::UnknownParameter, false) => "555 Unsupported parameter",
            (ReplyCode::TlsRequired, true) => "530 5.7.0 Must issue a STARTTLS command first",
            (ReplyCode::TlsRequired, false) => "530 Must issue a STARTTLS command first",
            (ReplyCode::Smuggling, true) => "554 5.6.0 Ambiguous end of data refused",
            (ReplyCode::Smuggling, false) => "554 Ambiguous end of data refused",
            (ReplyCode::OutOfSync, true) => "554 5.5.0 Protocol synchronization error",
            (ReplyCode::OutOfSync, false) => "554 Protocol synchronization error",
            (ReplyCode::TooManyRecipients, true) => "452 4.5.3 Too many recipients",
            (ReplyCode::TooManyRecipients, false) => "452 Too many recipients",
            (ReplyCode::Unavailable, true) => "421 4.3.2 Mail gateway is out of resources, try again later",
            (ReplyCode::Unavailable, false) => "421 Mail gateway is out of resources, try again later",
        }
    }
}

/// A mail transaction, for the `smtp` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// Argument of the last EHLO or HELO.
    pub helo: Value,
    /// Path of MAIL FROM.
    pub mail_from: Value,
    /// Path of the first RCPT TO.
    pub first_rcpt_to: Value,
    /// RCPT commands.
    pub rcpt_count: u32,
    /// Octets of content, end of data not included.
    pub content_len: u64,
    /// The server's reply to the end of data, 0 when there was none.
    pub reply: u16,
}

/// Totals of a session, client first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowEnd {
    /// Payload octets forwarded in each direction.
    pub bytes: [u64; 2],
    /// Segments forwarded in each direction.
    pub packets: [u64; 2],
    /// Commands and keywords overwritten.
    pub masks: u32,
    /// Mail transactions that the server accepted.
    pub messages: u32,
    /// Nanoseconds from the first packet to the last.
    pub duration_nanos: u64,
    /// Why.
    pub reason: EndReason,
}

impl FlowEnd {
    /// Payload octets forwarded in both directions.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EndReason {
    /// Both sides sent FIN.
    #[default]
    Finished,
    /// The client sent RST.
    ClientReset,
    /// The server sent RST.
    ServerReset,
    /// The gateway closed it.
    Closed,
    /// Nothing came for the idle time.
    IdleTimeout,
    /// It was not established in time.
    SynTimeout,
    /// Evicted to stay within a limit.
    Evicted,
    /// The gateway is stopping.
    Shutdown,
}

impl EndReason {
    /// Every reason, for counters.
    pub const ALL: [EndReason; 8] = [
        EndReason::Finished,
        EndReason::ClientReset,
        EndReason::ServerReset,
        EndReason::Closed,
        EndReason::IdleTimeout,
        EndReason::SynTimeout,
        EndReason::Evicted,
        EndReason::Shutdown,
    ];

    /// The label value.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            EndReason::Finished => "finished",
            EndReason::ClientReset => "client_reset",
            EndReason::ServerReset => "server_reset",
            EndReason::Closed => "closed",
            EndReason::IdleTimeout => "idle_timeout",
            EndReason::SynTimeout => "syn_timeout",
            EndReason::Evicted => "evicted",
            EndReason::Shutdown => "shutdown",
        }
    }
}

/// Records of one burst. Bounded: when it is full, records are counted and lost, never the frames.
#[derive(Debug)]
pub struct Journal {
    records: Vec<Record>,
    capacity: usize,
    /// Records lost since the start because nobody took the others out in time.
    pub lost_count: u64,
    at: Instant,
    flow: Option<FlowTag>,
    /// Whether refusals of the subject carry enhanced status codes.
    enhanced: bool,
}

impl Journal {
    /// Room for `capacity` records between two [`Journal::drain`]s.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            records: Vec::with_capacity(capacity),
            capacity,
            lost_count: 0,
            at: Instant::ZERO,
            flow: None,
            enhanced: false,
        }
    }

    /// What the next records are about.
    pub fn subject(&mut self, at: Instant, flow: Option<FlowTag>) {
        self.at = at;
        self.flow = flow;
    }

    /// Whether what the subject is told carries enhanced status codes, from the next record on.
    pub fn set_enhanced(&mut self, enhanced: bool) {
        self.enhanced = enhanced;
    }

    /// Whether what the subject is told carries enhanced status codes.
    #[must_use]
    pub fn is_enhanced(&self) -> bool {
        self.enhanced
    }

    /// What the next records are about.
    #[must_use]
    pub fn flow(&self) -> Option<&FlowTag> {
        self.flow.as_ref()
    }

    /// Reports something about the current subject.
    pub fn push(&mut self, body: Body) {
        if self.records.len() == self.capacity {
            self.lost_count += 1;
        } else {
            self.records.push(Record { at: self.at, flow: self.flow, body });
        }
    }

    /// Takes every record out.
    pub fn drain(&mut self) -> impl Iterator<Item = Record> + '_ {
        self.records.drain(..)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}
