//! Access lists, as far as `match access-group` needs them: addresses, TCP and UDP ports.

use std::net::{Ipv4Addr, Ipv6Addr};

use artifact::model::{AccessEntry, AddressMatch};

use super::{Mode, Parser, remove};
use crate::ast::{AccessList, Name, Set};
use crate::code::Code;
use crate::cursor::{Cursor, Resolved, resolve};
use crate::diagnostic::Diagnostic;
use crate::protocol::{ICMP, TCP, UDP};

/// Longest name of an access list (characters).
const MAX_LIST_LEN: usize = 64;

/// Ports by the names that Cisco's configurations print.
const PORTS: &[(&str, u16)] = &[
    ("bgp", 179),
    ("domain", 53),
    ("ftp", 21),
    ("ident", 113),
    ("nntp", 119),
    ("ntp", 123),
    ("pop3", 110),
    ("smtp", 25),
    ("snmp", 161),
    ("ssh", 22),
    ("syslog", 514),
    ("telnet", 23),
    ("tftp", 69),
    ("www", 80),
];

/// What the lines of a list can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The source alone, of IPv4.
    Standard,
    /// Protocol, both addresses and ports, of IPv4.
    Extended,
    /// The same of IPv6.
    V6,
}

/// The form that a number stands for.
fn numbered(name: &str) -> Option<Form> {
    match name.parse::<u32>() {
        Ok(1..=99 | 1300..=1999) => Some(Form::Standard),
        Ok(100..=199 | 2000..=2699) => Some(Form::Extended),
        _ => None,
    }
}

impl Parser {
    /// `access-list 101 permit ...`
    pub(super) fn numbered_access_list(&mut self, negated: bool, cursor: &mut Cursor<'_, '_>) -> Option<()> {
        let name = cursor.name("access list", MAX_LIST_LEN)?;
        let Some(form) = numbered(&name.text) else {
            cursor.skip();
            cursor.report(
                Diagnostic::error(
                    Code::ACCESS_LIST,
                    name.span,
                    "this number is not one of an IP access list",
                )
                .label("expected 1-99, 100-199, 1300-1999 or 2000-2699")
                .help("lists with names are written `ip access-list extended NAME`"),
            );
            return None;
        };
        if negated && cursor.peek().is_none() {
            remove(&mut self.config.access_lists, cursor, |list| list.name.text == name.text);
            return Some(());
        }
        let command = cursor.keyword(&["deny", "permit", "remark"])?;
        if command == "remark" {
            cursor.skip();
            return Some(());
        }
        let entry = entry(command == "permit", form, cursor)?;
        let index = self.list(name);
        self.store(index, entry, negated, cursor)
    }

    /// `ip access-list extended NAME`, `ip access-list standard NAME`, `ipv6 access-list NAME`
    pub(super) fn named_access_list(
        &mut self,
        v6: bool,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let form = match v6 {
            true => Form::V6,
            false if cursor.keyword(&["extended", "standard"])? == "standard" => Form::Standard,
            false => Form::Extended,
        };
        let name = cursor.name("access list", MAX_LIST_LEN)?;
        cursor.finish()?;
        if form == Form::Standard && numbered(&name.text) == Some(Form::Extended) {
            cursor.report(
                Diagnostic::error(
                    Code::ACCESS_LIST,
                    name.span,
                    "this is the number of an extended access list",
                )
                .label("expected 1-99, 1300-1999 or a name")
                .help(format!("write `ip access-list extended {}`", name.text)),
            );
            self.mode = Mode::Lost;
            return Some(());
        }
        if negated {
            remove(&mut self.config.access_lists, cursor, |list| list.name.text == name.text);
            self.mode = Mode::Removed;
        } else {
            let index = self.list(name);
            self.mode = Mode::AccessList(index, form);
        }
        Some(())
    }

    pub(super) fn access_entry(
        &mut self,
        list: usize,
        form: Form,
        command: &'static str,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let entry = entry(command == "permit", form, cursor)?;
        self.store(list, entry, negated, cursor)
    }

    fn list(&mut self, name: Name) -> usize {
        let lists = &mut self.config.access_lists;
        lists.iter().position(|list| list.name.text == name.text).unwrap_or_else(|| {
            lists.push(AccessList { name, entries: Vec::new(), spoiled: false });
            lists.len() - 1
        })
    }

    fn store(
        &mut self,
        list: usize,
        entry: AccessEntry,
        negated: bool,
        cursor: &mut Cursor<'_, '_>,
    ) -> Option<()> {
        let span = cursor.taken();
        let entries = &mut self.config.access_lists.get_mut(list)?.entries;
        if negated {
            remove(entries, cursor, |set| set.value == entry);
        } else {
            // The line is filled in when the tables are made, where positions are known.
            entries.push(Set { value: entry, span });
        }
        Some(())
    }
}

