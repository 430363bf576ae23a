//! One SMTP session, followed by its replies (RFC 5321, 2920).
//!
//! Bytes of either side go in, [`ClientEvent`]s and [`ServerEvent`]s come out, one for each call: the caller decides about it,
//! then asks for the next. Nothing in here knows a packet, a pattern or a policy, nor whether the
//! bytes came from the wire or out of a TLS session.
//!
//! The session believes the server's replies, not the client's commands: `DATA` is followed by content only after `354`,
//! `AUTH` by an exchange only after `334`, `STARTTLS` by TLS only after `220`. Where the meaning of the client's next octets hangs on
//! a reply that is still to come, they are [`ClientEvent::Blocked`]; so is a BDAT, which must not reach a server that is not ready for
//! it (`chunk.rs`).

pub mod answer;
pub mod argument;
pub mod chunk;
pub mod command;
pub mod content;
pub mod ext;
pub mod line;
pub mod octets;
pub mod outstanding;
pub mod path;
pub mod relay;
pub mod reply;
pub mod sasl;
pub mod session;
pub mod signature;

pub use answer::{Answer, Answered, ServerEvent};
pub use chunk::Chunk;
pub use command::{Head, Verb, word};
pub use line::Line;
pub use outstanding::Expects;
pub use session::{ClientEvent, Fault, Session};
