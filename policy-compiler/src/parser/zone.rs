//! `zone security`, `zone-pair security` and `interface`.

use super::parameter_map::no_effect;
use super::{MAX_NAME_LEN, Mode, Parser, misplaced, remove};
use crate::ast::{AppliedRule, Direction, Interface, Name, Zone, ZonePair};
use crate::cursor::{Cursor, Resolved, resolve};
use crate::source::Span;

/// First words of the lines of an `interface`.
pub const INTERFACE_COMMANDS: &[&str] = &[
    "bandwidth",
    "cdp",
    "crypto",
    "description",
    "duplex",
    "encapsulation",
    "end",
    "exit",
    "ip",
    "ipv6",
    "keepalive",
    "load-interval",
    "mac-address",
    "media-type",
    "mtu",
    "negotiation",
    "service-policy",
    "shutdown",
    "speed",
    "zone-member",
];

impl Parser {
    pub(super) fn zone(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        cursor.keyword(&["security"])?;
        let name = cursor.name("zone", MAX_NAME_LEN)?;
        cursor.finish()?;
        if negated {
            remove(&mut self.config.zones, cursor, |zone| zone.name.text == name.text);
        } else {
            self.config.zones.push(Zone { name });
        }
        self.enter(negated, Mode::Zone);
        Some(())
    }

    pub(super) fn zone_pair(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        cursor.keyword(&["security"])?;
        let name = cursor.name("zone-pair", MAX_NAME_LEN)?;
        if negated {
            cursor.skip();
            remove(&mut self.config.zone_pairs, cursor, |pair| pair.name.text == name.text);
            self.mode = Mode::Removed;
            return Some(());
        }
        cursor.keyword(&["source"])?;
        let source = cursor.name("source zone", MAX_NAME_LEN)?;
        cursor.keyword(&["destination"])?;
        let destination = cursor.name("destination zone", MAX_NAME_LEN)?;
        cursor.finish()?;
        let span = cursor.taken();
        self.config.zone_pairs.push(ZonePair {
            name,
            source,
            destination,
            policy: None,
            span,
            spoiled: false,
        });
        self.mode = Mode::ZonePair(self.config.zone_pairs.len() - 1);
        Some(())
    }

    pub(super) fn zone_pair_policy(
        &mut self,
        pair: usize,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        cursor.keywords(&["type", "inspect"])?;
        if cursor.peek().is_some_and(|token| token.text.eq_ignore_ascii_case("smtp")) {
            misplaced(
                cursor,
                "an SMTP policy cannot stand at a zone-pair".into(),
                "put a `policy-map type inspect` here, and `service-policy smtp NAME` into its class for SMTP",
            );
            return None;
        }
        let name = cursor.name("policy-map", MAX_NAME_LEN)?;
        cursor.finish()?;
        let span = cursor.taken();
        let policy = &mut self.config.zone_pairs.get_mut(pair)?.policy;
        if !negated {
            *policy = Some((name, span));
        } else if policy.take().is_none() {
            cursor.report(super::nothing_to_remove(span));
        }
        Some(())
    }

    pub(super) fn interface(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let first = cursor.name("interface", MAX_NAME_LEN)?;
        let name = match cursor.peek() {
            // `interface Ethernet 0/1` is the same as `interface Ethernet0/1`.
            Some(number) => {
                cursor.advance();
                let text = format!("{}{}", first.text, number.text);
                Name { text, span: Span::new(first.span.start, number.span.end) }
            }
            None => first,
        };
        cursor.finish()?;
        let interfaces = &mut self.config.interfaces;
        if negated {
            remove(interfaces, cursor, |interface| interface.name.text == name.text);
        }
        // An interface exists by itself: naming it again goes on where it was left.
        let known = interfaces.iter().position(|interface| interface.name.text == name.text);
        let index = known.unwrap_or_else(|| {
            if !negated {
                interfaces.push(Interface { name, zone: None, rules: Vec::new() });
            }
            interfaces.len().saturating_sub(1)
        });
        self.enter(negated, Mode::Interface(index));
        Some(())
    }

    pub(super) fn interface_line(
        &mut self,
        index: usize,
        command: &'static str,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        match command {
            "zone-member" => {
                cursor.keyword(&["security"])?;
                let zone = cursor.name("zone", MAX_NAME_LEN)?;
                cursor.finish()?;
                let span = cursor.taken();
                let interface = self.config.interfaces.get_mut(index)?;
                if negated {
                    if interface.zone.take().is_none() {
                        cursor.report(super::nothing_to_remove(span));
                    }
                } else if let Some(first) = interface.zone.as_ref().filter(|first| first.text != zone.text) {
                    cursor.report(crate::check::two_zones(&interface.name, first, &zone));
                } else {
                    interface.zone = Some(zone);
                }
                Some(())
            }
            "ip" => self.interface_ip(index, negated, cursor),
            "ipv6" | "service-policy" | "crypto" => {
                no_effect(cursor);
                Some(())
            }
            // Lines of a saved configuration that have nothing to do with what passes.
            _ => {
                cursor.skip();
                Some(())
            }
        }
    }

    fn interface_ip(&mut self, index: usize, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let word = cursor.peek().map_or("", |token| token.text);
        match resolve(word, &["access-list", "address", "audit", "inspect", "port-map"]) {
            Resolved::One("inspect") => self.interface_inspect(index, negated, cursor),
            Resolved::One("address") => {
                cursor.skip();
                Some(())
            }
            // Commands of the top level, pasted without the `exit` between.
            Resolved::One(_) => {
                self.mode = Mode::Global;
                self.global_ip(negated, cursor)
            }
            _ => {
                no_effect(cursor);
                Some(())
            }
        }
    }

    fn interface_inspect(&mut self, index: usize, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        cursor.advance();
        let rule = cursor.name("inspection rule", MAX_NAME_LEN)?;
        let direction = cursor.peek().map_or("", |token| token.text);
        if resolve(direction, &["in", "out"]) == Resolved::None && rule.text.eq_ignore_ascii_case("name") {
            // `ip inspect name RULE smtp`, pasted without the `exit` before it.
            self.mode = Mode::Global;
            return self.inspection(negated, cursor);
        }
        let direction = if cursor.keyword(&["in", "out"])? == "in" { Direction::In } else { Direction::Out };
        cursor.finish()?;
        let span = cursor.taken();
        let rules = &mut self.config.interfaces.get_mut(index)?.rules;
        if negated {
            remove(rules, cursor, |applied| applied.rule.text == rule.text && applied.direction == direction);
        } else {
            rules.push(AppliedRule { rule, direction, span });
        }
        Some(())
    }
}
