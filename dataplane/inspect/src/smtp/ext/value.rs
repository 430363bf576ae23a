//! What the values of parameters may look like. Each function gets what stands behind `=`, `None` where there is no `=`.

/// No value.
pub(super) fn none(value: Option<&[u8]>) -> bool {
    value.is_none()
}

/// RFC 5321, 4.1.2: `esmtp-value`, or none.
pub(super) fn any(value: Option<&[u8]>) -> bool {
    value.is_none_or(|value| !value.is_empty() && value.iter().all(|byte| matches!(byte, 33..=60 | 62..=126)))
}

/// RFC 1870, 6: `size-value`, 1 to 20 digits.
pub(super) fn size(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| digits(value, 20))
}

/// RFC 6152, 2.
pub(super) fn body(value: Option<&[u8]>) -> bool {
    one_of(value, &["7BIT", "8BITMIME"])
}

/// RFC 3030, 3.
pub(super) fn binary_body(value: Option<&[u8]>) -> bool {
    one_of(value, &["BINARYMIME"])
}

/// RFC 3461, 4.3.
pub(super) fn ret(value: Option<&[u8]>) -> bool {
    one_of(value, &["FULL", "HDRS"])
}

/// RFC 3461, 4.4: xtext of printable characters; 100 octets with its name.
pub(super) fn envid(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| {
        value.len() <= 100 - "ENVID=".len()
            && decoded(value, |byte| byte.is_some_and(|byte| matches!(byte, 32..=126)))
    })
}

/// RFC 4954, 5: `<>`, or a mailbox as xtext.
pub(super) fn auth(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| value.len() <= 500 - " AUTH=".len() && (value == b"<>" || xtext(value)))
}

/// RFC 4405, 4.1: a mailbox as xtext.
pub(super) fn submitter(value: Option<&[u8]>) -> bool {
    value.is_some_and(xtext)
}

/// RFC 3461, 4.1: `NEVER`, or some of the others, each once.
pub(super) fn notify(value: Option<&[u8]>) -> bool {
    const WHEN: [&[u8]; 3] = [b"SUCCESS", b"FAILURE", b"DELAY"];
    let Some(value) = value else { return false };
    if value.eq_ignore_ascii_case(b"NEVER") {
        return true;
    }
    let mut seen = [false; 3];
    value.split(|byte| *byte == b',').all(|word| {
        let which = WHEN.iter().position(|when| when.eq_ignore_ascii_case(word));
        which.is_some_and(|which| !core::mem::replace(&mut seen[which], true))
    })
}

/// RFC 3461, 4.2: address type, `;`, xtext; 500 octets with its name. RFC 6533, 3: addresses of the type `utf-8` may be that.
pub(super) fn orcpt(value: Option<&[u8]>) -> bool {
    let Some(value) = value else { return false };
    let Some(at) = value.iter().position(|byte| *byte == b';') else { return false };
    let (kind, address) = (&value[..at], &value[at + 1..]);
    let atext = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(byte);
    let international = kind.eq_ignore_ascii_case(b"utf-8") && core::str::from_utf8(address).is_ok();
    value.len() <= 500 - "ORCPT=".len()
        && !kind.is_empty()
        && kind.iter().all(atext)
        && !address.is_empty()
        && decoded(address, |byte| byte.is_some() || international)
}

/// RFC 2852, 4: seconds with a sign, `;`, `N` or `R`, `T`. To return what is late, it must have some time.
pub(super) fn by(value: Option<&[u8]>) -> bool {
    let Some(value) = value else { return false };
    let Some(at) = value.iter().position(|byte| *byte == b';') else { return false };
    let (time, mode) = (&value[..at], &value[at + 1..]);
    let negative = time.starts_with(b"-");
    let time = time.strip_prefix(b"-").or_else(|| time.strip_prefix(b"+")).unwrap_or(time);
    let mode = match mode {
        [mode] | [mode, b'T' | b't'] => mode.to_ascii_uppercase(),
        _ => return false,
    };
    digits(time, 9) && (mode == b'N' || (mode == b'R' && !negative && time.iter().any(|byte| *byte != b'0')))
}

/// RFC 4865, 3: seconds, 1 to 9 digits, not 0.
pub(super) fn hold_for(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| digits(value, 9) && value.iter().any(|byte| *byte != b'0'))
}

/// RFC 4865, 3: a time in UTC.
pub(super) fn hold_until(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| date_time(value).is_some_and(|zone| zone == b"Z"))
}

/// RFC 7293, 3.1: a time, and what to do without the extension; 33 octets with name and blank.
pub(super) fn rrvs(value: Option<&[u8]>) -> bool {
    let Some(value) = value else { return false };
    let time = match value {
        [time @ .., b';', b'C' | b'R' | b'c' | b'r'] => time,
        time => time,
    };
    value.len() <= 33 - " RRVS=".len() && date_time(time).is_some_and(is_zone)
}

