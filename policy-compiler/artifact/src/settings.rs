//! What an SMTP policy says of the protocol itself, beside its classes.

use serde::{Deserialize, Serialize};

use crate::defence::Defences;

/// The gateway's own settings of one SMTP policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `end-of-data`.
    pub end_of_data: EndOfData,
    /// `starttls`.
    pub starttls: StartTls,
    /// `chunking`.
    pub chunking: Chunking,
    /// `decode`.
    pub decode: Decode,
    /// Ids of the signatures that are on, each in [`SIGNATURES`].
    pub signatures: Vec<u16>,
    /// What is refused besides.
    pub defences: Defences,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            end_of_data: EndOfData::Eod,
            starttls: StartTls::Allow,
            chunking: Chunking::Mask,
            decode: Decode::Off,
            signatures: SIGNATURES.iter().filter(|row| row.on).map(|row| row.id).collect(),
            defences: Defences::default(),
        }
    }
}

/// What is refused in messages besides what the policy's classes refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndOfData {
    /// Every CR or LF that is not part of CRLF, and every NUL.
    Strict,
    /// What some server takes for the end of data, and is not.
    Eod,
    /// Nothing.
    Off,
}

/// What is done about STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartTls {
    /// It passes; after it the session is not inspected.
    Allow,
    /// It passes, and mail without it is refused.
    Require,
    /// Command and keyword are overwritten.
    Mask,
}

/// What is done about BDAT (RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chunking {
    /// It passes, and its chunks are inspected.
    Allow,
    /// The keyword is overwritten, the command refused.
    Mask,
}

/// Which encoded text is searched for the patterns of bodies, decoded. Cisco searches none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Decode {
    /// None.
    #[default]
    Off,
    /// Base64.
    Base64,
    /// Quoted-printable.
    QuotedPrintable,
    /// Either.
    Both,
}

/// A pattern of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Its number: 3100 to 3110 are Cisco's.
    pub id: u16,
    /// Its title, as alerts have it.
    pub title: &'static str,
    /// What it looks at.
    pub place: Place,
    /// On unless a policy says otherwise.
    pub on: bool,
}

/// What a signature looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Commands alone.
    Commands,
    /// Fields of the message's own header, perhaps commands too.
    Header,
    /// Fields of the headers of its parts, too.
    Parts,
}

const fn on(id: u16, place: Place, title: &'static str) -> Signature {
    Signature { id, title, place, on: true }
}

const fn off(id: u16, place: Place, title: &'static str) -> Signature {
    Signature { id, title, place, on: false }
}

/// Every signature, by id. The five of Cisco's that are off hit real mail too.
pub const SIGNATURES: [Signature; 20] = [
    on(3100, Place::Commands, "Smail Attack"),
    on(3101, Place::Commands, "Sendmail Invalid Recipient"),
    on(3102, Place::Commands, "Sendmail Invalid Sender"),
    off(3103, Place::Commands, "Sendmail Reconnaissance"),
    on(3104, Place::Commands, "Archaic Sendmail Attacks"),
    on(3105, Place::Header, "Sendmail Decode Alias"),
    off(3106, Place::Commands, "Mail Spam"),
    on(3107, Place::Header, "Majordomo Execute Attack"),
    off(3108, Place::Parts, "MIME Overflow Bug"),
    off(3109, Place::Commands, "Q-Mail Length Crash"),
    off(3110, Place::Parts, "Suspicious Mail Attachment"),
    on(7001, Place::Commands, "OpenSMTPD Sender Command (CVE-2020-7247)"),
    on(7002, Place::Commands, "Exim Recipient Expansion (CVE-2019-10149)"),
    on(7003, Place::Commands, "Zimbra Recipient Command (CVE-2024-45519)"),
    on(7004, Place::Header, "Shellshock (CVE-2014-6271)"),
    on(7005, Place::Header, "Log4Shell (CVE-2021-44228)"),
    on(7006, Place::Commands, "Exim Base64 Length (CVE-2018-6789)"),
    on(7007, Place::Commands, "James Recipient Path (CVE-2015-7611)"),
    on(7008, Place::Header, "Sendmail Address Overflow (CVE-2002-1337, CVE-2003-0161)"),
    on(7009, Place::Commands, "Exchange Link State Overflow (CVE-2005-0560)"),
];

/// The signature with this id.
#[must_use]
pub fn signature(id: u16) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|row| row.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_of_the_eleven_are_on() {
        assert!(SIGNATURES.is_sorted_by_key(|row| row.id), "found by id");
        let cisco = || SIGNATURES.iter().filter(|row| (3100..=3110).contains(&row.id));
        assert_eq!((cisco().count(), cisco().filter(|row| row.on).count()), (11, 6));
        assert_eq!(Settings::default().signatures.len(), 15);
        assert_eq!(signature(3101).map(|row| row.title), Some("Sendmail Invalid Recipient"));
        assert_eq!(signature(3099), None);
    }
}
