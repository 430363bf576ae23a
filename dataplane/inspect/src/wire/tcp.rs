//! TCP headers (RFC 9293) and their options (RFC 2018, RFC 7323).

use super::{Flags, Malformed, Options, Sack, SackBlock, Timestamps, u16_at, u32_at};
use core::borrow::{Borrow, BorrowMut};

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;
/// Octets of options that a header can hold.
pub const OPTIONS_LIMIT: usize = 40;
/// The largest window scale; a larger one means this (RFC 7323 section 2.3).
pub const WINDOW_SCALE_LIMIT: u8 = 14;

pub(super) mod field {
    pub const SOURCE: usize = 0;
    pub const DESTINATION: usize = 2;
    pub const SEQ: usize = 4;
    pub const ACK: usize = 8;
    pub const DATA_OFFSET: usize = 12;
    pub const FLAGS: usize = 13;
    pub const WINDOW: usize = 14;
    pub const CHECKSUM: usize = 16;
    pub const URGENT: usize = 18;
}

/// Option kinds.
pub(super) mod kind {
    pub const END: u8 = 0;
    pub const NO_OPERATION: u8 = 1;
    pub const MSS: u8 = 2;
    pub const WINDOW_SCALE: u8 = 3;
    pub const SACK_PERMITTED: u8 = 4;
    pub const SACK: u8 = 5;
    pub const TIMESTAMPS: u8 = 8;
}

/// A view of the header's fixed part.
#[derive(Debug, Clone, Copy)]
pub struct Header<H>(pub H);

impl<H: Borrow<[u8; HEADER_LEN]>> Header<H> {
    /// The sender's port.
    #[must_use]
    pub fn source(&self) -> u16 {
        u16_at(self.0.borrow(), field::SOURCE)
    }

    /// The receiver's port.
    #[must_use]
    pub fn destination(&self) -> u16 {
        u16_at(self.0.borrow(), field::DESTINATION)
    }

    /// Sequence number.
    #[must_use]
    pub fn seq(&self) -> u32 {
        u32_at(self.0.borrow(), field::SEQ)
    }

    /// Acknowledgement number.
    #[must_use]
    pub fn ack(&self) -> u32 {
        u32_at(self.0.borrow(), field::ACK)
    }

    /// Octets of the header, options included: 0 to 60 as it says, 20 to 60 as it must be.
    #[must_use]
    pub fn header_len(&self) -> usize {
        usize::from(self.0.borrow()[field::DATA_OFFSET] >> 4) * 4
    }

    /// The four bits between data offset and flags (RFC 3540's nonce was one of them).
    #[must_use]
    pub fn reserved(&self) -> u8 {
        self.0.borrow()[field::DATA_OFFSET] & 0x0f
    }

    /// Flag bits.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags(self.0.borrow()[field::FLAGS])
    }

    /// Window, not scaled.
    #[must_use]
    pub fn window(&self) -> u16 {
        u16_at(self.0.borrow(), field::WINDOW)
    }

    /// Checksum.
    #[must_use]
    pub fn checksum(&self) -> u16 {
        u16_at(self.0.borrow(), field::CHECKSUM)
    }

    /// Urgent pointer.
    #[must_use]
    pub fn urgent(&self) -> u16 {
        u16_at(self.0.borrow(), field::URGENT)
    }
}

impl<H: BorrowMut<[u8; HEADER_LEN]>> Header<H> {
    fn put<const N: usize>(&mut self, at: usize, octets: [u8; N]) {
        self.0.borrow_mut()[at..at + N].copy_from_slice(&octets);
    }

    /// Sets both ports.
    pub fn set_ports(&mut self, source: u16, destination: u16) {
        self.put(field::SOURCE, source.to_be_bytes());
        self.put(field::DESTINATION, destination.to_be_bytes());
    }

    /// Sets the sequence number.
    pub fn set_seq(&mut self, seq: u32) {
        self.put(field::SEQ, seq.to_be_bytes());
    }

