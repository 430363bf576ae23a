//! `parameter-map type regex` and `parameter-map type inspect`.

use super::{MAX_NAME_LEN, Mode, Parser, remove};
use crate::ast::{InspectMap, InspectValues, PatternLine, RegexMap, Set};
use crate::code::Code;
use crate::cursor::Cursor;
use crate::diagnostic::Diagnostic;

/// First words of the lines of a `parameter-map type inspect`.
pub const COMMANDS: &[&str] = &[
    "aggressive-aging",
    "alert",
    "application-inspect",
    "audit-trail",
    "description",
    "dns-timeout",
    "end",
    "exit",
    "icmp",
    "log",
    "max-incomplete",
    "one-minute",
    "sessions",
    "tcp",
    "udp",
    "zone-mismatch",
];

impl Parser {
    pub(super) fn parameter_map(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        cursor.keyword(&["type"])?;
        let kind = cursor.keyword(&["inspect", "regex"])?;
        let name = cursor.name("parameter-map", MAX_NAME_LEN)?;
        cursor.finish()?;
        let mode = if kind == "regex" {
            if negated {
                remove(&mut self.config.regex_maps, cursor, |map| map.name.text == name.text);
            } else {
                self.config.regex_maps.push(RegexMap { name, patterns: Vec::new(), spoiled: false });
            }
            Mode::RegexMap(self.config.regex_maps.len().saturating_sub(1))
        } else {
            if negated {
                remove(&mut self.config.inspect_maps, cursor, |map| map.name.text == name.text);
            } else {
                self.config.inspect_maps.push(InspectMap { name, values: InspectValues::default() });
            }
            Mode::InspectMap(self.config.inspect_maps.len().saturating_sub(1))
        };
        self.enter(negated, mode);
        Some(())
    }

    pub(super) fn pattern(&mut self, map: usize, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let text = cursor.rest("a pattern")?;
        let patterns = &mut self.config.regex_maps.get_mut(map)?.patterns;
        if negated {
            remove(patterns, cursor, |line| line.text.text == text.text);
        } else {
            patterns.push(PatternLine { text });
        }
        Some(())
    }

    pub(super) fn inspect_value(
        &mut self,
        map: usize,
        command: &'static str,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let values = &mut self.config.inspect_maps.get_mut(map)?.values;
        value(values, command, negated, cursor)
    }
}

/// Times and counts have this range in Cisco's command reference.
const COUNT: std::ops::RangeInclusive<u64> = 1..=2_147_483_647;
const SECONDS: std::ops::RangeInclusive<u64> = 1..=2_147_483;

/// A line that a `parameter-map type inspect` and classic `ip inspect` share.
pub(super) fn value(
    values: &mut InspectValues,
    command: &'static str,
    negated: bool,
    cursor: &mut Cursor<'_, '_>,
) -> Option<()> {
    match command {
        "alert" => {
            let value =
                if negated { cursor.optional(&["on", "off"]).map(|_| true) } else { Some(cursor.switch()?) };
            store(&mut values.alert, value, negated, cursor)
        }
        "audit-trail" => {
            let value =
                if negated { cursor.optional(&["on", "off"]).map(|_| true) } else { Some(cursor.switch()?) };
            store(&mut values.audit_trail, value, negated, cursor)
        }
        "max-incomplete" | "one-minute" => {
            let high = cursor.keyword(&["high", "low"])? == "high";
            let value = number(negated, "the threshold", COUNT, cursor)?;
            let slot = match (command, high) {
                ("max-incomplete", true) => &mut values.max_incomplete_high,
                ("max-incomplete", false) => &mut values.max_incomplete_low,
                (_, true) => &mut values.one_minute_high,
                (_, false) => &mut values.one_minute_low,
            };
            store(slot, value, negated, cursor)
        }
        "sessions" => {
            if cursor.keyword(&["maximum", "packet", "rate"])? == "maximum" {
                let value = number(negated, "the number of sessions", COUNT, cursor)?;
                return store(&mut values.sessions_maximum, value, negated, cursor);
            }
            no_effect(cursor);
            Some(())
        }
        "tcp" => tcp(values, negated, cursor),
        "udp" => idle_time(&mut values.udp_idle_time, negated, cursor),
        "icmp" => idle_time(&mut values.icmp_idle_time, negated, cursor),
        _ => {
            no_effect(cursor);
            Some(())
        }
    }
}

/// `udp` or `icmp`: of what Cisco's routers take, only the idle time has an effect.
fn idle_time(slot: &mut Option<Set<u32>>, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
    if cursor.optional(&["idle-time"]).is_none() {
        no_effect(cursor);
        return Some(());
    }
    let value = number(negated, "the time", SECONDS, cursor)?;
    if cursor.optional(&["ageout-time"]).is_some() {
        cursor.number("the time", SECONDS)?;
    }
    store(slot, value, negated, cursor)
}

fn tcp(values: &mut InspectValues, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
    let words = &[
        "finwait-time",
        "half-close",
        "half-open",
        "idle",
        "idle-time",
        "max-incomplete",
        "reassembly",
        "syn-flood",
        "synwait-time",
        "window-scale-enforcement",
    ];
    match cursor.keyword(words)? {
        "idle-time" => {
            let value = number(negated, "the time", SECONDS, cursor)?;
            if cursor.optional(&["ageout-time"]).is_some() {
                cursor.number("the time", SECONDS)?;
            }
            store(&mut values.tcp_idle_time, value, negated, cursor)
        }
        "synwait-time" => {
            let value = number(negated, "the time", SECONDS, cursor)?;
            store(&mut values.tcp_synwait_time, value, negated, cursor)
        }
        "finwait-time" => {
            let value = number(negated, "the time", SECONDS, cursor)?;
            store(&mut values.tcp_finwait_time, value, negated, cursor)
        }
        "max-incomplete" => {
            cursor.keyword(&["host"])?;
            let count = number(negated, "the number of sessions", 1..=4_294_967_295, cursor)?;
            let mut block = 0;
            if cursor.optional(&["block-time"]).is_some() {
                block = cursor.number("the time", 0..=35_791)? as u32;
            }
            store(&mut values.max_incomplete_host, count.map(|count| (count, block)), negated, cursor)
        }
        _ => {
            no_effect(cursor);
            Some(())
        }
    }
}

/// A number, which `no` may leave out.
fn number(
    negated: bool,
    what: &str,
    range: std::ops::RangeInclusive<u64>,
    cursor: &mut Cursor<'_, '_>,
) -> Option<Option<u32>> {
    if negated && cursor.peek().is_none() {
        return Some(None);
    }
    Some(Some(u32::try_from(cursor.number(what, range)?).unwrap_or(u32::MAX)))
}

fn store<T>(
    slot: &mut Option<Set<T>>,
    value: Option<T>,
    negated: bool,
    cursor: &mut Cursor<'_, '_>,
) -> Option<()> {
    cursor.finish()?;
    let span = cursor.taken();
    if !negated {
        *slot = value.map(|value| Set { value, span });
    } else if slot.take().is_none() {
        cursor.report(super::nothing_to_remove(span));
    }
    Some(())
}

/// A line that Cisco's routers obey and this gateway need not.
pub(super) fn no_effect(cursor: &mut Cursor<'_, '_>) {
    cursor.skip();
    let span = cursor.taken();
    cursor.report(Diagnostic::warning(Code::NO_EFFECT, span, "this line has no effect in this gateway"));
}
