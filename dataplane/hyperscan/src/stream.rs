//! Streams: a scan that goes on over several pieces.

use core::ffi::c_uint;
use core::ops::ControlFlow;
use core::ptr::{self, NonNull};

use hyperscan_sys as sys;

use crate::scan::on_hit;
use crate::{Database, Error, Hit, Scratch};

/// A scan over pieces. Its memory is the library's; [`Stream::reset`] makes it ready for another use, so that a
/// pool of them needs no allocator.
#[derive(Debug)]
pub struct Stream {
    raw: NonNull<sys::hs_stream_t>,
    database: Database,
}

// SAFETY: plain memory without thread affinity; every use that writes needs `&mut`.
unsafe impl Send for Stream {}

impl Stream {
    /// Begins a scan. Allocates [`Database::stream_len`] octets.
    ///
    /// # Errors
    /// [`Error::Mode`] for a block database, [`Error::NoMemory`].
    pub fn open(database: &Database) -> Result<Self, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: a valid database, and a place for the answer.
        Error::check(unsafe { sys::hs_open_stream(database.raw(), 0, &raw mut raw) })?;
        let raw = NonNull::new(raw).ok_or(Error::NoMemory)?;
        Ok(Self { raw, database: database.clone() })
    }

    /// The patterns it looks for.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Scans the next piece and calls `found` for each hit that ends in it. When `found` breaks, the stream finds
    /// nothing more until it is reset. Does not allocate.
    ///
    /// # Errors
    /// [`Error::UnfittedScratch`], [`Error::TooLong`].
    pub fn scan<F>(&mut self, data: &[u8], scratch: &mut Scratch, mut found: F) -> Result<(), Error>
    where
        F: FnMut(Hit) -> ControlFlow<()>,
    {
        let len = c_uint::try_from(data.len()).map_err(|_| Error::TooLong)?;
        let scratch = scratch.for_database(&self.database)?;
        // SAFETY: the stream is valid and borrowed mutably, the slice is valid, the scratch fits its
        // database and is borrowed mutably; `found` outlives the call and is what `on_hit::<F>` expects.
        Error::check(unsafe {
            sys::hs_scan_stream(
                self.raw.as_ptr(),
                data.as_ptr().cast(),
                len,
                0,
                scratch,
                Some(on_hit::<F>),
                (&raw mut found).cast(),
            )
        })
    }

    /// Ends the scan, calls `found` for each hit that needs the end (`$`), and begins another in the same memory.
    /// Does not allocate.
    ///
    /// # Errors
    /// [`Error::UnfittedScratch`].
    pub fn reset<F>(&mut self, scratch: &mut Scratch, mut found: F) -> Result<(), Error>
    where
        F: FnMut(Hit) -> ControlFlow<()>,
    {
        let scratch = scratch.for_database(&self.database)?;
        // SAFETY: as for `scan`.
        Error::check(unsafe {
            sys::hs_reset_stream(self.raw.as_ptr(), 0, scratch, Some(on_hit::<F>), (&raw mut found).cast())
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is valid and this is its only handle. Without a callback no scratch is needed.
        unsafe { sys::hs_close_stream(self.raw.as_ptr(), ptr::null_mut(), None, ptr::null_mut()) };
    }
}
