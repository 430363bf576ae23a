//! Verdicts made so on the wire: octets overwritten, segments of the gateway's own.

pub mod mask;
pub mod own;
