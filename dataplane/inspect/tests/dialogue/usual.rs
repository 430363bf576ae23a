//! Lines that are read in one step because there is nothing to say about them: what comes of them is what comes of any other line. A line that
//! arrives in two parts is never read in one step, so each session is run both ways.

use inspect::engine::dialogue::Next;
use proptest::prelude::*;

use crate::hostile::config;
use crate::policy::Rulebook;
use crate::run::Wire;

const POLICIES: &[&str] = &[
    "base none",
    "base smtp\nrelay-probes refuse\nsignature 3105 on",
    "base esmtp\naudit-trail",
    "base none\nsignature 3106 on\nspam 2",
    "base none\nclass c any log reset\n recipient address regex evil",
    "base none\nclass c any log\n recipient address regex evil\nclass d any log reset\n recipient count gt 4",
    "base none\nclass c any log reset\n not recipient address regex a",
    "base none\nclass c any log reset\n not recipient count gt 1",
    "base none\nclass c any log reset\n cmd line length gt 40",
    "base none\nclass c any log reset\n cmd verb rcpt",
    "base none\nclass c any log\n not cmd verb MAIL",
    "base none\nclass c any log reset\n always",
    "base none\nclass c any log reset\n recipient invalid count gt 2",
    "base none\nclass c all log reset\n sender address regex evil\n recipient address regex evil",
    "base none\nsynchronization strict",
];

/// What lines begin with. Verbs that are overwritten look different when they come in parts.
const BEGINNINGS: &[&str] = &[
    "RCPT TO:<",
    "rcpt to:<",
    "Rcpt To:<",
    "RCPT TO: <",
    "RCPT  TO:<",
    "RCPT\tTO:<",
    "RCPT TO:",
    "MAIL FROM:<",
];

/// Parts of lines.
const PARTS: &[&str] = &[
    "a",
    "evil",
    "decode",
    "UUdecode",
    "user.name+tag=1_x-y",
    "abcdefgh",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "@",
    "example.org",
    "%",
    "!",
    "\"",
    "$(x)",
    "\t",
    " ",
    "\u{e9}",
    "<",
    ">",
    "> NOTIFY=NEVER",
    "> X",
];

fn lines() -> impl Strategy<Value = Vec<String>> {
    let parts = proptest::collection::vec(proptest::sample::select(PARTS), 0..7);
    let odd = (proptest::sample::select(BEGINNINGS), parts)
        .prop_map(|(begin, parts)| format!("{begin}{}\r\n", parts.concat()));
    let usual = proptest::sample::select(&["a", "evil", "decode", "d", "@", ""][..])
        .prop_flat_map(|local| (Just(local), 0..300_usize))
        .prop_map(|(local, len)| {
            format!("RCPT TO:<{local}{}@example.org>\r\n", "x".repeat(len % 13 * (len % 7)))
        });
    let other = proptest::sample::select(&["RSET\r\n", "NOOP\r\n", "DATA\r\n", "MAIL FROM:<a@b>\r\n"][..]);
    proptest::collection::vec(prop_oneof![5 => usual, 2 => odd, 1 => other.prop_map(str::to_owned)], 1..12)
}

/// What came of a session whose flights are whole, or whose lines come in two parts.
fn run(policy: &str, greeting: &str, flight: &[String], replies: &[&str], whole: bool) -> (Vec<u8>, String) {
    let mut wire = Wire::new(&Rulebook::parse(&policy.lines().collect::<Vec<_>>()).unwrap());
    wire.server(b"220 ready\r\n");
    wire.client(greeting.as_bytes());
    wire.server(b"250-server\r\n250 PIPELINING\r\n");
    let said = flight.concat();
    if whole {
        wire.client(said.as_bytes());
    } else {
        for line in said.as_bytes().split_inclusive(|byte| *byte == b'\n') {
            let (line, end) = line.split_at(line.len() - 1);
            wire.client(line);
            wire.client(end);
        }
    }
    // Line by line: what the client could not say before a reply it says behind it.
    for line in replies.concat().as_bytes().split_inclusive(|byte| *byte == b'\n') {
        let (begin, end) = line.split_at(if whole { 0 } else { line.len() - 1 });
        if !begin.is_empty() {
            wire.server(begin);
        }
        wire.server(end);
    }
    let last = wire.server_got.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    wire.server_got.truncate(last);
    // Of the line by which a session is refused a part may have left.
    let told = if wire.next == Next::Go { &wire.client_got[..] } else { &[] };
    let state = format!("{:?} {} {:?}", wire.next, told.escape_ascii(), wire.counters);
    wire.end();
    (wire.server_got, format!("{state} {:?}", wire.reports))
}

