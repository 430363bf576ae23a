//! A compiled policy: rule tables and matcher databases.
//!
//! The compiler writes it, the gateway loads it. It is a build product: the same policy text gives the
//! same bytes. The loader trusts none of them: whatever is damaged, cut short or inconsistent is an
//! [`Error`](format::Error) that says what was being read, never a panic.
#![forbid(unsafe_code)]

pub mod format;
pub mod model;
pub mod smtp;
