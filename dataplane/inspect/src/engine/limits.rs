//! Limits of sessions that `parameter-map type inspect` sets: how many there may be, and how many half-open.
//!
//! A top-level class counts its own sessions (`sessions maximum`) and its half-open ones (`max-incomplete`, `one-minute`);
//! the classic form, whose limits are global, counts half-open sessions of all classes together. Half-open sessions to one
//! host are counted over all classes (`tcp max-incomplete host`). Every loaded artifact counts its own classes.
//!
//! **Every worker counts its own, and has an even share of each limit**, rounded up: of `sessions maximum 100`, each of three
//! workers has 34. So nothing is shared on the way of a SYN. Pairs of hosts are spread over the workers at random
//! ([`crate::flow::owner`]), so many clients fill the shares evenly; a few may fill one while another has room.
//! What a limit takes away is a session, never an inspection.
//!
//! When there are too many half-open sessions, the oldest go: a handshake that nobody completes grows old, one that
//! somebody completes does not stay long enough. They are deleted a few at a time, so that no frame waits for long.

use artifact::model::{Form, InspectParameters, Policy, Thresholds, TopAction};
use core::time::Duration;

use super::half_open::{Host, List, Nodes, Thread};
use super::rate::Rate;
use super::{Engine, Io, close};
use crate::event::{Body, EndReason, FlowTag, Journal, Limit};
use crate::flow::{FlowIndex, FlowKey, Table};
use crate::frame::Memory;
use crate::scan::Matcher;
use crate::unit::Instant;
use crate::wire::{Endpoint, Vlan};

/// Hosts whose half-open sessions are counted at once, and that may be blocked. A session to one more takes the place
/// of the oldest half-open session of its class, as if that host were at its limit (`untracked_hosts`).
pub const HOST_LIMIT: usize = 4096;

/// Half-open sessions deleted for one that begins, while there are too many.
const DELETED_PER_SYN: usize = 2;
/// Half-open sessions deleted in one tick.
const DELETED_PER_TICK: usize = 256;

/// The limits of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bounds {
    sessions: Option<u32>,
    incomplete: Option<Thresholds>,
    one_minute: Option<Thresholds>,
    /// Sessions, and minutes to block for.
    host: Option<(u32, u32)>,
}

impl Bounds {
    /// One worker's share of them.
    fn new(parameters: &InspectParameters, worker_count: u32) -> Self {
        let share = |limit: u32| limit.div_ceil(worker_count.max(1));
        let both = |bounds: Thresholds| Thresholds { low: share(bounds.low), high: share(bounds.high) };
        Self {
            sessions: parameters.sessions_maximum.map(share),
            incomplete: parameters.max_incomplete.map(both),
            one_minute: parameters.one_minute.map(both),
            host: parameters.max_incomplete_host.map(|(limit, minutes)| (share(limit), minutes)),
        }
    }
}

/// What is counted together.
#[derive(Debug, Default)]
struct Group {
    bounds: Bounds,
    sessions: u32,
    /// A session was refused since there was last room for one.
    full: bool,
    half_open: List,
    begun: Rate<60>,
    /// There were more than `high` and are not yet down to `low`: half-open sessions, and new ones a minute.
    aggressive: [bool; 2],
    /// The session that made it aggressive, for reports.
    tag: Option<FlowTag>,
}

impl Group {
    /// Which of two states, with hysteresis.
    fn state(before: bool, value: u32, thresholds: Option<Thresholds>) -> bool {
        thresholds.is_some_and(|bounds| value > if before { bounds.low } else { bounds.high })
    }

    /// Looks at the counts, and reports when the state changes.
    fn review(&mut self, now: Instant, journal: &mut Journal, tag: Option<FlowTag>) {
        let rate = u32::try_from(self.begun.at(now)).unwrap_or(u32::MAX);
        let before = self.aggressive.contains(&true);
        let Bounds { incomplete, one_minute, .. } = self.bounds;
        self.aggressive = [
            Self::state(self.aggressive[0], self.half_open.len, incomplete),
            Self::state(self.aggressive[1], rate, one_minute),
        ];
        let on = self.aggressive.contains(&true);
        if on == before {
            return;
        }
        if on {
            self.tag = tag;
        }
        journal.subject(now, self.tag);
        journal.push(Body::Limit(Limit::Aggressive {
            on,
            half_open: self.half_open.len,
            high: incomplete.map(|thresholds| thresholds.high),
            per_minute: rate,
        }));
    }
}

