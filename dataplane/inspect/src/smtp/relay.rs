//! Recipients with which servers are tried for an open relay.

use super::octets::Octets;

/// Whether the path of a RCPT asks for more than delivery to the one domain behind its `@`: it is empty, has a source route
/// (RFC 5321, 4.1.1.3), or a local part that names another host (`a%b@c`, `b!a@c`, `"a@b"@c`, `a@b@c`; RFC 5321, F.2 and 3.6.1).
/// `octets` are those of the path, or of a line that it is in.
#[must_use]
pub fn is_probe(path: &[u8], octets: Octets) -> bool {
    if path.first().is_none_or(|first| *first == b'@') {
        return true;
    }
    // Nearly every path: one `@`, and no sign of another host.
    if octets.ats() <= 1 && !octets.has_odd() {
        return false;
    }
    let Some(mut at) = memchr::memchr3(b'%', b'!', b'@', path) else { return false };
    if path[at] == b'@' {
        let rest = &path[at + 1..];
        match memchr::memchr3(b'%', b'!', b'@', rest) {
            None => return false,
            Some(next) => at += 1 + next,
        }
    }
    // `%` and `!` mean a host only where one follows or stands before them in the local part.
    match path[at] {
        b'@' => true,
        _ => {
            let local = &path[..path.iter().rposition(|byte| *byte == b'@').unwrap_or(path.len())];
            local
                .iter()
                .enumerate()
                .any(|(at, byte)| matches!(byte, b'%' | b'!' | b'@') && at > 0 && at + 1 < local.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_and_addresses() {
        for (path, expected) in [
            ("", true),
            ("@one,@two:a@b", true),
            ("@one:a@b", true),
            ("a%other.example@relay.example", true),
            ("other.example!a@relay.example", true),
            ("other.example!a", true),
            ("a%b", true),
            ("\"a@other.example\"@relay.example", true),
            ("a@other.example@relay.example", true),
            ("\"a%b\"@c", true),
            ("a@b", false),
            ("Postmaster", false),
            ("a+b=c@d", false),
            ("100%@b", false),
            ("!@b", false),
            ("wow!@b", false),
            ("a@[192.0.2.1]", false),
        ] {
            assert_eq!(is_probe(path.as_bytes(), Octets::of(path.as_bytes())), expected, "{path}");
        }
    }
}
