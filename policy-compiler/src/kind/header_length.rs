//! `match header length gt`: Cisco SMTP inspection (AIC) document, "Preventing a DoS Attack by Limiting the Length of the SMTP Header".

use artifact::smtp::Test;

use super::{Argument, MatchKind};
use crate::cursor::Cursor;

/// See the module.
pub struct HeaderLength;

impl MatchKind for HeaderLength {
    fn keywords(&self) -> &'static [&'static str] {
        &["header", "length", "gt"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] header length gt N"
    }

    fn documentation(&self) -> &'static str {
        "Octets of the whole header of the message, from its first octet through the empty line. Strictly more than N. Known at the octet too many."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        cursor.number("the length of the header", 1..=65_535).map(Argument::Above)
    }

    fn lower(&self, argument: &Argument) -> Test {
        Test::HeaderLength(argument.above_u32())
    }

    fn describe(&self, test: &Test, _map: &str) -> Option<String> {
        let Test::HeaderLength(above) = test else { return None };
        Some(format!("the header of the message is longer than {above} octets"))
    }
}
