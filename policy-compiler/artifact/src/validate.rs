//! What must hold between the parts of a policy, whoever wrote it.
//!
//! The compiler never writes a policy that fails here, and the gateway never runs one: after
//! [`Policy::validate`] every index may be followed, every condition asked in bounded time, and
//! every name printed.

use std::collections::BTreeSet;
use std::fmt;

use crate::defence::{Defences, MAX_LIMIT};
use crate::model::{
    AccessEntry, AddressMatch, Condition, Form, InspectParameters, Path, Policy, Thresholds, TopAction,
};
use crate::smtp::{Database, Encoding, MAX_CRITERIA, Region, SmtpPolicy, Terminal, Test};

/// Most ports, paths, policies, lists or parameter maps of each sort in a policy.
pub const MAX_ITEMS: usize = 4096;
/// Most conditions.
pub const MAX_CONDITIONS: usize = 65_536;
/// Tests that asking one condition may cost in all, shared parts counted each time they are asked.
/// Without it a chain of `All([n, n])` doubles at each link.
pub const MAX_CONDITION_COST: u32 = 4096;
/// Conditions inside conditions.
pub const MAX_CONDITION_DEPTH: u32 = 64;
/// Longest name (octets): class maps have at most 205, the longest of all.
pub const MAX_NAME_LEN: usize = 255;
/// Longest text of a `match` line (octets).
pub const MAX_MATCH_LEN: usize = 1024;
/// Most stream state of a database (octets). A flow keeps one of these for each open message.
pub const MAX_STREAM_LEN: u32 = 1 << 20;

/// What does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where: `path 3: class 2`. Counted from 0.
    pub place: String,
    /// What is wrong there.
    pub problem: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for Invalid {}

type Outcome = Result<(), Invalid>;

/// Fails with `problem` unless `holds`.
fn ensure(holds: bool, place: impl FnOnce() -> String, problem: &'static str) -> Outcome {
    if holds { Ok(()) } else { Err(Invalid { place: place(), problem }) }
}

fn ensure_name(name: &str, place: impl FnOnce() -> String) -> Outcome {
    let good = !name.is_empty() && name.len() <= MAX_NAME_LEN && !name.chars().any(char::is_control);
    ensure(good, place, "a name is empty, too long, or has control characters")
}

fn ensure_text(text: &str, place: impl FnOnce() -> String) -> Outcome {
    let good = text.len() <= MAX_MATCH_LEN && !text.chars().any(char::is_control);
    ensure(good, place, "a text is too long or has control characters")
}

