//! Does it make sense? One file per restriction.
//!
//! Each check reads the whole [`Config`] and writes down what it finds; none depends on another, and a
//! name that leads nowhere is the business of `names.rs` alone.

mod actions;
mod cmd_line_length;
mod cmd_verb;
mod coexist;
mod forms;
mod header_length;
mod limits;
mod mask;
mod names;
pub mod patterns;
mod top_level;
mod unreachable;
mod unsatisfiable;
mod unwise;
mod zones;

pub use zones::two_zones;

use crate::ast::{Config, SmtpClassMap, SmtpPolicyMap, SmtpUse, TopClassMap};
use crate::diagnostic::{Diagnostic, Severity};
use crate::source::SourceFile;

/// Runs every check; gives back the patterns, read.
pub fn check(
    config: &Config,
    file: &SourceFile,
    strict: bool,
    found: &mut Vec<Diagnostic>,
) -> patterns::Patterns {
    // Where lines could not be read, what seems to be unused may be used there.
    let complete = found.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
    forms::check(config, file, complete, found);
    names::check(config, complete, found);
    cmd_line_length::check(config, found);
    cmd_verb::check(config, found);
    mask::check(config, found);
    header_length::check(config, found);
    actions::check(config, found);
    unsatisfiable::check(config, found);
    unwise::check(config, found);
    unreachable::check(config, found);
    top_level::check(config, found);
    zones::check(config, found);
    coexist::check(config, found);
    limits::check(config, found);
    patterns::check(config, strict, found)
}

/// Every use of an SMTP class in a policy, with the class.
fn smtp_uses(config: &Config) -> impl Iterator<Item = (&SmtpPolicyMap, &SmtpUse, Option<&SmtpClassMap>)> {
    config.smtp_policies.iter().flat_map(move |policy| {
        policy.uses.iter().map(move |used| {
            let class = config.smtp_classes.iter().find(|class| class.name.text == used.class.text);
            (policy, used, class)
        })
    })
}

/// The `class-map type inspect` of this name.
fn top_class<'a>(config: &'a Config, name: &str) -> Option<&'a TopClassMap> {
    config.top_classes.iter().find(|class| class.name.text == name)
}

/// What the place of the class' mode says: the keyword, or the name where it was left out.
fn mode_label(class: &SmtpClassMap) -> &'static str {
    if class.mode.span == class.name.span {
        "every match must hold: match-all is the default"
    } else {
        "every match must hold"
    }
}
