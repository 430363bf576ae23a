//! Sessions that are easier said in code: many lines, deadlines, budgets.

use inspect::anomaly::Anomaly;
use inspect::engine::dialogue::{DRAIN_TIME, Next, SWALLOW_TIME, TLS_MEMORY};
use inspect::event::ReplyCode;
use inspect::smtp::ext::EXTENSIONS;
use inspect::wire::Endpoint;

use crate::policy::Rulebook;
use crate::run::Wire;

fn wire(policy: &str) -> Wire {
    Wire::new(&Rulebook::parse(&policy.lines().collect::<Vec<_>>()).unwrap())
}

fn greeted(policy: &str) -> Wire {
    let mut wire = wire(policy);
    wire.server(b"220 ready\r\n");
    wire.client(b"HELO client\r\n");
    wire.server(b"250 server\r\n");
    wire
}

const BAD_RECIPIENT: &str = "base smtp\nclass c any log reset\n recipient address regex ^bad@";

#[test]
fn two_hundred_pipelined_recipients_of_which_the_37th_is_refused() {
    let mut wire = greeted(BAD_RECIPIENT);
    let mut flight = b"MAIL FROM:<a@b>\r\n".to_vec();
    for number in 1..=200 {
        let name = if number == 37 { "bad".to_owned() } else { format!("user{number}") };
        flight.extend_from_slice(format!("RCPT TO:<{name}@example.org>\r\n").as_bytes());
    }
    flight.extend_from_slice(b"DATA\r\n");
    wire.client(&flight);
    assert_eq!(wire.next, Next::Drain);
    assert_eq!(wire.server_got.iter().filter(|byte| **byte == b'\n').count(), 1 + 1 + 36);
    for reply in 0..36 {
        wire.server(b"250 ok\r\n");
        assert_eq!(wire.next, Next::Drain, "reply {reply}");
    }
    wire.server(b"250 ok\r\n");
    assert_eq!(wire.next, Next::Close(ReplyCode::Recipient));
    assert!(wire.client_got.ends_with(b"250 ok\r\n550 Recipient refused by mail policy\r\n"));
}

#[test]
fn two_hundred_pipelined_recipients_fit() {
    let mut wire = greeted(BAD_RECIPIENT);
    let mut flight = b"MAIL FROM:<a@b>\r\n".to_vec();
    for number in 1..=200 {
        flight.extend_from_slice(format!("RCPT TO:<user{number}@example.org>\r\n").as_bytes());
    }
    flight.extend_from_slice(b"DATA\r\n");
    wire.client(&flight);
    for _ in 0..201 {
        wire.server(b"250 ok\r\n");
    }
    wire.client(b"too early\r\n");
    wire.server(b"354 go\r\n");
    wire.client(b".\r\n");
    wire.server(b"250 done\r\n");
    assert_eq!(wire.next, Next::Go);
    assert!(wire.server_got.ends_with(b"DATA\r\ntoo early\r\n.\r\n"));
    assert_eq!(wire.counters.smtp_messages, 1);
}

#[test]
fn a_client_that_never_waits_is_out_of_step() {
    let mut wire = greeted("base smtp\nlimit junk-commands off");
    for _ in 0..4096 {
        wire.client(b"NOOP\r\n");
    }
    assert_eq!(wire.next, Next::Go);
    wire.client(b"NOOP\r\n");
    assert_eq!(wire.next, Next::Drain);
    assert_eq!(wire.dialogue.deadline(), Some(wire.now + DRAIN_TIME));
    wire.now = wire.now + DRAIN_TIME;
    wire.client(b"x");
    assert_eq!(wire.next, Next::Close(ReplyCode::OutOfSync));
}

#[test]
fn a_refused_message_is_not_swallowed_for_ever() {
    let mut wire = greeted("base smtp");
    wire.client(b"DATA\r\n");
    wire.server(b"354 go\r\n");
    wire.client(b"text\n.\r\nmore");
    assert_eq!((wire.next, wire.dialogue.deadline()), (Next::Swallow, Some(wire.now + SWALLOW_TIME)));
    wire.client(b"and more\r\n");
    assert_eq!(wire.next, Next::Swallow);
    wire.now = wire.now + SWALLOW_TIME;
    wire.client(b"and more\r\n");
    assert_eq!(wire.next, Next::Close(ReplyCode::Smuggling));

    let mut wire = greeted("base smtp");
    wire.client(b"DATA\r\n");
    wire.server(b"354 go\r\n");
    wire.client(b"text\n.\r\nmore");
    let block = vec![b'a'; 1 << 20];
    for _ in 0..63 {
        wire.client(&block);
        assert_eq!(wire.next, Next::Swallow);
    }
    wire.client(&block);
    wire.client(&block);
    assert_eq!(wire.next, Next::Close(ReplyCode::Smuggling));
}

/// An answer to EHLO with these keywords.
fn offered(policy: &str, keywords: &[&str]) -> Wire {
    let mut wire = wire(policy);
    wire.server(b"220 ready\r\n");
    wire.client(b"EHLO client\r\n");
    wire.server(b"250-server\r\n");
    for keyword in keywords {
        wire.server(format!("250-{keyword}\r\n").as_bytes());
    }
    wire.server(b"250 HELP\r\n");
    wire
}

