//! The policy compiler.
#![deny(unsafe_code)]
