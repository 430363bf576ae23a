//! What a header says of the body under it: the fields Content-Type and Content-Transfer-Encoding (RFC 2045, 5 and 6).

use artifact::settings::Decode;

use super::content_type::{Boundary, ContentType, Kind, encoding, is_plain, parse};
use super::decoding::Decoder;
use super::message::Sink;

/// What the header under way has said of its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entity {
    pub kind: Kind,
    pub boundary: Option<Boundary>,
    typed: bool,
    pub encoded: bool,
    /// What its text is decoded with. Of several encodings the first that is decoded.
    pub decoder: Option<Decoder>,
    has_encoding: bool,
}

impl Entity {
    /// A body of the kind that has no field Content-Type where it stands (RFC 2045, 5.2; RFC 2046, 5.1.5).
    pub fn of_kind(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// A field Content-Type, or a further piece of a long one, which only the sink hears of.
    #[inline]
    pub fn content_type(&mut self, value: &[u8], is_start: bool, sink: &mut impl Sink) {
        sink.content_type(value);
        if !is_start {
            return;
        }
        let ContentType { kind, boundary, ambiguous } = parse(value);
        // Of several, the one under which more is inspected.
        if !self.typed || kind == Kind::Multipart || (kind != Kind::Other && self.kind == Kind::Other) {
            self.kind = kind;
        }
        if self.typed {
            sink.encoding(b"", true);
        } else if ambiguous {
            sink.ambiguous();
        }
        self.typed = true;
        self.boundary = self.boundary.or(boundary);
    }

    /// A field Content-Transfer-Encoding, of a message whose encoded text is given out as `decode` says.
    #[inline]
    pub fn transfer_encoding(&mut self, value: &[u8], decode: Decode, sink: &mut impl Sink) {
        let token = encoding(value);
        sink.encoding(token, self.has_encoding);
        self.decoder = self.decoder.or(Decoder::named(token, decode));
        self.encoded = !is_plain(token) && (self.encoded || !self.has_encoding);
        self.has_encoding = true;
    }
}
