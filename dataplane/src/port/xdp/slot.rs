//! What the main thread tells a worker's port about its interface: gone, or back with a new socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use af_xdp::Socket;

/// What happened to an interface.
#[derive(Debug)]
pub(super) enum Change {
    /// It is gone.
    Gone,
    /// It is back; this is its socket.
    Back(Box<Socket>),
}

/// Shared by the gateway and one port. The port looks at one flag for each burst.
#[derive(Debug, Default)]
pub(super) struct Slot {
    changed: AtomicBool,
    change: Mutex<Option<Change>>,
}

impl Slot {
    /// Says what happened. A change that the port has not yet seen is forgotten (its socket closed).
    pub(super) fn put(&self, change: Change) {
        let mut slot = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(change);
        self.changed.store(true, Ordering::Release);
    }

    /// Whether something happened since the last [`Slot::take`].
    pub(super) fn changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    /// What happened; gone if nothing did.
    pub(super) fn take(&self) -> Change {
        let mut slot = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.changed.store(false, Ordering::Relaxed);
        slot.take().unwrap_or(Change::Gone)
    }
}
