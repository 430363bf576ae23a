//! What a client and a server say, in any pieces.
//!
//! An input is six octets of settings, then what the client says; the server answers by itself, with moods that come from the settings. Or,
//! when the first octet says so, records of both sides, and the server is as hostile as the client.

use std::sync::Arc;

use artifact::model::Policy;
use inspect::counter::Counters;
use inspect::engine::dialogue::{Context, Dialogue, Next, Stores};
use inspect::event::{FlowTag, Journal, Record};
use inspect::unit::Instant;
use inspect::verdict::Rules;
use postern::journal::json::Event;
use postern::journal::message::message;
use postern::matcher::PatternMatcher;

use super::house::{loaded, policy, verb};
use super::octets::Octets;

/// A session between two ends that send again what was not taken.
pub struct Talk {
    policy: Arc<Policy>,
    rules: Rules,
    matcher: PatternMatcher,
    stores: Stores,
    journal: Journal,
    counters: Counters,
    dialogue: Dialogue,
    waiting: Vec<u8>,
    /// What the server was given.
    pub server_got: Vec<u8>,
    /// What the client was given.
    pub client_got: Vec<u8>,
    /// What the session needs next.
    pub next: Next,
}

impl Talk {
    /// A session under the policy of the house; `None` without memory for its patterns.
    #[must_use]
    pub fn new() -> Option<Self> {
        let policy = policy();
        Some(Self {
            rules: Rules::new(&policy.smtp[0]),
            matcher: loaded().patterns.matcher(4).ok()?,
            stores: Stores::default(),
            journal: Journal::new(4096),
            counters: Counters::default(),
            dialogue: Dialogue::new(0),
            waiting: Vec::new(),
            server_got: Vec::new(),
            client_got: Vec::new(),
            next: Next::Go,
            policy,
        })
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Dialogue, &mut Context<'_, PatternMatcher>) -> R) -> R {
        let mut context = Context {
            now: Instant::ZERO,
            rules: &self.rules,
            matcher: &mut self.matcher,
            stores: &mut self.stores,
            journal: &mut self.journal,
            counters: &mut self.counters,
        };
        call(&mut self.dialogue, &mut context)
    }

    /// The client says this, and again what was not taken before.
    ///
    /// # Panics
    /// When more leaves than came, or what does not leave was changed.
    pub fn client(&mut self, octets: &[u8]) {
        let mut octets = [std::mem::take(&mut self.waiting), octets.to_vec()].concat();
        if octets.is_empty() {
            return;
        }
        let sent = octets.clone();
        let passage = self.call(|dialogue, context| dialogue.client(&mut octets, context));
        assert_eq!(octets[passage.forward..], sent[passage.forward..], "only what leaves is overwritten");
        self.server_got.extend_from_slice(&octets[..passage.forward]);
        if matches!(passage.next, Next::Wait | Next::Keep) {
            self.waiting = octets.split_off(passage.forward);
        }
        self.follow(passage.forward, passage.next);
    }

    /// The server says this; then the client says again what was not taken.
    ///
    /// # Panics
    /// As for the client.
    pub fn server(&mut self, octets: &[u8]) {
        let mut octets = octets.to_vec();
        let sent_len = octets.len();
        let passage = self.call(|dialogue, context| dialogue.server(&mut octets, context));
        assert!(passage.forward <= sent_len && octets.len() == sent_len);
        self.client_got.extend_from_slice(&octets[..passage.forward]);
        self.follow(passage.forward, passage.next);
        self.client(&[]);
    }

    fn follow(&mut self, forward: usize, next: Next) {
        if matches!(self.next, Next::Close(_) | Next::Swallow) {
            assert_eq!(forward, 0, "something left after the end");
        }
        if !matches!(self.next, Next::Close(_)) {
            self.next = next;
        }
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.next, Next::Close(_) | Next::Swallow)
    }

    /// Ends the session. Returns what was reported, as events without their times.
    ///
    /// # Panics
    /// When something is not given back, or a report is not one line of printable text.
    pub fn end(mut self) -> Vec<String> {
        self.call(|dialogue, context| dialogue.end(context));
        assert_eq!(self.stores.out_count(), 0, "everything is given back");
        assert_eq!(self.matcher.usage().streams_open.get(), 0, "every stream is closed");
        let tag = tag();
        let records: Vec<Record> = self.journal.drain().collect();
        records.iter().filter_map(|record| shown(record, tag, &self.policy)).collect()
    }
}

