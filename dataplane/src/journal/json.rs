//! Records as JSON: one object a line, with the field names of Suricata's EVE where it has them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use artifact::model::Policy;
use inspect::event::{Body, Decision, EndReason, FlowEnd, FlowTag, Record};
use inspect::unit::Direction;
use inspect::wire::Endpoint;
use serde::Serialize;

use super::escape::sanitize;
use super::message::{ANOMALY_SEVERITY, AUDIT_SEVERITY, anomaly_mnemonic, message, protocol_name};
use super::names::Names;

/// `nanos` after 1970 began, as RFC 3339 with microseconds, UTC.
#[must_use]
pub fn timestamp(nanos: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    humantime::format_rfc3339_micros(time).to_string()
}

/// One event, ready to be written. Field order is the order in the line.
#[derive(Debug, Serialize)]
pub struct Event<'p> {
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_id: Option<u64>,
    event_type: &'static str,
    src_ip: IpAddr,
    src_port: u16,
    dest_ip: IpAddr,
    dest_port: u16,
    proto: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    smtp: Option<Smtp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<Flow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anomaly: Option<Odd>,
    postern: Postern<'p>,
}

#[derive(Debug, Serialize)]
struct Smtp {
    helo: String,
    mail_from: String,
    rcpt_to: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Flow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pkts_toserver: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pkts_toclient: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_toserver: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_toclient: Option<u64>,
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<u64>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Odd {
    r#type: &'static str,
    event: &'static str,
}

#[derive(Debug, Serialize, Default)]
struct Postern<'p> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    severity: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone_pair: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#match: Option<Cow<'p, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    /// The reply sent, or in `smtp` events the server's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rcpt_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    masks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl<'p> Event<'p> {
    /// The event of a record. `epoch` is the origin of its clock, in nanoseconds after 1970 began. `None` for a record
    /// without its session, which the engine never writes.
    #[must_use]
    pub fn new(record: &Record, policy: &'p Policy, epoch: u64) -> Option<Self> {
        let at = epoch.saturating_add(record.at.as_nanos());
        let line = message(record, policy).map(|message| message.text);
        let names = record.flow.as_ref().map(|flow| Names::of(flow, policy));
        let base = |flow: &FlowTag,
                    direction: Option<Direction>,
                    event_type: &'static str,
                    postern: Postern<'p>| {
            let (source, destination) = match direction {
                Some(Direction::ServerToClient) => (flow.server, flow.client),
                _ => (flow.client, flow.server),
            };
            Event {
                timestamp: timestamp(at),
                flow_id: Some(flow.id.0),
                direction: direction.map(direction_word),
                ..Self::between(source, destination, event_type, Postern { message: line.clone(), ..postern })
            }
        };
        let session = || Postern {
            severity: AUDIT_SEVERITY,
            zone_pair: names.map(|names| names.zone_pair),
            policy: names.map(|names| names.policy()),
            class: names.map(|names| names.top_class),
            ..Postern::default()
        };
        match &record.body {
            Body::Decision(decision) => {
                let flow = record.flow.as_ref()?;
                let postern = of_decision(decision, flow, &names?, policy);
                Some(base(flow, Some(decision.direction), "alert", postern))
            }
            Body::Refused { source, destination, protocol, .. } => Some(Event {
                timestamp: timestamp(at),
                flow_id: record.flow.as_ref().map(|flow| flow.id.0),
                proto: protocol_name(*protocol).to_ascii_uppercase(),
                ..Self::between(
                    *source,
                    *destination,
                    "drop",
                    Postern {
                        kind: Some("DROP_PKT".into()),
                        policy: names.map(|names| names.top_policy),
                        action: Some("drop"),
                        message: line,
                        ..session()
                    },
                )
            }),
            Body::Transaction(transaction) => {
                let flow = record.flow.as_ref()?;
                let rcpt_to = sanitize(transaction.first_rcpt_to.as_bytes());
                let smtp = Smtp {
                    helo: sanitize(transaction.helo.as_bytes()),
                    mail_from: sanitize(transaction.mail_from.as_bytes()),
                    rcpt_to: if transaction.rcpt_count == 0 { Vec::new() } else { vec![rcpt_to] },
                };
                let postern = Postern {
                    rcpt_count: Some(transaction.rcpt_count),
                    size: Some(transaction.content_len),
                    reply: (transaction.reply != 0).then(|| transaction.reply.to_string()),
                    ..session()
                };
                Some(Event {
                    smtp: Some(smtp),
                    ..base(flow, Some(Direction::ClientToServer), "smtp", postern)
                })
            }
            Body::FlowStart => {
                let flow = Flow {
                    pkts_toserver: None,
                    pkts_toclient: None,
                    bytes_toserver: None,
                    bytes_toclient: None,
                    start: timestamp(at),
                    end: None,
                    age: None,
                    state: "new",
                    reason: None,
                };
                Some(Event { flow: Some(flow), ..base(record.flow.as_ref()?, None, "flow", session()) })
            }
            Body::FlowEnd(totals) => {
                let postern =
                    Postern { masks: Some(totals.masks), messages: Some(totals.messages), ..session() };
                let flow = Some(of_end(totals, at));
                Some(Event { flow, ..base(record.flow.as_ref()?, None, "flow", postern) })
            }
            Body::Anomaly { anomaly, direction, offset } => {
                let flow = record.flow.as_ref()?;
                let label = anomaly.label();
                let layer = if label.starts_with("tcp_") { "stream" } else { "applayer" };
                let postern = Postern {
                    kind: Some(anomaly_mnemonic(*anomaly)),
                    severity: ANOMALY_SEVERITY,
                    offset: Some(offset.0),
                    ..session()
                };
                Some(Event {
                    anomaly: Some(Odd { r#type: layer, event: label }),
                    ..base(flow, Some(*direction), "anomaly", postern)
                })
            }
            Body::Limit(limit) => {
                let flow = record.flow.as_ref()?;
                let postern = Postern {
                    kind: Some(limit.mnemonic().into()),
                    severity: limit.severity(),
                    value: limit.concerns_host().then(|| flow.server.ip().to_string()),
                    action: Some(limit.action().word()),
                    ..session()
                };
                // The one session too many may not have begun, so it has no number.
                Some(Event { flow_id: None, ..base(flow, Some(Direction::ClientToServer), "alert", postern) })
            }
        }
    }

    fn between(
        source: Endpoint,
        destination: Endpoint,
        event_type: &'static str,
        postern: Postern<'p>,
    ) -> Self {
        Event {
            timestamp: String::new(),
            flow_id: None,
            event_type,
            src_ip: source.ip(),
            src_port: source.port,
            dest_ip: destination.ip(),
            dest_port: destination.port,
            proto: "TCP".into(),
            direction: None,
            smtp: None,
            flow: None,
            anomaly: None,
            postern,
        }
    }
}

fn of_decision<'p>(
    decision: &Decision,
    flow: &FlowTag,
    names: &Names<'p>,
    policy: &'p Policy,
) -> Postern<'p> {
    let value = sanitize(decision.value.as_bytes());
    Postern {
        kind: Some(decision.kind.mnemonic().into()),
        severity: decision.kind.severity(),
        zone_pair: Some(names.zone_pair),
        policy: Some(names.policy()),
        class: names.class(decision).map(|class| class.name.as_str()),
        r#match: match decision.signature {
            Some(id) => Some(format!("signature {id}").into()),
            None => Names::criterion(decision, flow, policy).map(|criterion| criterion.text.as_str().into()),
        },
        value: (!value.is_empty()).then_some(value),
        action: Some(decision.action.word()),
        reply: decision.reply.map(|reply| reply.text(decision.enhanced).to_owned()),
        offset: Some(decision.offset.0),
        ..Postern::default()
    }
}

