//! How fast the gateway is: ratios, each measured in one run.
//!
//! [`traffic`] makes mail sessions from a seed; [`gateway`] moves them through an engine on memory ports; [`baseline`] does to
//! the same octets what the machine can do with nothing around; [`pipeline`], [`stages`], [`flows`], [`growth`], [`start`],
//! [`instructions`] and [`live`] are what the program's commands measure; [`frames`], [`forwarder`] and [`talk`] are what it does in the
//! network namespaces of the latter; [`table`] is what it prints.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod flood;
pub mod flows;
pub mod forwarder;
pub mod frames;
pub mod gateway;
pub mod growth;
pub mod instructions;
pub mod live;
pub mod loss;
pub mod machine;
pub mod measure;
pub mod patterns;
pub mod pipeline;
pub mod plot;
pub mod policy;
pub mod stages;
pub mod start;
pub mod table;
pub mod talk;
pub mod traffic;
