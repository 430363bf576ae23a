//! Safe run-time half of Hyperscan (or of its fork Vectorscan): databases, scratch, streams.
//!
//! Three things, and what keeps them honest:
//!
//! - a [`Database`] is read-only, shared by all threads, and lives as long as anything that was opened against it;
//! - a [`Scratch`] belongs to one thread. It knows which databases it was fitted to, and a scan with any other is
//!   refused ([`Error::UnfittedScratch`]): the library itself checks this only in part;
//! - a [`Stream`] holds its database, so it cannot outlive it, and its memory can be reused without
//!   asking the allocator ([`Stream::reset`]).
//!
//! No function here allocates but those that say so ([`Database::deserialize`], [`Scratch::fit`], [`Stream::open`]).
//! Patterns are compiled elsewhere; feature `compile` has just enough of it for tests and benches.

mod database;
mod error;
mod scan;
mod scratch;
mod stream;

#[cfg(feature = "compile")]
pub mod compile;

pub use database::{Database, check_platform, version};
pub use error::Error;
pub use scan::Hit;
pub use scratch::Scratch;
pub use stream::Stream;
