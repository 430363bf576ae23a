//! Decisions counted by what decided: bounded sets of labels, laid out once, so that counting is an addition.

use artifact::model::Policy;
use inspect::event::{Action, Body, Decision, FlowTag, Kind, Record};

use crate::edition::{ClassRow, Editions};
use crate::journal::message::MatchKind;
use crate::journal::names::Names;

/// Every action, in the order of the columns.
pub const ACTIONS: [Action; 5] = [Action::Log, Action::Mask, Action::Close, Action::Forward, Action::Drop];

/// Position of an action in [`ACTIONS`].
fn column(action: Action) -> usize {
    match action {
        Action::Log => 0,
        Action::Mask => 1,
        Action::Close => 2,
        Action::Forward => 3,
        Action::Drop => 4,
    }
}

/// Sessions of one top-level class, those that have ended with all they carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionCount {
    /// Begun.
    pub created: u64,
    /// When the last one began, in nanoseconds of the workers' clock.
    pub last_created: u64,
    /// Segments forwarded, of sessions that have ended.
    pub packets: u64,
    /// Payload octets forwarded, of sessions that have ended.
    pub bytes: u64,
}

/// What one worker counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    /// By class of an SMTP policy and action.
    classes: Vec<u64>,
    /// By class of a top-level policy.
    sessions: Vec<SessionCount>,
    /// By kind, kind of match and action.
    decisions: Vec<u64>,
}

impl Clone for Tally {
    fn clone(&self) -> Self {
        Self {
            classes: self.classes.clone(),
            sessions: self.sessions.clone(),
            decisions: self.decisions.clone(),
        }
    }

    fn clone_from(&mut self, source: &Self) {
        // Keeps the memory it has.
        self.classes.clone_from(&source.classes);
        self.sessions.clone_from(&source.sessions);
        self.decisions.clone_from(&source.decisions);
    }
}

impl Tally {
    /// Zeros for the classes of `editions`.
    #[must_use]
    pub fn new(editions: &Editions) -> Self {
        let mut tally = Self {
            classes: Vec::new(),
            sessions: Vec::new(),
            decisions: vec![0; Kind::ALL.len() * MatchKind::ALL.len() * ACTIONS.len()],
        };
        tally.grow(editions);
        tally
    }

    /// Makes room for the classes of a new edition.
    pub fn grow(&mut self, editions: &Editions) {
        self.classes.resize(editions.classes.len() * ACTIONS.len(), 0);
        self.sessions.resize(editions.tops.len(), SessionCount::default());
    }

    /// Counts a record, if it is a decision or a session's begin or end.
    pub fn record(&mut self, record: &Record, editions: &Editions) {
        let Some(flow) = &record.flow else { return };
        let Some(edition) = editions.of(flow.generation) else { return };
        match &record.body {
            Body::Decision(decision) => {
                let action = column(decision.action);
                if let Some(row) = decision.class.and_then(|class| edition.class(flow, class)) {
                    add(&mut self.classes, row * ACTIONS.len() + action);
                }
                let index = decision_index(decision, flow, &edition.policy);
                add(&mut self.decisions, index * ACTIONS.len() + action);
            }
            Body::FlowStart => {
                if let Some(count) = edition.top(flow).and_then(|row| self.sessions.get_mut(row)) {
                    count.created += 1;
                    count.last_created = record.at.as_nanos();
                }
            }
            Body::FlowEnd(end) => {
                if let Some(count) = edition.top(flow).and_then(|row| self.sessions.get_mut(row)) {
                    count.packets += end.packets.iter().sum::<u64>();
                    count.bytes += end.bytes.iter().sum::<u64>();
                }
            }
            _ => {}
        }
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Tally) {
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            *mine += theirs;
        }
        for (mine, theirs) in self.sessions.iter_mut().zip(&other.sessions) {
            mine.created += theirs.created;
            mine.last_created = mine.last_created.max(theirs.last_created);
            mine.packets += theirs.packets;
            mine.bytes += theirs.bytes;
        }
        for (mine, theirs) in self.decisions.iter_mut().zip(&other.decisions) {
            *mine += theirs;
        }
    }

    /// Sessions of each top-level class, in the order of [`Editions::tops`].
    #[must_use]
    pub fn sessions(&self) -> &[SessionCount] {
        &self.sessions
    }

    /// Hits of each class with each action.
    pub fn classes<'l>(
        &'l self,
        editions: &'l Editions,
    ) -> impl Iterator<Item = (&'l ClassRow, Action, u64)> + 'l {
        editions.classes.iter().zip(self.classes.chunks(ACTIONS.len())).flat_map(|(row, counts)| {
            ACTIONS.into_iter().zip(counts).map(move |(action, count)| (row, action, *count))
        })
    }

    /// Decisions of each kind, for each kind of match and each action.
    pub fn decisions(&self) -> impl Iterator<Item = (Kind, MatchKind, Action, u64)> + '_ {
        let kinds = Kind::ALL.into_iter().flat_map(|kind| MatchKind::ALL.iter().map(move |by| (kind, *by)));
        kinds.zip(self.decisions.chunks(ACTIONS.len())).flat_map(|((kind, by), counts)| {
            ACTIONS.into_iter().zip(counts).map(move |(action, count)| (kind, by, action, *count))
        })
    }
}

