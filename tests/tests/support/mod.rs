//! What several tests share.
#![allow(dead_code)]

pub mod source;
pub mod workspace;
