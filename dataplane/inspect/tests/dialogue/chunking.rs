//! BDAT: what is easier said in tables than in dialogues.

use inspect::engine::dialogue::Next;
use inspect::event::ReplyCode;

use crate::policy::Rulebook;
use crate::run::Wire;

fn wire(policy: &str) -> Wire {
    Wire::new(&Rulebook::parse(&policy.lines().collect::<Vec<_>>()).unwrap())
}

/// Up to the recipient, who is accepted.
fn begun(policy: &str) -> Wire {
    let mut wire = wire(policy);
    wire.server(b"220 ready\r\n");
    wire.client(b"EHLO client\r\n");
    wire.server(b"250-server\r\n250-PIPELINING\r\n250-BINARYMIME\r\n250 CHUNKING\r\n");
    wire.client(b"MAIL FROM:<a@b>\r\n");
    wire.server(b"250 ok\r\n");
    wire.client(b"RCPT TO:<c@d>\r\n");
    wire.server(b"250 ok\r\n");
    wire
}

/// Octets cut nowhere, at every place, at every two places, and everywhere.
fn segmentations(octets: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all = vec![vec![octets], octets.chunks(1).collect()];
    for one in 1..octets.len() {
        all.push(vec![&octets[..one], &octets[one..]]);
        all.extend(
            (one + 1..octets.len()).map(|two| vec![&octets[..one], &octets[one..two], &octets[two..]]),
        );
    }
    all
}

/// What some server takes for the end of data (SMTP smuggling, CVE-2023-51764 to -51766).
const ENDS: [&[u8]; 12] = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
];

#[test]
fn every_variant_of_the_end_of_data_with_data_and_with_bdat_at_every_level() {
    let mut count = 0;
    for end in ENDS {
        for level in ["end-of-data strict", "", "end-of-data off"] {
            for chunked in [false, true] {
                let text = [b"a".as_slice(), end, b"MAIL FROM:<x@y>\r\n"].concat();
                let sent = if chunked {
                    [format!("BDAT {} LAST\r\n", text.len()).as_bytes(), &text].concat()
                } else {
                    [text.as_slice(), b".\r\n"].concat()
                };
                // A chunk has no end of data: only `strict` has a say, of what is no text.
                let refused = if chunked { level.ends_with("strict") } else { level != "end-of-data off" };
                for pieces in segmentations(&sent) {
                    count += 1;
                    let case = format!("{} {level:?} {chunked} {pieces:?}", end.escape_ascii());
                    let mut wire = begun(&format!("chunking allow\n{level}"));
                    if !chunked {
                        wire.client(b"DATA\r\n");
                        wire.server(b"354 go\r\n");
                    }
                    let before = wire.server_got.len();
                    pieces.iter().for_each(|piece| wire.client(piece));
                    let got = wire.server_got[before..].to_vec();
                    if refused {
                        assert_eq!(wire.next, Next::Close(ReplyCode::Smuggling), "{case}");
                        assert!(sent.starts_with(&got) && got.len() < sent.len() - 1, "{case}");
                        let left =
                            got.len() - if chunked { "BDAT 22 LAST\r\n".len().min(got.len()) } else { 0 };
                        assert!(left <= 1 + end.len(), "nothing behind it leaves: {case}");
                    } else {
                        assert_eq!(got, sent, "{case}");
                        wire.server(b"250 queued\r\n");
                        assert_eq!((wire.next, wire.counters.smtp_messages), (Next::Go, 1), "{case}");
                    }
                    wire.end();
                    assert_eq!(wire.reports.len(), usize::from(refused), "{case}: {:?}", wire.reports);
                }
            }
        }
    }
    println!("{count} sessions");
}

#[test]
fn a_chunk_that_ends_in_cr_is_no_text() {
    for (policy, last, refused) in [
        ("chunking allow\nend-of-data strict", "", false),
        ("chunking allow\nend-of-data strict", " LAST", true),
        ("chunking allow", " LAST", false),
    ] {
        let mut wire = begun(policy);
        wire.client(format!("BDAT 2{last}\r\na\r").as_bytes());
        let expected = if refused { Next::Close(ReplyCode::Smuggling) } else { Next::Go };
        assert_eq!(wire.next, expected, "{policy} {last}");
        assert_eq!(wire.server_got.ends_with(b"a\r"), !refused);
        wire.end();
    }
    let mut wire = begun("chunking allow\nend-of-data strict");
    wire.client(b"BDAT 2\r\na\r");
    wire.server(b"250 ok\r\n");
    wire.client(b"BDAT 1 LAST\r\n\n");
    wire.server(b"250 ok\r\n");
    assert_eq!(wire.counters.smtp_messages, 1, "CRLF over two chunks");
}

