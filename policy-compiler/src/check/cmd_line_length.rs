//! Cisco SMTP inspection (AIC) document, Restrictions: "The match cmd-line length gt command filter can
//! co-exist only with a match cmd verb command filter in the SMTP match-all class-map".

use artifact::model::Mode;

use super::mode_label;
use crate::ast::Config;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::kind::{is_cmd_line_length, is_cmd_verb};

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for class in config.smtp_classes.iter().filter(|class| class.mode.value == Mode::All) {
        let Some(length) = class.matches.iter().find(|line| is_cmd_line_length(line.kind)) else { continue };
        let mut others = class
            .matches
            .iter()
            .filter(|line| line.span != length.span && !is_cmd_verb(line.kind))
            .peekable();
        if others.peek().is_none() {
            continue;
        }
        let message = "`match cmd line length` can stand only beside `match cmd verb` in a match-all class";
        let mut diagnostic = Diagnostic::error(Code::LINE_LENGTH_ALONE, length.span, message)
            .at(class.mode.span, mode_label(class));
        for other in others {
            let why = if is_cmd_line_length(other.kind) {
                "one length is enough"
            } else {
                "this one is decided at another moment"
            };
            diagnostic = diagnostic.at(other.span, why);
        }
        found.push(diagnostic.help("split the class in two, or use match-any"));
    }
}
