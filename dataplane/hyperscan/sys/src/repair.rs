//! Functions of the library that are wrong in releases people have, done again.
//!
//! An automaton that stands in a state which most octets leave as it is does not step through them: a vectorised loop
//! skips to the next octet that matters. Four of these loops are wrong in Vectorscan, found by trying all of them against
//! plain loops (`tests/repair.rs`):
//!
//! | loop | wrong | what comes of it |
//! | --- | --- | --- |
//! | pair of octets of two classes | 5.4.3 to 5.4.13, with AVX2 and AVX-512: does not see a pair in less than a vector; 5.4.12 also loses pairs across vectors and reads behind the text (VectorCamp/vectorscan issue 317, pull requests 368, 381, 402) | matches are lost |
//! | one octet, and any but one | 5.4.9, with AVX-512: does not see it in the last vector (pull request 378) | matches are lost |
//! | pair of octets, backwards | 5.4.6 to 5.4.12: writes the text into a buffer of 255 octets (pull request 392) | one long text ends the process |
//!
//! The build script hides the library's own definitions, in each variant that it carries for different processors, so that its
//! other files can only be linked with these here; a variant that is not known fails the build. Hyperscan is sound; there these
//! functions replace others that do the same.

// A vector travels in a register, in C as in Rust; the lint knows only types whose layout in memory is fixed.
#![cfg_attr(target_arch = "x86_64", allow(improper_ctypes_definitions))]

use core::ffi::c_char;
use core::slice;

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    _mm_shuffle_epi8, _mm_srli_epi16, _mm_storeu_si128,
};

/// Octets of a vector.
const LANES: usize = 16;

/// `shuftiDoubleExec`: where the first pair of octets begins whose first is in one class and whose second is in
/// another; the last octet counts if it is in the first class, as the next text may go on with the second. Each class is
/// two tables of masks, for the low and the high half of an octet; a pair is one if, of the four masks or-ed, any bit is
/// left 0.
///
/// # Safety
/// `start` and `end` are the ends of one readable text.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "ssse3")]
unsafe fn find_pair(
    first_low: __m128i,
    first_high: __m128i,
    second_low: __m128i,
    second_high: __m128i,
    start: *const u8,
    end: *const u8,
) -> *const u8 {
    let low_half = _mm_set1_epi8(0x0f);
    // Which of 16 octets are not in a class: their masks, or-ed.
    let look_up = |low: __m128i, high: __m128i, octets: __m128i| {
        let low = _mm_shuffle_epi8(low, _mm_and_si128(octets, low_half));
        let high = _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi16::<4>(octets), low_half));
        _mm_or_si128(low, high)
    };
    // Where in the 16 octets from `at` a pair begins; the seventeenth is read too.
    let pairs = |at: *const u8| {
        // SAFETY: the callers below leave at least 17 octets from `at` to `end`.
        let (octets, nexts) = unsafe { (_mm_loadu_si128(at.cast()), _mm_loadu_si128(at.add(1).cast())) };
        let masks =
            _mm_or_si128(look_up(first_low, first_high, octets), look_up(second_low, second_high, nexts));
        !_mm_movemask_epi8(_mm_cmpeq_epi8(masks, _mm_set1_epi8(-1))) as u32 & 0xffff
    };
    // SAFETY: both are ends of one text, so the distance is its length, and all places below are inside.
    unsafe {
        let len = end.offset_from_unsigned(start);
        let mut at = 0;
        if len > LANES {
            while at + LANES < len {
                let found = pairs(start.add(at));
                if found != 0 {
                    return start.add(at + found.trailing_zeros() as usize);
                }
                at += LANES;
            }
            // The last vector overlaps with the one before, where no pair is.
            let last = len - LANES - 1;
            let found = pairs(start.add(last));
            if found != 0 {
                return start.add(last + found.trailing_zeros() as usize);
            }
            at = len - 1;
        }
        // Too short for a vector, or the last octet, which has no next one.
        let store = |vector: __m128i| {
            let mut octets = [0_u8; LANES];
            _mm_storeu_si128(octets.as_mut_ptr().cast(), vector);
            octets
        };
        let tables = [first_low, first_high, second_low, second_high].map(store);
        let text = slice::from_raw_parts(start, len);
        let mask = |table: usize, octet: u8| {
            tables[table][usize::from(octet & 15)] | tables[table + 1][usize::from(octet >> 4)]
        };
        let is_pair = |place: &usize| {
            let next = text.get(place + 1).map_or(0, |next| mask(2, *next));
            text.get(*place).is_some_and(|octet| mask(0, *octet) | next != 0xff)
        };
        (at..len).find(is_pair).map_or(end, |place| start.add(place))
    }
}

/// As the other of this name: on processors that nobody has tried it on nothing is skipped, which is always right. The four
/// vectors come in registers that are not looked at.
///
/// # Safety
/// None is needed.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn find_pair(start: *const u8, _end: *const u8) -> *const u8 {
    start
}

