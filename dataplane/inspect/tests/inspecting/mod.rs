//! The policy of most tests: what comes to port 25 from `outside` is inspected.

use artifact::model::{
    Condition, Form, InspectParameters, Mode, Path, Policy, PortName, TopAction, TopClass,
};
use artifact::smtp::SmtpPolicy;

/// From `outside` (first port) to `inside`, in either form of the language: one class, `mail`, inspects SMTP by these rules, or as a
/// pinhole whose octets nobody judges.
pub fn inspecting(form: Form, smtp: Option<SmtpPolicy>) -> Policy {
    Policy {
        form,
        ports: ["outside", "inside"].map(|name| PortName { name: name.into(), interfaces: vec![] }).into(),
        paths: vec![Path {
            source: Some(0),
            destination: (form == Form::Zone).then_some(1),
            zone_pair: "mail".into(),
            policy: "mail".into(),
            classes: vec![TopClass {
                name: "mail".into(),
                mode: Mode::Any,
                condition: 0,
                matches: vec!["protocol smtp".into()],
                action: TopAction::Inspect { parameters: 0, smtp: smtp.as_ref().map(|_| 0) },
                line: 1,
            }],
        }],
        conditions: vec![Condition::Smtp],
        parameters: vec![InspectParameters::default()],
        smtp: smtp.into_iter().collect(),
        smtp_ports: vec![25],
        ..Policy::default()
    }
}
