//! What a mail client and a mail server say to each other.

use std::collections::VecDeque;

use inspect::unit::Direction::{self, ClientToServer, ServerToClient};

use super::connection::{Style, Turn};
use super::mail::{self, Subject};
use super::seed::Seed;
use crate::patterns::{Target, sample};

/// Octets of a small mail, as content of DATA.
pub const SMALL_LEN: usize = 2048;
/// Octets of base64 in a large mail: the attachment is 1.05 MB.
pub const LARGE_LEN: usize = 1_440_000;
/// Octets of each mail of a pipelined session.
pub const PIPELINED_LEN: usize = 8192;
/// Mails of a pipelined session.
pub const PIPELINED_MAILS: u64 = 3;
/// Recipients of each of them.
pub const PIPELINED_RECIPIENTS: usize = 20;
/// One mail in so many has text that a body pattern matches, and one session in so many a sender that an address
/// pattern matches, so that hits can be counted.
pub const PLANT_EVERY: u64 = 64;
/// The texts are those of the first so many patterns.
pub const PLANTED_PATTERNS: usize = 10;

const GREETING: &str = "220 mx.example.net ESMTP Postfix\r\n";
const EHLO_REPLY: &str = "250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ETRN\r\n\
     250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n";
const GO_AHEAD: &str = "354 End data with <CR><LF>.<CR><LF>\r\n";

/// What was put into the traffic for patterns to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Planted {
    /// Mails with a text that a body pattern matches.
    pub bodies: u64,
    /// MAIL commands with an address that an address pattern matches.
    pub senders: u64,
}

/// A dialogue under construction.
#[derive(Debug)]
pub struct Script<'a> {
    number: u64,
    seed: Seed,
    library: &'a [u8],
    turns: VecDeque<Turn>,
    /// What was put in so far.
    pub planted: Planted,
}

impl<'a> Script<'a> {
    /// The dialogue of session `number`; attachments are cut from `library`.
    #[must_use]
    pub fn new(number: u64, seed: Seed, library: &'a [u8]) -> Self {
        Self { number, seed, library, turns: VecDeque::new(), planted: Planted::default() }
    }

    /// The turns so far.
    #[must_use]
    pub fn into_turns(self) -> VecDeque<Turn> {
        self.turns
    }

    /// The whole dialogue of one mail, command by command.
    pub fn one_mail(&mut self, content: Content) {
        self.begin();
        let sender = self.sender(0);
        let size = content.len();
        self.exchange(&format!("MAIL FROM:<{sender}> SIZE={size}\r\n"), "250 2.1.0 Ok\r\n");
        let recipient = self.recipient();
        self.exchange(&format!("RCPT TO:<{recipient}>\r\n"), "250 2.1.5 Ok\r\n");
        self.exchange("DATA\r\n", GO_AHEAD);
        let mut octets = Vec::new();
        self.mail(0, content, &recipient, &mut octets);
        octets.extend(b".\r\n");
        self.client(octets);
        self.server(&self.queued(0));
        self.exchange("QUIT\r\n", "221 2.0.0 Bye\r\n");
    }

    /// Several mails to many recipients, as RFC 2920 has it: MAIL, every RCPT and DATA in one write, and the next group
    /// right behind the end of data.
    pub fn pipelined(&mut self) {
        self.begin();
        let mut client = Vec::new();
        let mut server = String::new();
        for mail in 0..PIPELINED_MAILS {
            let sender = self.sender(mail);
            client.extend(format!("MAIL FROM:<{sender}>\r\n").into_bytes());
            server += "250 2.1.0 Ok\r\n";
            let mut recipient = String::new();
            for _ in 0..PIPELINED_RECIPIENTS {
                recipient = self.recipient();
                client.extend(format!("RCPT TO:<{recipient}>\r\n").into_bytes());
                server += "250 2.1.5 Ok\r\n";
            }
            client.extend(b"DATA\r\n");
            server += GO_AHEAD;
            self.client(std::mem::take(&mut client));
            self.server(&std::mem::take(&mut server));
            self.mail(mail, Content::Plain(PIPELINED_LEN), &recipient, &mut client);
            client.extend(b".\r\n");
            server = self.queued(mail);
        }
        client.extend(b"QUIT\r\n");
        server += "221 2.0.0 Bye\r\n";
        self.client(client);
        self.server(&server);
    }

    /// Greeting and EHLO.
    pub fn begin(&mut self) {
        self.server(GREETING);
        self.exchange(&format!("EHLO host{}.example.org\r\n", self.number), EHLO_REPLY);
    }

    /// A command and its reply.
    pub fn exchange(&mut self, command: &str, reply: &str) {
        self.client(command.as_bytes().to_vec());
        self.server(reply);
    }

    /// Octets of the client.
    pub fn client(&mut self, octets: Vec<u8>) {
        self.say(ClientToServer, octets, Style::Plain);
    }

    /// Octets of the server.
    pub fn server(&mut self, text: &str) {
        self.say(ServerToClient, text.as_bytes().to_vec(), Style::Plain);
    }

    /// Octets of either, cut in some way.
    pub fn say(&mut self, speaker: Direction, octets: Vec<u8>, style: Style) {
        self.turns.push_back(Turn { speaker, octets, style });
    }

    /// An envelope address.
    pub fn recipient(&mut self) -> String {
        let word = self.seed.pick(mail::WORDS);
        let token = self.seed.below(1_000_000);
        format!("{word}{token}@example.net")
    }

    fn sender(&mut self, mail: u64) -> String {
        if mail == 0 && self.number % PLANT_EVERY == PLANT_EVERY / 2 {
            self.planted.senders += 1;
            return sample(Target::Address, (self.number / PLANT_EVERY) as usize % PLANTED_PATTERNS);
        }
        let word = self.seed.pick(mail::WORDS);
        format!("{word}{}@example.org", self.number)
    }

    fn queued(&self, mail: u64) -> String {
        format!("250 2.0.0 Ok: queued as {:X}{mail}\r\n", self.number)
    }

    fn mail(&mut self, index: u64, content: Content, to: &str, out: &mut Vec<u8>) {
        let is_planted = index == 0 && self.number.is_multiple_of(PLANT_EVERY);
        let planted =
            is_planted.then(|| sample(Target::Body, (self.number / PLANT_EVERY) as usize % PLANTED_PATTERNS));
        self.planted.bodies += u64::from(is_planted);
        let subject = Subject {
            number: self.number * PIPELINED_MAILS + index,
            from: "author@example.org",
            to,
            planted: planted.as_deref(),
        };
        match content {
            Content::Plain(len) => mail::plain(&subject, len, &mut self.seed, out),
            Content::Attachment(label) => {
                mail::with_attachment(&subject, label, LARGE_LEN, self.library, &mut self.seed, out);
            }
        }
    }
}

/// What a mail is made of.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// Prose, so many octets with the header.
    Plain(usize),
    /// A short text and a large attachment.
    Attachment(mail::Label),
}

impl Content {
    /// A small mail.
    pub const SMALL: Content = Content::Plain(SMALL_LEN);

    /// Octets, about.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Content::Plain(len) => len,
            Content::Attachment(_) => LARGE_LEN,
        }
    }
}
