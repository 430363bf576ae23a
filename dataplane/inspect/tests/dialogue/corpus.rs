//! Real mail, where there is some: `POSTERN_CORPUS` says where, by default beside the project.

use std::path::{Path, PathBuf};

use inspect::engine::dialogue::Next;

use crate::policy::Rulebook;
use crate::run::Wire;

const POLICY: &str = "base none
class seen any log
 header regex (?i)^(subject|content-type):
 body regex (?i)(the|html)
 mime content-type regex .
 mime encoding unknown
 mime encoding base64
 header length gt 500
 data-length gt 1000
class absent any log
 not header regex (?i)^message-id:
 not body regex http";

fn mails(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            mails(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// As a client sends it: lines end in CRLF, dots are stuffed.
fn as_sent(mail: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    for line in mail.split(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            sent.push(b'.');
        }
        sent.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b".\r\n");
    sent
}

#[test]
fn real_mail_arrives_unchanged_and_is_judged_alike_in_any_pieces() {
    let corpus = std::env::var_os("POSTERN_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"), PathBuf::from);
    let mut paths = Vec::new();
    mails(&corpus.join("eml"), &mut paths);
    paths.sort();
    if paths.is_empty() {
        println!("skipped: no mail in {}/eml (POSTERN_CORPUS says where it is)", corpus.display());
        return;
    }
    let rulebooks = ["", "decode both\n"].map(|settings| {
        let policy = format!("{settings}{POLICY}");
        Rulebook::parse(&policy.lines().collect::<Vec<_>>()).unwrap()
    });
    let mails = paths.iter().flat_map(|path| rulebooks.iter().map(move |rulebook| (path, rulebook)));
    let (mut passed, mut refused) = (0, Vec::new());
    for (path, rulebook) in mails {
        let sent = as_sent(&std::fs::read(path).unwrap());
        if sent.len() > 200_000 {
            continue;
        }
        let mut first: Option<Vec<String>> = None;
        for size in [usize::MAX, 1460, 61, 1] {
            if size == 1 && sent.len() > 20_000 {
                continue;
            }
            let mut wire = Wire::new(rulebook);
            wire.server(b"220 ready\r\n");
            wire.client(b"EHLO client\r\n");
            wire.server(b"250 server\r\n");
            wire.client(b"DATA\r\n");
            wire.server(b"354 go\r\n");
            let before = wire.server_got.len();
            sent.chunks(size.min(sent.len())).for_each(|piece| wire.client(piece));
            let next = wire.next;
            wire.end();
            let name = path.display();
            if next == Next::Go {
                assert!(wire.server_got[before..] == sent, "{name}: changed on its way");
            }
            match &first {
                None => {
                    if next == Next::Go {
                        passed += 1;
                    } else {
                        refused.push(format!("{name}: {:?}", wire.reports));
                    }
                    first = Some(wire.reports);
                }
                Some(first) => assert_eq!(*first, wire.reports, "{name} in pieces of {size}"),
            }
        }
    }
    println!("{passed} mails passed, refused: {refused:#?}");
    // Mail with NUL or bare CR around dots is what the end-of-data check is for; it is rare.
    assert!(refused.len() * 50 <= passed, "{refused:#?}");
}
