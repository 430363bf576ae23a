//! Decisions counted by what decided: bounded sets of labels, laid out once, so that counting is an addition.

use artifact::model::{Policy, TopAction};
use inspect::event::{Action, Body, Decision, FlowTag, Kind, Record};

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

/// A class of an SMTP policy, as one path uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassRow {
    /// Zone-pair of the path.
    pub zone_pair: String,
    /// SMTP policy.
    pub policy: String,
    /// Class of it.
    pub class: String,
}

/// Where the classes of a policy stand in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Labels of each row.
    pub rows: Vec<ClassRow>,
    /// By path and class of it: the first row of its SMTP policy.
    first: Vec<Vec<usize>>,
}

impl Layout {
    /// The rows of a policy.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let mut rows = Vec::new();
        let first = policy.paths.iter().map(|path| {
            let of_class = |action: &TopAction| {
                let first = rows.len();
                let smtp = match action {
                    TopAction::Inspect { smtp: Some(index), .. } => policy.smtp.get(usize::from(*index)),
                    _ => None,
                };
                if let Some(smtp) = smtp {
                    rows.extend(smtp.classes.iter().map(|class| ClassRow {
                        zone_pair: path.zone_pair.clone(),
                        policy: smtp.name.clone(),
                        class: class.name.clone(),
                    }));
                }
                first
            };
            path.classes.iter().map(|class| &class.action).map(of_class).collect()
        });
        let first = first.collect();
        Self { rows, first }
    }

    fn row(&self, flow: &FlowTag, class: u16) -> Option<usize> {
        let first = self.first.get(usize::from(flow.path))?.get(usize::from(flow.class))?;
        Some(first + usize::from(class)).filter(|row| *row < self.rows.len())
    }
}

/// What one worker counted.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    /// By row of the layout and action.
    classes: Vec<u64>,
    /// By kind, kind of match and action.
    decisions: Vec<u64>,
}

impl Clone for Tally {
    fn clone(&self) -> Self {
        Self { classes: self.classes.clone(), decisions: self.decisions.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        // Keeps the memory it has.
        self.classes.clone_from(&source.classes);
        self.decisions.clone_from(&source.decisions);
    }
}

impl Tally {
    /// Zeros for a layout.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            classes: vec![0; layout.rows.len() * ACTIONS.len()],
            decisions: vec![0; Kind::ALL.len() * MatchKind::ALL.len() * ACTIONS.len()],
        }
    }

    /// Counts a record, if it is a decision.
    pub fn record(&mut self, record: &Record, layout: &Layout, policy: &Policy) {
        let (Body::Decision(decision), Some(flow)) = (&record.body, &record.flow) else { return };
        let action = column(decision.action);
        if let Some(row) = decision.class.and_then(|class| layout.row(flow, class)) {
            add(&mut self.classes, row * ACTIONS.len() + action);
        }
        add(&mut self.decisions, decision_index(decision, flow, policy) * ACTIONS.len() + action);
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Tally) {
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            *mine += theirs;
        }
        for (mine, theirs) in self.decisions.iter_mut().zip(&other.decisions) {
            *mine += theirs;
        }
    }

    /// Hits of each class with each action.
    pub fn classes<'l>(
        &'l self,
        layout: &'l Layout,
    ) -> impl Iterator<Item = (&'l ClassRow, Action, u64)> + 'l {
        layout.rows.iter().zip(self.classes.chunks(ACTIONS.len())).flat_map(|(row, counts)| {
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
        let policy = sample::policy();
        let layout = Layout::new(&policy);
        let mut tally = Tally::new(&layout);
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
        ] {
            tally.record(&record, &layout, &policy);
        }
        let mut sum = Tally::new(&layout);
        sum.add(&tally);
        sum.add(&tally);
        let classes: Vec<_> = sum
            .classes(&layout)
            .filter(|(.., count)| *count > 0)
            .map(|(row, action, count)| (row.zone_pair.as_str(), row.class.as_str(), action, count))
            .collect();
        assert_eq!(classes, [("in-out", "spam", Action::Close, 4)]);
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
}
