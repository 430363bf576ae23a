//! Names that a record's indexes stand for. Indexes that stand for nothing give `?`, never a panic.

use artifact::model::Policy;
use artifact::smtp::{Criterion, SmtpClass, SmtpPolicy};
use inspect::event::{Decision, FlowTag};

/// Names of what decides about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'p> {
    /// Zone-pair, or inspection rule in the classic form.
    pub zone_pair: &'p str,
    /// Top-level policy map.
    pub top_policy: &'p str,
    /// Class of the top-level policy map.
    pub top_class: &'p str,
    /// SMTP policy, where the session is inspected.
    pub smtp: Option<&'p SmtpPolicy>,
    /// Whether the session's audit trail is on.
    pub audit_trail: bool,
    /// Whether alert messages are logged.
    pub alert: bool,
}

impl<'p> Names<'p> {
    /// Those of a session.
    #[must_use]
    pub fn of(flow: &FlowTag, policy: &'p Policy) -> Self {
        let path = policy.paths.get(usize::from(flow.path));
        let class = path.and_then(|path| path.classes.get(usize::from(flow.class)));
        let smtp = flow.smtp.and_then(|index| policy.smtp.get(usize::from(index)));
        let parameters = class.and_then(|class| match class.action {
            artifact::model::TopAction::Inspect { parameters, .. } => {
                policy.parameters.get(usize::from(parameters))
            }
            _ => None,
        });
        Names {
            zone_pair: path.map_or("?", |path| &path.zone_pair),
            top_policy: path.map_or("?", |path| &path.policy),
            top_class: class.map_or("?", |class| &class.name),
            smtp,
            audit_trail: parameters.is_some_and(|p| p.audit_trail) || smtp.is_some_and(|s| s.audit_trail),
            alert: parameters.is_none_or(|p| p.alert) && smtp.is_none_or(|s| s.alert),
        }
    }

    /// The policy that decides within the session: the SMTP policy, else the top-level one.
    #[must_use]
    pub fn policy(&self) -> &'p str {
        self.smtp.map_or(self.top_policy, |smtp| &smtp.name)
    }

    /// The class of the SMTP policy that decided.
    #[must_use]
    pub fn class(&self, decision: &Decision) -> Option<&'p SmtpClass> {
        self.smtp?.classes.get(usize::from(decision.class?))
    }

    /// The criterion that made the class true.
    #[must_use]
    pub fn criterion(decision: &Decision, flow: &FlowTag, policy: &'p Policy) -> Option<&'p Criterion> {
        policy.smtp.get(usize::from(flow.smtp?))?.criteria.get(usize::from(decision.criterion?))
    }
}
