//! Masks and refusals between two real TCP stacks, on good and on bad links: the client reads what it must, the
//! server never gets what it must not, and nothing is left behind.

mod inspecting;
mod network;

use std::time::Duration;

use artifact::model::{Form, Mode, Policy};
use artifact::settings::Chunking;
use artifact::smtp::{Base, Criterion, Database, Region, SmtpClass, SmtpPolicy, Terminal, Test};
use inspect::event::{Action, Body, Kind};
use inspect::scan::{CriterionSet, Matcher, NoStream, StreamId};

use inspecting::inspecting;
use network::host::Family;
use network::smtp::{Client, Server};
use network::{Faults, Network, Random};

/// Finds fixed words: criterion 0 in senders, 1 in bodies (across pieces, by keeping a tail).
#[derive(Debug, Default)]
struct Words {
    tails: Vec<Vec<u8>>,
}

fn finds(haystack: &[u8], word: &str) -> bool {
    haystack.windows(word.len()).any(|window| window == word.as_bytes())
}

impl Matcher for Words {
    fn block(&mut self, _: u16, region: Region, data: &[u8], hits: &mut CriterionSet) {
        if region == Region::Sender && finds(data, "banned.example") {
            hits.insert(0);
        }
    }

    fn open(&mut self, _: u16, region: Region) -> Result<Option<StreamId>, NoStream> {
        if region != Region::Body {
            return Ok(None);
        }
        self.tails.push(Vec::new());
        Ok(Some(StreamId(self.tails.len() as u32 - 1)))
    }

    fn stream(&mut self, stream: &StreamId, data: &[u8], hits: &mut CriterionSet) {
        let tail = &mut self.tails[stream.0 as usize];
        tail.extend_from_slice(data);
        if finds(tail, "forbidden word") {
            hits.insert(1);
        }
        let keep = tail.len().saturating_sub(20);
        tail.drain(..keep);
    }

    fn close(&mut self, _: StreamId, _: &mut CriterionSet) {}
}

fn policy(base: Base) -> Policy {
    let criterion = |test, text: &str| Criterion { negated: false, test, text: text.into(), line: 1 };
    let class = |name: &str, criterion, terminal| SmtpClass {
        name: name.into(),
        mode: Mode::Any,
        criteria: vec![criterion],
        log: true,
        terminal: Some(terminal),
        line: 1,
    };
    let database =
        |region| Database { region, pattern_count: 1, streaming: false, stream_len: 0, bytes: vec![] };
    let smtp = SmtpPolicy {
        classes: vec![
            class("banned", 0, Terminal::Reset),
            class("words", 1, Terminal::Reset),
            class("evil", 2, Terminal::Mask),
        ],
        criteria: vec![
            criterion(Test::SenderAddress, "sender address regex banned"),
            criterion(Test::Body, "body regex words"),
            criterion(Test::CommandVerb("EVIL".into()), "cmd verb EVIL"),
        ],
        databases: vec![database(Region::Sender), database(Region::Body)],
        ..SmtpPolicy::new("mail", base)
    };
    inspecting(Form::Zone, Some(smtp))
}

struct Outcome {
    replies: Vec<String>,
    lines: Vec<String>,
    commands: Vec<String>,
    messages: Vec<Vec<u8>>,
    received: Vec<u8>,
    client_was_reset: bool,
    client_read_fin: bool,
    decisions: Vec<(Kind, Action)>,
}

fn session(base: Base, seed: u64, faults: [Faults; 2], piece: usize, client: Client) -> Outcome {
    session_under(policy(base), seed, faults, piece, client)
}

fn session_under(policy: Policy, seed: u64, faults: [Faults; 2], piece: usize, client: Client) -> Outcome {
    let mut network = Network::new(policy, Words::default(), seed);
    [network.client_link, network.server_link] = faults;
    network.server.listen(Server::offering(&["PIPELINING", "SIZE 1000000", "STARTTLS", "XVERP", "CHUNKING"]));
    let family = if seed.is_multiple_of(2) { Family::V4 } else { Family::V6 };
    network.client.set_piece(piece);
    network.client.connect(family, 2, client);
    let over = network.run(Duration::from_secs(400), |network| {
        network.client.is_closed() && network.engine.flow_count() == 0
    });
    let client: &mut Client = network.client.talk();
    let (replies, lines) = (client.replies.clone(), client.lines.clone());
    let left: Vec<_> = network.engine.sessions().collect();
    assert!(
        over,
        "seed {seed}: not over after {} s: {replies:?}, client {:?}, {left:?}",
        network.now_micros / 1_000_000,
        network.client.socket().state()
    );
    assert_eq!(network.kept(), 0, "seed {seed}: frames were kept");
    let received = network.server.received.clone();
    let decisions = network
        .records
        .iter()
        .filter_map(|record| match record.body {
            Body::Decision(decision) => Some((decision.kind, decision.action)),
            _ => None,
        })
        .collect();
    let (client_was_reset, client_read_fin) = (network.client.was_reset, network.client.peer_finished);
    let server: &mut Server = network.server.talk();
    Outcome {
        replies,
        lines,
        commands: server.commands.clone(),
        messages: server.messages.clone(),
        received,
        client_was_reset,
        client_read_fin,
        decisions,
    }
}

