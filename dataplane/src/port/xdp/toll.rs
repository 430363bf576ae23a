//! What the kernel lost at one worker's sockets, one after the other, of one port. Read by the main thread: it is a system call.

use af_xdp::{Meter, Socket};

use crate::port::Losses;

/// Of the socket there is, or was last, and of those before it.
#[derive(Debug)]
pub(super) struct Toll {
    meter: Meter,
    before: Losses,
}

impl Toll {
    /// Of the first socket.
    pub(super) fn new(socket: &Socket) -> Self {
        Self { meter: socket.meter(), before: Losses::default() }
    }

    /// There is another socket.
    pub(super) fn follow(&mut self, socket: &Socket) {
        *self = Self { before: self.losses(), meter: socket.meter() };
    }

    /// Since the start.
    pub(super) fn losses(&self) -> Losses {
        let kernel = self.meter.statistics().unwrap_or_default();
        Losses {
            // A frame for which there is no chunk counts as dropped, too (`__xsk_rcv`).
            rx_lost: self.before.rx_lost + kernel.rx_dropped + kernel.rx_ring_full,
            tx_refused: self.before.tx_refused + kernel.tx_invalid_descs,
        }
    }
}
