//! The file: read and written.
//!
//! All numbers are little endian. A file is
//!
//! | offset | octets | what |
//! | --- | --- | --- |
//! | 0 | 8 | magic |
//! | 8 | 4 | format version |
//! | 12 | 4 | flags: bit 0, a signature follows |
//! | 16 | 8 | length of everything up to and including the digest |
//! | 24 | 8 | length of the table section |
//! | 32 | 32 | SHA-256 of the policy text |
//! | 64 | 64 | library version: one octet length, text, zeros |
//! | 128 | 64 | target of the databases: the same shape |
//! | 192 | 4 | number of databases |
//! | 196 | 8 each | length of each database, in the order of the tables |
//! | | | table section: the [`Policy`] in postcard |
//! | | | databases, each at a multiple of 64, zeros between |
//! | | 32 | SHA-256 of everything before it |
//! | | 96 | if signed: ed25519 public key, signature of the digest |
//!
//! The digest finds damage, not malice: [`Artifact::read`] believes nothing even when it is right.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use crate::model::Policy;
use crate::validate::Invalid;

/// First octets of an artifact. The first is not ASCII and the last is a DOS end of file, so that
/// neither a text tool nor a text transfer takes it for text.
pub const MAGIC: [u8; 8] = *b"\x8ePSTRN\n\x1a";
/// Version of the layout described above. Another one is refused.
pub const VERSION: u32 = 4;
/// Databases start at a multiple of this (octets), the alignment the matcher wants.
pub const ALIGNMENT: usize = 64;
/// Largest file that is read (octets); the largest policies need a few MiB.
pub const MAX_FILE_LEN: usize = 1 << 30;
/// Largest table section (octets), source text included. Bounds what decoding may allocate.
pub const MAX_TABLE_LEN: usize = 16 << 20;
/// Most databases in a file.
pub const MAX_DATABASES: usize = 4096;
/// Longest library version or target (octets).
pub const MAX_IDENT_LEN: usize = 63;

const FLAG_SIGNED: u32 = 1;
const IDENT_SLOT_LEN: usize = MAX_IDENT_LEN + 1;
const DIGEST_LEN: usize = 32;
const SIGNATURE_SECTION_LEN: usize = 32 + 64;
/// Everything before the database lengths.
const FIXED_LEN: usize = 196;

/// A loaded artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What the matcher library said of itself when the databases were made (`hs_version`); the
    /// gateway's must be the same.
    pub library: String,
    /// The machines the databases were made for, such as `x86_64 generic`.
    pub target: String,
    /// SHA-256 of the policy text.
    pub source_digest: [u8; 32],
    /// Public key of a good signature, `None` if the file is unsigned. Whether that key is to be
    /// trusted is for the caller to say.
    pub signed_by: Option<[u8; 32]>,
    /// The policy, databases included.
    pub policy: Policy,
}

/// Why bytes are not an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Another magic, or too short to have one.
    NotAnArtifact,
    /// Written by another version of the compiler.
    Version {
        /// What the file says.
        found: u32,
    },
    /// The file ends early.
    Truncated {
        /// What was being read.
        reading: &'static str,
        /// Octets it needs.
        needed: u64,
        /// Octets that were left.
        available: u64,
    },
    /// There is more than there should be.
    Trailing {
        /// After what.
        after: &'static str,
        /// Octets too many.
        excess: u64,
    },
    /// A length or number beyond its limit.
    TooLarge {
        /// Which.
        reading: &'static str,
        /// What the file says.
        found: u64,
        /// Its limit.
        limit: u64,
    },
    /// A field of the header has no legal value.
    Header {
        /// Which.
        reading: &'static str,
    },
    /// The octets are not those that were written: the file is damaged.
    Digest,
    /// The signature does not belong to these octets.
    Signature,
    /// The tables cannot be decoded.
    Table {
        /// What the decoder said.
        cause: String,
    },
    /// The policy text is not the one whose digest the header gives.
    SourceDigest,
    /// The tables decode but do not fit together.
    Invalid(Invalid),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotAnArtifact => f.write_str("not a Postern artifact (no magic at its start)"),
            Error::Version { found } => {
                write!(
                    f,
                    "artifact format {found}, but this program reads format {VERSION}: compile the policy again"
                )
            }
            Error::Truncated { reading, needed, available } => {
                write!(f, "cut short: {reading} needs {needed} octets, {available} are left")
            }
            Error::Trailing { after, excess } => write!(f, "{excess} octets too many after {after}"),
            Error::TooLarge { reading, found, limit } => {
                write!(f, "{reading} is {found}, more than the limit of {limit}")
            }
            Error::Header { reading } => write!(f, "the header has no legal value for {reading}"),
            Error::Digest => f.write_str("damaged: the digest at its end is not that of its octets"),
            Error::Signature => f.write_str("the signature is not one of these octets"),
            Error::Table { cause } => write!(f, "the table section cannot be decoded: {cause}"),
            Error::SourceDigest => f.write_str("the policy text inside is not the one the header names"),
            Error::Invalid(invalid) => invalid.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Error::Invalid(invalid)
    }
}

