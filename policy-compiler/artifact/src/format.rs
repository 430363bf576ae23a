//! The file: read and written.

use crate::model::Policy;

/// A loaded artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What the matcher library said of itself when the databases were made (`hs_version`); the
    /// gateway's must be the same.
    pub library: String,
    /// SHA-256 of the policy text.
    pub source_digest: [u8; 32],
    /// The policy, databases included.
    pub policy: Policy,
}

/// Why bytes are not an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Too short or another magic.
    NotAnArtifact,
}

impl Artifact {
    /// Reads an artifact from the bytes of a file.
    ///
    /// # Errors
    /// Whatever is wrong with them; see [`Error`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let _ = bytes;
        Err(Error::NotAnArtifact)
    }

    /// The bytes of the file. Same policy, same bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        Vec::new()
    }
}
