//! Editions: the policies that decide, from one reload to the next.
//!
//! A session ends under the policy it began with, so several editions can be in use at once, and what a record's
//! indexes stand for depends on its session's. Counters go by name: a class that a later edition has too goes on
//! counting where it stood.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use artifact::format::Artifact;
use artifact::model::{Policy, PortIndex, TopAction};
use inspect::event::{FlowTag, Record};

use crate::port::xdp::Classification;

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

/// A class of a path's top-level policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopRow {
    /// Zone-pair of the path.
    pub zone_pair: String,
    /// Class of its policy.
    pub class: String,
}

/// One loaded artifact.
#[derive(Debug)]
pub struct Edition {
    /// Number of reloads before it; [`FlowTag::generation`].
    pub generation: u32,
    /// What it says.
    pub policy: Arc<Policy>,
    /// SHA-256 of its text, in hexadecimal.
    pub digest: String,
    /// When it came into force.
    pub since: SystemTime,
    /// By path and class: row of [`Editions::tops`].
    tops: Vec<Vec<usize>>,
    /// By path, class and class of the SMTP policy: row of [`Editions::classes`].
    classes: Vec<Vec<Vec<usize>>>,
}

impl Edition {
    /// The row of a session's top-level class.
    #[must_use]
    pub fn top(&self, flow: &FlowTag) -> Option<usize> {
        self.top_of(flow.path, flow.class)
    }

    /// The row of a class of a path.
    #[must_use]
    pub fn top_of(&self, path: u16, class: u16) -> Option<usize> {
        self.tops.get(usize::from(path))?.get(usize::from(class)).copied()
    }

    /// What the kernel can decide of it, where each port of the gateway is one of the policy's: see
    /// [`Classification::counting`]. A class is counted under its row, the first 255 are.
    #[must_use]
    pub fn classification(&self, ports: [Option<PortIndex>; 2]) -> Classification {
        let number = |path: usize, class: usize| {
            let row = self.tops.get(path).and_then(|rows| rows.get(class));
            row.and_then(|row| u8::try_from(row + 1).ok()).unwrap_or(0)
        };
        Classification::counting(&self.policy, ports, &number)
    }

    /// The row of a class of a session's SMTP policy.
    #[must_use]
    pub fn class(&self, flow: &FlowTag, class: u16) -> Option<usize> {
        let path = self.classes.get(usize::from(flow.path))?;
        path.get(usize::from(flow.class))?.get(usize::from(class)).copied()
    }
}

/// The editions in use, and the rows that counters have. Rows stay where they are for good, so that counts
/// made under one edition can be read under the next. There are as many as an administrator ever gave names.
#[derive(Debug, Clone)]
pub struct Editions {
    /// Every class of an SMTP policy.
    pub classes: Vec<ClassRow>,
    /// Every class of a top-level policy.
    pub tops: Vec<TopRow>,
    /// Ascending; the last is in force.
    list: Vec<Arc<Edition>>,
}

impl Editions {
    /// The first edition.
    #[must_use]
    pub fn new(artifact: &Artifact) -> Self {
        let empty = Self { classes: Vec::new(), tops: Vec::new(), list: Vec::new() };
        empty.next(artifact)
    }

    /// These and a new one, which is in force.
    #[must_use]
    pub fn next(&self, artifact: &Artifact) -> Self {
        let mut next = self.clone();
        let policy = Arc::new(artifact.policy.clone());
        let mut edition = Edition {
            generation: self.list.last().map_or(0, |last| last.generation + 1),
            digest: artifact.source_digest.iter().map(|octet| format!("{octet:02x}")).collect(),
            since: SystemTime::now(),
            tops: Vec::new(),
            classes: Vec::new(),
            policy: Arc::clone(&policy),
        };
        for path in &policy.paths {
            let (mut tops, mut classes) = (Vec::new(), Vec::new());
            for class in &path.classes {
                let row = TopRow { zone_pair: path.zone_pair.clone(), class: class.name.clone() };
                tops.push(place(&mut next.tops, row));
                let smtp = match class.action {
                    TopAction::Inspect { smtp: Some(index), .. } => policy.smtp.get(usize::from(index)),
                    _ => None,
                };
                let rows = smtp.into_iter().flat_map(|smtp| {
                    smtp.classes.iter().map(|class| ClassRow {
                        zone_pair: path.zone_pair.clone(),
                        policy: smtp.name.clone(),
                        class: class.name.clone(),
                    })
                });
                classes.push(rows.map(|row| place(&mut next.classes, row)).collect());
            }
            edition.tops.push(tops);
            edition.classes.push(classes);
        }
        next.list.push(Arc::new(edition));
        next
    }

