//! Cisco ESMTP firewall document: "SMTP and ESMTP cannot exist simultaneously." The texts are the router's.

use crate::ast::{Config, Inspected, Inspection};
use crate::code::Code;
use crate::diagnostic::Diagnostic;

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    let first =
        config.inspections.iter().find(|line| matches!(line.protocol, Inspected::Smtp | Inspected::Esmtp));
    let Some(first) = first else { return };
    let others = config.inspections.iter().filter(|line| is_other(first, line));
    for line in others {
        let message = if line.protocol == Inspected::Esmtp {
            "%ESMTP cannot coexist with SMTP, please unconfigure SMTP and try again...."
        } else {
            "%SMTP cannot coexist with ESMTP, please unconfigure ESMTP and try again...."
        };
        let name = if first.protocol == Inspected::Esmtp { "ESMTP" } else { "SMTP" };
        found.push(
            Diagnostic::error(Code::COEXIST, line.protocol_span, message)
                .at(first.protocol_span, format!("{name} is configured here"))
                .help("`esmtp` understands all of `smtp`, and EHLO besides: use it in both places"),
        );
    }
}

fn is_other(first: &Inspection, line: &Inspection) -> bool {
    matches!(
        (first.protocol, line.protocol),
        (Inspected::Smtp, Inspected::Esmtp) | (Inspected::Esmtp, Inspected::Smtp)
    )
}
