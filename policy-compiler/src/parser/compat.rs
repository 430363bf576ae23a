//! `--seed-compat`: the misplaced lines of Cisco's own SMTP examples, taken for what they mean.
//!
//! The Cisco SMTP inspection (AIC) document says that `match protocol smtp` belongs in the top-level policy,
//! yet its default policy and its pinhole example put it into a `class-map type inspect smtp`, and `inspect` into a
//! `policy-map type inspect smtp`. What such a class or policy means is known only when all of it was read, so the
//! parser keeps these lines, and [`rearrange`] moves whole maps to the top level. Whatever mixes both levels stays an error.

use super::class_map::{self, is_smtp_header};
use super::{Parser, misplaced, policy_map, remove};
use crate::ast::{
    Config, Set, SmtpClassMap, SmtpParameters, SmtpPolicyMap, SmtpUse, TopClassMap, TopMatch, TopPolicyMap,
    TopTest, TopUse, TopVerdict,
};
use crate::code::Code;
use crate::cursor::Cursor;
use crate::diagnostic::Diagnostic;
use crate::protocol::SMTP;
use crate::source::Span;

/// What else can be done about a line that stands in Cisco's examples.
const OR_ACCEPT: &str = "or accept the misplaced lines of Cisco's own SMTP examples with `--seed-compat`";

impl Parser {
    /// `match protocol` in an SMTP class.
    pub(super) fn misplaced_protocol(
        &mut self,
        class: usize,
        removed: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        cursor.advance();
        let example = is_smtp_header(cursor) && cursor.peek().is_none();
        let message = class_map::belongs_above("protocol");
        if !example {
            misplaced(cursor, message, class_map::BELONGS_ABOVE);
            return None;
        }
        let span = cursor.taken();
        if !self.options.seed_compat {
            cursor.report(above(span, message, class_map::BELONGS_ABOVE).help(OR_ACCEPT));
            return None;
        }
        let lines = &mut self.config.smtp_classes.get_mut(class)?.misplaced;
        if removed {
            remove(lines, cursor, |_| true);
        } else if lines.is_empty() {
            lines.push(TopMatch { negated: false, test: TopTest::Protocol(&SMTP, false), span });
        }
        Some(())
    }

    /// `inspect` in an SMTP policy.
    pub(super) fn misplaced_inspect(
        &mut self,
        policy: usize,
        used: usize,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let span = cursor.taken();
        if !self.options.seed_compat {
            let message = policy_map::belongs_above("inspect");
            cursor.report(above(span, message, policy_map::BELONGS_ABOVE).help(OR_ACCEPT));
            return None;
        }
        let inspect = &mut self.config.smtp_policies.get_mut(policy)?.uses.get_mut(used)?.inspect;
        if !negated {
            *inspect = Some(span);
        } else if inspect.take().is_none() {
            cursor.report(super::nothing_to_remove(span));
        }
        Some(())
    }
}

fn above(span: Span, message: String, help: &str) -> Diagnostic {
    Diagnostic::error(Code::MISPLACED, span, message).help(help)
}

/// Moves SMTP classes and policies that are of the top level there, and reports each.
pub(super) fn rearrange(config: &mut Config, found: &mut Vec<Diagnostic>) {
    let mut moved: Vec<(String, Span)> = Vec::new();
    for mut class in std::mem::take(&mut config.smtp_classes) {
        match (class.misplaced.first(), class.matches.first()) {
            (None, _) => config.smtp_classes.push(class),
            (Some(line), Some(other)) => {
                found.push(
                    above(line.span, class_map::belongs_above("protocol"), class_map::BELONGS_ABOVE)
                        .at(other.span, "this asks about mail, so the class stays an SMTP class"),
                );
                class.misplaced.clear();
                class.spoiled = true;
                config.smtp_classes.push(class);
            }
            (Some(line), None) => {
                found.push(class_taken(&class, line.span));
                moved.push((class.name.text.clone(), class.name.span));
                config.top_classes.push(TopClassMap {
                    name: class.name,
                    mode: class.mode,
                    matches: class.misplaced,
                    spoiled: class.spoiled,
                });
            }
        }
    }
    for mut policy in std::mem::take(&mut config.smtp_policies) {
        match policy.uses.iter().find_map(|used| used.inspect) {
            Some(inspect) => match obstacle(&policy, &moved) {
                None => {
                    found.push(policy_taken(&policy, inspect));
                    let uses = policy.uses.into_iter().map(top_use).collect();
                    config.top_policies.push(TopPolicyMap { name: policy.name, uses });
                    continue;
                }
                Some((span, why)) => {
                    let inspects = policy.uses.iter().filter_map(|used| used.inspect);
                    found.extend(inspects.map(|inspect| {
                        above(inspect, policy_map::belongs_above("inspect"), policy_map::BELONGS_ABOVE)
                            .at(span, why)
                    }));
                }
            },
            None => found.extend(lost_classes(&policy, config, &moved)),
        }
        settle(&mut policy, config, &moved);
        config.smtp_policies.push(policy);
    }
}

