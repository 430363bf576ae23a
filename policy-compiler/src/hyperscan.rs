//! Patterns into serialized databases: the compiling half of Hyperscan or Vectorscan.
//!
//! The only file of the compiler with `unsafe` code. Databases are for the generic platform, so that an
//! artifact made on one machine runs on another. No pattern is compiled with SINGLEMATCH (it costs
//! stream state) or with the start of a match (the verdict needs none).

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_uint};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use artifact::smtp::{Database, Region};
use hyperscan_sys as sys;

use crate::pattern::{Pattern, Place, Translated, translate};

/// A pattern and the criterion that it decides.
#[derive(Debug, Clone)]
pub struct Expression {
    /// The pattern.
    pub pattern: Pattern,
    /// Index of the criterion: what the library reports.
    pub id: u32,
}

/// Why the library refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It took longer than it may.
    Time(Duration),
    /// The library says why; and which expression, if it is only one.
    Library(String, Option<usize>),
}

/// Longest that the trial of one pattern may take. The limits on repeats and length keep every
/// pattern far below it; it is a net for what they do not foresee.
pub const PATTERN_TIME: Duration = Duration::from_secs(5);
/// Longest that one database may take.
pub const DATABASE_TIME: Duration = Duration::from_secs(120);

/// What the library says of itself; the gateway's must say the same.
#[must_use]
pub fn version() -> String {
    // SAFETY: takes nothing, returns a constant string of the library.
    let version = unsafe { CStr::from_ptr(sys::hs_version()) };
    version.to_string_lossy().trim().to_owned()
}

/// Where the databases run.
#[must_use]
pub fn target() -> String {
    format!("{} generic", std::env::consts::ARCH)
}

/// Compiles within a time. If the time is over, the thread that compiles is left to itself: the
/// library cannot be interrupted, and the compiler ends soon.
fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more if the time is over.
        let _ = sender.send(work());
    });
    receiver.recv_timeout(limit).unwrap_or(Err(Refusal::Time(limit)))
}

/// Tries one pattern on its own, so that a refusal names it.
///
/// # Errors
/// The library refuses it, or takes too long.
pub fn trial(pattern: &Pattern, region: Region) -> Result<(), Refusal> {
    let expression = Expression { pattern: pattern.clone(), id: 0 };
    within(PATTERN_TIME, move || compile(&[expression], region)).map(|_| ())
}

/// Compiles all patterns of a region into one database.
///
/// # Errors
/// The library refuses them, or takes too long.
pub fn database(expressions: &[Expression], region: Region) -> Result<Database, Refusal> {
    let pattern_count = expressions.len() as u32;
    let expressions = expressions.to_vec();
    let Compiled { bytes, stream_len } = within(DATABASE_TIME, move || compile(&expressions, region))?;
    Ok(Database { region, pattern_count, streaming: region.is_streaming(), stream_len, bytes })
}

struct Compiled {
    bytes: Vec<u8>,
    stream_len: u32,
}

/// Owns what `hs_compile_multi` gave.
struct Owned(*mut sys::hs_database_t);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `hs_compile_multi`, and this is its only owner.
        unsafe { sys::hs_free_database(self.0) };
    }
}

fn compile(expressions: &[Expression], region: Region) -> Result<Compiled, Refusal> {
    let refusal = |message: &str| Refusal::Library(message.to_owned(), None);
    let mut texts = Vec::with_capacity(expressions.len());
    let translated: Vec<Translated> =
        expressions.iter().map(|expression| translate(&expression.pattern, Place::from(region))).collect();
    for (index, pattern) in translated.iter().enumerate() {
        // An empty expression makes both libraries read behind its end.
        match CString::new(pattern.expression.as_str()) {
            Ok(text) if !text.is_empty() => texts.push(text),
            _ => return Err(Refusal::Library("the expression is empty or has a NUL".into(), Some(index))),
        }
    }
    if texts.is_empty() {
        return Err(refusal("there is no expression"));
    }
    let pointers: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
    let flags: Vec<c_uint> = translated.iter().map(|pattern| flags(pattern, region)).collect();
    let ids: Vec<c_uint> = expressions.iter().map(|expression| expression.id).collect();
    let mode = if region.is_streaming() { sys::HS_MODE_STREAM } else { sys::HS_MODE_BLOCK };
    // Generic tuning and no CPU feature beyond what the library itself needs.
    let platform = sys::hs_platform_info_t { tune: sys::HS_TUNE_FAMILY_GENERIC, ..Default::default() };
    let mut database = std::ptr::null_mut();
    let mut error = std::ptr::null_mut();
    // SAFETY: the three arrays have `pointers.len()` elements and outlive the call; each text ends
    // with NUL; platform and the two results are valid for the call.
    let code = unsafe {
        sys::hs_compile_multi(
            pointers.as_ptr(),
            flags.as_ptr(),
            ids.as_ptr(),
            pointers.len() as c_uint,
            mode,
            &raw const platform,
            &raw mut database,
            &raw mut error,
        )
    };
    if code != sys::HS_SUCCESS {
        return Err(compile_error(error));
    }
    let database = Owned(database);
    let stream_len = if region.is_streaming() { stream_len(&database)? } else { 0 };
    Ok(Compiled { bytes: serialize(&database)?, stream_len })
}