/// `vermicelliExec`: where an octet first is, `end` if nowhere. With `nocase` the octet is a letter of any case.
///
/// # Safety
/// `start` and `end` are the ends of one readable text.
unsafe fn find_octet(octet: c_char, nocase: c_char, start: *const u8, end: *const u8) -> *const u8 {
    let octet = octet as u8;
    // SAFETY: as promised by the caller; the place is inside of the text.
    unsafe {
        let text = slice::from_raw_parts(start, end.offset_from_unsigned(start));
        let place = match nocase {
            0 => memchr::memchr(octet, text),
            _ => memchr::memchr2(octet & !CASE, octet | CASE, text),
        };
        place.map_or(end, |place| start.add(place))
    }
}

/// The bit in which upper and lower case of a letter differ.
const CASE: u8 = 0x20;

/// `nvermicelliExec`: where the first octet is that is not this one, `end` if nowhere.
///
/// # Safety
/// `start` and `end` are the ends of one readable text.
unsafe fn find_other(octet: c_char, nocase: c_char, start: *const u8, end: *const u8) -> *const u8 {
    let keep = if nocase == 0 { 0xff } else { !CASE };
    let octet = octet as u8 & keep;
    let is_other = |found: &u8| found & keep != octet;
    // SAFETY: as promised by the caller; the place is inside of the text.
    unsafe {
        let text = slice::from_raw_parts(start, end.offset_from_unsigned(start));
        // Vectors first, which have no branch inside, then octets.
        let same = |vector: &&[u8; LANES]| !vector.iter().any(is_other);
        let skipped = text.as_chunks::<LANES>().0.iter().take_while(same).count() * LANES;
        let place = text[skipped..].iter().position(is_other);
        place.map_or(end, |place| start.add(skipped + place))
    }
}

/// `rvermicelliDoubleExec`: where the second octet of the last pair is; the library asks this only to leave out what is
/// behind it. The last octet of all is always a right answer.
///
/// # Safety
/// `end` is behind a text of at least one octet.
unsafe fn find_last_pair(
    _first: c_char,
    _second: c_char,
    _nocase: c_char,
    _start: *const u8,
    end: *const u8,
) -> *const u8 {
    // SAFETY: as promised by the caller.
    unsafe { end.sub(1) }
}

/// Gives the functions above the library's names, in one of its variants.
macro_rules! replace {
    ($($variant:literal $module:ident)*) => {$(
        mod $module {
            use super::{c_char, find_last_pair, find_octet, find_other, find_pair};
            #[cfg(target_arch = "x86_64")]
            use super::__m128i;

            /// As [`find_pair`](super::find_pair).
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "ssse3")]
            #[unsafe(export_name = concat!($variant, "shuftiDoubleExec"))]
            unsafe extern "C" fn pair(
                first_low: __m128i,
                first_high: __m128i,
                second_low: __m128i,
                second_high: __m128i,
                start: *const u8,
                end: *const u8,
            ) -> *const u8 {
                // SAFETY: the library's promise to its own function is the same.
                unsafe { find_pair(first_low, first_high, second_low, second_high, start, end) }
            }

            /// As [`find_pair`](super::find_pair).
            #[cfg(not(target_arch = "x86_64"))]
            #[unsafe(export_name = concat!($variant, "shuftiDoubleExec"))]
            unsafe extern "C" fn pair(start: *const u8, end: *const u8) -> *const u8 {
                // SAFETY: nothing is read.
                unsafe { find_pair(start, end) }
            }

            /// As [`find_octet`](super::find_octet).
            #[unsafe(export_name = concat!($variant, "vermicelliExec"))]
            unsafe extern "C" fn octet(
                octet: c_char,
                nocase: c_char,
                start: *const u8,
                end: *const u8,
            ) -> *const u8 {
                // SAFETY: the library's promise to its own function is the same.
                unsafe { find_octet(octet, nocase, start, end) }
            }

            /// As [`find_other`](super::find_other).
            #[unsafe(export_name = concat!($variant, "nvermicelliExec"))]
            unsafe extern "C" fn other(
                octet: c_char,
                nocase: c_char,
                start: *const u8,
                end: *const u8,
            ) -> *const u8 {
                // SAFETY: the library's promise to its own function is the same.
                unsafe { find_other(octet, nocase, start, end) }
            }

            /// As [`find_last_pair`](super::find_last_pair).
            #[unsafe(export_name = concat!($variant, "rvermicelliDoubleExec"))]
            unsafe extern "C" fn last_pair(
                first: c_char,
                second: c_char,
                nocase: c_char,
                start: *const u8,
                end: *const u8,
            ) -> *const u8 {
                // SAFETY: the library's promise to its own function is the same.
                unsafe { find_last_pair(first, second, nocase, start, end) }
            }
        }
    )*};
}

// As in build.rs.
replace! { "" plain "core2_" core2 "corei7_" corei7 "avx2_" avx2 "avx512_" avx512 "avx512vbmi_" avx512vbmi }
