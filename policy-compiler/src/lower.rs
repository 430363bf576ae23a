//! What was written into what the gateway asks: [`Config`] into [`Policy`].
//!
//! Runs only on what the checks let through; a name that still leads nowhere is skipped, for its
//! diagnostic is written already. Databases are added by [`crate::compile`].

use std::collections::BTreeMap;

use artifact::model::{
    AccessList, Condition, ConditionIndex, Form, InspectParameters, Mode, Path, Policy, PortName, Source,
    Thresholds, TopAction, TopClass,
};
use artifact::settings::Settings;
use artifact::smtp::{Base, Criterion, SmtpClass, SmtpPolicy, Terminal, Test};

use crate::ast::{
    CLASS_DEFAULT, Config, Direction, InspectValues, Inspected, Inspection, SmtpAction, SmtpPolicyMap,
    TopPolicyMap, TopTest, TopVerdict,
};
use crate::source::{SourceFile, Span};

/// TCP port of SMTP, RFC 5321 section 4.5.4.2.
const SMTP_PORT: u16 = 25;
/// `max-data` of `ip inspect name` where none is given (octets per session), as `show` prints it.
const CLASSIC_MAX_DATA: u64 = 20_000_000;

/// The tables, without databases.
#[must_use]
pub fn lower(config: &Config, file: &SourceFile) -> Policy {
    let mut smtp_ports: Vec<u16> = config.port_maps.iter().map(|set| set.value).chain([SMTP_PORT]).collect();
    smtp_ports.sort_unstable();
    smtp_ports.dedup();
    let mut lowering = Lowering {
        config,
        file,
        policy: Policy {
            source: Source { name: file.base_name().to_owned(), text: file.text.clone() },
            // The first condition is the one that always holds: class-default needs it.
            conditions: vec![Condition::Any],
            smtp_ports,
            ..Policy::default()
        },
        known: BTreeMap::new(),
    };
    lowering.access_lists();
    if config.inspections.is_empty() && config.interfaces.iter().all(|interface| interface.rules.is_empty()) {
        lowering.zone_form();
    } else {
        lowering.classic_form();
    }
    lowering.policy
}

struct Lowering<'a> {
    config: &'a Config,
    file: &'a SourceFile,
    policy: Policy,
    /// Conditions of top-level classes that are made already.
    known: BTreeMap<&'a str, ConditionIndex>,
}

impl<'a> Lowering<'a> {
    fn line(&self, span: Span) -> u32 {
        self.file.line(span.start)
    }

    fn access_lists(&mut self) {
        for list in &self.config.access_lists {
            let entries = list.entries.iter().map(|set| {
                let mut entry = set.value.clone();
                entry.line = self.line(set.span);
                entry
            });
            let entries = entries.collect();
            self.policy.access_lists.push(AccessList { name: list.name.text.clone(), entries });
        }
    }

    fn zone_form(&mut self) {
        let config = self.config;
        self.policy.form = Form::Zone;
        for zone in &config.zones {
            let members = config.interfaces.iter().filter(|interface| {
                interface.zone.as_ref().is_some_and(|member| member.text == zone.name.text)
            });
            let interfaces = members.map(|interface| interface.name.text.clone()).collect();
            self.policy.ports.push(PortName { name: zone.name.text.clone(), interfaces });
        }
        let base = InspectParameters::default();
        let default =
            config.inspect_maps.iter().find(|map| matches!(map.name.text.as_str(), "default" | "global"));
        let default = default.map_or(base.clone(), |map| parameters("default", &map.values, &base));
        self.policy.parameters.push(default);
        for map in &config.inspect_maps {
            let default = self.policy.parameters.first().cloned().unwrap_or_default();
            if !matches!(map.name.text.as_str(), "default" | "global") {
                self.policy.parameters.push(parameters(&map.name.text, &map.values, &default));
            }
        }
        for pair in &config.zone_pairs {
            let (Some(source), Some(destination)) =
                (self.port(&pair.source.text), self.port(&pair.destination.text))
            else {
                continue;
            };
            let policy = pair.policy.as_ref().and_then(|(name, _)| {
                config.top_policies.iter().find(|policy| policy.name.text == name.text)
            });
            let classes = self.top_classes(policy);
            self.policy.paths.push(Path {
                source: Some(source),
                destination: Some(destination),
                zone_pair: pair.name.text.clone(),
                policy: policy.map_or_else(|| "none".to_owned(), |policy| policy.name.text.clone()),
                classes,
            });
        }
    }

