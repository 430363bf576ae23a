//! Verbs, and how long their lines may be.

use core::ops::Range;

use super::octets::Octets;

/// A command line, CRLF included (RFC 5321, 4.5.3.1.4).
pub const LINE_LIMIT: usize = 512;

/// The longest MAIL line that any server can ask for: [`LINE_LIMIT`] and what each registered extension adds to it: SIZE (RFC 1870) 26, BODY (RFC 6152) 17, BODY=BINARYMIME (RFC 3030) 16, RET and
/// ENVID (RFC 3461) 110, AUTH (RFC 4954) 500, SMTPUTF8 (RFC 6531) 10, REQUIRETLS (RFC 8689) 11, BY (RFC 2852) 17, HOLDFOR or
/// HOLDUNTIL (RFC 4865) 34, MT-PRIORITY (RFC 6710) 15, MTRK (RFC 3885) 40, SOLICIT (RFC 3865) 1000.
pub const MAIL_LINE_LIMIT: usize = LINE_LIMIT + 26 + 17 + 16 + 110 + 500 + 10 + 11 + 17 + 34 + 15 + 40 + 1000;

/// AUTH and the lines of its exchange (RFC 4954, section 4: 12288 octets must be accepted in an exchange; clients send long
/// initial responses too).
pub const AUTH_LINE_LIMIT: usize = 12_288;

const _: () = assert!(AUTH_LINE_LIMIT <= u16::MAX as usize);

/// A verb that the session needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// RFC 4954.
    Auth,
    /// RFC 3030.
    Bdat,
    /// RFC 5321.
    Data,
    /// RFC 5321.
    Ehlo,
    /// RFC 5321.
    Helo,
    /// MAIL, or SEND, SOML, SAML (RFC 821), which begin a transaction as it does.
    Mail,
    /// RFC 5321.
    Quit,
    /// RFC 5321.
    Rcpt,
    /// RFC 5321.
    Rset,
    /// RFC 3207.
    StartTls,
    /// Any other, known or not: one line, one reply.
    Other,
}

impl Verb {
    /// Every one, in the order of their numbers.
    pub const ALL: [Verb; 11] = [
        Verb::Auth,
        Verb::Bdat,
        Verb::Data,
        Verb::Ehlo,
        Verb::Helo,
        Verb::Mail,
        Verb::Quit,
        Verb::Rcpt,
        Verb::Rset,
        Verb::StartTls,
        Verb::Other,
    ];

    /// The verb that `word` is, in whatever case.
    #[must_use]
    pub fn new(word: &[u8]) -> Self {
        // All but three have four letters, which compare as one number.
        let Ok(four) = <[u8; 4]>::try_from(word) else {
            // Exchange: the same under names of its own.
            const LONG: [(&[u8], Verb); 3] =
                [(b"STARTTLS", Verb::StartTls), (b"X-ANONYMOUSTLS", Verb::StartTls), (b"X-EXPS", Verb::Auth)];
            let known = LONG.iter().find(|(text, _)| text.eq_ignore_ascii_case(word));
            return known.map_or(Verb::Other, |(_, verb)| *verb);
        };
        Self::of_four(four)
    }

    fn of_four(four: [u8; 4]) -> Self {
        const FOUR: [([u8; 4], Verb); 12] = [
            (*b"rcpt", Verb::Rcpt),
            (*b"mail", Verb::Mail),
            (*b"data", Verb::Data),
            (*b"quit", Verb::Quit),
            (*b"ehlo", Verb::Ehlo),
            (*b"rset", Verb::Rset),
            (*b"auth", Verb::Auth),
            (*b"bdat", Verb::Bdat),
            (*b"helo", Verb::Helo),
            (*b"saml", Verb::Mail),
            (*b"send", Verb::Mail),
            (*b"soml", Verb::Mail),
        ];
        // This bit makes a letter lower case, and makes none of any other octet.
        let lower = u32::from_ne_bytes(four) | 0x2020_2020;
        let known = FOUR.iter().find(|(word, _)| u32::from_ne_bytes(*word) == lower);
        known.map_or(Verb::Other, |(_, verb)| *verb)
    }

    /// Octets that a line with this verb may have, CRLF included, whatever the server offers; for MAIL and RCPT see
    /// [`super::ext::Advertised::line_limit`].
    #[must_use]
    pub const fn line_limit(self) -> usize {
        match self {
            Verb::Auth => AUTH_LINE_LIMIT,
            _ => LINE_LIMIT,
        }
    }
}

