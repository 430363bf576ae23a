//! What is legal but hardly meant; each match kind knows its own.

use super::smtp_uses;
use crate::ast::Config;
use crate::diagnostic::Diagnostic;
use crate::kind::Used;

pub(super) fn check(config: &Config, found: &mut Vec<Diagnostic>) {
    for (policy, used, class) in smtp_uses(config) {
        let Some(class) = class else { continue };
        for line in &class.matches {
            found.extend(line.kind.unwise(&Used { line, policy, class, used }));
        }
    }
}
