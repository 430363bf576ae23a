//! Exchanges: what goes between two hosts by a protocol without connections, remembered for as long as an answer may come.
//!
//! A table of a fixed size in buckets of [`WAYS`], of which a search looks at one, with nothing to link or to tidy up:
//! what is over is overwritten. In a full bucket the exchange that would end first makes room. The hash has a key that peers do not
//! know, so nobody can choose which bucket his datagrams fill.

use siphasher::sip::SipHasher13;

use super::FlowKey;
use crate::unit::{Instant, PortId};
use crate::wire::Other;

/// Exchanges in a bucket.
const WAYS: usize = 8;

/// Names an exchange, the same for both of its directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeKey {
    ends: FlowKey,
    /// Protocol number, and for ICMP the type of the message that asks.
    kind: [u8; 2],
}

/// A packet's place in its exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whether its sender is the lower end, as in [`FlowKey::new`].
    pub is_low: bool,
    /// It may begin an exchange. Answers of ICMP never do.
    pub asks: bool,
    /// It may answer. Requests of ICMP never do.
    pub answers: bool,
}

impl ExchangeKey {
    /// The exchange of a packet. An ICMP message that is neither request nor answer (an error) has none of its own.
    #[must_use]
    pub fn new(packet: &Other) -> Option<(Self, Place)> {
        let (mut source, mut destination) = (packet.source, packet.destination);
        let (asked, asks, answers) = match packet.query {
            Some(query) => {
                (source.port, destination.port) = (query.identifier, query.identifier);
                (query.kind, query.asks, !query.asks)
            }
            None if packet.is_icmp() => return None,
            None => (0, true, true),
        };
        let (ends, is_low) = FlowKey::between(packet.vlan, &source, &destination);
        Some((Self { ends, kind: [packet.protocol, asked] }, Place { is_low, asks, answers }))
    }
}

/// What is remembered of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// Port of the gateway that its first packet came in by.
    pub opener: PortId,
    /// Whether the sender of that is the lower end.
    pub from_low: bool,
    /// When it is over, if nothing comes.
    pub ends: Instant,
}

impl Exchange {
    /// Whether a packet that came in by `ingress` goes the other way than the first did, in time.
    #[must_use]
    pub fn is_answered_by(&self, ingress: PortId, place: Place, now: Instant) -> bool {
        place.answers && ingress != self.opener && place.is_low != self.from_low && self.ends > now
    }
}

/// Exchanges by key, at most a fixed number.
pub struct Exchanges {
    hasher: SipHasher13,
    /// Empty until the first one begins.
    slots: Vec<Option<(ExchangeKey, Exchange)>>,
    limit: usize,
}

