//! What makes two segments belong to one connection.

use crate::wire::{Endpoint, Segment, Vlan};

/// A connection: its two ends and its VLAN, the same for both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    low: Endpoint,
    high: Endpoint,
    vlan: Vlan,
}

impl FlowKey {
    /// Octets of [`FlowKey::to_octets`].
    pub const LEN: usize = 40;

    /// The connection of a segment, and whether its sender is the lower end (by address, then port): that with the
    /// segment's direction once known, says the direction of every other. If both ends are the same, the sender is the
    /// lower end always, and the direction cannot be told: nobody honest does that.
    #[must_use]
    #[inline]
    pub fn new(segment: &Segment) -> (FlowKey, bool) {
        Self::between(segment.vlan, segment.source, segment.destination)
    }

    /// The same for any two ends.
    #[must_use]
    #[inline]
    pub fn between(vlan: Vlan, source: Endpoint, destination: Endpoint) -> (FlowKey, bool) {
        if source <= destination {
            (FlowKey { low: source, high: destination, vlan }, true)
        } else {
            (FlowKey { low: destination, high: source, vlan }, false)
        }
    }

    /// The end that is lower by address, then port.
    #[must_use]
    pub const fn low(&self) -> Endpoint {
        self.low
    }

    /// The other end.
    #[must_use]
    pub const fn high(&self) -> Endpoint {
        self.high
    }

    /// VLAN of the connection.
    #[must_use]
    pub const fn vlan(&self) -> Vlan {
        self.vlan
    }

    /// All of it, for hashing.
    #[must_use]
    #[inline]
    pub fn to_octets(&self) -> [u8; Self::LEN] {
        let mut octets = [0; Self::LEN];
        octets[..16].copy_from_slice(&self.low.address);
        octets[16..32].copy_from_slice(&self.high.address);
        octets[32..34].copy_from_slice(&self.low.port.to_ne_bytes());
        octets[34..36].copy_from_slice(&self.high.port.to_ne_bytes());
        octets[36..38].copy_from_slice(&self.vlan.outer.to_ne_bytes());
        octets[38..].copy_from_slice(&self.vlan.inner.to_ne_bytes());
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(ip: &str, port: u16) -> Endpoint {
        Endpoint::new(ip.parse().unwrap(), port)
    }

    #[test]
    fn both_directions_have_one_key() {
        let vlan = Vlan { outer: 6, inner: 0 };
        for (a, b) in [
            (end("192.0.2.1", 40000), end("192.0.2.2", 25)),
            (end("192.0.2.1", 25), end("192.0.2.1", 40000)),
            (end("2001:db8::1", 40000), end("2001:db8::2", 25)),
        ] {
            let (there, is_low) = FlowKey::between(vlan, a, b);
            let (back, is_low_back) = FlowKey::between(vlan, b, a);
            assert_eq!(there, back);
            assert_eq!((is_low, is_low_back), (true, false));
            assert_eq!((there.low(), there.high(), there.vlan()), (a, b, vlan));
        }
    }

    #[test]
    fn every_part_is_part_of_it() {
        let key = |outer, inner, a: &str, ap, b: &str, bp| {
            FlowKey::between(Vlan { outer, inner }, end(a, ap), end(b, bp)).0
        };
        let keys = [
            key(0, 0, "192.0.2.1", 1, "192.0.2.2", 2),
            key(1, 0, "192.0.2.1", 1, "192.0.2.2", 2),
            key(0, 1, "192.0.2.1", 1, "192.0.2.2", 2),
            key(0, 0, "192.0.2.3", 1, "192.0.2.2", 2),
            key(0, 0, "192.0.2.1", 3, "192.0.2.2", 2),
            key(0, 0, "192.0.2.1", 1, "192.0.2.4", 2),
            key(0, 0, "192.0.2.1", 1, "192.0.2.2", 4),
            key(0, 0, "192.0.2.1", 2, "192.0.2.2", 1),
        ];
        for (i, one) in keys.iter().enumerate() {
            for (j, other) in keys.iter().enumerate() {
                assert_eq!(one == other, i == j, "{i} {j}");
                assert_eq!(one.to_octets() == other.to_octets(), i == j, "{i} {j}");
            }
        }
    }
}
