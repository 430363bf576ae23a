//! Signatures: what known attacks say in commands and header fields.
//!
//! Titles and defaults are in [`artifact::settings::SIGNATURES`]; here is what each looks for. `|`, `$` and backticks are legal in addresses
//! (RFC 5321, 4.1.2), so none of these looks for such an octet alone.

use super::command::{Verb, is_blank, trim, words};
use super::line::LINE_HELD;
use super::octets::Octets;
use crate::names::Names;

/// Something to look at.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// A command line without its CRLF.
    Command {
        /// The verb, as far as it is known.
        verb: Verb,
        /// The verb as it is.
        word: &'a [u8],
        /// The line.
        line: &'a [u8],
        /// Octets of the line, CRLF included.
        len: usize,
        /// Path of MAIL or RCPT.
        path: &'a [u8],
        /// What octets the line has.
        octets: Octets,
        /// RCPT commands of the transaction, this one included.
        recipient_count: u32,
        /// Recipients of a message above which 3106 sees spam (`ip audit smtp spam`).
        spam_recipients: u32,
    },
    /// A field of the message's own header.
    Field(Field<'a>),
    /// A field of the header of a part.
    PartField(Field<'a>),
}

/// A header field, unfolded.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// All of it.
    text: &'a [u8],
    /// Its name, and its value without blanks before it; both are empty where there is no colon.
    name: &'a [u8],
    value: &'a [u8],
    /// It has no `$`.
    plain: bool,
}

impl<'a> Field<'a> {
    /// The field that `text` is, which begins with `name`, if that is not empty. It is known to have no `$` where it is `plain`.
    #[must_use]
    #[inline]
    pub fn cut(text: &'a [u8], name: &'a [u8], plain: bool) -> Self {
        match text.get(name.len()..).map(trim_start) {
            Some([b':', value @ ..]) if !name.is_empty() => {
                Self { text, name, value: trim_start(value), plain }
            }
            _ => Self::new(text),
        }
    }

    /// The field that `text` is.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        let (name, value) = match memchr::memchr(b':', text) {
            Some(at) => (trim(&text[..at]), trim_start(&text[at + 1..])),
            None => (&[][..], &[][..]),
        };
        Self { text, name, value, plain: false }
    }

    /// The rows that it may be of, of those that are on.
    #[must_use]
    #[inline]
    pub fn possible(&self, on: u32) -> u32 {
        let addresses = if has_addresses(self.name) { 0 } else { OF_ADDRESSES };
        let begins = self.value.first().is_some_and(|first| is_beginning(*first));
        let beginnings = if begins { 0 } else { OF_BEGINNINGS };
        // `Content-` or `MIME-`; what is before the colon may not be all of the name.
        let described = matches!(self.text.first(), Some(b'C' | b'c' | b'M' | b'm' | b' ' | b'\t'));
        let descriptions = if described { 0 } else { OF_DESCRIPTIONS };
        let lookups = if self.plain { OF_LOOKUPS } else { 0 };
        on & OF_FIELDS & !addresses & !beginnings & !descriptions & !lookups
    }

    /// Its value, if it has this name.
    fn named(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.name.eq_ignore_ascii_case(name).then_some(self.value)
    }
}

/// Octets of a MIME field above which 3108 sees an overflow.
pub const MIME_FIELD_LIMIT: usize = 512;

/// Octets of a command line above which 3109 sees an attempt to crash.
pub const COMMAND_LIMIT: usize = 1000;

/// Ends of names that 3110 suspects.
const EXECUTABLES: [&[u8]; 12] = [
    b".bat", b".cmd", b".com", b".cpl", b".exe", b".hta", b".js", b".lnk", b".pif", b".scr", b".vbs", b".wsf",
];