#[test]
fn lines_have_their_limits() {
    let none: &[&str] = &[];
    for (keywords, verb, limit) in [
        (none, "NOOP ", 512),
        (none, "MAIL FROM:<", 512),
        (none, "RCPT TO:<", 512),
        (&["SIZE"], "MAIL FROM:<", 538),
        (&["SIZE", "8BITMIME", "DSN", "AUTH"], "MAIL FROM:<", 1165),
        (&["SIZE", "8BITMIME", "DSN", "AUTH"], "RCPT TO:<", 1042),
        (&["FUTURERELEASE", "NO-SOLICITING"], "MAIL FROM:<", 1546),
        (&["RRVS", "X-MUCH"], "RCPT TO:<", 545),
        (&["DSN"], "NOOP ", 512),
        (none, "AUTH LOGIN ", 12_288),
    ] {
        for (over, split) in [(0, false), (1, false), (0, true), (1, true)] {
            let mut wire = offered("base none", keywords);
            let mut line = verb.as_bytes().to_vec();
            line.resize(limit + over - 3, b'a');
            line.extend_from_slice(if verb.ends_with('<') { b">\r\n" } else { b"a\r\n" });
            if split {
                line.iter().for_each(|byte| wire.client(&[*byte]));
            } else {
                wire.client(&line);
            }
            let expected = if over == 0 { Next::Go } else { Next::Close(ReplyCode::Line) };
            assert_eq!(wire.next, expected, "{keywords:?} {verb} {over} {split}");
            wire.end();
            assert_eq!(wire.reports.len(), over);
            assert!(wire.reports.iter().all(|report| report.starts_with("SMTP_LINE_TOO_LONG close")));
        }
    }
}

#[test]
fn bdat_is_refused_whatever_its_size_is_said_to_be() {
    for policy in ["base none", "base esmtp", "base smtp"] {
        for size in [
            "0 LAST",
            "4294967296",
            "9223372036854775808 LAST",
            "18446744073709551616",
            "-1",
            "+1",
            "1 LAST x",
            "",
            "x",
        ] {
            let mut wire = greeted(policy);
            let before = wire.server_got.len();
            wire.client(format!("bdat {size}\r\nMAIL FROM:<x@y>\r\nRSET\r\n").as_bytes());
            assert_eq!(wire.next, Next::Close(ReplyCode::NotImplemented), "{policy} {size}");
            assert!(!wire.server_got[before..].contains(&b'\n'), "{policy} {size}");
            assert!(wire.client_got.ends_with(b"502 Command not implemented\r\n"));
            wire.end();
        }
    }
}

#[test]
fn a_server_that_stops_offering_tls_is_noticed() {
    let server = Endpoint { address: [7; 16], port: 25 };
    let mut stores = inspect::engine::dialogue::Stores::default();
    let mut now = inspect::unit::Instant::ZERO;
    let mut session = |keyword: &str, policy: &str, after: core::time::Duration, server: Endpoint| {
        let mut wire = wire(policy);
        now = now + after;
        wire.now = now;
        wire.stores = std::mem::take(&mut stores);
        wire.about(server);
        wire.server(b"220 ready\r\n");
        wire.client(b"EHLO client\r\n");
        wire.server(format!("250-server\r\n250 {keyword}\r\n").as_bytes());
        wire.end();
        stores = std::mem::take(&mut wire.stores);
        wire.counters.anomalies[Anomaly::StartTlsStripped as usize]
    };
    let soon = core::time::Duration::from_secs(3600);
    let other = Endpoint { port: 587, ..server };
    assert_eq!(session("SIZE", "base none", soon, server), 0, "never offered");
    assert_eq!(session("STARTTLS", "base none", soon, server), 0);
    assert_eq!(session("SIZE", "base none", soon, other), 0, "another server");
    assert_eq!(session("SIZE", "base none", soon, server), 1);
    assert_eq!(session("starttls", "base esmtp", soon, server), 0, "masked by the gateway itself");
    assert_eq!(session("SIZE", "base none", soon, server), 1);
    assert_eq!(session("SIZE", "base none", TLS_MEMORY, server), 0, "forgotten");
}

/// What each extension allows in a line beyond 512 octets (its RFC's own number), for MAIL and for RCPT.
#[test]
fn lines_are_as_long_as_each_extension_allows_and_not_an_octet_longer() {
    for extension in EXTENSIONS.iter().filter(|extension| extension.keyword != "REQUIRETLS") {
        let masked = ["BINARYMIME", "CHUNKING", "ATRN", "VERB"].contains(&extension.keyword);
        for (head, more) in [
            ("MAIL FROM:<a@b>", extension.mail),
            ("RCPT TO:<a@b>", extension.rcpt),
            ("NOOP", 0),
            ("VRFY a", 0),
            ("ETRN a", 0),
        ] {
            let limit = 512 + if masked { 0 } else { more };
            for (len, fits) in [(limit, true), (limit + 1, false)] {
                let mut wire = wire("base none");
                wire.server(b"220 ready\r\n");
                wire.client(b"EHLO client\r\n");
                wire.server(format!("250-server\r\n250 {}\r\n", extension.keyword).as_bytes());
                let line = format!("{head}{}\r\n", " ".repeat(len - head.len() - 2));
                wire.client(line.as_bytes());
                let expected = if fits { Next::Go } else { Next::Close(ReplyCode::Line) };
                assert_eq!(wire.next, expected, "{} {head} {len}", extension.keyword);
            }
        }
    }
}
