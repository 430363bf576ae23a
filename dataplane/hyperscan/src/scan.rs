//! Scanning a block, and how hits come back.

use core::ffi::{c_int, c_uint, c_ulonglong, c_void};
use core::ops::ControlFlow;

use hyperscan_sys as sys;

use crate::{Database, Error, Scratch};

/// A pattern was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The pattern's number, as it was compiled.
    pub id: u32,
    /// Octets from the start of the block or stream to just behind the match.
    pub end: u64,
}

/// What the library calls for each hit: hands it to the closure that `context` points to. A panic of the closure ends
/// the process, as it cannot cross the library.
pub(crate) unsafe extern "C" fn on_hit<F: FnMut(Hit) -> ControlFlow<()>>(
    id: c_uint,
    _from: c_ulonglong,
    to: c_ulonglong,
    _flags: c_uint,
    context: *mut c_void,
) -> c_int {
    // SAFETY: every caller in this crate passes a pointer to a live `F` that nothing else refers to while the library
    // runs, together with `on_hit::<F>` of the same `F`.
    let closure = unsafe { &mut *context.cast::<F>() };
    match closure(Hit { id, end: to }) {
        ControlFlow::Continue(()) => 0,
        ControlFlow::Break(()) => 1,
    }
}

impl Database {
    /// Scans `data` as a whole and calls `found` for each hit, until it breaks. Does not allocate.
    ///
    /// # Errors
    /// [`Error::Mode`] for a streaming database, [`Error::UnfittedScratch`], [`Error::TooLong`].
    pub fn scan<F>(&self, data: &[u8], scratch: &mut Scratch, mut found: F) -> Result<(), Error>
    where
        F: FnMut(Hit) -> ControlFlow<()>,
    {
        let len = c_uint::try_from(data.len()).map_err(|_| Error::TooLong)?;
        let scratch = scratch.for_database(self)?;
        // SAFETY: database and slice are valid, the scratch fits and is borrowed mutably, so no other scan uses it;
        // `found` outlives the call and is what `on_hit::<F>` expects.
        Error::check(unsafe {
            sys::hs_scan(
                self.raw(),
                data.as_ptr().cast(),
                len,
                0,
                scratch,
                Some(on_hit::<F>),
                (&raw mut found).cast(),
            )
        })
    }
}
