//! Verdicts made so on the wire: octets overwritten, segments cut, segments of the gateway's own.

pub mod own;
