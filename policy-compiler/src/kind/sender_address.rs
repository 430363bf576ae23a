//! `match sender address regex`: Cisco SMTP inspection (AIC) document, "Restricting Spam from a Suspicious E-Mail Sender Address or Domain".

use artifact::smtp::{Region, Test};

use super::{Argument, MatchKind, parse_map};
use crate::cursor::Cursor;

/// See the module.
pub struct SenderAddress;

impl MatchKind for SenderAddress {
    fn keywords(&self) -> &'static [&'static str] {
        &["sender", "address", "regex"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] sender address regex MAP"
    }

    fn documentation(&self) -> &'static str {
        "The path of MAIL FROM, without its angle brackets; empty for a bounce. Known at the end of that line, for the rest of the mail transaction."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        parse_map(cursor)
    }

    fn lower(&self, _argument: &Argument) -> Test {
        Test::SenderAddress
    }

    fn region(&self) -> Option<Region> {
        Some(Region::Sender)
    }

    fn describe(&self, test: &Test, map: &str) -> Option<String> {
        matches!(test, Test::SenderAddress)
            .then(|| format!("the sender in MAIL FROM matches a pattern of {map}"))
    }
}