proptest! {
    #![proptest_config(config(5000))]

    #[test]
    fn lines_read_in_one_step_have_the_same_outcome(
        policy in proptest::sample::select(POLICIES),
        greeting in proptest::sample::select(&["EHLO a\r\n", "HELO a\r\n"][..]),
        lines in lines(),
        replies in proptest::collection::vec(
            proptest::sample::select(&[
                "250 2.1.5 Ok\r\n", "250 2.1.5 Ok\r\n", "250 2.1.5 Ok\r\n", "250 ok\r\n", "250\r\n", "250-a\r\n250 b\r\n",
                "550 5.1.1 no\r\n", "450 4.1.2 later\r\n", "252 maybe\r\n", "354 go\r\n", "279 odd\r\n",
            ][..]),
            0..12,
        ),
    ) {
        let whole = run(policy, greeting, &lines, &replies, true);
        let parts = run(policy, greeting, &lines, &replies, false);
        prop_assert_eq!(whole.0.escape_ascii().to_string(), parts.0.escape_ascii().to_string());
        prop_assert_eq!(whole.1, parts.1);
    }
}

const KEYWORD_POLICIES: &[&str] = &[
    "base none",
    "base smtp\nstarttls mask",
    "base esmtp",
    "base none\nchunking allow\nauth require-tls",
    "base none\nstarttls require",
    "base none\nsasl-layers opaque\nallow-verbs debug",
    "base none\nclass c any log mask\n reply ehlo SIZE",
    "base none\nclass c any log reset\n reply ehlo DSN",
    "base none\nclass c any log\n not reply ehlo SIZE",
    "base esmtp\nclass c any log allow\n reply ehlo STARTTLS",
    "base none\nclass c any log\n always",
];

/// Lines of the reply to EHLO.
const OFFERS: &[&str] = &[
    "250-PIPELINING",
    "250-SIZE 1000",
    "250-size",
    "250-STARTTLS",
    "250-starttls now",
    "250-8BITMIME",
    "250-DSN",
    "250-CHUNKING",
    "250-BINARYMIME",
    "250-SMTPUTF8",
    "250-REQUIRETLS",
    "250-ENHANCEDSTATUSCODES",
    "250-ENHANCEDSTATUSCODES\t",
    "250-AUTH PLAIN GSSAPI",
    "250-AUTH=PLAIN",
    "250-VERB",
    "250-VRFY",
    "250-HELP",
    "250-EXPN-",
    "250-X-PRIVATE",
    "250-",
    "250- SIZE",
    "250-\u{e9}",
    "250-SIZE\r",
    "251-SIZE",
    "550-SIZE",
    "250 DSN",
];

/// What a session says whose server offers this. Of what is overwritten other letters are left when it comes in parts.
fn offered(policy: &str, offers: &[&str], whole: bool) -> (Vec<String>, String) {
    let mut wire = Wire::new(&Rulebook::parse(&policy.lines().collect::<Vec<_>>()).unwrap());
    wire.server(b"220 ready\r\n");
    wire.client(b"EHLO a\r\n");
    let said = format!("250-server\r\n{}\r\n250 HELP\r\n", offers.join("\r\n"));
    if whole {
        wire.server(said.as_bytes());
    } else {
        for line in said.as_bytes().split_inclusive(|byte| *byte == b'\n') {
            let (line, end) = line.split_at(line.len() - 1);
            wire.server(line);
            wire.server(end);
        }
    }
    // What was offered shows in what may be said.
    for line in
        ["MAIL FROM:<a@b> SIZE=1\r\n", "RCPT TO:<c@d> NOTIFY=NEVER\r\n", "STARTTLS\r\n", "BDAT 1 LAST\r\n"]
    {
        wire.client(line.as_bytes());
        wire.server(b"250 2.0.0 ok\r\n");
    }
    let got = String::from_utf8_lossy(&wire.client_got).into_owned();
    let lines = got.split_inclusive('\n').map(|line| {
        if line.contains("XX") { "overwritten".to_owned() } else { line.escape_debug().to_string() }
    });
    let lines = if wire.next == Next::Go { lines.collect() } else { Vec::new() };
    let state = format!("{:?} {} {:?}", wire.next, wire.server_got.escape_ascii(), wire.counters);
    wire.end();
    (lines, format!("{state} {:?}", wire.reports))
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn offers_read_in_one_step_have_the_same_outcome(
        policy in proptest::sample::select(KEYWORD_POLICIES),
        offers in proptest::collection::vec(proptest::sample::select(OFFERS), 1..8),
    ) {
        prop_assert_eq!(offered(policy, &offers, true), offered(policy, &offers, false));
    }
}

#[test]
fn the_limit_of_commands_without_reply_holds_for_them() {
    for whole in [true, false] {
        let lines: Vec<_> = (0..5000).map(|number| format!("RCPT TO:<u{number}@example.org>\r\n")).collect();
        let (server_got, state) = run("base none", "EHLO a\r\n", &lines, &[], whole);
        assert_eq!(server_got.iter().filter(|byte| **byte == b'\n').count(), 1 + 4096);
        assert!(state.contains("Drain"), "{state}");
    }
}
