//! Limits of an engine, each with its unit and default.

use artifact::model::PortIndex;

use crate::fragment;

/// What becomes of sessions that began before the gateway did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pickup {
    /// Their segments are dropped; their clients start again.
    #[default]
    Drop,
    /// They pass, uninspected, until they end; each is reported and counted.
    Pass,
}

/// What becomes of the segments of a session that is not inspected: a pinhole's, and those behind STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uninspected {
    /// Those that continue their stream and have nothing odd pass as they are; only their connection is followed. Receivers
    /// verify their checksums and put them in order.
    #[default]
    Pass,
    /// They are treated as those of inspected sessions: verified, put in order, overwritten with what was forwarded first. For
    /// receivers, or monitors behind the gateway, that need one reading of every stream.
    Normalize,
}

/// What an engine is given at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which port of the policy each port of the gateway is; `None` is one that the policy does not know.
    pub ports: [Option<PortIndex>; 2],
    /// Number of the artifact the engine starts with; every reload counts up from it.
    pub generation: u32,
    /// Sessions there may be at once.
    pub flow_limit: usize,
    /// Exchanges of protocols other than TCP that are remembered at once.
    pub exchange_limit: usize,
    /// Segments one direction of one session may have waiting for octets in front of them.
    pub held_per_stream: usize,
    /// Segments that may wait in all, as a share of the pool's chunks: one in this many.
    pub held_share: usize,
    /// Frames one direction of one session may have sent and unacknowledged.
    pub remembered_per_stream: usize,
    /// Free chunks below which remembered octets are copied out of their frames.
    pub low_water: usize,
    /// Octets that may be copied out in all.
    pub copied_limit: usize,
    /// What becomes of sessions that began before the gateway did.
    pub pickup: Pickup,
    /// What becomes of the segments of sessions that are not inspected.
    pub uninspected: Uninspected,
    /// Fragments that may wait.
    pub fragments: fragment::Limits,
    /// Hops that a segment has left at least when it leaves. A segment that runs out of hops behind the gateway would be
    /// one that the gateway has seen and its receiver has not ("Insertion", Ptacek and Newsham 1998). More than the hops
    /// from the gateway to any server behind it, fewer than those an honest segment has left: systems start at 64 or more and
    /// paths are shorter than 32. 0 leaves them alone.
    pub ttl_floor: u8,
    /// Key of the flow table's hash, unpredictable in live use, fixed in replay.
    pub hash_key: [u8; 16],
    /// Whether TCP and IP checksums are verified on receive.
    pub verify_checksums: bool,
    /// Workers that share what a policy's limits of sessions allow, evenly.
    pub worker_count: u32,
    /// First flow id of this worker; ids go up in steps of `flow_id_step`.
    pub flow_id_start: u64,
    /// Number of workers.
    pub flow_id_step: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ports: [None, None],
            generation: 0,
            flow_limit: 65_536,
            exchange_limit: 65_536,
            held_per_stream: 2048,
            held_share: 4,
            remembered_per_stream: 4096,
            low_water: 512,
            copied_limit: 64 << 20,
            pickup: Pickup::Drop,
            uninspected: Uninspected::Pass,
            fragments: fragment::Limits::default(),
            ttl_floor: 32,
            hash_key: [0; 16],
            verify_checksums: true,
            worker_count: 1,
            flow_id_start: 1,
            flow_id_step: 1,
        }
    }
}