/// What a signature looks for, and where it need not look.
struct Row {
    id: u16,
    /// Commands that it may be found in: bit n for verb n.
    verbs: u16,
    /// It may be found in fields of a header.
    fields: bool,
    /// In commands it is found only with an odd octet ([`Octets::has_odd`]), or many brackets.
    odd: bool,
    /// Whether its attack is what was seen.
    look: fn(&Seen<'_>) -> bool,
}

impl Row {
    /// A signature of commands.
    const fn command(id: u16, verbs: &[Verb], look: fn(&Seen<'_>) -> bool) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < verbs.len() {
            bits |= 1 << verbs[index] as u16;
            index += 1;
        }
        Self { id, verbs: bits, fields: false, odd: false, look }
    }

    /// A signature of fields alone.
    const fn field(id: u16, look: fn(&Seen<'_>) -> bool) -> Self {
        Self { fields: true, ..Self::command(id, &[], look) }
    }

    const fn and_fields(self) -> Self {
        Self { fields: true, ..self }
    }

    const fn odd(self) -> Self {
        Self { odd: true, ..self }
    }
}

const EVERY: &[Verb] = &Verb::ALL;
const ADDRESSED: &[Verb] = &[Verb::Mail, Verb::Rcpt];

/// What each signature looks for, in the order of [`artifact::settings::SIGNATURES`].
const ROWS: [Row; 20] = [
    Row::command(3100, ADDRESSED, |seen| addressed(seen, runs_program)).odd(),
    Row::command(3101, &[Verb::Rcpt], |seen| addressed(seen, begins_with_pipe)).odd(),
    Row::command(3102, &[Verb::Mail], |seen| addressed(seen, begins_with_pipe)).odd(),
    Row::command(3103, &[Verb::Other], |seen| is_verb(seen, &["VRFY", "EXPN"])),
    Row::command(3104, &[Verb::Other], |seen| is_verb(seen, &["WIZ", "DEBUG"])),
    Row::command(3105, &[Verb::Rcpt], decode_alias).and_fields(),
    Row::command(
        3106,
        &[Verb::Rcpt],
        |seen| matches!(seen, Seen::Command { recipient_count, spam_recipients, .. } if recipient_count > spam_recipients),
    ),
    Row::field(
        3107,
        |seen| matches!(seen, Seen::Field(field) if field.named(b"Reply-To").is_some_and(is_shell_text)),
    ),
    Row::field(3108, |seen| match seen {
        Seen::Field(Field { text, .. }) | Seen::PartField(Field { text, .. }) => {
            text.len() > MIME_FIELD_LIMIT && (starts(text, b"Content-") || starts(text, b"MIME-"))
        }
        Seen::Command { .. } => false,
    }),
    Row::command(
        3109,
        EVERY,
        |seen| matches!(seen, Seen::Command { verb, len, .. } if *verb != Verb::Auth && *len > COMMAND_LIMIT),
    ),
    Row::field(3110, |seen| match seen {
        Seen::Field(field) | Seen::PartField(field) => {
            let value = field.named(b"Content-Type").or_else(|| field.named(b"Content-Disposition"));
            value.is_some_and(names_executable)
        }
        Seen::Command { .. } => false,
    }),
    Row::command(7001, &[Verb::Mail], |seen| addressed(seen, is_bare_command)),
    Row::command(7002, ADDRESSED, |seen| addressed(seen, expands)).odd(),
    Row::command(7003, &[Verb::Rcpt], |seen| {
        addressed(seen, |path| has(path, b"$(") || memchr::memchr_iter(b'`', path).nth(1).is_some())
    })
    .odd(),
    Row::command(7004, EVERY, |seen| match seen {
        Seen::Command { verb: Verb::Mail | Verb::Rcpt, path, .. } => is_function(path),
        Seen::Command { word, line, .. } => {
            let at = super::word(line).start + word.len();
            is_function(line.get(at..).unwrap_or_default())
        }
        Seen::Field(field) => is_function(field.value),
        Seen::PartField(_) => false,
    })
    .and_fields()
    .odd(),
    Row::command(7005, EVERY, |seen| match seen {
        Seen::Command { verb: Verb::Auth, .. } | Seen::PartField(_) => false,
        Seen::Command { line, .. } => looks_up(line),
        Seen::Field(field) => looks_up(field.text),
    })
    .and_fields()
    .odd(),
    Row::command(7006, &[Verb::Auth], |seen| match seen {
        // Of longer lines not everything is known.
        Seen::Command { line, len, .. } if *len <= LINE_HELD => {
            words(line).nth(2).is_some_and(|response| response != b"=" && !response.len().is_multiple_of(4))
        }
        _ => false,
    }),
    Row::command(7007, &[Verb::Rcpt], |seen| addressed(seen, |path| has(path, b"../") || has(path, b"..\\")))
        .odd(),
    Row::command(7008, ADDRESSED, |seen| match seen {
        // Its path ends at the first bracket.
        Seen::Command { line, .. } => overflows(line, true),
        Seen::Field(field) => overflows(field.value, false),
        _ => false,
    })
    .and_fields()
    .odd(),
    Row::command(7009, &[Verb::Other], |seen| {
        matches!(seen, Seen::Command { line, .. } if has(line, b"CHUNK=")) && is_verb(seen, &["X-LINK2STATE"])
    }),
];

/// The rows for which it holds: bit n for row n.
const fn rows(verb: Option<Verb>, odd: bool) -> u32 {
    let (mut bits, mut index) = (0, 0);
    while index < ROWS.len() {
        let row = &ROWS[index];
        let concerned = match verb {
            Some(verb) => row.verbs & 1 << verb as u16 != 0 && (odd || !row.odd),
            None => row.fields,
        };
        if concerned {
            bits |= 1 << index;
        }
        index += 1;
    }
    bits
}

/// Rows that are to be looked at in a field.
const OF_FIELDS: u32 = rows(None, true);
/// Of these, those that only a field with addresses can be of.
const OF_ADDRESSES: u32 = with(&[3107, 7008]);
/// Those that only a field can be of whose value begins with [one of a few](is_beginning).
const OF_BEGINNINGS: u32 = with(&[3105, 7004]);
const fn is_beginning(first: u8) -> bool {
    matches!(first, b'd' | b'D' | b'u' | b'U' | b'(')
}
/// Those that only a field can be of that describes content.
const OF_DESCRIPTIONS: u32 = with(&[3108, 3110]);
/// Those that only a field can be of that has a `$`.
const OF_LOOKUPS: u32 = with(&[7005]);

/// The rows with these ids.
const fn with(ids: &[u16]) -> u32 {
    let (mut bits, mut at) = (0, 0);
    while at < ids.len() {
        let mut index = 0;
        while ROWS[index].id != ids[at] {
            index += 1;
        }
        bits |= 1 << index;
        at += 1;
    }
    bits
}

/// Rows that are to be looked at in a command, by its verb: in any, and where nothing in it is odd.
const OF_COMMANDS: [[u32; 2]; Verb::ALL.len()] = {
    let (mut all, mut index) = ([[0; 2]; Verb::ALL.len()], 0);
    while index < all.len() {
        let verb = Some(Verb::ALL[index]);
        all[index] = [rows(verb, true), rows(verb, false)];
        index += 1;
    }
    all
};

/// The first of the signatures that are on whose attack this is. Bit n of `on` is for row n of
/// [`artifact::settings::SIGNATURES`].
#[must_use]
pub fn find(seen: &Seen<'_>, on: u32) -> Option<u16> {
    let rows = match seen {
        Seen::Command { verb, octets, .. } => {
            let [any, plain] = OF_COMMANDS[*verb as usize];
            on & if octets.has_odd() || octets.openings() >= BRACKETS { any } else { plain }
        }
        Seen::Field(field) | Seen::PartField(field) => field.possible(on),
    };
    find_of(seen, rows)
}

/// The first of these rows whose attack this is.
#[must_use]
pub fn find_of(seen: &Seen<'_>, rows: u32) -> Option<u16> {
    let mut left = rows;
    while left != 0 {
        let index = left.trailing_zeros() as usize;
        left &= left - 1;
        if let Some(row) = ROWS.get(index)
            && (row.look)(seen)
        {
            return Some(row.id);
        }
    }
    None
}

/// Without blanks before it.
fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    text
}

fn addressed(seen: &Seen<'_>, look: fn(&[u8]) -> bool) -> bool {
    matches!(seen, Seen::Command { path, .. } if look(mailbox(path)))
}

fn is_verb(seen: &Seen<'_>, verbs: &[&str]) -> bool {
    matches!(seen, Seen::Command { word, .. } if verbs.iter().any(|verb| verb.as_bytes().eq_ignore_ascii_case(word)))
}

/// The path without its source route.
fn mailbox(path: &[u8]) -> &[u8] {
    let path = trim(path);
    match path.first() {
        Some(b'@') => memchr::memchr(b':', path).map_or(path, |at| trim(&path[at + 1..])),
        _ => path,
    }
}

/// A pipe where a mailer looks for a program: at the start, or first in quotes.
fn begins_with_pipe(mailbox: &[u8]) -> bool {
    // Nearly every address has none, and is looked at no further.
    if memchr::memchr(b'|', mailbox).is_none() {
        return false;
    }
    let piped = |text: &[u8]| text.iter().find(|byte| !is_blank(**byte) && **byte != b'\\') == Some(&b'|');
    piped(mailbox) || mailbox.iter().enumerate().any(|(at, byte)| *byte == b'"' && piped(&mailbox[at + 1..]))
}

/// A pipe elsewhere, to a program with its path.
fn runs_program(mailbox: &[u8]) -> bool {
    memchr::memchr_iter(b'|', mailbox).any(|at| trim(&mailbox[at + 1..]).starts_with(b"/"))
        && !begins_with_pipe(mailbox)
}

/// Names under which old systems passed mail to a program that writes files.
const ALIASES: [&[u8]; 2] = [b"decode", b"uudecode"];

/// Whether a path is one that 3105 looks for.
#[must_use]
pub fn is_decode_alias(path: &[u8]) -> bool {
    // Nearly every path begins otherwise: with another letter, and with no route or blank either.
    if !matches!(path.first(), Some(b'd' | b'D' | b'u' | b'U' | b'"' | b'@' | b' ' | b'\t')) {
        return false;
    }
    let local = mailbox(path).split(|byte| *byte == b'@').next().unwrap_or_default();
    let local = local.strip_prefix(b"\"").and_then(|local| local.strip_suffix(b"\"")).unwrap_or(local);
    ALIASES.iter().any(|alias| alias.eq_ignore_ascii_case(local))
}

fn decode_alias(seen: &Seen<'_>) -> bool {
    match seen {
        Seen::Command { path, .. } => is_decode_alias(path),
        Seen::Field(Field { value, .. }) => {
            ALIASES.iter().any(|alias| starts(value, alias) && value.get(alias.len()) == Some(&b'@'))
        }
        _ => false,
    }
}

/// An address that is only a local part, with what a shell would act on.
fn is_bare_command(mailbox: &[u8]) -> bool {
    let local = mailbox.strip_suffix(b"@").unwrap_or(mailbox);
    !local.contains(&b'@') && local.iter().any(|byte| b";|&`<>\n".contains(byte))
}

/// `${name{`: a string expansion of Exim that does something.
fn expands(mailbox: &[u8]) -> bool {
    memchr::memchr_iter(b'$', mailbox).any(|at| {
        let Some(name) = mailbox[at + 1..].strip_prefix(b"{") else { return false };
        let len = name.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        len > 0 && name.get(len) == Some(&b'{')
    })
}

/// A shell function, as an environment variable must begin to be taken for one.
fn is_function(text: &[u8]) -> bool {
    let text = trim(text);
    text.first() == Some(&b'(') && (text.starts_with(b"() {") || text.starts_with(b"(){"))
}

/// A lookup of Log4j, or one of its ways to hide the word.
fn looks_up(text: &[u8]) -> bool {
    /// What makes a letter of another word.
    const LETTERS: [&[u8]; 4] = [b"lower:", b"upper:", b"::-", b"env:"];
    /// Ends of the word behind such a letter.
    const ENDS: [&[u8]; 4] = [b"}ndi:", b"}di:", b"}i:", b"jndi"];
    if memchr::memchr(b'$', text).is_none() {
        return false;
    }
    memchr::memmem::find_iter(text, b"${").any(|at| {
        let rest = &text[at + 2..];
        starts(rest, b"jndi:")
            || (LETTERS.iter().any(|word| starts(rest, word)) && ENDS.iter().any(|end| has(text, end)))
    })
}

/// Whether a field of this name has addresses, which Sendmail takes apart (CVE-2002-1337, `crackaddr`).
#[inline]
fn has_addresses(name: &[u8]) -> bool {
    // Most others end in another letter.
    matches!(name.last(), Some(b'o' | b'O' | b'c' | b'C' | b'm' | b'M' | b'r' | b'R' | b'h' | b'H'))
        && is_of_addresses(name)
}

fn is_of_addresses(name: &[u8]) -> bool {
    const NAMES: Names<16> = Names::new([
        b"Apparently-To",
        b"Bcc",
        b"Cc",
        b"Disposition-Notification-To",
        b"Errors-To",
        b"From",
        b"Reply-To",
        b"Resent-Bcc",
        b"Resent-Cc",
        b"Resent-From",
        b"Resent-Reply-To",
        b"Resent-Sender",
        b"Resent-To",
        b"Return-Path",
        b"Sender",
        b"To",
    ]);
    NAMES.contains(name)
}

/// Pairs of empty brackets, of which one is legal, above which 7008 sees an overflow.
const BRACKETS: u16 = 8;

/// Empty brackets in a row, of which one is legal; comments within comments; comments of a length that no address has in an
/// envelope; and the octet 255 behind or before a backslash, which `prescan` takes for its own mark (CVE-2003-0161).
fn overflows(text: &[u8], envelope: bool) -> bool {
    const DEPTH: u32 = 8;
    const COMMENTS: usize = 128;
    let brackets = || memchr::memchr_iter(b'<', text).filter(|at| text.get(at + 1) == Some(&b'>'));
    if brackets().nth(usize::from(BRACKETS) - 1).is_some() {
        return true;
    }
    // Nearly every text has neither.
    if memchr::memchr2(b'(', 0xff, text).is_none() {
        return false;
    }
    let marked = |pair: &[u8]| pair == b"\\\xff" || pair == b"\xff\\";
    if text.windows(2).any(marked) {
        return true;
    }
    let (mut depth, mut deepest, mut inside) = (0_u32, 0, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        inside += usize::from(depth > 0);
    }
    deepest > DEPTH || (envelope && inside > COMMENTS)
}

fn is_shell_text(value: &[u8]) -> bool {
    value.contains(&b'`') || has(value, b"$(") || has(value, b"${IFS")
}

fn names_executable(value: &[u8]) -> bool {
    has(value, b"name")
        && value.iter().enumerate().any(|(at, byte)| {
            *byte == b'.'
                && EXECUTABLES.iter().any(|end| {
                    let rest = &value[at..];
                    let behind = rest.get(end.len());
                    starts(rest, end) && behind.is_none_or(|byte| b"\"'; \t)".contains(byte))
                })
        })
}

fn starts(text: &[u8], with: &[u8]) -> bool {
    text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with))
}

fn has(text: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.first() else { return true };
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text)
        .any(|at| starts(&text[at..], part))
}

#[cfg(test)]
mod tests;
