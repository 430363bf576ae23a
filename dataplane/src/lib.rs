//! The gateway: carries mail between two ports and enforces a compiled policy.
#![forbid(unsafe_code)]

pub mod board;
pub mod http;
pub mod journal;
pub mod matcher;
pub mod metrics;
pub mod placement;
pub mod port;
pub mod tally;
pub mod worker;
