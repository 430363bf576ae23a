//! The compiling half, `hs_compile.h`.

use core::ffi::{c_char, c_int, c_uint, c_ulonglong};

use crate::{hs_database_t, hs_error_t};

/// Upper and lower case are the same.
pub const HS_FLAG_CASELESS: c_uint = 1;
/// A dot is also a line end.
pub const HS_FLAG_DOTALL: c_uint = 2;
/// `^` and `$` are also the ends of lines.
pub const HS_FLAG_MULTILINE: c_uint = 4;
/// A pattern may match an empty text.
pub const HS_FLAG_ALLOWEMPTY: c_uint = 16;
/// The text comes as a whole.
pub const HS_MODE_BLOCK: c_uint = 1;
/// The text comes in pieces.
pub const HS_MODE_STREAM: c_uint = 2;
/// Tuned for no processor in particular.
pub const HS_TUNE_FAMILY_GENERIC: c_uint = 0;

/// What the library says against a pattern.
#[repr(C)]
#[derive(Debug)]
pub struct hs_compile_error_t {
    /// The reason, ends with NUL.
    pub message: *mut c_char,
    /// Index of the pattern; negative when it is about none in particular.
    pub expression: c_int,
}

/// The processor to compile for.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct hs_platform_info_t {
    /// One of `HS_TUNE_FAMILY_...`.
    pub tune: c_uint,
    /// Instructions beyond those that the library needs, one bit each.
    pub cpu_features: c_ulonglong,
    /// Zero.
    pub reserved1: c_ulonglong,
    /// Zero.
    pub reserved2: c_ulonglong,
}

// What each does is in the header.
#[allow(missing_docs)]
unsafe extern "C" {
    pub fn hs_compile_multi(
        expressions: *const *const c_char,
        flags: *const c_uint,
        ids: *const c_uint,
        count: c_uint,
        mode: c_uint,
        platform: *const hs_platform_info_t,
        database: *mut *mut hs_database_t,
        error: *mut *mut hs_compile_error_t,
    ) -> hs_error_t;
    pub fn hs_free_compile_error(error: *mut hs_compile_error_t) -> hs_error_t;
}
