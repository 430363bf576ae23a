//! The policies that are measured: text, compiled by the policy compiler.

use std::fmt::Write as _;

use artifact::format::Artifact;
use posternc::compile::{Options, compile};
use posternc::source::SourceFile;

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
    /// Follows connections, and lets so many be half-open: [`crate::flood::HIGH`].
    Guarded,
    /// The same over bodies, and over what is decoded of base64.
    Decoded(usize),
}

/// A policy for sessions from its first port, `inside`, to its second, `outside`, compiled.
///
/// # Errors
/// What the compiler says about it.
pub fn artifact(rules: Rules) -> Result<Artifact, String> {
    let file = SourceFile::new("bench.policy", text(rules));
    let compiled = compile(&file, Options::default());
    compiled.artifact.ok_or_else(|| {
        let findings = compiled.diagnostics.iter().map(|found| found.render(&file, false));
        findings.collect::<Vec<_>>().join("\n")
    })
}

/// Patterns that one map of the policy language may have.
const MAP_LIMIT: usize = 64;

/// The policy's text.
#[must_use]
pub fn text(rules: Rules) -> String {
    // In this order, so that `inside` is the first port.
    let mut text = String::from("zone security inside\nzone security outside\n");
    let mut criteria = Vec::new();
    let patterned = match rules {
        Rules::Pinhole => None,
        Rules::Guarded => {
            let high = crate::flood::HIGH;
            let _ = write!(
                text,
                "parameter-map type inspect guard\n max-incomplete low {}\n max-incomplete high {high}\n",
                high - 100
            );
            None
        }
        Rules::Smtp => {
            criteria.push("cmd verb EVIL".to_owned());
            None
        }
        Rules::Patterns(target, count) => Some((target, count)),
        Rules::Decoded(count) => Some((Target::Body, count)),
    };
    match patterned {
        None => {}
        Some((target, count)) => {
            for (map, some) in patterns(target, count).chunks(MAP_LIMIT).enumerate() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "parameter-map type regex bench{map}");
                for pattern in some {
                    let _ = writeln!(text, " pattern \"{pattern}\"");
                }
                let asked: &[&str] = match target {
                    Target::Body => &["body"],
                    Target::Address => &["sender address", "recipient address"],
                };
                criteria.extend(asked.iter().map(|asked| format!("{asked} regex bench{map}")));
            }
        }
    }
    let mut action = String::from(if rules == Rules::Guarded { "  inspect guard\n" } else { "  inspect\n" });
    if !criteria.is_empty() {
        text += "class-map type inspect smtp match-any found\n";
        for criterion in &criteria {
            let _ = writeln!(text, " match {criterion}");
        }
        // Sessions that say NOOP a thousand times are what some measures are made of.
        text += "policy-map type inspect smtp mail\n parameters\n  limit junk-commands off\n";
        if matches!(rules, Rules::Decoded(_)) {
            text += "  decode base64\n";
        }
        text += " class type inspect smtp found\n  log\n";
        action += "  service-policy smtp mail\n";
    }
    let _ = write!(
        text,
        "class-map type inspect match-any smtp\n match protocol smtp\n\
         policy-map type inspect bench\n class type inspect smtp\n{action} class class-default\n  drop\n\
         zone-pair security out source inside destination outside\n service-policy type inspect bench\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern::matcher::Patterns;

    #[test]
    fn every_policy_compiles_and_loads() {
        let rules = [
            Rules::Pinhole,
            Rules::Smtp,
            Rules::Patterns(Target::Body, 100),
            Rules::Patterns(Target::Address, 100),
            Rules::Guarded,
            Rules::Decoded(100),
        ];
        let databases = rules.map(|rules| {
            let artifact = artifact(rules).unwrap();
            assert_eq!(artifact.policy.ports[0].name, "inside");
            Patterns::load(&artifact).unwrap();
            artifact.policy.smtp.first().map(|smtp| smtp.databases.len())
        });
        assert_eq!(databases, [None, Some(0), Some(1), Some(2), None, Some(1)]);
    }
}
