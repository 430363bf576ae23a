//! How much fits.

use artifact::smtp::MAX_CRITERIA;

use crate::ast::{CLASS_DEFAULT, Config, InspectValues, Set};
use crate::code::Code;
use crate::diagnostic::Diagnostic;

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for policy in &config.smtp_policies {
        let count = policy.uses.iter().map(|used| {
            let class = config.smtp_classes.iter().find(|class| class.name.text == used.class.text);
            if used.class.text == CLASS_DEFAULT { 1 } else { class.map_or(0, |class| class.matches.len()) }
        });
        let count: usize = count.sum();
        if count > MAX_CRITERIA {
            found.push(
                Diagnostic::error(Code::POLICY_LIMITS, policy.name.span, "the policy asks too much")
                    .label(format!(
                        "its classes have {count} `match` lines, at most {MAX_CRITERIA} are allowed"
                    ))
                    .help("put patterns of the same kind into one regex map"),
            );
        }
    }
    for map in &config.inspect_maps {
        thresholds(&map.values, found);
    }
    thresholds(&config.inspect_globals.values, found);
}

fn thresholds(values: &InspectValues, found: &mut Vec<Diagnostic>) {
    let pairs = [
        (values.max_incomplete_low, values.max_incomplete_high),
        (values.one_minute_low, values.one_minute_high),
    ];
    for (low, high) in pairs {
        let (Some(low), Some(high)): (Option<Set<u32>>, Option<Set<u32>>) = (low, high) else { continue };
        if low.value >= high.value {
            found.push(
                Diagnostic::error(Code::THRESHOLDS, low.span, "the low threshold must be below the high one")
                    .at(high.span, "the high one")
                    .help("deleting starts above `high` and stops at `low`"),
            );
        }
    }
}
