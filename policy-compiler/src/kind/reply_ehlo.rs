//! `match reply ehlo`: Cisco SMTP inspection (AIC) document, "Configuring a Parameter to Be Identified and Masked in
//! the EHLO Server Reply".

use artifact::smtp::Test;

use super::{Argument, MatchKind, Used, cmd_verb, parse_upper_word};
use crate::ast::SmtpAction;
use crate::code::Code;
use crate::cursor::Cursor;
use crate::diagnostic::Diagnostic;

/// See the module.
pub struct ReplyEhlo;

impl MatchKind for ReplyEhlo {
    fn keywords(&self) -> &'static [&'static str] {
        &["reply", "ehlo"]
    }

    fn aliases(&self) -> &'static [&'static [&'static str]] {
        // The restriction in the Cisco document spells it so.
        &[&["ehlo", "reply"]]
    }

    fn syntax(&self) -> &'static str {
        "match [not] reply ehlo KEYWORD"
    }

    fn documentation(&self) -> &'static str {
        "A keyword in the reply of the server to EHLO, in any case of letters: 8BITMIME ETRN STARTTLS and so on. \
         Known line by line of the reply."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        parse_upper_word(cursor, "an EHLO keyword")
    }

    fn lower(&self, argument: &Argument) -> Test {
        Test::ReplyEhlo(argument.word().to_owned())
    }

    fn maskable(&self) -> bool {
        true
    }

    fn unwise(&self, used: &Used<'_>) -> Option<Diagnostic> {
        if used.line.negated {
            return None;
        }
        match used.line.argument.word() {
            "STARTTLS" => used.action(SmtpAction::Mask).map(|mask| cmd_verb::starttls(mask, used.line.span)),
            "CHUNKING" | "BINARYMIME" if !used.allows_chunking() => {
                let allow = used.action(SmtpAction::Allow)?;
                let word = used.line.argument.word();
                Some(
                    Diagnostic::warning(
                        Code::CHUNKING,
                        allow,
                        format!("{word} is masked all the same"),
                    )
                    .at(used.line.span, format!("{word} is asked for here"))
                    .help("leave it out; or say `chunking allow` in the policy's `parameters`, which both need (RFC 3030)"),
                )
            }
            _ => None,
        }
    }

    fn describe(&self, test: &Test, _map: &str) -> Option<String> {
        let Test::ReplyEhlo(keyword) = test else { return None };
        Some(format!("the server offers {keyword} in its reply to EHLO"))
    }
}
