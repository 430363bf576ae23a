//! Every limit of the gateway: name, unit, default, range, and what happens when it is hit.
//!
//! A row makes the field, its place in the `[limits]` table of `--config`, and its line in `postern run --help`.

use std::fmt::Write;

use serde::Deserialize;

/// A limit, for documentation and range checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Key in the `[limits]` table.
    pub name: &'static str,
    /// Value without `--config`.
    pub default: u64,
    /// Smallest value.
    pub min: u64,
    /// Largest value.
    pub max: u64,
    /// What is counted.
    pub unit: &'static str,
    /// What happens when it is hit.
    pub help: &'static str,
}

macro_rules! limits {
    ($($field:ident = $default:literal in $min:literal..=$max:literal, $unit:literal: $help:literal;)*) => {
        /// The limits in force.
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $(#[doc = $help] pub $field: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Every limit, in the order of documentation.
        pub const LIMITS: &[Limit] = &[$(Limit {
            name: stringify!($field), default: $default, min: $min, max: $max, unit: $unit, help: $help,
        },)*];

        impl Limits {
            /// Name and value of every limit, in the order of [`LIMITS`].
            #[must_use]
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }
    };
}

limits! {
    flow_limit = 65536 in 16..=16777216, "sessions per worker":
        "one that is over, half-open or of a greedy host makes room, else a further one is refused (postern_frames_total{reason=\"flow_table\"})";
    exchange_limit = 65536 in 16..=16777216, "exchanges of other protocols than TCP per worker, whose answers are let back":
        "the one that would end first is forgotten (postern_exchanges_evicted_total)";
    stream_limit = 16384 in 1..=4194304, "body scans per worker":
        "a further mail is refused with 421 (postern_matcher_streams_refused_total)";
    frame_count = 16384 in 1024..=4194304, "frames of memory per worker":
        "held frames are given up, their senders send them again (postern_umem_chunks)";
    fragment_datagrams = 256 in 1..=4096, "datagrams per worker of which fragments are missing":
        "the oldest is given up (postern_datagrams_evicted_total)";
    fragment_datagrams_per_source = 16 in 1..=4096, "such datagrams from one address":
        "its oldest is given up (postern_datagrams_evicted_total)";
    fragments_per_datagram = 64 in 2..=8192, "fragments":
        "the datagram is dropped (postern_anomalies_total{kind=\"ip_fragment_overflow\"})";
    fragment_share = 16 in 2..=1024, "fragments may hold one in so many frames of memory":
        "the oldest datagram is given up (postern_datagrams_evicted_total)";
    fragment_timeout_seconds = 30 in 1..=120, "seconds from a datagram's first fragment to its last":
        "the datagram is given up (postern_datagrams_expired_total)";
    ttl_floor = 32 in 0..=255, "hops that a segment has left at least when it leaves":
        "they are raised to it (postern_anomalies_total{kind=\"ip_low_ttl\"})";
    ring_len = 2048 in 64..=32768, "descriptors per ring, a power of two":
        "frames are lost before the gateway sees them (postern_port_rx_lost_total)";
    handover_len = 2048 in 64..=1048576, "frames that wait for a worker to take them over from others, per port":
        "further ones are dropped, their senders send them again (postern_handover_dropped_total)";
    burst = 64 in 1..=1024, "frames taken from a port at once":
        "the rest is taken in the next round";
    spin_micros = 50 in 0..=1000000, "microseconds an idle worker looks for frames before it sleeps":
        "the worker sleeps until a frame comes (postern_worker_sleeps_total); it also does where frames come later than that, or another thread wants its core; 0: at once";
    record_limit = 16384 in 64..=1048576, "event records waiting to be written":
        "further ones are lost (postern_records_lost_total)";
    syslog_lines_per_second = 1000 in 1..=1000000, "syslog lines":
        "further ones of that second are lost (postern_syslog_lines_lost_total)";
    stats_interval_seconds = 60 in 0..=86400, "seconds between `stats` events, 0 for none":
        "-";
    show_sessions = 10000 in 1..=1000000, "sessions that `show sessions` lists, per worker":
        "the answer says that there are more";
}

impl Limits {
    /// What the core is given of them, all else as by default.
    #[must_use]
    pub fn engine(&self) -> inspect::engine::Config {
        let size = |value| usize::try_from(value).unwrap_or(usize::MAX);
        inspect::engine::Config {
            flow_limit: size(self.flow_limit),
            exchange_limit: size(self.exchange_limit),
            fragments: inspect::fragment::Limits {
                datagrams: size(self.fragment_datagrams),
                datagrams_per_source: size(self.fragment_datagrams_per_source),
                fragments: size(self.fragments_per_datagram),
                share: size(self.fragment_share),
                timeout: std::time::Duration::from_secs(self.fragment_timeout_seconds),
            },
            ttl_floor: u8::try_from(self.ttl_floor).unwrap_or(u8::MAX),
            ..inspect::engine::Config::default()
        }
    }

    /// Whether every value is within its range.
    ///
    /// # Errors
    /// A sentence that names the limit.
    pub fn check(&self) -> Result<(), String> {
        for ((name, value), limit) in self.values().into_iter().zip(LIMITS) {
            if !(limit.min..=limit.max).contains(&value) {
                return Err(format!("limits.{name} = {value}: must be from {} to {}", limit.min, limit.max));
            }
        }
        if !self.ring_len.is_power_of_two() {
            return Err(format!("limits.ring_len = {}: must be a power of two", self.ring_len));
        }
        Ok(())
    }
}

/// The `[limits]` table with its defaults, as text to read and to copy.
#[must_use]
pub fn documentation() -> String {
    let mut text = String::from("[limits]\n");
    for limit in LIMITS {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{} = {}  # {}, {} to {}",
            limit.name, limit.default, limit.unit, limit.min, limit.max
        );
        if limit.help != "-" {
            let _ = writeln!(text, "    # at the limit: {}", limit.help);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_the_default() {
        let table: toml::Table = documentation().parse().unwrap();
        let limits: Limits = table["limits"].clone().try_into().unwrap();
        assert_eq!(limits, Limits::default());
        assert_eq!(limits.check(), Ok(()));
    }

    #[test]
    fn the_core_has_the_same_defaults() {
        let (ours, theirs) = (Limits::default().engine(), inspect::engine::Config::default());
        assert_eq!(
            (ours.flow_limit, ours.exchange_limit, ours.fragments, ours.ttl_floor),
            (theirs.flow_limit, theirs.exchange_limit, theirs.fragments, theirs.ttl_floor)
        );
    }

    #[test]
    fn each_limit_has_a_range_that_is_kept() {
        for limit in LIMITS {
            assert!((limit.min..=limit.max).contains(&limit.default), "{}", limit.name);
            for value in [limit.min.checked_sub(1), limit.max.checked_add(1)].into_iter().flatten() {
                let limits: Limits = toml::from_str(&format!("{} = {value}", limit.name)).unwrap();
                assert!(limits.check().unwrap_err().starts_with(&format!("limits.{}", limit.name)));
            }
        }
        let limits = Limits { ring_len: 100, ..Limits::default() };
        assert!(limits.check().unwrap_err().contains("power of two"));
    }
}
