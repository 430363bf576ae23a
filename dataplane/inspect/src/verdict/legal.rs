//! Which words are legal, and which are overwritten whatever else their line says.

use artifact::defence::{Auth, DENIED_VERBS};
use artifact::model::Mode;
use artifact::settings::{Chunking, StartTls};
use artifact::smtp::{Base, Criterion, SmtpPolicy, Terminal, Test};

use super::words::Words;

/// Legal verbs of `smtp` inspection (Cisco ESMTP document, "SMTP Functionality").
const SMTP_VERBS: [&str; 12] =
    ["DATA", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "SAML", "SEND", "SOML", "VRFY"];
/// What `esmtp` inspection adds to them (ibid., "ESMTP Functionality").
const ESMTP_VERBS: [&str; 3] = ["AUTH", "EHLO", "ETRN"];
/// Extensions that `esmtp` inspection supports (ibid.); for BINARYMIME see [`CHUNKING_KEYWORDS`].
const ESMTP_KEYWORDS: [&str; 7] =
    ["8BITMIME", "AUTH", "DSN", "ENHANCEDSTATUSCODES", "ETRN", "PIPELINING", "SIZE"];
/// Overwritten unless the policy says `chunking allow` (Cisco AIC document, "Restrictions": BDAT is not supported, so CHUNKING
/// is masked). BINARYMIME is among the extensions that `esmtp` inspection supports, but needs CHUNKING (RFC 3030).
const CHUNKING_KEYWORDS: [&str; 2] = ["BINARYMIME", "CHUNKING"];

/// RFC 3030: the command.
const BDAT: [&str; 1] = ["BDAT"];

/// RFC 3207: the command and its keyword.
const STARTTLS: [&str; 1] = ["STARTTLS"];

/// RFC 4954, and Exchange's own: keywords whose commands are refused outside TLS where the policy says so.
const AUTH: [&str; 2] = ["AUTH", "X-EXPS"];

/// The signature that knows these two.
const ARCHAIC: (u16, [&str; 2]) = (3104, ["DEBUG", "WIZ"]);

/// Verbs, and keywords, that are overwritten unless a class allows them: all that nobody outside a site has use for and
/// that the policy does not let through. What a signature refuses is left to it.
pub(super) fn denied(policy: &SmtpPolicy) -> Vec<&'static str> {
    let settings = &policy.settings;
    let refused = |word: &str| settings.signatures.contains(&ARCHAIC.0) && ARCHAIC.1.contains(&word);
    let allowed = |group| settings.defences.allowed_verbs.contains(&group);
    DENIED_VERBS
        .iter()
        .filter(|(word, group)| !group.is_some_and(allowed) && !refused(word))
        .map(|(word, _)| *word)
        .collect()
}

/// What a word stands on: the two kinds of events whose outcome a mask can be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Verb,
    Keyword,
}

/// What is legal before any class is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Legal {
    pub base: Base,
    /// STARTTLS is overwritten, command and keyword.
    masks_starttls: bool,
    /// The keyword AUTH is overwritten.
    masks_auth: bool,
    /// BDAT is followed, where the server offers it.
    pub allows_chunking: bool,
}

impl Legal {
    pub fn new(policy: &SmtpPolicy) -> Self {
        Self {
            base: policy.base,
            masks_starttls: policy.settings.starttls == StartTls::Mask,
            masks_auth: policy.settings.defences.auth == Auth::RequireTls,
            allows_chunking: policy.settings.chunking == Chunking::Allow,
        }
    }
}

/// Whether a word is legal before any class is asked.
pub(super) fn is_legal(legal: Legal, place: Place, word: &[u8]) -> bool {
    let one_of = |list: &[&str]| list.iter().any(|text| text.as_bytes().eq_ignore_ascii_case(word));
    if legal.masks_starttls && one_of(&STARTTLS) {
        return false;
    }
    if legal.masks_auth && place == Place::Keyword && one_of(&AUTH) {
        return false;
    }
    if place == Place::Keyword && one_of(&CHUNKING_KEYWORDS) {
        return legal.allows_chunking;
    }
    match (place, legal.base) {
        (Place::Verb, Base::None) => true,
        (Place::Verb, Base::Smtp) => one_of(&SMTP_VERBS),
        (Place::Verb, Base::Esmtp) => {
            one_of(&SMTP_VERBS) || one_of(&ESMTP_VERBS) || (legal.allows_chunking && one_of(&BDAT))
        }
        (Place::Keyword, Base::Esmtp) => one_of(&ESMTP_KEYWORDS),
        (Place::Keyword, _) => true,
    }
}