    /// These without the ones under which no session is left. The one in force stays.
    #[must_use]
    pub fn only(&self, in_use: impl Fn(u32) -> bool) -> Self {
        let mut rest = self.clone();
        let last = self.current().generation;
        rest.list.retain(|edition| edition.generation == last || in_use(edition.generation));
        rest
    }

    /// The one in force.
    #[must_use]
    pub fn current(&self) -> &Arc<Edition> {
        // There is always one: made with one, and the last is never taken out.
        &self.list[self.list.len() - 1]
    }

    /// Those in use, ascending.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Edition>> {
        self.list.iter()
    }

    /// How many are in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// The one with this number, if it is in use.
    #[must_use]
    pub fn of(&self, generation: u32) -> Option<&Arc<Edition>> {
        self.list.iter().rev().find(|edition| edition.generation == generation)
    }

    /// The policy that a record's indexes belong to: that of its session, else the one in force. `None` when the
    /// session's is not known here.
    #[must_use]
    pub fn policy_of(&self, record: &Record) -> Option<&Arc<Policy>> {
        match &record.flow {
            Some(flow) => self.of(flow.generation).map(|edition| &edition.policy),
            None => Some(&self.current().policy),
        }
    }
}

/// Where a row stands; a new one at the end.
fn place<T: PartialEq>(rows: &mut Vec<T>, row: T) -> usize {
    if let Some(there) = rows.iter().position(|known| *known == row) {
        return there;
    }
    rows.push(row);
    rows.len() - 1
}

/// The editions, as every thread can ask for them. Workers are handed theirs, so that they need no lock.
#[derive(Debug)]
pub struct Register(Mutex<Arc<Editions>>);

impl Register {
    /// One with these editions.
    #[must_use]
    pub fn new(editions: Editions) -> Self {
        Self(Mutex::new(Arc::new(editions)))
    }

    /// The editions now.
    #[must_use]
    pub fn get(&self) -> Arc<Editions> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in their place.
    pub fn set(&self, editions: Arc<Editions>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = editions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;

    #[test]
    fn rows_stay_and_new_ones_are_added() {
        let first = Editions::new(&sample::artifact(sample::policy()));
        let mut changed = sample::policy();
        let mut ham = changed.smtp[0].classes[0].clone();
        ham.name = "ham".into();
        changed.smtp[0].classes.insert(0, ham);
        changed.paths[0].classes[0].name = "post".into();
        let second = first.next(&sample::artifact(changed));
        let names: Vec<_> = second.classes.iter().map(|row| row.class.as_str()).collect();
        assert_eq!(names, ["spam", "ham"]);
        let (old, new) = (second.of(0).unwrap(), second.of(1).unwrap());
        let flow = sample::flow();
        assert_eq!((old.class(&flow, 0), old.class(&flow, 1)), (Some(0), None));
        assert_eq!((new.class(&flow, 0), new.class(&flow, 1)), (Some(1), Some(0)));
        assert_eq!((old.top(&flow), new.top(&flow)), (Some(0), Some(1)));
        assert_eq!((second.current().generation, second.count()), (1, 2));
    }

    #[test]
    fn records_are_named_by_the_edition_they_began_under() {
        let first = Editions::new(&sample::artifact(sample::policy()));
        let second = first.next(&sample::artifact(Policy::default()));
        let mut record = sample::anomaly();
        assert_eq!(second.policy_of(&record).unwrap().paths.len(), 1);
        if let Some(flow) = &mut record.flow {
            flow.generation = 1;
        }
        assert_eq!(second.policy_of(&record).unwrap().paths.len(), 0);
        assert!(first.policy_of(&record).is_none(), "an edition that is not known yet");
        assert_eq!(
            second.policy_of(&sample::refused()).unwrap().paths.len(),
            0,
            "no session: the one in force"
        );
        let rest = second.only(|_| false);
        assert!(rest.of(0).is_none() && rest.classes.len() == 1, "rows outlive their edition");
        assert_eq!((rest.current().generation, rest.count()), (1, 1), "the one in force stays");
    }
}