#[test]
fn what_was_announced_as_binary_is_not_text() {
    for (body, refused) in [("BODY=BINARYMIME", false), ("BODY=8BITMIME", true)] {
        let mut wire = wire("chunking allow\nend-of-data strict");
        wire.server(b"220 ready\r\n");
        wire.client(b"EHLO client\r\n");
        wire.server(b"250-server\r\n250-8BITMIME\r\n250-BINARYMIME\r\n250 CHUNKING\r\n");
        // The first is refused and says nothing about the second.
        wire.client(b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n");
        wire.server(b"450 later\r\n");
        wire.client(format!("MAIL FROM:<a@b> {body}\r\n").as_bytes());
        wire.server(b"250 ok\r\n");
        wire.client(b"RCPT TO:<c@d>\r\n");
        wire.server(b"250 ok\r\n");
        // A second MAIL, which the server refuses, does not make text binary.
        wire.client(b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n");
        wire.server(b"503 nested\r\n");
        wire.client(b"BDAT 4 LAST\r\n\0\r\n\n");
        let expected = if refused { Next::Close(ReplyCode::Smuggling) } else { Next::Go };
        assert_eq!(wire.next, expected, "{body}");
        wire.end();
    }
}

/// Arguments of BDAT, and what is said of them where BDAT is allowed: `None` is a size that is counted.
const ARGUMENTS: [(&str, Option<ReplyCode>); 34] = [
    (" 0", None),
    (" 0 LAST", None),
    (" 1", None),
    (" 1 last", None),
    (" 0000000001", None),
    (" 00000000000000000001", None),
    (" 2147483647", None),
    (" 2147483648", Some(ReplyCode::BadParameter)),
    (" 4294967295", Some(ReplyCode::BadParameter)),
    (" 4294967296", Some(ReplyCode::BadParameter)),
    (" 4294967297 LAST", Some(ReplyCode::BadParameter)),
    (" 9223372036854775807", Some(ReplyCode::BadParameter)),
    (" 9223372036854775808 LAST", Some(ReplyCode::BadParameter)),
    (" 18446744073709551615", Some(ReplyCode::BadParameter)),
    (" 18446744073709551616", Some(ReplyCode::BadParameter)),
    (" 18446744073709551617 LAST", Some(ReplyCode::BadParameter)),
    (" 99999999999999999999", Some(ReplyCode::BadParameter)),
    (" 000000000000000000001", Some(ReplyCode::BadParameter)),
    (" 340282366920938463463374607431768211457", Some(ReplyCode::BadParameter)),
    (" -1", Some(ReplyCode::BadParameter)),
    (" +1", Some(ReplyCode::BadParameter)),
    (" 1 LAST x", Some(ReplyCode::BadParameter)),
    (" 1LAST", Some(ReplyCode::BadParameter)),
    (" 1 LASTING", Some(ReplyCode::BadParameter)),
    (" 1  LAST", Some(ReplyCode::BadParameter)),
    (" 1 LAST ", Some(ReplyCode::BadParameter)),
    (" 1\tLAST", Some(ReplyCode::BadParameter)),
    ("  1", Some(ReplyCode::BadParameter)),
    (" 1 ", Some(ReplyCode::BadParameter)),
    (" LAST", Some(ReplyCode::BadParameter)),
    (" 0x1", Some(ReplyCode::BadParameter)),
    (" x", Some(ReplyCode::BadParameter)),
    (" ", Some(ReplyCode::BadParameter)),
    ("", Some(ReplyCode::BadParameter)),
];

#[test]
fn sizes_that_are_none_are_refused_and_nothing_behind_them_leaves() {
    // Octets that would be commands for a server that does not count as the gateway does.
    let payload = "xRSET\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    for (argument, allowed) in ARGUMENTS {
        for (policy, reply) in [
            ("chunking allow", allowed),
            ("base esmtp\nchunking allow", allowed),
            ("", Some(ReplyCode::NotImplemented)),
            ("base esmtp", Some(ReplyCode::NotImplemented)),
        ] {
            let Some(reply) = reply else { continue };
            let line = format!("BDAT{argument}\r\n");
            let sent = format!("{line}{payload}").into_bytes();
            for pieces in segmentations(&sent).into_iter().step_by(7) {
                let mut wire = begun(policy);
                let before = wire.server_got.len();
                pieces.iter().for_each(|piece| wire.client(piece));
                let case = format!("{policy:?} {line:?} {pieces:?}");
                if wire.next == Next::Swallow {
                    // The size is good but too large; its sender reads nothing yet.
                    assert_eq!((allowed, reply), (Some(ReplyCode::BadParameter), ReplyCode::BadParameter));
                } else {
                    assert_eq!(wire.next, Next::Close(reply), "{case}");
                }
                assert!(!wire.server_got[before..].contains(&b'\n'), "{case}");
                wire.end();
                let kind = if reply == ReplyCode::BadParameter { "PARAMETER" } else { "COMMAND" };
                let expected = format!("SMTP_INVALID_{kind} close ");
                let found: Vec<_> = wire.reports.iter().filter(|report| !report.contains("EHLO")).collect();
                assert!(found.len() == 1 && found[0].starts_with(&expected), "{case}: {found:?}");
            }
        }
    }
}

#[test]
fn sizes_that_are_good_are_counted_to_the_octet() {
    for (argument, allowed) in ARGUMENTS {
        if allowed.is_some() {
            continue;
        }
        let mut words = argument.split_whitespace();
        let len: usize = words.next().unwrap().parse().unwrap();
        let last = words.next().is_some();
        for policy in ["chunking allow", "base esmtp\nchunking allow"] {
            let mut wire = begun(policy);
            wire.client(format!("BDAT{argument}\r\n").as_bytes());
            let mut left = len;
            // Not all of the largest: it is the same octet by octet.
            let block = vec![b'\n'; 1 << 20];
            for _ in 0..3 {
                let now = left.min(block.len());
                wire.client(&block[..now]);
                left -= now;
            }
            assert_eq!(wire.next, Next::Go, "{argument}");
            if left > 0 {
                assert_eq!(wire.counters.smtp_content_bytes, 3 << 20);
                assert!(!wire.server_got.ends_with(b"QUIT\r\n"));
                wire.end();
                continue;
            }
            wire.server(b"250 ok\r\n");
            assert_eq!(wire.counters.smtp_messages, u64::from(last));
            wire.client(b"QUIT\r\n");
            wire.server(b"221 bye\r\n");
            assert!(wire.server_got.ends_with(b"QUIT\r\n"));
            assert_eq!((wire.counters.smtp_commands_quit, wire.counters.smtp_commands_bdat), (1, 1));
            wire.end();
            assert!(wire.reports.is_empty(), "{argument}: {:?}", wire.reports);
        }
    }
}

#[test]
fn a_whole_mail_in_one_flight_waits_where_it_must() {
    let mut wire = wire("chunking allow");
    wire.server(b"220 ready\r\n");
    wire.client(b"EHLO client\r\n");
    wire.server(b"250-server\r\n250 CHUNKING\r\n");
    let mails = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 5\r\nhelloBDAT 6 LAST\r\nworld\nMAIL FROM:<e@f>\r\nRCPT TO:<c@d>\r\nBDAT 1 LAST\r\nxQUIT\r\n";
    let sent =
        |wire: &Wire| String::from_utf8_lossy(&wire.server_got["EHLO client\r\n".len()..]).into_owned();
    wire.client(mails);
    assert_eq!((wire.next, sent(&wire).as_str()), (Next::Keep, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"));
    wire.server(b"250 ok\r\n");
    assert!(sent(&wire).ends_with("RCPT TO:<c@d>\r\n"), "its recipient is not known yet");
    wire.server(b"250 ok\r\n");
    assert!(sent(&wire).ends_with("\r\nBDAT 5\r\nhello"), "{}", sent(&wire));
    wire.server(b"250 ok\r\n");
    assert!(sent(&wire).ends_with("LAST\r\nworld\nMAIL FROM:<e@f>\r\nRCPT TO:<c@d>\r\n"), "{}", sent(&wire));
    wire.server(b"250 queued\r\n250 ok\r\n250 ok\r\n");
    assert_eq!(sent(&wire).as_bytes(), mails);
    wire.server(b"250 queued\r\n221 bye\r\n");
    assert_eq!((wire.next, wire.counters.smtp_messages), (Next::Go, 2));
    wire.end();
    assert!(wire.reports.is_empty(), "{:?}", wire.reports);
    let early = inspect::anomaly::Anomaly::EarlyClientData as usize;
    assert_eq!(wire.counters.anomalies[early], 0, "RFC 3030 lets clients send that early");
}

#[test]
fn chunks_behind_a_refused_one_are_swallowed_by_their_size() {
    for (first, reply) in [("BDAT 5", "552 5.3.4 too big"), ("BDAT 0", "504 zero size")] {
        let mut wire = begun("chunking allow");
        // Exim takes lines for commands now, those of chunks too.
        let rest = "BDAT 45 LAST\r\nRSET\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<c@d>\r\nDATAmore";
        let octets = if first.ends_with('5') { "hello" } else { "" };
        wire.client(format!("{first}\r\n{octets}{rest}").as_bytes());
        assert_eq!(wire.next, Next::Keep);
        wire.server(format!("{reply}\r\n").as_bytes());
        assert_eq!(wire.next, Next::Close(ReplyCode::BadSequence));
        assert!(wire.server_got.ends_with(format!("{first}\r\n{octets}").as_bytes()));
        let told = format!("{reply}\r\n503 Bad sequence of commands\r\n");
        assert!(wire.client_got.ends_with(told.as_bytes()), "each in its place");
        wire.end();
    }
    let mut wire = begun("chunking allow");
    wire.client(b"BDAT 0\r\n");
    wire.server(b"504 zero size\r\n");
    wire.client(b"BDAT 100000 LAST\r\n");
    for _ in 0..9 {
        wire.client(&[b'\n'; 10_000]);
        assert_eq!(wire.next, Next::Swallow, "no reply is read before the chunk is sent");
    }
    wire.client(&[b'\n'; 9_999]);
    assert_eq!(wire.next, Next::Swallow);
    wire.client(b"\n");
    assert_eq!(wire.next, Next::Close(ReplyCode::BadSequence));
    wire.end();
}

#[test]
fn no_recipient_no_chunk() {
    for (commands, replies) in [
        ("", ""),
        ("MAIL FROM:<a@b>\r\n", "250 ok\r\n"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n", "250 ok\r\n550 no\r\n451 later\r\n"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n", "250 ok\r\n250 ok\r\n250 ok\r\n"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nMAIL FROM:<e@f>\r\n", "250 ok\r\n250 ok\r\n250 ok\r\n"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1 LAST\r\nx", "250 ok\r\n250 ok\r\n451 later\r\n"),
    ] {
        let mut wire = wire("chunking allow");
        wire.server(b"220 ready\r\n");
        wire.client(b"EHLO client\r\n");
        wire.server(b"250-server\r\n250 CHUNKING\r\n");
        wire.client(format!("{commands}BDAT 10 LAST\r\nEVIL foo\r\n").as_bytes());
        for reply in replies.split_inclusive('\n') {
            assert_eq!(wire.next, Next::Keep, "{commands}");
            wire.server(reply.as_bytes());
        }
        assert_eq!(wire.next, Next::Close(ReplyCode::BadSequence), "{commands}");
        assert!(!String::from_utf8_lossy(&wire.server_got).contains("BDAT 10"), "{commands}");
        wire.end();
    }
}

const SEEN: &str = "chunking allow
decode both
class seen any log
 header regex (?i)^subject: .*two words
 header regex ^X-Long: a+b$
 body regex lottery
 body regex ^\\.dot
 body regex secret
 mime content-type regex application
 mime encoding unknown
 mime encoding base64
 header length gt 60
 data-length gt 100
class absent any log
 not header regex ^List-Id:
 not body regex nowhere
class bad any reset
 body regex forbidden";

const MAILS: [&str; 5] = [
    "Subject: two\r\n words\r\n\r\nlottery\r\n..dot\r\n",
    "X-Long: aaaaaaaab\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n.dot\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nc2VjcmV0\r\n--b--\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n\r\nlot=\r\ntery sec=72et\r\n",
    "From: a\r\nno field\r\n\r\nlottery\r\nThis is forbidden.\r\n",
    "Content-Type: application/x\r\n\r\nlottery\r\n",
];

/// What was reported of a mail, positions and lengths aside, which differ between the two ways to send it.
fn reports(wire: &mut Wire) -> (Vec<String>, u64) {
    wire.end();
    (wire.reports.clone(), wire.counters.smtp_messages)
}

#[test]
fn the_same_mail_in_any_chunks_is_judged_as_with_data() {
    let mut count = 0;
    for mail in MAILS {
        let mut wire = begun(SEEN);
        wire.client(b"DATA\r\n");
        wire.server(b"354 go\r\n");
        wire.client(mail.replace("\r\n.", "\r\n..").as_bytes());
        wire.client(b".\r\n");
        if wire.next == Next::Go {
            wire.server(b"250 queued\r\n");
        }
        let expected = reports(&mut wire);
        assert!(expected.0.len() >= 2, "{expected:?}");
        for chunks in segmentations(mail.as_bytes()) {
            for empty_last in [false, true] {
                let mut wire = begun(SEEN);
                let mut chunks = chunks.clone();
                if empty_last {
                    chunks.push(b"");
                }
                let last = chunks.len() - 1;
                for (index, chunk) in chunks.iter().enumerate() {
                    if wire.next != Next::Go {
                        break;
                    }
                    let word = if index == last { " LAST" } else { "" };
                    wire.client(format!("BDAT {}{word}\r\n", chunk.len()).as_bytes());
                    wire.client(chunk);
                    if wire.next == Next::Go {
                        wire.server(b"250 ok\r\n");
                    }
                }
                count += 1;
                let pieces: Vec<_> = chunks.iter().map(|chunk| chunk.len()).collect();
                assert_eq!(reports(&mut wire), expected, "{pieces:?} of {mail:?}");
            }
        }
    }
    println!("{count} mails in chunks");
}
