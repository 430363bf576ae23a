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

    /// Writes what this scan has to remember to `into`, usually a few dozen octets. The stream itself goes on; reset or
    /// reuse it. Does not allocate.
    ///
    /// # Errors
    /// [`Error::NeedsSpace`] when it does not fit; `into` is then empty.
    pub fn fold(&self, into: &mut Folded) -> Result<(), Error> {
        let mut used = 0;
        into.database = None;
        // SAFETY: the stream is valid; the buffer is as long as said; a place for the answer.
        let code = unsafe {
            sys::hs_compress_stream(
                self.raw.as_ptr(),
                into.bytes.as_mut_ptr().cast(),
                into.bytes.len(),
                &raw mut used,
            )
        };
        if code == sys::HS_INSUFFICIENT_SPACE {
            return Err(Error::NeedsSpace(used));
        }
        Error::check(code)?;
        into.len = used;
        into.database = Some(self.database.clone());
        Ok(())
    }

    /// Forgets this scan without reporting its end and goes on with the one folded in `from`. Does not allocate.
    ///
    /// # Errors
    /// [`Error::NotFolded`] when nothing is, or a stream of another database.
    pub fn unfold(&mut self, from: &Folded) -> Result<(), Error> {
        if !from.database.as_ref().is_some_and(|database| database.is(&self.database)) {
            return Err(Error::NotFolded);
        }
        // SAFETY: the stream is valid and borrowed mutably. The octets were written by `hs_compress_stream` for a
        // stream of the same database and nobody could change them: `Folded` keeps them private. Without a
        // callback no scratch is needed.
        Error::check(unsafe {
            sys::hs_reset_and_expand_stream(
                self.raw.as_ptr(),
                from.bytes.as_ptr().cast(),
                from.len,
                ptr::null_mut(),
                None,
                ptr::null_mut(),
            )
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is valid and this is its only handle. Without a callback no scratch is needed.
        unsafe { sys::hs_close_stream(self.raw.as_ptr(), ptr::null_mut(), None, ptr::null_mut()) };
    }
}

/// A slot for a folded stream: what an idle scan has to remember.
#[derive(Debug)]
pub struct Folded {
    bytes: Box<[u8]>,
    len: usize,
    /// Of the stream folded here; `None` when there is none.
    database: Option<Database>,
}

impl Folded {
    /// An empty slot of `capacity` octets. Allocates.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into_boxed_slice(), len: 0, database: None }
    }

    /// Octets in use; 0 when nothing is folded here.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.database.is_some() { self.len } else { 0 }
    }

    /// Whether nothing is folded here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.database.is_none()
    }

    /// Forgets what is folded here.
    pub fn clear(&mut self) {
        self.database = None;
    }
}
