//! Zones or inspection rules, not both; and one of them must be applied.

use crate::ast::Config;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{SourceFile, Span};

pub(super) fn check(config: &Config, file: &SourceFile, complete: bool, found: &mut Vec<Diagnostic>) {
    let applied = config.interfaces.iter().flat_map(|interface| &interface.rules).next();
    let zones = config.zones.first().map(|zone| zone.name.span);
    let classic = applied.map(|rule| rule.span).or(config.inspections.first().map(|line| line.span));
    if let (Some(zone), Some(classic)) = (zones, classic) {
        found.push(
            Diagnostic::error(Code::TWO_FORMS, classic, "a policy has zones or inspection rules, not both")
                .label("an inspection rule")
                .at(zone, "a zone")
                .help("keep one of the two forms: they decide differently what passes where nothing is said"),
        );
    } else if complete
        && applied.is_none()
        && config.zone_pairs.iter().all(|pair| pair.policy.is_none() && !pair.spoiled)
    {
        let end = file.text.find('\n').unwrap_or(file.text.len());
        found.push(
            Diagnostic::warning(Code::NOTHING_APPLIED, Span::new(0, end), "nothing in this file is applied to any traffic")
                .help("add a `zone-pair` with `service-policy type inspect POLICY`, or `ip inspect RULE in` at an interface"),
        );
    }
}
