//! What an artifact does, rule by rule, in plain words; and what a code means.

use std::fmt::Write as _;

use artifact::defence::{Auth, DENIED_VERBS, Defences, EightBit, RelayProbes, SaslLayers, Synchronization};
use artifact::format::Artifact;
use artifact::model::{Form, Mode, Path, Policy, TopAction, TopClass};
use artifact::settings::{Chunking, Decode, EndOfData, SIGNATURES, Settings, StartTls};
use artifact::smtp::{Base, Criterion, Region, SmtpClass, SmtpPolicy, Terminal};

use crate::code::Code;
use crate::compile::Options;
use crate::kind;
use crate::parser::parse;
use crate::source::SourceFile;

/// The explanation of a code, with its examples.
#[must_use]
pub fn code(code: Code) -> String {
    let text = code.explanation();
    match text.strip_prefix("# ") {
        Some(rest) => format!("{code}: {rest}"),
        None => text.to_owned(),
    }
}

/// Facts of a session that every flow keeps: a bit for each criterion (octets).
const FACTS_LEN: usize = artifact::smtp::MAX_CRITERIA / 8;

/// The explanation of an artifact.
#[must_use]
pub fn artifact(artifact: &Artifact) -> String {
    let mut out = String::new();
    let policy = &artifact.policy;
    let form = match policy.form {
        Form::Zone => "zones: between two zones nothing passes that no class lets",
        Form::Classic => "inspection rules: what no rule inspects passes as if the gateway were a wire",
    };
    let digest: String = artifact.source_digest.iter().map(|octet| format!("{octet:02x}")).collect();
    line(&mut out, 0, &format!("Policy {} (SHA-256 of its text {digest})", policy.source.name));
    line(&mut out, 0, &format!("Form: {form}."));
    let ports: Vec<String> = policy.smtp_ports.iter().map(u16::to_string).collect();
    line(&mut out, 0, &format!("SMTP is TCP to port {}.", ports.join(", ")));
    if let Some(key) = &artifact.signed_by {
        let key: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
        line(&mut out, 0, &format!("Signed by ed25519 key {key}."));
    }
    out.push('\n');
    for port in &policy.ports {
        let what = if policy.form == Form::Zone { "Zone" } else { "Interface" };
        let members = if port.interfaces.is_empty() || port.interfaces == [port.name.clone()] {
            "bind it with --port".to_owned()
        } else {
            format!("interfaces {}", port.interfaces.join(", "))
        };
        line(&mut out, 0, &format!("{what} {} ({members})", port.name));
    }
    for path in &policy.paths {
        out.push('\n');
        explain_path(policy, path, &mut out);
    }
    for smtp in &policy.smtp {
        out.push('\n');
        explain_smtp(policy, smtp, &mut out);
    }
    examined(policy, &mut out);
    out.push('\n');
    line(&mut out, 0, &format!("Databases: {} for {}.", artifact.library, artifact.target));
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    // Writing into a string has no way to fail.
    let _ = writeln!(out, "{:indent$}{text}", "", indent = depth * 2);
}

fn explain_path(policy: &Policy, path: &Path, out: &mut String) {
    let name = |port: Option<u16>| {
        let port = port.and_then(|port| policy.ports.get(usize::from(port)));
        port.map_or("anywhere", |port| port.name.as_str())
    };
    let title = match policy.form {
        Form::Zone => format!("Zone-pair {}, policy {}", path.zone_pair, path.policy),
        Form::Classic => format!("Inspection rule {}", path.policy),
    };
    line(out, 0, &format!("{title}: sessions from {} to {}", name(path.source), name(path.destination)));
    for (at, class) in path.classes.iter().enumerate() {
        line(out, 1, &format!("{}. {} -> {}", at + 1, when(class), explain_verdict(policy, class)));
    }
    if policy.form == Form::Classic {
        line(out, 1, &format!("{}. everything else -> passes untouched", path.classes.len() + 1));
    }
}

