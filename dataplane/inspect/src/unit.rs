//! Small quantities with their unit in the type.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Nanoseconds since an origin that the caller chose; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);

    /// An instant this long after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// An instant this long after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since the origin, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The instant so many seconds later.
    #[must_use]
    #[inline]
    pub const fn after_seconds(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds as u64 * 1_000_000_000))
    }

    /// Time since `earlier`; zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, after: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;
    fn sub(self, earlier: Instant) -> Duration {
        self.since(earlier)
    }
}

/// One of the two ports of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortId {
    /// The first `--port` of the command line.
    A,
    /// The second.
    B,
}

impl PortId {
    /// Both, in order.
    pub const ALL: [PortId; 2] = [PortId::A, PortId::B];

    /// The port a frame received here leaves by.
    #[must_use]
    pub const fn other(self) -> PortId {
        match self {
            PortId::A => PortId::B,
            PortId::B => PortId::A,
        }
    }

    /// 0 or 1, for tables of two.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Which way bytes of a session go. The client opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// `to_server` in events.
    ClientToServer,
    /// `to_client` in events.
    ServerToClient,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn reverse(self) -> Direction {
        match self {
            Direction::ClientToServer => Direction::ServerToClient,
            Direction::ServerToClient => Direction::ClientToServer,
        }
    }

    /// 0 or 1, for tables of two.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Octets since the start of one direction of a session; the first octet after SYN is 0. Does not wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamOffset(pub u64);

impl StreamOffset {
    /// This many octets on.
    #[must_use]
    pub const fn advance(self, len: usize) -> StreamOffset {
        StreamOffset(self.0 + len as u64)
    }
}

/// Names a session for as long as the gateway runs; unique over workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FlowId(pub u64);
