//! Whatever the two sides say, in whatever pieces: nothing panics, and a server behind the gateway does nothing that the
//! policy forbids.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use inspect::engine::dialogue::Next;

use crate::policy::Rulebook;
use crate::run::Wire;

/// The same cases every time; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for others.
pub fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        default
    } else {
        ProptestConfig { cases, rng_seed: RngSeed::Fixed(25), ..default }
    }
}

const POLICY: &str = "base none
audit-trail
class verbs any log mask
 cmd verb VRFY
 cmd verb XFORBIDDEN
 reply ehlo ETRN
class evil any log reset
 sender address regex evil
 recipient count gt 3
 body regex lottery
 header regex (?i)subject:.*prize
 cmd verb XRESET
class noise any log
 mime content-type regex application
 mime encoding unknown
 header length gt 100
 data-length gt 200
 not body regex hello
 recipient invalid count gt 0";

fn policies() -> Vec<Rulebook> {
    [
        POLICY,
        "base smtp",
        "base esmtp\nmax-data 300\ndecode both\nclass a all log reset\n body regex lottery",
        &POLICY.replace("audit-trail", "audit-trail\nchunking allow"),
    ]
    .map(|text| Rulebook::parse(&text.lines().collect::<Vec<_>>()).unwrap())
    .into()
}

/// What clients say, good and bad, whole and in parts.
fn client_words() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"HELO client\r\n",
        b"EHLO client\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<evil@b>\r\n",
        b"MAIL FROM:<a@b> SIZE=10\r\n",
        b"MAIL FROM:<a@b> SIZE=10 SIZE=10\r\n",
        b"MAIL FROM:<a@b> ETRN=1\r\n",
        b"RCPT TO:<|sh>\r\n",
        b"DEBUG\r\n",
        b"Reply-To: `id`\r\n",
        b"RCPT TO:<a@b>\r\n",
        b"RCPT TO:<unknown@b>\r\n",
        b"DATA\r\n",
        b"RSET\r\n",
        b"RSET x\r\n",
        b"Content-Transfer-Encoding: base64\r\n\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
        b"bG90dGVyeQ==\r\n",
        b"lot=74=\r\nery\r\n",
        b"VRFY a\r\n",
        b"vrfy\r\n",
        b"XFORBIDDEN\r\n",
        b"XRESET\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH PLAIN AGEAYg==\r\n",
        b"STARTTLS\r\n",
        b"BDAT 7\r\n",
        b"BDAT 6\r\nRSET\r\n",
        b"BDAT 9 LAST\r\nlottery\r\n",
        b"BDAT 5\r\nhello",
        b"BDAT 0\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 6 LAST\r\nVRFY\r\n",
        b"BDAT 00002\r\n\r\n",
        b"BDAT 4294967298\r\n",
        b"BDAT 2 LAST \r\n",
        b"bdat +2\r\n",
        b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nBDAT 3 LAST\r\nabc",
        b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nBDAT 6\r\nlotter",
        b"BDAT 3 LAST\r\ny\r\n",
        b"NOOP\r\n",
        b"EVIL\r\n",
        b"\x16\x03\x01",
        b"Subject: a prize\r\n",
        b"Subject: x\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: application/x\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"--b\r\n",
        b"--b--\r\n",
        b"--",
        b"\r\n",
        b"lottery\r\n",
        b"hello\r\n",
        b".\r\n",
        b"..\r\n",
        b".",
        b"\r",
        b"\n",
        b"\0",
        b" ",
        b"*\r\n",
        b"V",
        b"RFY",
        b"DA",
        b"TA",
    ];
    prop_oneof![
        9 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 1..40),
    ]
}

/// The first word of a command, as servers have it.
fn verb(line: &str) -> &str {
    line.trim_start_matches([' ', '\t']).split([' ', '\t', ':']).next().unwrap_or("")
}

/// A server that is as simple as they come: it believes what it reads, and notes what it did.
#[derive(Debug, Default)]
struct Server {
    unread: Vec<u8>,
    in_data: bool,
    in_exchange: bool,
    in_tls: bool,
    /// CHUNKING was offered in the last EHLO reply.
    chunks: bool,
    /// Like Exim after a command that it did not want between chunks: only RSET is obeyed.
    sulks: bool,
    recipients: u32,
    /// Chunks so far, and of the one under way what is missing and whether it is the last.
    message: Option<Vec<u8>>,
    chunk: Option<(usize, bool)>,
    /// What to say next; a number for each decision it has to make.
    mood: Vec<u8>,
    replies: Vec<u8>,
    did: Vec<String>,
}