/// Groups of one artifact.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    items: Box<[Group]>,
    /// Where the classes of each path begin; empty when all classes are one group.
    starts: Box<[usize]>,
}

impl Groups {
    pub fn new(policy: &Policy, worker_count: u32) -> Self {
        let bounds_of = |action| match action {
            TopAction::Inspect { parameters, .. } => {
                let parameters = policy.parameters.get(usize::from(parameters));
                parameters.map(|parameters| Bounds::new(parameters, worker_count)).unwrap_or_default()
            }
            _ => Bounds::default(),
        };
        let classes = policy.paths.iter().flat_map(|path| &path.classes);
        let mut bounds: Vec<Bounds> = classes.map(|class| bounds_of(class.action)).collect();
        bounds.retain(|bounds| policy.form == Form::Zone || *bounds != Bounds::default());
        if policy.form == Form::Classic {
            bounds.truncate(1);
        }
        if bounds.iter().all(|bounds| *bounds == Bounds::default()) {
            return Self::default();
        }
        let items = bounds.into_iter().map(|bounds| Group { bounds, ..Group::default() }).collect();
        let starts = policy.paths.iter().scan(0, |next, path| {
            let start = *next;
            *next += path.classes.len();
            Some(start)
        });
        let starts = if policy.form == Form::Zone { starts.collect() } else { Box::default() };
        Self { items, starts }
    }

    /// Whether no class has a limit.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What this session counts in.
    fn of(&mut self, tag: &FlowTag) -> Option<&mut Group> {
        let at = match self.starts.get(usize::from(tag.path)) {
            Some(start) => start + usize::from(tag.class),
            None => 0,
        };
        self.items.get_mut(at).filter(|group| group.bounds != Bounds::default())
    }
}

/// What all artifacts have in common: the half-open sessions and the hosts they go to.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    nodes: Nodes,
    hosts: Option<Table<Host>>,
    /// Blocked hosts that still have half-open sessions.
    draining: Vec<FlowIndex>,
    /// No host is to be unblocked before; `None` when none is blocked.
    next_unblock: Option<Instant>,
}

impl Limits {
    /// Whether each tick may have something to do for them.
    pub(super) fn are_kept(&self) -> bool {
        self.hosts.is_some()
    }

    /// Makes room, once an artifact has limits.
    pub fn reserve(&mut self, flow_limit: usize, hash_key: &[u8; 16]) {
        if self.hosts.is_none() {
            self.nodes.reserve(flow_limit);
            self.hosts = Some(Table::new(HOST_LIMIT, hash_key));
            self.draining.reserve(HOST_LIMIT);
        }
    }

    /// A host has no sessions any more, or is not blocked any more: it need not be remembered.
    fn forget(&mut self, host: FlowIndex) {
        if let Some(hosts) = &mut self.hosts
            && hosts.get(host).is_some_and(|host| host.half_open.len == 0 && host.blocked_until.is_none())
        {
            hosts.remove(host);
        }
    }
}

/// The host in the table of hosts.
fn host_key(address: &Endpoint) -> FlowKey {
    let nobody = Endpoint { address: [0; 16], port: 0 };
    FlowKey::between(Vlan::default(), &nobody, &Endpoint { port: 0, ..*address }).0
}