impl Policy {
    /// Checks every reference, bound and name.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn validate(&self) -> Outcome {
        self.validate_counts()?;
        self.validate_ports()?;
        self.validate_conditions()?;
        for (index, list) in self.access_lists.iter().enumerate() {
            let place = || format!("access list {index}");
            ensure_name(&list.name, place)?;
            for (row, entry) in list.entries.iter().enumerate() {
                validate_entry(entry, || format!("access list {index}: entry {row}"))?;
            }
        }
        for (index, parameters) in self.parameters.iter().enumerate() {
            validate_parameters(parameters, || format!("inspect parameters {index}"))?;
        }
        for (index, smtp) in self.smtp.iter().enumerate() {
            validate_smtp(smtp, index)?;
        }
        for (index, path) in self.paths.iter().enumerate() {
            self.validate_path(path, index)?;
        }
        Ok(())
    }

    fn validate_counts(&self) -> Outcome {
        let counts = [
            ("ports", self.ports.len()),
            ("paths", self.paths.len()),
            ("access lists", self.access_lists.len()),
            ("inspect parameters", self.parameters.len()),
            ("application policies", self.smtp.len()),
        ];
        for (what, count) in counts {
            ensure(count <= MAX_ITEMS, || what.into(), "too many")?;
        }
        ensure(self.conditions.len() <= MAX_CONDITIONS, || "conditions".into(), "too many")?;
        ensure(!self.parameters.is_empty(), || "inspect parameters".into(), "the first is missing")?;
        ensure(!self.smtp_ports.is_empty(), || "smtp ports".into(), "there is none")?;
        let ascending = self.smtp_ports.iter().zip(self.smtp_ports.iter().skip(1)).all(|(a, b)| a < b);
        ensure(
            ascending && !self.smtp_ports.contains(&0),
            || "smtp ports".into(),
            "not sorted, unique and above 0",
        )?;
        if !self.source.name.is_empty() {
            ensure_name(&self.source.name, || "source name".into())?;
        }
        Ok(())
    }

    fn validate_ports(&self) -> Outcome {
        let mut names = BTreeSet::new();
        let mut interfaces = BTreeSet::new();
        for (index, port) in self.ports.iter().enumerate() {
            let place = || format!("port {index}");
            ensure_name(&port.name, place)?;
            ensure(names.insert(&port.name), place, "another port has its name")?;
            for interface in &port.interfaces {
                ensure_name(interface, place)?;
                ensure(interfaces.insert(interface), place, "an interface is in two ports")?;
            }
        }
        Ok(())
    }

    fn validate_conditions(&self) -> Outcome {
        // Cost and depth of each condition, from those before it.
        let mut known: Vec<(u32, u32)> = Vec::with_capacity(self.conditions.len());
        for (index, condition) in self.conditions.iter().enumerate() {
            let place = || format!("condition {index}");
            let parts: &[u16] = match condition {
                Condition::Not(part) => std::slice::from_ref(part),
                Condition::All(parts) | Condition::AnyOf(parts) => parts,
                Condition::AccessList(list) => {
                    let exists = usize::from(*list) < self.access_lists.len();
                    ensure(exists, place, "refers to an access list that does not exist")?;
                    &[]
                }
                Condition::Port { protocol, port } => {
                    ensure(matches!(protocol, 6 | 17), place, "a port without TCP or UDP")?;
                    ensure(*port != 0, place, "port 0")?;
                    &[]
                }
                Condition::Any | Condition::Smtp | Condition::Protocol(_) => &[],
            };
            let (mut cost, mut depth) = (1u32, 1u32);
            for part in parts {
                let Some(&(part_cost, part_depth)) = known.get(usize::from(*part)) else {
                    return Err(Invalid {
                        place: place(),
                        problem: "refers to a condition that is not before it",
                    });
                };
                cost = cost.saturating_add(part_cost);
                depth = depth.max(part_depth.saturating_add(1));
            }
            ensure(cost <= MAX_CONDITION_COST, place, "costs too many tests")?;
            ensure(depth <= MAX_CONDITION_DEPTH, place, "is nested too deeply")?;
            known.push((cost, depth));
        }
        Ok(())
    }

    fn validate_path(&self, path: &Path, index: usize) -> Outcome {
        let place = || format!("path {index}");
        ensure_name(&path.zone_pair, place)?;
        ensure_name(&path.policy, place)?;
        for port in [path.source, path.destination].into_iter().flatten() {
            ensure(usize::from(port) < self.ports.len(), place, "refers to a port that does not exist")?;
        }
        for (row, class) in path.classes.iter().enumerate() {
            let place = || format!("path {index}: class {row}");
            ensure_name(&class.name, place)?;
            let exists = usize::from(class.condition) < self.conditions.len();
            ensure(exists, place, "refers to a condition that does not exist")?;
            for text in &class.matches {
                ensure_text(text, place)?;
            }
            if let TopAction::Inspect { parameters, smtp } = class.action {
                let exists = usize::from(parameters) < self.parameters.len();
                ensure(exists, place, "refers to inspect parameters that do not exist")?;
                let exists = smtp.is_none_or(|smtp| usize::from(smtp) < self.smtp.len());
                ensure(exists, place, "refers to an application policy that does not exist")?;
            }
        }
        if self.form == Form::Zone {
            let last =
                path.classes.last().and_then(|class| self.conditions.get(usize::from(class.condition)));
            ensure(last == Some(&Condition::Any), place, "its last class is not class-default")?;
        }
        Ok(())
    }
}

fn validate_entry(entry: &AccessEntry, place: impl Fn() -> String) -> Outcome {
    for (low, high) in [entry.source_ports, entry.destination_ports].into_iter().flatten() {
        ensure(low <= high, &place, "a range of ports runs backwards")?;
        ensure(matches!(entry.protocol, Some(6 | 17)), &place, "ports without TCP or UDP")?;
    }
    if let (Some(source), Some(destination)) = (entry.source, entry.destination) {
        let same =
            matches!(source, AddressMatch::V4 { .. }) == matches!(destination, AddressMatch::V4 { .. });
        ensure(same, &place, "source and destination are of two IP versions")?;
    }
    Ok(())
}

