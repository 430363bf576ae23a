//! Traffic in memory, ready to be played again and again.

use std::ops::Range;

use inspect::unit::PortId;

use super::script::{PIPELINED_MAILS, Planted};
use super::{Profile, Traffic};

/// One frame of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    start: usize,
    len: u16,
    payload_start: u16,
    /// Place of its session among those that go on at once.
    pub slot: u16,
    /// Port of the gateway that it comes to.
    pub port: PortId,
    /// The last of its session.
    pub is_last: bool,
}

/// The frames of some sessions.
#[derive(Debug)]
pub struct Trace {
    octets: Vec<u8>,
    entries: Vec<Entry>,
    /// What the sessions are like.
    pub profile: Profile,
    /// Sessions in it.
    pub sessions: u64,
    /// Mails in it.
    pub mails: u64,
    /// Octets of payload.
    pub payload_len: u64,
    /// What was put in for patterns to find.
    pub planted: Planted,
}

impl Trace {
    /// Makes them.
    #[must_use]
    pub fn new(profile: Profile, sessions: u64, seed: u64) -> Self {
        let mut traffic = Traffic::new(profile, sessions, seed);
        let (mut octets, mut entries) = (Vec::new(), Vec::new());
        let mut payload_len = 0;
        while let Some((frame, sent)) = traffic.next_frame() {
            // No frame is longer than 1,514 octets, and no more than a few hundred sessions go on at once.
            entries.push(Entry {
                start: octets.len(),
                len: frame.len() as u16,
                payload_start: sent.payload.start as u16,
                slot: sent.slot as u16,
                port: sent.port,
                is_last: sent.is_last,
            });
            payload_len += sent.payload.len() as u64;
            octets.extend_from_slice(frame);
        }
        let mails_each = if profile == Profile::Pipelined { PIPELINED_MAILS } else { 1 };
        let (mails, planted) = (sessions * mails_each, traffic.planted());
        Self { octets, entries, profile, sessions, mails, payload_len, planted }
    }

    /// The frames, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Octets of all frames.
    #[must_use]
    pub fn octet_count(&self) -> usize {
        self.octets.len()
    }

    /// The octets of a frame.
    #[must_use]
    pub fn frame(&self, entry: &Entry) -> &[u8] {
        &self.octets[entry.start..entry.start + usize::from(entry.len)]
    }

    /// The payload of a frame.
    #[must_use]
    pub fn payload(&self, entry: &Entry) -> &[u8] {
        &self.frame(entry)[usize::from(entry.payload_start)..]
    }

    /// The longest stretches of frames that come to the same port one after the other.
    #[must_use]
    pub fn runs(&self) -> Vec<(PortId, Range<usize>)> {
        let mut runs: Vec<(PortId, Range<usize>)> = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            match runs.last_mut() {
                Some((port, range)) if *port == entry.port => range.end = index + 1,
                _ => runs.push((entry.port, index..index + 1)),
            }
        }
        runs
    }
}
