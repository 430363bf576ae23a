//! `match data-length gt`: the criterion of the first zone-based firewalls, before the others existed.

use artifact::smtp::Test;

use super::{Argument, MatchKind};
use crate::cursor::Cursor;

/// See the module.
pub struct DataLength;

impl MatchKind for DataLength {
    fn keywords(&self) -> &'static [&'static str] {
        &["data-length", "gt"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] data-length gt N"
    }

    fn documentation(&self) -> &'static str {
        "Octets of the content of the message. Strictly more than N. Known at the octet too many."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        cursor.number("the length of the content", 1..=4_294_967_295).map(Argument::Above)
    }

    fn lower(&self, argument: &Argument) -> Test {
        Test::DataLength(argument.above())
    }

    fn describe(&self, test: &Test, _map: &str) -> Option<String> {
        let Test::DataLength(above) = test else { return None };
        Some(format!("the message has more than {above} octets"))
    }
}
