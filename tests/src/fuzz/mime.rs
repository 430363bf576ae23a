//! Content of a mail, whole and in pieces.

use super::octets::Octets;
use super::smtp::Talk;

/// Gives the content to a session whole, and to another one cut; both must end the same way.
///
/// # Panics
/// When they do not.
pub fn run(data: &[u8]) {
    let mut octets = Octets::new(data);
    let cuts = octets.take(4).to_vec();
    // The content ends where the session says so: dots are stuffed, line ends are what they are.
    let mut content = Vec::with_capacity(data.len() + 8);
    for line in octets.rest().split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            content.push(b'.');
        }
        content.extend_from_slice(line);
    }
    content.extend_from_slice(b"\r\n.\r\n");
    let whole = deliver(&content, &[]);
    for cuts in [&cuts[..], &[1]] {
        assert_eq!(deliver(&content, cuts), whole, "cut at {cuts:?}: {}", content.escape_ascii());
    }
}

/// A session with this content. Returns whether the mail was accepted, and what was reported.
fn deliver(content: &[u8], cuts: &[u8]) -> Option<(bool, Vec<String>)> {
    let mut talk = Talk::new()?;
    talk.server(b"220 ready\r\n");
    for (command, reply) in [
        (&b"EHLO client\r\n"[..], &b"250 server\r\n"[..]),
        (b"MAIL FROM:<a@b.example>\r\n", b"250 ok\r\n"),
        (b"RCPT TO:<a@b.example>\r\n", b"250 ok\r\n"),
        (b"DATA\r\n", b"354 go\r\n"),
    ] {
        talk.client(command);
        talk.server(reply);
    }
    let mut rest = content;
    let mut cut = cuts.iter().cycle();
    while !rest.is_empty() {
        let len = cut.next().map_or(rest.len(), |len| usize::from(*len).max(1)).min(rest.len());
        let (piece, other) = rest.split_at(len);
        talk.client(piece);
        rest = other;
    }
    let accepted = talk.server_got.ends_with(b"\r\n.\r\n");
    if accepted {
        talk.server(b"250 queued\r\n");
        talk.client(b"QUIT\r\n");
        talk.server(b"221 bye\r\n");
    }
    Some((accepted, talk.end()))
}
