//! Text in base64 or quoted-printable, decoded as it comes (RFC 2045, 6.7 and 6.8).
//!
//! What is wrong in it is taken as receivers of mail take it, who show as much as they can. How the text is cut does not
//! matter: an octet is given out with the encoded octet that completes it.

use artifact::settings::Decode;
use base64_simd::{Out, STANDARD_NO_PAD};

/// Decoded octets that are given out at once: about what one frame holds, so that it is mostly scanned in one call.
const BUFFER_LEN: usize = 1536;

/// Encoded octets from which on they are decoded many at once.
const RUN_LEN: usize = 64;

/// Blanks in quoted-printable that are kept until it is known whether the line ends behind them. RFC 2045, 6.7: a line has at
/// most 76 octets. Of more blanks the first ones are text.
const BLANKS_LIMIT: usize = 76;

/// A text being decoded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decoder {
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// For an encoding, if text in it is to be decoded.
    pub fn named(encoding: &[u8], decode: Decode) -> Option<Self> {
        if matches!(decode, Decode::Base64 | Decode::Both) && encoding.eq_ignore_ascii_case(b"base64") {
            Some(Self::Base64(Base64::default()))
        } else if matches!(decode, Decode::QuotedPrintable | Decode::Both)
            && encoding.eq_ignore_ascii_case(b"quoted-printable")
        {
            Some(Self::QuotedPrintable(QuotedPrintable::default()))
        } else {
            None
        }
    }

    /// Gives out what the next octets stand for, in pieces.
    pub fn push(&mut self, encoded: &[u8], give: impl FnMut(&[u8])) {
        let mut out = Buffer::new(give);
        match self {
            Self::Base64(base64) => base64.push_all(encoded, &mut out),
            Self::QuotedPrintable(quoted) => encoded.iter().for_each(|byte| quoted.push(*byte, &mut out)),
        }
        out.flush();
    }

    /// Gives out what is left at the end of the text.
    pub fn finish(self, give: impl FnMut(&[u8])) {
        let mut out = Buffer::new(give);
        match self {
            Self::Base64(mut base64) => base64.end_group(&mut out),
            Self::QuotedPrintable(mut quoted) => quoted.end(&mut out),
        }
        out.flush();
    }
}

/// Decoded octets on their way out.
struct Buffer<G> {
    bytes: [u8; BUFFER_LEN],
    len: usize,
    give: G,
}

impl<G: FnMut(&[u8])> Buffer<G> {
    fn new(give: G) -> Self {
        Self { bytes: [0; BUFFER_LEN], len: 0, give }
    }

    fn push(&mut self, byte: u8) {
        if self.len == BUFFER_LEN {
            self.flush();
        }
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn push_group(&mut self, octets: [u8; 3]) {
        self.room(octets.len())[..octets.len()].copy_from_slice(&octets);
        self.len += octets.len();
    }

    /// At least so many octets to write to.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.len + len > BUFFER_LEN {
            self.flush();
        }
        &mut self.bytes[self.len..]
    }

    fn flush(&mut self) {
        if self.len > 0 {
            (self.give)(&self.bytes[..self.len]);
            self.len = 0;
        }
    }
}

/// No letter of the alphabet.
const NONE: u8 = 0xff;

/// Letter → its six bits.
const SEXTETS: [u8; 256] = {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut sextets = [NONE; 256];
    let mut value = 0;
    while value < 64 {
        sextets[letters[value as usize] as usize] = value;
        value += 1;
    }
    sextets
};

/// Base64. Anything that is no letter is ignored; padding ends a group of four letters, and what follows is the next group;
/// the text may end without padding.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Base64 {
    /// Letters of the group under way; at most 3.
    len: u8,
    /// Their bits.
    bits: u32,
}

impl Base64 {
    fn push_all(&mut self, encoded: &[u8], out: &mut Buffer<impl FnMut(&[u8])>) {
        let mut encoded = encoded;
        while let Some((first, rest)) = encoded.split_first() {
            let is_letter = SEXTETS[usize::from(*first)] != NONE;
            if self.len > 0 || !is_letter || encoded.len() < RUN_LEN {
                self.push(*first, out);
                encoded = rest;
                continue;
            }
            // Nearly all of it: lines of letters.
            let mut letters = [0; BUFFER_LEN];
            let (taken, len) = gather(encoded, &mut letters);
            let (run, rest) = encoded.split_at(taken);
            let letters = &letters[..len];
            let padding = letters.iter().rev().take_while(|letter| **letter == b'=').count();
            let (groups, behind) = letters.split_at((len - padding) / 4 * 4);
            let room = out.room(groups.len() / 4 * 3);
            match STANDARD_NO_PAD.decode(groups, Out::from_slice(room)).map(|octets| octets.len()) {
                Ok(decoded) => {
                    out.len += decoded;
                    behind.iter().for_each(|byte| self.push(*byte, out));
                }
                // Something in it is no letter.
                Err(_) => run.iter().for_each(|byte| self.push(*byte, out)),
            }
            encoded = rest;
        }
    }

