//! Runs a written dialogue through a policy, without a network: what leaves, and which line of the policy decided.
//!
//! A dialogue is a text file. `C: ` and `S: ` begin a line of the client or the server (CRLF is added), `C> ` and `S> ` octets without a line
//! end (a chunk of BDAT may end anywhere), `#` begins a comment, `\xNN` and `\\` are octets that are hard to type. The gateway's own engine judges it, so what is printed is what would happen.

use std::fmt::Write as _;

use artifact::model::Policy;
use artifact::smtp::Region;
use inspect::counter::Counters;
use inspect::engine::dialogue::{Context, Dialogue, Next, Stores};
use inspect::event::{Body, Decision, Journal};
use inspect::scan::{CriterionSet, Matcher, NoStream, StreamId};
use inspect::unit::{Direction, Instant};
use inspect::verdict::Rules;
use serde::Serialize;

use crate::hyperscan::search;

/// A line of a dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who says it.
    pub direction: Direction,
    /// Its octets, CRLF included where it has one.
    pub octets: Vec<u8>,
    /// Line of the file, from 1.
    pub number: usize,
}

/// Reads a dialogue.
///
/// # Errors
/// The first line that is none, as `NUMBER: what is wrong`.
pub fn read(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (mark, said) = line.split_at_checked(2).unwrap_or((line, ""));
        let (direction, end) = match mark {
            "C:" => (Direction::ClientToServer, "\r\n"),
            "S:" => (Direction::ServerToClient, "\r\n"),
            "C>" => (Direction::ClientToServer, ""),
            "S>" => (Direction::ServerToClient, ""),
            _ => return Err(format!("{number}: a line begins with `C:`, `S:`, `C>`, `S>` or `#`")),
        };
        let mut octets =
            unescape(said.strip_prefix(' ').unwrap_or(said)).map_err(|what| format!("{number}: {what}"))?;
        octets.extend_from_slice(end.as_bytes());
        lines.push(Line { direction, octets, number });
    }
    Ok(lines)
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            octets.push(*first);
            continue;
        }
        match tail {
            [b'\\', tail @ ..] => {
                octets.push(b'\\');
                rest = tail;
            }
            [b'x', high, low, tail @ ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                octets
                    .push(u8::from_str_radix(digits, 16).map_err(|_| format!("`\\x{digits}` is no octet"))?);
                rest = tail;
            }
            _ => return Err("a backslash is written `\\\\`, an octet `\\xNN`".into()),
        }
    }
    Ok(octets)
}

/// What happened to one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Line of the dialogue, from 1.
    pub line: usize,
    /// `C` or `S`.
    pub who: char,
    /// What was said, escaped, without CRLF.
    pub said: String,
    /// What left the gateway, escaped, without CRLF; `None` when it is what was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// The decisions that it caused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<Verdict>,
    /// The reply that the gateway gave the client before it closed the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Whether it waits for the other side: what it means depends on the answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
}

/// A decision, with the lines of policy that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Mnemonic, as in events.
    pub kind: &'static str,
    /// `log`, `mask`, `close`, `forward`.
    pub action: &'static str,
    /// Class that decided, and the line that uses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<(String, u32)>,
    /// Criterion that made it true, and its line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criterion: Option<(String, u32)>,
}

/// Runs a dialogue under the SMTP policy with index `smtp`.
#[must_use]
pub fn run(policy: &Policy, smtp: u16, lines: &[Line]) -> Vec<Step> {
    let Some(rules) = policy.smtp.get(usize::from(smtp)).map(Rules::new) else { return Vec::new() };
    let mut stage = Stage {
        policy,
        smtp,
        rules,
        matcher: Searcher { policy, streams: Vec::new() },
        stores: Stores::default(),
        journal: Journal::new(1024),
        counters: Counters::default(),
        dialogue: Dialogue::new(smtp),
        waiting: Vec::new(),
        over: false,
        now: 0,
    };
    let steps = lines.iter().map(|line| stage.say(line)).collect();
    stage.end();
    steps
}

/// What became of octets that were given to the dialogue.
#[derive(Debug, Default)]
struct Given {
    left: Vec<u8>,
    waits: Vec<u8>,
    refusal: Option<String>,
}

struct Stage<'p> {
    policy: &'p Policy,
    smtp: u16,
    rules: Rules,
    matcher: Searcher<'p>,
    stores: Stores,
    journal: Journal,
    counters: Counters,
    dialogue: Dialogue,
    /// Octets of the client that wait for the server.
    waiting: Vec<u8>,
    over: bool,
    now: u64,
}

