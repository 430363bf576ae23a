//! Octets overwritten in place: same length, so that sequence numbers stay what they are.
//!
//! Lower-case `x` for commands, upper-case `X` for keywords of the server (Cisco ESMTP document, "SMTP/ESMTP Inspection"). Letters
//! on purpose: Postfix hangs up on commands that do not start with one, and takes a reply of asterisks for an old PIX.

/// Overwrites what is in hand of a command line. CR and LF stay, so the server reads one line and answers once.
pub fn command(bytes: &mut [u8]) {
    overwrite(bytes, b'x', |byte| matches!(byte, b'\r' | b'\n'));
}

/// Overwrites what is in hand of a keyword and its parameters. Blanks stay, and so does the number of words.
pub fn keyword(bytes: &mut [u8]) {
    overwrite(bytes, b'X', |byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t'));
}

fn overwrite(bytes: &mut [u8], with: u8, keep: impl Fn(u8) -> bool) {
    for byte in bytes {
        if !keep(*byte) {
            *byte = with;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_blanks_of_keywords_stay() {
        let mut line = *b"EVIL foo\r\n";
        command(&mut line);
        assert_eq!(&line, b"xxxxxxxx\r\n");
        let mut line = *b"XPROT a=1\tb\r\n";
        keyword(&mut line);
        assert_eq!(&line, b"XXXXX XXX\tX\r\n");
    }
}