    fn port(&self, name: &str) -> Option<u16> {
        let at = self.policy.ports.iter().position(|port| port.name == name)?;
        u16::try_from(at).ok()
    }

    fn top_classes(&mut self, policy: Option<&'a TopPolicyMap>) -> Vec<TopClass> {
        let mut classes = Vec::new();
        let mut default = class_default();
        for used in policy.map(|policy| policy.uses.as_slice()).unwrap_or_default() {
            let action = match used.actions.first().map(|set| set.value) {
                Some(TopVerdict::Inspect) => TopAction::Inspect {
                    parameters: self
                        .parameters_named(used.parameters.as_ref().map(|name| name.text.as_str())),
                    smtp: used.service.as_ref().and_then(|(name, _)| self.smtp_named(&name.text)),
                },
                Some(TopVerdict::Pass(log)) => TopAction::Pass { log },
                Some(TopVerdict::Drop(log)) => TopAction::Drop { log },
                None => continue,
            };
            let line = self.line(used.span);
            if used.class.text == CLASS_DEFAULT {
                // It is the last one wherever it is written.
                default = TopClass { line, action, ..default };
                continue;
            }
            let config = self.config;
            let Some(map) = config.top_classes.iter().find(|map| map.name.text == used.class.text) else {
                continue;
            };
            classes.push(TopClass {
                name: map.name.text.clone(),
                mode: map.mode.value,
                condition: self.class_condition(&map.name.text, 0),
                matches: map.matches.iter().map(|line| line.text()).collect(),
                action,
                line,
            });
        }
        classes.push(default);
        classes
    }

    fn parameters_named(&self, name: Option<&str>) -> u16 {
        let at = self.policy.parameters.iter().position(|parameters| Some(parameters.name.as_str()) == name);
        at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }

    fn smtp_named(&mut self, name: &str) -> Option<u16> {
        if let Some(at) = self.policy.smtp.iter().position(|policy| policy.name == name) {
            return u16::try_from(at).ok();
        }
        let map = self.config.smtp_policies.iter().find(|policy| policy.name.text == name)?;
        let policy = smtp_policy(self.config, self.file, map);
        self.policy.smtp.push(policy);
        u16::try_from(self.policy.smtp.len() - 1).ok()
    }

    /// The condition of a `class-map type inspect`; nested ones are before it, as the model wants.
    fn class_condition(&mut self, name: &'a str, depth: usize) -> ConditionIndex {
        if let Some(&known) = self.known.get(name) {
            return known;
        }
        let config = self.config;
        let map = config.top_classes.iter().find(|map| map.name.text == name);
        // Circles are refused by the checks; the depth keeps this from trusting them blindly.
        let Some(map) = map.filter(|_| depth < config.top_classes.len().max(1)) else { return 0 };
        let mut parts = Vec::with_capacity(map.matches.len());
        for line in &map.matches {
            let part = match &line.test {
                TopTest::Protocol(protocol, _) => {
                    let tests = protocol.tests.iter().map(|test| self.push(test.condition())).collect();
                    self.join(tests, Mode::Any)
                }
                TopTest::AccessGroup(list) => {
                    let at = self.policy.access_lists.iter().position(|known| known.name == list.text);
                    let at = at.and_then(|at| u16::try_from(at).ok()).unwrap_or(0);
                    self.push(Condition::AccessList(at))
                }
                TopTest::ClassMap(class) => self.class_condition(&class.text, depth + 1),
            };
            parts.push(if line.negated { self.push(Condition::Not(part)) } else { part });
        }
        let condition = self.join(parts, map.mode.value);
        self.known.insert(name, condition);
        condition
    }

    fn join(&mut self, mut parts: Vec<ConditionIndex>, mode: Mode) -> ConditionIndex {
        match (parts.len(), mode) {
            (1, _) => parts.pop().unwrap_or(0),
            (_, Mode::All) => self.push(Condition::All(parts)),
            (_, Mode::Any) => self.push(Condition::AnyOf(parts)),
        }
    }

