//! What went wrong, and at which step.

use std::fmt;
use std::io;

/// A system call that failed while a umem, a socket or an interface was set up.
#[derive(Debug)]
pub struct Error {
    step: &'static str,
    source: io::Error,
}

impl Error {
    pub(crate) fn new(step: &'static str, source: io::Error) -> Self {
        Self { step, source }
    }

    /// The error that the last system call of this thread left.
    pub(crate) fn last(step: &'static str) -> Self {
        Self::new(step, io::Error::last_os_error())
    }

    pub(crate) fn invalid(step: &'static str, why: &'static str) -> Self {
        Self::new(step, io::Error::new(io::ErrorKind::InvalidInput, why))
    }

    /// What was being done, for example `bind`.
    #[must_use]
    pub fn step(&self) -> &'static str {
        self.step
    }

    /// The number the kernel gave, if it was the kernel.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::new(error.source.kind(), error)
    }
}
