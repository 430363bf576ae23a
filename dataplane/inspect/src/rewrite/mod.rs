//! Verdict and frames → what leaves.

pub mod mask;
