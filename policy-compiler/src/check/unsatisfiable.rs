//! Classes that can never be true.

use artifact::model::Mode;

use super::mode_label;
use crate::ast::Config;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::kind::{is_cmd_verb, same};

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for class in config.smtp_classes.iter().filter(|class| class.mode.value == Mode::All) {
        let mut verbs = class.matches.iter().filter(|line| is_cmd_verb(line.kind) && !line.negated);
        if let (Some(first), Some(second)) = (verbs.next(), verbs.next()) {
            found.push(
                Diagnostic::warning(Code::UNSATISFIABLE, second.span, "this class can never match")
                    .label("no command has two verbs")
                    .at(class.mode.span, mode_label(class))
                    .at(first.span, "the other verb")
                    .help("use match-any"),
            );
        }
        for (at, line) in class.matches.iter().enumerate() {
            let opposite = class.matches.iter().take(at).find(|other| {
                other.negated != line.negated
                    && same(other.kind, line.kind)
                    && other.argument == line.argument
            });
            if let Some(other) = opposite {
                found.push(
                    Diagnostic::warning(Code::UNSATISFIABLE, line.span, "this class can never match")
                        .label("the opposite of the other")
                        .at(class.mode.span, mode_label(class))
                        .at(other.span, "this one")
                        .help("remove one of them"),
                );
            }
        }
    }
}