/// What one look at a command line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What its first word is.
    pub verb: Verb,
    /// Where that stands.
    start: u16,
    end: u16,
    /// What octets it has.
    pub octets: Octets,
}

impl Head {
    /// Looks at a line of at most 65,535 octets, given without its CRLF.
    #[must_use]
    #[inline]
    pub fn of(line: &[u8]) -> Self {
        let octets = Octets::of(line);
        // Nearly every line begins with four letters that are known.
        if let Some((four, rest)) = line.split_first_chunk()
            && !rest.first().copied().is_some_and(is_word)
        {
            let verb = Verb::of_four(*four);
            if verb != Verb::Other {
                return Self { verb, start: 0, end: four.len() as u16, octets };
            }
        }
        let Range { start, end } = word(line);
        Self { verb: Verb::new(&line[start..end]), start: start as u16, end: end as u16, octets }
    }

    /// Where its first word stands.
    #[must_use]
    pub fn word(self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.end)
    }
}

/// Where the first word of a line stands: after optional blanks, the run of letters, digits and hyphens.
/// It ends at any other octet. Empty where there is none.
#[must_use]
pub fn word(line: &[u8]) -> Range<usize> {
    let start = line.iter().position(|byte| !is_blank(*byte)).unwrap_or(line.len());
    let len = line[start..].iter().position(|byte| !is_word(*byte)).unwrap_or(line.len() - start);
    start..start + len
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Blank or tab, which servers skip alike.
#[must_use]
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Without blanks at either end.
#[must_use]
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

/// The words of a line, separated by blanks.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| is_blank(*byte)).filter(|word| !word.is_empty())
}

/// Whether an AUTH line may be followed by other commands before its reply (RFC 4954, section 4): it has an initial response
/// and its mechanism is one message long.
#[must_use]
pub fn auth_is_one_step(line: &[u8]) -> bool {
    let mut words = words(line).skip(1);
    let mechanism = words.next().unwrap_or_default();
    words.next().is_some()
        && (mechanism.eq_ignore_ascii_case(b"PLAIN") || mechanism.eq_ignore_ascii_case(b"EXTERNAL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_ends_at_any_other_octet() {
        for (line, expected) in [
            (&b"MAIL FROM:<a@b>"[..], &b"MAIL"[..]),
            (b" \t rcpt\tTO", b"rcpt"),
            (b"X-LINK2STATE x", b"X-LINK2STATE"),
            (b"HELO:x", b"HELO"),
            (b"DATA\r", b"DATA"),
            (b"!DATA", b""),
            (b"   ", b""),
            (b"", b""),
        ] {
            assert_eq!(&line[word(line)], expected);
        }
    }

    #[test]
    fn a_head_is_the_first_word() {
        for line in [
            "RCPT TO:<a@b>",
            "rcpt",
            " RCPT TO",
            "RCPTX",
            "RCP",
            "",
            "data x",
            "starttls",
            "DATA-",
            "X-EXPS",
            "NOOP",
            "!",
        ] {
            let line = line.as_bytes();
            let head = Head::of(line);
            assert_eq!((head.word(), head.verb), (word(line), Verb::new(&line[word(line)])), "{line:?}");
            assert_eq!(head.octets, Octets::of(line));
        }
    }

    #[test]
    fn verbs_are_known_in_any_case() {
        assert_eq!(Verb::ALL.map(|verb| verb as usize), core::array::from_fn(|index| index));

        assert_eq!(Verb::new(b"StartTls"), Verb::StartTls);
        assert_eq!(Verb::new(b"saml"), Verb::Mail);
        assert_eq!(Verb::new(b"STARTTLSX"), Verb::Other);
        assert_eq!(Verb::new(b""), Verb::Other);
    }

    #[test]
    fn only_one_step_mechanisms_with_a_response_may_be_pipelined() {
        assert!(auth_is_one_step(b"AUTH PLAIN AGEAYg=="));
        assert!(auth_is_one_step(b"auth  external ="));
        assert!(!auth_is_one_step(b"AUTH PLAIN "));
        assert!(!auth_is_one_step(b"AUTH LOGIN dXNlcg=="));
    }

    #[test]
    fn the_longest_line_is_what_its_extensions_add_up_to() {
        assert_eq!(MAIL_LINE_LIMIT, 2308);
    }
}