fn of_end(totals: &FlowEnd, at: u64) -> Flow {
    Flow {
        pkts_toserver: Some(totals.packets[0]),
        pkts_toclient: Some(totals.packets[1]),
        bytes_toserver: Some(totals.bytes[0]),
        bytes_toclient: Some(totals.bytes[1]),
        start: timestamp(at.saturating_sub(totals.duration_nanos)),
        end: Some(timestamp(at)),
        age: Some(totals.duration_nanos / 1_000_000_000),
        state: "closed",
        reason: Some(EndReason::word(totals.reason)),
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::ClientToServer => "to_server",
        Direction::ServerToClient => "to_client",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;
    use inspect::event::{Action, Kind, ReplyCode};

    fn line(record: &Record) -> String {
        let policy = sample::policy();
        serde_json::to_string(&Event::new(record, &policy, 1_700_000_000_000_000_000).unwrap()).unwrap()
    }

    #[test]
    fn an_alert() {
        let record = sample::decision(Kind::SmtpInvalidCommand, b"EVIL foo", Action::Mask);
        assert_eq!(
            line(&record),
            r#"{"timestamp":"2023-11-14T22:13:21.000002Z","flow_id":42,"event_type":"alert","src_ip":"192.0.2.1","src_port":40000,"dest_ip":"198.51.100.25","dest_port":25,"proto":"TCP","direction":"to_server","postern":{"kind":"SMTP_INVALID_COMMAND","severity":3,"zone_pair":"in-out","policy":"mail-rules","value":"EVIL foo","action":"mask","offset":7,"message":"%FW-3-SMTP_INVALID_COMMAND: Invalid SMTP command (EVIL foo) (total 8 chars) from initiator (192.0.2.1:40000)"}}"#
        );
    }

    #[test]
    fn an_alert_of_a_class_with_a_reply() {
        let mut record = sample::decision(Kind::SmtpMatch, b"spam@bad.example", Action::Close);
        sample::by_class(&mut record, 0, 0);
        if let Body::Decision(decision) = &mut record.body {
            (decision.reply, decision.enhanced) = (Some(ReplyCode::Policy), true);
        }
        let line = line(&record);
        assert!(
            line.contains(
                r#""postern":{"kind":"SMTP_MATCH","severity":4,"zone_pair":"in-out","policy":"mail-rules","class":"spam","match":"sender address regex bad-senders","value":"spam@bad.example","action":"close","reply":"554 5.7.1 Refused by mail policy","offset":7,"message":"%APPFW-4-SMTP_SENDER_ADDRESS: "#
            ),
            "{line}"
        );
    }

    #[test]
    fn a_reply_is_from_the_server() {
        let mut record = sample::decision(Kind::SmtpEhloMasked, b"STARTTLS", Action::Mask);
        if let Body::Decision(decision) = &mut record.body {
            decision.direction = Direction::ServerToClient;
        }
        let line = line(&record);
        assert!(
            line.contains(
                r#""src_ip":"198.51.100.25","src_port":25,"dest_ip":"192.0.2.1","dest_port":40000,"proto":"TCP","direction":"to_client""#
            ),
            "{line}"
        );
    }

    #[test]
    fn a_limit_of_sessions() {
        use inspect::event::Limit;
        let limit = |limit| line(&sample::record(Body::Limit(limit)));
        assert_eq!(
            limit(Limit::Aggressive { on: true, half_open: 501, high: Some(500), per_minute: 77 }),
            r#"{"timestamp":"2023-11-14T22:13:21.000002Z","event_type":"alert","src_ip":"192.0.2.1","src_port":40000,"dest_ip":"198.51.100.25","dest_port":25,"proto":"TCP","direction":"to_server","postern":{"kind":"ALERT_ON","severity":4,"zone_pair":"in-out","policy":"mail-rules","class":"mail","action":"log","message":"%FW-4-ALERT_ON: (target:class)-(in-out:mail):getting aggressive, count (501/500) current 1-min rate: 77"}}"#
        );
        let blocked = limit(Limit::HostBlocked { limit: 50, minutes: 2 });
        assert!(
            blocked.contains(
                r#""kind":"BLOCK_HOST","severity":2,"zone_pair":"in-out","policy":"mail-rules","class":"mail","value":"198.51.100.25","action":"drop","message":"#
            ),
            "{blocked}"
        );
    }

    #[test]
    fn a_drop() {
        assert_eq!(
            line(&sample::refused()),
            r#"{"timestamp":"2023-11-14T22:13:21.000002Z","event_type":"drop","src_ip":"2001:db8::1","src_port":53,"dest_ip":"2001:db8::2","dest_port":5353,"proto":"UDP","postern":{"kind":"DROP_PKT","severity":6,"action":"drop","message":"%FW-6-DROP_PKT: Dropping udp pkt [2001:db8::1]:53 [2001:db8::2]:5353 due to policy"}}"#
        );
    }

    #[test]
    fn a_transaction() {
        assert_eq!(
            line(&sample::record(Body::Transaction(sample::transaction()))),
            r#"{"timestamp":"2023-11-14T22:13:21.000002Z","flow_id":42,"event_type":"smtp","src_ip":"192.0.2.1","src_port":40000,"dest_ip":"198.51.100.25","dest_port":25,"proto":"TCP","direction":"to_server","smtp":{"helo":"client.example","mail_from":"a@b\\x0d.example","rcpt_to":["c@d.example"]},"postern":{"severity":6,"zone_pair":"in-out","policy":"mail-rules","class":"mail","reply":"250","rcpt_count":3,"size":1234}}"#
        );
    }

    #[test]
    fn a_session_begins_and_ends() {
        assert!(
            line(&sample::record(Body::FlowStart))
                .contains(r#""event_type":"flow","src_ip":"192.0.2.1","src_port":40000,"dest_ip":"198.51.100.25","dest_port":25,"proto":"TCP","flow":{"start":"2023-11-14T22:13:21.000002Z","state":"new"},"postern":{"severity":6,"zone_pair":"in-out","policy":"mail-rules","class":"mail","message":"%FW-6-SESS_AUDIT_TRAIL_START: "#)
        );
        let line = line(&sample::record(Body::FlowEnd(sample::totals())));
        assert!(
            line.contains(
                r#""flow":{"pkts_toserver":5,"pkts_toclient":4,"bytes_toserver":48,"bytes_toclient":99,"start":"2023-11-14T22:13:19.500002Z","end":"2023-11-14T22:13:21.000002Z","age":1,"state":"closed","reason":"client_reset"},"postern":{"severity":6,"zone_pair":"in-out","policy":"mail-rules","class":"mail","masks":2,"messages":1,"message":"#
            ),
            "{line}"
        );
    }

    #[test]
    fn a_signature_is_what_matched() {
        let mut record = sample::decision(Kind::SmtpSignature, b"WIZ", Action::Close);
        if let Body::Decision(decision) = &mut record.body {
            decision.signature = Some(3104);
        }
        let line = line(&record);
        assert!(
            line.contains(r#""kind":"SMTP_SIGNATURE""#) && line.contains(r#""match":"signature 3104""#),
            "{line}"
        );
    }

    #[test]
    fn an_anomaly() {
        let line = line(&sample::anomaly());
        assert!(
            line.contains(
                r#""event_type":"anomaly","src_ip":"198.51.100.25","src_port":25,"dest_ip":"192.0.2.1","dest_port":40000,"proto":"TCP","direction":"to_client","anomaly":{"type":"stream","event":"tcp_inconsistent_retransmission"},"postern":{"kind":"TCP_INCONSISTENT_RETRANSMISSION","severity":5,"zone_pair":"in-out","policy":"mail-rules","class":"mail","offset":7,"message":"%FW-5-"#
            ),
            "{line}"
        );
    }

    #[test]
    fn hostile_octets_stay_one_line_of_json() {
        for kind in Kind::ALL {
            let record = sample::decision(kind, b"\"},\n{\"a\\\xff%s\0", Action::Log);
            let line = line(&record);
            assert!(!line.contains('\n'));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["postern"]["value"], "\\\"},\\x0a{\\\"a\\\\\\xff\\x25s\\x00");
        }
    }

    #[test]
    fn no_time_panics() {
        for nanos in [0, u64::MAX] {
            assert!(timestamp(nanos).ends_with('Z'));
        }
        let mut record = sample::record(Body::FlowEnd(sample::totals()));
        record.at = inspect::unit::Instant::from_nanos(u64::MAX);
        line(&record);
        record.at = inspect::unit::Instant::ZERO;
        assert!(Event::new(&record, &sample::policy(), 0).is_some());
    }

    #[test]
    fn a_record_of_another_policy_does_not_panic() {
        let record = sample::decision(Kind::SmtpMatch, b"x", Action::Log);
        let empty = Policy::default();
        let line = serde_json::to_string(&Event::new(&record, &empty, 0).unwrap()).unwrap();
        assert!(line.contains(r#""zone_pair":"?""#), "{line}");
    }
}
