//! Why a command did not do what it should, and the exit status that goes with it.

use std::fmt;
use std::path::Path;

/// What a command ends with when it does not succeed. Names the file, option or address at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Wrong usage: exit status 2.
    Usage(String),
    /// What was asked about is bad: exit status 1.
    Bad(String),
}

impl Failure {
    /// Something is wrong with a file.
    pub fn file(option: &str, path: &Path, error: &dyn fmt::Display) -> Self {
        Failure::Bad(format!("{option} {}: {error}", path.display()))
    }

    /// The exit status.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Bad(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Bad(text) => f.write_str(text),
        }
    }
}
