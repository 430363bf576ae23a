//! How a client behaves over the whole connection: commands that lead nowhere, failed logins, time.

use core::time::Duration;

use artifact::defence::DATA_GRACE;

use super::report::Judged;
use super::{CLIENT, Context, Dialogue, Passage};
use crate::anomaly::Anomaly;
use crate::counter::Counters;
use crate::event::{Action, Body, Journal, Kind, ReplyCode};
use crate::scan::Matcher;
use crate::smtp::Verb;
use crate::unit::{Direction, Instant, StreamOffset};
use crate::verdict::Rules;

// `Conduct::reported` has a bit for each.
const _: () = assert!(Anomaly::ALL.len() <= u64::BITS as usize);

/// No line and no message is under way.
const NOTHING: u64 = u64::MAX;

/// What one connection has done so far.
#[derive(Debug)]
pub(super) struct Conduct {
    /// When the client spoke first.
    began: Option<Instant>,
    /// Where the line or message under way starts in the client's stream, and when its first octets came.
    start: u64,
    since: Instant,
    /// Commands that are no step toward a message, since the last message that was taken.
    junk: u32,
    /// AUTH commands that failed or were given up.
    auth_failures: u32,
    /// Anomalies already reported, one bit each.
    reported: u64,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { began: None, start: NOTHING, since: Instant::ZERO, junk: 0, auth_failures: 0, reported: 0 }
    }
}

/// A limit that was passed: its word in the policy, what it allows, and what the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    word: &'static str,
    limit: u32,
    pub reply: ReplyCode,
}

impl Passed {
    pub fn judged(self, offset: u64) -> Judged {
        let word = self.word.as_bytes();
        Judged { value_len: self.limit as usize, ..Judged::octets(Direction::ClientToServer, offset, word) }
    }
}

impl Conduct {
    /// A command line has come.
    pub fn command(&mut self, verb: Verb, rules: &Rules) -> Option<Passed> {
        // The others are steps toward a message, or have counts of their own.
        if !matches!(verb, Verb::Rset | Verb::Ehlo | Verb::Helo | Verb::Other) {
            return None;
        }
        self.junk = self.junk.saturating_add(1);
        passed("junk-commands", rules.limits().junk_commands, self.junk, ReplyCode::TooManyCommands)
    }

    /// A message was taken by the server.
    pub fn message(&mut self) {
        self.junk = 0;
    }

    /// An AUTH failed.
    pub fn auth_failed(&mut self, rules: &Rules) -> Option<Passed> {
        self.auth_failures = self.auth_failures.saturating_add(1);
        passed("auth-failures", rules.limits().auth_failures, self.auth_failures, ReplyCode::TooManyCommands)
    }

    /// Counts an anomaly, and reports it the first time.
    pub fn anomaly<X>(
        &mut self,
        anomaly: Anomaly,
        direction: Direction,
        offset: u64,
        context: &mut Context<'_, X>,
    ) {
        self.note(anomaly, direction, offset, context.counters, context.journal);
    }

    /// The same, for who has no more than these at hand.
    pub fn note(
        &mut self,
        anomaly: Anomaly,
        direction: Direction,
        offset: u64,
        counters: &mut Counters,
        journal: &mut Journal,
    ) {
        counters.anomaly(anomaly);
        let bit = 1 << anomaly as u64;
        if self.reported & bit == 0 {
            self.reported |= bit;
            journal.push(Body::Anomaly { anomaly, direction, offset: StreamOffset(offset) });
        }
    }

    /// What takes too long, if the client speaks at this moment.
    fn overdue(&self, now: Instant, content_len: Option<u64>, rules: &Rules) -> Option<Passed> {
        let limits = rules.limits();
        let slow = |word, limit| Some(Passed { word, limit, reply: ReplyCode::TooSlow });
        let over = |since: Instant, seconds: u64| now.since(since) > Duration::from_secs(seconds);
        if let (Some(limit), Some(began)) = (limits.session_time, self.began)
            && over(began, u64::from(limit))
        {
            return slow("session-time", limit);
        }
        match (self.start, content_len) {
            (NOTHING, _) => None,
            (_, Some(len)) => {
                let limit = limits.data_rate?;
                let allowed = u64::from(DATA_GRACE).saturating_add(len / u64::from(limit.max(1)));
                if over(self.since, allowed) { slow("data-rate", limit) } else { None }
            }
            (_, None) => {
                let limit = limits.command_time?;
                if over(self.since, u64::from(limit)) { slow("command-time", limit) } else { None }
            }
        }
    }
}

fn passed(word: &'static str, limit: Option<u32>, count: u32, reply: ReplyCode) -> Option<Passed> {
    let limit = limit?;
    (count > limit).then_some(Passed { word, limit, reply })
}

impl Dialogue {
    /// Refuses a client that takes too long, when it next says something. One that says nothing is the idle time's.
    pub(super) fn overdue<X: Matcher>(&mut self, context: &mut Context<'_, X>) -> Option<Passage> {
        self.conduct.began.get_or_insert(context.now);
        let content_len = self.session.in_content().then_some(self.facts.content_len);
        let passed = self.conduct.overdue(context.now, content_len, context.rules)?;
        let judged = passed.judged(self.offsets[CLIENT]);
        context.decision(Kind::SmtpLimit, &judged, None, Action::Close, Some(passed.reply));
        // A client that is in a message is not heard to its end: that could take as long again.
        Some(if content_len.is_some() {
            self.closed(0, passed.reply, context)
        } else {
            self.refused(0, passed.reply, context)
        })
    }

    /// Remembers since when the line or message under way has been coming.
    pub(super) fn keep_time(&mut self, now: Instant) {
        let start = if self.session.in_content() {
            self.content_start
        } else if self.session.line_len() > 0 {
            self.offsets[CLIENT].saturating_sub(self.session.line_len() as u64)
        } else {
            NOTHING
        };
        if start != self.conduct.start {
            (self.conduct.start, self.conduct.since) = (start, now);
        }
    }
}
