//! `match body regex`: Cisco SMTP inspection (AIC) document, "Specifying a Text String to Be Matched and Restricted in the Body of an E-Mail".

use artifact::smtp::{Region, Test};

use super::{Argument, MatchKind, parse_map};
use crate::cursor::Cursor;

/// See the module.
pub struct BodyRegex;

impl MatchKind for BodyRegex {
    fn keywords(&self) -> &'static [&'static str] {
        &["body", "regex"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] body regex MAP"
    }

    fn documentation(&self) -> &'static str {
        "The text of body parts whose encoding is 7bit or 8bit; of those in base64 or quoted-printable as `decode` says. `^` and `$` are the ends of a line, and a dot stays on its line. Known as the text passes."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        parse_map(cursor)
    }

    fn lower(&self, _argument: &Argument) -> Test {
        Test::Body
    }

    fn region(&self) -> Option<Region> {
        Some(Region::Body)
    }

    fn describe(&self, test: &Test, map: &str) -> Option<String> {
        matches!(test, Test::Body).then(|| format!("the text of the message matches a pattern of {map}"))
    }
}
