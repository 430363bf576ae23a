//! What each top-level class has of sessions, has had at most, and carried lately, for `show zone-pair`.
//!
//! Of one worker, and since its artifact was loaded.

use artifact::model::Policy;

use super::flow::Flow;
use super::generation::Generation;
use super::rate::Rate;
use super::session::State;
use super::{Engine, Shared};
use crate::event::FlowTag;
use crate::unit::Instant;

/// Seconds over which octets are counted.
pub const RATE_SECONDS: u64 = 30;

/// One class at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassLevel {
    /// Most sessions there ever were at once: half-open, established, terminating.
    pub most: [u32; 3],
    /// Sessions begun in the last minute.
    pub begun: u64,
    /// Most sessions begun in any minute.
    pub most_begun: u64,
    /// Payload octets forwarded in the last [`RATE_SECONDS`].
    pub octets: u64,
    /// Frames that it passed or dropped without following their session, and their octets.
    pub decided: [u64; 2],
}

#[derive(Debug, Clone, Default)]
struct Level {
    now: [u32; 3],
    shown: ClassLevel,
    begun: Rate<60>,
    octets: Rate<{ RATE_SECONDS as usize }>,
}

impl Level {
    fn enter(&mut self, state: State) {
        let (now, most) = (&mut self.now[state as usize], &mut self.shown.most[state as usize]);
        *now += 1;
        *most = (*most).max(*now);
    }

    fn leave(&mut self, state: State) {
        let now = &mut self.now[state as usize];
        *now = now.saturating_sub(1);
    }
}

/// Octets that sessions of one class carried and that are not counted for it yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    /// Generation, path and class.
    class: (u32, u16, u16),
    octets: u64,
}

/// Classes of one artifact.
#[derive(Debug)]
pub(crate) struct Levels {
    items: Box<[Level]>,
    /// Where the classes of each path begin.
    starts: Box<[usize]>,
}

impl Levels {
    pub fn new(policy: &Policy) -> Self {
        let count = policy.paths.iter().map(|path| path.classes.len()).sum();
        let starts = policy.paths.iter().scan(0, |next, path| {
            let start = *next;
            *next += path.classes.len();
            Some(start)
        });
        Self { starts: starts.collect(), items: vec![Level::default(); count].into() }
    }

    fn at(&mut self, path: u16, class: u16) -> Option<&mut Level> {
        let start = self.starts.get(usize::from(path))?;
        self.items.get_mut(start + usize::from(class))
    }
}

impl<X> Shared<X> {
    fn level(&mut self, tag: &FlowTag) -> Option<&mut Level> {
        let generation = self.generation(tag.generation);
        self.generations[generation].levels.at(tag.path, tag.class)
    }

    /// A session has begun.
    pub fn level_begun(&mut self, tag: &FlowTag, now: Instant) {
        let Some(level) = self.level(tag) else { return };
        level.enter(State::Opening);
        let begun = level.begun.add(now, 1);
        level.shown.most_begun = level.shown.most_begun.max(begun);
    }

    /// A session has carried so many octets more, and may be in another state.
    #[inline(always)]
    pub fn level_changed(&mut self, flow: &mut Flow, octets: u64, now: Instant) {
        let state = State::of(flow);
        let before = core::mem::replace(&mut flow.counted, state);
        if octets > 0 {
            self.carried(&flow.tag, octets, now);
        }
        if state != before {
            self.level_moved(&flow.tag, before, state);
        }
    }

    fn level_moved(&mut self, tag: &FlowTag, before: State, state: State) {
        if let Some(level) = self.level(tag) {
            level.leave(before);
            level.enter(state);
        }
    }

    /// A session has carried so many octets more. They are counted for its class when another class has carried some, or at the
    /// end of the burst.
    #[inline]
    pub fn carried(&mut self, tag: &FlowTag, octets: u64, now: Instant) {
        let class = (tag.generation, tag.path, tag.class);
        if class != self.carried.class {
            self.settle_carried(now);
            self.carried.class = class;
        }
        self.carried.octets += octets;
    }

    /// Counts what was carried for its class.
    pub fn settle_carried(&mut self, now: Instant) {
        let Carried { class: (number, path, class), octets } = core::mem::take(&mut self.carried);
        if octets > 0 {
            // The last session of an older artifact takes it along when it ends.
            let generation = self.generation(number);
            let generation = &mut self.generations[generation];
            if generation.number == number
                && let Some(level) = generation.levels.at(path, class)
            {
                level.octets.add(now, octets);
            }
        }
    }

    /// A class of the current artifact has passed or dropped a frame of so many octets.
    pub fn level_decided(&mut self, path: u16, class: u16, len: usize) {
        let current = self.generations.len() - 1;
        let levels = &mut self.generations[current].levels;
        let Some(start) = levels.starts.get(usize::from(path)) else { return };
        if let Some(level) = levels.items.get_mut(start + usize::from(class)) {
            level.shown.decided[0] += 1;
            level.shown.decided[1] += len as u64;
        }
    }

    /// A session is over.
    pub fn level_ended(&mut self, flow: &Flow) {
        if let Some(level) = self.level(&flow.tag) {
            level.leave(flow.counted);
        }
    }
}

impl<X> Engine<X> {
    /// Every class of every loaded artifact: the artifact's number, indexes of path and class, and its level.
    pub fn levels(&mut self, now: Instant, mut each: impl FnMut(u32, u16, u16, ClassLevel)) {
        for Generation { number, levels, policy, .. } in &mut self.shared.generations {
            for (path, start) in levels.starts.iter().enumerate() {
                let count = policy.paths.get(path).map_or(0, |path| path.classes.len());
                for (class, level) in levels.items.iter_mut().skip(*start).take(count).enumerate() {
                    let (begun, octets) = (level.begun.at(now), level.octets.at(now));
                    each(*number, path as u16, class as u16, ClassLevel { begun, octets, ..level.shown });
                }
            }
        }
    }

    /// Segments that wait for octets in front of them: now, at most, and in the longest queue of one stream.
    #[must_use]
    pub fn held(&self) -> [usize; 3] {
        [self.shared.held_count, self.shared.held_most, self.shared.held_longest]
    }
}
