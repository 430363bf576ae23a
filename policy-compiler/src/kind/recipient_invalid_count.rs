//! `match recipient invalid count gt`: Cisco SMTP inspection (AIC) document, "Restricting the Number of Invalid SMTP Recipients".

use artifact::smtp::Test;

use super::{Argument, MatchKind};
use crate::cursor::Cursor;

/// See the module.
pub struct RecipientInvalidCount;

impl MatchKind for RecipientInvalidCount {
    fn keywords(&self) -> &'static [&'static str] {
        &["recipient", "invalid", "count", "gt"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] recipient invalid count gt N"
    }

    fn documentation(&self) -> &'static str {
        "How many recipients the server has refused (5xx, or 4.1.x and 5.1.x) on the connection, across mails. Strictly more than N. Known at the reply to RCPT."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        cursor.number("the number of recipients", 1..=65_535).map(Argument::Above)
    }

    fn lower(&self, argument: &Argument) -> Test {
        Test::RecipientInvalidCount(argument.above_u32())
    }

    fn describe(&self, test: &Test, _map: &str) -> Option<String> {
        let Test::RecipientInvalidCount(above) = test else { return None };
        Some(format!("the server has refused more than {above} recipients of this connection"))
    }
}
