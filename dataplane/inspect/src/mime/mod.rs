//! Content of a message → its regions: header fields, types and encodings of parts, text (RFC 5322, 2045, 2046).
//!
//! Octets go in as they come, without dot-stuffing; what is found goes to a [`Sink`]. Nothing is kept but a header field (in
//! its unfolded form), a line that may be a boundary, the boundaries of the multiparts one is in, and encoded octets that do not
//! stand for text yet.
//!
//! Text in base64 or quoted-printable is passed over, or decoded as it comes if the policy says so (`decode`, an extension).
//!
//! Where readers of mail differ, more is inspected rather than less: lines may end in LF alone; a header with a line that is no
//! field is text as well; a multipart without a usable boundary, its preamble and its
//! epilogue are text. Where they may divide or decode a message in different ways, its encoding is called ambiguous: with it
//! `match mime encoding unknown` is true, and the anomaly `mime_ambiguous` is counted. That is: a second Content-Type or
//! Content-Transfer-Encoding, a boundary that is missing, too long, said twice, in the form of RFC 2231 or beside a comment, or that
//! begins like that of a multipart around it; parts nested too deeply; in a header NUL, CR without LF, a line without a colon, and
//! an empty line that is not quite empty.

mod boundary;
mod content_type;
mod decoding;
mod entity;
mod field;
mod message;
mod parameter;

pub use content_type::Kind;
pub use field::{FIELD_LEN, FIELD_OVERLAP, Field, FieldText};
pub use message::{Message, NoRoom, Sink};
pub use parameter::{Plain, plain};

/// Multiparts within multiparts that are followed. A deeper one is text, and its encoding ambiguous.
pub const DEPTH_LIMIT: usize = 10;

/// Octets of a boundary. RFC 2046, 5.1.1 allows 70; readers accept longer ones. A multipart with one
/// still longer is text, and its encoding ambiguous.
pub const BOUNDARY_LIMIT: usize = 128;
