//! How fast the gateway is: ratios, each measured in one run.
//!
//! [`traffic`] makes mail sessions from a seed; [`gateway`] moves them through an engine on memory ports; [`baseline`] does to
//! the same octets what the machine can do with nothing around; [`pipeline`], [`stages`] and [`flows`] are what the
//! program's commands measure; [`table`] is what it prints.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod flows;
pub mod gateway;
pub mod loss;
pub mod machine;
pub mod measure;
pub mod patterns;
pub mod pipeline;
pub mod policy;
pub mod stages;
pub mod table;
pub mod traffic;
