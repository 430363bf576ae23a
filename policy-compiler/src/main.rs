//! The policy compiler program.
#![forbid(unsafe_code)]
fn main() {}
