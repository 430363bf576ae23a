//! A compiled policy of a stranger.
//!
//! The first octet says what the rest is: a file as it stands; a file whose digest is made right; tables around which a right
//! file is made. So the parts behind the digest are met too.

use std::sync::Arc;

use artifact::format::Artifact;
use artifact::model::Policy;
use postern::loaded::Loaded;
use sha2::{Digest, Sha256};

use super::frame::{ACK, SYN, Sketch};
use super::house::Stage;
use inspect::unit::PortId;

const DIGEST_LEN: usize = 32;

/// Loads it; what can be loaded is explained, and a session is run under it.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let Some((how, data)) = data.split_first() else { return };
    let bytes = match how % 3 {
        0 => data.to_vec(),
        1 => resealed(data),
        _ => {
            let Ok(policy) = postcard::from_bytes::<Policy>(data) else { return };
            around(policy)
        }
    };
    let artifact = match Artifact::read(&bytes) {
        Ok(artifact) => artifact,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    if artifact.signed_by.is_none() {
        assert_eq!(artifact.write(), bytes, "a file has one form only");
    }
    std::hint::black_box(posternc::explain::artifact(&artifact));
    let loaded = match Loaded::new(artifact) {
        Ok(loaded) => loaded,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let Ok(matcher) = loaded.patterns.matcher(4) else { return };
    let port = loaded.artifact.policy.smtp_ports.first().copied().unwrap_or(25);
    let mut stage = Stage::new(Arc::new(loaded.artifact.policy), matcher);
    session(&mut stage, port);
}

/// The file with a right length and a right digest, so that its other parts are read.
fn resealed(data: &[u8]) -> Vec<u8> {
    let Some(signed_len) = data.len().checked_sub(DIGEST_LEN).filter(|len| *len >= 24) else {
        return Vec::new();
    };
    let mut bytes = data.to_vec();
    bytes[16..24].copy_from_slice(&(data.len() as u64).to_le_bytes());
    let digest = Sha256::digest(&bytes[..signed_len]);
    bytes[signed_len..].copy_from_slice(&digest);
    bytes
}

/// A file with these tables.
fn around(policy: Policy) -> Vec<u8> {
    let made = Artifact {
        library: posternc::hyperscan::version(),
        target: posternc::hyperscan::target(),
        source_digest: artifact::format::source_digest(&policy.source.text),
        signed_by: None,
        policy,
    };
    made.write()
}

/// A handshake and a short mail.
fn session<X: inspect::scan::Matcher>(stage: &mut Stage<X>, port: u16) {
    let (mut client, mut server) = (1_000_u32, 5_000_u32);
    let mut say = |stage: &mut Stage<X>, from_client: bool, flags: u8, payload: &[u8]| {
        let (seq, ack) = if from_client { (client, server) } else { (server, client) };
        let sketch = Sketch {
            hosts: if from_client { [1, 2] } else { [2, 1] },
            ports: if from_client { [40_000, port] } else { [port, 40_000] },
            seq,
            ack: if flags & ACK == 0 { 0 } else { ack },
            flags,
            payload,
            ..Sketch::default()
        };
        stage.put(if from_client { PortId::A } else { PortId::B }, &sketch.frame());
        let len = payload.len() as u32 + u32::from(flags & SYN != 0);
        *(if from_client { &mut client } else { &mut server }) += len;
        stage.engine.journal_mut().drain().for_each(drop);
        stage.pass(1_000_000);
    };
    say(stage, true, SYN, b"");
    say(stage, false, SYN | ACK, b"");
    say(stage, true, ACK, b"");
    say(stage, false, ACK, b"220 ready\r\n");
    for (command, reply) in [
        (&b"EHLO client.example\r\n"[..], &b"250-server\r\n250-SIZE\r\n250 ETRN\r\n"[..]),
        (b"VRFY a\r\n", b"500 no\r\n"),
        (b"MAIL FROM:<a@b.example> SIZE=10\r\n", b"250 ok\r\n"),
        (b"RCPT TO:<a@b.example>\r\n", b"550 no\r\n"),
        (b"RCPT TO:<b@b.example>\r\n", b"250 ok\r\n"),
        (b"DATA\r\n", b"354 go\r\n"),
        (
            b"Subject: a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
              Content-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--b--\r\n.\r\n",
            b"250 queued\r\n",
        ),
        (b"QUIT\r\n", b"221 bye\r\n"),
    ] {
        say(stage, true, ACK, command);
        say(stage, false, ACK, reply);
    }
}