/// A flow that these sessions could belong to.
fn tag() -> FlowTag {
    use inspect::engine::Engine;
    use inspect::scan::NoPatterns;
    // The engine makes tags; one of its records has one.
    let mut stage = super::house::Stage::<NoPatterns>::new(policy(), NoPatterns);
    let _: &Engine<NoPatterns> = &stage.engine;
    let syn = super::frame::Sketch { flags: super::frame::SYN, ..super::frame::Sketch::default() };
    stage.put(inspect::unit::PortId::A, &syn.frame());
    let mut tag = None;
    stage.engine.shut_down(Instant::ZERO);
    stage.engine.journal_mut().drain().for_each(|record| tag = tag.or(record.flow));
    tag.unwrap_or_else(|| panic!("a session ended and nobody was told"))
}

/// An event and a syslog line as they leave the program, checked for what a peer could put into them.
fn shown(record: &Record, tag: FlowTag, policy: &Policy) -> Option<String> {
    let record = Record { flow: Some(tag), ..*record };
    if let Some(message) = message(&record, policy) {
        assert!(message.text.bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{:?}", message.text);
    }
    let event = Event::new(&record, policy, 0)?;
    let text = serde_json::to_string(&event).unwrap_or_else(|error| panic!("{error}"));
    assert!(text.bytes().all(|octet| octet >= 0x20 && octet != 0x7f), "{text:?}");
    Some(text)
}

/// Runs an input.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    let mut octets = Octets::new(data);
    let settings = octets.u8();
    if settings & 1 != 0 {
        let Some(mut talk) = Talk::new() else { return };
        while !octets.is_empty() {
            let head = octets.u8();
            let said = octets.take(usize::from(head >> 1));
            if head & 1 == 0 { talk.client(said) } else { talk.server(said) }
        }
        talk.end();
        return;
    }
    let (cuts, moods) = (octets.take(3), octets.take(2));
    let said = octets.rest();
    let Some(mut talk) = Talk::new() else { return };
    let mut server = Server::new(moods);
    let mut unsaid = said;
    let mut heard = 0;
    let mut cut = cuts.iter().cycle();
    while !unsaid.is_empty() || !server.replies.is_empty() {
        let len = usize::from(cut.next().copied().unwrap_or(255)).max(1);
        if !unsaid.is_empty() && (len % 3 > 0 || server.replies.is_empty()) {
            let (piece, rest) = unsaid.split_at(len.min(unsaid.len()));
            unsaid = rest;
            talk.client(piece);
        } else {
            let rest = server.replies.split_off(len.min(server.replies.len()));
            let piece = std::mem::replace(&mut server.replies, rest);
            talk.server(&piece);
        }
        server.hear(&talk.server_got[heard..]);
        heard = talk.server_got.len();
        if talk.is_over() {
            server.replies.clear();
            if matches!(talk.next, Next::Close(_)) {
                break;
            }
        }
    }
    talk.end();
}

/// A server that believes what it reads, and knows what no policy of the house lets it read.
struct Server<'m> {
    unread: Vec<u8>,
    state: State,
    moods: std::iter::Cycle<std::slice::Iter<'m, u8>>,
    replies: Vec<u8>,
    /// It has accepted a recipient.
    ready: bool,
    /// What came in chunks so far.
    message: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Commands,
    /// Lines of an exchange: AUTH.
    Exchange,
    Data,
    /// Octets of a chunk that are still to come, and whether it is the last.
    Chunk(usize, bool),
}

impl<'m> Server<'m> {
    fn new(moods: &'m [u8]) -> Self {
        let replies = b"220 ready\r\n".to_vec();
        Self {
            unread: Vec::new(),
            state: State::Commands,
            moods: moods.iter().cycle(),
            replies,
            ready: false,
            message: Vec::new(),
        }
    }

