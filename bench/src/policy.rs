//! The policies that are measured.

use artifact::format::Artifact;
use artifact::model::{Condition, InspectParameters, Mode, Path, Policy, PortName, TopAction, TopClass};
use artifact::smtp::{Base, Criterion, Database, Region, SmtpClass, SmtpPolicy, Test};
use hyperscan::compile::{self, compile, serialize};

use crate::patterns::{Target, patterns};

/// What a policy does with mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Follows connections, looks into none.
    Pinhole,
    /// Inspects SMTP and knows no patterns.
    Smtp,
    /// Inspects SMTP and logs what so many patterns find.
    Patterns(Target, usize),
}

/// A policy between two ports, `inside` and `outside`, for sessions from the first to the second.
///
/// # Errors
/// When the matcher library refuses a pattern.
pub fn artifact(rules: Rules) -> Result<Artifact, String> {
    let smtp = match rules {
        Rules::Pinhole => Vec::new(),
        Rules::Smtp => vec![smtp(&[], 0)?],
        Rules::Patterns(Target::Body, count) => {
            vec![smtp(&[(Test::Body, Region::Body, Target::Body)], count)?]
        }
        Rules::Patterns(Target::Address, count) => vec![smtp(
            &[
                (Test::SenderAddress, Region::Sender, Target::Address),
                (Test::RecipientAddress, Region::Recipient, Target::Address),
            ],
            count,
        )?],
    };
    let inspect = TopAction::Inspect { parameters: 0, smtp: (!smtp.is_empty()).then_some(0) };
    let class = |name: &str, condition, action| TopClass {
        name: name.into(),
        mode: Mode::Any,
        condition,
        matches: Vec::new(),
        action,
        line: 0,
    };
    let policy = Policy {
        ports: ["inside", "outside"]
            .map(|name| PortName { name: name.into(), interfaces: Vec::new() })
            .into(),
        paths: vec![Path {
            source: Some(0),
            destination: Some(1),
            zone_pair: "out".into(),
            policy: "bench".into(),
            classes: vec![
                class("mail", 1, inspect),
                class("class-default", 0, TopAction::Drop { log: false }),
            ],
        }],
        conditions: vec![Condition::Any, Condition::Smtp],
        parameters: vec![InspectParameters::default()],
        smtp,
        smtp_ports: vec![25],
        ..Policy::default()
    };
    Ok(Artifact { library: hyperscan::version().to_owned(), source_digest: [0; 32], policy })
}

/// An application policy with a criterion for each of `asked`, all of one class that logs.
fn smtp(asked: &[(Test, Region, Target)], count: usize) -> Result<SmtpPolicy, String> {
    let mut criteria = Vec::new();
    let mut databases = Vec::new();
    for (test, region, target) in asked {
        let id = criteria.len() as u32;
        criteria.push(Criterion {
            negated: false,
            test: test.clone(),
            text: format!("{} regex bench", target.word()),
            line: 0,
        });
        let texts = patterns(*target, count);
        let numbered: Vec<_> = texts.iter().map(|text| (text.as_str(), id)).collect();
        let mode = if region.is_streaming() { compile::Mode::Stream } else { compile::Mode::Block };
        let made = compile(&numbered, mode)?;
        databases.push(Database {
            region: *region,
            pattern_count: u32::try_from(count).map_err(|error| error.to_string())?,
            stream_len: made.stream_len().unwrap_or(0) as u32,
            bytes: serialize(&made).map_err(|error| error.to_string())?,
        });
    }
    let class = SmtpClass {
        name: "found".into(),
        mode: Mode::Any,
        criteria: (0..criteria.len() as u16).collect(),
        log: true,
        terminal: None,
        line: 0,
    };
    Ok(SmtpPolicy {
        name: "bench".into(),
        base: Base::Esmtp,
        classes: if criteria.is_empty() { Vec::new() } else { vec![class] },
        criteria,
        databases,
        alert: true,
        audit_trail: false,
        max_data: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern::matcher::Patterns;

    #[test]
    fn every_policy_loads() {
        let rules = [
            Rules::Pinhole,
            Rules::Smtp,
            Rules::Patterns(Target::Body, 20),
            Rules::Patterns(Target::Address, 20),
        ];
        let databases = rules.map(|rules| {
            let artifact = artifact(rules).unwrap();
            Patterns::load(&artifact).unwrap();
            artifact.policy.smtp.first().map_or(0, |smtp| smtp.databases.len())
        });
        assert_eq!(databases, [0, 0, 1, 2]);
    }
}
