//! `policy-map type inspect [smtp]`, its classes, actions and parameters.

use artifact::settings::{Chunking, Decode, EndOfData, SIGNATURES, StartTls, signature};
use artifact::smtp::Base;

use super::class_map::{is_smtp_header, used_class};
use super::defence::defence;
use super::{MAX_NAME_LEN, Mode, Parser, misplaced, remove};
use crate::ast::{
    CLASS_DEFAULT, Set, SmtpAction, SmtpParameters, SmtpPolicyMap, SmtpUse, TopPolicyMap, TopUse, TopVerdict,
};
use crate::code::Code;
use crate::cursor::Cursor;
use crate::diagnostic::Diagnostic;

/// Octets; the range of `max-data` and of the timeouts of `ip inspect name` is not documented, this is ours.
pub(super) const MAX_DATA: std::ops::RangeInclusive<u64> = 1..=1_000_000_000_000;

const BASES: [(&str, Base); 3] = [("esmtp", Base::Esmtp), ("none", Base::None), ("smtp", Base::Smtp)];
const CHUNKINGS: [(&str, Chunking); 2] = [("allow", Chunking::Allow), ("mask", Chunking::Mask)];
const DECODES: [(&str, Decode); 4] = [
    ("base64", Decode::Base64),
    ("both", Decode::Both),
    ("off", Decode::Off),
    ("quoted-printable", Decode::QuotedPrintable),
];
const ENDS_OF_DATA: [(&str, EndOfData); 3] =
    [("eod", EndOfData::Eod), ("off", EndOfData::Off), ("strict", EndOfData::Strict)];
const STARTTLS: [(&str, StartTls); 3] =
    [("allow", StartTls::Allow), ("mask", StartTls::Mask), ("require", StartTls::Require)];

impl Parser {
    pub(super) fn policy_map(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        cursor.keywords(&["type", "inspect"])?;
        let smtp = is_smtp_header(cursor);
        let name = cursor.name("policy-map", MAX_NAME_LEN)?;
        cursor.finish()?;
        let mode = if smtp {
            if negated {
                remove(&mut self.config.smtp_policies, cursor, |policy| policy.name.text == name.text);
            } else {
                let parameters = SmtpParameters::default();
                self.config.smtp_policies.push(SmtpPolicyMap {
                    name,
                    uses: Vec::new(),
                    parameters,
                    spoiled: false,
                });
            }
            Mode::SmtpPolicy(self.config.smtp_policies.len().saturating_sub(1))
        } else {
            if negated {
                remove(&mut self.config.top_policies, cursor, |policy| policy.name.text == name.text);
            } else {
                self.config.top_policies.push(TopPolicyMap { name, uses: Vec::new() });
            }
            Mode::TopPolicy(self.config.top_policies.len().saturating_sub(1))
        };
        self.enter(negated, mode);
        Some(())
    }

