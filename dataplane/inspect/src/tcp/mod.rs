//! (tcp)
