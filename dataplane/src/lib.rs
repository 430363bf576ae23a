//! The gateway: carries mail between two ports and enforces a compiled policy.
#![forbid(unsafe_code)]

pub mod placement;
pub mod port;