    /// Adds a condition unless it is there already.
    fn push(&mut self, condition: Condition) -> ConditionIndex {
        let at = self.policy.conditions.iter().position(|known| *known == condition).unwrap_or_else(|| {
            self.policy.conditions.push(condition);
            self.policy.conditions.len() - 1
        });
        // More than an index can name is refused when the policy is validated.
        ConditionIndex::try_from(at).unwrap_or(0)
    }

    fn classic_form(&mut self) {
        let config = self.config;
        self.policy.form = Form::Classic;
        let globals = InspectParameters {
            alert: !config.inspect_globals.alert_off,
            audit_trail: config.inspect_globals.audit_trail,
            ..InspectParameters::default()
        };
        let default = parameters("default", &config.inspect_globals.values, &globals);
        self.policy.parameters.push(default);
        for interface in &config.interfaces {
            let name = interface.name.text.clone();
            self.policy.ports.push(PortName { name: name.clone(), interfaces: vec![name] });
        }
        for (index, interface) in config.interfaces.iter().enumerate() {
            for applied in &interface.rules {
                let port = u16::try_from(index).ok();
                let (source, destination) = match applied.direction {
                    Direction::In => (port, None),
                    Direction::Out => (None, port),
                };
                let rule = applied.rule.text.as_str();
                let lines = config.inspections.iter().filter(|line| line.rule.text == rule);
                let classes = lines.map(|line| self.inspection(line)).collect();
                self.policy.paths.push(Path {
                    source,
                    destination,
                    zone_pair: rule.to_owned(),
                    policy: rule.to_owned(),
                    classes,
                });
            }
        }
    }

    /// One `ip inspect name` line as a class; a rule applied twice shares its tables.
    fn inspection(&mut self, line: &Inspection) -> TopClass {
        let default = self.policy.parameters.first().cloned().unwrap_or_default();
        let wanted = InspectParameters {
            name: line.rule.text.clone(),
            alert: line.alert.unwrap_or(default.alert),
            audit_trail: line.audit_trail.unwrap_or(default.audit_trail),
            tcp_idle_time: line.timeout.unwrap_or(default.tcp_idle_time),
            udp_idle_time: line.timeout.unwrap_or(default.udp_idle_time),
            icmp_idle_time: line.timeout.unwrap_or(default.icmp_idle_time),
            ..default
        };
        let known = self.policy.parameters.iter().position(|parameters| *parameters == wanted);
        let parameters = known.unwrap_or_else(|| {
            self.policy.parameters.push(wanted.clone());
            self.policy.parameters.len() - 1
        });
        let (base, name, tests) = match line.protocol {
            Inspected::Smtp => (Some(Base::Smtp), "smtp", crate::protocol::SMTP.tests),
            Inspected::Esmtp => (Some(Base::Esmtp), "esmtp", crate::protocol::SMTP.tests),
            Inspected::Other(protocol) => (None, protocol.name, protocol.tests),
        };
        let smtp = base.and_then(|base| {
            let wanted = SmtpPolicy {
                alert: wanted.alert,
                audit_trail: wanted.audit_trail,
                max_data: Some(line.max_data.unwrap_or(CLASSIC_MAX_DATA)),
                settings: with_globals(Settings::default(), self.config),
                ..SmtpPolicy::new(&line.rule.text, base)
            };
            let known = self.policy.smtp.iter().position(|policy| *policy == wanted);
            let at = known.unwrap_or_else(|| {
                self.policy.smtp.push(wanted);
                self.policy.smtp.len() - 1
            });
            u16::try_from(at).ok()
        });
        let parts = tests.iter().map(|test| self.push(test.condition())).collect();
        TopClass {
            name: line.rule.text.clone(),
            mode: Mode::Any,
            condition: self.join(parts, Mode::Any),
            matches: vec![format!("protocol {name}")],
            action: TopAction::Inspect { parameters: u16::try_from(parameters).unwrap_or(0), smtp },
            line: self.line(line.span),
        }
    }
}

/// What an implicit class-default does: nothing passes that no class lets.
fn class_default() -> TopClass {
    TopClass {
        name: CLASS_DEFAULT.to_owned(),
        mode: Mode::Any,
        condition: 0,
        matches: vec!["any".to_owned()],
        action: TopAction::Drop { log: false },
        line: 0,
    }
}

