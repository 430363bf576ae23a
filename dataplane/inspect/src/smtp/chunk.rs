//! BDAT: content in chunks of a length that the client says beforehand (RFC 3030).
//!
//! The octets of a chunk are content if the server takes them, and commands if it does not. RFC 3030, 2 wants servers to swallow
//! them before they refuse, but real ones do not always: Exim 4.92 believes after a last chunk without recipients that CHUNKING was
//! never offered; any Exim that heard another command between two chunks, or an empty chunk that is not the last, takes lines for
//! commands until RSET, those of further chunks too. So a BDAT leaves only when it is known that the server is ready for it:
//!
//! - CHUNKING was offered and shown to the client;
//! - every earlier command has its reply; a recipient was accepted, and every earlier chunk of the message;
//! - the line is written exactly as the RFC has it, so that no two readers find different sizes in it;
//! - between the first chunk and the last there is nothing but BDAT, NOOP, RSET and QUIT.
//!
//! Any other is refused by the gateway, as is a server that answers before it can have a whole chunk. What is left is a server that refuses
//! a chunk for reasons that nobody can know beforehand, and does not swallow it: Exim 4.92 with `recipients_max_reject` set, after
//! more recipients than it takes.

use core::ops::Range;

use super::command::word;

/// Octets that a chunk may have. Exim keeps the size in 32 bits and takes what is left of a larger number, so server and gateway
/// would not agree where the chunk ends; other servers have signed numbers. Clients send chunks of some megabytes.
/// A longer one is refused as an invalid parameter.
pub const CHUNK_LIMIT: u64 = i32::MAX as u64;

/// Digits of a size, as many as 64 bits ever need, and as SIZE may have (RFC 1870).
const SIZE_DIGITS: usize = 20;

/// What a BDAT line announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Octets behind the LF of the line.
    pub len: u64,
    /// It is the message's last.
    pub last: bool,
}

impl Chunk {
    /// Reads a BDAT line, given without its CRLF: `BDAT SP size [SP "LAST"]` (RFC 3030, 2), where size is decimal, leading zeros
    /// included, and nothing else. No blank is allowed that the grammar does not have: servers differ about those.
    ///
    /// # Errors
    /// Where in the line the argument stands that is none.
    pub fn parse(line: &[u8]) -> Result<Self, Range<usize>> {
        let verb = word(line);
        if verb.start > 0 {
            return Err(0..line.len());
        }
        let start = line.len().min(verb.end + 1);
        let wrong = || start..line.len();
        let argument = line[verb.end..].strip_prefix(b" ").ok_or_else(wrong)?;
        let (size, last) = match argument.iter().position(|byte| *byte == b' ') {
            Some(at) if argument[at + 1..].eq_ignore_ascii_case(b"LAST") => (&argument[..at], true),
            Some(_) => return Err(wrong()),
            None => (argument, false),
        };
        if !(1..=SIZE_DIGITS).contains(&size.len()) {
            return Err(wrong());
        }
        let len = size.iter().try_fold(0_u64, |sum, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            sum.checked_mul(10)?.checked_add(digit)
        });
        Ok(Self { len: len.ok_or_else(wrong)?, last })
    }
}

/// How far a session has come with its chunks. Packed, for the many sessions that have none.
#[derive(Debug, Clone, Copy, Default)]
#[repr(Rust, packed(4))]
pub struct Chunks {
    /// Octets missing of the chunk under way.
    left: u64,
    /// It is the message's last.
    last: bool,
    /// A chunk has begun, and neither was it the last, nor was the message given up since.
    pub open: bool,
    /// The server has accepted a recipient of the transaction under way, and every chunk so far.
    pub ready: bool,
    /// It has accepted MAIL with BODY=BINARYMIME.
    pub binary: bool,
}

impl Chunks {
    /// A chunk begins.
    pub fn begin(&mut self, chunk: Chunk) {
        self.left = chunk.len;
        self.last = chunk.last;
    }

    /// Of so many octets, how many belong to the chunk; `true` when that completes it.
    pub fn take(&mut self, available: u64) -> (u64, bool) {
        let taken = available.min(self.left);
        self.left -= taken;
        (taken, self.left == 0)
    }

    /// Whether the chunk is its message's last.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// The transaction is over, or was given up, on the server's side.
    pub fn forget(&mut self) {
        self.ready = false;
        self.binary = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(line: &str) -> Option<(u64, bool)> {
        Chunk::parse(line.as_bytes()).ok().map(|chunk| (chunk.len, chunk.last))
    }

    #[test]
    fn sizes_are_decimal_and_never_cut() {
        for (line, expected) in [
            ("BDAT 0", Some((0, false))),
            ("BDAT 0 LAST", Some((0, true))),
            ("bdat 86 last", Some((86, true))),
            ("BDAT 0010", Some((10, false))),
            ("BDAT 00000000000000000005 LAST", Some((5, true))),
            ("BDAT 4294967296", Some((1 << 32, false))),
            ("BDAT 9223372036854775808 LAST", Some((1 << 63, true))),
            ("BDAT 18446744073709551615", Some((u64::MAX, false))),
            ("BDAT 18446744073709551616", None),
            ("BDAT 99999999999999999999", None),
            ("BDAT 000000000000000000005", None),
            ("BDAT 184467440737095516160", None),
            ("BDAT", None),
            ("BDAT ", None),
            ("BDAT  5", None),
            ("BDAT 5 ", None),
            ("BDAT\t5", None),
            (" BDAT 5", None),
            ("BDAT 5  LAST", None),
            ("BDAT 5 LAST ", None),
            ("BDAT 5\tLAST", None),
            ("BDAT LAST", None),
            ("BDAT LAST 5", None),
            ("BDAT 5 LAST x", None),
            ("BDAT 5LAST", None),
            ("BDAT 5 LASTX", None),
            ("BDAT 5 5", None),
            ("BDAT -1", None),
            ("BDAT +1", None),
            ("BDAT 0x10", None),
            ("BDAT 1e3", None),
            ("BDAT 1.0", None),
            ("BDAT 1,000", None),
            ("BDAT:5", None),
            ("BDAT\u{a0}5", None),
            ("BDAT \u{662}", None),
        ] {
            assert_eq!(size(line), expected, "{line:?}");
        }
        assert_eq!(Chunk::parse(b"BDAT -1"), Err(5..7), "what is shown of it");
        assert_eq!(Chunk::parse(b"BDAT"), Err(4..4));
        assert_eq!(Chunk::parse(b"\tBDAT 1"), Err(0..7));
    }

    #[test]
    fn chunks_beyond_four_gibibytes_are_counted_to_their_end() {
        for len in [u64::from(u32::MAX), 1 << 32, (1 << 32) + 1, (1 << 63) + 7, u64::MAX] {
            let mut chunks = Chunks::default();
            chunks.begin(Chunk { len, last: true });
            assert_eq!(chunks.take(len - 3), (len - 3, false));
            assert_eq!(chunks.take(1), (1, false));
            assert_eq!(chunks.take(100), (2, true), "{len}: no more than belongs to it");
            assert_eq!(chunks.take(100), (0, true));
        }
    }
}
