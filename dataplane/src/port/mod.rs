//! Ports: where frames come from and go to.
//!
//! One file per back end. A worker owns one [`Port`] per side; both share the worker's [`Pool`], so
//! that forwarding a frame moves a descriptor and no octet. The wrapper port [`fault`] stands around any other.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use inspect::frame::{Frame, Memory, Pool, Sealed};

pub mod capture;
pub mod fault;
pub mod link;
pub mod memory;
pub mod pcap;
#[cfg(test)]
pub(crate) mod sample;
pub mod xdp;

/// How long a worker sleeps where a port has nothing to wait for.
const NAP: Duration = Duration::from_micros(50);

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

    /// Waits until frames have come to one of a worker's ports or `bell` is readable, at most `limit`: for a worker that has
    /// nothing to do. Where there is nothing to wait for it is a short sleep.
    ///
    /// # Errors
    /// When that cannot be.
    fn wait(_ports: [&Self; 2], _bell: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<()> {
        std::thread::sleep(limit.min(NAP));
        Ok(())
    }

    /// How full it is and what it lost, for metrics; called about ten times a second, so it asks nobody.
    fn level(&self) -> Level {
        Level::default()
    }
}

/// How full a port's rings are and what the port lost since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Frames queued for transmission that have not left.
    pub tx_queued: u64,
    /// Chunks waiting in the fill ring for frames to come.
    pub fill_queued: u64,
    /// Frames lost because the receive ring was full or no chunk was there to receive into.
    pub rx_lost: u64,
    /// Frames the kernel refused to send (bad descriptors).
    pub tx_refused: u64,
    /// System calls made to wake the kernel up.
    pub wakeups: u64,
}

impl Level {
    /// The same with what the kernel lost besides.
    #[must_use]
    pub fn with(self, losses: &Losses) -> Self {
        let (rx_lost, tx_refused) = (self.rx_lost + losses.rx_lost, self.tx_refused + losses.tx_refused);
        Self { rx_lost, tx_refused, ..self }
    }
}

/// What the kernel lost of one worker's frames at one port since the start. To ask for it is a system call, so no worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// Frames lost because the receive ring was full or no chunk was there to receive into.
    pub rx_lost: u64,
    /// Frames refused for transmission.
    pub tx_refused: u64,
}