fn flags(pattern: &Translated, region: Region) -> c_uint {
    // Patterns that an empty text fulfils are meant so: `^$` is the sender of a bounce.
    let mut flags = sys::HS_FLAG_ALLOWEMPTY | sys::HS_FLAG_DOTALL;
    if pattern.nocase {
        flags |= sys::HS_FLAG_CASELESS;
    }
    if Place::from(region) == Place::Lines {
        flags |= sys::HS_FLAG_MULTILINE;
    }
    flags
}

fn compile_error(error: *mut sys::hs_compile_error_t) -> Refusal {
    if error.is_null() {
        return Refusal::Library("no reason given".into(), None);
    }
    // SAFETY: not null, so it is the error that `hs_compile_multi` made, with a message that ends
    // with NUL; it is freed once, after both have been read.
    let (message, expression) = unsafe {
        let message = CStr::from_ptr((*error).message).to_string_lossy().into_owned();
        let expression = (*error).expression;
        sys::hs_free_compile_error(error);
        (message, expression)
    };
    Refusal::Library(message.trim_end_matches('.').to_owned(), usize::try_from(expression).ok())
}

fn stream_len(database: &Owned) -> Result<u32, Refusal> {
    let mut len = 0usize;
    // SAFETY: the database is one that the library made; the result is valid for the call.
    let code = unsafe { sys::hs_stream_size(database.0, &raw mut len) };
    match u32::try_from(len) {
        Ok(len) if code == sys::HS_SUCCESS => Ok(len),
        _ => Err(Refusal::Library(format!("hs_stream_size: {code}"), None)),
    }
}

unsafe extern "C" {
    /// The C library's: `hs_serialize_database` allocates with `malloc` and leaves freeing to us.
    fn free(pointer: *mut std::ffi::c_void);
}

fn serialize(database: &Owned) -> Result<Vec<u8>, Refusal> {
    let mut bytes: *mut c_char = std::ptr::null_mut();
    let mut len = 0usize;
    // SAFETY: the database is one that the library made; the results are valid for the call.
    let code = unsafe { sys::hs_serialize_database(database.0, &raw mut bytes, &raw mut len) };
    if code != sys::HS_SUCCESS || bytes.is_null() {
        return Err(Refusal::Library(format!("hs_serialize_database: {code}"), None));
    }
    // SAFETY: the library gave `len` octets at `bytes`, allocated with `malloc` as no other
    // allocator was set; they are copied, then freed once.
    unsafe {
        let copy = std::slice::from_raw_parts(bytes.cast::<u8>(), len).to_vec();
        free(bytes.cast());
        Ok(copy)
    }
}