    /// Sets the acknowledgement number.
    pub fn set_ack(&mut self, ack: u32) {
        self.put(field::ACK, ack.to_be_bytes());
    }

    /// Sets the octets of the header, a multiple of 4 from 20 to 60, and clears the reserved bits.
    pub fn set_header_len(&mut self, len: usize) {
        self.put(field::DATA_OFFSET, [((len / 4) << 4) as u8]);
    }

    /// Clears the reserved bits.
    pub fn clear_reserved(&mut self) {
        self.0.borrow_mut()[field::DATA_OFFSET] &= 0xf0;
    }

    /// Sets the flag bits.
    pub fn set_flags(&mut self, flags: Flags) {
        self.put(field::FLAGS, [flags.0]);
    }

    /// Sets the window.
    pub fn set_window(&mut self, window: u16) {
        self.put(field::WINDOW, window.to_be_bytes());
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        self.put(field::CHECKSUM, checksum.to_be_bytes());
    }

    /// Sets the urgent pointer.
    pub fn set_urgent(&mut self, urgent: u16) {
        self.put(field::URGENT, urgent.to_be_bytes());
    }
}

/// The fixed part, and all of the header, of the segment that `octets` are.
///
/// # Errors
/// [`Malformed::Truncated`] when it is longer than they are, [`Malformed::BadField`] when it is shorter than it can be.
#[inline]
pub fn header(octets: &[u8]) -> Result<(&[u8; HEADER_LEN], &[u8]), Malformed> {
    let fixed = octets.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let len = Header(fixed).header_len();
    if len < HEADER_LEN {
        return Err(Malformed::BadField);
    }
    Ok((fixed, octets.get(..len).ok_or(Malformed::Truncated)?))
}

/// One step through an option list.
enum Step<'a> {
    /// End of the list; what follows is padding.
    End,
    /// One octet of padding.
    NoOperation,
    /// An option: its kind, its value, its length in all.
    Option(u8, &'a [u8], usize),
}

/// The option at the start of `rest`.
#[inline(always)]
fn step(rest: &[u8]) -> Result<Step<'_>, Malformed> {
    match *rest {
        [] | [kind::END, ..] => Ok(Step::End),
        [kind::NO_OPERATION, ..] => Ok(Step::NoOperation),
        [kind, len, ..] if len >= 2 => {
            let value = rest.get(2..usize::from(len)).ok_or(Malformed::BadField)?;
            Ok(Step::Option(kind, value, usize::from(len)))
        }
        _ => Err(Malformed::BadField),
    }
}

/// Whether an option of this kind may pass: what both ends and the gateway read alike. MD5 and TCP-AO would make the
/// receiver drop what we have counted as received, Fast Open and Multipath carry or announce octets on ways that
/// are not inspected. MSS, window scale and SACK-permitted "may be sent only in a SYN" (RFC 9293 section 3.7.1, RFC 7323
/// section 2.2, RFC 2018 section 2).
#[inline]
const fn may_pass(kind: u8, syn: bool) -> bool {
    match kind {
        kind::MSS | kind::WINDOW_SCALE | kind::SACK_PERMITTED => syn,
        kind::SACK => !syn,
        kind::TIMESTAMPS => true,
        _ => false,
    }
}

/// Reads the options, which stand `start` octets into the frame. Those that may not pass are not reported, but
/// [`Options::unwanted`] is set.
///
/// # Errors
/// [`Malformed::BadField`] when the list cannot be walked; when an option that may pass has a length that it cannot have;
/// or when one comes twice: of two, some receivers take the first and some the last, and no honest sender sends two.
#[inline]
pub fn options(list: &[u8], start: u16, syn: bool) -> Result<Options, Malformed> {
    if let Some(timestamps) = plain(list) {
        return Ok(Options { timestamps, ..Options::default() });
    }
    walk(list, start, syn)
}