/// Why a policy that says `inspect` is not wholly of the top level.
fn obstacle(policy: &SmtpPolicyMap, moved: &[(String, Span)]) -> Option<(Span, &'static str)> {
    if policy.parameters != SmtpParameters::default() {
        return Some((policy.name.span, "it has `parameters`, so this stays an SMTP policy"));
    }
    policy.uses.iter().find_map(|used| {
        if !is_moved(&used.class.text, moved) {
            Some((used.class.span, "this is not a class with `match protocol smtp` alone"))
        } else if let Some(action) = used.actions.first() {
            Some((action.span, "this is done with mail"))
        } else if used.inspect.is_none() && !used.spoiled {
            Some((used.span, "this class is not inspected"))
        } else {
            None
        }
    })
}

fn is_moved(name: &str, moved: &[(String, Span)]) -> bool {
    moved.iter().any(|(class, _)| class == name)
}

/// Whether a use names a class that has left, and none of that name is left.
fn has_left<'a>(used: &SmtpUse, config: &Config, moved: &'a [(String, Span)]) -> Option<&'a (String, Span)> {
    let left = moved.iter().find(|(class, _)| *class == used.class.text)?;
    config.smtp_classes.iter().all(|class| class.name.text != used.class.text).then_some(left)
}

/// Uses where an SMTP policy acts on a class that asks nothing of mail.
fn lost_classes(policy: &SmtpPolicyMap, config: &Config, moved: &[(String, Span)]) -> Vec<Diagnostic> {
    // Where a line could not be read, that is enough to report.
    let uses = policy.uses.iter().filter(|used| !used.spoiled);
    let lost = uses.filter_map(|used| Some((used, has_left(used, config, moved)?)));
    lost.map(|(used, (name, class))| {
        let message =
            format!("class `{name}` is taken for a top-level class, and an SMTP policy cannot use it");
        above(
            used.class.span,
            message,
            "use a class that asks something of the mail, such as `match cmd verb VERB`",
        )
        .at(*class, "`match protocol smtp` is all it asks")
    })
    .collect()
}

/// What was reported here is not reported again as missing.
fn settle(policy: &mut SmtpPolicyMap, config: &Config, moved: &[(String, Span)]) {
    for used in policy.uses.iter_mut().filter(|used| used.inspect.is_some()) {
        used.spoiled = true;
    }
    let before = policy.uses.len();
    policy.uses.retain(|used| has_left(used, config, moved).is_none());
    policy.spoiled |= policy.uses.len() < before;
}

fn top_use(used: SmtpUse) -> TopUse {
    let inspect = used.inspect.map(|span| Set { value: TopVerdict::Inspect, span });
    TopUse {
        class: used.class,
        actions: inspect.into_iter().collect(),
        parameters: None,
        service: None,
        span: used.span,
        spoiled: used.spoiled,
    }
}

fn class_taken(class: &SmtpClassMap, line: Span) -> Diagnostic {
    // The mode's place is the name where no mode was written.
    let mode = match class.mode.value {
        _ if class.mode.span == class.name.span => "",
        artifact::model::Mode::All => "match-all ",
        artifact::model::Mode::Any => "match-any ",
    };
    taken("class-map", mode, &class.name.text, class.name.span)
        .at(line, "this asks about sessions, not about mail")
        .help("write it so, without `smtp`")
}

fn policy_taken(policy: &SmtpPolicyMap, inspect: Span) -> Diagnostic {
    taken("policy-map", "", &policy.name.text, policy.name.span)
        .at(inspect, "this is done with sessions, not with mail")
        .help("write it so, and `class type inspect NAME` in it, all without `smtp`")
}

fn taken(what: &str, mode: &str, name: &str, span: Span) -> Diagnostic {
    let message = format!("SMTP {what} `{name}` is taken for `{what} type inspect {mode}{name}`");
    Diagnostic::warning(Code::TAKEN_FOR_TOP, span, message)
}
