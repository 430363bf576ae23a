//! `match mime encoding`: Cisco SMTP inspection (AIC) document, "Restricting Unknown Content Encoding Types from Being
//! Transmitted".

use artifact::smtp::{Encoding, Test};

use super::{Argument, MatchKind, parse_token};
use crate::cursor::Cursor;

/// See the module.
pub struct MimeEncoding;

/// Means any value that is in no list.
const UNKNOWN: &str = "unknown";

impl MatchKind for MimeEncoding {
    fn keywords(&self) -> &'static [&'static str] {
        &["mime", "encoding"]
    }

    fn syntax(&self) -> &'static str {
        "match [not] mime encoding { 7-bit | 8-bit | base64 | quoted-printable | binary | x-uuencode | unknown | WORD }"
    }

    fn documentation(&self) -> &'static str {
        "The Content-Transfer-Encoding of the message and of every part, in any case of letters; `unknown` is any that \
         is not in the list. Known at the end of the header of the part."
    }

    fn parse(&self, cursor: &mut Cursor<'_, '_>) -> Option<Argument> {
        let word = parse_token(cursor, "an encoding")?.to_ascii_lowercase();
        // The command line writes a hyphen where RFC 2045 section 6.1 has none.
        Some(Argument::Word(match word.as_str() {
            "7-bit" => "7bit".into(),
            "8-bit" => "8bit".into(),
            _ => word,
        }))
    }

    fn lower(&self, argument: &Argument) -> Test {
        Test::MimeEncoding(match argument.word() {
            UNKNOWN => Encoding::Unknown,
            token => Encoding::Token(token.to_owned()),
        })
    }

    fn describe(&self, test: &Test, _map: &str) -> Option<String> {
        match test {
            Test::MimeEncoding(Encoding::Token(token)) => {
                Some(format!("the Content-Transfer-Encoding of the message or of a part is {token}"))
            }
            Test::MimeEncoding(Encoding::Unknown) => Some(
                "the Content-Transfer-Encoding of the message or of a part is none of the known ones".into(),
            ),
            _ => None,
        }
    }
}