impl Server {
    fn mood(&mut self) -> u8 {
        self.mood.pop().unwrap_or(0)
    }

    fn say(&mut self, text: &str) {
        self.replies.extend_from_slice(text.as_bytes());
        self.replies.extend_from_slice(b"\r\n");
    }

    fn hear(&mut self, octets: &[u8]) {
        self.unread.extend_from_slice(octets);
        loop {
            if self.in_tls {
                if let Some(first) = self.unread.first() {
                    assert_eq!(*first, 0x16, "plain text after STARTTLS");
                }
                return;
            }
            if let Some((len, last)) = self.chunk {
                if self.unread.len() < len {
                    return;
                }
                let rest = self.unread.split_off(len);
                let octets = std::mem::replace(&mut self.unread, rest);
                self.chunk = None;
                self.chunked(&octets, last);
                continue;
            }
            if self.in_data {
                let whole = [b"\r\n", &self.unread[..]].concat();
                let Some(end) = whole.windows(5).position(|window| window == b"\r\n.\r\n") else { return };
                let message = whole[2..end + 2].to_vec();
                self.unread = whole[end + 5..].to_vec();
                self.in_data = false;
                self.recipients = 0;
                self.did.push(format!("MESSAGE {}", message.escape_ascii()));
                self.say("250 queued");
                continue;
            }
            let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') else { return };
            let rest = self.unread.split_off(end + 1);
            let line = std::mem::replace(&mut self.unread, rest);
            assert!(line.ends_with(b"\r\n"), "a bare LF ended a command: {}", line.escape_ascii());
            let line = &line[..line.len() - 2];
            assert!(!line.contains(&b'\r') && !line.contains(&0), "in a command: {}", line.escape_ascii());
            assert!(line.len() <= 12_286);
            self.execute(line);
        }
    }

    /// A chunk is complete. Any may be refused; what follows then is read as commands.
    fn chunked(&mut self, octets: &[u8], last: bool) {
        if self.mood() % 4 == 3 || (octets.is_empty() && !last) {
            (self.message, self.recipients, self.sulks) = (None, 0, true);
            return self.say("552 no");
        }
        let message = self.message.get_or_insert_default();
        message.extend_from_slice(octets);
        if last {
            let message = self.message.take().unwrap();
            self.did.push(format!("MESSAGE {}", message.escape_ascii()));
            self.recipients = 0;
        }
        self.say("250 chunk");
    }

    /// The worst there is: what it does not want is not followed by a chunk.
    fn bdat(&mut self, text: &str) {
        if !self.chunks || self.recipients == 0 || self.sulks {
            return self.say("503 no");
        }
        let argument = text.strip_prefix("BDAT ").unwrap();
        let (size, last) = match argument.strip_suffix(" LAST") {
            Some(size) => (size, true),
            None => (argument, false),
        };
        // 32 bits, and what `strtoul` leaves.
        let size = size.parse::<u64>().expect("a size") as u32;
        self.chunk = Some((size as usize, last));
    }

