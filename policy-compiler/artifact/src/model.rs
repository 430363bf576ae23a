//! What a policy says about traffic between two ports: paths, classes, actions.
//!
//! Everything is flat and refers by index, so that decoding needs no recursion and one pass of
//! [`Policy::validate`](crate::format) can check every reference.

use serde::{Deserialize, Serialize};

use crate::smtp::SmtpPolicy;

/// A whole compiled policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Policy {
    /// The text it was compiled from.
    pub source: Source,
    /// Which of the two Cisco forms the text used; decides what happens on a path nobody named.
    pub form: Form,
    /// Logical places a port of the gateway can be bound to: zones, or interfaces in the classic form.
    pub ports: Vec<PortName>,
    /// Ways that a session can take, by the ports it enters and leaves. Looked up in order.
    pub paths: Vec<Path>,
    /// Arena of match conditions; a condition refers only to ones before it.
    pub conditions: Vec<Condition>,
    /// Access lists that conditions refer to.
    pub access_lists: Vec<AccessList>,
    /// Session parameters that `inspect` actions refer to; never empty, the first is the default.
    pub parameters: Vec<InspectParameters>,
    /// Application policies that `inspect` actions refer to.
    pub smtp: Vec<SmtpPolicy>,
    /// TCP ports on which SMTP is spoken: 25 and those of `ip port-map`. Sorted, unique.
    pub smtp_ports: Vec<u16>,
}

/// The policy text, kept for `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Source {
    /// File name as given to the compiler, without its directories.
    pub name: String,
    /// The text itself.
    pub text: String,
}

/// The form of the policy language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Form {
    /// Zones and zone-pairs: between two zones nothing passes without a policy that lets it.
    #[default]
    Zone,
    /// `ip inspect name`: what no rule inspects passes as if the gateway were a wire.
    Classic,
}

/// A logical place that `--port NAME=INTERFACE` binds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortName {
    /// Zone name, or interface name in the classic form.
    pub name: String,
    /// Interface names that the policy itself puts in this zone (or the interface itself).
    pub interfaces: Vec<String>,
}

/// Index into [`Policy::ports`].
pub type PortIndex = u16;
/// Index into [`Policy::conditions`].
pub type ConditionIndex = u16;

/// One direction between two ports, for sessions opened in that direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// Port by which the session's first packet enters; `None` is any.
    pub source: Option<PortIndex>,
    /// Port by which it leaves; `None` is any.
    pub destination: Option<PortIndex>,
    /// Name of the zone-pair; in the classic form that of the inspection rule.
    pub zone_pair: String,
    /// Name of the top-level policy map; in the classic form that of the inspection rule.
    pub policy: String,
    /// Classes in configuration order; the first that matches decides. The zone form always ends
    /// with `class-default`; in the classic form no match means pass.
    pub classes: Vec<TopClass>,
}

/// A class of the top-level policy and what is done with its traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopClass {
    /// Class-map name, or `class-default`.
    pub name: String,
    /// How its matches are combined, as `show` prints it.
    pub mode: Mode,
    /// When it applies.
    pub condition: ConditionIndex,
    /// The `match` lines as written, without the leading keyword, for `show`.
    pub matches: Vec<String>,
    /// What is done.
    pub action: TopAction,
    /// Line of the policy text that configures it, from 1; 0 where it is implicit.
    pub line: u32,
}

/// How a class combines its `match` lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// One suffices.
    Any,
    /// Every one must hold.
    All,
}

/// What a top-level class does with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopAction {
    /// Follow it statefully and let answers back; with an application policy, inspect it.
    Inspect {
        /// Index into [`Policy::parameters`].
        parameters: u16,
        /// Index into [`Policy::smtp`]; `None` is a pinhole.
        smtp: Option<u16>,
    },
    /// Let this direction through, uninspected and without state.
    Pass {
        /// Log the first packet.
        log: bool,
    },
    /// Discard.
    Drop {
        /// Log it.
        log: bool,
    },
}

/// A test on the first packet of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Always true.
    Any,
    /// TCP to one of [`Policy::smtp_ports`].
    Smtp,
    /// An IP protocol number (6 TCP, 17 UDP, 1 ICMP; ICMPv6 counts as ICMP).
    Protocol(u8),
    /// A transport protocol (6 or 17) to a destination port.
    Port {
        /// IP protocol number.
        protocol: u8,
        /// Destination port.
        port: u16,
    },
    /// An access list (index into [`Policy::access_lists`]) permits it.
    AccessList(u16),
    /// The condition does not hold.
    Not(ConditionIndex),
    /// Every one holds (true when empty).
    All(Vec<ConditionIndex>),
    /// One of them holds (false when empty).
    AnyOf(Vec<ConditionIndex>),
}

/// An access list: the first entry that matches decides, none means deny.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessList {
    /// Number or name.
    pub name: String,
    /// Entries in order.
    pub entries: Vec<AccessEntry>,
}

/// One line of an access list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEntry {
    /// `permit` or `deny`.
    pub permit: bool,
    /// IP protocol number, `None` for `ip`/`ipv6`.
    pub protocol: Option<u8>,
    /// Source address; `None` is `any`.
    pub source: Option<AddressMatch>,
    /// Source ports, inclusive.
    pub source_ports: Option<(u16, u16)>,
    /// Destination address; `None` is `any`.
    pub destination: Option<AddressMatch>,
    /// Destination ports, inclusive.
    pub destination_ports: Option<(u16, u16)>,
    /// Line of the policy text, from 1.
    pub line: u32,
}

/// Address and mask; a set bit of the mask must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressMatch {
    /// IPv4.
    V4 {
        /// Address.
        address: [u8; 4],
        /// Bits that count.
        mask: [u8; 4],
    },
    /// IPv6.
    V6 {
        /// Address.
        address: [u8; 16],
        /// Bits that count.
        mask: [u8; 16],
    },
}

/// `parameter-map type inspect`: timeouts and limits of sessions. Times in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectParameters {
    /// Map name; `default` for the built-in one.
    pub name: String,
    /// Whether alert messages are logged.
    pub alert: bool,
    /// Whether session start and end are logged.
    pub audit_trail: bool,
    /// Idle time after which an established session ends.
    pub tcp_idle_time: u32,
    /// Time a session may take to be established.
    pub tcp_synwait_time: u32,
    /// Time a session is kept after both FINs.
    pub tcp_finwait_time: u32,
    /// Time without a packet after which no answer of UDP, or of any other protocol but TCP and ICMP, is let back.
    pub udp_idle_time: u32,
    /// Likewise of ICMP and ICMPv6.
    pub icmp_idle_time: u32,
    /// Half-open sessions: old ones are deleted above `high` until `low`. `None` is unlimited.
    pub max_incomplete: Option<Thresholds>,
    /// New half-open sessions per minute.
    pub one_minute: Option<Thresholds>,
    /// Sessions of one class.
    pub sessions_maximum: Option<u32>,
    /// Half-open sessions per destination host, and minutes to block it.
    pub max_incomplete_host: Option<(u32, u32)>,
}

/// A pair of thresholds with hysteresis; `low < high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Deleting stops here.
    pub low: u32,
    /// Deleting starts above this.
    pub high: u32,
}

impl Default for InspectParameters {
    fn default() -> Self {
        Self {
            name: "default".into(),
            alert: true,
            audit_trail: false,
            tcp_idle_time: 3600,
            tcp_synwait_time: 30,
            tcp_finwait_time: 5,
            udp_idle_time: 30,
            icmp_idle_time: 10,
            max_incomplete: None,
            one_minute: None,
            sessions_maximum: None,
            max_incomplete_host: None,
        }
    }
}
