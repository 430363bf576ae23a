//! Where content ends: CRLF.CRLF, octet for octet, and whatever some server would also take for it.
//!
//! Postfix before 3.9, Exim before 4.97.1, Sendmail before 8.18, OpenSMTPD, Haraka and Cisco Secure Email each accepted some other
//! sequence as the end of data (CVE-2023-51764, -51765, -51766: "SMTP smuggling"). A line that starts with a dot is therefore
//! refused when what stands before and behind the dot would make it an end for any of them: after LF, CR, or NUL at the start of a
//! line, a dot (or dot and NUL), then LF or CR, in any form but the exact one. Octets are never repaired: that would
//! break signatures (DKIM).

/// Octets that are looked at without a branch for each.
const STRIDE: usize = 64;

/// What stands before the next octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Before {
    /// The start of content, or CRLF.
    #[default]
    LineEnd,
    /// CR.
    Cr,
    /// LF without CR.
    Lf,
    /// NUL right behind one of these.
    Nul,
    /// Anything else.
    Inside,
    /// A dot behind CRLF: the end, or stuffing.
    Dot,
    /// A dot behind CR, LF or NUL.
    OddDot,
    /// CRLF, dot, CR.
    DotCr,
}

/// What the next octets of content are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// This many octets of text.
    Text(usize),
    /// This many octets that are not text: a stuffed dot, or what may be the end of data.
    Dot(usize),
    /// This many octets complete the end of data.
    End(usize),
    /// This many octets complete what some server takes for the end of data.
    Smuggling(usize),
}

/// Finds the end of data.
#[derive(Debug, Default)]
pub struct Scanner {
    before: Before,
}

impl Scanner {
    /// What `bytes`, which is not empty, starts with. The scanner moves on by the length in the answer, which is
    /// never 0.
    pub fn next(&mut self, bytes: &[u8]) -> Piece {
        let first = bytes[0];
        match (self.before, first) {
            (Before::DotCr, b'\n') => return self.moved(Before::LineEnd, Piece::End(1)),
            (Before::Dot, b'\r') => return self.moved(Before::DotCr, Piece::Dot(1)),
            (Before::DotCr, _) | (Before::Dot | Before::OddDot, b'\r' | b'\n' | 0) => {
                let before = match (self.before, first) {
                    (_, b'\n') => Before::Lf,
                    (_, b'\r') => Before::Cr,
                    (Before::DotCr, 0) => Before::Nul,
                    _ => Before::Inside,
                };
                return self.moved(before, Piece::Smuggling(1));
            }
            (Before::Dot | Before::OddDot, _) => self.before = Before::Inside,
            _ => {}
        }
        if first == b'.' && self.before != Before::Inside {
            return match self.before {
                Before::LineEnd => self.moved(Before::Dot, Piece::Dot(1)),
                _ => self.moved(Before::OddDot, Piece::Text(1)),
            };
        }
        let Some(dot) = self.line_dot(bytes) else {
            return self.moved(self.before(bytes, bytes.len()), Piece::Text(bytes.len()));
        };
        match self.before(bytes, dot) {
            Before::LineEnd => self.moved(Before::LineEnd, Piece::Text(dot)),
            _ => self.moved(Before::OddDot, Piece::Text(dot + 1)),
        }
    }

    /// The first dot behind `bytes[0]` that may start a line: it follows LF, CR, or NUL at the start of a line.
    fn line_dot(&self, bytes: &[u8]) -> Option<usize> {
        // Attachments have no dots at all. Once there is one, others are passed over as fast as other text.
        let mut at = memchr::memchr(b'.', bytes)?.max(1);
        let starts_line = |at: usize| match bytes[at - 1] {
            b'\r' | b'\n' => true,
            0 => self.before(bytes, at) == Before::Nul,
            _ => false,
        };
        let dot = |from: usize, to: usize| (from..to).find(|at| bytes[*at] == b'.' && starts_line(*at));
        while let Some(octets) = bytes[at..].first_chunk::<STRIDE>() {
            let before = &bytes[at - 1..at - 1 + STRIDE];
            let may = before
                .iter()
                .zip(octets)
                .fold(false, |may, (before, octet)| may | ((*before <= b'\r') & (*octet == b'.')));
            if may && let Some(dot) = dot(at, at + STRIDE) {
                return Some(dot);
            }
            at += STRIDE;
        }
        dot(at, bytes.len())
    }

    fn moved(&mut self, before: Before, piece: Piece) -> Piece {
        self.before = before;
        piece
    }