fn bad_links(seed: u64) -> [Faults; 2] {
    links(seed, 120)
}

fn links(seed: u64, loss: u32) -> [Faults; 2] {
    let mut random = Random::new(seed);
    let mut link =
        || Faults { loss: random.below(loss), duplication: random.below(100), reordering: random.below(300) };
    if seed < 4 { [Faults::default(); 2] } else { [link(), link()] }
}

#[test]
fn a_banned_sender_is_told_and_closed_in_good_order() {
    for seed in 0..100 {
        let client =
            Client::mail("EHLO client.example", "spam@banned.example", "b@example.org", b"hello\r\n");
        let outcome = session(Base::None, seed, bad_links(seed), 0, client);
        assert_eq!(
            outcome.replies.last().map(String::as_str),
            Some("554 Refused by mail policy"),
            "seed {seed}"
        );
        assert!(outcome.client_read_fin && !outcome.client_was_reset, "seed {seed}: closed in good order");
        assert!(!finds(&outcome.received, "banned.example>\r\n"), "seed {seed}: no end of the bad command");
        assert_eq!(outcome.commands, ["EHLO client.example"], "seed {seed}");
        assert_eq!(outcome.decisions.last(), Some(&(Kind::SmtpMatch, Action::Close)));
    }
}

#[test]
fn replies_to_earlier_commands_come_first() {
    for seed in 0..100 {
        let client = Client::new([
            (b"EHLO client.example\r\n".to_vec(), 1),
            (
                b"MAIL FROM:<a@example.com>\r\nRSET\r\nNOOP\r\nMAIL FROM:<x@banned.example>\r\nNOOP\r\n"
                    .to_vec(),
                5,
            ),
            (b"QUIT\r\n".to_vec(), 1),
        ]);
        let outcome = session(Base::None, seed, bad_links(seed), 0, client);
        let codes: Vec<&str> = outcome.replies.iter().map(|line| &line[..3]).collect();
        let expected = ["220", "250", "250", "250", "250", "554"];
        if seed < 4 {
            assert_eq!(codes, expected, "seed {seed}");
        } else {
            // On a bad link the replies may take longer than the gateway waits for them.
            let (last, before) = codes.split_last().expect("it was told");
            assert!(*last == "554" && expected.starts_with(before), "seed {seed}: {codes:?}");
        }
        assert!(outcome.client_read_fin && !outcome.client_was_reset, "seed {seed}");
        assert!(!outcome.commands.iter().any(|line| line.contains("banned")), "seed {seed}");
    }
}

#[test]
fn a_refused_message_has_no_end_at_the_server() {
    for seed in 0..100 {
        let mut body = b"Subject: hi\r\n\r\n".to_vec();
        let before = Random::new(seed).below(20_000) as usize;
        body.extend(b"some text of a mail that is long\r\n".iter().copied().cycle().take(before / 34 * 34));
        body.extend_from_slice(b"here is a forbidden word\r\n");
        body.extend(b"and a lot more text behind it, too\r\n".iter().copied().cycle().take(36 * 500));
        let client = Client::mail("EHLO client.example", "a@example.com", "b@example.org", &body);
        let outcome = session(Base::None, seed, bad_links(seed), 0, client);
        assert!(outcome.messages.is_empty(), "seed {seed}: the server accepted it");
        assert_eq!(
            outcome.replies.last().map(String::as_str),
            Some("554 Refused by mail policy"),
            "seed {seed}"
        );
        assert!(!finds(&outcome.received, "\r\n.\r\n"), "seed {seed}");
        assert!(!outcome.client_was_reset, "seed {seed}");
    }
}

/// A mail in chunks. Where it is sent without waiting for any reply, each BDAT is not taken before those before it are answered.
#[test]
fn chunks_arrive_whole_or_not_at_all() {
    for seed in 0..100 {
        for refused in [false, true] {
            let mut policy = policy(Base::None);
            policy.smtp[0].settings.chunking = Chunking::Allow;
            let mut random = Random::new(seed);
            let mut mail = b"Subject: hi\r\n\r\n".to_vec();
            let before = random.below(12_000) as usize;
            mail.extend(b".\r\nQUIT\r\nsome text of a mail\r\n".iter().copied().cycle().take(before));
            mail.extend_from_slice(if refused { b"a forbidden word" } else { b"an innocent word" });
            mail.extend(b"\r\n.\r\nmore text".iter().copied().cycle().take(random.below(2_000) as usize));
            let size = 1 + mail.len() / (1 + random.below(3) as usize);
            let client = Client::chunks(&mail, size, !refused || seed < 50);
            let chunk_count = mail.len().div_ceil(size);
            let outcome = session_under(policy, seed, links(seed, 40), 0, client);
            let last = outcome.replies.last().map(String::as_str);
            if refused {
                assert!(outcome.messages.is_empty(), "seed {seed}: the server accepted it");
                assert_eq!(last, Some("554 Refused by mail policy"), "seed {seed}");
                assert!(outcome.client_read_fin && !outcome.client_was_reset, "seed {seed}");
                assert!(!finds(&outcome.received, "forbidden word"), "seed {seed}");
                assert_eq!(outcome.decisions.last(), Some(&(Kind::SmtpMatch, Action::Close)), "seed {seed}");
            } else {
                assert!(outcome.messages == [mail], "seed {seed}: not what was sent");
                assert_eq!(
                    (outcome.replies.len(), last),
                    (2 + 2 + chunk_count + 1, Some("221 bye")),
                    "seed {seed}"
                );
                assert_eq!(outcome.commands.len(), 1 + 2 + chunk_count + 1, "seed {seed}");
            }
        }
    }
}

