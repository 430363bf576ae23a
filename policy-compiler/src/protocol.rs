//! Protocols that `match protocol` and `ip inspect name` know by name.

use artifact::model::Condition;

/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// See above.
pub const TCP: u8 = 6;
/// See above.
pub const UDP: u8 = 17;

/// A protocol as the policy language names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its keyword.
    pub name: &'static str,
    /// How its first packet is known; one that holds suffices.
    pub tests: &'static [Known],
}

/// What a protocol's first packet looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// TCP to a port of the port map.
    Smtp,
    /// An IP protocol, whatever the port.
    Number(u8),
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
}

impl Known {
    /// As the gateway asks it.
    #[must_use]
    pub fn condition(self) -> Condition {
        match self {
            Known::Smtp => Condition::Smtp,
            Known::Number(number) => Condition::Protocol(number),
            Known::Tcp(port) => Condition::Port { protocol: TCP, port },
            Known::Udp(port) => Condition::Port { protocol: UDP, port },
        }
    }
}

/// Mail; the one that is read and not only followed.
pub static SMTP: Protocol = Protocol { name: "smtp", tests: &[Known::Smtp] };

/// All of them, by name. Ports are those of IANA's registry.
pub static PROTOCOLS: &[&Protocol] = &[
    &Protocol { name: "bgp", tests: &[Known::Tcp(179)] },
    &Protocol { name: "dns", tests: &[Known::Udp(53), Known::Tcp(53)] },
    &Protocol { name: "ftp", tests: &[Known::Tcp(21)] },
    &Protocol { name: "http", tests: &[Known::Tcp(80)] },
    &Protocol { name: "https", tests: &[Known::Tcp(443)] },
    &Protocol { name: "icmp", tests: &[Known::Number(ICMP)] },
    &Protocol { name: "imap", tests: &[Known::Tcp(143)] },
    &Protocol { name: "imaps", tests: &[Known::Tcp(993)] },
    &Protocol { name: "ldap", tests: &[Known::Tcp(389)] },
    &Protocol { name: "ntp", tests: &[Known::Udp(123)] },
    &Protocol { name: "pop3", tests: &[Known::Tcp(110)] },
    &Protocol { name: "pop3s", tests: &[Known::Tcp(995)] },
    &SMTP,
    &Protocol { name: "snmp", tests: &[Known::Udp(161)] },
    &Protocol { name: "ssh", tests: &[Known::Tcp(22)] },
    &Protocol { name: "syslog", tests: &[Known::Udp(514)] },
    &Protocol { name: "tcp", tests: &[Known::Number(TCP)] },
    &Protocol { name: "telnet", tests: &[Known::Tcp(23)] },
    &Protocol { name: "tftp", tests: &[Known::Udp(69)] },
    &Protocol { name: "udp", tests: &[Known::Number(UDP)] },
];

/// Their names.
#[must_use]
pub fn names() -> Vec<&'static str> {
    PROTOCOLS.iter().map(|protocol| protocol.name).collect()
}

/// The one of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Protocol> {
    PROTOCOLS.iter().copied().find(|protocol| protocol.name == name)
}
