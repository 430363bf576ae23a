//! Cisco SMTP inspection (AIC) document, Restrictions: "The "mask" action can be configured only with a class
//! having either or both of the match cmd verb or match ehlo reply commands."

use super::smtp_uses;
use crate::ast::{CLASS_DEFAULT, Config, SmtpAction};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::kind::is_header_length;

const MESSAGE: &str = "`mask` needs a class of `match cmd verb` and `match reply ehlo` only";
const HELP: &str =
    "only a verb or a keyword can be overwritten; use `reset`, or put the others into a class of their own";

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for (_, used, class) in smtp_uses(config) {
        let Some(mask) = used.actions.iter().find(|set| set.value == SmtpAction::Mask) else { continue };
        if used.class.text == CLASS_DEFAULT {
            found.push(
                Diagnostic::error(Code::MASK_FILTERS, mask.span, MESSAGE)
                    .at(used.class.span, "this class takes everything")
                    .help("to mask verbs that are in no list, use a class of `match not cmd verb` lines"),
            );
            continue;
        }
        // A header length has a restriction of its own.
        let lines = class.map(|class| class.matches.as_slice()).unwrap_or_default();
        let mut others =
            lines.iter().filter(|line| !line.kind.maskable() && !is_header_length(line.kind)).peekable();
        if others.peek().is_none() {
            continue;
        }
        let mut diagnostic = Diagnostic::error(Code::MASK_FILTERS, mask.span, MESSAGE);
        for other in others {
            diagnostic = diagnostic.at(other.span, "this finds something that cannot be overwritten");
        }
        found.push(diagnostic.help(HELP));
    }
}
