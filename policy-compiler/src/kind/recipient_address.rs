//! `match recipient address regex`: Cisco SMTP inspection (AIC) document, "Specifying a Recipient Pattern to Learn Spam Senders and Domain Information".

use artifact::smtp::{Region, Test};

use super::{Argument, MatchKind, parse_map};
use crate::cursor::Cursor;

/// See the module.
pub struct RecipientAddress;

impl MatchKind for RecipientAddress {
    fn keywords(&self) -> &'static [&'static str] {
        &["recipient", "address", "regex"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] recipient address regex MAP"
    }

    fn documentation(&self) -> &'static str {
        "The path of each RCPT TO, without its angle brackets, a source route included; never the To or Cc header. Known at the end of that line, for the rest of the mail transaction."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        parse_map(cursor)
    }

    fn lower(&self, _argument: &Argument) -> Test {
        Test::RecipientAddress
    }

    fn region(&self) -> Option<Region> {
        Some(Region::Recipient)
    }

    fn describe(&self, test: &Test, map: &str) -> Option<String> {
        matches!(test, Test::RecipientAddress)
            .then(|| format!("a recipient in RCPT TO matches a pattern of {map}"))
    }
}
