//! The gateway program.
#![forbid(unsafe_code)]
fn main() {}
