//! How fast.
#![forbid(unsafe_code)]
