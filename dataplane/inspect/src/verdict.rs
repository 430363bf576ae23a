//! (verdict)
