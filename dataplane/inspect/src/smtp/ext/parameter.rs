//! Parameters of MAIL and RCPT (Cisco ESMTP firewall document, "Parameter Inspection"; RFC 5321, 4.1.1.11).

use core::ops::Range;

use super::advertised::{Advertised, Keyword};
use super::value;
use crate::smtp::command::Verb;

/// Which parameters are legal at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// None: RFC 821 has no parameters.
    Nothing,
    /// Those of the extensions that the Cisco ESMTP firewall document supports, where the server offers them.
    Supported,
    /// Those of any extension that the server offers; where nobody knows it, parameters that have its keyword as their name.
    Advertised,
}

/// A parameter that is known.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Which of the two commands it is for.
    pub verb: Verb,
    /// Its name, upper case.
    pub name: &'static str,
    /// What its value may be.
    legal: fn(Option<&[u8]>) -> bool,
    /// Keywords of which the server must offer one.
    pub keywords: &'static [&'static str],
    /// The same.
    offered_by: Keyword,
    /// A keyword that it must offer besides.
    pub besides: Option<&'static str>,
    /// Supported by the Cisco ESMTP firewall document.
    pub supported: bool,
}

const fn row(
    verb: Verb,
    name: &'static str,
    legal: fn(Option<&[u8]>) -> bool,
    keywords: &'static [&'static str],
) -> Parameter {
    Parameter {
        verb,
        name,
        legal,
        keywords,
        offered_by: Keyword::any(keywords),
        besides: None,
        supported: false,
    }
}

const fn supported(
    verb: Verb,
    name: &'static str,
    legal: fn(Option<&[u8]>) -> bool,
    keywords: &'static [&'static str],
) -> Parameter {
    Parameter { supported: true, ..row(verb, name, legal, keywords) }
}

/// Every parameter that is known. A name may have two rows, then its value may be as either says.
pub const PARAMETERS: [Parameter; 22] = [
    supported(Verb::Mail, "SIZE", value::size, &["SIZE"]),
    // RFC 6531, 3.1: who offers SMTPUTF8 takes 8BITMIME.
    supported(Verb::Mail, "BODY", value::body, &["8BITMIME", "SMTPUTF8"]),
    Parameter {
        besides: Some("CHUNKING"),
        ..supported(Verb::Mail, "BODY", value::binary_body, &["BINARYMIME"])
    },
    supported(Verb::Mail, "RET", value::ret, &["DSN"]),
    supported(Verb::Mail, "ENVID", value::envid, &["DSN"]),
    supported(Verb::Mail, "AUTH", value::auth, &["AUTH"]),
    row(Verb::Mail, "SMTPUTF8", value::none, &["SMTPUTF8"]),
    row(Verb::Mail, "REQUIRETLS", value::none, &["REQUIRETLS"]),
    row(Verb::Mail, "BY", value::by, &["DELIVERBY"]),
    row(Verb::Mail, "HOLDFOR", value::hold_for, &["FUTURERELEASE"]),
    row(Verb::Mail, "HOLDUNTIL", value::hold_until, &["FUTURERELEASE"]),
    row(Verb::Mail, "MT-PRIORITY", value::priority, &["MT-PRIORITY"]),
    row(Verb::Mail, "MTRK", value::mtrk, &["MTRK"]),
    row(Verb::Mail, "SOLICIT", value::solicit, &["NO-SOLICITING"]),
    row(Verb::Mail, "CONPERM", value::none, &["CONPERM"]),
    row(Verb::Mail, "TRANSID", value::transid, &["CHECKPOINT"]),
    row(Verb::Mail, "SUBMITTER", value::submitter, &["SUBMITTER"]),
    row(Verb::Mail, "XVERP", value::verp, &["XVERP"]),
    supported(Verb::Rcpt, "NOTIFY", value::notify, &["DSN"]),
    supported(Verb::Rcpt, "ORCPT", value::orcpt, &["DSN"]),
    row(Verb::Rcpt, "RRVS", value::rrvs, &["RRVS"]),
    row(Verb::Rcpt, "CONNEG", value::none, &["CONNEG"]),
];

