//! Mails: prose of common words, and attachments.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::seed::Seed;

/// Words that prose is made of. No digits: patterns end in one (see [`crate::patterns`]).
pub const WORDS: &[&str] = &[
    "about",
    "account",
    "after",
    "again",
    "agreed",
    "amount",
    "answer",
    "april",
    "arrange",
    "attached",
    "august",
    "balance",
    "because",
    "before",
    "below",
    "between",
    "board",
    "branch",
    "budget",
    "building",
    "business",
    "cancel",
    "change",
    "charge",
    "client",
    "colleague",
    "committee",
    "company",
    "confirm",
    "contact",
    "contract",
    "copy",
    "costs",
    "customer",
    "data",
    "deadline",
    "dear",
    "decision",
    "delivery",
    "department",
    "details",
    "discuss",
    "document",
    "draft",
    "during",
    "early",
    "email",
    "employee",
    "evening",
    "every",
    "expect",
    "february",
    "figures",
    "final",
    "finance",
    "first",
    "follow",
    "forward",
    "friday",
    "friend",
    "general",
    "group",
    "happy",
    "have",
    "head",
    "hello",
    "help",
    "here",
    "holiday",
    "hotel",
    "however",
    "improve",
    "include",
    "information",
    "inspect",
    "invoice",
    "issue",
    "january",
    "join",
    "just",
    "kind",
    "know",
    "large",
    "last",
    "later",
    "leave",
    "letter",
    "list",
    "little",
    "local",
    "look",
    "machine",
    "mail",
    "make",
    "manager",
    "market",
    "meeting",
    "member",
    "message",
    "minutes",
    "monday",
    "month",
    "morning",
    "name",
    "need",
    "network",
    "never",
    "next",
    "note",
    "number",
    "offer",
    "office",
    "only",
    "open",
    "order",
    "other",
    "over",
    "page",
    "paper",
    "part",
    "payment",
    "people",
    "person",
    "phone",
    "place",
    "plan",
    "please",
    "point",
    "possible",
    "present",
    "price",
    "print",
    "problem",
    "product",
    "project",
    "proposal",
    "quarter",
    "question",
    "quick",
    "read",
    "reason",
    "receive",
    "regards",
    "remind",
    "reply",
    "report",
    "request",
    "research",
    "result",
    "return",
    "review",
    "room",
    "sale",
    "same",
    "schedule",
    "second",
    "secure",
    "send",
    "server",
    "service",
    "share",
    "short",
    "should",
    "since",
    "software",
    "soon",
    "sorry",
    "special",
    "staff",
    "start",
    "still",
    "street",
    "summer",
    "supply",
    "support",
    "system",
    "table",
    "team",
    "thank",
    "that",
    "their",
    "there",
    "these",
    "think",
    "this",
    "thursday",
    "time",
    "today",
    "together",
    "tomorrow",
    "total",
    "train",
    "transfer",
    "travel",
    "tuesday",
    "under",
    "until",
    "update",
    "urgent",
    "very",
    "visit",
    "wait",
    "want",
    "week",
    "welcome",
    "well",
    "were",
    "when",
    "where",
    "which",
    "while",
    "with",
    "without",
    "work",
    "world",
    "would",
    "write",
    "year",
    "yesterday",
    "your",
];

/// Octets of an attachment that one line of base64 holds (RFC 2045, 6.8: at most 76 characters).
const BASE64_LINE: usize = 57;

/// What makes one mail different from another.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Number of the mail, for its Message-ID.
    pub number: u64,
    /// Address in From, not that of the envelope.
    pub from: &'a str,
    /// Address in To.
    pub to: &'a str,
    /// Text put into the middle of the body, for some pattern to find.
    pub planted: Option<&'a str>,
}

/// A plain mail of about `len` octets in all; lines of at most 72 characters, none begins with a dot.
pub fn plain(subject: &Subject<'_>, len: usize, seed: &mut Seed, out: &mut Vec<u8>) {
    let start = out.len();
    header(subject, seed, out);
    out.extend(b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n");
    body(subject.planted, (start + len).saturating_sub(out.len()), seed, out);
}

/// How an attachment says what it is. The octets are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A binary file in base64.
    Base64,
    /// Plain text in base64: a body rule looks at every letter of it where the policy says `decode base64`.
    EncodedText,
    /// Plain text, as it stands: a body rule looks at every letter of it.
    Text,
}

