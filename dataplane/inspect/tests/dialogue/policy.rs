//! A policy in a few lines, written like the real language but made straight into the artifact's model.
//!
//! ```text
//! base none|smtp|esmtp               default: none
//! audit-trail
//! signature ID on|off
//! end-of-data strict|off
//! starttls require|mask
//! chunking allow
//! decode base64|quoted-printable|both
//! max-data N
//! sasl-layers opaque
//! auth require-tls
//! auth-line-limit N
//! eight-bit allow
//! synchronization strict
//! relay-probes allow|refuse
//! allow-verbs GROUP
//! spam N
//! limit WORD N
//! class NAME any|all [log] [reset|mask|allow]
//!  [not] sender address regex PATTERN
//!  [not] cmd verb VERB
//!  …                                 every `match` line of the language; `always` is class-default's
//! ```

use artifact::defence::{Auth, EightBit, RelayProbes, SaslLayers, Synchronization, VerbGroup};
use artifact::model::Mode;
use artifact::settings::{Chunking, Decode, EndOfData, StartTls};
use artifact::smtp::{Base, Criterion, Encoding, Region, SmtpClass, SmtpPolicy, Terminal, Test};

#[derive(Debug, Clone)]
pub struct Rulebook {
    pub policy: SmtpPolicy,
    /// Criterion, region and pattern.
    pub patterns: Vec<(u16, Region, String)>,
}

impl Rulebook {
    pub fn parse(lines: &[&str]) -> Result<Self, String> {
        let mut policy = SmtpPolicy::new("test", Base::None);
        let mut patterns = Vec::new();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["base", "none"] => policy.base = Base::None,
                ["base", "smtp"] => policy.base = Base::Smtp,
                ["base", "esmtp"] => policy.base = Base::Esmtp,
                ["signature", id, switch] => {
                    let id = id.parse().unwrap();
                    policy.settings.signatures.retain(|on| *on != id);
                    if *switch == "on" {
                        policy.settings.signatures.push(id);
                    }
                }
                ["end-of-data", "strict"] => policy.settings.end_of_data = EndOfData::Strict,
                ["end-of-data", "off"] => policy.settings.end_of_data = EndOfData::Off,
                ["starttls", "require"] => policy.settings.starttls = StartTls::Require,
                ["starttls", "mask"] => policy.settings.starttls = StartTls::Mask,
                ["chunking", "allow"] => policy.settings.chunking = Chunking::Allow,
                ["decode", "base64"] => policy.settings.decode = Decode::Base64,
                ["decode", "quoted-printable"] => policy.settings.decode = Decode::QuotedPrintable,
                ["decode", "both"] => policy.settings.decode = Decode::Both,
                ["sasl-layers", "opaque"] => policy.settings.defences.sasl_layers = SaslLayers::Opaque,
                ["auth", "require-tls"] => policy.settings.defences.auth = Auth::RequireTls,
                ["auth-line-limit", n] => policy.settings.defences.auth_line_limit = n.parse().unwrap(),
                ["eight-bit", "allow"] => policy.settings.defences.eight_bit = EightBit::Allow,
                ["synchronization", "strict"] => {
                    policy.settings.defences.synchronization = Synchronization::Strict;
                }
                ["relay-probes", "allow"] => policy.settings.defences.relay_probes = RelayProbes::Allow,
                ["relay-probes", "refuse"] => policy.settings.defences.relay_probes = RelayProbes::Refuse,
                ["allow-verbs", word] => policy
                    .settings
                    .defences
                    .allowed_verbs
                    .extend(VerbGroup::ALL.into_iter().filter(|group| group.word() == *word)),
                ["spam", n] => policy.settings.defences.spam_recipients = n.parse().unwrap(),
                ["limit", word, n] => {
                    *policy.settings.defences.limits.by_word(word).unwrap() = n.parse().ok();
                }
                ["audit-trail"] => policy.audit_trail = true,
                ["max-data", limit] => policy.max_data = Some(limit.parse().unwrap()),
                ["class", name, mode, actions @ ..] => policy.classes.push(SmtpClass {
                    name: (*name).into(),
                    mode: if *mode == "all" { Mode::All } else { Mode::Any },
                    criteria: vec![],
                    log: actions.contains(&"log"),
                    terminal: actions.iter().find_map(|action| match *action {
                        "reset" => Some(Terminal::Reset),
                        "mask" => Some(Terminal::Mask),
                        "allow" => Some(Terminal::Allow),
                        _ => None,
                    }),
                    line: 0,
                }),
                words => {
                    let negated = words.first() == Some(&"not");
                    let (test, pattern) =
                        test(&words[usize::from(negated)..]).ok_or(format!("policy: {line}"))?;
                    let index = policy.criteria.len() as u16;
                    if let Some((region, pattern)) = pattern {
                        patterns.push((index, region, pattern));
                    }
                    policy.criteria.push(Criterion { negated, test, text: line.trim().into(), line: 0 });
                    policy.classes.last_mut().ok_or("a criterion before its class")?.criteria.push(index);
                }
            }
        }
        Ok(Self { policy, patterns })
    }
}

fn test(words: &[&str]) -> Option<(Test, Option<(Region, String)>)> {
    let number = |text: &str| text.parse::<u64>().unwrap();
    let small = |text: &str| text.parse::<u32>().unwrap();
    let scanned = |test, region, pattern: &[&str]| Some((test, Some((region, pattern.join(" ")))));
    let plain = |test| Some((test, None));
    match words {
        ["sender", "address", "regex", pattern @ ..] => scanned(Test::SenderAddress, Region::Sender, pattern),
        ["recipient", "address", "regex", pattern @ ..] => {
            scanned(Test::RecipientAddress, Region::Recipient, pattern)
        }
        ["header", "regex", pattern @ ..] => scanned(Test::Header, Region::Header, pattern),
        ["body", "regex", pattern @ ..] => scanned(Test::Body, Region::Body, pattern),
        ["mime", "content-type", "regex", pattern @ ..] => {
            scanned(Test::MimeContentType, Region::ContentType, pattern)
        }
        ["recipient", "count", "gt", n] => plain(Test::RecipientCount(small(n))),
        ["recipient", "invalid", "count", "gt", n] => plain(Test::RecipientInvalidCount(small(n))),
        ["cmd", "verb", verb] => plain(Test::CommandVerb((*verb).into())),
        ["cmd", "line", "length", "gt", n] => plain(Test::CommandLineLength(small(n))),
        ["header", "length", "gt", n] => plain(Test::HeaderLength(small(n))),
        ["data-length", "gt", n] => plain(Test::DataLength(number(n))),
        ["mime", "encoding", "unknown"] => plain(Test::MimeEncoding(Encoding::Unknown)),
        ["mime", "encoding", token] => plain(Test::MimeEncoding(Encoding::Token((*token).into()))),
        ["reply", "ehlo", keyword] => plain(Test::ReplyEhlo((*keyword).into())),
        ["always"] => plain(Test::Always),
        _ => None,
    }
}