impl Stage<'_> {
    fn say(&mut self, line: &Line) -> Step {
        let from_client = line.direction == Direction::ClientToServer;
        let mut octets = line.octets.clone();
        if from_client {
            octets.splice(0..0, self.waiting.drain(..));
        }
        let mut given = self.give(line.direction, octets);
        if from_client {
            self.waiting.append(&mut given.waits);
        } else if !self.waiting.is_empty() {
            // The answer is there, so the client's stack sends again what was not taken.
            let waiting = std::mem::take(&mut self.waiting);
            let again = self.give(Direction::ClientToServer, waiting);
            self.waiting = again.waits;
            given.refusal = given.refusal.or(again.refusal);
        }
        let waits = from_client && !self.waiting.is_empty();
        Step {
            line: line.number,
            who: if from_client { 'C' } else { 'S' },
            said: printable(&line.octets),
            left: (given.left != line.octets && !waits).then(|| printable(&given.left)),
            decisions: self.verdicts(),
            refusal: given.refusal,
            waits,
        }
    }

    fn give(&mut self, direction: Direction, mut octets: Vec<u8>) -> Given {
        if self.over {
            return Given::default();
        }
        self.now += 1;
        let mut context = Context {
            now: Instant::from_millis(self.now),
            rules: &self.rules,
            matcher: &mut self.matcher,
            stores: &mut self.stores,
            journal: &mut self.journal,
            counters: &mut self.counters,
        };
        let passage = match direction {
            Direction::ClientToServer => self.dialogue.client(&mut octets, &mut context),
            Direction::ServerToClient => self.dialogue.server(&mut octets, &mut context),
        };
        let rest = octets.split_off(passage.forward.min(octets.len()));
        let mut given = Given { left: octets, ..Given::default() };
        match passage.next {
            Next::Wait | Next::Keep => given.waits = rest,
            Next::Close(reply) => {
                self.over = true;
                given.refusal = Some(reply.text(self.dialogue.enhanced_status_codes()).to_string());
            }
            Next::Go | Next::Opaque | Next::Swallow | Next::Drain => {}
        }
        given
    }

    fn verdicts(&mut self) -> Vec<Verdict> {
        let policy = &self.policy.smtp[usize::from(self.smtp)];
        let decided = |decision: Decision| Verdict {
            kind: decision.kind.mnemonic(),
            action: decision.action.word(),
            class: decision
                .class
                .and_then(|class| policy.classes.get(usize::from(class)))
                .map(|class| (class.name.clone(), class.line)),
            criterion: decision
                .criterion
                .and_then(|criterion| policy.criteria.get(usize::from(criterion)))
                .map(|criterion| (criterion.text.clone(), criterion.line)),
        };
        let records: Vec<_> = self.journal.drain().collect();
        records
            .into_iter()
            .filter_map(|record| match record.body {
                Body::Decision(decision) => Some(decided(decision)),
                _ => None,
            })
            .collect()
    }

    fn end(&mut self) {
        let mut context = Context {
            now: Instant::from_millis(self.now + 1),
            rules: &self.rules,
            matcher: &mut self.matcher,
            stores: &mut self.stores,
            journal: &mut self.journal,
            counters: &mut self.counters,
        };
        self.dialogue.end(&mut context);
    }
}

fn printable(octets: &[u8]) -> String {
    octets
        .strip_suffix(b"\r\n")
        .unwrap_or(octets)
        .escape_ascii()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// The report that a person reads. `file` is the policy's name.
#[must_use]
pub fn report(steps: &[Step], file: &str) -> String {
    let mut text = String::new();
    for step in steps {
        let _ = writeln!(text, "{:4} {}: {}", step.line, step.who, step.said);
        if let Some(left) = &step.left {
            let left = if left.is_empty() { "(nothing)" } else { left };
            let _ = writeln!(text, "       leaves as  {left}");
        }
        if step.waits {
            let _ = writeln!(text, "       waits      for the server's answer");
        }
        for verdict in &step.decisions {
            let _ = write!(text, "       {:<10} {}", verdict.action, verdict.kind);
            if let Some((class, line)) = &verdict.class {
                let _ = write!(text, ", class {class} ({file}:{line})");
            }
            if let Some((criterion, line)) = &verdict.criterion {
                let _ = write!(text, ", match {criterion} ({file}:{line})");
            }
            text.push('\n');
        }
        if let Some(refusal) = &step.refusal {
            let _ = writeln!(text, "       the client is told `{refusal}`, and both sides are closed");
        }
    }
    text
}

/// The compiler's own search as the engine's matcher: slow, and the same library.
#[derive(Debug)]
struct Searcher<'p> {
    policy: &'p Policy,
    /// Policy, region and pieces so far of each scan under way.
    streams: Vec<(u16, Region, Vec<Vec<u8>>)>,
}

impl Searcher<'_> {
    fn find(&self, smtp: u16, region: Region, pieces: &[&[u8]], hits: &mut CriterionSet) {
        let Some(policy) = self.policy.smtp.get(usize::from(smtp)) else { return };
        for database in policy.databases.iter().filter(|database| database.region == region) {
            // The databases are the compiler's own; the artifact's digest was checked.
            for id in search(database, pieces).unwrap_or_default() {
                hits.insert(u16::try_from(id).unwrap_or(u16::MAX));
            }
        }
    }
}

