//! What the two SYNs agreed on (RFC 9293 section 3.7.1, RFC 7323 sections 2 and 3, RFC 2018 section 2).

use crate::wire::{Flags, Segment};

/// Largest shift of a window (RFC 7323 section 2.3).
const MAX_WINDOW_SHIFT: u8 = 14;
/// Segment size where a SYN names none (RFC 9293 section 3.7.1, the larger of the two families').
const DEFAULT_MSS: u16 = 1220;

/// What one side offered in its SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offer {
    /// Shift of the windows it will advertise, if it can scale.
    pub window_shift: Option<u8>,
    /// Whether it can read SACK blocks.
    pub sack: bool,
    /// Whether it sends timestamps.
    pub timestamps: bool,
    /// Segments it can receive.
    pub mss: u16,
    /// Whether it can do ECN.
    pub ecn: bool,
}

impl Offer {
    /// The offer in a SYN.
    #[must_use]
    pub fn new(syn: &Segment) -> Self {
        let options = &syn.options;
        // RFC 3168 section 6.1.1: a SYN has both, its answer only ECE.
        let setup = if syn.flags.ack() { Flags::ECE } else { Flags::ECE.with(Flags::CWR) };
        Self {
            window_shift: options.window_scale.map(|shift| shift.min(MAX_WINDOW_SHIFT)),
            sack: options.sack_permitted,
            timestamps: options.timestamps.is_some(),
            mss: options.mss.unwrap_or(DEFAULT_MSS),
            ecn: syn.flags.0 & Flags::ECE.with(Flags::CWR).0 == setup.0,
        }
    }

    /// Whether this can be the offer of a SYN that was sent again: some stacks leave options out in later copies, none
    /// adds or changes one. ECN is left out at will (RFC 3168 section 6.1.1.1).
    #[must_use]
    pub fn is_within(&self, first: &Offer) -> bool {
        self.mss <= first.mss
            && (self.window_shift.is_none() || self.window_shift == first.window_shift)
            && self.sack <= first.sack
            && self.timestamps <= first.timestamps
    }

    /// Octets that a segment to its sender may carry at the most. Nobody is held to less than what every IPv6 host takes:
    /// stacks have a smallest size of their own.
    #[must_use]
    pub fn segment_limit(&self) -> u16 {
        self.mss.max(DEFAULT_MSS)
    }
}

/// What holds for the connection: an option counts only if both SYNs had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreement {
    /// Shift of the windows that the client advertises.
    pub client_shift: u8,
    /// Shift of the windows that the server advertises.
    pub server_shift: u8,
    /// SACK blocks may be sent.
    pub sack: bool,
    /// Every segment but RST carries timestamps.
    pub timestamps: bool,
    /// ECE and CWR mean something.
    pub ecn: bool,
}

impl Agreement {
    /// What two offers come to.
    #[must_use]
    pub fn new(client: Offer, server: Offer) -> Self {
        let (client_shift, server_shift) = match (client.window_shift, server.window_shift) {
            (Some(client), Some(server)) => (client, server),
            _ => (0, 0),
        };
        Self {
            client_shift,
            server_shift,
            sack: client.sack && server.sack,
            timestamps: client.timestamps && server.timestamps,
            ecn: client.ecn && server.ecn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_counts_only_if_both_had_it() {
        let all = Offer { window_shift: Some(7), sack: true, timestamps: true, mss: 1460, ecn: true };
        let none = Offer { window_shift: None, sack: false, timestamps: false, mss: 1460, ecn: false };
        let scaled = Offer { window_shift: Some(2), ..none };
        assert_eq!(Agreement::new(all, none), Agreement::default());
        assert_eq!(Agreement::new(all, scaled).client_shift, 7);
        assert_eq!(Agreement::new(all, scaled).server_shift, 2);
        assert!(!Agreement::new(all, scaled).sack);
        assert!(Agreement::new(all, all).timestamps);
        assert!(Agreement::new(all, all).ecn && !Agreement::new(all, none).ecn);
    }

    #[test]
    fn a_copy_may_lack_options_and_not_change_them() {
        let first = Offer { window_shift: Some(7), sack: true, timestamps: true, mss: 1460, ecn: true };
        let bare = Offer { mss: 1460, ..Offer::default() };
        assert!(first.is_within(&first) && bare.is_within(&first) && !first.is_within(&bare));
        for other in [Offer { window_shift: Some(8), ..first }, Offer { mss: 1461, ..first }] {
            assert!(!other.is_within(&first), "{other:?}");
        }
        assert_eq!((bare.segment_limit(), Offer::default().segment_limit()), (1460, 1220));
    }
}
