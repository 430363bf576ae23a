//! The format of a dialogue.
//!
//! ```text
//! # what it shows
//! base esmtp                         the policy: `policy.rs` has its lines; they stand before the first line said
//! S: 220 ready                       the server says a line; CRLF is added
//! C: EVIL foo                        the client says a line
//!  -> xxxxxxxx                       it reaches the server as this
//!  or Exxxxxxx                       or as this, when it came in pieces
//!  ! SMTP_INVALID_COMMAND mask ...   and is reported so; these lines are, in order, all decisions of the session
//! C> no line end                     the same without CRLF
//! X: 554 5.7.1 Refused by ...        the client is told this by the gateway, then the session is closed
//! ```
//!
//! ` ? LABEL` under a line: the session counts this anomaly, at least once. ` wait SECONDS` under a line: so much time passes before the next one;
//! the dialogue is then run in lines alone, so it says `once`.
//!
//! `\r \n \0 \t \\ \xNN` are octets. Instead of a text, `->` may have `nothing` (of a refused line at most a part
//! without its LF leaves), `cut` (of a refused message some of it may leave), `maybe` (a server's line that leaves when it
//! came in pieces). `once` in the policy's part: run the lines one by one as they stand, and in no other pieces.
//! `turns`: do not try to say everything at once.

use crate::policy::Rulebook;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    Client,
    Server,
    Gateway,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrives {
    As(Vec<u8>, Option<Vec<u8>>),
    Nothing,
    Cut,
    Maybe,
}

#[derive(Debug, Clone)]
pub struct Line {
    pub speaker: Speaker,
    pub said: Vec<u8>,
    pub arrives: Arrives,
    /// Seconds since the line before.
    pub wait: u64,
}

#[derive(Debug)]
pub struct Script {
    pub rulebook: Rulebook,
    pub lines: Vec<Line>,
    pub reports: Vec<String>,
    /// Labels of anomalies.
    pub anomalies: Vec<String>,
    pub once: bool,
    pub turns: bool,
}

impl Script {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut policy = Vec::new();
        let mut lines: Vec<Line> = Vec::new();
        let mut reports = Vec::new();
        let mut anomalies = Vec::new();
        let mut wait = 0;
        let (mut once, mut turns) = (false, false);
        for (number, line) in text.lines().enumerate() {
            let fail = |what: &str| format!("line {}: {what}: {line}", number + 1);
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
            let text = rest.strip_prefix(' ').unwrap_or(rest);
            let (speaker, end) = match mark {
                "C:" => (Speaker::Client, "\r\n"),
                "S:" => (Speaker::Server, "\r\n"),
                "X:" => (Speaker::Gateway, "\r\n"),
                "C>" => (Speaker::Client, ""),
                "S>" => (Speaker::Server, ""),
                _ if lines.is_empty() => {
                    match line {
                        "once" => once = true,
                        "turns" => turns = true,
                        _ => policy.push(line),
                    }
                    continue;
                }
                _ => {
                    let last = lines.last_mut().unwrap();
                    let (word, rest) = line.trim_start().split_once(' ').ok_or_else(|| fail("no text"))?;
                    let end = if last.said.ends_with(b"\r\n") { "\r\n" } else { "" };
                    match (word, rest) {
                        ("->", "nothing") => last.arrives = Arrives::Nothing,
                        ("->", "cut") => last.arrives = Arrives::Cut,
                        ("->", "maybe") => last.arrives = Arrives::Maybe,
                        ("->", text) => last.arrives = Arrives::As(octets(text, end), None),
                        ("or", text) => match &mut last.arrives {
                            Arrives::As(_, other) => *other = Some(octets(text, end)),
                            _ => return Err(fail("`or` without `->`")),
                        },
                        ("!", report) => reports.push(report.to_owned()),
                        ("?", label) => anomalies.push(label.to_owned()),
                        ("wait", seconds) => wait = seconds.parse().map_err(|_| fail("no number"))?,
                        _ => return Err(fail("not understood")),
                    }
                    continue;
                }
            };
            let said = octets(text, end);
            lines.push(Line { speaker, arrives: Arrives::As(said.clone(), None), said, wait });
            wait = 0;
        }
        Ok(Self { rulebook: Rulebook::parse(&policy)?, lines, reports, anomalies, once, turns })
    }
}

/// A text with its escapes as octets.
fn octets(text: &str, end: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        octets.push(match byte {
            b'\\' => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'0') => 0,
                Some(b'x') => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other.unwrap_or(b'\\'),
            },
            byte => byte,
        });
    }
    octets.extend_from_slice(end.as_bytes());
    octets
}