/// What a list holds that looks as nearly all do that stand on no SYN (RFC 7323 appendix A): nothing, or timestamps alone.
#[inline]
pub fn plain(list: &[u8]) -> Option<Option<Timestamps>> {
    const NOP: u8 = kind::NO_OPERATION;
    match *list {
        [] => Some(None),
        [NOP, NOP, kind::TIMESTAMPS, 10, a, b, c, d, e, f, g, h] => {
            let (value, echo) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            Some(Some(Timestamps { value, echo }))
        }
        _ => None,
    }
}

fn walk(list: &[u8], start: u16, syn: bool) -> Result<Options, Malformed> {
    let mut options = Options::default();
    let mut rest = list;
    loop {
        match step(rest)? {
            Step::End => {
                options.unwanted |= rest.iter().any(|&octet| octet != 0);
                return Ok(options);
            }
            Step::NoOperation => rest = &rest[1..],
            Step::Option(kind, value, len) => {
                if may_pass(kind, syn) {
                    let at = list.len() - rest.len();
                    read(&mut options, kind, value, start + at as u16 + 2)?;
                } else {
                    options.unwanted = true;
                }
                rest = &rest[len..];
            }
        }
    }
}

fn read(options: &mut Options, kind: u8, value: &[u8], start: u16) -> Result<(), Malformed> {
    let is_second = match (kind, value) {
        (kind::MSS, &[high, low]) => options.mss.replace(u16::from_be_bytes([high, low])).is_some(),
        (kind::WINDOW_SCALE, &[shift]) => {
            options.unwanted |= shift > WINDOW_SCALE_LIMIT;
            options.window_scale.replace(shift.min(WINDOW_SCALE_LIMIT)).is_some()
        }
        (kind::SACK_PERMITTED, &[]) => core::mem::replace(&mut options.sack_permitted, true),
        (kind::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
            let value = u32::from_be_bytes([a, b, c, d]);
            let echo = u32::from_be_bytes([e, f, g, h]);
            options.timestamps.replace(Timestamps { value, echo }).is_some()
        }
        (kind::SACK, blocks) if !blocks.is_empty() && blocks.len().is_multiple_of(SackBlock::LEN) => {
            let sack = Sack { start, count: (blocks.len() / SackBlock::LEN) as u8 };
            core::mem::replace(&mut options.sack, sack).count > 0
        }
        _ => return Err(Malformed::BadField),
    };
    if is_second { Err(Malformed::BadField) } else { Ok(()) }
}

/// The value of the first option of this kind in `list`; `None` when there is none that can be found.
pub fn option_value(list: &mut [u8], wanted: u8) -> Option<&mut [u8]> {
    let (from, to) = find(list, wanted)?;
    Some(&mut list[from + 2..to])
}

/// Overwrites the first option of this kind in `list` with no-operations. Returns whether there was one.
pub fn remove_option(list: &mut [u8], wanted: u8) -> bool {
    let found = find(list, wanted);
    if let Some((from, to)) = found {
        list[from..to].fill(kind::NO_OPERATION);
    }
    found.is_some()
}

/// Where the first option of this kind stands in `list`.
fn find(list: &[u8], wanted: u8) -> Option<(usize, usize)> {
    let mut at = 0;
    loop {
        match step(list.get(at..)?).ok()? {
            Step::End => return None,
            Step::NoOperation => at += 1,
            Step::Option(kind, _, len) if kind == wanted => return Some((at, at + len)),
            Step::Option(_, _, len) => at += len,
        }
    }
}

