//! Signatures: what known attacks say in commands and header fields.
//!
//! Titles and defaults are in [`artifact::settings::SIGNATURES`]; here is what each looks for. `|`, `$` and backticks are legal in addresses
//! (RFC 5321, 4.1.2), so none of these looks for such an octet alone.

use super::command::{Verb, is_blank, trim, words};
use super::line::LINE_HELD;

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
        /// RCPT commands of the transaction, this one included.
        recipient_count: u32,
        /// Recipients of a message above which 3106 sees spam (`ip audit smtp spam`).
        spam_recipients: u32,
    },
    /// A field of the message's own header, unfolded.
    Field(&'a [u8]),
    /// A field of the header of a part, unfolded.
    PartField(&'a [u8]),
}

/// Octets of a MIME field above which 3108 sees an overflow.
pub const MIME_FIELD_LIMIT: usize = 512;

/// Octets of a command line above which 3109 sees an attempt to crash.
pub const COMMAND_LIMIT: usize = 1000;

/// Ends of names that 3110 suspects.
const EXECUTABLES: [&[u8]; 12] = [
    b".bat", b".cmd", b".com", b".cpl", b".exe", b".hta", b".js", b".lnk", b".pif", b".scr", b".vbs", b".wsf",
];

/// Whether a signature's attack is what was seen.
type Look = fn(&Seen<'_>) -> bool;

/// What each signature looks for, in the order of [`artifact::settings::SIGNATURES`].
const LOOKS: [(u16, Look); 20] = [
    (3100, |seen| addressed(seen, &[Verb::Mail, Verb::Rcpt], runs_program)),
    (3101, |seen| addressed(seen, &[Verb::Rcpt], begins_with_pipe)),
    (3102, |seen| addressed(seen, &[Verb::Mail], begins_with_pipe)),
    (3103, |seen| is_verb(seen, &["VRFY", "EXPN"])),
    (3104, |seen| is_verb(seen, &["WIZ", "DEBUG"])),
    (3105, decode_alias),
    (
        3106,
        |seen| matches!(seen, Seen::Command { verb: Verb::Rcpt, recipient_count, spam_recipients, .. } if recipient_count > spam_recipients),
    ),
    (3107, |seen| named(seen, b"Reply-To").is_some_and(is_shell_text)),
    (3108, |seen| match seen {
        Seen::Field(field) | Seen::PartField(field) => {
            field.len() > MIME_FIELD_LIMIT && (starts(field, b"Content-") || starts(field, b"MIME-"))
        }
        Seen::Command { .. } => false,
    }),
    (
        3109,
        |seen| matches!(seen, Seen::Command { verb, len, .. } if *verb != Verb::Auth && *len > COMMAND_LIMIT),
    ),
    (3110, |seen| {
        let named = |name| named(seen, name).or_else(|| part_named(seen, name));
        named(b"Content-Type").or_else(|| named(b"Content-Disposition")).is_some_and(names_executable)
    }),
    (7001, |seen| addressed(seen, &[Verb::Mail], is_bare_command)),
    (7002, |seen| addressed(seen, &[Verb::Mail, Verb::Rcpt], expands)),
    (7003, |seen| {
        addressed(seen, &[Verb::Rcpt], |path| {
            has(path, b"$(") || memchr::memchr_iter(b'`', path).nth(1).is_some()
        })
    }),
    (7004, |seen| match seen {
        Seen::Command { verb: Verb::Mail | Verb::Rcpt, path, .. } => is_function(path),
        Seen::Command { word, line, .. } => {
            let at = super::word(line).start + word.len();
            is_function(line.get(at..).unwrap_or_default())
        }
        Seen::Field(field) => is_function(value(field)),
        Seen::PartField(_) => false,
    }),
    (7005, |seen| match seen {
        Seen::Command { verb: Verb::Auth, .. } | Seen::PartField(_) => false,
        Seen::Command { line, .. } => looks_up(line),
        Seen::Field(field) => looks_up(field),
    }),
    (7006, |seen| match seen {
        // Of longer lines not everything is known.
        Seen::Command { verb: Verb::Auth, line, len, .. } if *len <= LINE_HELD => {
            words(line).nth(2).is_some_and(|response| response != b"=" && !response.len().is_multiple_of(4))
        }
        _ => false,
    }),
    (7007, |seen| addressed(seen, &[Verb::Rcpt], |path| has(path, b"../") || has(path, b"..\\"))),
    (7008, |seen| match seen {
        // Its path ends at the first bracket.
        Seen::Command { verb: Verb::Mail | Verb::Rcpt, line, .. } => overflows(line, true),
        Seen::Field(field) if is_address_field(field) => overflows(value(field), false),
        _ => false,
    }),
    (7009, |seen| {
        matches!(seen, Seen::Command { verb: Verb::Other, line, .. } if has(line, b"CHUNK="))
            && is_verb(seen, &["X-LINK2STATE"])
    }),
];

/// The first of the signatures that are on whose attack this is. Bit n of `on` is for row n of
/// [`artifact::settings::SIGNATURES`].
#[must_use]
pub fn find(seen: &Seen<'_>, on: u32) -> Option<u16> {
    let mut left = on;
    while left != 0 {
        let index = left.trailing_zeros() as usize;
        left &= left - 1;
        if let Some((id, look)) = LOOKS.get(index)
            && look(seen)
        {
            return Some(*id);
        }
    }
    None
}

fn addressed(seen: &Seen<'_>, verbs: &[Verb], look: fn(&[u8]) -> bool) -> bool {
    matches!(seen, Seen::Command { verb, path, .. } if verbs.contains(verb) && look(mailbox(path)))
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

fn decode_alias(seen: &Seen<'_>) -> bool {
    const ALIASES: [&[u8]; 2] = [b"decode", b"uudecode"];
    match seen {
        Seen::Command { verb: Verb::Rcpt, path, .. } => {
            let local = mailbox(path).split(|byte| *byte == b'@').next().unwrap_or_default();
            let local =
                local.strip_prefix(b"\"").and_then(|local| local.strip_suffix(b"\"")).unwrap_or(local);
            ALIASES.iter().any(|alias| alias.eq_ignore_ascii_case(local))
        }
        Seen::Field(field) => {
            let value = value(field);
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
    text.starts_with(b"() {") || text.starts_with(b"(){")
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

/// Fields with addresses, which Sendmail takes apart (CVE-2002-1337, `crackaddr`).
fn is_address_field(field: &[u8]) -> bool {
    const FIELDS: [&[u8]; 16] = [
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
    ];
    let name = field.iter().position(|byte| *byte == b':').map_or(field, |at| trim(&field[..at]));
    FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Empty brackets in a row, of which one is legal; comments within comments; comments of a length that no address has in an
/// envelope; and the octet 255 behind or before a backslash, which `prescan` takes for its own mark (CVE-2003-0161).
fn overflows(text: &[u8], envelope: bool) -> bool {
    const BRACKETS: usize = 8;
    const DEPTH: u32 = 8;
    const COMMENTS: usize = 128;
    if memchr::memchr3(b'<', b'(', 0xff, text).is_none() {
        return false;
    }
    let marked = |pair: &[u8]| pair == b"\\\xff" || pair == b"\xff\\";
    if text.windows(2).any(marked) || text.windows(2).filter(|pair| *pair == b"<>").count() >= BRACKETS {
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

fn named<'a>(seen: &Seen<'a>, name: &[u8]) -> Option<&'a [u8]> {
    match seen {
        Seen::Field(field) => value_of(field, name),
        _ => None,
    }
}

fn part_named<'a>(seen: &Seen<'a>, name: &[u8]) -> Option<&'a [u8]> {
    match seen {
        Seen::PartField(field) => value_of(field, name),
        _ => None,
    }
}

fn value_of<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = field.iter().position(|byte| *byte == b':')?;
    trim(&field[..at]).eq_ignore_ascii_case(name).then(|| trim(&field[at + 1..]))
}

fn value(field: &[u8]) -> &[u8] {
    field.iter().position(|byte| *byte == b':').map_or(b"", |at| trim(&field[at + 1..]))
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
