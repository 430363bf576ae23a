//! One direction of a TCP connection: which octets were forwarded, which are new, which wait.
//!
//! The rule that all of this serves: **first bytes win**. An octet that was forwarded is remembered until its
//! receiver has acknowledged it, and whatever the sender sends again for that place leaves with the
//! remembered octet. Octets that come before ones in front of them wait in their frames. So the receiver
//! can only ever accept the octets that were inspected, in the order they were inspected.
//!
//! [`seq`] has the wrap-safe arithmetic, [`stream`] the positions, [`queue`] the frames that wait or are
//! remembered, [`overlap`] what a retransmission is overwritten with, [`handshake`] what both sides agreed on.

pub mod handshake;
pub mod overlap;
pub mod queue;
pub mod seq;
pub mod stream;

pub use queue::{Queues, Spare};
pub use stream::{AckEffect, Placement, Stream};