fn add(counts: &mut [u64], index: usize) {
    if let Some(count) = counts.get_mut(index) {
        *count += 1;
    }
}

fn decision_index(decision: &Decision, flow: &FlowTag, policy: &Policy) -> usize {
    let kind = Kind::ALL.iter().position(|kind| *kind == decision.kind).unwrap_or(0);
    kind * MatchKind::ALL.len() + MatchKind::of(Names::criterion(decision, flow, policy)).index
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;

    #[test]
    fn decisions_are_counted_by_kind_match_class_and_action() {
        let editions = Editions::new(&sample::artifact(sample::policy()));
        let mut tally = Tally::new(&editions);
        let mut by_class = sample::decision(Kind::SmtpMatch, b"x", Action::Close);
        sample::by_class(&mut by_class, 0, 0);
        let mut unknown = sample::decision(Kind::SmtpMatch, b"x", Action::Close);
        sample::by_class(&mut unknown, 99, 99);
        for record in [
            by_class,
            by_class,
            unknown,
            sample::decision(Kind::SmtpEhloMasked, b"x", Action::Mask),
            sample::refused(),
            sample::record(Body::FlowStart),
            sample::record(Body::FlowEnd(sample::totals())),
        ] {
            tally.record(&record, &editions);
        }
        let mut sum = Tally::new(&editions);
        sum.add(&tally);
        sum.add(&tally);
        let classes: Vec<_> = sum
            .classes(&editions)
            .filter(|(.., count)| *count > 0)
            .map(|(row, action, count)| (row.zone_pair.as_str(), row.class.as_str(), action, count))
            .collect();
        assert_eq!(classes, [("in-out", "spam", Action::Close, 4)]);
        let sessions = SessionCount { created: 2, last_created: 1_000_002_000, packets: 18, bytes: 294 };
        assert_eq!(sum.sessions(), [sessions]);
        let decisions: Vec<_> = sum
            .decisions()
            .filter(|(.., count)| *count > 0)
            .map(|(kind, by, action, count)| (kind, by.label, action, count))
            .collect();
        assert_eq!(
            decisions,
            [
                (Kind::SmtpMatch, "none", Action::Close, 2),
                (Kind::SmtpMatch, "sender_address", Action::Close, 4),
                (Kind::SmtpEhloMasked, "none", Action::Mask, 2),
            ]
        );
    }

    #[test]
    fn counts_of_one_edition_can_be_read_under_the_next() {
        let first = Editions::new(&sample::artifact(sample::policy()));
        let mut tally = Tally::new(&first);
        let mut hit = sample::decision(Kind::SmtpMatch, b"x", Action::Close);
        sample::by_class(&mut hit, 0, 0);
        tally.record(&hit, &first);
        let mut renamed = sample::policy();
        renamed.smtp[0].classes[0].name = "junk".into();
        let second = first.next(&sample::artifact(renamed));
        let mut sum = Tally::new(&second);
        sum.add(&tally);
        tally.grow(&second);
        if let Some(flow) = &mut hit.flow {
            flow.generation = 1;
        }
        tally.record(&hit, &second);
        tally.record(&hit, &second);
        sum.add(&tally);
        let hits = sum.classes(&second).filter(|(.., count)| *count > 0);
        let hits: Vec<_> = hits.map(|(row, _, count)| (row.class.as_str(), count)).collect();
        assert_eq!(hits, [("spam", 2), ("junk", 2)]);
    }
}
