//! One way of saying a dialogue, and the comparison of what came of it.

use core::fmt;

use inspect::anomaly::Anomaly;
use inspect::counter::Counters;
use inspect::engine::dialogue::{Context, Dialogue, Next, Stores};
use inspect::event::{Body, FlowTag, Journal};
use inspect::unit::{FlowId, Instant};
use inspect::verdict::Rules;
use inspect::wire::Endpoint;

use crate::oracle::{Oracle, POLICY};
use crate::policy::Rulebook;
use crate::script::{Arrives, Line, Script, Speaker};

/// How a dialogue is cut into pieces.
#[derive(Debug, Clone, Copy)]
pub enum Run {
    /// Consecutive lines of one side at once.
    Flights,
    /// Each line by itself.
    Lines,
    /// Each octet by itself.
    Octets,
    /// The lines of one flight cut at two places, the others whole.
    Cuts(usize, usize, usize),
    /// All that the client will ever say is there from the start; the server's flights whole or octet by octet.
    Eager(bool),
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

struct Flight {
    speaker: Speaker,
    lines: Vec<Vec<u8>>,
    /// Seconds before each line.
    waits: Vec<u64>,
}

fn flights(script: &Script) -> Vec<Flight> {
    let mut flights: Vec<Flight> = Vec::new();
    for line in script.lines.iter().filter(|line| line.speaker != Speaker::Gateway) {
        match flights.last_mut() {
            Some(last) if last.speaker == line.speaker => {
                last.lines.push(line.said.clone());
                last.waits.push(line.wait);
            }
            _ => flights.push(Flight {
                speaker: line.speaker,
                lines: vec![line.said.clone()],
                waits: vec![line.wait],
            }),
        }
    }
    flights
}

impl Run {
    pub fn all(script: &Script) -> Vec<Run> {
        if script.once {
            return vec![Run::Lines];
        }
        let mut runs = vec![Run::Flights, Run::Lines, Run::Octets];
        if !script.turns {
            runs.extend([Run::Eager(false), Run::Eager(true)]);
        }
        for (index, flight) in flights(script).iter().enumerate() {
            let len: usize = flight.lines.iter().map(Vec::len).sum();
            // Two cuts of a long flight are many; every one still meets every structure within a line.
            let step = 1 + len / 160;
            for one in (1..len).step_by(1) {
                runs.push(Run::Cuts(index, one, one));
                runs.extend((one + 1..len).step_by(step).map(|two| Run::Cuts(index, one, two)));
            }
        }
        runs
    }

    fn pieces(self, index: usize, flight: &Flight) -> Vec<Vec<u8>> {
        let all = flight.lines.concat();
        match self {
            Run::Lines => flight.lines.clone(),
            Run::Octets => all.chunks(1).map(<[u8]>::to_vec).collect(),
            Run::Eager(true) if flight.speaker == Speaker::Server => {
                all.chunks(1).map(<[u8]>::to_vec).collect()
            }
            Run::Cuts(at, one, two) if at == index => [&all[..one], &all[one..two], &all[two..]]
                .into_iter()
                .filter(|p| !p.is_empty())
                .map(<[u8]>::to_vec)
                .collect(),
            _ => vec![all],
        }
    }

