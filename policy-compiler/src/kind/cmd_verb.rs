//! `match cmd verb`: Cisco SMTP inspection (AIC) document, "Hiding Specified Private SMTP Commands on an SMTP
//! Connection".

use artifact::smtp::Test;

use super::{Argument, MatchKind, Used, parse_upper_word};
use crate::ast::SmtpAction;
use crate::code::Code;
use crate::cursor::Cursor;
use crate::diagnostic::Diagnostic;

/// See the module.
pub struct CmdVerb;

impl MatchKind for CmdVerb {
    fn keywords(&self) -> &'static [&'static str] {
        &["cmd", "verb"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] cmd verb VERB"
    }

    fn documentation(&self) -> &'static str {
        "The verb of a command, in any case of letters: AUTH DATA EHLO ETRN EXPN HELO HELP MAIL NOOP QUIT RCPT RSET \
         SAML SEND SOML STARTTLS VERB VRFY or any other word. Known as its letters arrive."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        let verb = parse_upper_word(cursor, "a verb")?;
        // The AIC document prints `MAIL NOOP` without a bar between; its command takes one verb nevertheless.
        if let Some(second) = cursor.peek() {
            cursor.skip();
            cursor.report(
                Diagnostic::error(Code::TRAILING_WORDS, second.span, "a line has one verb")
                    .label("the line is to end before this")
                    .help("write a `match cmd verb` line for each verb, in a match-any class"),
            );
            return None;
        }
        Some(verb)
    }

    fn lower(&self, argument: &Argument) -> Test {
        Test::CommandVerb(argument.word().to_owned())
    }

    fn maskable(&self) -> bool {
        true
    }

    fn unwise(&self, used: &Used<'_>) -> Option<Diagnostic> {
        if used.line.negated {
            return None;
        }
        match used.line.argument.word() {
            // The AIC document: "if the sender (client) continues to send the BDAT command, it is masked".
            "BDAT" if !used.allows_chunking() => {
                let allow = used.action(SmtpAction::Allow)?;
                Some(
                    Diagnostic::warning(Code::CHUNKING, allow, "BDAT is refused all the same")
                        .at(used.line.span, "BDAT is asked for here")
                        .help(
                            "leave it out, clients then use DATA; or say `chunking allow` in the policy's `parameters`",
                        ),
                )
            }
            "STARTTLS" => used.action(SmtpAction::Mask).map(|mask| starttls(mask, used.line.span)),
            _ => None,
        }
    }

    fn describe(&self, test: &Test, _map: &str) -> Option<String> {
        let Test::CommandVerb(verb) = test else { return None };
        Some(format!("the command is {verb}"))
    }
}

/// Masking STARTTLS, in either of its two places.
pub fn starttls(mask: crate::source::Span, line: crate::source::Span) -> Diagnostic {
    Diagnostic::warning(Code::STARTTLS_MASKED, mask, "this makes mail travel in the clear")
        .at(line, "STARTTLS is asked for here")
        .help("without STARTTLS, senders that require TLS (MTA-STS, DANE, REQUIRETLS) do not deliver at all")
}
