//! Sessions that a firewall is there for, mixed with honest ones.
//!
//! The server of these captures answers as one would that no firewall protects: what a gateway makes of them shows when
//! the capture is played through it.

use inspect::unit::Direction::ClientToServer;

use super::connection::Style;
use super::script::{Content, Script};
use super::seed::Seed;

/// Kinds of sessions in the mix; half of the sessions are honest.
const KINDS: usize = 12;

/// What some servers take for an end of data that is none (CVE-2023-51764, CVE-2023-51765, CVE-2023-51766).
const FALSE_ENDS: &[&[u8]] =
    &[b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n"];

/// Adds the dialogue of session `number`.
pub fn session(number: u64, seed: &mut Seed, script: &mut Script<'_>) {
    let kind = seed.below(2 * KINDS);
    match kind {
        0 => command(script, "EVIL foo\r\n", "500 5.5.2 Error: command not recognized\r\n"),
        1 => command(script, "DEBUG\r\n", "500 5.5.2 Error: command not recognized\r\n"),
        2 => command(script, "MAIL FROM:<|/bin/sh -c id>\r\n", "250 2.1.0 Ok\r\n"),
        3 => command(script, "RCPT TO:<a%b@c>\0\r\n", "503 5.5.1 Error: need MAIL command\r\n"),
        4 => command(script, &format!("VRFY {}\r\n", "x".repeat(3000)), "252 2.0.0\r\n"),
        5 => command(script, "NOOP\nMAIL FROM:<hidden@example.org>\r\n", "250 2.0.0 Ok\r\n"),
        6 => smuggle(number, seed, script),
        7 => command(script, "STARTTLS\r\nNOOP injected\r\n", "220 2.0.0 Ready to start TLS\r\n"),
        8 => styled(Style::Octets, script),
        9 => styled(Style::Inconsistent, script),
        10 => styled(Style::Overlapping, script),
        11 => styled(seed.pick(&[Style::Reordered, Style::Repeated]), script),
        _ => script.one_mail(Content::SMALL),
    }
}

fn command(script: &mut Script<'_>, line: &str, reply: &str) {
    script.begin();
    script.exchange(line, reply);
    script.exchange("QUIT\r\n", "221 2.0.0 Bye\r\n");
}

/// A second mail behind what only some servers take for the end of the first.
fn smuggle(number: u64, seed: &mut Seed, script: &mut Script<'_>) {
    envelope(script);
    let mut content = b"Subject: one\r\n\r\nfirst".to_vec();
    content.extend(seed.pick(FALSE_ENDS));
    content.extend(
        format!(
            "MAIL FROM:<smuggled{number}@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n\
             Subject: two\r\n\r\nsecond\r\n.\r\n"
        )
        .into_bytes(),
    );
    script.client(content);
    script.server("250 2.0.0 Ok: queued as 1\r\n");
    script.exchange("QUIT\r\n", "221 2.0.0 Bye\r\n");
}

/// A mail whose content comes in unusual segments.
fn styled(style: Style, script: &mut Script<'_>) {
    envelope(script);
    let text = "Some words that are sent in an unusual way, over and over again.\r\n".repeat(8);
    let content = format!("Subject: segments\r\n\r\n{text}.\r\n");
    script.say(ClientToServer, content.into_bytes(), style);
    script.server("250 2.0.0 Ok: queued as 2\r\n");
    script.exchange("QUIT\r\n", "221 2.0.0 Bye\r\n");
}

fn envelope(script: &mut Script<'_>) {
    script.begin();
    script.exchange("MAIL FROM:<author@example.org>\r\n", "250 2.1.0 Ok\r\n");
    let recipient = script.recipient();
    script.exchange(&format!("RCPT TO:<{recipient}>\r\n"), "250 2.1.5 Ok\r\n");
    script.exchange("DATA\r\n", "354 End data with <CR><LF>.<CR><LF>\r\n");
}
