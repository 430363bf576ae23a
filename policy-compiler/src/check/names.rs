//! Names: each defined once, each used, each use defined.

use crate::ast::{CLASS_DEFAULT, Config, Name, TopTest};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};

pub(super) fn check(config: &Config, complete: bool, found: &mut Vec<Diagnostic>) {
    let classes = &config.smtp_classes;
    kind(found, complete, "regex parameter-map", config.regex_maps.iter().map(|map| &map.name), {
        classes.iter().flat_map(|class| &class.matches).filter_map(|line| line.argument.map())
    });
    kind(found, complete, "SMTP class-map", classes.iter().map(|class| &class.name), {
        config
            .smtp_policies
            .iter()
            .flat_map(|policy| &policy.uses)
            .map(|used| &used.class)
            .filter(not_default)
    });
    kind(found, complete, "SMTP policy-map", config.smtp_policies.iter().map(|policy| &policy.name), {
        top_uses(config).filter_map(|used| used.service.as_ref().map(|(name, _)| name))
    });
    let nested =
        config.top_classes.iter().flat_map(|class| &class.matches).filter_map(|line| match &line.test {
            TopTest::ClassMap(name) => Some(name),
            TopTest::Protocol(..) | TopTest::AccessGroup(_) => None,
        });
    kind(found, complete, "class-map", config.top_classes.iter().map(|class| &class.name), {
        top_uses(config).map(|used| &used.class).filter(not_default).chain(nested)
    });
    kind(found, complete, "policy-map", config.top_policies.iter().map(|policy| &policy.name), {
        config.zone_pairs.iter().filter_map(|pair| pair.policy.as_ref().map(|(name, _)| name))
    });
    kind(found, complete, "inspect parameter-map", config.inspect_maps.iter().map(|map| &map.name), {
        // `default` and `global` hold by themselves.
        let special = config.inspect_maps.iter().map(|map| &map.name).filter(|name| is_special(name));
        top_uses(config).filter_map(|used| used.parameters.as_ref()).chain(special)
    });
    kind(found, complete, "access list", config.access_lists.iter().map(|list| &list.name), {
        config.top_classes.iter().flat_map(|class| &class.matches).filter_map(|line| match &line.test {
            TopTest::AccessGroup(name) => Some(name),
            TopTest::Protocol(..) | TopTest::ClassMap(_) => None,
        })
    });
    zones(config, complete, found);
    rules(config, complete, found);
    duplicates(found, "zone-pair", config.zone_pairs.iter().map(|pair| &pair.name));
    empties(config, found);
}

fn top_uses(config: &Config) -> impl Iterator<Item = &crate::ast::TopUse> + Clone {
    config.top_policies.iter().flat_map(|policy| &policy.uses)
}

fn not_default(name: &&Name) -> bool {
    name.text != CLASS_DEFAULT
}

fn is_special(name: &Name) -> bool {
    matches!(name.text.as_str(), "default" | "global")
}

/// The three questions about one kind of thing.
fn kind<'a>(
    found: &mut Vec<Diagnostic>,
    complete: bool,
    what: &str,
    defined: impl Iterator<Item = &'a Name> + Clone,
    used: impl Iterator<Item = &'a Name> + Clone,
) {
    duplicates(found, what, defined.clone());
    // What is not used where a name leads nowhere is probably what was meant.
    if !undefined(found, what, defined.clone(), used.clone()) && complete {
        unused(found, what, defined, used);
    }
}

fn duplicates<'a>(found: &mut Vec<Diagnostic>, what: &str, defined: impl Iterator<Item = &'a Name> + Clone) {
    for (at, name) in defined.clone().enumerate() {
        if let Some(first) = defined.clone().take(at).find(|first| first.text == name.text) {
            found.push(
                Diagnostic::error(
                    Code::DEFINED_TWICE,
                    name.span,
                    format!("{what} `{}` is defined twice", name.text),
                )
                .at(first.span, "first defined here")
                .help("put both together, or give one another name"),
            );
        }
    }
}

