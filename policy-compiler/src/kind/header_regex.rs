//! `match header regex`: Cisco SMTP inspection (AIC) document, "Configuring the Monitoring of Text Patterns in an SMTP E-Mail Subject Field".

use artifact::smtp::{Region, Test};

use super::{Argument, MatchKind, parse_map};
use crate::cursor::Cursor;

/// See the module.
pub struct HeaderRegex;

impl MatchKind for HeaderRegex {
    fn keywords(&self) -> &'static [&'static str] {
        &["header", "regex"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] header regex MAP"
    }

    fn documentation(&self) -> &'static str {
        "Each field of the header of the message, unfolded, as `Name: value`. Known field by field."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        parse_map(cursor)
    }

    fn lower(&self, _argument: &Argument) -> Test {
        Test::Header
    }

    fn region(&self) -> Option<Region> {
        Some(Region::Header)
    }

    fn describe(&self, test: &Test, map: &str) -> Option<String> {
        matches!(test, Test::Header).then(|| format!("a header field matches a pattern of {map}"))
    }
}
