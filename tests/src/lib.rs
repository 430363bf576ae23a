//! The two programs together.
