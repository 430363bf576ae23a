//! Zones, pairs of zones, and interfaces.

use crate::ast::{Config, Direction, Name, ZonePair};
use crate::code::Code;
use crate::diagnostic::Diagnostic;

/// Zones that a router has by itself and a wire has not.
const RESERVED: &[&str] = &["default", "self"];

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for zone in &config.zones {
        if RESERVED.contains(&zone.name.text.as_str()) {
            found.push(
                Diagnostic::error(
                    Code::BAD_NAME,
                    zone.name.span,
                    format!("`{}` is reserved", zone.name.text),
                )
                .help("choose another name"),
            );
        }
    }
    for (at, pair) in config.zone_pairs.iter().enumerate() {
        ends(pair, found);
        let same = config.zone_pairs.iter().take(at).find(|other| {
            other.source.text == pair.source.text
                && other.destination.text == pair.destination.text
                && other.name.text != pair.name.text
        });
        if let Some(other) = same {
            found.push(
                Diagnostic::error(
                    Code::SAME_ZONE_PAIR,
                    pair.span,
                    "another zone-pair has the same source and destination",
                )
                .at(other.span, "this one")
                .help("a pair of zones has one policy in each direction: put the classes of both into one"),
            );
        }
        if pair.policy.is_none() && !pair.spoiled {
            found.push(
                Diagnostic::warning(
                    Code::IDLE_ZONE_PAIR,
                    pair.span,
                    "this zone-pair has no policy, so nothing passes",
                )
                .help("add `service-policy type inspect POLICY`"),
            );
        }
    }
    for interface in &config.interfaces {
        for (at, applied) in interface.rules.iter().enumerate() {
            let same = interface.rules.iter().take(at).find(|other| other.direction == applied.direction);
            if let Some(first) = same {
                let way = if applied.direction == Direction::In { "inbound" } else { "outgoing" };
                found.push(
                    Diagnostic::error(
                        Code::TWO_RULES,
                        applied.span,
                        format!("interface `{}` already has an {way} rule", interface.name.text),
                    )
                    .at(first.span, "this one")
                    .help("put the protocols of both into one `ip inspect name`"),
                );
            }
        }
    }
}

fn ends(pair: &ZonePair, found: &mut Vec<Diagnostic>) {
    for end in [&pair.source, &pair.destination] {
        if RESERVED.contains(&end.text.as_str()) {
            let help = if end.text == "self" {
                "the gateway is a wire without an address: nothing goes to it or comes from it; remove the zone-pair"
            } else {
                "every port of the gateway is bound to a zone by name: make a `zone security` for these interfaces"
            };
            found.push(
                Diagnostic::error(
                    Code::ZONE_ENDS,
                    end.span,
                    format!("there is no zone `{}` in this gateway", end.text),
                )
                .help(help),
            );
        }
    }
    if pair.source.text == pair.destination.text {
        found.push(
            Diagnostic::error(
                Code::ZONE_ENDS,
                pair.destination.span,
                "source and destination are the same zone",
            )
            .at(pair.source.span, "the source")
            .help("traffic inside of a zone passes, and no policy sees it"),
        );
    }
}

/// An interface that is put into a second zone.
#[must_use]
pub fn two_zones(interface: &Name, first: &Name, second: &Name) -> Diagnostic {
    let message = format!("interface `{}` is already in zone `{}`", interface.text, first.text);
    Diagnostic::error(Code::TWO_ZONES, second.span, message)
        .at(first.span, "put there here")
        .help("an interface is in one zone; `no zone-member security ZONE` takes it out of the first")
}
