//! The pure core of Postern: bytes and time in, verdicts out.
//!
//! No I/O, clock, thread, allocation after warm-up, or `unsafe` in here. Frames come in as owned buffers with the
//! time they were received, and go out sealed: a sealed frame cannot be changed any more. The folders
//! are the journey of a frame: [`wire`] → [`fragment`] → [`flow`] → [`tcp`] → [`smtp`] → [`mime`] → [`scan`] → [`verdict`] →
//! [`rewrite`]; [`engine`] is that journey as one function, and alone sees all of them.
#![forbid(unsafe_code)]

pub mod anomaly;
pub mod counter;
pub mod engine;
pub mod event;
pub mod flow;
pub mod fragment;
pub mod frame;
pub mod mime;
pub mod names;
pub mod rewrite;
pub mod scan;
pub mod shelf;
pub mod smtp;
pub mod tcp;
pub mod unit;
pub mod verdict;
pub mod wire;
