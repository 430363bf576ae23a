//! The gateway: carries mail between two ports and enforces a compiled policy.
#![forbid(unsafe_code)]

pub mod backend;
pub mod board;
pub mod check_host;
pub mod config;
pub mod control;
mod crew;
pub mod edition;
pub mod failure;
pub mod gate;
pub mod gateway;
pub mod handover;
pub mod http;
pub mod journal;
pub mod limits;
pub mod loaded;
pub mod matcher;
pub mod metrics;
pub mod overview;
pub mod placement;
pub mod port;
pub mod random;
pub mod reload;
pub mod replay;
pub mod show;
pub mod spin;
pub mod statistics;
pub mod tally;
pub mod worker;