    /// What stands before `bytes[at]`.
    fn before(&self, bytes: &[u8], at: usize) -> Before {
        let Some(last) = at.checked_sub(1) else { return self.before };
        match bytes[last] {
            b'\r' => Before::Cr,
            b'\n' => match last.checked_sub(1).map(|before| bytes[before] == b'\r') {
                Some(true) => Before::LineEnd,
                None if self.before == Before::Cr => Before::LineEnd,
                _ => Before::Lf,
            },
            0 => {
                let run = bytes[..at].iter().rev().take_while(|byte| **byte == 0).count();
                let starts_line = match at.checked_sub(run + 1) {
                    Some(before) => matches!(bytes[before], b'\r' | b'\n'),
                    None => matches!(self.before, Before::LineEnd | Before::Cr | Before::Lf | Before::Nul),
                };
                if starts_line { Before::Nul } else { Before::Inside }
            }
            _ => Before::Inside,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Octets that come one by one are never passed over many at once.
        #[test]
        fn what_is_found_does_not_depend_on_the_cut(
            content in proptest::collection::vec(
                proptest::sample::select(vec![
                    b".", b".", b".", &b"\r\n"[..], b"\r", b"\n", b"\0", b"\t", b"a", b"\r\n.\r\n", &[b'a'; STRIDE],
                    &[b'.'; STRIDE],
                ]),
                0..40,
            ),
            cuts in proptest::collection::vec(1..3 * STRIDE, 0..20),
        ) {
            let content = content.concat();
            let (mut pieces, mut rest) = (Vec::new(), &content[..]);
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            let octets: Vec<&[u8]> = content.chunks(1).collect();
            prop_assert_eq!(read(&pieces), read(&octets), "{}", content.escape_ascii());
        }
    }

    /// Reads `content` in `pieces`; text without stuffing, and how it ended.
    fn read(pieces: &[&[u8]]) -> (Vec<u8>, Option<Piece>, usize) {
        let mut scanner = Scanner::default();
        let mut text = Vec::new();
        let mut taken = 0;
        for piece in pieces {
            let mut at = 0;
            while at < piece.len() {
                let event = scanner.next(&piece[at..]);
                match event {
                    Piece::Text(len) => {
                        text.extend_from_slice(&piece[at..at + len]);
                        at += len;
                        taken += len;
                    }
                    Piece::Dot(len) => {
                        at += len;
                        taken += len;
                    }
                    Piece::End(len) | Piece::Smuggling(len) => return (text, Some(event), taken + len),
                }
            }
        }
        (text, None, taken)
    }

    fn every_cut(content: &[u8], check: impl Fn((Vec<u8>, Option<Piece>, usize))) {
        check(read(&[content]));
        for one in 0..=content.len() {
            for two in one..=content.len() {
                check(read(&[&content[..one], &content[one..two], &content[two..]]));
            }
        }
        let octets: Vec<&[u8]> = content.chunks(1).collect();
        check(read(&octets));
    }

    #[test]
    fn the_exact_end_is_found_over_every_cut() {
        for (content, text) in [
            (&b"a\r\n.\r\nQUIT"[..], &b"a\r\n"[..]),
            (b".\r\nx", b""),
            (b"..\r\n.\r\n", b".\r\n"),
            (b"..\r\n.x\r\n.\r\n", b".\r\nx\r\n"),
            (b"a.\r\nb .\r\n.\r\n", b"a.\r\nb .\r\n"),
            (b"a\r\r\n.\r\n", b"a\r\r\n"),
            (b"a\nb\rc\0d\r\n\0x.\r\n.\r\n", b"a\nb\rc\0d\r\n\0x.\r\n"),
            (b"a\n.b\r.c\r\n.\r\n", b"a\n.b\r.c\r\n"),
        ] {
            let end = content.windows(3).position(|window| window == b".\r\n");
            assert!(end.is_some());
            every_cut(content, |(found, event, taken)| {
                assert_eq!(event, Some(Piece::End(1)), "{}", content.escape_ascii());
                assert_eq!(found, text, "{}", content.escape_ascii());
                assert!(content[..taken].ends_with(b".\r\n"));
            });
        }
    }

    #[test]
    fn what_some_server_takes_for_the_end_is_refused() {
        for odd in [
            &b"\n.\n"[..],
            b"\n.\r",
            b"\r.\n",
            b"\r.\r",
            b"\n.\r\n",
            b"\r.\r\n",
            b"\r\n.\n",
            b"\r\n.\rx",
            b"\r\n\0.\r\n",
            b"\n\0\0.\r\n",
            b"\r\n.\0\r\n",
            b"\r\n.\0anything",
            b"\r\n.\r\r\n",
            b"\r\r\n.\r\r\n",
            b"\n.\0\n",
        ] {
            let mut content = b"a".to_vec();
            content.extend_from_slice(odd);
            content.extend_from_slice(b"MAIL FROM:<x>\r\n.\r\n");
            every_cut(&content, |(_, event, _)| {
                assert_eq!(event, Some(Piece::Smuggling(1)), "{}", odd.escape_ascii());
            });
        }
    }

    #[test]
    fn the_true_end_is_found_behind_what_was_refused() {
        for content in
            [&b"a\n.\r\nb\r\n.\r\n"[..], b"a\n.\r\n.\r\n", b"a\r\n.\0\r\n.\r\n", b"a\r\n.\r\r\n.\r\n"]
        {
            let mut scanner = Scanner::default();
            let mut at = 0;
            let mut refused = 0;
            loop {
                match scanner.next(&content[at..]) {
                    Piece::Text(len) | Piece::Dot(len) => at += len,
                    Piece::Smuggling(len) => {
                        at += len;
                        refused += 1;
                    }
                    Piece::End(len) => break at += len,
                }
            }
            assert_eq!((at, refused), (content.len(), 1), "{}", content.escape_ascii());
        }
    }
}
