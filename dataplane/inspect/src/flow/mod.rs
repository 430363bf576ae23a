//! Flows: which connection a segment belongs to, and when something is due for it.
//!
//! A [`FlowKey`] names a connection, the same for both of its directions. The [`Table`] finds what is kept for it, and
//! the [`Wheel`] says when it is due. [`Exchanges`] remembers what has no connections. All are of a fixed size: a peer can fill
//! them, but not grow them.

mod exchange;
mod key;
pub mod owner;
mod table;
mod timer;

pub use exchange::{Exchange, ExchangeKey, Exchanges, Place};
pub use key::FlowKey;
pub use table::{FlowIndex, Full, Guess, KeyHash, Table};
pub use timer::{MOVES_PER_POP, Wheel};
