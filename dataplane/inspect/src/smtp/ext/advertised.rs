//! Extensions, and those that a session's server offered.

use crate::names::Names;
use crate::smtp::command::{LINE_LIMIT, Verb};

/// An extension that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// Its keyword in the reply to EHLO, upper case.
    pub keyword: &'static str,
    /// Octets that a MAIL line may be longer because of it.
    pub mail: usize,
    /// Octets that a RCPT line may be longer because of it.
    pub rcpt: usize,
    /// The Cisco ESMTP firewall document lists it as supported.
    pub supported: bool,
}

const fn extension(keyword: &'static str, mail: usize, rcpt: usize) -> Extension {
    Extension { keyword, mail, rcpt, supported: false }
}

const fn supported(keyword: &'static str, mail: usize, rcpt: usize) -> Extension {
    Extension { keyword, mail, rcpt, supported: true }
}

/// Extensions with parameters of MAIL or RCPT, and others that servers offer, which have none.
pub const EXTENSIONS: [Extension; 30] = [
    // RFC 6152.
    supported("8BITMIME", 17, 0),
    // RFC 4954: " AUTH=" and what follows.
    supported("AUTH", 500, 0),
    // RFC 3461: RET 8, ENVID 100; NOTIFY 28, ORCPT 500; each behind a blank.
    supported("DSN", 110, 530),
    supported("ENHANCEDSTATUSCODES", 0, 0),
    supported("ETRN", 0, 0),
    supported("PIPELINING", 0, 0),
    // RFC 1870.
    supported("SIZE", 26, 0),
    // RFC 3030.
    supported("BINARYMIME", 16, 0),
    // RFC 1845.
    extension("CHECKPOINT", 0, 0),
    // RFC 3030.
    extension("CHUNKING", 0, 0),
    // RFC 4141.
    extension("CONNEG", 0, 0),
    extension("CONPERM", 0, 0),
    // RFC 2852.
    extension("DELIVERBY", 17, 0),
    // RFC 4865.
    extension("FUTURERELEASE", 34, 0),
    // RFC 6710.
    extension("MT-PRIORITY", 15, 0),
    // RFC 3885.
    extension("MTRK", 40, 0),
    // RFC 3865.
    extension("NO-SOLICITING", 1000, 0),
    // RFC 8689.
    extension("REQUIRETLS", 11, 0),
    // RFC 7293.
    extension("RRVS", 0, 33),
    // RFC 6531.
    extension("SMTPUTF8", 10, 0),
    // RFC 4405.
    extension("SUBMITTER", 0, 0),
    // Postfix, VERP_README.
    extension("XVERP", 0, 0),
    extension("ATRN", 0, 0),
    extension("BURL", 0, 0),
    extension("EXPN", 0, 0),
    extension("HELP", 0, 0),
    extension("LIMITS", 0, 0),
    extension("STARTTLS", 0, 0),
    extension("VERB", 0, 0),
    extension("VRFY", 0, 0),
];

/// Some extensions by their places in [`EXTENSIONS`]: sessions are asked for some at every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyword(u32);

impl Keyword {
    /// Those that are known by these keywords, upper case; what is not known does not compile.
    pub(super) const fn any(keywords: &[&str]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < keywords.len() {
            bits |= Self::new(keywords[at]).0;
            at += 1;
        }
        Self(bits)
    }

    /// The one with this keyword, in whatever case.
    #[must_use]
    #[inline]
    pub fn named(keyword: &[u8]) -> Option<Self> {
        KEYWORDS.position(keyword).map(|index| Self(1 << index))
    }

    /// Whether they have one in common.
    #[must_use]
    #[inline]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn new(keyword: &str) -> Self {
        let mut index = 0;
        while !same(EXTENSIONS[index].keyword.as_bytes(), keyword.as_bytes()) {
            index += 1;
        }
        Self(1 << index)
    }
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// What is offered with them is looked at, or not taken for offered (RFC 8689, 2).
pub(in crate::smtp) const LOOKED_AT: Keyword = Keyword::any(&["AUTH", "REQUIRETLS"]);
/// RFC 3030.
pub const CHUNKING: Keyword = Keyword::new("CHUNKING");
/// RFC 2034.
pub const ENHANCEDSTATUSCODES: Keyword = Keyword::new("ENHANCEDSTATUSCODES");
/// RFC 2920.
pub const PIPELINING: Keyword = Keyword::new("PIPELINING");
/// RFC 3207.
pub const STARTTLS: Keyword = Keyword::new("STARTTLS");
/// RFC 6531.
pub const SMTPUTF8: Keyword = Keyword::new("SMTPUTF8");

/// Octets of other keywords that are remembered of a reply, each with a blank behind it. Exchange, the server with
/// the most, has 66. Parameters of keywords beyond it are refused as those of keywords that were not offered.
pub const PRIVATE_LIMIT: usize = 88;

/// What the server offers, as the client was shown it: keywords that were overwritten are not in it.
#[derive(Debug, Clone)]
pub struct Advertised {
    known: u32,
    private_len: u8,
    private: [u8; PRIVATE_LIMIT],
}

impl Default for Advertised {
    fn default() -> Self {
        Self { known: 0, private_len: 0, private: [0; PRIVATE_LIMIT] }
    }
}

const _: () = assert!(EXTENSIONS.len() <= 32 && PRIVATE_LIMIT <= 255);

impl Advertised {
    /// Nothing: no EHLO was answered yet, or HELO was.
    pub fn clear(&mut self) {
        self.known = 0;
        self.private_len = 0;
    }

