//! `match mime content-type regex`: Cisco SMTP inspection (AIC) document, "Restricting Content File Types in the Body of the E-Mail".

use artifact::smtp::{Region, Test};

use super::{Argument, MatchKind, parse_map};
use crate::cursor::Cursor;

/// See the module.
pub struct MimeContentType;

impl MatchKind for MimeContentType {
    fn keywords(&self) -> &'static [&'static str] {
        &["mime", "content-type", "regex"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] mime content-type regex MAP"
    }

    fn documentation(&self) -> &'static str {
        "The value of Content-Type, unfolded, parameters included, of the message and of every part. Known at the end of the header of the part."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        parse_map(cursor)
    }

    fn lower(&self, _argument: &Argument) -> Test {
        Test::MimeContentType
    }

    fn region(&self) -> Option<Region> {
        Some(Region::ContentType)
    }

    fn describe(&self, test: &Test, map: &str) -> Option<String> {
        matches!(test, Test::MimeContentType)
            .then(|| format!("the Content-Type of the message or of a part matches a pattern of {map}"))
    }
}