/// SHA-256 of a policy text, as the header has it.
#[must_use]
pub fn source_digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Artifact {
    /// Reads an artifact from the bytes of a file.
    ///
    /// What is returned holds everything [`Policy::validate`] promises. A pattern id that a
    /// database reports is *not* covered (databases are opaque here): whoever scans checks it.
    ///
    /// # Errors
    /// Whatever is wrong with them; see [`Error`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = Cursor { bytes };
        if rest.array::<8>("the magic").map_err(|_| Error::NotAnArtifact)? != MAGIC {
            return Err(Error::NotAnArtifact);
        }
        let version = rest.u32("the format version")?;
        if version != VERSION {
            return Err(Error::Version { found: version });
        }
        let flags = rest.u32("the flags")?;
        if flags & !FLAG_SIGNED != 0 {
            return Err(Error::Header { reading: "flags" });
        }
        let body_len = rest.len("the length of the body", MAX_FILE_LEN)?;
        let table_len = rest.len("the length of the table section", MAX_TABLE_LEN)?;

        // The whole length first: then damage anywhere is found before anything else is believed.
        let signature_len = if flags & FLAG_SIGNED != 0 { SIGNATURE_SECTION_LEN } else { 0 };
        let whole_len = body_len + signature_len;
        if bytes.len() < whole_len {
            return Err(truncated("the file", whole_len, bytes.len()));
        }
        if bytes.len() > whole_len {
            return Err(Error::Trailing { after: "the artifact", excess: (bytes.len() - whole_len) as u64 });
        }
        let Some(signed_len) = body_len.checked_sub(DIGEST_LEN) else {
            return Err(Error::Header { reading: "the length of the body" });
        };
        let mut tail = Cursor { bytes: bytes.get(signed_len..).unwrap_or_default() };
        let digest = tail.array::<DIGEST_LEN>("the digest")?;
        if <[u8; 32]>::from(Sha256::digest(bytes.get(..signed_len).unwrap_or_default())) != digest {
            return Err(Error::Digest);
        }
        let signed_by = if signature_len == 0 { None } else { Some(read_signature(&mut tail, &digest)?) };

        // From here on the octets are those somebody wrote; who knows who.
        let consumed = bytes.len() - rest.bytes.len();
        rest.bytes = bytes.get(consumed..signed_len).unwrap_or_default();
        let source = rest.array::<32>("the digest of the policy text")?;
        let library = rest.ident("the library version")?;
        let target = rest.ident("the target")?;
        let database_count = rest.u32("the number of databases")? as usize;
        if database_count > MAX_DATABASES {
            return Err(Error::TooLarge {
                reading: "the number of databases",
                found: database_count as u64,
                limit: MAX_DATABASES as u64,
            });
        }
        let mut database_lens = Vec::with_capacity(database_count);
        for _ in 0..database_count {
            database_lens.push(rest.len("the length of a database", MAX_FILE_LEN)?);
        }
        let table = rest.take("the table section", table_len)?;
        let mut policy = read_table(table)?;
        let declared = policy.smtp.iter().map(|smtp| smtp.databases.len()).sum::<usize>();
        if declared != database_count {
            return Err(Error::Header { reading: "the number of databases (the tables have another)" });
        }
        let mut offset = FIXED_LEN + 8 * database_count + table_len;
        let databases = policy.smtp.iter_mut().flat_map(|smtp| &mut smtp.databases);
        for (database, len) in databases.zip(database_lens) {
            rest.padding(&mut offset)?;
            database.bytes = rest.take("a database", len)?.to_vec();
            offset += len;
        }
        rest.padding(&mut offset)?;
        if !rest.bytes.is_empty() {
            return Err(Error::Trailing { after: "the last database", excess: rest.bytes.len() as u64 });
        }
        if source_digest(&policy.source.text) != source {
            return Err(Error::SourceDigest);
        }
        policy.validate()?;
        Ok(Self { library, target, source_digest: source, signed_by, policy })
    }

    /// The bytes of the file, unsigned. Same policy, same bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        self.body(0)
    }

    /// The bytes of the file, signed with an ed25519 private key (its 32-octet seed). ed25519 is
    /// deterministic: same policy and key, same bytes.
    #[must_use]
    pub fn write_signed(&self, seed: &[u8; 32]) -> Vec<u8> {
        let mut bytes = self.body(FLAG_SIGNED);
        let key = SigningKey::from_bytes(seed);
        let digest_start = bytes.len().saturating_sub(DIGEST_LEN);
        let signature = key.sign(bytes.get(digest_start..).unwrap_or_default());
        bytes.extend_from_slice(key.verifying_key().as_bytes());
        bytes.extend_from_slice(&signature.to_bytes());
        bytes
    }

    fn body(&self, flags: u32) -> Vec<u8> {
        // Serializing plain data into memory has no way to fail.
        let table = postcard::to_allocvec(&self.policy).unwrap_or_default();
        let databases = || self.policy.smtp.iter().flat_map(|smtp| &smtp.databases);
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        let body_len_at = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(table.len() as u64).to_le_bytes());
        out.extend_from_slice(&source_digest(&self.policy.source.text));
        push_ident(&mut out, &self.library);
        push_ident(&mut out, &self.target);
        out.extend_from_slice(&(databases().count() as u32).to_le_bytes());
        for database in databases() {
            out.extend_from_slice(&(database.bytes.len() as u64).to_le_bytes());
        }
        out.extend_from_slice(&table);
        for database in databases() {
            out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
            out.extend_from_slice(&database.bytes);
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        let body_len = (out.len() + DIGEST_LEN) as u64;
        if let Some(slot) = out.get_mut(body_len_at..body_len_at + 8) {
            slot.copy_from_slice(&body_len.to_le_bytes());
        }
        let digest = Sha256::digest(&out);
        out.extend_from_slice(&digest);
        out
    }
}