    /// A keyword of the reply to EHLO.
    pub fn add(&mut self, keyword: &[u8]) {
        // RFC 8689, 2: not to be offered outside TLS; what is inside is not read.
        if keyword.is_empty() || keyword.eq_ignore_ascii_case(b"REQUIRETLS") {
            return;
        }
        if let Some(known) = Keyword::named(keyword) {
            self.add_known(known);
            return;
        }
        let start = usize::from(self.private_len);
        let end = start + keyword.len();
        if self.private(keyword).is_none() && end < PRIVATE_LIMIT {
            self.private[start..end].copy_from_slice(keyword);
            self.private[end] = b' ';
            self.private_len = (end + 1) as u8;
        }
    }

    /// An extension other than REQUIRETLS.
    #[inline]
    pub fn add_known(&mut self, keyword: Keyword) {
        self.known |= keyword.0;
    }

    /// Whether an extension is offered, or one of several.
    #[must_use]
    pub const fn has(&self, keyword: Keyword) -> bool {
        Keyword(self.known).meets(keyword)
    }

    /// Whether the extension with this keyword is known and offered.
    #[must_use]
    pub fn has_named(&self, keyword: &str) -> bool {
        Keyword::named(keyword.as_bytes()).is_some_and(|known| self.has(known))
    }

    /// The place of an unknown keyword among those that are offered, below [`PRIVATE_LIMIT`] / 2.
    #[must_use]
    pub fn private(&self, keyword: &[u8]) -> Option<usize> {
        let names = self.private.get(..usize::from(self.private_len)).unwrap_or_default();
        names
            .split(|byte| *byte == b' ')
            .position(|name| !name.is_empty() && name.eq_ignore_ascii_case(keyword))
    }

    /// Octets that a line with this verb may have, CRLF included: RFC 5321, 4.5.3.1.4, and what each offered extension adds.
    #[must_use]
    pub fn line_limit(&self, verb: Verb) -> usize {
        let more = |of: fn(&Extension) -> usize| {
            let offered = EXTENSIONS.iter().enumerate().filter(|(index, _)| self.known & (1 << index) != 0);
            offered.map(|(_, extension)| of(extension)).sum::<usize>()
        };
        match verb {
            Verb::Mail => LINE_LIMIT + more(|extension| extension.mail),
            Verb::Rcpt => LINE_LIMIT + more(|extension| extension.rcpt),
            verb => verb.line_limit(),
        }
    }
}

/// Their keywords.
const KEYWORDS: Names<{ EXTENSIONS.len() }> = {
    let (mut names, mut index) = ([b"".as_slice(); EXTENSIONS.len()], 0);
    while index < names.len() {
        names[index] = EXTENSIONS[index].keyword.as_bytes();
        index += 1;
    }
    Names::new(names)
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::command::MAIL_LINE_LIMIT;

    #[test]
    fn no_line_is_longer_than_what_is_remembered_of_lines() {
        let mut all = Advertised::default();
        EXTENSIONS.iter().for_each(|extension| all.add(extension.keyword.as_bytes()));
        assert!(!all.has_named("REQUIRETLS"), "that is for inside TLS");
        all.known = u32::MAX >> (32 - EXTENSIONS.len());
        assert_eq!(all.line_limit(Verb::Mail), MAIL_LINE_LIMIT);
        assert_eq!(all.line_limit(Verb::Rcpt), 512 + 530 + 33);
    }

    #[test]
    fn lines_are_as_long_as_what_is_offered_allows() {
        let mut advertised = Advertised::default();
        assert_eq!((advertised.line_limit(Verb::Mail), advertised.line_limit(Verb::Rcpt)), (512, 512));
        for (keyword, mail, rcpt) in [
            ("size", 538, 512),
            ("Size", 538, 512),
            ("DSN", 648, 1042),
            ("X-PRIVATE", 648, 1042),
            ("8bitmime", 665, 1042),
            ("RRVS", 665, 1075),
            ("AUTH", 1165, 1075),
        ] {
            advertised.add(keyword.as_bytes());
            assert_eq!(advertised.line_limit(Verb::Mail), mail, "{keyword}");
            assert_eq!(advertised.line_limit(Verb::Rcpt), rcpt, "{keyword}");
        }
        assert_eq!(advertised.line_limit(Verb::Other), 512);
        advertised.clear();
        assert_eq!((advertised.line_limit(Verb::Mail), advertised.private(b"X-PRIVATE")), (512, None));
    }

    #[test]
    fn what_is_asked_for_often_is_what_was_offered() {
        for (keyword, name) in [
            (CHUNKING, "CHUNKING"),
            (ENHANCEDSTATUSCODES, "EnhancedStatusCodes"),
            (PIPELINING, "pipelining"),
            (SMTPUTF8, "SMTPUTF8"),
        ] {
            let mut advertised = Advertised::default();
            assert!(!advertised.has(keyword) && !advertised.has_named(name));
            advertised.add(name.as_bytes());
            assert!(advertised.has(keyword) && advertised.has_named(name), "{name}");
        }
    }

    #[test]
    fn private_keywords_are_remembered_whole_while_there_is_room() {
        let mut advertised = Advertised::default();
        for keyword in ["X-ANONYMOUSTLS", "x-exps", "XEXCH50", "XRDST", "XSHADOWREQUEST", "XOORG", "XPROXYTO"]
        {
            advertised.add(keyword.as_bytes());
        }
        assert_eq!((advertised.private(b"xoorg"), advertised.private(b"XOOR")), (Some(5), None));
        advertised.add(b"XOORG");
        advertised.add(&[b'X'; 40]);
        assert_eq!(advertised.private(&[b'X'; 40]), None, "no room, and nothing of it");
        assert_eq!(advertised.private(b""), None);
        advertised.add(b"XLAST");
        assert_eq!(advertised.private(b"XLAST"), Some(7));
    }
}
