//! Loaded artifacts: the one that new sessions begin under, and those that older sessions still live under.

use std::sync::Arc;

use artifact::model::{InspectParameters, Policy, PortIndex};

use super::level::Levels;
use super::limits::Groups;
use super::{Engine, Shared};
use crate::verdict::Rules;

/// One loaded artifact, with what the engine makes of it.
#[derive(Debug)]
pub(crate) struct Generation<X> {
    /// Counts up with every reload; in [`crate::event::FlowTag::generation`].
    pub number: u32,
    pub policy: Arc<Policy>,
    /// By SMTP policy of the artifact.
    pub rules: Box<[Rules]>,
    pub matcher: X,
    /// Which port of the policy each port of the gateway is.
    pub ports: [Option<PortIndex>; 2],
    /// Sessions that began under it and are not over.
    pub flow_count: usize,
    /// What the limits of sessions count.
    pub groups: Groups,
    /// What its classes have of sessions.
    pub levels: Levels,
}

/// Artifacts that sessions may live under at once. Who reloads more often than sessions end waits.
pub const GENERATION_LIMIT: usize = 16;

/// There are [`GENERATION_LIMIT`] artifacts in use already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyGenerations;

impl<X> Generation<X> {
    pub fn new(
        number: u32,
        policy: Arc<Policy>,
        matcher: X,
        ports: [Option<PortIndex>; 2],
        worker_count: u32,
    ) -> Self {
        let rules = policy.smtp.iter().map(Rules::new).collect();
        let (groups, levels) = (Groups::new(&policy, worker_count), Levels::new(&policy));
        Self { number, policy, rules, matcher, ports, flow_count: 0, groups, levels }
    }

    /// The parameters with this index; the built-in ones for an index that no loaded artifact has.
    pub fn parameters(&self, index: u16) -> &InspectParameters {
        static BUILT_IN: std::sync::LazyLock<InspectParameters> =
            std::sync::LazyLock::new(InspectParameters::default);
        self.policy.parameters.get(usize::from(index)).unwrap_or(&BUILT_IN)
    }
}

impl<X> Shared<X> {
    /// The artifact that new sessions begin under.
    pub fn current(&self) -> &Generation<X> {
        &self.generations[self.generations.len() - 1]
    }

    /// Where the artifact with this number stands. One that a session lives under is always there; the
    /// current one is nearly always it.
    #[inline]
    pub fn generation(&self, number: u32) -> usize {
        let last = self.generations.len() - 1;
        if self.generations[last].number == number { last } else { self.older(number).unwrap_or(last) }
    }

    #[cold]
    fn older(&self, number: u32) -> Option<usize> {
        self.generations.iter().rposition(|generation| generation.number == number)
    }

    /// A session that began under this artifact is over.
    pub fn leave(&mut self, number: u32) {
        let index = self.generation(number);
        let generation = &mut self.generations[index];
        generation.flow_count -= 1;
        if generation.flow_count == 0 && index + 1 < self.generations.len() {
            self.generations.remove(index);
        }
    }
}

impl<X> Engine<X> {
    /// From now on new sessions begin under this artifact; those that exist stay under the one they began with, and no
    /// frame is lost. Returns the number of the new generation.
    ///
    /// # Errors
    /// When sessions still live under too many older artifacts; nothing has changed then.
    pub fn reload(
        &mut self,
        policy: Arc<Policy>,
        matcher: X,
        ports: [Option<PortIndex>; 2],
    ) -> Result<u32, TooManyGenerations> {
        let number = self.shared.current().number + 1;
        if self.shared.generations.len() == GENERATION_LIMIT && self.shared.current().flow_count > 0 {
            return Err(TooManyGenerations);
        }
        if self.shared.current().flow_count == 0 {
            self.shared.generations.pop();
        }
        let generation = Generation::new(number, policy, matcher, ports, self.shared.config.worker_count);
        if !generation.groups.is_empty() {
            self.limits.reserve(self.shared.config.flow_limit, &self.shared.config.hash_key);
        }
        self.shared.generations.push(generation);
        Ok(number)
    }

    /// Number of the artifact that new sessions begin under; the first is [`super::Config::generation`].
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.shared.current().number
    }

    /// Numbers of the artifacts that sessions live under, ascending; the last is the current one, with or without
    /// sessions.
    pub fn generations(&self) -> impl Iterator<Item = u32> + '_ {
        self.shared.generations.iter().map(|generation| generation.number)
    }

    /// The pattern matcher of the current artifact, for its own counters.
    pub fn matcher(&self) -> &X {
        &self.shared.current().matcher
    }
}
