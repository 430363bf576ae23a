//! A policy and records for tests of this folder.

use std::net::IpAddr;

use artifact::format::Artifact;
use artifact::model::{InspectParameters, Mode, Path, Policy, PortName, TopAction, TopClass};
use artifact::smtp::{Base, Criterion, SmtpClass, SmtpPolicy, Terminal, Test};
use inspect::anomaly::Anomaly;
use inspect::event::{Action, Body, Decision, EndReason, FlowEnd, FlowTag, Kind, Record, Transaction, Value};
use inspect::unit::{Direction, FlowId, Instant, PortId, StreamOffset};
use inspect::wire::Endpoint;

use crate::edition::{Editions, Register};

/// Zone-pair `in-out`, class `mail`, SMTP policy `mail-rules` with a class `spam` that refuses senders.
pub(crate) fn policy() -> Policy {
    let ports = ["inside", "outside"].map(|name| PortName { name: name.into(), interfaces: Vec::new() });
    let top = TopClass {
        name: "mail".into(),
        mode: Mode::Any,
        condition: 0,
        matches: vec!["protocol smtp".into()],
        action: TopAction::Inspect { parameters: 0, smtp: Some(0) },
        line: 1,
    };
    let spam = SmtpClass {
        name: "spam".into(),
        mode: Mode::Any,
        criteria: vec![0],
        log: true,
        terminal: Some(Terminal::Reset),
        line: 2,
    };
    let criterion = Criterion {
        negated: false,
        test: Test::SenderAddress,
        text: "sender address regex bad-senders".into(),
        line: 3,
    };
    Policy {
        ports: ports.to_vec(),
        paths: vec![Path {
            source: Some(0),
            destination: Some(1),
            zone_pair: "in-out".into(),
            policy: "firewall".into(),
            classes: vec![top],
        }],
        conditions: vec![artifact::model::Condition::Smtp],
        parameters: vec![InspectParameters { audit_trail: true, ..InspectParameters::default() }],
        smtp: vec![SmtpPolicy {
            classes: vec![spam],
            criteria: vec![criterion],
            ..SmtpPolicy::new("mail-rules", Base::Esmtp)
        }],
        smtp_ports: vec![25],
        ..Policy::default()
    }
}

/// A register that holds one policy.
pub(crate) fn register(policy: Policy) -> std::sync::Arc<Register> {
    std::sync::Arc::new(Register::new(Editions::new(&artifact(policy))))
}

/// That policy as an artifact that was never in a file.
pub(crate) fn artifact(policy: Policy) -> Artifact {
    Artifact {
        library: hyperscan::version().into(),
        target: format!("{} generic", std::env::consts::ARCH),
        source_digest: [0xab; 32],
        signed_by: None,
        policy,
    }
}

fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint::new(address.parse::<IpAddr>().expect("an address"), port)
}

pub(crate) fn flow() -> FlowTag {
    FlowTag {
        id: FlowId(42),
        client: endpoint("192.0.2.1", 40_000),
        server: endpoint("198.51.100.25", 25),
        path: 0,
        class: 0,
        smtp: Some(0),
        generation: 0,
    }
}

pub(crate) fn record(body: Body) -> Record {
    Record { at: Instant::from_nanos(1_000_002_000), flow: Some(flow()), body }
}

pub(crate) fn decision(kind: Kind, value: &[u8], action: Action) -> Record {
    record(Body::Decision(Decision {
        kind,
        direction: Direction::ClientToServer,
        class: None,
        criterion: None,
        signature: None,
        value: Value::new(value),
        value_len: value.len() as u32,
        action,
        reply: None,
        enhanced: false,
        offset: StreamOffset(7),
    }))
}

/// Makes a record's decision that of a class.
pub(crate) fn by_class(record: &mut Record, class: u16, criterion: u16) {
    if let Body::Decision(decision) = &mut record.body {
        decision.class = Some(class);
        decision.criterion = Some(criterion);
    }
}

pub(crate) fn refused() -> Record {
    let body = Body::Refused {
        ingress: PortId::A,
        source: endpoint("2001:db8::1", 53),
        destination: endpoint("2001:db8::2", 5353),
        protocol: 17,
    };
    Record { flow: None, ..record(body) }
}

pub(crate) fn anomaly() -> Record {
    record(Body::Anomaly {
        anomaly: Anomaly::InconsistentRetransmission,
        direction: Direction::ServerToClient,
        offset: StreamOffset(7),
    })
}

pub(crate) fn transaction() -> Transaction {
    Transaction {
        helo: Value::new(b"client.example"),
        mail_from: Value::new(b"a@b\r.example"),
        first_rcpt_to: Value::new(b"c@d.example"),
        rcpt_count: 3,
        content_len: 1234,
        reply: 250,
    }
}

pub(crate) fn totals() -> FlowEnd {
    FlowEnd {
        bytes: [48, 99],
        packets: [5, 4],
        masks: 2,
        messages: 1,
        duration_nanos: 1_500_000_000,
        reason: EndReason::ClientReset,
    }
}
