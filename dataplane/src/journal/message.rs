//! The syslog line of a record: Cisco's mnemonics and texts.
//!
//! `SMTP_INVALID_COMMAND` and `SMTP_INVALID_PARAMETER` are the two messages of the Cisco ESMTP firewall document, to the
//! letter. Lines of a class's `log` action have the form of the application firewall's other modules, with target
//! and class; those of the audit trail are those of the stateful firewall.

use std::fmt::Write;
use std::net::SocketAddr;

use artifact::model::{Form, Policy};
use artifact::settings::signature;
use artifact::smtp::{Criterion, Test};
use inspect::anomaly::Anomaly;
use inspect::event::{Action, Body, Decision, FlowTag, Kind, Limit, Record};
use inspect::unit::Direction;
use inspect::wire::Endpoint;

use super::escape::sanitize;
use super::names::Names;

/// A line for syslog and for `postern.message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// 0 to 7.
    pub severity: u8,
    /// Such as `SMTP_INVALID_COMMAND`.
    pub mnemonic: String,
    /// The whole line, from `%` on.
    pub text: String,
}

/// Severity of an anomaly: a notice.
pub const ANOMALY_SEVERITY: u8 = 5;
/// Severity of the audit trail and of dropped packets: informational.
pub const AUDIT_SEVERITY: u8 = 6;

/// An end of a connection as syslog lines have it: `192.0.2.1:25`, `[2001:db8::1]:25`.
#[must_use]
pub fn end(endpoint: Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.ip(), endpoint.port)
}

/// The mnemonic of an anomaly: its label in capitals.
#[must_use]
pub fn anomaly_mnemonic(anomaly: Anomaly) -> String {
    anomaly.label().to_ascii_uppercase()
}

/// The line of a record, if it has one.
#[must_use]
pub fn message(record: &Record, policy: &Policy) -> Option<Message> {
    let flow = record.flow.as_ref();
    match &record.body {
        Body::Decision(decision) => flow.map(|flow| of_decision(decision, flow, policy)),
        Body::FlowStart => flow.map(|flow| {
            let text = format!(
                "{}Start tcp session: initiator ({}) -- responder ({})",
                target(flow, policy),
                end(flow.client),
                end(flow.server)
            );
            firewall(AUDIT_SEVERITY, "SESS_AUDIT_TRAIL_START", &text)
        }),
        Body::FlowEnd(totals) => flow.map(|flow| {
            let text = format!(
                "{}Stop tcp session: initiator ({}) sent {} bytes -- responder ({}) sent {} bytes",
                target(flow, policy),
                end(flow.client),
                totals.bytes[0],
                end(flow.server),
                totals.bytes[1]
            );
            firewall(AUDIT_SEVERITY, "SESS_AUDIT_TRAIL", &text)
        }),
        Body::Refused { source, destination, protocol, .. } => {
            let mut text =
                format!("Dropping {} pkt {} {}", protocol_name(*protocol), end(*source), end(*destination));
            if let Some(flow) = flow {
                let names = Names::of(flow, policy);
                // Writing to a string does not fail.
                let _ = write!(text, " on zone-pair {} class {}", names.zone_pair, names.top_class);
            }
            text.push_str(" due to policy");
            Some(firewall(AUDIT_SEVERITY, "DROP_PKT", &text))
        }
        Body::Anomaly { anomaly, direction, offset } => flow.map(|flow| {
            let text = format!("{} From {} at octet {}", anomaly.help(), party(*direction, flow), offset.0);
            firewall(ANOMALY_SEVERITY, &anomaly_mnemonic(*anomaly), &text)
        }),
        Body::Limit(limit) => flow.map(|flow| {
            let text = format!("{}{}", target(flow, policy), of_limit(*limit, flow));
            firewall(limit.severity(), limit.mnemonic(), &text)
        }),
        Body::Transaction(_) => None,
    }
}

fn firewall(severity: u8, mnemonic: &str, text: &str) -> Message {
    Message { severity, mnemonic: mnemonic.to_owned(), text: format!("%FW-{severity}-{mnemonic}: {text}") }
}

fn of_limit(limit: Limit, flow: &FlowTag) -> String {
    let host = flow.server.ip();
    match limit {
        Limit::Aggressive { on, half_open, high, per_minute } => {
            let what = if on { "getting aggressive" } else { "calming down" };
            let high = high.map_or("unlimited".into(), |high| high.to_string());
            format!("{what}, count ({half_open}/{high}) current 1-min rate: {per_minute}")
        }
        Limit::SessionsMaximum { maximum } => {
            format!("Number of sessions exceeds the configured sessions maximum value {maximum}")
        }
        Limit::HostAlert { limit } => {
            format!("Max tcp half-open connections ({limit}) exceeded for host {host}.")
        }
        Limit::HostBlocked { limit, minutes } => {
            let plural = if minutes == 1 { "" } else { "s" };
            format!(
                "Blocking new TCP connections to host {host} for {minutes} minute{plural} (half-open count {limit} exceeded)."
            )
        }
        Limit::HostUnblocked => format!("New TCP connections to host {host} no longer blocked"),
    }
}

