//! What makes two segments belong to one connection.

use crate::wire::{Endpoint, Segment, Vlan};

/// A connection: its two ends and its VLAN, the same for both directions.
///
/// In words, because it is made, hashed and compared for every frame: the lower end's address in two, the higher end's in
/// two, then both ports and both VLAN identifiers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey([u64; 5]);

impl FlowKey {
    /// The connection of a segment, and whether its sender is the lower end (by address, then port): that with the
    /// segment's direction once known, says the direction of every other. If both ends are the same, the sender is the
    /// lower end always, and the direction cannot be told: nobody honest does that.
    #[must_use]
    #[inline]
    pub fn new(segment: &Segment) -> (FlowKey, bool) {
        Self::between(segment.vlan, &segment.source, &segment.destination)
    }

    /// The same for any two ends.
    #[must_use]
    #[inline]
    pub fn between(vlan: Vlan, source: &Endpoint, destination: &Endpoint) -> (FlowKey, bool) {
        let addresses = [source, destination].map(|end| u128::from_be_bytes(end.address));
        Self::of(vlan, addresses, [source.port, destination.port])
    }

    /// The same for addresses as numbers.
    #[must_use]
    #[inline]
    pub fn of(vlan: Vlan, [source, destination]: [u128; 2], ports: [u16; 2]) -> (FlowKey, bool) {
        let is_low = (source, ports[0]) <= (destination, ports[1]);
        let (low, high) = if is_low { (source, destination) } else { (destination, source) };
        let (low_port, high_port) = if is_low { (ports[0], ports[1]) } else { (ports[1], ports[0]) };
        let ports = u64::from(low_port) << 48 | u64::from(high_port) << 32;
        let vlan = u64::from(vlan.outer) << 16 | u64::from(vlan.inner);
        (FlowKey([(low >> 64) as u64, low as u64, (high >> 64) as u64, high as u64, ports | vlan]), is_low)
    }

    /// The end that is lower by address, then port.
    #[must_use]
    pub fn low(&self) -> Endpoint {
        end(self.0[0], self.0[1], (self.0[4] >> 48) as u16)
    }

    /// The other end.
    #[must_use]
    pub fn high(&self) -> Endpoint {
        end(self.0[2], self.0[3], (self.0[4] >> 32) as u16)
    }

    /// VLAN of the connection.
    #[must_use]
    pub const fn vlan(&self) -> Vlan {
        Vlan { outer: (self.0[4] >> 16) as u16, inner: self.0[4] as u16 }
    }

    /// Whether it is the same connection: as `==`, without a call for so few words.
    #[inline]
    pub(super) const fn is(&self, other: &FlowKey) -> bool {
        let (a, b) = (&self.0, &other.0);
        (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) == 0
    }

    /// Calls `hash` with octets that no other key has: 16 for IPv4, which halves the work, 40 for IPv6.
    #[inline]
    pub(super) fn hash_with(&self, hash: impl FnOnce(&[u8]) -> u64) -> u64 {
        /// The upper half of the lower word of an IPv4-mapped address; the upper word is 0.
        const MAPPED: u64 = 0xffff;
        let [a, b, c, d, rest] = self.0;
        if (a | c) == 0 && b >> 32 == MAPPED && d >> 32 == MAPPED {
            hash(octets([b << 32 | d & 0xffff_ffff, rest]).as_flattened())
        } else {
            hash(octets(self.0).as_flattened())
        }
    }
}

impl core::fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Vlan { outer, inner } = self.vlan();
        write!(f, "{:?} {:?} vlan {outer} {inner}", self.low(), self.high())
    }
}

fn end(upper: u64, lower: u64, port: u16) -> Endpoint {
    Endpoint { address: (u128::from(upper) << 64 | u128::from(lower)).to_be_bytes(), port }
}

#[inline]
fn octets<const N: usize>(words: [u64; N]) -> [[u8; 8]; N] {
    words.map(u64::to_ne_bytes)
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
            let (there, is_low) = FlowKey::between(vlan, &a, &b);
            let (back, is_low_back) = FlowKey::between(vlan, &b, &a);
            assert_eq!(there, back);
            assert_eq!((is_low, is_low_back), (true, false));
            assert_eq!((there.low(), there.high(), there.vlan()), (a, b, vlan));
        }
    }

    #[test]
    fn every_part_is_part_of_it() {
        let key = |outer, inner, a: &str, ap, b: &str, bp| {
            FlowKey::between(Vlan { outer, inner }, &end(a, ap), &end(b, bp)).0
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
            key(0, 0, "192.0.2.1", 1, "2001:db8::1", 2),
            key(0, 0, "2001:db8::1", 1, "2001:db8::2", 2),
            key(1, 0, "2001:db8::1", 1, "2001:db8::2", 2),
            key(0, 0, "2001:db8::1", 2, "2001:db8::2", 1),
            key(0, 0, "2001:db8::1", 1, "2001:db8::3", 2),
            // The same low octets as 192.0.2.1 and 192.0.2.2 have.
            key(0, 0, "2001:db8::ffff:c000:201", 1, "2001:db8::ffff:c000:202", 2),
            key(0, 0, "192.0.2.1", 1, "::2:0:c000:202", 2),
            key(0, 0, "::1:c000:201", 1, "192.0.2.2", 2),
        ];
        // The octets that are hashed, in place of their hash.
        let octets = |key: &FlowKey| {
            let mut octets = Vec::new();
            key.hash_with(|hashed| {
                octets.extend_from_slice(hashed);
                0
            });
            octets
        };
        for (i, one) in keys.iter().enumerate() {
            for (j, other) in keys.iter().enumerate() {
                assert_eq!(one == other, i == j, "{i} {j}");
                assert_eq!(octets(one) == octets(other), i == j, "{i} {j}");
            }
        }
    }
}