    pub(super) fn smtp_policy_line(
        &mut self,
        index: usize,
        command: &'static str,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        match command {
            "parameters" => {
                cursor.finish()?;
                let span = cursor.taken();
                self.extension(span, "the `parameters` block", cursor);
                if negated {
                    self.config.smtp_policies.get_mut(index)?.parameters = SmtpParameters::default();
                }
                self.enter(negated, Mode::SmtpParameters(index));
                Some(())
            }
            "match" => {
                let message = "`match` belongs in a class".to_owned();
                misplaced(
                    cursor,
                    message,
                    "put it into a `class-map type inspect smtp NAME`, and write `class type inspect smtp NAME` here",
                );
                None
            }
            _ => self.smtp_use(index, negated, cursor),
        }
    }

    fn smtp_use(&mut self, index: usize, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let class = used_class("class-map", true, cursor)?;
        cursor.finish()?;
        let span = cursor.taken();
        if class.text == CLASS_DEFAULT && !negated {
            self.extension(span, "`class class-default` in an SMTP policy", cursor);
        }
        let uses = &mut self.config.smtp_policies.get_mut(index)?.uses;
        if negated {
            remove(uses, cursor, |used| used.class.text == class.text);
        } else {
            if let Some(first) = uses.iter().find(|used| used.class.text == class.text) {
                cursor.report(used_twice(span, first.span, &class.text));
            }
            uses.push(SmtpUse { class, actions: Vec::new(), inspect: None, span, spoiled: false });
        }
        let used = uses.len().saturating_sub(1);
        self.enter(negated, Mode::SmtpUse(index, used));
        Some(())
    }

    pub(super) fn smtp_action(
        &mut self,
        policy: usize,
        used: usize,
        command: &'static str,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let action = match command {
            "allow" => SmtpAction::Allow,
            "log" => SmtpAction::Log,
            "mask" => SmtpAction::Mask,
            "reset" => SmtpAction::Reset,
            "inspect" if cursor.peek().is_none() => {
                return self.misplaced_inspect(policy, used, negated, cursor);
            }
            _ => {
                misplaced(cursor, belongs_above(command), BELONGS_ABOVE);
                return None;
            }
        };
        cursor.finish()?;
        let span = cursor.taken();
        let actions = &mut self.config.smtp_policies.get_mut(policy)?.uses.get_mut(used)?.actions;
        if negated {
            remove(actions, cursor, |set| set.value == action);
        } else if actions.iter().all(|set| set.value != action) {
            actions.push(Set { value: action, span });
        }
        Some(())
    }

    pub(super) fn smtp_parameter(
        &mut self,
        policy: usize,
        command: &'static str,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let parameters = &mut self.config.smtp_policies.get_mut(policy)?.parameters;
        if let Some(read) = defence(&mut parameters.defences, command, negated, cursor) {
            return read;
        }
        if negated {
            if command == "signature" {
                let id = signature_id(cursor)?;
                cursor.skip();
                remove(&mut parameters.signatures, cursor, |set| set.value.0 == id);
                return Some(());
            }
            cursor.skip();
            match command {
                "base" => parameters.base = None,
                "chunking" => parameters.chunking = None,
                "decode" => parameters.decode = None,
                "end-of-data" => parameters.end_of_data = None,
                "starttls" => parameters.starttls = None,
                "alert" => parameters.alert = None,
                "audit-trail" => parameters.audit_trail = None,
                _ => parameters.max_data = None,
            }
            return Some(());
        }
        match command {
            "base" => parameters.base = Some(cursor.last(|cursor| cursor.choice(&BASES))?),
            "chunking" => parameters.chunking = Some(cursor.last(|cursor| cursor.choice(&CHUNKINGS))?),
            "decode" => parameters.decode = Some(cursor.last(|cursor| cursor.choice(&DECODES))?),
            "end-of-data" => {
                parameters.end_of_data = Some(cursor.last(|cursor| cursor.choice(&ENDS_OF_DATA))?)
            }
            "starttls" => parameters.starttls = Some(cursor.last(|cursor| cursor.choice(&STARTTLS))?),
            "signature" => {
                let set = cursor.last(|cursor| Some((signature_id(cursor)?, cursor.switch()?)))?;
                parameters.signatures.retain(|other| other.value.0 != set.value.0);
                parameters.signatures.push(set);
            }
            "max-data" => {
                let read = |cursor: &mut Cursor<'_, '_>| cursor.number("the number of octets", MAX_DATA);
                parameters.max_data = Some(cursor.last(read)?);
            }
            "alert" => parameters.alert = Some(cursor.last(Cursor::switch)?),
            _ => parameters.audit_trail = Some(cursor.last(Cursor::switch)?),
        }
        Some(())
    }

    pub(super) fn top_use(&mut self, index: usize, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let class = used_class("class-map", false, cursor)?;
        cursor.finish()?;
        let span = cursor.taken();
        let uses = &mut self.config.top_policies.get_mut(index)?.uses;
        if negated {
            remove(uses, cursor, |used| used.class.text == class.text);
        } else {
            if let Some(first) = uses.iter().find(|used| used.class.text == class.text) {
                cursor.report(used_twice(span, first.span, &class.text));
            }
            uses.push(TopUse {
                class,
                actions: Vec::new(),
                parameters: None,
                service: None,
                span,
                spoiled: false,
            });
        }
        let used = uses.len().saturating_sub(1);
        self.enter(negated, Mode::TopUse(index, used));
        Some(())
    }

    pub(super) fn top_action(
        &mut self,
        policy: usize,
        used: usize,
        command: &'static str,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let used = self.config.top_policies.get_mut(policy)?.uses.get_mut(used)?;
        match command {
            "inspect" => {
                let map = if cursor.peek().is_some() {
                    Some(cursor.name("parameter-map", MAX_NAME_LEN)?)
                } else {
                    None
                };
                cursor.finish()?;
                let span = cursor.taken();
                if negated {
                    used.parameters = None;
                    remove(&mut used.actions, cursor, |set| set.value == TopVerdict::Inspect);
                } else {
                    used.parameters = map;
                    push(&mut used.actions, Set { value: TopVerdict::Inspect, span });
                }
            }
            "pass" | "drop" => {
                let log = cursor.optional(&["log"]).is_some();
                cursor.finish()?;
                let value = if command == "pass" { TopVerdict::Pass(log) } else { TopVerdict::Drop(log) };
                let span = cursor.taken();
                if negated {
                    remove(&mut used.actions, cursor, |set| {
                        std::mem::discriminant(&set.value) == std::mem::discriminant(&value)
                    });
                } else {
                    push(&mut used.actions, Set { value, span });
                }
            }
            "service-policy" => {
                cursor.keyword(&["smtp"])?;
                let name = cursor.name("policy-map", MAX_NAME_LEN)?;
                cursor.finish()?;
                let span = cursor.taken();
                if !negated {
                    used.service = Some((name, span));
                } else if used.service.take().is_none() {
                    cursor.report(super::nothing_to_remove(span));
                }
            }
            "police" => super::parameter_map::no_effect(cursor),
            _ => {
                let message = format!("`{command}` belongs in an SMTP policy");
                misplaced(
                    cursor,
                    message,
                    "put it into a `policy-map type inspect smtp NAME`; what a top-level policy does is inspect, pass or drop",
                );
                return None;
            }
        }
        Some(())
    }
}