fn entry(permit: bool, form: Form, cursor: &mut Cursor<'_, '_>) -> Option<AccessEntry> {
    let mut entry = AccessEntry {
        permit,
        protocol: None,
        source: None,
        source_ports: None,
        destination: None,
        destination_ports: None,
        line: 0,
    };
    let v6 = form == Form::V6;
    if form == Form::Standard {
        entry.source = address(false, true, cursor)?;
    } else {
        let words: &[&'static str] =
            if v6 { &["icmp", "ipv6", "tcp", "udp"] } else { &["icmp", "ip", "tcp", "udp"] };
        entry.protocol = match cursor.keyword(words)? {
            "icmp" => Some(ICMP),
            "tcp" => Some(TCP),
            "udp" => Some(UDP),
            _ => None,
        };
        let with_ports = matches!(entry.protocol, Some(TCP | UDP));
        entry.source = address(v6, false, cursor)?;
        if with_ports {
            entry.source_ports = ports(cursor)?;
        }
        entry.destination = address(v6, false, cursor)?;
        if with_ports {
            entry.destination_ports = ports(cursor)?;
        }
    }
    let _ = cursor.optional(&["log", "log-input"]);
    cursor.finish()?;
    Some(entry)
}

/// `any`, `host A`, `A WILDCARD`, `A/LEN`; the outer `None` is a mistake, the inner one is `any`.
fn address(v6: bool, standard: bool, cursor: &mut Cursor<'_, '_>) -> Option<Option<AddressMatch>> {
    let word = cursor.peek().map_or("", |token| token.text);
    match resolve(word, &["any", "host"]) {
        Resolved::One("any") => {
            cursor.advance();
            Some(None)
        }
        Resolved::One(_) => {
            cursor.advance();
            Some(Some(if v6 { host_v6(ip(cursor)?) } else { host_v4(ip(cursor)?) }))
        }
        _ if v6 => prefix_v6(cursor).map(Some),
        _ => {
            let address: Ipv4Addr = ip(cursor)?;
            // A wildcard's set bits do not count; a standard list may leave it out.
            let wildcard = cursor.peek().and_then(|token| token.text.parse::<Ipv4Addr>().ok());
            if wildcard.is_none() && standard {
                return Some(Some(host_v4(address)));
            }
            let wildcard: Ipv4Addr = ip(cursor)?;
            let mask = (!u32::from(wildcard)).to_be_bytes();
            let address = (u32::from(address) & !u32::from(wildcard)).to_be_bytes();
            Some(Some(AddressMatch::V4 { address, mask }))
        }
    }
}

fn host_v4(address: Ipv4Addr) -> AddressMatch {
    AddressMatch::V4 { address: address.octets(), mask: [0xff; 4] }
}

fn host_v6(address: Ipv6Addr) -> AddressMatch {
    AddressMatch::V6 { address: address.octets(), mask: [0xff; 16] }
}

fn ip<A: std::str::FromStr>(cursor: &mut Cursor<'_, '_>) -> Option<A> {
    let token = cursor.word("an address")?;
    let address = token.text.parse().ok();
    if address.is_none() {
        let mut diagnostic = Diagnostic::error(
            Code::ACCESS_LIST,
            token.span,
            format!("`{}` is not an address of this list", token.text),
        )
        .label("expected `any`, `host ADDRESS`, or an address and its wildcard");
        if let Some((network, wildcard)) = wildcard_form(token.text) {
            diagnostic =
                diagnostic.help(format!("a prefix is written with its wildcard: `{network} {wildcard}`"));
        }
        cursor.report(diagnostic);
    }
    address
}

/// `192.0.2.0/24` as a list of IPv4 addresses has it.
fn wildcard_form(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (address, len) = text.split_once('/')?;
    let len: u32 = len.parse().ok().filter(|&len| len <= 32)?;
    let wildcard = u32::MAX.checked_shr(len).unwrap_or(0);
    Some((address.parse().ok()?, Ipv4Addr::from(wildcard)))
}

fn prefix_v6(cursor: &mut Cursor<'_, '_>) -> Option<AddressMatch> {
    let token = cursor.word("a prefix")?;
    let parsed = token.text.split_once('/').and_then(|(address, len)| {
        let len: u32 = len.parse().ok().filter(|&len| len <= 128)?;
        let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
        let address = u128::from(address.parse::<Ipv6Addr>().ok()?) & mask;
        Some(AddressMatch::V6 { address: address.to_be_bytes(), mask: mask.to_be_bytes() })
    });
    if parsed.is_none() {
        cursor.report(
            Diagnostic::error(
                Code::ACCESS_LIST,
                token.span,
                format!("`{}` is not an IPv6 prefix", token.text),
            )
            .label("expected `any`, `host ADDRESS` or `ADDRESS/LENGTH`"),
        );
    }
    parsed
}

/// `eq P`, `range P P`, `gt P`, `lt P`; the outer `None` is a mistake.
fn ports(cursor: &mut Cursor<'_, '_>) -> Option<Option<(u16, u16)>> {
    let Some(operator) = cursor.optional(&["eq", "gt", "lt", "range"]) else { return Some(None) };
    let start = cursor.peek().map(|token| token.span);
    let low = port(cursor)?;
    let range = match operator {
        "eq" => Some((low, low)),
        "gt" => low.checked_add(1).map(|low| (low, u16::MAX)),
        "lt" => low.checked_sub(1).map(|high| (0, high)),
        _ => Some((low, port(cursor)?)),
    };
    match range {
        Some((low, high)) if low <= high => Some(range),
        _ => {
            let end = cursor.taken();
            let span = start.map_or(end, |start| crate::source::Span::new(start.start, end.end));
            cursor.report(Diagnostic::error(Code::ACCESS_LIST, span, "no port is in this range"));
            None
        }
    }
}

fn port(cursor: &mut Cursor<'_, '_>) -> Option<u16> {
    let named =
        cursor.peek().and_then(|token| PORTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(token.text)));
    if let Some((_, port)) = named {
        cursor.advance();
        return Some(*port);
    }
    Some(cursor.number("the port", 0..=65_535)? as u16)
}
