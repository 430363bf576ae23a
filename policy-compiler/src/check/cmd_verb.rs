//! Cisco SMTP inspection (AIC) document, "Limiting the Length or TYPE of SMTP Command Line": "When the
//! class-map type inspect smtp match-all command statement is configured with the match cmd verb command
//! statement, only the match cmd line length gt command statement can coexist."

use artifact::model::Mode;

use super::mode_label;
use crate::ast::Config;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::kind::{is_cmd_line_length, is_cmd_verb};

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for class in config.smtp_classes.iter().filter(|class| class.mode.value == Mode::All) {
        let Some(verb) = class.matches.iter().find(|line| is_cmd_verb(line.kind)) else { continue };
        // With a length in the class the sister restriction has said it.
        if class.matches.iter().any(|line| is_cmd_line_length(line.kind)) {
            continue;
        }
        let mut others = class.matches.iter().filter(|line| !is_cmd_verb(line.kind)).peekable();
        if others.peek().is_none() {
            continue;
        }
        let message = "`match cmd verb` takes only `match cmd line length` beside it in a match-all class";
        let mut diagnostic =
            Diagnostic::error(Code::VERB_ALONE, verb.span, message).at(class.mode.span, mode_label(class));
        for other in others {
            diagnostic = diagnostic.at(other.span, "this one is decided at another moment");
        }
        found.push(diagnostic.help("split the class in two, or use match-any"));
    }
}
