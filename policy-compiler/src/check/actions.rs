//! What a policy does with a class must be one thing, and something.

use super::smtp_uses;
use crate::ast::{Config, SmtpAction};
use crate::code::Code;
use crate::diagnostic::Diagnostic;

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for (_, used, _) in smtp_uses(config) {
        let terminal: Vec<_> = used.actions.iter().filter(|set| set.value != SmtpAction::Log).collect();
        if let [first, second, ..] = terminal.as_slice() {
            found.push(
                Diagnostic::error(
                    Code::CONTRADICTORY_ACTIONS,
                    second.span,
                    format!("`{}` contradicts `{}`", second.value.keyword(), first.value.keyword()),
                )
                .at(first.span, "said here")
                .help("keep one of them; `log` can stand beside each"),
            );
        }
        if used.actions.is_empty() && !used.spoiled {
            found.push(
                Diagnostic::warning(Code::NO_ACTION, used.span, "nothing is done with this class")
                    .help("add `log`, `mask`, `reset` or `allow`, or remove the line"),
            );
        }
    }
}
