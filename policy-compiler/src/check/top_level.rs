//! What a top-level policy does with its classes, and how SMTP policies hang under them.

use super::top_class;
use crate::ast::{CLASS_DEFAULT, Config, TopClassMap, TopTest, TopUse, TopVerdict};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::protocol::SMTP;

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    circles(config, found);
    for used in config.top_policies.iter().flat_map(|policy| &policy.uses) {
        match used.actions.as_slice() {
            [] if used.spoiled => {}
            [] if used.class.text == CLASS_DEFAULT => found.push(
                Diagnostic::error(Code::ONE_VERDICT, used.span, "nothing is said about what no class takes")
                    .help("add `drop` or `pass`; without this line it is dropped"),
            ),
            [] => found.push(
                Diagnostic::error(Code::ONE_VERDICT, used.span, "nothing is done with this class")
                    .help("add one of `inspect`, `pass` and `drop`"),
            ),
            [_] => {}
            [first, second, ..] => found.push(
                Diagnostic::error(
                    Code::ONE_VERDICT,
                    second.span,
                    "a class has one of `inspect`, `pass` and `drop`",
                )
                .at(first.span, "said here")
                .help("keep one of them"),
            ),
        }
        let inspect = used.actions.iter().find(|set| set.value == TopVerdict::Inspect);
        if used.class.text == CLASS_DEFAULT {
            if let Some(span) = inspect.map(|set| set.span).or(used.service.as_ref().map(|(_, span)| *span)) {
                found.push(
                    Diagnostic::error(Code::CLASS_DEFAULT, span, "`class-default` can only pass or drop")
                        .at(used.class.span, "this class takes what no other does")
                        .help("make a class for the traffic that is to be inspected"),
                );
            }
            continue;
        }
        service(config, used, inspect.map(|set| set.span), found);
    }
}

fn service(
    config: &Config,
    used: &TopUse,
    inspect: Option<crate::source::Span>,
    found: &mut Vec<Diagnostic>,
) {
    let class = top_class(config, &used.class.text);
    // A line that could not be read may be the one that is missing.
    let unknown = class.is_none_or(|class| class.spoiled);
    let smtp = unknown || class.is_some_and(|class| asks_smtp(config, class, 0));
    match (&used.service, inspect) {
        (Some((_, span)), None) if !used.spoiled => found.push(
            Diagnostic::error(
                Code::SERVICE_WITHOUT_INSPECT,
                *span,
                "`service-policy smtp` needs `inspect` in the same class",
            )
            .at(used.span, "this class is not inspected")
            .help("add `inspect` before it"),
        ),
        (Some((_, span)), Some(_)) if !smtp => found.push(
            Diagnostic::error(
                Code::SERVICE_WITHOUT_SMTP,
                *span,
                "`service-policy smtp` needs a class that asks `match protocol smtp`",
            )
            .at(class.map_or(used.span, |class| class.name.span), "this class does not")
            .help("add `match protocol smtp` to the class-map"),
        ),
        (None, Some(inspect)) => {
            let Some(class) = class.filter(|_| !unknown && !used.spoiled) else { return };
            if !asks_protocol(config, class, 0) {
                found.push(Diagnostic::warning(
                    Code::NO_PROTOCOL,
                    inspect,
                    format!(
                        "%No specific protocol configured in class {} for inspection. All protocols will be inspected",
                        class.name.text
                    ),
                ));
            } else if smtp {
                found.push(
                    Diagnostic::warning(Code::PINHOLE, inspect, "mail passes here without being read")
                        .at(class.name.span, "this class asks for SMTP")
                        .help("add `service-policy smtp POLICY`"),
                );
            }
        }
        _ => {}
    }
}

/// Nested classes, as deep as there are classes: deeper is a circle, which is reported.
fn asks(config: &Config, class: &TopClassMap, depth: usize, test: &dyn Fn(&TopTest) -> bool) -> bool {
    depth <= config.top_classes.len()
        && class.matches.iter().filter(|line| !line.negated).any(|line| match &line.test {
            TopTest::ClassMap(name) => {
                top_class(config, &name.text).is_some_and(|nested| asks(config, nested, depth + 1, test))
            }
            other => test(other),
        })
}

fn asks_smtp(config: &Config, class: &TopClassMap, depth: usize) -> bool {
    asks(
        config,
        class,
        depth,
        &|test| matches!(test, TopTest::Protocol(protocol, _) if protocol.name == SMTP.name),
    )
}

fn asks_protocol(config: &Config, class: &TopClassMap, depth: usize) -> bool {
    asks(config, class, depth, &|test| matches!(test, TopTest::Protocol(..)))
}

/// A class that asks itself, by whatever way round.
fn circles(config: &Config, found: &mut Vec<Diagnostic>) {
    for class in &config.top_classes {
        let mut seen = vec![class.name.text.as_str()];
        let mut next = 0;
        while let Some(name) = seen.get(next).copied() {
            next += 1;
            for line in top_class(config, name).map(|class| class.matches.as_slice()).unwrap_or_default() {
                let TopTest::ClassMap(nested) = &line.test else { continue };
                if nested.text == class.name.text {
                    found.push(
                        Diagnostic::error(
                            Code::CIRCULAR,
                            nested.span,
                            format!("class `{}` asks itself", class.name.text),
                        )
                        .at(class.name.span, "this class")
                        .help("remove one of the `match class-map` lines on the way round"),
                    );
                    return;
                }
                if !seen.contains(&nested.text.as_str()) {
                    seen.push(&nested.text);
                }
            }
        }
    }
}
