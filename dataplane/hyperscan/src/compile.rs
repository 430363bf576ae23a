//! Just enough compiling for tests and benches; the policy compiler has its own.

use core::ptr;
use std::ffi::{CStr, CString};

use hyperscan_sys as sys;

use crate::{Database, Error};

/// How a database will be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Whole blocks.
    Block,
    /// Streams.
    Stream,
}

/// A pattern and the number its hits carry.
pub type Pattern<'a> = (&'a str, u32);

/// Compiles patterns in the library's own syntax, `.` matching line ends too, for any processor the library runs on.
///
/// # Errors
/// What the library says about the patterns.
pub fn compile(patterns: &[Pattern<'_>], mode: Mode) -> Result<Database, String> {
    let texts = patterns
        .iter()
        .map(|(text, _)| CString::new(*text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    let flags = vec![sys::HS_FLAG_DOTALL; patterns.len()];
    let ids: Vec<_> = patterns.iter().map(|(_, id)| *id).collect();
    let count = u32::try_from(patterns.len()).map_err(|error| error.to_string())?;
    let mode = match mode {
        Mode::Block => sys::HS_MODE_BLOCK,
        Mode::Stream => sys::HS_MODE_STREAM,
    };
    // The generic platform, as in an artifact: same bytes on every machine.
    let platform = sys::hs_platform_info_t {
        tune: sys::HS_TUNE_FAMILY_GENERIC,
        cpu_features: 0,
        reserved1: 0,
        reserved2: 0,
    };
    let mut raw = ptr::null_mut();
    let mut failure = ptr::null_mut();
    // SAFETY: three arrays of `count` elements, strings that end in NUL and live on, and places for the answers.
    let code = unsafe {
        sys::hs_compile_multi(
            pointers.as_ptr(),
            flags.as_ptr(),
            ids.as_ptr(),
            count,
            mode,
            &raw const platform,
            &raw mut raw,
            &raw mut failure,
        )
    };
    if !failure.is_null() {
        // SAFETY: on failure the library stores a structure with a message that ends in NUL, ours to free.
        let message = unsafe {
            let message = CStr::from_ptr((*failure).message).to_string_lossy().into_owned();
            sys::hs_free_compile_error(failure);
            message
        };
        return Err(message);
    }
    Error::check(code).and_then(|()| Database::own(raw)).map_err(|error| error.to_string())
}

/// The bytes that [`Database::deserialize`] reads.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn serialize(database: &Database) -> Result<Vec<u8>, Error> {
    let mut bytes = ptr::null_mut();
    let mut len = 0;
    // SAFETY: a valid database, and places for the answers.
    Error::check(unsafe { sys::hs_serialize_database(database.raw(), &raw mut bytes, &raw mut len) })?;
    // SAFETY: the library stored a block of `len` octets, made by `malloc` since no other allocator was set; it is copied
    // and then freed once.
    unsafe {
        let copy = core::slice::from_raw_parts(bytes.cast::<u8>(), len).to_vec();
        libc::free(bytes.cast());
        Ok(copy)
    }
}
