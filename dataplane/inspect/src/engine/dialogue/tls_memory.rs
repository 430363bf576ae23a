//! Servers that have offered STARTTLS, so that one whose offer is missing is noticed: somebody on the way may have taken it out.

use core::time::Duration;

use crate::unit::Instant;
use crate::wire::Endpoint;

/// Servers that are remembered for each worker; a new one takes the place of another.
pub const TLS_SERVERS: usize = 1024;

/// How long an offer is remembered.
pub const TLS_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);

/// A table with one place for each server, found by its address and port.
#[derive(Debug)]
pub(super) struct TlsMemory {
    slots: Box<[Option<(Endpoint, Instant)>]>,
}

impl Default for TlsMemory {
    fn default() -> Self {
        Self { slots: vec![None; TLS_SERVERS].into() }
    }
}

impl TlsMemory {
    /// A server has said what it offers; `true` if STARTTLS is missing though it was offered not long ago.
    pub fn greeted(&mut self, server: Endpoint, offered: bool, now: Instant) -> bool {
        let Some(slot) = self.slots.get_mut(place(&server)) else { return false };
        if offered {
            *slot = Some((server, now));
            return false;
        }
        slot.is_some_and(|(known, seen)| known == server && now.since(seen) < TLS_MEMORY)
    }
}

/// FNV-1a; servers are not chosen by clients.
fn place(server: &Endpoint) -> usize {
    let hash = server
        .address
        .iter()
        .chain(&server.port.to_be_bytes())
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash as usize % TLS_SERVERS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(last: u8, port: u16) -> Endpoint {
        let mut address = [0; 16];
        address[15] = last;
        Endpoint { address, port }
    }

    #[test]
    fn an_offer_is_missed_for_a_week() {
        let mut memory = TlsMemory::default();
        let at = |seconds: u64| Instant::ZERO + Duration::from_secs(seconds);
        assert!(!memory.greeted(server(1, 25), false, at(0)), "never offered");
        assert!(!memory.greeted(server(1, 25), true, at(1)));
        assert!(memory.greeted(server(1, 25), false, at(3600)));
        assert!(!memory.greeted(server(1, 587), false, at(3600)), "another port");
        assert!(!memory.greeted(server(2, 25), false, at(3600)), "another server");
        assert!(!memory.greeted(server(1, 25), false, at(8 * 24 * 3600)), "forgotten");
    }

    #[test]
    fn of_more_servers_than_there_is_room_for_some_are_forgotten() {
        let mut memory = TlsMemory::default();
        let ports = 0..=u16::MAX;
        for port in ports.clone() {
            memory.greeted(server(9, port), true, Instant::ZERO);
        }
        let known = ports.filter(|port| memory.greeted(server(9, *port), false, Instant::ZERO)).count();
        assert!((1..=TLS_SERVERS).contains(&known), "{known}");
        assert!(
            memory.greeted(server(9, u16::MAX), false, Instant::ZERO),
            "the latest takes the place of another"
        );
    }
}
