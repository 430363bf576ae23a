//! The functions that replace the library's, by the names that it calls them, against plain loops.

use core::ffi::c_char;

use hyperscan_sys as _;
use proptest::prelude::*;

type Octet = unsafe extern "C" fn(c_char, c_char, *const u8, *const u8) -> *const u8;
type LastPair = unsafe extern "C" fn(c_char, c_char, c_char, *const u8, *const u8) -> *const u8;

#[cfg(target_arch = "x86_64")]
#[allow(improper_ctypes_definitions)]
type Pair = unsafe extern "C" fn(
    core::arch::x86_64::__m128i,
    core::arch::x86_64::__m128i,
    core::arch::x86_64::__m128i,
    core::arch::x86_64::__m128i,
    *const u8,
    *const u8,
) -> *const u8;

/// Declares the functions of a variant and lists them.
macro_rules! variants {
    ($($variant:literal $module:ident)*) => {
        $(mod $module {
            use super::{LastPair, Octet, c_char};

            unsafe extern "C" {
                #[link_name = concat!($variant, "shuftiDoubleExec")]
                fn pair();
                #[link_name = concat!($variant, "vermicelliExec")]
                fn octet(octet: c_char, nocase: c_char, start: *const u8, end: *const u8) -> *const u8;
                #[link_name = concat!($variant, "nvermicelliExec")]
                fn other(octet: c_char, nocase: c_char, start: *const u8, end: *const u8) -> *const u8;
                #[link_name = concat!($variant, "rvermicelliDoubleExec")]
                fn last_pair(
                    first: c_char,
                    second: c_char,
                    nocase: c_char,
                    start: *const u8,
                    end: *const u8,
                ) -> *const u8;
            }
            pub(super) const PAIR: unsafe extern "C" fn() = pair;
            pub(super) const OCTET: Octet = octet;
            pub(super) const OTHER: Octet = other;
            pub(super) const LAST_PAIR: LastPair = last_pair;
        })*
        const PAIR: &[unsafe extern "C" fn()] = &[$($module::PAIR),*];
        const OCTET: &[Octet] = &[$($module::OCTET),*];
        const OTHER: &[Octet] = &[$($module::OTHER),*];
        const LAST_PAIR: &[LastPair] = &[$($module::LAST_PAIR),*];
    };
}

variants! { "" plain "core2_" core2 "corei7_" corei7 "avx2_" avx2 "avx512_" avx512 "avx512vbmi_" avx512vbmi }

/// Longest text: several of the longest vectors.
const TEXT_LEN: usize = 300;

/// Mostly one octet, so that the loops have something to skip.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let octet =
        prop_oneof![40 => Just(b'Z'), 1 => Just(b'z'), 1 => Just(b'a'), 1 => Just(b'A'), 1 => Just(b'b')];
    proptest::collection::vec(octet, 0..TEXT_LEN)
}

fn place(text: &[u8], found: *const u8) -> usize {
    found as usize - text.as_ptr() as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn an_octet_and_any_other_are_found(text in text(), octet in proptest::sample::select(&b"aZ"[..]), nocase: bool) {
        let ends = text.as_ptr_range();
        let (asked, fold) = match nocase {
            true => (octet.to_ascii_uppercase(), 0x20),
            false => (octet, 0),
        };
        let is = |found: &&u8| **found | fold == octet | fold;
        let first = text.iter().take_while(|found| !is(found)).count();
        let other = text.iter().take_while(is).count();
        for (find, expected) in OCTET.iter().map(|find| (find, first)).chain(OTHER.iter().map(|find| (find, other))) {
            // SAFETY: the ends of one text.
            let found = unsafe { find(asked as c_char, c_char::from(nocase as i8), ends.start, ends.end) };
            prop_assert_eq!(place(&text, found), expected);
        }
    }

    /// The library may leave out what is behind the answer, so it must not lie before the last pair.
    #[test]
    fn the_last_pair_is_not_left_out(text in text().prop_filter("one octet", |text| !text.is_empty())) {
        let ends = text.as_ptr_range();
        let last = text.windows(2).rposition(|pair| pair == b"ab").map_or(0, |at| at + 1);
        for find in LAST_PAIR {
            // SAFETY: the ends of one text that is not empty.
            let found = unsafe { find(b'a' as c_char, b'b' as c_char, 0, ends.start, ends.end) };
            prop_assert!((last..text.len()).contains(&place(&text, found)));
        }
    }

    /// Classes of any octets, as the library describes them: an octet is in a class if the tables' masks for its halves
    /// leave a bit 0 in common.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_pair_is_found(text in text(), tables: [[u8; 16]; 4], wild: bool) {
        use core::arch::x86_64::{__m128i, _mm_loadu_si128};

        let mut tables = tables.map(|table| table.map(|mask| mask | 0xf0));
        // The pair `ab` is one, and with `wild` an `A` with anything behind it.
        for (table, half) in [(0, 1), (1, 6), (2, 2), (3, 6)] {
            tables[table][half] &= !0x80;
        }
        if wild {
            tables[2] = tables[2].map(|mask| mask & !0x40);
            tables[3] = tables[3].map(|mask| mask & !0x40);
            tables[0][1] &= !0x40;
            tables[1][4] &= !0x40;
        }
        let mask = |table: usize, octet: u8| {
            tables[table][usize::from(octet & 15)] | tables[table + 1][usize::from(octet >> 4)]
        };
        let is_pair = |at: &usize| {
            let next = text.get(at + 1).map_or(0, |next| mask(2, *next));
            mask(0, text[*at]) | next != 0xff
        };
        let expected = (0..text.len()).find(is_pair).unwrap_or(text.len());
        // SAFETY: an array of 16 octets.
        let [a, b, c, d]: [__m128i; 4] = tables.map(|table| unsafe { _mm_loadu_si128(table.as_ptr().cast()) });
        let ends = text.as_ptr_range();
        for find in PAIR {
            // SAFETY: its true type, which cannot be declared for a foreign function; the ends of one text, on a processor
            // that can run the library.
            let found = unsafe {
                let find: Pair = core::mem::transmute(*find);
                find(a, b, c, d, ends.start, ends.end)
            };
            prop_assert_eq!(place(&text, found), expected);
        }
    }
}