/// Every word that the policy or its base names, with what becomes of it, and of any other.
pub(super) fn words(policy: &SmtpPolicy, place: Place) -> Words {
    let named = policy.criteria.iter().filter_map(|criterion| match (&criterion.test, place) {
        (Test::CommandVerb(word), Place::Verb) | (Test::ReplyEhlo(word), Place::Keyword) => {
            Some(word.as_str())
        }
        _ => None,
    });
    let built_in: &[&[&str]] = match place {
        Place::Verb => &[&SMTP_VERBS, &ESMTP_VERBS, &STARTTLS, &BDAT],
        Place::Keyword => &[&ESMTP_KEYWORDS, &CHUNKING_KEYWORDS, &STARTTLS, &AUTH],
    };
    let denied = denied(policy);
    let mut known: Vec<Vec<u8>> = named
        .chain(built_in.iter().flat_map(|list| list.iter().copied()))
        .chain(denied.iter().copied())
        .map(|word| word.to_ascii_uppercase().into_bytes())
        .collect();
    known.sort();
    known.dedup();
    let legal = Legal::new(policy);
    let masked = |word: &[u8]| {
        !is_legal(legal, place, word)
            || match foresee_classes(policy, place, Some(word)) {
                Verdict::Mask => true,
                Verdict::Other => false,
                Verdict::None => denied.iter().any(|denied| denied.as_bytes() == word),
            }
    };
    // No word is empty, so this stands for any that nobody names.
    let others_masked = !is_legal(legal, place, b"") || foresee_classes(policy, place, None) == Verdict::Mask;
    Words::new(
        known.into_iter().map(|word| {
            let masked = masked(&word);
            (word, masked)
        }),
        others_masked,
    )
}

/// What the classes decide about a word.
#[derive(PartialEq, Eq)]
enum Verdict {
    /// It is overwritten, whatever else may be true.
    Mask,
    /// Something else, or that depends on more than the word.
    Other,
    /// Nothing.
    None,
}

/// What the classes decide about a word; `None` is any word that no criterion names.
///
/// Three-valued: what depends on more than the word is unknown, and a class that might decide something else ends the search.
fn foresee_classes(policy: &SmtpPolicy, place: Place, word: Option<&[u8]>) -> Verdict {
    for class in &policy.classes {
        let truths = || {
            class.criteria.iter().map(|index| match policy.criteria.get(usize::from(*index)) {
                Some(criterion) => foresee(criterion, class.mode, place, word),
                None => Foreseen { now: false, holds: Some(false) },
            })
        };
        let truth = match class.mode {
            _ if class.criteria.is_empty() => Some(true),
            Mode::Any if truths().any(|truth| truth.holds == Some(true)) => Some(true),
            Mode::Any if truths().all(|truth| truth.holds == Some(false)) => Some(false),
            Mode::All if truths().any(|truth| truth.holds == Some(false)) => Some(false),
            Mode::All if !truths().any(|truth| truth.now) => Some(false),
            Mode::All if truths().all(|truth| truth.holds == Some(true)) => Some(true),
            _ => None,
        };
        match (truth, class.terminal) {
            (Some(false), _) | (_, None) => {}
            (Some(true), Some(Terminal::Mask)) => return Verdict::Mask,
            (_, Some(_)) => return Verdict::Other,
        }
    }
    Verdict::None
}

/// What can be said of a criterion when only the word is known.
struct Foreseen {
    /// Whether the event may decide it.
    now: bool,
    /// Whether it holds; `None` if that depends on more.
    holds: Option<bool>,
}

fn foresee(criterion: &Criterion, mode: Mode, place: Place, word: Option<&[u8]>) -> Foreseen {
    let is = |names: &[&str]| {
        place == Place::Verb
            && word.is_some_and(|word| names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(word)))
    };
    let known = |holds: bool| Foreseen { now: true, holds: Some(holds != criterion.negated) };
    let now = match (&criterion.test, place) {
        (Test::CommandVerb(name), Place::Verb) | (Test::ReplyEhlo(name), Place::Keyword) => {
            return known(word.is_some_and(|word| name.as_bytes().eq_ignore_ascii_case(word)));
        }
        (Test::Always, _) => return known(true),
        // Never true outside their own event.
        (Test::CommandVerb(_) | Test::CommandLineLength(_), Place::Keyword)
        | (Test::ReplyEhlo(_), Place::Verb) => {
            return Foreseen { now: false, holds: Some(false) };
        }
        (Test::CommandLineLength(_), Place::Verb) => true,
        (Test::SenderAddress, _) => is(&["MAIL", "SAML", "SEND", "SOML"]),
        (Test::RecipientAddress, _) => is(&["RCPT"]),
        (Test::RecipientCount(_), _) => is(&["RCPT", "DATA", "BDAT"]),
        _ => false,
    };
    // In a match-all class it may be true from earlier.
    let holds = if now || mode == Mode::All { None } else { Some(false) };
    Foreseen { now, holds }
}
