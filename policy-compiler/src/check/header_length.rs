//! Cisco SMTP inspection (AIC) document, "Limiting the Length of the SMTP Header": "If a match is found, possible
//! actions that can be specified within the policy are as follows: allow, reset, or log".

use super::smtp_uses;
use crate::ast::{Config, SmtpAction};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::kind::is_header_length;

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for (_, used, class) in smtp_uses(config) {
        let Some(mask) = used.actions.iter().find(|set| set.value == SmtpAction::Mask) else { continue };
        let lines = class.map(|class| class.matches.as_slice()).unwrap_or_default();
        if let Some(length) = lines.iter().find(|line| is_header_length(line.kind)) {
            found.push(
                Diagnostic::error(
                    Code::HEADER_LENGTH_ACTIONS,
                    mask.span,
                    "a class with `match header length` can be allowed, logged and reset, but not masked",
                )
                .at(length.span, "a header that is too long has no octets to overwrite")
                .help("use `reset`, or `log`"),
            );
        }
    }
}
