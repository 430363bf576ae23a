//! `match recipient count gt`: Cisco SMTP inspection (AIC) document, "Identifying and Restricting Spammers Searching for User Accounts in a Domain".

use artifact::smtp::Test;

use super::{Argument, MatchKind};
use crate::cursor::Cursor;

/// See the module.
pub struct RecipientCount;

impl MatchKind for RecipientCount {
    fn keywords(&self) -> &'static [&'static str] {
        &["recipient", "count", "gt"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] recipient count gt N"
    }

    fn documentation(&self) -> &'static str {
        "How many RCPT commands the mail transaction has had, whatever the server answered; the To and Cc headers do not count. Strictly more than N. Known at each RCPT."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        cursor.number("the number of recipients", 1..=65_535).map(Argument::Above)
    }

    fn lower(&self, argument: &Argument) -> Test {
        Test::RecipientCount(argument.above_u32())
    }

    fn describe(&self, test: &Test, _map: &str) -> Option<String> {
        let Test::RecipientCount(above) = test else { return None };
        Some(format!("the mail has more than {above} recipients (RCPT commands)"))
    }
}
