//! What the library says when it says no.

use core::fmt;

use hyperscan_sys as sys;

/// Why a call failed. None of them is caused by the data that was scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The bytes are not a database, or are damaged (magic, length, checksum).
    Damaged,
    /// The database was made by another version of the library.
    Version,
    /// The database was made for instructions that this processor does not have.
    Platform,
    /// A streaming database was asked to scan a block, or a block database to open a stream.
    Mode,
    /// No memory.
    NoMemory,
    /// This processor cannot run the library at all.
    Architecture,
    /// The scratch was not fitted to this database.
    UnfittedScratch,
    /// More than 4 GiB - 1 octets in one call.
    TooLong,
    /// Another code of the library; a bug here or there.
    Other(i32),
}

impl Error {
    /// What a return code means, `Ok` for success and for a scan that the callback ended.
    pub(crate) fn check(code: sys::hs_error_t) -> Result<(), Error> {
        match code {
            sys::HS_SUCCESS | sys::HS_SCAN_TERMINATED => Ok(()),
            sys::HS_NOMEM | sys::HS_BAD_ALLOC => Err(Error::NoMemory),
            sys::HS_DB_VERSION_ERROR => Err(Error::Version),
            sys::HS_DB_PLATFORM_ERROR => Err(Error::Platform),
            sys::HS_DB_MODE_ERROR => Err(Error::Mode),
            sys::HS_ARCH_ERROR => Err(Error::Architecture),
            code => Err(Error::Other(code)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Damaged => f.write_str("not a pattern database, or a damaged one"),
            Error::Version => {
                f.write_str("the pattern database was made by another version of the matcher library")
            }
            Error::Platform => {
                f.write_str("the pattern database was made for instructions this processor does not have")
            }
            Error::Mode => f.write_str("the pattern database is of the other mode (block, streaming)"),
            Error::NoMemory => f.write_str("no memory for the pattern matcher"),
            Error::Architecture => {
                f.write_str("this processor cannot run the pattern matcher (it needs SSE4.2)")
            }
            Error::UnfittedScratch => {
                f.write_str("the scratch space was not fitted to this pattern database")
            }
            Error::TooLong => f.write_str("more than 4 GiB in one scan"),
            Error::Other(code) => write!(f, "the pattern matcher failed with code {code}"),
        }
    }
}

impl std::error::Error for Error {}