    fn execute(&mut self, line: &[u8]) {
        let mood = self.mood();
        if std::mem::take(&mut self.in_exchange) {
            self.did.push("EXCHANGE".into());
            self.in_exchange = mood % 2 == 1 && line != b"*";
            return self.say(if self.in_exchange { "334 more" } else { "235 in" });
        }
        let text = String::from_utf8_lossy(line).to_uppercase();
        let verb = verb(&text).to_owned();
        self.did.push(text.clone());
        if self.sulks && !matches!(verb.as_str(), "RSET" | "QUIT") {
            return self.say("503 only RSET");
        }
        if self.message.is_some() && !matches!(verb.as_str(), "BDAT" | "NOOP" | "QUIT" | "RSET") {
            self.sulks = true;
            return self.say("503 only BDAT");
        }
        match verb.as_str() {
            "BDAT" => self.bdat(&text),
            "RSET" if text.len() == 4 => {
                (self.message, self.recipients, self.sulks) = (None, 0, false);
                self.say("250 ok");
            }
            "RCPT" if !text.contains("UNKNOWN") && mood % 5 != 4 => {
                self.recipients += 1;
                self.say("250 ok");
            }
            "RCPT" if mood % 5 == 4 => self.say("451 later"),
            "MAIL" => {
                self.recipients = 0;
                self.say("250 ok");
            }
            "DATA" if mood % 4 != 3 => {
                self.in_data = true;
                self.say("354-go\r\n354 on");
            }
            "DATA" => self.say("503 no"),
            "EHLO" if mood % 8 == 7 => {
                (self.chunks, self.recipients) = (false, 0);
                self.say("250 server");
            }
            "EHLO" => {
                (self.chunks, self.recipients) = (true, 0);
                self.say("250-server\r\n250-ETRN x\r\n250-CHUNKING\r\n250-SIZE\r\n250 STARTTLS");
            }
            "HELO" => {
                (self.chunks, self.recipients) = (false, 0);
                self.say("250 server");
            }
            "STARTTLS" if mood.is_multiple_of(3) => {
                self.in_tls = true;
                self.say("220 go");
            }
            "STARTTLS" => self.say("454 not now"),
            "AUTH" if mood.is_multiple_of(2) => {
                self.in_exchange = true;
                self.say("334 more");
            }
            "RCPT" if text.contains("UNKNOWN") => self.say("550 5.1.1 who"),
            "NOOP" => self.say("250 ok"),
            _ => self.say("500 what"),
        }
    }
}

/// Whether a verb came before the first of these deeds.
fn deeds_before(did: &[String], deed: &str, earlier: &str) -> bool {
    did.iter().take_while(|other| *other != deed).any(|other| verb(other) == earlier)
}

/// Sends what the client says through the gateway to the server, in pieces, and back.
fn converse(rulebook: &Rulebook, words: &[Vec<u8>], cuts: &[u8], mood: Vec<u8>) -> (Server, Wire) {
    let mut wire = Wire::new(rulebook);
    let mut server = Server { mood, ..Server::default() };
    server.say("220 ready");
    let said = words.concat();
    let mut unsaid = &said[..];
    let mut cut = cuts.iter().cycle().copied();
    let mut heard = 0;
    for _ in 0..10_000 {
        let len = usize::from(cut.next().unwrap_or(255)).clamp(1, 255);
        let talks = len % 3 > 0 || server.replies.is_empty();
        if talks && !unsaid.is_empty() {
            let (piece, rest) = unsaid.split_at(len.min(unsaid.len()));
            unsaid = rest;
            wire.client(piece);
        } else if !server.replies.is_empty() {
            let rest = server.replies.split_off(len.min(server.replies.len()));
            let piece = std::mem::replace(&mut server.replies, rest);
            wire.server(&piece);
        } else if unsaid.is_empty() {
            break;
        }
        let closed = matches!(wire.next, Next::Close(_) | Next::Swallow);
        server.hear(&wire.server_got[heard..]);
        heard = wire.server_got.len();
        if closed {
            // Reset by the gateway: it says and hears no more.
            server.replies.clear();
        }
    }
    wire.end();
    (server, wire)
}

/// Chunks, what may stand between them, and what may not.
fn chunk_words() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"BDAT 6\r\nRSET\r\n",
        b"BDAT 6\r\nVRFY\r\n",
        b"BDAT 6 LAST\r\nVRFY\r\n",
        b"BDAT 7\r\n\r\nlott",
        b"BDAT 7\r\n\r\nlottBDAT 6\r\nery\r\n",
        b"BDAT 3 LAST\r\nery",
        b"BDAT 1\r\n\r",
        b"BDAT 0\r\n",
        b"BDAT 0 LAST\r\n",
        b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n",
        b"MAIL FROM:<a@b>\r\nRCPT TO:<unknown@b>\r\n",
        b"RCPT TO:<a@b>\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"VRFY\r\n",
        b"EXPN\r\n",
        b"EHLO client\r\n",
        b"HELO client\r\n",
        b"DATA\r\n",
        b".\r\n",
    ];
    proptest::sample::select(words).prop_map(<[u8]>::to_vec)
}

