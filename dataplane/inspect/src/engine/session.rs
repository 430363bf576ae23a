//! What the engine tells about a session that is under way.

use crate::event::FlowTag;
use crate::unit::Instant;

/// A session as `postern show sessions` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionView {
    /// Its name, its ends, and what decides about it.
    pub tag: FlowTag,
    /// How far it is.
    pub state: SessionState,
    /// When its first packet came.
    pub created: Instant,
    /// When its last packet came.
    pub last_heard: Instant,
    /// Payload octets forwarded, client first.
    pub bytes: [u64; 2],
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// The handshake is not complete.
    HalfOpen,
    /// Established.
    Established,
    /// One side has finished, or the gateway is closing it.
    Closing,
}
