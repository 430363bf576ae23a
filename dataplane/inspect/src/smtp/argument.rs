//! Arguments of commands other than MAIL and RCPT, where their form is part of an extension.

use core::ops::Range;

use super::command::{Verb, is_blank, word};
use super::ext::{Advertised, Invalid, SMTPUTF8, Wrong, is_xtext};
use super::sasl::{is_initial_response, is_mechanism};

/// Attributes of XCLIENT and XFORWARD (Postfix, XCLIENT_README and XFORWARD_README).
const ATTRIBUTES: [&str; 11] = [
    "ADDR",
    "DESTADDR",
    "DESTPORT",
    "HELO",
    "IDENT",
    "LOGIN",
    "NAME",
    "PORT",
    "PROTO",
    "REVERSE_NAME",
    "SOURCE",
];

/// Octets of a domain (RFC 5321, 4.5.3.1.2).
const DOMAIN_LIMIT: usize = 255;

/// Judges the arguments of a line, given without its CRLF.
///
/// # Errors
/// The first that is not as its extension has it.
pub fn check(line: &[u8], verb: Verb, advertised: &Advertised) -> Result<(), Invalid> {
    if !matches!(verb, Verb::Auth | Verb::StartTls | Verb::Other) {
        return Ok(());
    }
    let at = word(line);
    let name = &line[at.clone()];
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    let legal: fn(usize, &[u8]) -> bool = match verb {
        // RFC 4954, 4: a mechanism, and base64.
        Verb::Auth => |index, text| match index {
            0 => is_mechanism(text),
            1 => is_initial_response(text),
            _ => false,
        },
        // RFC 3207, 4.
        Verb::StartTls => |_, _| false,
        Verb::Other if is("ETRN") => |index, text| index == 0 && is_node(text),
        Verb::Other if is("BURL") => |index, text| match index {
            0 => is_uri(text),
            1 => text.eq_ignore_ascii_case(b"LAST"),
            _ => false,
        },
        Verb::Other if is("XCLIENT") || is("XFORWARD") => |_, text| is_attribute(text),
        Verb::Other if is("VRFY") || is("EXPN") => return verify(line, at.end, advertised),
        _ => return Ok(()),
    };
    let mut count = 0;
    for at in arguments(line, at.end) {
        if !legal(count, &line[at.clone()]) {
            return Err(Invalid { at, why: Wrong::Value });
        }
        count += 1;
    }
    // All of these but STARTTLS say nothing without an argument.
    if count == 0 && verb != Verb::StartTls {
        return Err(Invalid { at, why: Wrong::Value });
    }
    Ok(())
}

/// RFC 6531, 3.7.4: behind its string SMTPUTF8 may stand, without a value, where the server offers it.
fn verify(line: &[u8], from: usize, advertised: &Advertised) -> Result<(), Invalid> {
    const NAME: &[u8] = b"SMTPUTF8";
    let Some(at) = arguments(line, from).skip(1).last() else { return Ok(()) };
    let text = &line[at.clone()];
    match text.get(..NAME.len()).map(|head| (head.eq_ignore_ascii_case(NAME), text.get(NAME.len()))) {
        Some((true, None)) if advertised.has(SMTPUTF8) => Ok(()),
        Some((true, None)) => Err(Invalid { at, why: Wrong::Unknown }),
        Some((true, Some(b'='))) => Err(Invalid { at, why: Wrong::Value }),
        _ => Ok(()),
    }
}

/// Words behind octet `from`.
fn arguments(line: &[u8], from: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = from;
    core::iter::from_fn(move || {
        let start = at + line.get(at..)?.iter().position(|byte| !is_blank(*byte))?;
        let len = line[start..].iter().position(|byte| is_blank(*byte)).unwrap_or(line.len() - start);
        at = start + len;
        Some(start..at)
    })
}

/// RFC 1985, 5: a node, or `@domain` for it and those under it, or `#queue`.
fn is_node(text: &[u8]) -> bool {
    let node = text.strip_prefix(b"@").or_else(|| text.strip_prefix(b"#")).unwrap_or(text);
    (1..=DOMAIN_LIMIT).contains(&node.len())
        && node.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]/".contains(byte))
}