impl<X: Matcher> Engine<X> {
    /// Whether the limits let a session begin. Reports and counts where they do not.
    pub(super) fn admit<M: Memory>(&mut self, tag: &FlowTag, io: &mut Io<'_, M>) -> bool {
        self.unblock(io.now);
        let shared = &mut self.shared;
        let current = shared.generations.len() - 1;
        let Some(group) = shared.generations[current].groups.of(tag) else { return true };
        if let Some(maximum) = group.bounds.sessions
            && group.sessions >= maximum
        {
            shared.counters.dropped_sessions_maximum += 1;
            if !core::mem::replace(&mut group.full, true) {
                shared.journal.subject(io.now, Some(*tag));
                shared.journal.push(Body::Limit(Limit::SessionsMaximum { maximum }));
            }
            return false;
        }
        let Some((limit, minutes)) = group.bounds.host else { return true };
        let oldest_of_class = self.limits.nodes.oldest(&group.half_open);
        let Some(hosts) = &mut self.limits.hosts else { return true };
        let Some(index) = hosts.lookup(&host_key(&tag.server)) else {
            if hosts.len() == hosts.limit() {
                shared.counters.untracked_hosts += 1;
                self.delete(oldest_of_class, io);
            }
            return true;
        };
        let Some(host) = hosts.get_mut(index) else { return true };
        if host.blocked_until.is_some() {
            shared.counters.dropped_host_blocked += 1;
            return false;
        }
        if minutes == 0 || host.half_open.len < limit {
            return true;
        }
        host.tag = *tag;
        shared.journal.subject(io.now, Some(*tag));
        if host.alerted.replace(limit).is_none() {
            shared.journal.push(Body::Limit(Limit::HostAlert { limit }));
        }
        shared.journal.push(Body::Limit(Limit::HostBlocked { limit, minutes }));
        shared.counters.dropped_host_blocked += 1;
        let until = io.now + Duration::from_secs(60 * u64::from(minutes));
        host.blocked_until = Some(until);
        self.limits.next_unblock = Some(self.limits.next_unblock.map_or(until, |next| next.min(until)));
        if self.limits.draining.len() < HOST_LIMIT {
            self.limits.draining.push(index);
        }
        false
    }

    /// Counts a session that has begun, and deletes older half-open ones if there are too many.
    pub(super) fn begun<M: Memory>(&mut self, index: FlowIndex, tag: &FlowTag, io: &mut Io<'_, M>) {
        let shared = &mut self.shared;
        let current = shared.generations.len() - 1;
        let Some(group) = shared.generations[current].groups.of(tag) else { return };
        let Limits { nodes, hosts, .. } = &mut self.limits;
        nodes.begin(index);
        group.sessions += 1;
        nodes.push(&mut group.half_open, Thread::Class, index);
        let mut host = None;
        let mut replaced = None;
        if let (Some((limit, minutes)), Some(hosts)) = (group.bounds.host, hosts) {
            let key = host_key(&tag.server);
            host = hosts.lookup(&key).or_else(|| hosts.insert(key, Host::new(*tag)).ok());
            if let Some(host) = host.and_then(|host| hosts.get_mut(host)) {
                nodes.push(&mut host.half_open, Thread::Host, index);
                if minutes == 0 && host.half_open.len > limit.max(1) {
                    replaced = nodes.oldest(&host.half_open);
                    if host.alerted.replace(limit).is_none() {
                        shared.journal.subject(io.now, Some(*tag));
                        shared.journal.push(Body::Limit(Limit::HostAlert { limit }));
                    }
                }
            }
        }
        if let Some(node) = nodes.get_mut(index) {
            (node.half_open, node.host) = (true, host);
        }
        group.begun.add(io.now, 1);
        group.review(io.now, &mut shared.journal, Some(*tag));
        self.delete(replaced, io);
        for turn in 0..DELETED_PER_SYN {
            let Some(group) = self.shared.generations[current].groups.of(tag) else { return };
            // Too many: down to `low`. Too many a minute: one goes for the one that came.
            if !(group.aggressive[0] || group.aggressive[1] && turn == 0) || group.half_open.len <= 1 {
                return;
            }
            let oldest = self.limits.nodes.oldest(&group.half_open);
            self.delete(oldest, io);
        }
    }

    /// A session is not half-open any more.
    pub(super) fn settled(&mut self, index: FlowIndex, tag: &FlowTag, now: Instant) {
        let Limits { nodes, hosts, .. } = &mut self.limits;
        let Some(node) = nodes.get_mut(index) else { return };
        let host = node.host.take();
        if !core::mem::replace(&mut node.half_open, false) {
            return;
        }
        if let Some(index_of_host) = host
            && let Some(host) = hosts.as_mut().and_then(|hosts| hosts.get_mut(index_of_host))
        {
            nodes.unlink(&mut host.half_open, Thread::Host, index);
            // Reported anew only when it has been well below its limit.
            let len = host.half_open.len;
            host.alerted = host.alerted.filter(|limit| len > limit / 2);
            self.limits.forget(index_of_host);
        }
        let shared = &mut self.shared;
        let generation = shared.generation(tag.generation);
        if let Some(group) = shared.generations[generation].groups.of(tag) {
            self.limits.nodes.unlink(&mut group.half_open, Thread::Class, index);
            group.review(now, &mut shared.journal, None);
        }
    }

