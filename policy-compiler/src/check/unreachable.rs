//! Classes are asked in order: the specific must come before the general.

use artifact::model::Mode;

use super::top_class;
use crate::ast::{Config, TopClassMap, TopTest};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::protocol::{Known, TCP, UDP};

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for policy in &config.top_policies {
        for (at, used) in policy.uses.iter().enumerate() {
            let Some(class) = top_class(config, &used.class.text) else { continue };
            let before = policy.uses.iter().take(at).find_map(|earlier| {
                let general = top_class(config, &earlier.class.text)?;
                [TCP, UDP]
                    .iter()
                    .any(|&number| takes_all(general, number) && only(class, number))
                    .then_some(earlier)
            });
            if let Some(earlier) = before {
                found.push(
                    Diagnostic::warning(
                        Code::UNREACHABLE,
                        used.span,
                        format!("class `{}` is never reached", used.class.text),
                    )
                    .at(earlier.span, "this class takes its traffic before")
                    .help("put the more specific class first"),
                );
            }
        }
    }
}

/// Whether a class takes everything of TCP or UDP.
fn takes_all(class: &TopClassMap, number: u8) -> bool {
    let all = |test: &TopTest| matches!(test, TopTest::Protocol(protocol, _) if protocol.tests == [Known::Number(number)]);
    let any_suffices = class.mode.value == Mode::Any || class.matches.len() == 1;
    any_suffices && class.matches.iter().any(|line| !line.negated && all(&line.test))
}

/// Whether a class takes nothing but TCP or UDP.
fn only(class: &TopClassMap, number: u8) -> bool {
    let inside = |test: &TopTest| match test {
        TopTest::Protocol(protocol, _) => protocol.tests.iter().all(|known| match known {
            Known::Smtp | Known::Tcp(_) => number == TCP,
            Known::Udp(_) => number == UDP,
            Known::Number(own) => *own == number,
        }),
        TopTest::AccessGroup(_) | TopTest::ClassMap(_) => false,
    };
    let mut lines = class.matches.iter().map(|line| !line.negated && inside(&line.test));
    match class.mode.value {
        Mode::All => lines.any(|inside| inside),
        Mode::Any => !class.matches.is_empty() && lines.all(|inside| inside),
    }
}