fn validate_parameters(parameters: &InspectParameters, place: impl Fn() -> String) -> Outcome {
    ensure_name(&parameters.name, &place)?;
    let tcp = [parameters.tcp_idle_time, parameters.tcp_synwait_time, parameters.tcp_finwait_time];
    let times = tcp.into_iter().chain([parameters.udp_idle_time, parameters.icmp_idle_time]);
    ensure(times.into_iter().all(|seconds| seconds > 0), &place, "a time is 0")?;
    for Thresholds { low, high } in [parameters.max_incomplete, parameters.one_minute].into_iter().flatten() {
        ensure(low < high, &place, "a low threshold is not below its high one")?;
    }
    ensure(parameters.sessions_maximum != Some(0), &place, "no session is allowed")
}

fn validate_smtp(smtp: &SmtpPolicy, index: usize) -> Outcome {
    let place = || format!("application policy {index}");
    ensure_name(&smtp.name, place)?;
    ensure(smtp.criteria.len() <= MAX_CRITERIA, place, "too many criteria")?;
    ensure(smtp.classes.len() <= MAX_ITEMS, place, "too many classes")?;
    for (row, criterion) in smtp.criteria.iter().enumerate() {
        let place = || format!("application policy {index}: criterion {row}");
        ensure_text(&criterion.text, place)?;
        let good = match &criterion.test {
            Test::CommandVerb(word) | Test::ReplyEhlo(word) => {
                is_token(word) && !word.bytes().any(|octet| octet.is_ascii_lowercase())
            }
            Test::MimeEncoding(Encoding::Token(token)) => {
                is_token(token) && !token.bytes().any(|octet| octet.is_ascii_uppercase())
            }
            _ => true,
        };
        ensure(good, place, "its word is empty, too long, or of the wrong case")?;
    }
    for (row, class) in smtp.classes.iter().enumerate() {
        let place = || format!("application policy {index}: class {row}");
        ensure_name(&class.name, place)?;
        ensure(!class.criteria.is_empty(), place, "asks nothing")?;
        ensure(class.criteria.len() <= MAX_CRITERIA, place, "too many criteria")?;
        for criterion in &class.criteria {
            let Some(criterion) = smtp.criteria.get(usize::from(*criterion)) else {
                return Err(Invalid { place: place(), problem: "refers to a criterion that does not exist" });
            };
            if class.terminal == Some(Terminal::Mask) {
                let maskable = matches!(criterion.test, Test::CommandVerb(_) | Test::ReplyEhlo(_));
                ensure(maskable, place, "masks something that is no verb and no keyword")?;
            }
        }
    }
    validate_defences(&smtp.settings.defences, place)?;
    validate_databases(smtp, index)
}

fn validate_defences(defences: &Defences, place: impl Fn() -> String) -> Outcome {
    let Defences { auth_line_limit, allowed_verbs, spam_recipients, limits, .. } = defences;
    ensure((512..=65_535).contains(auth_line_limit), &place, "an AUTH line has an impossible limit")?;
    ensure((1..=65_535).contains(spam_recipients), &place, "a message of spam has an impossible size")?;
    let sorted = allowed_verbs.windows(2).all(|pair| pair[0] < pair[1]);
    ensure(sorted, &place, "groups of verbs are out of order")?;
    let good =
        limits.rows().into_iter().filter_map(|(.., value)| value).all(|n| (1..=MAX_LIMIT).contains(&n));
    ensure(good, &place, "a limit is 0 or too high")
}

fn validate_databases(smtp: &SmtpPolicy, index: usize) -> Outcome {
    let mut asked: BTreeSet<Region> =
        smtp.criteria.iter().filter_map(|criterion| criterion.test.region()).collect();
    for (row, database) in smtp.databases.iter().enumerate() {
        let place = || format!("application policy {index}: database {row}");
        let Database { region, pattern_count, streaming, stream_len, bytes } = database;
        ensure(asked.remove(region), place, "no criterion asks about its region, or another has it")?;
        ensure(*pattern_count > 0 && !bytes.is_empty(), place, "is empty")?;
        ensure(*streaming || !region.is_streaming(), place, "its region comes in pieces, but it takes none")?;
        let good = if *streaming { (1..=MAX_STREAM_LEN).contains(stream_len) } else { *stream_len == 0 };
        ensure(good, place, "its stream state has a size that its mode cannot have")?;
    }
    ensure(
        asked.is_empty(),
        || format!("application policy {index}"),
        "a region is asked about without a database",
    )
}

/// A verb, keyword or encoding: 1 to 64 printable ASCII characters without blanks.
fn is_token(word: &str) -> bool {
    (1..=64).contains(&word.len()) && word.bytes().all(|octet| octet.is_ascii_graphic())
}
