//! The two programs together: what is shared by the tests of the whole. The tests themselves are in `tests/` and `live/`.
#![forbid(unsafe_code)]

pub mod fuzz;
