//! What an SMTP policy refuses by itself: verbs nobody should say, logins that would hide what follows, and peers that take
//! too long or ask too often.

use serde::{Deserialize, Serialize};

/// Defences of one SMTP policy, each a line of its `parameters` block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defences {
    /// `sasl-layers`.
    pub sasl_layers: SaslLayers,
    /// `auth`.
    pub auth: Auth,
    /// `auth-line-limit`: octets of an AUTH line, and of each line of its exchange, CRLF included.
    pub auth_line_limit: u32,
    /// `eight-bit`.
    pub eight_bit: EightBit,
    /// `synchronization`.
    pub synchronization: Synchronization,
    /// `relay-probes`.
    pub relay_probes: RelayProbes,
    /// `allow-verbs`: groups that pass. Sorted, each once.
    pub allowed_verbs: Vec<VerbGroup>,
    /// `ip audit smtp spam`: recipients of a message above which signature 3106 sees spam.
    pub spam_recipients: u32,
    /// `limit`.
    pub limits: Limits,
}

/// Octets of an AUTH line: what RFC 4954, section 4 wants to be taken in an exchange.
pub const AUTH_LINE_LIMIT: u32 = 12_288;

/// Recipients of a message (`ip audit smtp spam`): its default.
pub const SPAM_RECIPIENTS: u32 = 250;

impl Default for Defences {
    fn default() -> Self {
        Self {
            sasl_layers: SaslLayers::Mask,
            auth: Auth::Allow,
            auth_line_limit: AUTH_LINE_LIMIT,
            eight_bit: EightBit::Smtputf8,
            synchronization: Synchronization::Lenient,
            relay_probes: RelayProbes::Log,
            allowed_verbs: Vec::new(),
            spam_recipients: SPAM_RECIPIENTS,
            limits: Limits::default(),
        }
    }
}

/// What is done about mechanisms of AUTH that may encrypt what follows (RFC 4422, section 3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslLayers {
    /// They are overwritten in the reply to EHLO, and refused when a client uses one.
    Mask,
    /// They pass; a session in which one was agreed on is not inspected from there on.
    Opaque,
}

/// Mechanisms that may agree on a security layer, which hides what follows (IANA registry of SASL mechanisms; RFC 2222,
/// section 7; RFC 2831; RFC 4752). NTLM, SCRAM with `-PLUS` or without, GS2, OAUTHBEARER, and those that say a password
/// have none.
pub const LAYERED_MECHANISMS: [&str; 7] =
    ["DIGEST-MD5", "GSS-SPNEGO", "GSSAPI", "KERBEROS_V4", "KERBEROS_V5", "PASSDSS-3DES-1", "SRP"];

/// What is done about AUTH that can be read, which is outside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Auth {
    /// It passes.
    Allow,
    /// The keyword is overwritten, the command refused.
    RequireTls,
}

/// What is done about octets of 128 and more in commands (RFC 6531).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EightBit {
    /// They pass where the server offers SMTPUTF8, MAIL asks for it, and they are UTF-8.
    Smtputf8,
    /// They pass.
    Allow,
}

/// What is done about clients that do not wait for a reply on which what they say depends (RFC 5321, 4.3.1; RFC 2920, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Synchronization {
    /// What they say is not taken before that reply, and counted.
    Lenient,
    /// They are refused.
    Strict,
}

/// What is done about recipients with which servers are tried for an open relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelayProbes {
    /// They pass, and nothing is said.
    Allow,
    /// They pass, and are counted.
    Log,
    /// They are refused.
    Refuse,
}

/// Verbs of a kind that nobody outside a site has use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum VerbGroup {
    /// Of early servers, for their makers.
    Debug,
    /// Between the servers of a Microsoft Exchange organization.
    Exchange,
    /// Of early Exchange and others, without a public description.
    Private,
    /// By which a front end says whom it speaks for (Postfix).
    Proxy,
}

impl VerbGroup {
    /// Every group, by name.
    pub const ALL: [VerbGroup; 4] =
        [VerbGroup::Debug, VerbGroup::Exchange, VerbGroup::Private, VerbGroup::Proxy];

    /// Its word in `allow-verbs`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            VerbGroup::Debug => "debug",
            VerbGroup::Exchange => "exchange",
            VerbGroup::Private => "private",
            VerbGroup::Proxy => "proxy",
        }
    }
}

