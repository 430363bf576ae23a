//! Flows: which connection a segment belongs to, and when something is due for it.