impl Matcher for Searcher<'_> {
    fn block(&mut self, policy: u16, region: Region, data: &[u8], hits: &mut CriterionSet) {
        self.find(policy, region, &[data], hits);
    }

    fn open(&mut self, policy: u16, region: Region) -> Result<Option<StreamId>, NoStream> {
        let policies = self.policy.smtp.get(usize::from(policy));
        if !policies.is_some_and(|policy| policy.databases.iter().any(|database| database.region == region)) {
            return Ok(None);
        }
        self.streams.push((policy, region, Vec::new()));
        u32::try_from(self.streams.len() - 1).map(|id| Some(StreamId(id))).map_err(|_| NoStream)
    }

    fn stream(&mut self, stream: &StreamId, data: &[u8], hits: &mut CriterionSet) {
        let Some((policy, region, pieces)) = self.streams.get_mut(stream.0 as usize) else { return };
        pieces.push(data.to_vec());
        let (policy, region) = (*policy, *region);
        let pieces = pieces.clone();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        self.find(policy, region, &pieces, hits);
    }

    fn close(&mut self, stream: StreamId, hits: &mut CriterionSet) {
        self.stream(&stream, &[], hits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{Options, compile};
    use crate::source::SourceFile;

    const POLICY: &str = "parameter-map type regex bad
 pattern @spam\\.example
class-map type inspect smtp match-any banned
 match sender address regex bad
class-map type inspect smtp match-any hidden
 match cmd verb VRFY
policy-map type inspect smtp rules
 class type inspect smtp banned
  log
  reset
 class type inspect smtp hidden
  mask
class-map type inspect match-any mail
 match protocol smtp
policy-map type inspect top
 class type inspect mail
  inspect
  service-policy smtp rules
zone security outside
zone security inside
zone-pair security in source outside destination inside
 service-policy type inspect top
";

    #[test]
    fn each_line_says_what_became_of_it_and_why() {
        let compiled = compile(&SourceFile::new("mail.policy", POLICY), Options::default());
        let artifact = compiled.artifact.expect("the policy is good");
        let dialogue = "# a spammer\nS: 220 ready\nC: VRFY root\nS: 500 what?\nC: EHLO x\nC: MAIL FROM:<a@spam.example>\nS: 250 fine\n";
        let steps = run(&artifact.policy, 0, &read(dialogue).expect("it is a dialogue"));
        let text = report(&steps, "mail.policy");
        assert_eq!(
            text,
            "   2 S: 220 ready
   3 C: VRFY root
       leaves as  xxxxxxxxx
       mask       SMTP_MATCH, class hidden (mail.policy:11), match cmd verb VRFY (mail.policy:6)
   4 S: 500 what?
   5 C: EHLO x
   6 C: MAIL FROM:<a@spam.example>
       waits      for the server's answer
   7 S: 250 fine
       close      SMTP_MATCH, class banned (mail.policy:8), match sender address regex bad (mail.policy:4)
       the client is told `554 Refused by mail policy`, and both sides are closed
"
        );
    }

    #[test]
    fn chunks_are_judged_as_content() {
        let policy = POLICY
            .replace(" match sender address regex bad", " match body regex bad")
            .replace("inspect smtp rules\n", "inspect smtp rules\n parameters\n  chunking allow\n");
        let compiled = compile(&SourceFile::new("mail.policy", policy), Options::default());
        let artifact = compiled.artifact.expect("the policy is good");
        let dialogue = "S: 220 ready\nC: EHLO x\nS: 250-x\nS: 250 CHUNKING\nC: MAIL FROM:<a@b>\nC: RCPT TO:<c@d>\nC: BDAT 8\nS: 250 fine\n\
            S: 250 fine\nC> \\x0d\\x0ahi @sp\nS: 250 fine\nC: BDAT 12 LAST\nC: am.example\n";
        let steps = run(&artifact.policy, 0, &read(dialogue).expect("it is a dialogue"));
        assert_eq!(
            report(&steps, "mail.policy"),
            "   1 S: 220 ready
   2 C: EHLO x
   3 S: 250-x
   4 S: 250 CHUNKING
   5 C: MAIL FROM:<a@b>
   6 C: RCPT TO:<c@d>
   7 C: BDAT 8
       waits      for the server's answer
   8 S: 250 fine
   9 S: 250 fine
  10 C: \\r\\nhi @sp
  11 S: 250 fine
  12 C: BDAT 12 LAST
  13 C: am.example
       leaves as  (nothing)
       close      SMTP_MATCH, class banned (mail.policy:10), match body regex bad (mail.policy:4)
       the client is told `554 Refused by mail policy`, and both sides are closed
"
        );
    }

    #[test]
    fn what_is_no_dialogue_is_named() {
        assert_eq!(read("C: a\nX: b").unwrap_err(), "2: a line begins with `C:`, `S:`, `C>`, `S>` or `#`");
        assert_eq!(read("C>  a").expect("no line end").remove(0).octets, b" a");
        assert_eq!(read("C: \\q").unwrap_err(), "1: a backslash is written `\\\\`, an octet `\\xNN`");
        assert_eq!(read("C: a\\x41\\\\").unwrap()[0].octets, b"aA\\\r\n");
    }
}
