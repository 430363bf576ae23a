//! Scratch: the working memory of one scanning thread.

use core::ptr;

use hyperscan_sys as sys;

use crate::{Database, Error};

/// Working memory for scans; one per thread, for all of its databases.
#[derive(Debug)]
pub struct Scratch {
    raw: *mut sys::hs_scratch_t,
    /// Bit `n` is set when database with serial `n` may be scanned with it.
    fits: Vec<u64>,
}

// SAFETY: plain memory without thread affinity; every use needs `&mut`.
unsafe impl Send for Scratch {}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// One that fits no database yet.
    #[must_use]
    pub fn new() -> Self {
        Self { raw: ptr::null_mut(), fits: Vec::new() }
    }

    /// Makes it fit `database` too. Allocates; to be called before the first frame, not between.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn fit(&mut self, database: &Database) -> Result<(), Error> {
        // SAFETY: the database is valid, `raw` is null or came from this same function. On success the
        // library has stored a block that fits this database and all earlier ones; when it fails, it has freed and
        // nulled the old one, or left it alone.
        let result = Error::check(unsafe { sys::hs_alloc_scratch(database.raw(), &raw mut self.raw) });
        if let Err(error) = result {
            // Which of the two it was cannot be seen from here: trust the block with nothing.
            self.fits.clear();
            return Err(error);
        }
        let word = database.serial() as usize / 64;
        if self.fits.len() <= word {
            self.fits.resize(word + 1, 0);
        }
        self.fits[word] |= 1 << (database.serial() % 64);
        Ok(())
    }

    /// Octets of memory it takes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        let mut len = 0;
        if !self.raw.is_null() {
            // SAFETY: a valid scratch, and a place for the answer, which stays 0 on error.
            unsafe { sys::hs_scratch_size(self.raw, &raw mut len) };
        }
        len
    }

    /// The raw block, if it fits `database`.
    pub(crate) fn for_database(&mut self, database: &Database) -> Result<*mut sys::hs_scratch_t, Error> {
        let word = self.fits.get(database.serial() as usize / 64).copied().unwrap_or(0);
        if word & (1 << (database.serial() % 64)) == 0 { Err(Error::UnfittedScratch) } else { Ok(self.raw) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: null or a block of the library that nobody else has.
        unsafe { sys::hs_free_scratch(self.raw) };
    }
}