fn place(line: u32) -> String {
    if line == 0 { "implicit".into() } else { format!("line {line}") }
}

fn when(class: &TopClass) -> String {
    if class.name == crate::ast::CLASS_DEFAULT {
        return format!("everything else (class-default, {})", place(class.line));
    }
    let join = if class.mode == Mode::All { " and " } else { " or " };
    format!("{} (class {}, {})", class.matches.join(join), class.name, place(class.line))
}

fn explain_verdict(policy: &Policy, class: &TopClass) -> String {
    match class.action {
        TopAction::Inspect { smtp: Some(smtp), .. } => {
            let name = policy.smtp.get(usize::from(smtp)).map_or("", |smtp| smtp.name.as_str());
            format!("its mail is read by SMTP policy {name}")
        }
        TopAction::Inspect { smtp: None, .. } => {
            "followed as a session, its answers let back, not read".into()
        }
        TopAction::Pass { log } => format!("let through in this direction, not followed{}", logged(log)),
        TopAction::Drop { log } => format!("dropped{}", logged(log)),
    }
}

fn logged(log: bool) -> &'static str {
    if log { ", and logged" } else { "" }
}

fn explain_smtp(policy: &Policy, smtp: &SmtpPolicy, out: &mut String) {
    line(out, 0, &format!("SMTP policy {}", smtp.name));
    let base = match smtp.base {
        Base::None => "every verb and EHLO keyword is legal unless a class says otherwise",
        Base::Smtp => {
            "legal verbs are DATA HELO HELP MAIL NOOP QUIT RCPT RSET SAML SEND SOML VRFY; any other, EHLO too, is masked, so \
             that clients use HELO"
        }
        Base::Esmtp => {
            "legal verbs are AUTH DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET SAML SEND SOML VRFY, legal EHLO keywords \
             8BITMIME AUTH DSN ENHANCEDSTATUSCODES ETRN PIPELINING SIZE; any other is masked"
        }
    };
    line(out, 1, &format!("Base: {base}."));
    explain_settings(&smtp.settings, out);
    if let Some(max) = smtp.max_data {
        line(out, 1, &format!("A session that has carried more than {max} octets of mail is closed."));
    }
    let switch = |on: bool| if on { "on" } else { "off" };
    line(
        out,
        1,
        &format!("Alerts are {}, session records {}.", switch(smtp.alert), switch(smtp.audit_trail)),
    );
    for (at, class) in smtp.classes.iter().enumerate() {
        explain_class(policy, smtp, at, class, out);
    }
    if !smtp.classes.is_empty() {
        line(out, 1, "What no class takes is let through.");
    }
    for database in &smtp.databases {
        let state = if database.region.is_streaming() {
            format!("{} octets of state for a message in progress", database.stream_len)
        } else {
            "no state".into()
        };
        line(
            out,
            1,
            &format!(
                "Database over {}: {}, {} octets, {state}",
                region(database.region),
                if database.pattern_count == 1 {
                    "1 pattern".to_owned()
                } else {
                    format!("{} patterns", database.pattern_count)
                },
                database.bytes.len()
            ),
        );
    }
    // Only text that comes frame by frame leaves state in a flow.
    let kept = smtp.databases.iter().filter(|database| database.region.is_streaming());
    let stream: u32 = kept.map(|database| database.stream_len).sum();
    line(out, 1, &format!("State per flow: {FACTS_LEN} octets of facts, {stream} octets of matcher state."));
}