/// The ids of the expressions that are found in a text, in ascending order; the text of a streaming
/// database may come in pieces. Scans as the gateway does, but slowly, for it prepares everything
/// anew: to try a policy out, not to run one.
///
/// # Errors
/// The library does not take the database.
pub fn search(database: &Database, pieces: &[&[u8]]) -> Result<Vec<u32>, Refusal> {
    let mut ids = Vec::new();
    Searcher::new(database)?.search(pieces, &mut ids)?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// A database ready to be searched with.
struct Searcher {
    // Dropped in this order: the stream before the database it belongs to.
    stream: Option<Stream>,
    scratch: Scratch,
    database: Owned,
}

impl Searcher {
    fn new(database: &Database) -> Result<Self, Refusal> {
        let mut pointer = std::ptr::null_mut();
        let (bytes, len) = (database.bytes.as_ptr().cast(), database.bytes.len());
        // SAFETY: the octets are valid for the call, and the library checks what they hold.
        let code = unsafe { sys::hs_deserialize_database(bytes, len, &raw mut pointer) };
        check(code, "hs_deserialize_database")?;
        let owned = Owned(pointer);
        let mut scratch = Scratch(std::ptr::null_mut());
        // SAFETY: the database is one that the library made; the result is valid for the call.
        check(unsafe { sys::hs_alloc_scratch(owned.0, &raw mut scratch.0) }, "hs_alloc_scratch")?;
        let mut stream = None;
        if database.streaming {
            let mut pointer = std::ptr::null_mut();
            // SAFETY: as above. The stream is closed before the database is freed, see `Searcher`.
            check(unsafe { sys::hs_open_stream(owned.0, 0, &raw mut pointer) }, "hs_open_stream")?;
            stream = Some(Stream(pointer));
        }
        Ok(Self { stream, scratch, database: owned })
    }

    /// Searches in a text; `found` gets the id of every match.
    fn search(&mut self, pieces: &[&[u8]], found: &mut Vec<u32>) -> Result<(), Refusal> {
        match &self.stream {
            Some(stream) => {
                let outcome = pieces.iter().try_for_each(|piece| self.scan_stream(stream, piece, found));
                let context: *mut std::ffi::c_void = (&raw mut *found).cast();
                // SAFETY: the stream is open, scratch is of its database; `context` is the list that
                // `report` expects, and nobody else uses it meanwhile.
                let code =
                    unsafe { sys::hs_reset_stream(stream.0, 0, self.scratch.0, Some(report), context) };
                outcome.and(check(code, "hs_reset_stream"))
            }
            None => {
                let text = pieces.concat();
                let context: *mut std::ffi::c_void = (&raw mut *found).cast();
                // SAFETY: the text is valid for the call; scratch is of this database; context as above.
                let code = unsafe {
                    sys::hs_scan(
                        self.database.0,
                        text.as_ptr().cast(),
                        text.len() as c_uint,
                        0,
                        self.scratch.0,
                        Some(report),
                        context,
                    )
                };
                check(code, "hs_scan")
            }
        }
    }

    fn scan_stream(&self, stream: &Stream, piece: &[u8], found: &mut Vec<u32>) -> Result<(), Refusal> {
        let context: *mut std::ffi::c_void = (&raw mut *found).cast();
        // SAFETY: the stream is open; the piece is valid for the call; scratch is of its database;
        // `context` is the list that `report` expects, and nobody else uses it meanwhile.
        let code = unsafe {
            sys::hs_scan_stream(
                stream.0,
                piece.as_ptr().cast(),
                piece.len() as c_uint,
                0,
                self.scratch.0,
                Some(report),
                context,
            )
        };
        check(code, "hs_scan_stream")
    }
}

fn check(code: i32, call: &str) -> Result<(), Refusal> {
    if code == sys::HS_SUCCESS { Ok(()) } else { Err(Refusal::Library(format!("{call}: {code}"), None)) }
}

/// Owns what `hs_open_stream` gave.
struct Stream(*mut sys::hs_stream_t);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and this is its only owner; without a callback no scratch is needed.
        unsafe { sys::hs_close_stream(self.0, std::ptr::null_mut(), None, std::ptr::null_mut()) };
    }
}

/// Owns what `hs_alloc_scratch` gave, or nothing.
struct Scratch(*mut sys::hs_scratch_t);

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: null, which the library ignores, or from `hs_alloc_scratch` and owned only here.
        unsafe { sys::hs_free_scratch(self.0) };
    }
}

unsafe extern "C" fn report(
    id: c_uint,
    _from: std::ffi::c_ulonglong,
    _to: std::ffi::c_ulonglong,
    _flags: c_uint,
    context: *mut std::ffi::c_void,
) -> std::ffi::c_int {
    // SAFETY: `Searcher` passes its list, which it does not touch while the library scans.
    let found = unsafe { &mut *context.cast::<Vec<u32>>() };
    found.push(id);
    0
}