/// `initiator (192.0.2.1:40000)`: who sent what goes this way.
fn party(direction: Direction, flow: &FlowTag) -> String {
    match direction {
        Direction::ClientToServer => format!("initiator ({})", end(flow.client)),
        Direction::ServerToClient => format!("responder ({})", end(flow.server)),
    }
}

/// `(target:class)-(in-out:mail):` in the zone form, nothing in the classic.
fn target(flow: &FlowTag, policy: &Policy) -> String {
    match policy.form {
        Form::Zone => {
            let names = Names::of(flow, policy);
            format!("(target:class)-({}:{}):", names.zone_pair, names.top_class)
        }
        Form::Classic => String::new(),
    }
}

fn of_decision(decision: &Decision, flow: &FlowTag, policy: &Policy) -> Message {
    let value = sanitize(decision.value.as_bytes());
    let from = party(decision.direction, flow);
    let severity = decision.kind.severity();
    let plain = |text: String| firewall(severity, decision.kind.mnemonic(), &text);
    match decision.kind {
        Kind::SmtpInvalidCommand => plain(format!(
            "Invalid SMTP command ({value}) (total {} chars) from initiator ({})",
            decision.value_len,
            end(flow.client)
        )),
        Kind::SmtpInvalidParameter => {
            plain(format!("Invalid SMTP parameter ({value}) from initiator ({})", end(flow.client)))
        }
        Kind::SmtpMatch => {
            let criterion = Names::criterion(decision, flow, policy);
            let what = MatchKind::of(criterion);
            let mnemonic = format!("SMTP_{}", what.mnemonic);
            let names = Names::of(flow, policy);
            let text = format!(
                "%APPFW-{severity}-{mnemonic}: (target:class)-({}:{}):{} \"{value}\" - initiator ({}) responder ({}) \
                 action {}",
                names.zone_pair,
                names.top_class,
                what.words,
                end(flow.client),
                end(flow.server),
                action_word(decision.action),
            );
            Message { severity, mnemonic, text }
        }
        Kind::SmtpEhloMasked => plain(format!("EHLO keyword ({value}) masked in reply from {from}")),
        Kind::SmtpSignature => {
            let id = decision.signature.unwrap_or_default();
            let title = signature(id).map_or("Attack", |row| row.title);
            let (a, b) = match decision.direction {
                Direction::ClientToServer => (flow.client, flow.server),
                Direction::ServerToClient => (flow.server, flow.client),
            };
            let text = format!("Sig:{id}:{title} - from {} to {}", a.ip(), b.ip());
            firewall(severity, signature_mnemonic(id), &text)
        }
        Kind::SmtpSmuggling => plain(format!("Ambiguous end of data ({value}) from {from}")),
        Kind::SmtpStarttlsInjection => plain(format!("Octets around STARTTLS ({value}) from {from}")),
        Kind::SmtpOutOfSync => plain(format!("Protocol out of step at ({value}) from {from}")),
        Kind::SmtpTlsRequired => plain(format!("Mail outside TLS ({value}) from {from}")),
        Kind::SmtpLineTooLong => {
            plain(format!("Line too long ({value}) (total {} chars) from {from}", decision.value_len))
        }
        Kind::SmtpLimit => plain(format!("Limit of {value} ({}) passed by {from}", decision.value_len)),
        Kind::SmtpRelayProbe => plain(format!("Relay probe ({value}) from {from}")),
        Kind::ResourceExhausted => plain(format!("Out of resources, session refused, from {from}")),
    }
}

/// What IOS calls the signatures that it reports by a name of their own.
fn signature_mnemonic(id: u16) -> &'static str {
    match id {
        3101 => "TCP_SENDMAIL_BAD_TO_SIG",
        3102 => "TCP_SENDMAIL_BAD_FROM_SIG",
        3104 => "TCP_SENDMAIL_OLD_SIG",
        3105 => "TCP_SENDMAIL_DECODE",
        3107 => "TCP_MAJORDOMO_EXEC_BUG",
        _ => Kind::SmtpSignature.mnemonic(),
    }
}

/// The policy language's word for what was done.
fn action_word(action: Action) -> &'static str {
    match action {
        Action::Close => "reset",
        Action::Forward => "allow",
        Action::Log | Action::Mask | Action::Drop => action.word(),
    }
}

/// `tcp`, `udp`, …, else the number.
#[must_use]
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "ipv6-icmp".into(),
        other => other.to_string(),
    }
}