/// The number of a signature that there is.
fn signature_id(cursor: &mut Cursor<'_, '_>) -> Option<u16> {
    let ends = SIGNATURES.first().zip(SIGNATURES.last());
    let range = ends.map_or(0..=0, |(first, last)| u64::from(first.id)..=u64::from(last.id));
    let span = cursor.peek().map_or_else(|| cursor.taken(), |token| token.span);
    let id = u16::try_from(cursor.number("the number of the signature", range)?).ok()?;
    if signature(id).is_some() {
        return Some(id);
    }
    let known: Vec<String> = SIGNATURES.iter().map(|row| row.id.to_string()).collect();
    cursor.report(
        Diagnostic::error(Code::BAD_NUMBER, span, format!("there is no signature {id}"))
            .label("not the number of a signature")
            .help(format!("the signatures are {}", known.join(" "))),
    );
    None
}

/// An action of a top-level policy in an SMTP policy.
pub(super) fn belongs_above(action: &str) -> String {
    format!("`{action}` belongs in a top-level policy")
}

/// What to do about it.
pub(super) const BELONGS_ABOVE: &str = "put it into a `policy-map type inspect NAME` (without `smtp`); what an SMTP policy \
    does is allow, log, mask or reset";

fn push(actions: &mut Vec<Set<TopVerdict>>, action: Set<TopVerdict>) {
    if actions.iter().all(|other| other.value != action.value) {
        actions.push(action);
    }
}

fn used_twice(span: crate::source::Span, first: crate::source::Span, class: &str) -> Diagnostic {
    Diagnostic::error(Code::REPEATED, span, format!("class `{class}` stands twice in one policy"))
        .label("this one would never be asked")
        .at(first, "first used here")
        .help("put all its actions under the first")
}
