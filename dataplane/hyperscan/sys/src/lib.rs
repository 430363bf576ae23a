//! The C interface of Hyperscan 5 and Vectorscan 5, as far as Postern uses it, linked statically.
//!
//! Names, types and numbers are the library's own, see its headers `hs_common.h`, `hs_runtime.h`, `hs_compile.h`. Four
//! functions of the library are replaced, see `repair.rs`. `dataplane/hyperscan` makes the run-time half safe, and
//! `policy-compiler/src/hyperscan.rs` the compiling half.
#![no_std]
#![allow(non_camel_case_types)]

use core::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};

#[cfg(feature = "compile")]
mod compile;
mod repair;

#[cfg(feature = "compile")]
pub use compile::*;

/// What a call comes back with.
pub type hs_error_t = c_int;
/// Done.
pub const HS_SUCCESS: hs_error_t = 0;
/// An argument is not what it should be.
pub const HS_INVALID: hs_error_t = -1;
/// No memory.
pub const HS_NOMEM: hs_error_t = -2;
/// The callback ended the scan.
pub const HS_SCAN_TERMINATED: hs_error_t = -3;
/// The database is of another version of the library.
pub const HS_DB_VERSION_ERROR: hs_error_t = -5;
/// The database is for another kind of processor.
pub const HS_DB_PLATFORM_ERROR: hs_error_t = -6;
/// The database is of the other mode.
pub const HS_DB_MODE_ERROR: hs_error_t = -7;
/// The allocator's memory is not aligned.
pub const HS_BAD_ALLOC: hs_error_t = -9;
/// The processor cannot run the library.
pub const HS_ARCH_ERROR: hs_error_t = -11;

macro_rules! opaque {
    ($($(#[$attribute:meta])* $name:ident)*) => {$(
        $(#[$attribute])*
        #[repr(C)]
        #[derive(Debug)]
        pub struct $name {
            nothing: [u8; 0],
            /// Neither `Send`, `Sync` nor `Unpin`: the library's memory.
            marker: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
        }
    )*};
}

opaque! {
    /// Compiled patterns.
    hs_database_t
    /// Working memory of a scan.
    hs_scratch_t
    /// A scan over pieces.
    hs_stream_t
}

/// What the library calls for each match: id, start (unused), end, flags, context. Not 0 ends the scan.
pub type match_event_handler =
    Option<unsafe extern "C" fn(c_uint, c_ulonglong, c_ulonglong, c_uint, *mut c_void) -> c_int>;

// What each does is in the headers.
#[allow(missing_docs)]
unsafe extern "C" {
    pub fn hs_version() -> *const c_char;
    pub fn hs_free_database(database: *mut hs_database_t) -> hs_error_t;
    pub fn hs_database_size(database: *const hs_database_t, len: *mut usize) -> hs_error_t;
    pub fn hs_stream_size(database: *const hs_database_t, len: *mut usize) -> hs_error_t;
    pub fn hs_serialize_database(
        database: *const hs_database_t,
        bytes: *mut *mut c_char,
        len: *mut usize,
    ) -> hs_error_t;
    pub fn hs_deserialize_database(
        bytes: *const c_char,
        len: usize,
        database: *mut *mut hs_database_t,
    ) -> hs_error_t;
    pub fn hs_alloc_scratch(database: *const hs_database_t, scratch: *mut *mut hs_scratch_t) -> hs_error_t;
    pub fn hs_scratch_size(scratch: *const hs_scratch_t, len: *mut usize) -> hs_error_t;
    pub fn hs_free_scratch(scratch: *mut hs_scratch_t) -> hs_error_t;
    pub fn hs_scan(
        database: *const hs_database_t,
        data: *const c_char,
        len: c_uint,
        flags: c_uint,
        scratch: *mut hs_scratch_t,
        found: match_event_handler,
        context: *mut c_void,
    ) -> hs_error_t;
    pub fn hs_open_stream(
        database: *const hs_database_t,
        flags: c_uint,
        stream: *mut *mut hs_stream_t,
    ) -> hs_error_t;
    pub fn hs_scan_stream(
        stream: *mut hs_stream_t,
        data: *const c_char,
        len: c_uint,
        flags: c_uint,
        scratch: *mut hs_scratch_t,
        found: match_event_handler,
        context: *mut c_void,
    ) -> hs_error_t;
    pub fn hs_reset_stream(
        stream: *mut hs_stream_t,
        flags: c_uint,
        scratch: *mut hs_scratch_t,
        found: match_event_handler,
        context: *mut c_void,
    ) -> hs_error_t;
    pub fn hs_close_stream(
        stream: *mut hs_stream_t,
        scratch: *mut hs_scratch_t,
        found: match_event_handler,
        context: *mut c_void,
    ) -> hs_error_t;
}
