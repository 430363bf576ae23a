//! Databases: compiled patterns, read-only.

use core::ffi::CStr;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use hyperscan_sys as sys;

use crate::Error;

/// Compiled patterns. A clone is another handle to the same.
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    raw: NonNull<sys::hs_database_t>,
    /// Unique in this process and never used again, so that a [`crate::Scratch`] can note what it fits.
    serial: u32,
    len: usize,
    stream_len: Option<usize>,
}

// SAFETY: a database is never written after it was made (the library's documentation, "Runtime": one
// database can be used by many threads at once), and the pointer is owned by this value alone.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: `raw` came from the library, and this is the last handle: streams hold one too.
        unsafe { sys::hs_free_database(self.raw.as_ptr()) };
    }
}

impl Database {
    /// Reads what the compiler serialized. Allocates.
    ///
    /// The library checks magic, version, platform, length and a checksum. Release 5.4.9 leaves the last few dozen octets
    /// out of that checksum, so whoever stores a database keeps a digest of all of it; and none of this is
    /// a defence against bytes made to deceive, as a database is a program of a kind. Who may write the file decides what
    /// the matcher does: keep it as safe as the program, or have it signed.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Version`], [`Error::Platform`], [`Error::NoMemory`].
    pub fn deserialize(bytes: &[u8]) -> Result<Self, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: pointer and length are one slice; the library copies from it to an aligned block of its
        // own, and reads nothing behind the length.
        let code = unsafe { sys::hs_deserialize_database(bytes.as_ptr().cast(), bytes.len(), &raw mut raw) };
        match Error::check(code) {
            // HS_INVALID is what every other damage comes back as.
            Err(Error::Other(_)) => Err(Error::Damaged),
            Err(error) => Err(error),
            Ok(()) => Self::own(raw),
        }
    }

    /// Takes a database that the library just made.
    pub(crate) fn own(raw: *mut sys::hs_database_t) -> Result<Self, Error> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let raw = NonNull::new(raw).ok_or(Error::Damaged)?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        // Owned from here on, so that an early return frees it.
        let mut inner = Inner { raw, serial, len: 0, stream_len: None };
        // SAFETY: a valid database, and a place for the answer.
        Error::check(unsafe { sys::hs_database_size(raw.as_ptr(), &raw mut inner.len) })?;
        let mut stream_len = 0;
        // SAFETY: a valid database, and a place for the answer.
        match Error::check(unsafe { sys::hs_stream_size(raw.as_ptr(), &raw mut stream_len) }) {
            Ok(()) => inner.stream_len = Some(stream_len),
            Err(Error::Mode) => {}
            Err(error) => return Err(error),
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Octets of a stream's state; `None` for a block-mode database.
    #[must_use]
    pub fn stream_len(&self) -> Option<usize> {
        self.0.stream_len
    }

    /// Octets of memory it takes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len
    }

    pub(crate) fn raw(&self) -> *const sys::hs_database_t {
        self.0.raw.as_ptr()
    }

    pub(crate) fn serial(&self) -> u32 {
        self.0.serial
    }
}

/// What the library says of itself, such as `5.4.9 2023-03-23`. Databases need exactly the same.
#[must_use]
pub fn version() -> &'static str {
    // SAFETY: returns a string constant of the library.
    let text = unsafe { CStr::from_ptr(sys::hs_version()) };
    text.to_str().unwrap_or("unknown").trim()
}

/// Whether this processor can run the library: it needs SSE4.2, or any that is not x86. (`hs_valid_platform`, which says the same,
/// is not in Debian's `libhs_runtime.a`.)
///
/// # Errors
/// [`Error::Architecture`].
pub fn check_platform() -> Result<(), Error> {
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("sse4.2") {
        return Err(Error::Architecture);
    }
    Ok(())
}