fn truncated(reading: &'static str, needed: usize, available: usize) -> Error {
    Error::Truncated { reading, needed: needed as u64, available: available as u64 }
}

fn push_ident(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(MAX_IDENT_LEN);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    let end = out.len() + IDENT_SLOT_LEN;
    out.push(len as u8);
    out.extend_from_slice(text.as_bytes().get(..len).unwrap_or_default());
    out.resize(end, 0);
}

fn read_table(table: &[u8]) -> Result<Policy, Error> {
    // postcard allocates for what is there, not for what a length field says: serde caps the
    // capacity it reserves for a sequence at 1 MiB, and text is taken from the slice.
    let (policy, rest) = postcard::take_from_bytes::<Policy>(table)
        .map_err(|cause| Error::Table { cause: cause.to_string() })?;
    if !rest.is_empty() {
        return Err(Error::Trailing { after: "the tables", excess: rest.len() as u64 });
    }
    // postcard takes a number with zeros in front, too; of one policy there is one file.
    if postcard::to_allocvec(&policy).as_deref() != Ok(table) {
        return Err(Error::Table { cause: "a number is longer than it must be".into() });
    }
    Ok(policy)
}

fn read_signature(tail: &mut Cursor<'_>, digest: &[u8; DIGEST_LEN]) -> Result<[u8; 32], Error> {
    let key = tail.array::<32>("the public key")?;
    let signature = Signature::from_bytes(&tail.array::<64>("the signature")?);
    // Strict: a weak key or a malleable signature would let two files differ and both be good.
    VerifyingKey::from_bytes(&key)
        .and_then(|verifying| verifying.verify_strict(digest, &signature))
        .map_err(|_| Error::Signature)?;
    Ok(key)
}

/// What is left to read. Every taking names what is taken.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, reading: &'static str, len: usize) -> Result<&'a [u8], Error> {
        match self.bytes.split_at_checked(len) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(truncated(reading, len, self.bytes.len())),
        }
    }

    fn array<const N: usize>(&mut self, reading: &'static str) -> Result<[u8; N], Error> {
        let taken = self.take(reading, N)?;
        taken.try_into().map_err(|_| truncated(reading, N, taken.len()))
    }

    fn u32(&mut self, reading: &'static str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(reading)?))
    }

    fn len(&mut self, reading: &'static str, limit: usize) -> Result<usize, Error> {
        let found = u64::from_le_bytes(self.array(reading)?);
        if found > limit as u64 {
            return Err(Error::TooLarge { reading, found, limit: limit as u64 });
        }
        Ok(found as usize)
    }

    fn ident(&mut self, reading: &'static str) -> Result<String, Error> {
        let slot = self.take(reading, IDENT_SLOT_LEN)?;
        let Some((&len, text)) = slot.split_first() else { return Err(Error::Header { reading }) };
        let (Some(text), Some(padding)) = (text.get(..len as usize), text.get(len as usize..)) else {
            return Err(Error::Header { reading });
        };
        let printable = text.iter().all(|octet| (0x20..0x7f).contains(octet));
        if text.is_empty() || !printable || padding.iter().any(|&octet| octet != 0) {
            return Err(Error::Header { reading });
        }
        String::from_utf8(text.to_vec()).map_err(|_| Error::Header { reading })
    }

    /// Takes zeros up to the next multiple of [`ALIGNMENT`].
    fn padding(&mut self, offset: &mut usize) -> Result<(), Error> {
        let aligned = offset.next_multiple_of(ALIGNMENT);
        let zeros = self.take("padding", aligned - *offset)?;
        if zeros.iter().any(|&octet| octet != 0) {
            return Err(Error::Header { reading: "padding" });
        }
        *offset = aligned;
        Ok(())
    }
}