/// Verbs that are overwritten, command and EHLO keyword, with the group by which they can be let through. Those without one never
/// are by a group: TURN and ATRN make the server the client, and the payload of XEXCH50 has no public description, so
/// what follows cannot be read.
pub const DENIED_VERBS: [(&str, Option<VerbGroup>); 26] = [
    ("ATRN", None),
    ("DEBUG", Some(VerbGroup::Debug)),
    ("KILL", Some(VerbGroup::Debug)),
    ("ONEX", Some(VerbGroup::Debug)),
    ("SHOWQ", Some(VerbGroup::Debug)),
    ("TURN", None),
    ("VERB", Some(VerbGroup::Debug)),
    ("WIZ", Some(VerbGroup::Debug)),
    ("X-ANONYMOUSTLS", Some(VerbGroup::Exchange)),
    ("X-EXPS", Some(VerbGroup::Exchange)),
    ("X-LINK2STATE", Some(VerbGroup::Exchange)),
    ("XADR", Some(VerbGroup::Private)),
    ("XCIR", Some(VerbGroup::Private)),
    ("XCLIENT", Some(VerbGroup::Proxy)),
    ("XEXCH50", None),
    ("XFORWARD", Some(VerbGroup::Proxy)),
    ("XGEN", Some(VerbGroup::Private)),
    ("XPROXY", Some(VerbGroup::Exchange)),
    ("XPROXYFROM", Some(VerbGroup::Exchange)),
    ("XQUE", Some(VerbGroup::Private)),
    ("XSESSIONPARAMS", Some(VerbGroup::Exchange)),
    ("XSHADOW", Some(VerbGroup::Exchange)),
    ("XSTA", Some(VerbGroup::Private)),
    ("XTRN", Some(VerbGroup::Private)),
    ("XUSR", Some(VerbGroup::Private)),
    ("XVRB", Some(VerbGroup::Private)),
];

/// What one connection may do before it is closed with 421. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Commands that are no step toward a message, since the last message that was taken.
    pub junk_commands: Option<u32>,
    /// AUTH commands that failed or were given up.
    pub auth_failures: Option<u32>,
    /// Seconds from the first octet of a command line to its last.
    pub command_time: Option<u32>,
    /// Octets that a message must bring each second, [`DATA_GRACE`] aside.
    pub data_rate: Option<u32>,
    /// Seconds that a session may last.
    pub session_time: Option<u32>,
}

/// Seconds that any message may take, however slow.
pub const DATA_GRACE: u32 = 300;

/// Highest value of any limit.
pub const MAX_LIMIT: u32 = 2_147_483;

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Postfix, `smtpd_junk_command_limit`.
            junk_commands: Some(100),
            // Postfix, `smtpd_hard_error_limit`.
            auth_failures: Some(20),
            // RFC 5321, 4.5.3.2.7.
            command_time: Some(300),
            data_rate: None,
            session_time: None,
        }
    }
}

impl Limits {
    /// Every limit: its word in `limit`, its unit, its value here.
    #[must_use]
    pub const fn rows(&self) -> [(&'static str, &'static str, Option<u32>); 5] {
        [
            ("auth-failures", "failed logins", self.auth_failures),
            ("command-time", "seconds", self.command_time),
            ("data-rate", "octets a second", self.data_rate),
            ("junk-commands", "commands", self.junk_commands),
            ("session-time", "seconds", self.session_time),
        ]
    }

    /// The limit with this word.
    pub fn by_word(&mut self, word: &str) -> Option<&mut Option<u32>> {
        match word {
            "auth-failures" => Some(&mut self.auth_failures),
            "command-time" => Some(&mut self.command_time),
            "data-rate" => Some(&mut self.data_rate),
            "junk-commands" => Some(&mut self.junk_commands),
            "session-time" => Some(&mut self.session_time),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_can_be_searched_by_name() {
        assert!(DENIED_VERBS.is_sorted_by_key(|row| row.0));
        assert!(VerbGroup::ALL.is_sorted_by_key(|group| group.word()));
        for group in VerbGroup::ALL {
            assert!(DENIED_VERBS.iter().any(|row| row.1 == Some(group)), "{group:?} is empty");
        }
        let mut limits = Limits::default();
        for (word, _, value) in limits.rows() {
            assert_eq!(limits.by_word(word).map(|limit| *limit), Some(value));
        }
        assert_eq!(limits.by_word("no"), None);
    }
}