/// A mail with a short text and an attachment that takes `base64_len` octets as base64, line ends included. The
/// attachment is a part of `library`, which is longer than one line and is read round and round.
pub fn with_attachment(
    subject: &Subject<'_>,
    label: Label,
    base64_len: usize,
    library: &[u8],
    seed: &mut Seed,
    out: &mut Vec<u8>,
) {
    let boundary = format!("=_{:016x}", seed.number());
    header(subject, seed, out);
    out.extend(format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n").into_bytes());
    out.extend(format!("--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n").into_bytes());
    body(subject.planted, 600, seed, out);
    let (kind, encoding) = match label {
        Label::Base64 => ("application/octet-stream; name=\"report.bin\"", "base64"),
        Label::EncodedText => ("text/plain; charset=us-ascii", "base64"),
        Label::Text => ("text/plain; charset=us-ascii", "7bit"),
    };
    out.extend(
        format!(
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\
             Content-Disposition: attachment; filename=\"report\"\r\n\r\n"
        )
        .into_bytes(),
    );
    attachment(base64_len, library, seed, out);
    out.extend(format!("--{boundary}--\r\n").into_bytes());
}

/// Octets that attachments are cut from: half of them text, half of them noise, as in office documents.
#[must_use]
pub fn library(len: usize, seed: &mut Seed) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 4096);
    while out.len() < len {
        prose(2048, seed, &mut out);
        for _ in 0..256 {
            out.extend(seed.number().to_le_bytes());
        }
    }
    out.truncate(len);
    out
}

fn header(subject: &Subject<'_>, seed: &mut Seed, out: &mut Vec<u8>) {
    let Subject { number, from, to, .. } = subject;
    let token = seed.number();
    let words = [(); 4].map(|()| seed.pick(WORDS)).join(" ");
    out.extend(
        format!(
            "Received: from desk.example.org (desk.example.org [192.0.2.77])\r\n\tby relay.example.org (Postfix) \
             with ESMTPS id {token:012X}\r\n\tfor <{to}>; Tue, 14 Oct 2025 09:30:00 +0000 (UTC)\r\n\
             From: Sender <{from}>\r\nTo: <{to}>\r\nSubject: {words}\r\n\
             Date: Tue, 14 Oct 2025 09:29:58 +0000\r\nMessage-ID: <{number}.{token:x}@example.org>\r\n\
             MIME-Version: 1.0\r\n"
        )
        .into_bytes(),
    );
}

fn body(planted: Option<&str>, len: usize, seed: &mut Seed, out: &mut Vec<u8>) {
    prose(len / 2, seed, out);
    if let Some(text) = planted {
        out.extend(format!("{text}\r\n").into_bytes());
    }
    prose(len - len / 2, seed, out);
}

/// Lines of words, about `len` octets.
fn prose(len: usize, seed: &mut Seed, out: &mut Vec<u8>) {
    let end = out.len() + len;
    let mut line_start = out.len();
    while out.len() < end {
        let word = seed.pick(WORDS);
        if out.len() > line_start {
            let is_full = out.len() + 1 + word.len() > line_start + 72;
            out.extend_from_slice(if is_full { b"\r\n" } else { b" " });
            if is_full {
                line_start = out.len();
            }
        }
        out.extend_from_slice(word.as_bytes());
    }
    if out.len() > line_start {
        out.extend_from_slice(b"\r\n");
    }
}

fn attachment(base64_len: usize, library: &[u8], seed: &mut Seed, out: &mut Vec<u8>) {
    let end = out.len() + base64_len;
    let mut at = seed.below(library.len() - BASE64_LINE);
    let mut line = [0; 76];
    while out.len() < end {
        if at + BASE64_LINE > library.len() {
            at = 0;
        }
        let written = STANDARD.encode_slice(&library[at..at + BASE64_LINE], &mut line);
        out.extend_from_slice(&line[..written.unwrap_or(0)]);
        out.extend_from_slice(b"\r\n");
        at += BASE64_LINE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_are_legal(mail: &[u8]) {
        assert!(mail.ends_with(b"\r\n"));
        let text = std::str::from_utf8(mail).unwrap();
        for line in text.split("\r\n") {
            assert!(line.len() <= 998 && !line.starts_with('.') && !line.contains(['\r', '\n']), "{line:?}");
        }
    }

    #[test]
    fn mails_have_the_length_asked_for() {
        let mut seed = Seed::new(1);
        let subject =
            Subject { number: 1, from: "a@example.org", to: "b@example.net", planted: Some("needle #1;") };
        let mut mail = Vec::new();
        plain(&subject, 2048, &mut seed, &mut mail);
        lines_are_legal(&mail);
        assert!((2048..2200).contains(&mail.len()), "{}", mail.len());
        assert_eq!(mail.windows(10).filter(|window| window == b"needle #1;").count(), 1);

        let library = library(10_000, &mut seed);
        let mut mail = Vec::new();
        with_attachment(&subject, Label::Base64, 100_000, &library, &mut seed, &mut mail);
        lines_are_legal(&mail);
        assert!((100_000..103_000).contains(&mail.len()), "{}", mail.len());
    }
}
