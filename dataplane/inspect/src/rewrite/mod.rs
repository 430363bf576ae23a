//! (rewrite)
