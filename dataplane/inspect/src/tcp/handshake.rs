//! What the two SYNs agreed on (RFC 9293 section 3.7.1, RFC 7323 sections 2 and 3, RFC 2018 section 2).

use crate::wire::Options;

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
}

impl Offer {
    /// The offer in a SYN's options.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            window_shift: options.window_scale.map(|shift| shift.min(MAX_WINDOW_SHIFT)),
            sack: options.sack_permitted,
            timestamps: options.timestamps.is_some(),
            mss: options.mss.unwrap_or(DEFAULT_MSS),
        }
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_counts_only_if_both_had_it() {
        let all = Offer { window_shift: Some(7), sack: true, timestamps: true, mss: 1460 };
        let none = Offer { window_shift: None, sack: false, timestamps: false, mss: 1460 };
        let scaled = Offer { window_shift: Some(2), ..none };
        assert_eq!(Agreement::new(all, none), Agreement::default());
        assert_eq!(Agreement::new(all, scaled).client_shift, 7);
        assert_eq!(Agreement::new(all, scaled).server_shift, 2);
        assert!(!Agreement::new(all, scaled).sack);
        assert!(Agreement::new(all, all).timestamps);
    }
}
