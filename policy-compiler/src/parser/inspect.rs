//! Classic `ip inspect`, and the other lines that start with `ip`.

use super::parameter_map::no_effect;
use super::policy_map::MAX_DATA;
use super::{Parser, remove};
use crate::ast::{Inspected, Inspection, Set};
use crate::code::Code;
use crate::cursor::{Cursor, Resolved, resolve};
use crate::diagnostic::Diagnostic;
use crate::protocol;

/// Longest name of an inspection rule (characters).
const MAX_RULE_LEN: usize = 16;

/// Words after `ip` that are read; any other has nothing to do with what passes.
const IP: &[&str] = &["access-list", "audit", "inspect", "port-map"];

impl Parser {
    pub(super) fn global_ip(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let word = cursor.peek().map_or("", |token| token.text);
        match resolve(word, IP) {
            Resolved::One("inspect") => {
                cursor.advance();
                self.global_inspect(negated, cursor)
            }
            Resolved::One("access-list") => {
                cursor.advance();
                self.named_access_list(false, negated, cursor)
            }
            Resolved::One("port-map") => {
                cursor.advance();
                self.port_map(negated, cursor)
            }
            Resolved::One(_) => {
                cursor.advance();
                self.audit(negated, cursor)
            }
            _ => {
                cursor.skip();
                Some(())
            }
        }
    }

    /// `ip audit smtp spam N`: recipients of a message above which signature 3106 sees spam. Other lines of `ip audit` are for
    /// Cisco's own intrusion detection.
    fn audit(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        if cursor.optional(&["smtp"]).is_none() {
            no_effect(cursor);
            return Some(());
        }
        cursor.keyword(&["spam"])?;
        let spam_recipients = &mut self.config.inspect_globals.spam_recipients;
        if negated {
            cursor.skip();
            *spam_recipients = None;
        } else {
            let value = cursor.number("the number of recipients", 1..=65_535)? as u32;
            cursor.finish()?;
            *spam_recipients = Some(value);
        }
        Some(())
    }

    pub(super) fn global_ipv6(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        match cursor.optional(&["access-list"]) {
            Some(_) => self.named_access_list(true, negated, cursor),
            None => {
                cursor.skip();
                Some(())
            }
        }
    }

    fn global_inspect(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let words = &[
            "alert-off",
            "audit-trail",
            "dns-timeout",
            "hashtable-size",
            "L2-transparent",
            "log",
            "max-incomplete",
            "name",
            "one-minute",
            "tcp",
            "udp",
        ];
        match cursor.keyword(words)? {
            "name" => self.inspection(negated, cursor),
            "alert-off" => {
                cursor.finish()?;
                self.config.inspect_globals.alert_off = !negated;
                Some(())
            }
            "audit-trail" => {
                cursor.finish()?;
                self.config.inspect_globals.audit_trail = !negated;
                Some(())
            }
            word @ ("max-incomplete" | "one-minute" | "tcp") => {
                super::parameter_map::value(&mut self.config.inspect_globals.values, word, negated, cursor)
            }
            _ => {
                no_effect(cursor);
                Some(())
            }
        }
    }

    /// `ip inspect name`: Cisco ESMTP firewall document, "Configuring a Firewall for ESMTP Inspection".
    pub(super) fn inspection(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let rule = cursor.name("inspection rule", MAX_RULE_LEN)?;
        if negated && cursor.peek().is_none() {
            remove(&mut self.config.inspections, cursor, |line| line.rule.text == rule.text);
            return Some(());
        }
        let mut words = protocol::names();
        words.push("esmtp");
        let protocol_span = cursor.peek().map_or(rule.span, |token| token.span);
        let protocol = match cursor.keyword(&words)? {
            "esmtp" => Inspected::Esmtp,
            "smtp" => Inspected::Smtp,
            name => Inspected::Other(protocol::by_name(name)?),
        };
        let (mut alert, mut audit_trail, mut max_data, mut timeout) = (None, None, None, None);
        while let Some(token) = cursor.peek() {
            match cursor.keyword(&["alert", "audit-trail", "max-data", "timeout"])? {
                "alert" => alert = Some(cursor.switch()?),
                "audit-trail" => audit_trail = Some(cursor.switch()?),
                "max-data" if matches!(protocol, Inspected::Other(_)) => {
                    let span = token.span;
                    cursor.skip();
                    cursor.report(
                        crate::diagnostic::Diagnostic::error(
                            crate::code::Code::UNEXPECTED_WORD,
                            span,
                            "`max-data` is only for smtp and esmtp",
                        )
                        .at(protocol_span, "this protocol is followed, but not read"),
                    );
                    return None;
                }
                "max-data" => max_data = Some(cursor.number("the number of octets", MAX_DATA)?),
                // Range of the idle time of `ip inspect tcp`.
                _ => timeout = Some(cursor.number("the timeout", 5..=43_200)? as u32),
            }
        }
        let span = cursor.taken();
        if negated {
            remove(&mut self.config.inspections, cursor, |line| {
                line.rule.text == rule.text && line.protocol == protocol
            });
        } else {
            let line =
                Inspection { rule, protocol, protocol_span, alert, audit_trail, max_data, timeout, span };
            self.config.inspections.push(line);
        }
        Some(())
    }

    /// `ip port-map smtp port tcp 587`.
    fn port_map(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        if cursor.optional(&["smtp"]).is_none() {
            no_effect(cursor);
            return Some(());
        }
        cursor.keywords(&["port", "tcp"])?;
        let port = cursor.number("the port", 1..=65_535)? as u16;
        if cursor.optional(&["list"]).is_some() {
            if negated {
                no_effect(cursor);
            } else {
                for_some_hosts(port, cursor);
            }
            return Some(());
        }
        cursor.finish()?;
        let span = cursor.taken();
        if negated {
            remove(&mut self.config.port_maps, cursor, |set| set.value == port);
        } else {
            self.config.port_maps.push(Set { value: port, span });
        }
        Some(())
    }
}

/// `ip port-map ... list N`: the gateway has one list of ports, for every host.
fn for_some_hosts(port: u16, cursor: &mut Cursor<'_, '_>) {
    cursor.skip();
    let message = format!("this line does not make port {port} one of SMTP");
    cursor.report(
        Diagnostic::warning(Code::NO_EFFECT, cursor.taken(), message)
            .label("a port is one of SMTP for every host or for none")
            .help(format!("`ip port-map smtp port tcp {port}` makes it one for every host"))
            .help(
                "which hosts are inspected is asked with `match access-group` beside `match protocol smtp`",
            ),
    );
}
