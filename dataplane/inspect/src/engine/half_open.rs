//! Sessions that are not yet established, in the order in which they began: the oldest is found at once.
//!
//! Lists are threaded through an array beside the flow table, by slot. A session stands in two of them: that of its
//! class, and that of the host it goes to.

use crate::event::FlowTag;
use crate::flow::FlowIndex;
use crate::unit::Instant;

/// No slot.
const NONE: u32 = u32::MAX;

/// The two lists that a session stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thread {
    /// Of its class.
    Class,
    /// Of the host it goes to.
    Host,
}

/// The two ends of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
    pub len: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }
}

/// What is kept for a session beside its flow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// `None` where the slot has no session, or one of a class without limits.
    index: Option<FlowIndex>,
    /// Whether it stands in the list of its class.
    pub half_open: bool,
    /// The host in whose list it stands.
    pub host: Option<FlowIndex>,
    before: [u32; 2],
    after: [u32; 2],
}

const VACANT: Node = Node { index: None, half_open: false, host: None, before: [NONE; 2], after: [NONE; 2] };

/// Nodes by slot of the flow table. Empty until an artifact with limits is loaded.
#[derive(Debug, Default)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    /// Makes room for the slots of a table of this size.
    pub fn reserve(&mut self, flow_limit: usize) {
        self.0.resize(flow_limit, VACANT);
    }

    /// A session that begins, in no list.
    pub fn begin(&mut self, index: FlowIndex) {
        if let Some(node) = self.0.get_mut(index.slot()) {
            *node = Node { index: Some(index), ..VACANT };
        }
    }

    /// A session that is over, in no list.
    pub fn end(&mut self, index: FlowIndex) {
        if let Some(node) = self.0.get_mut(index.slot()) {
            *node = VACANT;
        }
    }

    /// That of a session; `None` if limits did not apply when it began.
    pub fn get_mut(&mut self, index: FlowIndex) -> Option<&mut Node> {
        self.0.get_mut(index.slot()).filter(|node| node.index == Some(index))
    }

    /// The session that has stood longest in a list.
    pub fn oldest(&self, list: &List) -> Option<FlowIndex> {
        self.0.get(list.first as usize)?.index
    }

    /// Puts a session last.
    pub fn push(&mut self, list: &mut List, thread: Thread, index: FlowIndex) {
        let slot = index.slot() as u32;
        let last = list.last;
        match self.0.get_mut(last as usize) {
            Some(before) => before.after[thread as usize] = slot,
            None => list.first = slot,
        }
        if let Some(node) = self.0.get_mut(index.slot()) {
            node.before[thread as usize] = last;
            node.after[thread as usize] = NONE;
        }
        list.last = slot;
        list.len += 1;
    }

    /// Takes a session out of a list that it stands in.
    pub fn unlink(&mut self, list: &mut List, thread: Thread, index: FlowIndex) {
        let Some(node) = self.0.get_mut(index.slot()) else { return };
        let before = core::mem::replace(&mut node.before[thread as usize], NONE);
        let after = core::mem::replace(&mut node.after[thread as usize], NONE);
        match self.0.get_mut(before as usize) {
            Some(node) => node.after[thread as usize] = after,
            None => list.first = after,
        }
        match self.0.get_mut(after as usize) {
            Some(node) => node.before[thread as usize] = before,
            None => list.last = before,
        }
        list.len -= 1;
    }
}

/// A destination host that sessions are being opened to, or that is blocked.
#[derive(Debug)]
pub(super) struct Host {
    pub half_open: List,
    /// Until when no session to it begins.
    pub blocked_until: Option<Instant>,
    /// The limit that its sessions exceeded, once that is reported and until there are half as many.
    pub alerted: Option<u32>,
    /// The session that was one too many, for reports.
    pub tag: FlowTag,
}

impl Host {
    /// A host without sessions.
    pub fn new(tag: FlowTag) -> Self {
        Self { half_open: List::default(), blocked_until: None, alerted: None, tag }
    }
}