    fn say(&mut self, text: &str) {
        self.replies.extend_from_slice(text.as_bytes());
        self.replies.extend_from_slice(b"\r\n");
    }

    fn hear(&mut self, octets: &[u8]) {
        self.unread.extend_from_slice(octets);
        loop {
            match self.state {
                State::Data => {
                    let whole = [b"\r\n", &self.unread[..]].concat();
                    let end = whole.windows(5).position(|window| window == b"\r\n.\r\n");
                    let Some(end) = end else { return };
                    let message = &whole[2..end + 2];
                    assert!(!contains(message, b"EVIL") || !is_plain(message), "{}", message.escape_ascii());
                    self.unread = whole[end + 5..].to_vec();
                    self.state = State::Commands;
                    self.ready = false;
                    self.say("250 queued");
                }
                State::Chunk(left, last) => {
                    let len = left.min(self.unread.len());
                    self.message.extend(self.unread.drain(..len));
                    self.state = State::Chunk(left - len, last);
                    if left > len {
                        return;
                    }
                    self.state = State::Commands;
                    if last {
                        let message = std::mem::take(&mut self.message);
                        let hidden = contains(&message, b"EVIL") && is_plain(&message);
                        assert!(!hidden, "in chunks: {}", message.escape_ascii());
                        self.ready = false;
                    }
                    self.say("250 chunk");
                }
                State::Commands | State::Exchange => {
                    let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') else { return };
                    let rest = self.unread.split_off(end + 1);
                    let line = std::mem::replace(&mut self.unread, rest);
                    assert!(line.ends_with(b"\r\n"), "a bare LF ended a command: {}", line.escape_ascii());
                    self.obey(&line[..line.len() - 2]);
                }
            }
        }
    }

    fn obey(&mut self, line: &[u8]) {
        let mood = self.moods.next().copied().unwrap_or(0);
        if self.state == State::Exchange {
            self.state = State::Commands;
            return self.say(if mood % 2 == 0 { "235 in" } else { "535 no" });
        }
        let line = line.to_ascii_uppercase();
        let line = line.trim_ascii_start();
        let verb = verb(line);
        let text = line.escape_ascii();
        assert!(!matches!(verb, b"EVIL" | b"VRFY" | b"XRESET" | b"STARTTLS"), "a banned command: {text}");
        assert!(line != b"MAIL FROM:<X@SPAM.EXAMPLE>", "a banned sender: {text}");
        match verb {
            b"DATA" if mood % 4 != 3 => {
                self.state = State::Data;
                self.say("354 go");
            }
            b"BDAT" => {
                let mut words = line.split(|octet| *octet == b' ').skip(1);
                let size = words.next().unwrap_or_default();
                let size = std::str::from_utf8(size).ok().and_then(|text| text.parse::<u32>().ok());
                match size {
                    // The worst there is: what it does not want is not followed by a chunk.
                    _ if !self.ready => self.say("503 no"),
                    Some(size) => self.state = State::Chunk(size as usize, words.next() == Some(b"LAST")),
                    None => self.say("501 size"),
                }
            }
            b"EHLO" => {
                self.ready = false;
                self.say("250-server\r\n250-XEVIL\r\n250-CHUNKING\r\n250-SIZE\r\n250 AUTH PLAIN");
            }
            b"AUTH" if mood % 2 == 0 => {
                self.state = State::Exchange;
                self.say("334 ");
            }
            b"RCPT" if mood % 8 == 7 => self.say("550 5.1.1 who"),
            b"HELO" | b"MAIL" | b"RCPT" | b"RSET" => {
                self.ready = verb == b"RCPT";
                self.message.clear();
                self.say("250 ok");
            }
            b"NOOP" => self.say("250 ok"),
            b"QUIT" => self.say("221 bye"),
            _ => self.say("500 what"),
        }
    }
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

/// Whether a word in the text of this mail is one that the policy looks for: no parts, no other encoding than none, and not
/// split over header and body.
fn is_plain(message: &[u8]) -> bool {
    let lower = message.to_ascii_lowercase();
    !contains(&lower, b"content-") && !contains(&lower, b"mime-") && message.starts_with(b"\r\n")
}