fn parameters(name: &str, values: &InspectValues, default: &InspectParameters) -> InspectParameters {
    let thresholds = |low: Option<u32>, high: Option<u32>, default| match (low, high) {
        (Some(low), Some(high)) => Some(Thresholds { low, high }),
        // Only where to start: stop at once.
        (None, Some(high)) => Some(Thresholds { low: high.saturating_sub(1), high }),
        // Without a place to start there is nothing to stop.
        (_, None) => default,
    };
    InspectParameters {
        name: name.to_owned(),
        alert: values.alert.map_or(default.alert, |set| set.value),
        audit_trail: values.audit_trail.map_or(default.audit_trail, |set| set.value),
        tcp_idle_time: values.tcp_idle_time.map_or(default.tcp_idle_time, |set| set.value),
        tcp_synwait_time: values.tcp_synwait_time.map_or(default.tcp_synwait_time, |set| set.value),
        tcp_finwait_time: values.tcp_finwait_time.map_or(default.tcp_finwait_time, |set| set.value),
        udp_idle_time: values.udp_idle_time.map_or(default.udp_idle_time, |set| set.value),
        icmp_idle_time: values.icmp_idle_time.map_or(default.icmp_idle_time, |set| set.value),
        max_incomplete: thresholds(
            values.max_incomplete_low.map(|set| set.value),
            values.max_incomplete_high.map(|set| set.value),
            default.max_incomplete,
        ),
        one_minute: thresholds(
            values.one_minute_low.map(|set| set.value),
            values.one_minute_high.map(|set| set.value),
            default.one_minute,
        ),
        sessions_maximum: values.sessions_maximum.map(|set| set.value).or(default.sessions_maximum),
        max_incomplete_host: values.max_incomplete_host.map(|set| set.value).or(default.max_incomplete_host),
    }
}

/// What a policy says of the protocol, and what the file says for all of them.
fn with_globals(mut settings: Settings, config: &Config) -> Settings {
    if let Some(recipients) = config.inspect_globals.spam_recipients {
        settings.defences.spam_recipients = recipients;
    }
    settings
}

/// A `policy-map type inspect smtp`.
fn smtp_policy(config: &Config, file: &SourceFile, map: &SmtpPolicyMap) -> SmtpPolicy {
    let base = map.parameters.base.map_or(Base::None, |set| set.value);
    let mut policy = SmtpPolicy {
        alert: map.parameters.alert.is_none_or(|set| set.value),
        audit_trail: map.parameters.audit_trail.is_some_and(|set| set.value),
        max_data: map.parameters.max_data.map(|set| set.value),
        settings: with_globals(map.parameters.settings(), config),
        ..SmtpPolicy::new(&map.name.text, base)
    };
    // class-default is the last one wherever it is written.
    let (defaults, named): (Vec<_>, Vec<_>) =
        map.uses.iter().partition(|used| used.class.text == CLASS_DEFAULT);
    for used in named.into_iter().chain(defaults) {
        let mut criteria = Vec::new();
        let mut add = |criterion: Criterion| {
            // More than an index can name is refused when the policy is validated.
            criteria.push(u16::try_from(policy.criteria.len()).unwrap_or(u16::MAX));
            policy.criteria.push(criterion);
        };
        let mut mode = Mode::Any;
        if used.class.text == CLASS_DEFAULT {
            let line = file.line(used.span.start);
            add(Criterion { negated: false, test: Test::Always, text: "any".into(), line });
        } else {
            let Some(class) = config.smtp_classes.iter().find(|class| class.name.text == used.class.text)
            else {
                continue;
            };
            mode = class.mode.value;
            for line in &class.matches {
                add(Criterion {
                    negated: line.negated,
                    test: line.kind.lower(&line.argument),
                    text: line.text(),
                    line: file.line(line.span.start),
                });
            }
        }
        let does = |action| used.actions.iter().any(|set| set.value == action);
        let terminal = [
            (SmtpAction::Reset, Terminal::Reset),
            (SmtpAction::Mask, Terminal::Mask),
            (SmtpAction::Allow, Terminal::Allow),
        ];
        policy.classes.push(SmtpClass {
            name: used.class.text.clone(),
            mode,
            criteria,
            log: does(SmtpAction::Log),
            terminal: terminal.into_iter().find(|(action, _)| does(*action)).map(|(_, terminal)| terminal),
            line: file.line(used.span.start),
        });
    }
    policy
}