    fn push(&mut self, byte: u8, out: &mut Buffer<impl FnMut(&[u8])>) {
        let sextet = SEXTETS[usize::from(byte)];
        if sextet == NONE {
            // One letter is no octet, and padding behind it is as wrong as any other octet.
            if byte == b'=' && self.len > 1 {
                self.end_group(out);
            }
            return;
        }
        self.bits = self.bits << 6 | u32::from(sextet);
        self.len += 1;
        if self.len == 4 {
            let [_, octets @ ..] = self.bits.to_be_bytes();
            out.push_group(octets);
            *self = Self::default();
        }
    }

    /// Gives out the octets that the letters of an incomplete group stand for.
    fn end_group(&mut self, out: &mut Buffer<impl FnMut(&[u8])>) {
        let Self { len, bits } = core::mem::take(self);
        let [_, first, second, _] = (bits << (6 * (4 - u32::from(len.min(4))))).to_be_bytes();
        if len > 1 {
            out.push(first);
        }
        if len > 2 {
            out.push(second);
        }
    }
}

/// Copies what comes to `letters` until that is full, without the ends of lines; octets taken, and copied.
fn gather(encoded: &[u8], letters: &mut [u8; BUFFER_LEN]) -> (usize, usize) {
    let (mut rest, mut len, mut line_len) = (encoded, 0, 0);
    while !rest.is_empty() && len < BUFFER_LEN {
        // A line is mostly as long as the one before.
        if rest.get(line_len) != Some(&b'\r') {
            line_len = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
        }
        let (line, end) = rest.split_at(line_len.min(BUFFER_LEN - len));
        letters[len..len + line.len()].copy_from_slice(line);
        len += line.len();
        rest = end.strip_prefix(b"\r\n").or(end.strip_prefix(b"\r")).unwrap_or(end);
    }
    (encoded.len() - rest.len(), len)
}

/// Quoted-printable. Blanks at the end of a line are left out, as are soft line breaks, whatever ends their line; digits may
/// be small letters; an equals sign that is neither stands for itself, as does any octet that should have been encoded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QuotedPrintable {
    after: After,
    /// Blanks that may be the end of a line.
    blanks: Blanks,
}

/// What came before, blanks aside.
#[derive(Debug, Clone, Copy, Default)]
enum After {
    #[default]
    Text,
    /// An equals sign.
    Equals,
    /// An equals sign and this digit.
    Digit(u8),
    /// A soft line break that ended in CR; LF may belong to it.
    SoftBreak,
}

#[derive(Debug, Clone, Copy)]
struct Blanks {
    len: usize,
    bytes: [u8; BLANKS_LIMIT],
}

impl Default for Blanks {
    fn default() -> Self {
        Self { len: 0, bytes: [0; BLANKS_LIMIT] }
    }
}

impl Blanks {
    fn give(&mut self, out: &mut Buffer<impl FnMut(&[u8])>) {
        self.bytes[..self.len].iter().for_each(|blank| out.push(*blank));
        self.len = 0;
    }
}

impl QuotedPrintable {
    fn push(&mut self, byte: u8, out: &mut Buffer<impl FnMut(&[u8])>) {
        match (core::mem::take(&mut self.after), byte) {
            (After::SoftBreak, b'\n') => return,
            (After::Equals, b'\n') => return self.blanks.len = 0,
            (After::Equals, b'\r') => {
                self.blanks.len = 0;
                self.after = After::SoftBreak;
                return;
            }
            (After::Equals, b' ' | b'\t') if self.blanks.len < BLANKS_LIMIT => {
                self.after = After::Equals;
                return self.hold(byte);
            }
            (After::Equals, digit) if self.blanks.len == 0 && digit.is_ascii_hexdigit() => {
                return self.after = After::Digit(digit);
            }
            (After::Digit(high), low) if low.is_ascii_hexdigit() => {
                return out.push(value(high) << 4 | value(low));
            }
            (After::Equals, _) => out.push(b'='),
            (After::Digit(digit), _) => {
                out.push(b'=');
                out.push(digit);
            }
            (After::Text | After::SoftBreak, _) => {}
        }
        match byte {
            b' ' | b'\t' => {
                if self.blanks.len == BLANKS_LIMIT {
                    self.blanks.give(out);
                }
                self.hold(byte);
            }
            b'\r' | b'\n' => {
                self.blanks.len = 0;
                out.push(byte);
            }
            _ => {
                self.blanks.give(out);
                if byte == b'=' {
                    self.after = After::Equals;
                } else {
                    out.push(byte);
                }
            }
        }
    }

    fn hold(&mut self, blank: u8) {
        if let Some(slot) = self.blanks.bytes.get_mut(self.blanks.len) {
            *slot = blank;
            self.blanks.len += 1;
        }
    }

    /// The end of the text is the end of a line.
    fn end(&mut self, out: &mut Buffer<impl FnMut(&[u8])>) {
        if let After::Digit(digit) = self.after {
            out.push(b'=');
            out.push(digit);
        }
    }
}

/// Of a hexadecimal digit.
fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests;