/// The server takes for commands what follows any BDAT that it does not want.
#[test]
fn chunks_reach_only_a_server_that_is_ready_for_them() {
    let rulebook = &policies()[3];
    let words = vec(chunk_words(), 1..12);
    let strategy = (words, vec(any::<u8>(), 1..12), vec(any::<u8>(), 0..30));
    let (delivered, refused) = (Cell::new(0), Cell::new(0));
    let run = TestRunner::new(config(6000)).run(&strategy, |(words, cuts, mood)| {
        let start = b"EHLO client\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n".to_vec();
        let words: Vec<Vec<u8>> = [start].into_iter().chain(words).collect();
        let (server, wire) = converse(rulebook, &words, &cuts, mood);
        let chunked = server.did.iter().any(|deed| deed.starts_with("BDAT"));
        for deed in &server.did {
            prop_assert!(verb(deed) != "VRFY", "{:?}", server.did);
            let hidden = deed.starts_with("MESSAGE") && deed.contains("lottery");
            prop_assert!(!hidden, "{:?}", server.did);
            delivered.set(delivered.get() + u32::from(chunked && deed.starts_with("MESSAGE")));
        }
        refused.set(refused.get() + u32::from(wire.reports.iter().any(|report| report.ends_with(" 503"))));
        Ok(())
    });
    run.unwrap();
    println!("{} messages delivered, {} sessions out of sequence", delivered.get(), refused.get());
    assert!(delivered.get() > 500 && refused.get() > 500, "it tries what it is about");
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn the_server_does_nothing_forbidden(
        which in 0..4_usize,
        words in vec(client_words(), 0..40),
        cuts in vec(any::<u8>(), 1..12),
        mood in vec(any::<u8>(), 0..30),
    ) {
        let rulebook = &policies()[which];
        let (server, wire) = converse(rulebook, &words, &cuts, mood);
        let mut recipients = 0;
        for deed in &server.did {
            let verb = verb(deed);
            let forbidden: &[&str] = match which {
                0 => &["VRFY", "XFORBIDDEN", "XRESET", "BDAT"],
                1 => &["EHLO", "AUTH", "STARTTLS", "XRESET", "BDAT"],
                2 => &["STARTTLS", "XRESET", "EVIL", "BDAT"],
                _ => &["VRFY", "XFORBIDDEN", "XRESET"],
            };
            prop_assert!(!forbidden.contains(&verb), "{deed}");
            match verb {
                "MAIL" => {
                    prop_assert!(which % 3 != 0 || !deed.contains("EVIL"), "{deed}");
                    let offered = deeds_before(&server.did, deed, "EHLO");
                    prop_assert!(!deed.contains("ETRN=") && !deed.contains("SIZE=10 SIZE"), "{deed}");
                    prop_assert!(!deed.contains("SIZE=") || (which != 1 && offered), "{deed}");
                }
                "DEBUG" => prop_assert!(false, "{deed}"),
                "RCPT" if deed.contains('|') => prop_assert!(false, "{deed}"),
                "RCPT" => recipients += 1,
                "HELO" | "EHLO" | "RSET" => recipients = 0,
                "MESSAGE" => {
                    recipients = 0;
                    prop_assert!(which == 1 || !deed.contains("lottery") || deed.contains("base64")
                        || deed.contains("application"), "{deed}");
                }
                _ => {}
            }
            prop_assert!(which % 3 != 0 || recipients <= 3, "{:?}", server.did);
        }
        let shown = String::from_utf8_lossy(&wire.client_got).into_owned();
        prop_assert!(which == 3 || !shown.contains("CHUNKING\r\n"), "{shown}");
        prop_assert!(which == 1 || !shown.contains("ETRN x\r\n") || which == 2, "{shown}");
    }

    #[test]
    fn nothing_panics_and_everything_is_given_back(
        which in 0..4_usize,
        steps in vec((any::<bool>(), prop_oneof![
            client_words(),
            vec(any::<u8>(), 0..60),
            proptest::sample::select(vec!["220 x\r\n", "250 x\r\n", "250-x\r\n", "354 x\r\n", "334 x\r\n", "500 x\r\n", "421 x\r\n", "25", "0 x\r\n"])
                .prop_map(|text| text.as_bytes().to_vec()),
        ]), 0..60),
    ) {
        let mut wire = Wire::new(&policies()[which]);
        for (from_client, octets) in &steps {
            if *from_client {
                wire.client(octets);
            } else {
                wire.server(octets);
            }
        }
        wire.end();
    }
}