/// What waits is kept, and leaves with the reply that it waited for, not when its sender's patience ends.
#[test]
fn chunks_that_wait_leave_with_the_reply() {
    for (family, size) in [(Family::V4, 10_000), (Family::V6, 700), (Family::V4, 3_000)] {
        let mut policy = policy(Base::None);
        policy.smtp[0].settings.chunking = Chunking::Allow;
        let mail = b"\r\nsome text of a mail".repeat(200);
        let mut network = Network::new(policy, Words::default(), 1);
        network.server.listen(Server::offering(&["CHUNKING"]));
        network.client.connect(family, 2, Client::chunks(&mail, size, true));
        let over = network
            .run(Duration::from_secs(5), |network| !network.server.talk::<Server>().messages.is_empty());
        assert!(over, "size {size}");
        assert_eq!(network.server.talk::<Server>().messages, [mail]);
        let counters = network.engine.counters();
        assert!(counters.dropped_waiting > 0 && counters.frames_held > 0, "it had to wait");
        // No timer of its sender ran out: that would be 300 ms at least.
        assert!(network.now_micros < 200_000, "size {size}: {} microseconds", network.now_micros);
    }
}

#[test]
fn illegal_verbs_and_keywords_are_overwritten_however_they_are_cut() {
    for seed in 0..60 {
        for piece in [0, 1, 3] {
            let client = Client::new([
                (b"EHLO client.example\r\n".to_vec(), 1),
                (b"EVIL foo\r\n".to_vec(), 1),
                (b"NOOP\r\n".to_vec(), 1),
                (b"QUIT\r\n".to_vec(), 1),
            ]);
            let outcome = session(Base::Esmtp, seed, bad_links(seed), piece, client);
            let codes: Vec<&str> = outcome.replies.iter().map(|line| &line[..3]).collect();
            assert_eq!(codes, ["220", "250", "500", "250", "221"], "seed {seed} piece {piece}");
            // Letters that are a prefix of a legal verb may leave before the line is there: E of EHLO.
            let masked = if piece > 0 { "Exxxxxxx" } else { "xxxxxxxx" };
            assert_eq!(outcome.commands[1], masked, "seed {seed} piece {piece}");
            let keywords: Vec<&str> = outcome.lines.iter().skip(2).take(5).map(|line| &line[4..]).collect();
            assert_eq!(
                keywords,
                ["PIPELINING", "SIZE 1000000", "XXXXXXXX", "XXXXX", "XXXXXXXX"],
                "seed {seed} piece {piece}"
            );
            assert!(outcome.decisions.contains(&(Kind::SmtpInvalidCommand, Action::Mask)));
        }
    }
}

#[test]
fn a_session_lives_and_ends_under_the_policy_it_began_with() {
    let mut network = Network::new(policy(Base::None), Words::default(), 1);
    network.server.listen(Server::default());
    let client = Client::new([
        (b"HELO client.example\r\n".to_vec(), 1),
        (b"NOOP\r\n".repeat(20), 20),
        (b"MAIL FROM:<x@banned.example>\r\n".to_vec(), 1),
    ]);
    network.client.connect(Family::V4, 2, client);
    assert!(network.run(Duration::from_secs(5), |network| network.client.talk::<Client>().replies.len() > 1));
    // The new policy bans nobody.
    let mut tolerant = policy(Base::None);
    tolerant.smtp[0].classes.clear();
    let ports = [Some(0), Some(1)];
    assert_eq!(network.engine.reload(tolerant.into(), Words::default(), ports), Ok(1));
    assert_eq!(network.engine.generation(), 1);
    let over = network.run(Duration::from_secs(100), |network| network.engine.flow_count() == 0);
    assert!(over);
    assert_eq!(
        network.client.talk::<Client>().replies.last().map(String::as_str),
        Some("554 Refused by mail policy")
    );
    let generations: Vec<u32> =
        network.records.iter().filter_map(|record| record.flow.map(|tag| tag.generation)).collect();
    assert!(!generations.is_empty() && generations.iter().all(|generation| *generation == 0));
}