impl core::fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Not the hash key.
        f.debug_struct("Exchanges").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Exchanges {
    /// Room for `limit` exchanges, rounded down to whole buckets, at least one. `hash_key` must be unpredictable where peers are.
    #[must_use]
    pub fn new(limit: usize, hash_key: &[u8; 16]) -> Self {
        let limit = (limit / WAYS).max(1) * WAYS;
        Self { hasher: SipHasher13::new_with_key(hash_key), slots: Vec::new(), limit }
    }

    /// The exchange of this key, over or not.
    #[must_use]
    pub fn get_mut(&mut self, key: &ExchangeKey) -> Option<&mut Exchange> {
        let bucket = self.bucket(key);
        let slots = self.slots.get_mut(bucket..bucket + WAYS)?;
        slots.iter_mut().flatten().find(|(known, _)| known == key).map(|(_, exchange)| exchange)
    }

    /// Remembers an exchange, in the place of one with this key if there is one. Says whether one had to make room that was not over.
    pub fn put(&mut self, key: ExchangeKey, exchange: Exchange, now: Instant) -> bool {
        if self.slots.is_empty() {
            self.slots.resize(self.limit, None);
        }
        if let Some(known) = self.get_mut(&key) {
            *known = exchange;
            return false;
        }
        let bucket = self.bucket(&key);
        let slots = self.slots[bucket..bucket + WAYS].iter_mut();
        let first = slots.min_by_key(|slot| slot.map_or(Instant::ZERO, |(_, exchange)| exchange.ends));
        let Some(slot) = first else { return false };
        slot.replace((key, exchange)).is_some_and(|(_, before)| before.ends > now)
    }

    /// First slot of a key's bucket.
    fn bucket(&self, key: &ExchangeKey) -> usize {
        let seed = u64::from(u16::from_be_bytes(key.kind)) << 48;
        let hash = key.ends.hash_with(|octets| self.hasher.hash(octets)) ^ seed;
        let buckets = (self.limit / WAYS) as u64;
        // Multiplied and shifted: without a division.
        (((hash >> 32) * buckets) >> 32) as usize * WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::icmp::Query;
    use crate::wire::{Endpoint, Vlan};

    fn udp(from: (&str, u16), to: (&str, u16)) -> Other {
        let end = |(ip, port): (&str, u16)| Endpoint::new(ip.parse().unwrap(), port);
        Other { vlan: Vlan::default(), protocol: 17, source: end(from), destination: end(to), query: None }
    }

    const HOST: (&str, u16) = ("10.0.0.1", 40_000);
    const NAMES: (&str, u16) = ("192.0.2.53", 53);

    fn exchange(ends: u64) -> Exchange {
        Exchange { opener: PortId::A, from_low: true, ends: Instant::from_millis(ends) }
    }

    #[test]
    fn every_part_is_part_of_the_key() {
        let (key, place) = ExchangeKey::new(&udp(HOST, NAMES)).unwrap();
        assert_eq!(place, Place { is_low: true, asks: true, answers: true });
        let (back, place) = ExchangeKey::new(&udp(NAMES, HOST)).unwrap();
        assert_eq!((back, place.is_low), (key, false));
        let tagged = Other { vlan: Vlan { outer: 6, inner: 0 }, ..udp(HOST, NAMES) };
        let lite = Other { protocol: 136, ..udp(HOST, NAMES) };
        for other in [
            udp(("10.0.0.2", 40_000), NAMES),
            udp(("10.0.0.1", 40_001), NAMES),
            udp(HOST, ("192.0.2.54", 53)),
            udp(HOST, ("192.0.2.53", 123)),
            tagged,
            lite,
        ] {
            assert_ne!(ExchangeKey::new(&other).unwrap().0, key, "{other:?}");
        }
    }

    #[test]
    fn icmp_is_known_by_identifier_and_request() {
        let ping = |kind, asks, identifier| Other {
            protocol: 1,
            query: Some(Query { kind, asks, identifier }),
            ..udp(("10.0.0.1", 0), ("192.0.2.1", 0))
        };
        let (key, place) = ExchangeKey::new(&ping(8, true, 7)).unwrap();
        assert_eq!((place.asks, place.answers), (true, false));
        let (same, place) = ExchangeKey::new(&ping(8, false, 7)).unwrap();
        assert_eq!((same, place.asks, place.answers), (key, false, true));
        assert_ne!(ExchangeKey::new(&ping(8, true, 8)).unwrap().0, key);
        assert_ne!(ExchangeKey::new(&ping(13, true, 7)).unwrap().0, key);
        let error = Other { query: None, ..ping(8, true, 7) };
        assert_eq!(ExchangeKey::new(&error), None);
    }

    #[test]
    fn there_are_never_more_than_the_limit_and_the_first_to_end_makes_room() {
        let mut exchanges = Exchanges::new(20, &[3; 16]);
        let key = |port| ExchangeKey::new(&udp(("10.0.0.1", port), NAMES)).unwrap().0;
        let now = Instant::from_millis(500);
        assert_eq!(exchanges.get_mut(&key(1)), None, "nothing is there yet");
        let evicted =
            (1..=1000).filter(|port| exchanges.put(key(*port), exchange(1000 + u64::from(*port)), now));
        let evicted = evicted.count();
        let kept: Vec<u16> = (1..=1000).filter(|port| exchanges.get_mut(&key(*port)).is_some()).collect();
        assert_eq!((exchanges.slots.len(), kept.len(), evicted), (16, 16, 1000 - 16));
        assert!(kept.iter().all(|port| *port > 900), "{kept:?}");
        // What is over makes room first, and nothing is evicted for it.
        let late = Instant::from_millis(5000);
        assert!(!exchanges.put(key(2000), exchange(6000), late));
        assert!(!exchanges.put(key(2000), exchange(7000), late), "the same again");
        assert_eq!(exchanges.get_mut(&key(2000)).map(|it| it.ends), Some(Instant::from_millis(7000)));
    }
}