/// Says which are not defined; whether there is one.
fn undefined<'a>(
    found: &mut Vec<Diagnostic>,
    what: &str,
    defined: impl Iterator<Item = &'a Name> + Clone,
    used: impl Iterator<Item = &'a Name>,
) -> bool {
    let before = found.len();
    for name in used.filter(|name| defined.clone().all(|known| known.text != name.text)) {
        let mut diagnostic =
            Diagnostic::error(Code::NOT_DEFINED, name.span, format!("there is no {what} `{}`", name.text));
        let near = nearest(&name.text, defined.clone().map(|known| known.text.as_str()));
        if let Some(near) = near.and_then(|near| defined.clone().find(|known| known.text == near)) {
            diagnostic = diagnostic
                .at(near.span, "this one has a similar name")
                .help(format!("did you mean `{}`?", near.text));
        }
        found.push(diagnostic);
    }
    found.len() > before
}

/// Says which are not used.
fn unused<'a>(
    found: &mut Vec<Diagnostic>,
    what: &str,
    defined: impl Iterator<Item = &'a Name>,
    used: impl Iterator<Item = &'a Name> + Clone,
) {
    for name in defined.filter(|name| used.clone().all(|other| other.text != name.text)) {
        found.push(
            Diagnostic::warning(Code::UNUSED, name.span, format!("{what} `{}` is not used", name.text))
                .help("use it or remove it"),
        );
    }
}

/// A zone is used by a pair; a reserved name is another check's business.
fn zones(config: &Config, complete: bool, found: &mut Vec<Diagnostic>) {
    let defined = config.zones.iter().map(|zone| &zone.name);
    let ends = config.zone_pairs.iter().flat_map(|pair| [&pair.source, &pair.destination]);
    let ends = ends.filter(|name| !matches!(name.text.as_str(), "self" | "default"));
    let members = config.interfaces.iter().filter_map(|interface| interface.zone.as_ref());
    duplicates(found, "zone", defined.clone());
    if !undefined(found, "zone", defined.clone(), ends.clone().chain(members)) && complete {
        unused(found, "zone", defined, ends);
    }
}

/// A rule is several lines, one for each protocol.
fn rules(config: &Config, complete: bool, found: &mut Vec<Diagnostic>) {
    let defined = config.inspections.iter().map(|line| &line.rule);
    let used = config.interfaces.iter().flat_map(|interface| &interface.rules).map(|applied| &applied.rule);
    if !undefined(found, "inspection rule", defined.clone(), used.clone()) && complete {
        let firsts = config.inspections.iter().enumerate().filter(|(at, line)| {
            config.inspections.iter().take(*at).all(|earlier| earlier.rule.text != line.rule.text)
        });
        unused(found, "inspection rule", firsts.map(|(_, line)| &line.rule), used);
    }
    for (at, line) in config.inspections.iter().enumerate() {
        let same = |other: &&crate::ast::Inspection| {
            other.rule.text == line.rule.text && other.protocol == line.protocol
        };
        if let Some(first) = config.inspections.iter().take(at).find(same) {
            found.push(
                Diagnostic::error(
                    Code::DEFINED_TWICE,
                    line.span,
                    "this protocol of the rule is configured twice",
                )
                .at(first.span, "first configured here")
                .help("keep one of them"),
            );
        }
    }
}

fn empties(config: &Config, found: &mut Vec<Diagnostic>) {
    let mut report = |name: &Name, what: &str, help: &str| {
        found.push(
            Diagnostic::error(Code::EMPTY, name.span, format!("{what} `{}` has nothing in it", name.text))
                .help(help),
        );
    };
    for map in config.regex_maps.iter().filter(|map| map.patterns.is_empty() && !map.spoiled) {
        report(&map.name, "regex parameter-map", "add a `pattern` line");
    }
    for class in config.smtp_classes.iter().filter(|class| class.matches.is_empty() && !class.spoiled) {
        report(&class.name, "SMTP class-map", "add a `match` line");
    }
    for class in config.top_classes.iter().filter(|class| class.matches.is_empty() && !class.spoiled) {
        report(&class.name, "class-map", "add a `match` line; to match everything use `class class-default`");
    }
    for policy in config
        .smtp_policies
        .iter()
        .filter(|policy| policy.uses.is_empty() && policy.parameters.base.is_none() && !policy.spoiled)
    {
        report(&policy.name, "SMTP policy-map", "add a `class type inspect smtp` line");
    }
    for list in config.access_lists.iter().filter(|list| list.entries.is_empty() && !list.spoiled) {
        report(&list.name, "access list", "add a `permit` line");
    }
}
