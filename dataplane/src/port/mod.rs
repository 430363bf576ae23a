//! Ports: where frames come from and go to.
//!
//! One file per back end. A worker owns one [`Port`] per side; both share the worker's [`Pool`], so
//! that forwarding a frame moves a descriptor and no octet.

use std::io;

use inspect::frame::{Frame, Memory, Pool, Sealed};

pub mod xdp;

/// One side of the gateway, as one worker sees it (a queue of a NIC, a capture, memory).
pub trait Port<M: Memory> {
    /// Moves received frames into `into`, at most `limit`, and returns how many. 0 is not the end.
    ///
    /// # Errors
    /// When the port is gone (its interface vanished, its capture ended badly).
    fn receive(&mut self, pool: &mut Pool<M>, into: &mut Vec<Frame>, limit: usize) -> io::Result<usize>;

    /// Queues a frame for transmission, or hands it back when the ring is full. The port keeps the handle until
    /// the frame has left.
    ///
    /// # Errors
    /// The frame itself, when there is no room: flush, or drop and count it.
    fn transmit(&mut self, pool: &Pool<M>, frame: Sealed) -> Result<(), Sealed>;

    /// Makes queued frames leave and frees those that have left. Called once per burst.
    ///
    /// # Errors
    /// When the port is gone.
    fn flush(&mut self, pool: &mut Pool<M>) -> io::Result<()>;
}
