//! How fast.
#![forbid(unsafe_code)]

pub mod patterns;
pub mod traffic;