/// Of the parameters in each of these, a command may have one. All others may come once as well.
const EXCLUSIVE: [[&str; 2]; 1] = [["HOLDFOR", "HOLDUNTIL"]];

/// A parameter that must not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where it stands in its line.
    pub at: Range<usize>,
    /// What is wrong with it.
    pub why: Wrong,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// It is no parameter, or of no extension that the server offers and the scope allows.
    Unknown,
    /// It has a value that it must not have, or comes a second time.
    Value,
}

/// Judges the parameters of a MAIL or RCPT line, given without its CRLF, that begin at `start`.
///
/// # Errors
/// The first [`Invalid`] one.
pub fn check(
    line: &[u8],
    start: usize,
    verb: Verb,
    scope: Scope,
    advertised: &Advertised,
) -> Result<(), Invalid> {
    if start >= line.len() {
        return Ok(());
    }
    // One bit for each row, then one for each private keyword.
    let mut seen = 0_u128;
    let mut at = start;
    for word in line.get(start..).unwrap_or_default().split(|byte| crate::smtp::command::is_blank(*byte)) {
        let range = at..at + word.len();
        at = range.end + 1;
        if word.is_empty() {
            continue;
        }
        let bits = one(word, verb, scope, advertised)
            .and_then(|bits| if seen & bits == 0 { Ok(bits) } else { Err(Wrong::Value) });
        seen |= bits.map_err(|why| Invalid { at: range, why })?;
    }
    Ok(())
}

/// Whether these parameters of a MAIL line announce a binary message (RFC 3030, 3).
#[must_use]
pub fn is_binary(parameters: &[u8]) -> bool {
    parameters
        .split(|byte| crate::smtp::command::is_blank(*byte))
        .any(|word| word.eq_ignore_ascii_case(b"BODY=BINARYMIME"))
}

const _: () = assert!(PARAMETERS.len() + super::PRIVATE_LIMIT / 2 < 128);

/// One parameter by itself. The answer has the bits of which none may be set already.
fn one(word: &[u8], verb: Verb, scope: Scope, advertised: &Advertised) -> Result<u128, Wrong> {
    let (name, value) = match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let offered = |row: &Parameter| {
        advertised.has(row.offered_by) && row.besides.is_none_or(|keyword| advertised.has_named(keyword))
    };
    let in_scope = |row: &Parameter| match scope {
        Scope::Nothing => false,
        Scope::Supported => row.supported,
        Scope::Advertised => true,
    };
    let (mut rows, mut usable, mut legal) = (0, false, false);
    for (index, row) in PARAMETERS.iter().enumerate() {
        if row.verb == verb && row.name.as_bytes().eq_ignore_ascii_case(name) {
            rows |= 1 << index;
            if in_scope(row) && offered(row) {
                usable = true;
                legal |= (row.legal)(value);
            }
        }
    }
    if usable {
        return if legal { Ok(rows | beside(name)) } else { Err(Wrong::Value) };
    }
    if rows != 0 || scope != Scope::Advertised {
        return Err(Wrong::Unknown);
    }
    let place = advertised.private(name).ok_or(Wrong::Unknown)?;
    if value::any(value) { Ok(1 << (PARAMETERS.len() + place)) } else { Err(Wrong::Value) }
}

/// The bits of the rows that must not stand beside a parameter.
fn beside(name: &[u8]) -> u128 {
    let is = |text: &str| text.as_bytes().eq_ignore_ascii_case(name);
    let Some(group) = EXCLUSIVE.iter().find(|group| group.iter().any(|text| is(text))) else { return 0 };
    let rows = PARAMETERS.iter().enumerate().filter(|(_, row)| group.contains(&row.name));
    rows.fold(0, |bits, (index, _)| bits | 1 << index)
}

#[cfg(test)]
mod tests;