/// RFC 6710, 4.1: -9 to 9.
pub(super) fn priority(value: Option<&[u8]>) -> bool {
    matches!(value, Some([b'0'..=b'9'] | [b'-', b'1'..=b'9']))
}

/// RFC 3885, 3.1: a certifier in base64, and seconds.
pub(super) fn mtrk(value: Option<&[u8]>) -> bool {
    let Some(value) = value else { return false };
    let (certifier, seconds) = match value.iter().position(|byte| *byte == b':') {
        Some(at) => (&value[..at], Some(&value[at + 1..])),
        None => (value, None),
    };
    let letters = certifier.iter().take_while(|byte| is_base64(**byte)).count();
    letters > 0
        && certifier.len() - letters <= 2
        && certifier[letters..].iter().all(|byte| *byte == b'=')
        && seconds.is_none_or(|seconds| digits(seconds, 9))
}

/// RFC 3865, 2.3: words of letters, digits and `.-_:` with commas; 1000 octets with its name and blank.
pub(super) fn solicit(value: Option<&[u8]>) -> bool {
    let is_word = |word: &[u8]| {
        word.first().is_some_and(u8::is_ascii_alphabetic)
            && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(byte))
    };
    value.is_some_and(|value| {
        value.len() <= 1000 - " SOLICIT=".len() && value.split(|byte| *byte == b',').all(is_word)
    })
}

/// RFC 1845, 4: `<`, up to 80 printable characters, `>`.
pub(super) fn transid(value: Option<&[u8]>) -> bool {
    matches!(value, Some([b'<', id @ .., b'>'])
        if (1..=80).contains(&id.len()) && id.iter().all(|byte| matches!(byte, 33..=59 | 61 | 63..=126)))
}

/// Postfix, VERP_README: nothing, or two delimiters.
pub(super) fn verp(value: Option<&[u8]>) -> bool {
    matches!(value, None | Some([33..=126, 33..=126]))
}

fn one_of(value: Option<&[u8]>, words: &[&str]) -> bool {
    value.is_some_and(|value| words.iter().any(|word| word.as_bytes().eq_ignore_ascii_case(value)))
}

fn digits(text: &[u8], limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// RFC 3461, 4: xtext that is not empty.
pub(in crate::smtp) fn xtext(text: &[u8]) -> bool {
    decoded(text, |byte| byte.is_some())
}

/// RFC 3461, 4: xtext that is not empty, of which `legal` says whether each octet may be in it; it hears `None` of octets that
/// are not ASCII, and never of controls or blanks that were not encoded.
fn decoded(text: &[u8], legal: impl Fn(Option<u8>) -> bool) -> bool {
    let mut rest = text;
    while let [first, others @ ..] = rest {
        let octet = match (first, others) {
            (b'+', [high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => Some(high << 4 | low),
                _ => return false,
            },
            (33..=42 | 44..=60 | 62..=126, _) => Some(*first),
            (128.., _) => None,
            _ => return false,
        };
        if !legal(octet) {
            return false;
        }
        rest = if *first == b'+' { &others[2..] } else { others };
    }
    !text.is_empty()
}

/// Upper-case only (RFC 3461, 4).
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RFC 3339, 5.6: what stands behind `2026-01-31T23:59:60` and a fraction, if that is there.
fn date_time(text: &[u8]) -> Option<&[u8]> {
    const FORM: [(&[u8], u32, u32); 6] =
        [(b"", 0, 9999), (b"-", 1, 12), (b"-", 1, 31), (b"T", 0, 23), (b":", 0, 59), (b":", 0, 60)];
    let mut rest = text;
    for (index, (separator, low, high)) in FORM.into_iter().enumerate() {
        rest = rest.strip_prefix(separator)?;
        rest = number(rest, if index == 0 { 4 } else { 2 }, low, high)?;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = (len > 0).then(|| &fraction[len..])?;
    }
    Some(rest)
}

/// RFC 3339, 5.6: `time-offset`.
fn is_zone(zone: &[u8]) -> bool {
    let hours = |text| number(text, 2, 0, 23)?.strip_prefix(b":");
    match zone {
        b"Z" => true,
        [b'+' | b'-', offset @ ..] => {
            hours(offset).and_then(|rest| number(rest, 2, 0, 59)).is_some_and(<[u8]>::is_empty)
        }
        _ => false,
    }
}

/// What stands behind a number of so many digits within these bounds.
fn number(text: &[u8], len: usize, low: u32, high: u32) -> Option<&[u8]> {
    let (head, rest) = text.split_at_checked(len)?;
    let value = head
        .iter()
        .try_fold(0_u32, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))?;
    (low..=high).contains(&value).then_some(rest)
}
