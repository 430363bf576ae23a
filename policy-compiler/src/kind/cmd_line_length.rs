//! `match cmd line length gt`: Cisco SMTP inspection (AIC) document, "Preventing a DoS Attack by Limiting the Length or TYPE of SMTP Command Line".

use artifact::smtp::Test;

use super::{Argument, MatchKind, Used};
use crate::ast::SmtpAction;
use crate::code::Code;
use crate::cursor::Cursor;
use crate::diagnostic::Diagnostic;

/// RFC 5321 section 4.5.3.1.4: a server must accept command lines of 512 octets.
const RFC_5321_LINE_LEN: u64 = 512;

/// See the module.
pub struct CmdLineLength;

impl MatchKind for CmdLineLength {
    fn keywords(&self) -> &'static [&'static str] {
        &["cmd", "line", "length", "gt"]
    }

    fn aliases(&self) -> &'static [&'static [&'static str]] {
        // The restriction in the Cisco document spells it so, its examples do not.
        &[&["cmd-line", "length", "gt"]]
    }

    fn syntax(&self) -> &'static str {
        "match [not] cmd line length gt N"
    }

    fn documentation(&self) -> &'static str {
        "Octets of a command line, CRLF included as RFC 5321 section 4.5.3.1.4 counts. Strictly more than N. Known at the octet too many."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        cursor.number("the length of the line", 1..=65_535).map(Argument::Above)
    }

    fn lower(&self, argument: &Argument) -> Test {
        Test::CommandLineLength(argument.above_u32())
    }

    fn unwise(&self, used: &Used<'_>) -> Option<Diagnostic> {
        let reset = used.action(SmtpAction::Reset)?;
        if used.line.negated || used.line.argument.above() >= RFC_5321_LINE_LEN {
            return None;
        }
        Some(
            Diagnostic::warning(
                Code::SHORT_LINE_LIMIT,
                used.line.span,
                "this refuses command lines that every server must accept",
            )
            .label("RFC 5321 allows 512 octets, and more where extensions add parameters")
            .at(reset, "refused here")
            .help("use 512 or more, or `log` in place of `reset`"),
        )
    }

    fn describe(&self, test: &Test, _map: &str) -> Option<String> {
        let Test::CommandLineLength(above) = test else { return None };
        Some(format!("a command line is longer than {above} octets (CRLF included)"))
    }
}