/// Overwrites in `header` (fixed part and options) every option that may not pass with no-operations, what
/// follows the end of the list with zeros, and a window scale beyond its limit with the limit. Returns whether
/// anything changed; the checksum is then wrong. Needed only where [`Options::unwanted`] is set.
pub fn sanitize_options(header: &mut [u8]) -> bool {
    let Some((fixed, list)) = header.split_first_chunk_mut::<HEADER_LEN>() else { return false };
    let syn = Header(&*fixed).flags().syn();
    let mut is_changed = false;
    let mut at = 0;
    while let Some(rest) = list.get_mut(at..) {
        match step(rest) {
            // A list that cannot be walked was refused by `options`; if it gets here, nothing of the rest stays.
            Ok(Step::End) | Err(_) => {
                is_changed |= rest.iter().any(|&octet| octet != kind::END);
                rest.fill(kind::END);
                break;
            }
            Ok(Step::NoOperation) => at += 1,
            Ok(Step::Option(kind, _, len)) => {
                if !may_pass(kind, syn) {
                    rest[..len].fill(kind::NO_OPERATION);
                    is_changed = true;
                } else if kind == kind::WINDOW_SCALE && len == 3 && rest[2] > WINDOW_SCALE_LIMIT {
                    rest[2] = WINDOW_SCALE_LIMIT;
                    is_changed = true;
                }
                at += len;
            }
        }
    }
    is_changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header with these options, padded with end-of-list.
    fn with_options(flags: Flags, list: &[u8]) -> Vec<u8> {
        let mut header = vec![0; HEADER_LEN];
        header.extend_from_slice(list);
        header.resize(header.len().next_multiple_of(4), 0);
        let len = header.len();
        let mut view = Header(header.first_chunk_mut::<HEADER_LEN>().unwrap());
        view.set_header_len(len);
        view.set_flags(flags);
        header
    }

    #[test]
    fn deconstruct_and_construct() {
        let mut octets = [0; HEADER_LEN];
        let mut header = Header(&mut octets);
        header.set_ports(40000, 25);
        header.set_seq(0x0102_0304);
        header.set_ack(0xf1f2_f3f4);
        header.set_header_len(20);
        header.set_flags(Flags::PSH.with(Flags::ACK));
        header.set_window(502);
        header.set_checksum(0xabcd);
        header.set_urgent(7);
        let expected = [
            0x9c, 0x40, 0x00, 0x19, 1, 2, 3, 4, 0xf1, 0xf2, 0xf3, 0xf4, 0x50, 0x18, 0x01, 0xf6, 0xab, 0xcd,
            0, 7,
        ];
        assert_eq!(octets, expected);
        let header = Header(&octets);
        assert_eq!((header.source(), header.destination()), (40000, 25));
        assert_eq!((header.seq(), header.ack()), (0x0102_0304, 0xf1f2_f3f4));
        assert_eq!((header.header_len(), header.flags().0, header.reserved()), (20, 0x18, 0));
        assert_eq!((header.window(), header.checksum(), header.urgent()), (502, 0xabcd, 7));
    }

    #[test]
    fn impossible_lengths() {
        let whole = with_options(Flags::ACK, &[1, 1, 1, 1]);
        for len in 0..whole.len() {
            assert_eq!(super::header(&whole[..len]), Err(Malformed::Truncated), "{len}");
        }
        let mut short = whole;
        short[12] = 0x40;
        assert_eq!(super::header(&short), Err(Malformed::BadField));
    }

    /// The SYN of a Linux host: MSS 1460, SACK permitted, timestamps, window scale 7.
    const LINUX_SYN: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];

    #[test]
    fn options_of_a_syn() {
        let options = options(&LINUX_SYN, 54, true).unwrap();
        let expected = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 9, echo: 0 }),
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn options_of_a_duplicate_ack() {
        let list = [
            1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 18, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6,
        ];
        let options = options(&list, 54, false).unwrap();
        assert_eq!(options.sack, Sack { start: 54 + 16, count: 2 });
        assert_eq!(options.timestamps, Some(Timestamps { value: 1, echo: 2 }));
        assert!(!options.unwanted);
    }

    #[test]
    fn lists_that_receivers_read_differently() {
        for (list, why) in [
            (&[2, 4, 5][..], "beyond the header"),
            (&[2, 4, 5, 0xb4, 8], "kind without length"),
            (&[8, 0], "length 0"),
            (&[8, 1], "length 1"),
            (&[2, 3, 5], "MSS of one octet"),
            (&[3, 4, 5, 5], "window scale of two octets"),
            (&[4, 3, 1], "SACK permitted with a value"),
            (&[8, 9, 0, 0, 0, 0, 0, 0, 0], "timestamps of seven octets"),
            (&[5, 2], "SACK without block"),
            (&[5, 9, 0, 0, 0, 0, 0, 0, 0], "part of a block"),
            (&[2, 4, 5, 0xb4, 2, 4, 5, 0xb5], "MSS twice"),
            (&[3, 3, 1, 3, 3, 1], "window scale twice"),
            (&[4, 2, 4, 2], "SACK permitted twice"),
            (&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0], "timestamps twice"),
            (&[5, 10, 0, 0, 0, 0, 0, 0, 0, 0, 5, 10, 0, 0, 0, 0, 0, 0, 0, 0], "SACK twice"),
        ] {
            let syn = list[0] != kind::SACK;
            assert_eq!(options(list, 54, syn), Err(Malformed::BadField), "{why}");
        }
    }

    #[test]
    fn a_window_scale_beyond_14_means_14() {
        let read = options(&[3, 3, 200], 54, true).unwrap();
        assert_eq!((read.window_scale, read.unwanted), (Some(14), true));
        let mut header = with_options(Flags::SYN, &[3, 3, 200]);
        assert!(sanitize_options(&mut header));
        assert_eq!(header[20..], [3, 3, 14, 0]);
    }

    #[test]
    fn what_may_not_pass_becomes_no_operations() {
        for (flags, list, sane, why) in [
            (Flags::SYN, &LINUX_SYN[..], &LINUX_SYN[..], "as Linux sends it"),
            (Flags::SYN, &[34, 4, 9, 9, 2, 4, 1, 2], &[1, 1, 1, 1, 2, 4, 1, 2], "Fast Open"),
            (Flags::SYN, &[30, 4, 0, 1], &[1, 1, 1, 1], "Multipath"),
            (Flags::ACK, &[30, 3, 0, 0], &[1, 1, 1, 0], "Multipath, not on SYN"),
            (Flags::ACK, &[19, 4, 7, 7, 253, 2, 1, 1], &[1; 8], "MD5, experimental"),
            (Flags::ACK, &[2, 4, 5, 0xb4, 3, 3, 7, 4, 2, 1, 1, 1], &[1; 12], "only SYN may have them"),
            (Flags::ACK, &[0, 8, 10, 7], &[0, 0, 0, 0], "after the end"),
            (Flags::SYN, &[5, 10, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1], &[1; 12], "SACK blocks on SYN"),
        ] {
            let mut header = with_options(flags, list);
            let unwanted = options(&header[20..], 54, flags.syn()).unwrap().unwanted;
            assert_eq!(sanitize_options(&mut header), unwanted, "{why}");
            assert_eq!(&header[20..], sane, "{why}");
            assert!(!sanitize_options(&mut header), "{why}: twice");
            assert!(!options(&header[20..], 54, flags.syn()).unwrap().unwanted, "{why}");
        }
        assert!(!sanitize_options(&mut [0; 19]), "no header");
    }

    proptest! {
        /// Bytes that often are kinds and lengths that mean something.
        #[test]
        fn a_sane_list_reads_as_before(
            list in proptest::collection::vec(prop_oneof![0u8..12, any::<u8>(), Just(1), Just(10)], 0..=40),
            syn in any::<bool>(),
        ) {
            let flags = if syn { Flags::SYN } else { Flags::ACK };
            let mut header = with_options(flags, &list);
            let before = options(&header[20..], 54, syn);
            let changed = sanitize_options(&mut header);
            let after = options(&header[20..], 54, syn);
            if let Ok(before) = before {
                prop_assert_eq!(changed, before.unwanted);
                prop_assert_eq!(after, Ok(Options { unwanted: false, ..before }));
            }
        }
    }
}