/// What a criterion asks, as messages and metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchKind {
    /// Position in [`MatchKind::ALL`].
    pub index: usize,
    /// Label in metrics.
    pub label: &'static str,
    /// Behind `SMTP_` in syslog.
    pub mnemonic: &'static str,
    /// In the text of a line.
    pub words: &'static str,
}

macro_rules! match_kinds {
    ($($index:literal $label:literal $mnemonic:literal $words:literal;)*) => {
        impl MatchKind {
            /// Every kind; the first is that of a class without a criterion.
            pub const ALL: &'static [MatchKind] = &[$(MatchKind {
                index: $index, label: $label, mnemonic: $mnemonic, words: $words,
            },)*];
        }
    };
}

match_kinds! {
    0 "none" "CLASS" "class";
    1 "sender_address" "SENDER_ADDRESS" "sender address";
    2 "recipient_address" "RECIPIENT_ADDRESS" "recipient address";
    3 "recipient_count" "RECIPIENT_COUNT" "recipient count";
    4 "recipient_invalid_count" "RECIPIENT_INVALID_COUNT" "recipient invalid count";
    5 "cmd_verb" "CMD_VERB" "cmd verb";
    6 "cmd_line_length" "CMD_LINE_LENGTH" "cmd line length";
    7 "header_length" "HEADER_LENGTH" "header length";
    8 "header" "HEADER" "header";
    9 "body" "BODY" "body";
    10 "data_length" "DATA_LENGTH" "data-length";
    11 "mime_content_type" "MIME_CONTENT_TYPE" "mime content-type";
    12 "mime_encoding" "MIME_ENCODING" "mime encoding";
    13 "reply_ehlo" "REPLY_EHLO" "reply ehlo";
    14 "class_default" "CLASS_DEFAULT" "class-default";
}

