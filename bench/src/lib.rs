//! How fast.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod measure;
pub mod patterns;
pub mod policy;
pub mod table;
pub mod traffic;