fn explain_settings(settings: &Settings, out: &mut String) {
    let chunking = match settings.chunking {
        Chunking::Allow => {
            "BDAT is let through where the server offers CHUNKING, and its chunks are inspected (chunking allow)."
        }
        Chunking::Mask => "BDAT is refused and the EHLO keyword CHUNKING masked (chunking mask).",
    };
    let starttls = match settings.starttls {
        StartTls::Allow => "STARTTLS is let through; what follows it is not inspected (starttls allow).",
        StartTls::Require => {
            "Mail before STARTTLS is refused; what follows STARTTLS is not inspected (starttls require)."
        }
        StartTls::Mask => "STARTTLS is masked, command and EHLO keyword (starttls mask).",
    };
    let end_of_data = match settings.end_of_data {
        EndOfData::Strict => {
            "A message with a CR or LF that is not part of CRLF, or with NUL, is refused (end-of-data strict)."
        }
        EndOfData::Eod => {
            "A message with what some servers take for the end of data, and is not, is refused (end-of-data eod)."
        }
        EndOfData::Off => {
            "Only CRLF.CRLF is looked for, whatever servers take for the end of data (end-of-data off)."
        }
    };
    let decode = match settings.decode {
        Decode::Off => "Text in base64 or quoted-printable is not searched by body patterns (decode off).",
        Decode::Base64 => {
            "Text in base64 is searched decoded by body patterns, text in quoted-printable is not searched (decode base64)."
        }
        Decode::QuotedPrintable => {
            "Text in quoted-printable is searched decoded by body patterns, text in base64 is not searched (decode \
             quoted-printable)."
        }
        Decode::Both => {
            "Text in base64 or quoted-printable is searched decoded by body patterns (decode both)."
        }
    };
    for text in [chunking, starttls, end_of_data, decode] {
        line(out, 1, text);
    }
    let listed = |on: bool| {
        let ids: Vec<String> = SIGNATURES
            .iter()
            .filter(|row| settings.signatures.contains(&row.id) == on)
            .map(|row| row.id.to_string())
            .collect();
        if ids.is_empty() { "none".to_owned() } else { ids.join(" ") }
    };
    line(out, 1, &format!("Signatures on: {}; off: {}.", listed(true), listed(false)));
    explain_defences(&settings.defences, &settings.signatures, out);
}

fn explain_defences(defences: &Defences, signatures: &[u16], out: &mut String) {
    let refuses_archaic = signatures.contains(&3104);
    if signatures.contains(&3106) {
        let spam = defences.spam_recipients;
        line(
            out,
            1,
            &format!("Signature 3106 allows {spam} recipients of a message (ip audit smtp spam {spam})."),
        );
    }
    let sasl = match defences.sasl_layers {
        SaslLayers::Mask => {
            "AUTH mechanisms that may hide what follows are masked in the EHLO reply and refused (sasl-layers mask)."
        }
        SaslLayers::Opaque => {
            "AUTH mechanisms that may hide what follows pass; what they hide is not inspected (sasl-layers opaque)."
        }
    };
    let auth = match defences.auth {
        Auth::Allow => "AUTH outside TLS is let through (auth allow).",
        Auth::RequireTls => "AUTH outside TLS is refused, its EHLO keyword masked (auth require-tls).",
    };
    let eight_bit = match defences.eight_bit {
        EightBit::Smtputf8 => {
            "Octets of 128 and more in commands need SMTPUTF8 and must be UTF-8, in EHLO they pass (eight-bit smtputf8)."
        }
        EightBit::Allow => "Octets of 128 and more in commands pass (eight-bit allow).",
    };
    let synchronization = match defences.synchronization {
        Synchronization::Lenient => {
            "A client that does not wait for its turn is made to wait, and counted (synchronization lenient)."
        }
        Synchronization::Strict => {
            "A client that does not wait for its turn is refused (synchronization strict)."
        }
    };
    let relay = match defences.relay_probes {
        RelayProbes::Allow => "Recipients that look like tries for an open relay pass (relay-probes allow).",
        RelayProbes::Log => {
            "Recipients that look like tries for an open relay pass, and are counted (relay-probes log)."
        }
        RelayProbes::Refuse => {
            "Recipients that look like tries for an open relay are refused (relay-probes refuse)."
        }
    };
    for text in [sasl, auth, eight_bit, synchronization, relay] {
        line(out, 1, text);
    }
    let octets = defences.auth_line_limit;
    line(out, 1, &format!("AUTH lines have {octets} octets at most (auth-line-limit {octets})."));
    let verbs = |allowed: bool| {
        let verbs: Vec<&str> = DENIED_VERBS
            .iter()
            .filter(|(verb, _)| !(refuses_archaic && matches!(*verb, "DEBUG" | "WIZ")))
            .filter(|(_, group)| {
                group.is_some_and(|group| defences.allowed_verbs.contains(&group)) == allowed
            })
            .map(|(verb, _)| *verb)
            .collect();
        verbs.join(" ")
    };
    line(
        out,
        1,
        &format!("Verbs masked unless a class allows them, command and EHLO keyword: {}.", verbs(false)),
    );
    if !defences.allowed_verbs.is_empty() {
        line(out, 1, &format!("Verbs let through by allow-verbs: {}.", verbs(true)));
    }
    let limits: Vec<String> = defences
        .limits
        .rows()
        .into_iter()
        .map(|(word, unit, value)| match value {
            Some(value) => format!("{word} {value} ({unit})"),
            None => format!("{word} off"),
        })
        .collect();
    line(out, 1, &format!("Limits of a connection: {}.", limits.join(", ")));
}