/// RFC 4468, 3.2: an absolute URI.
fn is_uri(text: &[u8]) -> bool {
    let scheme = text.iter().position(|byte| *byte == b':').unwrap_or_default();
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme > 0
        && text[..scheme].iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
        && scheme + 1 < text.len()
        && text.iter().all(|byte| matches!(byte, 33..=126) && !b"<>\"".contains(byte))
}

fn is_attribute(text: &[u8]) -> bool {
    let Some(at) = text.iter().position(|byte| *byte == b'=') else { return false };
    ATTRIBUTES.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(&text[..at]))
        && is_xtext(&text[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(keywords: &[&str]) -> Advertised {
        let mut advertised = Advertised::default();
        keywords.iter().for_each(|keyword| advertised.add(keyword.as_bytes()));
        advertised
    }

    #[test]
    fn every_row_at_its_limits() {
        let everything = offering(&["SMTPUTF8"]);
        let nothing = offering(&[]);
        let long = |text: &str, len: usize| format!("{text}{}", "a".repeat(len));
        let rows: &[(&str, bool)] = &[
            ("AUTH X", true),
            (&long("AUTH ", 20), true),
            (&long("AUTH ", 21), false),
            ("AUTH KERBEROS_V4", true),
            ("AUTH", false),
            ("AUTH A.B", false),
            ("AUTH PLAIN =", true),
            ("AUTH PLAIN AGEAYg==", true),
            ("AUTH PLAIN AGEAYg", true),
            ("AUTH PLAIN *", false),
            ("AUTH PLAIN AG=A", false),
            ("AUTH PLAIN AGE\u{e9}", false),
            ("AUTH PLAIN AGEA AGEA", false),
            ("x-exps LOGIN", true),
            ("STARTTLS", true),
            ("STARTTLS ", true),
            ("STARTTLS now", false),
            ("ETRN example.org", true),
            ("ETRN @example.org", true),
            ("etrn #queue", true),
            ("ETRN [192.0.2.1]", true),
            (&long("ETRN ", 255), true),
            (&long("ETRN ", 256), false),
            ("ETRN", false),
            ("ETRN @", false),
            ("ETRN a b", false),
            ("ETRN a;b", false),
            ("BURL imap://h/x;uid=1/;urlauth=submit+a:internal:91 LAST", true),
            ("BURL a:b", true),
            ("BURL a:b last", true),
            ("BURL a:", false),
            ("BURL :b", false),
            ("BURL 1a:b", false),
            ("BURL nothing", false),
            ("BURL a:b FIRST", false),
            ("BURL a:b LAST LAST", false),
            ("BURL a:<b>", false),
            ("BURL", false),
            ("XCLIENT NAME=spike.example ADDR=168.100.189.2", true),
            ("XCLIENT name=[UNAVAILABLE]", true),
            ("XFORWARD NAME=spike.example ADDR=1.2.3.4 PORT=1 PROTO=ESMTP HELO=a IDENT=b SOURCE=LOCAL", true),
            ("XFORWARD HELO=a+2Bb", true),
            ("XFORWARD HELO=a+2bb", false),
            ("XFORWARD NAME=", false),
            ("XFORWARD NAME", false),
            ("XFORWARD EVIL=1", false),
            ("XCLIENT", false),
            ("VRFY root", true),
            ("VRFY", true),
            ("VRFY smtputf8", true),
            ("VRFY a b SMTPUTF8", true),
            ("EXPN list SMTPUTF8=", false),
            ("EXPN list SMTPUTF8x", true),
            ("NOOP anything ; at all", true),
            ("HELP SMTPUTF8=1", true),
            ("EHLO a_b", true),
        ];
        for (line, legal) in rows {
            let line = line.as_bytes();
            let verb = Verb::new(&line[word(line)]);
            let found = check(line, verb, &everything);
            assert_eq!(found.is_ok(), *legal, "{} {found:?}", line.escape_ascii());
            assert!(found.is_ok() || found.unwrap_err().why == Wrong::Value);
        }
        let unoffered = check(b"VRFY a SMTPUTF8", Verb::Other, &nothing);
        assert_eq!(unoffered, Err(Invalid { at: 7..15, why: Wrong::Unknown }));
    }
}