    pub fn check(self, script: &Script) -> Result<(), String> {
        let mut wire = Wire::new(&script.rulebook);
        let flights = flights(script);
        if matches!(self, Run::Eager(_)) {
            let all = flights.iter().filter(|flight| flight.speaker == Speaker::Client);
            wire.client(&all.flat_map(|flight| flight.lines.concat()).collect::<Vec<_>>());
        }
        for (index, flight) in flights.iter().enumerate() {
            for (number, piece) in self.pieces(index, flight).into_iter().enumerate() {
                if matches!(self, Run::Lines) {
                    wire.now = wire.now + core::time::Duration::from_secs(flight.waits[number]);
                }
                match flight.speaker {
                    Speaker::Server => wire.server(&piece),
                    _ if matches!(self, Run::Eager(_)) => {}
                    _ => wire.client(&piece),
                }
            }
        }
        wire.end();
        wire.compare(script)
    }
}

/// A session between two ends that send again what was not taken.
pub struct Wire {
    rulebook: Rulebook,
    rules: Rules,
    pub oracle: Oracle,
    pub stores: Stores,
    journal: Journal,
    pub counters: Counters,
    pub dialogue: Dialogue,
    pub now: Instant,
    waiting: Vec<u8>,
    pub server_got: Vec<u8>,
    pub client_got: Vec<u8>,
    pub next: Next,
    pub reports: Vec<String>,
}

impl Wire {
    pub fn new(rulebook: &Rulebook) -> Self {
        Self {
            rulebook: rulebook.clone(),
            rules: Rules::new(&rulebook.policy),
            oracle: Oracle::new(rulebook),
            stores: Stores::default(),
            journal: Journal::new(1 << 16),
            counters: Counters::default(),
            dialogue: Dialogue::new(POLICY),
            now: Instant::ZERO,
            waiting: Vec::new(),
            server_got: Vec::new(),
            client_got: Vec::new(),
            next: Next::Go,
            reports: Vec::new(),
        }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Dialogue, &mut Context<'_, Oracle>) -> R) -> R {
        let mut context = Context {
            now: self.now,
            rules: &self.rules,
            matcher: &mut self.oracle,
            stores: &mut self.stores,
            journal: &mut self.journal,
            counters: &mut self.counters,
        };
        call(&mut self.dialogue, &mut context)
    }

    /// Records are about a session with this server.
    pub fn about(&mut self, server: Endpoint) {
        let tag = FlowTag {
            id: FlowId(1),
            client: Endpoint { address: [1; 16], port: 40_000 },
            server,
            path: 0,
            class: 0,
            smtp: Some(POLICY),
            generation: 0,
        };
        self.journal.subject(self.now, Some(tag));
    }

    /// The client sends octets, and again what was not taken before.
    pub fn client(&mut self, bytes: &[u8]) {
        let mut bytes = [std::mem::take(&mut self.waiting), bytes.to_vec()].concat();
        if bytes.is_empty() {
            return;
        }
        let sent = bytes.clone();
        let passage = self.call(|dialogue, context| dialogue.client(&mut bytes, context));
        assert!(passage.forward <= bytes.len());
        assert_eq!(bytes[passage.forward..], sent[passage.forward..], "only what leaves is overwritten");
        self.server_got.extend_from_slice(&bytes[..passage.forward]);
        if matches!(passage.next, Next::Wait | Next::Keep) {
            self.waiting = bytes.split_off(passage.forward);
        }
        self.follow(passage.forward, passage.next);
    }

    /// The server sends octets; then the client sends again what was not taken.
    pub fn server(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let passage = self.call(|dialogue, context| dialogue.server(&mut bytes, context));
        assert!(passage.forward <= bytes.len());
        assert!(!matches!(passage.next, Next::Wait | Next::Keep));
        self.client_got.extend_from_slice(&bytes[..passage.forward]);
        self.follow(passage.forward, passage.next);
        self.client(&[]);
    }

    fn follow(&mut self, forward: usize, next: Next) {
        match self.next {
            Next::Close(reply) => {
                assert_eq!((forward, next), (0, Next::Close(reply)), "nothing leaves after Close");
                return;
            }
            Next::Opaque => assert_eq!(next, Next::Opaque),
            Next::Swallow => assert!(matches!(next, Next::Swallow | Next::Close(_)) && forward == 0),
            Next::Drain => assert!(matches!(next, Next::Drain | Next::Close(_))),
            Next::Go | Next::Wait | Next::Keep => {}
        }
        self.next = next;
        if let Next::Close(reply) = next {
            let text = reply.text(self.dialogue.enhanced_status_codes());
            self.client_got.extend_from_slice(text.as_bytes());
            self.client_got.extend_from_slice(b"\r\n");
        }
    }