    /// A session is over.
    pub(super) fn ended(&mut self, index: FlowIndex, tag: &FlowTag, now: Instant) {
        if self.limits.nodes.get_mut(index).is_none() {
            return;
        }
        self.settled(index, tag, now);
        self.limits.nodes.end(index);
        let generation = self.shared.generation(tag.generation);
        if let Some(group) = self.shared.generations[generation].groups.of(tag) {
            group.sessions -= 1;
            group.full = false;
        }
    }

    /// Deletes what the limits want deleted, unblocks hosts, and notices when it has become calm.
    pub(super) fn keep_limits<M: Memory>(&mut self, io: &mut Io<'_, M>) {
        if self.limits.hosts.is_none() {
            return;
        }
        let mut left = DELETED_PER_TICK;
        while let Some(index) = self.limits.draining.last().copied()
            && left > 0
        {
            let host = self.limits.hosts.as_ref().and_then(|hosts| hosts.get(index));
            match host.and_then(|host| self.limits.nodes.oldest(&host.half_open)) {
                None => drop(self.limits.draining.pop()),
                oldest => self.delete(oldest, io),
            }
            left -= 1;
        }
        for generation in 0..self.shared.generations.len() {
            let mut at = 0;
            // A generation may end with its last session.
            while let Some(generation) = self.shared.generations.get_mut(generation)
                && let Some(group) = generation.groups.items.get_mut(at)
            {
                if group.aggressive[1] {
                    group.review(io.now, &mut self.shared.journal, None);
                }
                if !group.aggressive[0] || left == 0 {
                    at += 1;
                    continue;
                }
                let oldest = self.limits.nodes.oldest(&group.half_open);
                self.delete(oldest, io);
                left -= 1;
            }
        }
        self.unblock(io.now);
    }

    /// Unblocks hosts whose time is over.
    fn unblock(&mut self, now: Instant) {
        if self.limits.next_unblock.is_none_or(|at| at > now) {
            return;
        }
        let Some(hosts) = &mut self.limits.hosts else { return };
        let mut next: Option<Instant> = None;
        let mut from = 0;
        loop {
            let due = hosts.from(from).find_map(|(index, _, host)| {
                let until = host.blocked_until?;
                if until > now {
                    next = Some(next.map_or(until, |next| next.min(until)));
                }
                (until <= now).then_some(index)
            });
            let Some(index) = due else { break };
            from = index.slot() + 1;
            let Some(host) = hosts.get_mut(index) else { continue };
            (host.blocked_until, host.alerted) = (None, None);
            self.shared.journal.subject(now, Some(host.tag));
            self.shared.journal.push(Body::Limit(Limit::HostUnblocked));
            if host.half_open.len == 0 {
                hosts.remove(index);
            }
        }
        self.limits.next_unblock = next;
    }

    /// Deletes a half-open session, and tells both sides.
    fn delete<M: Memory>(&mut self, index: Option<FlowIndex>, io: &mut Io<'_, M>) {
        let Some(index) = index else { return };
        let Some(flow) = self.table.get_mut(index) else { return };
        self.shared.journal.subject(io.now, Some(flow.tag));
        close::delete(flow, &mut self.shared, io);
        self.remove(index, EndReason::Evicted, io.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_its_share_rounded_up() {
        let parameters = InspectParameters {
            sessions_maximum: Some(100),
            max_incomplete: Some(Thresholds { low: 10, high: 20 }),
            one_minute: None,
            max_incomplete_host: Some((2, 5)),
            ..InspectParameters::default()
        };
        let whole = Bounds::new(&parameters, 1);
        assert_eq!((whole.sessions, whole.host), (Some(100), Some((2, 5))));
        let third = Bounds::new(&parameters, 3);
        assert_eq!((third.sessions, third.one_minute), (Some(34), None));
        assert_eq!(third.incomplete, Some(Thresholds { low: 4, high: 7 }));
        assert_eq!(third.host, Some((1, 5)), "never none");
    }
}