impl MatchKind {
    /// That of a criterion; the first of [`MatchKind::ALL`] for none.
    #[must_use]
    pub fn of(criterion: Option<&Criterion>) -> MatchKind {
        let index = match criterion.map(|criterion| &criterion.test) {
            None => 0,
            Some(Test::SenderAddress) => 1,
            Some(Test::RecipientAddress) => 2,
            Some(Test::RecipientCount(_)) => 3,
            Some(Test::RecipientInvalidCount(_)) => 4,
            Some(Test::CommandVerb(_)) => 5,
            Some(Test::CommandLineLength(_)) => 6,
            Some(Test::HeaderLength(_)) => 7,
            Some(Test::Header) => 8,
            Some(Test::Body) => 9,
            Some(Test::DataLength(_)) => 10,
            Some(Test::MimeContentType) => 11,
            Some(Test::MimeEncoding(_)) => 12,
            Some(Test::ReplyEhlo(_)) => 13,
            Some(Test::Always) => 14,
        };
        Self::ALL[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;

    fn text(record: &Record) -> String {
        message(record, &sample::policy()).unwrap().text
    }

    #[test]
    fn the_two_messages_of_the_firewall_document_stand_to_the_letter() {
        let record = sample::decision(Kind::SmtpInvalidCommand, b"EVIL foo", Action::Mask);
        assert_eq!(
            text(&record),
            "%FW-3-SMTP_INVALID_COMMAND: Invalid SMTP command (EVIL foo) (total 8 chars) from initiator (192.0.2.1:40000)"
        );
        let record = sample::decision(Kind::SmtpInvalidParameter, b"X=1", Action::Close);
        assert_eq!(
            text(&record),
            "%FW-3-SMTP_INVALID_PARAMETER: Invalid SMTP parameter (X=1) from initiator (192.0.2.1:40000)"
        );
    }

    #[test]
    fn signatures_have_their_number_title_and_ends() {
        for (id, expected) in [
            (
                3101,
                "%FW-4-TCP_SENDMAIL_BAD_TO_SIG: Sig:3101:Sendmail Invalid Recipient - from 192.0.2.1 to 198.51.100.25",
            ),
            (
                3107,
                "%FW-4-TCP_MAJORDOMO_EXEC_BUG: Sig:3107:Majordomo Execute Attack - from 192.0.2.1 to 198.51.100.25",
            ),
            (
                7004,
                "%FW-4-SMTP_SIGNATURE: Sig:7004:Shellshock (CVE-2014-6271) - from 192.0.2.1 to 198.51.100.25",
            ),
        ] {
            let mut record = sample::decision(Kind::SmtpSignature, b"x", Action::Close);
            if let Body::Decision(decision) = &mut record.body {
                decision.signature = Some(id);
            }
            assert_eq!(text(&record), expected);
        }
    }

    #[test]
    fn a_class_that_logs_names_target_class_value_and_action() {
        let mut record = sample::decision(Kind::SmtpMatch, b"spam@bad.example", Action::Close);
        sample::by_class(&mut record, 0, 0);
        assert_eq!(
            text(&record),
            "%APPFW-4-SMTP_SENDER_ADDRESS: (target:class)-(in-out:mail):sender address \"spam@bad.example\" - initiator \
             (192.0.2.1:40000) responder (198.51.100.25:25) action reset"
        );
    }

    #[test]
    fn the_audit_trail_reads_as_the_firewalls() {
        assert_eq!(
            text(&sample::record(Body::FlowStart)),
            "%FW-6-SESS_AUDIT_TRAIL_START: (target:class)-(in-out:mail):Start tcp session: initiator (192.0.2.1:40000) -- \
             responder (198.51.100.25:25)"
        );
        assert_eq!(
            text(&sample::record(Body::FlowEnd(sample::totals()))),
            "%FW-6-SESS_AUDIT_TRAIL: (target:class)-(in-out:mail):Stop tcp session: initiator (192.0.2.1:40000) sent 48 \
             bytes -- responder (198.51.100.25:25) sent 99 bytes"
        );
        let classic = Policy { form: Form::Classic, ..sample::policy() };
        assert_eq!(
            message(&sample::record(Body::FlowStart), &classic).unwrap().text,
            "%FW-6-SESS_AUDIT_TRAIL_START: Start tcp session: initiator (192.0.2.1:40000) -- responder \
             (198.51.100.25:25)"
        );
    }

    #[test]
    fn dropped_packets_and_anomalies_have_a_line() {
        assert_eq!(
            text(&sample::refused()),
            "%FW-6-DROP_PKT: Dropping udp pkt [2001:db8::1]:53 [2001:db8::2]:5353 due to policy"
        );
        let mut refused = sample::refused();
        refused.flow = Some(sample::flow());
        assert!(text(&refused).ends_with(" on zone-pair in-out class mail due to policy"));
        assert_eq!(
            text(&sample::anomaly()),
            "%FW-5-TCP_INCONSISTENT_RETRANSMISSION: A retransmission differed from what was forwarded; the first octets \
             were sent again. From responder (198.51.100.25:25) at octet 7"
        );
    }

    #[test]
    fn limits_of_sessions_read_as_the_firewalls() {
        let aggressive = |on, half_open, high| Limit::Aggressive { on, half_open, high, per_minute: 77 };
        for (limit, expected) in [
            (
                aggressive(true, 501, Some(500)),
                "%FW-4-ALERT_ON: (target:class)-(in-out:mail):getting aggressive, count (501/500) current 1-min rate: 77",
            ),
            (
                aggressive(false, 400, None),
                "%FW-4-ALERT_OFF: (target:class)-(in-out:mail):calming down, count (400/unlimited) current 1-min rate: 77",
            ),
            (
                Limit::SessionsMaximum { maximum: 9 },
                "%FW-4-SESSIONS_MAXIMUM: (target:class)-(in-out:mail):Number of sessions exceeds the configured sessions \
                 maximum value 9",
            ),
            (
                Limit::HostAlert { limit: 50 },
                "%FW-4-HOST_TCP_ALERT_ON: (target:class)-(in-out:mail):Max tcp half-open connections (50) exceeded for host \
                 198.51.100.25.",
            ),
            (
                Limit::HostBlocked { limit: 50, minutes: 1 },
                "%FW-2-BLOCK_HOST: (target:class)-(in-out:mail):Blocking new TCP connections to host 198.51.100.25 for 1 \
                 minute (half-open count 50 exceeded).",
            ),
            (
                Limit::HostUnblocked,
                "%FW-4-UNBLOCK_HOST: (target:class)-(in-out:mail):New TCP connections to host 198.51.100.25 no longer blocked",
            ),
        ] {
            assert_eq!(text(&sample::record(Body::Limit(limit))), expected);
        }
        let classic = Policy { form: Form::Classic, ..sample::policy() };
        let record = sample::record(Body::Limit(aggressive(true, 501, Some(500))));
        assert_eq!(
            message(&record, &classic).unwrap().text,
            "%FW-4-ALERT_ON: getting aggressive, count (501/500) current 1-min rate: 77"
        );
    }

    #[test]
    fn a_peer_cannot_forge_a_line() {
        for kind in Kind::ALL {
            let record = sample::decision(kind, b"x\r\n%FW-0-FORGED: \x1b[2J\"", Action::Log);
            let text = text(&record);
            assert!(text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{text}");
            assert_eq!(text.matches('%').count(), 1, "{text}");
        }
    }

    #[test]
    fn match_kinds_stand_at_their_index() {
        for (index, kind) in MatchKind::ALL.iter().enumerate() {
            assert_eq!(kind.index, index);
        }
        let long = Kind::ALL.iter().map(|kind| kind.mnemonic().len()).max();
        assert!(long <= Some(32), "RFC 5424 gives MSGID 32 octets");
    }
}