    pub fn end(&mut self) {
        self.call(|dialogue, context| dialogue.end(context));
        assert_eq!(self.stores.out_count(), 0, "everything is given back");
        assert_eq!(self.oracle.open_count(), 0, "every stream is closed");
        let policy = &self.rulebook.policy;
        for record in self.journal.drain() {
            let report = match record.body {
                Body::Decision(decision) => {
                    if let (Next::Close(told), Some(reply)) = (self.next, decision.reply)
                        && told == reply
                    {
                        let text = format!("{}\r\n", reply.text(decision.enhanced));
                        let got = self.client_got.escape_ascii();
                        assert!(
                            self.client_got.ends_with(text.as_bytes()),
                            "reported as {text:?}, told {got}"
                        );
                    }
                    let class = decision.class.map_or(String::new(), |class| {
                        let criterion =
                            decision.criterion.map_or("", |index| &policy.criteria[usize::from(index)].text);
                        format!(" [{}: {criterion}]", policy.classes[usize::from(class)].name)
                    });
                    let class = decision.signature.map_or(class, |id| format!(" [signature {id}]"));
                    let reply =
                        decision.reply.map_or(String::new(), |reply| format!(" {}", &reply.text(false)[..3]));
                    format!(
                        "{} {}{class} {:?} {}{reply}",
                        decision.kind.mnemonic(),
                        decision.action.word(),
                        decision.value,
                        decision.value_len,
                    )
                }
                Body::Transaction(mail) => format!(
                    "TRANSACTION helo {:?} from {:?} to {:?} count {} len {} reply {}",
                    mail.helo,
                    mail.mail_from,
                    mail.first_rcpt_to,
                    mail.rcpt_count,
                    mail.content_len,
                    mail.reply
                ),
                // How often a client is too early depends on how it is cut.
                _ => continue,
            };
            self.reports.push(report);
        }
    }

    fn compare(&self, script: &Script) -> Result<(), String> {
        if self.reports != script.reports {
            return Err(format!(
                "reported\n  {}\nexpected\n  {}",
                self.reports.join("\n  "),
                script.reports.join("\n  ")
            ));
        }
        for anomaly in Anomaly::ALL {
            let expected = script.anomalies.iter().any(|label| label == anomaly.label());
            let counted = self.counters.anomalies[*anomaly as usize] > 0;
            // How often, and whether at all, a client is too early depends on how it is cut.
            let depends = matches!(anomaly, Anomaly::EarlyClientData | Anomaly::OutOfTurn);
            if (expected && !counted) || (counted && !expected && !script.anomalies.is_empty() && !depends) {
                return Err(format!("anomaly {}: counted {counted}, expected {expected}", anomaly.label()));
            }
        }
        let to_server: Vec<_> = script.lines.iter().filter(|line| line.speaker == Speaker::Client).collect();
        let to_client: Vec<_> = script.lines.iter().filter(|line| line.speaker != Speaker::Client).collect();
        arrived(&self.server_got, &to_server).map_err(|at| differ("server", &self.server_got, at))?;
        arrived(&self.client_got, &to_client).map_err(|at| differ("client", &self.client_got, at))
    }
}

fn differ(who: &str, got: &[u8], at: usize) -> String {
    format!("the {who} got, not as expected from octet {at}:\n{}", got.escape_ascii())
}

/// Whether `got` is what the lines say; else the first octet that is not.
fn arrived(got: &[u8], lines: &[&Line]) -> Result<(), usize> {
    let mut at = 0;
    for (index, line) in lines.iter().enumerate() {
        match &line.arrives {
            Arrives::As(text, other) => {
                let rest = &got[at..];
                let found =
                    rest.starts_with(text) || other.as_ref().is_some_and(|other| rest.starts_with(other));
                if !found {
                    return Err(at);
                }
                at += text.len();
            }
            Arrives::Maybe => at += if got[at..].starts_with(&line.said) { line.said.len() } else { 0 },
            Arrives::Nothing | Arrives::Cut if line.speaker == Speaker::Server => {}
            Arrives::Nothing | Arrives::Cut => {
                // What is left must be the start of what was refused, up to the first LF that must not leave.
                let mut refused = Vec::new();
                for line in &lines[index..] {
                    refused.extend_from_slice(&line.said);
                    if line.arrives == Arrives::Nothing {
                        break;
                    }
                }
                let left = &got[at..];
                let same = left.len() < refused.len()
                    && left.iter().zip(&refused).all(|(l, r)| l == r || *l == b'x');
                return if same { Ok(()) } else { Err(at) };
            }
        }
    }
    if at == got.len() { Ok(()) } else { Err(at) }
}