/// What each kind of match in the policy looks at, and how it counts.
fn examined(policy: &Policy, out: &mut String) {
    let criteria: Vec<&Criterion> = policy.smtp.iter().flat_map(|smtp| &smtp.criteria).collect();
    let used =
        kind::KINDS.iter().filter(|kind| criteria.iter().any(|one| kind.describe(&one.test, "").is_some()));
    for (at, kind) in used.enumerate() {
        if at == 0 {
            out.push('\n');
            line(out, 0, "What is examined");
        }
        line(out, 1, kind.syntax());
        line(out, 2, kind.documentation());
    }
}

fn region(region: Region) -> &'static str {
    match region {
        Region::Sender => "sender addresses",
        Region::Recipient => "recipient addresses",
        Region::Header => "header fields",
        Region::Body => "text of bodies",
        Region::ContentType => "Content-Type fields",
    }
}

fn explain_class(policy: &Policy, smtp: &SmtpPolicy, at: usize, class: &SmtpClass, out: &mut String) {
    let action = match class.terminal {
        Some(Terminal::Allow) => "let through, later classes not asked",
        Some(Terminal::Mask) => "overwritten in place (x for commands, X for keywords)",
        Some(Terminal::Reset) => "refused with a 5xx, both sides closed",
        None => "nothing else is done",
    };
    let log = if class.log { "logged; " } else { "" };
    line(out, 1, &format!("{}. Class {} ({}) -> {log}{action}", at + 1, class.name, place(class.line)));
    let criteria: Vec<&Criterion> =
        class.criteria.iter().filter_map(|index| smtp.criteria.get(usize::from(*index))).collect();
    if criteria.len() > 1 {
        let all = class.mode == Mode::All;
        line(out, 2, if all { "when all of these hold in one mail:" } else { "when one of these holds:" });
    }
    for criterion in criteria {
        let not = if criterion.negated { "it is not so that " } else { "" };
        let words = kind::describe(&criterion.test, &criterion.text);
        line(out, 2, &format!("- {not}{words} (line {})", criterion.line));
        if criterion.test.region().is_some() {
            for pattern in patterns(policy, &criterion.text) {
                line(out, 3, &format!("pattern {pattern}"));
            }
        }
    }
}

/// The patterns of the map that a `match` line names, as they were written.
fn patterns(policy: &Policy, text: &str) -> Vec<String> {
    let map = text.rsplit(' ').next().unwrap_or_default();
    let file = SourceFile::new(policy.source.name.as_str(), policy.source.text.as_str());
    let (config, _) = parse(&file, Options::default());
    let map = config.regex_maps.into_iter().find(|known| known.name.text == map);
    map.map(|map| map.patterns.into_iter().map(|line| line.text.text).collect()).unwrap_or_default()
}
