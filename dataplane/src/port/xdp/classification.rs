//! What the kernel needs to know of a policy: an action for each TCP port and protocol, by port of entry.
//!
//! The XDP program sees a frame's protocol and TCP ports and nothing else of the policy. So whatever these two
//! decide is decided in the kernel, and whatever needs more (addresses, a log line, state) goes to a worker,
//! which decides it with the whole policy. Pure: no system call in here.

use artifact::model::{AccessEntry, AccessList, Condition, Form, Path, Policy, PortIndex, TopAction};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Number of TCP ports.
const PORT_COUNT: usize = 65536;

/// What the kernel does with a frame. The numbers are those of `enum action` in the XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Action {
    /// Discard and count.
    #[default]
    Drop = 0,
    /// Let it out by the other port.
    Bridge = 1,
    /// Give it to a worker.
    Inspect = 2,
}

/// Actions for what enters by one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingress {
    /// For sessions opened from this side, by destination port. The kernel inspects a segment also if the
    /// other side's table says so for its source port: it may be an answer.
    tcp: Box<[Action; PORT_COUNT]>,
    /// The class that decides, by number, for counting; by port as above. 0 where it is not known, or a worker decides.
    tcp_class: Box<[u8; PORT_COUNT]>,
    /// Likewise for UDP, ICMP, and every other IP protocol.
    pub udp_class: u8,
    /// ICMP and ICMPv6, no errors.
    pub icmp_class: u8,
    /// Every other IP protocol.
    pub other_class: u8,
    /// UDP.
    pub udp: Action,
    /// ICMP and ICMPv6. Neighbour discovery is always bridged.
    pub icmp: Action,
    /// ICMP and ICMPv6 errors, which path MTU discovery of inspected sessions needs.
    pub icmp_error: Action,
    /// Every other IP protocol.
    pub other: Action,
    /// Fragments of TCP over IPv4 (others go as their protocol).
    pub fragment: Action,
    /// Fragments of IPv6.
    pub fragment_v6: Action,
    /// LLDP, spanning tree, LACP, 802.1X, CDP, OAM and PTP. ARP is always bridged.
    pub link_control: Action,
    /// Every other ethertype.
    pub ethertype: Action,
}

/// The kernel's part of a policy, for both ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classification {
    /// By port of entry.
    pub ingress: [Ingress; 2],
}

impl Ingress {
    /// The same action for everything.
    #[must_use]
    pub fn uniform(action: Action) -> Self {
        Self {
            tcp: Box::new([action; PORT_COUNT]),
            tcp_class: Box::new([0; PORT_COUNT]),
            udp_class: 0,
            icmp_class: 0,
            other_class: 0,
            udp: action,
            icmp: action,
            icmp_error: action,
            other: action,
            fragment: action,
            fragment_v6: action,
            link_control: action,
            ethertype: action,
        }
    }

    /// The action for sessions opened from this side to a TCP port.
    #[must_use]
    pub fn tcp(&self, port: u16) -> Action {
        self.tcp[usize::from(port)]
    }

    /// Sets the action for sessions opened from this side to a TCP port.
    pub fn set_tcp(&mut self, port: u16, action: Action) {
        self.tcp[usize::from(port)] = action;
        self.tcp_class[usize::from(port)] = 0;
    }

    /// Sets the number of the class that decides about a TCP port, for counting. [`Ingress::set_tcp`] forgets it.
    pub fn set_tcp_class(&mut self, port: u16, class: u8) {
        self.tcp_class[usize::from(port)] = class;
    }

    /// Every TCP port's class, from port 0.
    pub(super) fn tcp_classes(&self) -> &[u8; PORT_COUNT] {
        &self.tcp_class
    }

    /// Every TCP port's action, from port 0.
    pub(super) fn tcp_actions(&self) -> &[Action; PORT_COUNT] {
        &self.tcp
    }
}

impl Classification {
    /// Bridges everything but sessions to `ports`, which are inspected, from either side.
    #[must_use]
    pub fn inspecting(ports: &[u16]) -> Self {
        let mut side = Ingress::uniform(Action::Bridge);
        for port in ports {
            side.set_tcp(*port, Action::Inspect);
        }
        let mut classification = Self { ingress: [side.clone(), side] };
        classification.settle();
        classification
    }

    /// What the kernel can decide of a policy whose logical ports are bound as in `ports`; `None` is a port of the
    /// gateway that the policy does not know.
    ///
    /// - In the zone form nothing passes that no policy lets through; between two ports of one zone everything
    ///   does. In the classic form what no rule inspects passes.
    /// - `inspect` is a worker's, in both directions; so are `pass log` and `drop log`, whose first packet must be
    ///   seen to be logged. `pass` and `drop` are the kernel's.
    /// - Where a class may or may not match (access lists with addresses, UDP ports), every action that is still
    ///   possible is considered: if they agree that is it, else a worker decides.
    #[must_use]
    pub fn from_policy(policy: &Policy, ports: [Option<PortIndex>; 2]) -> Self {
        Self::counting(policy, ports, &|_, _| 0)
    }

    /// The same, with the number that each class is counted under, by path and class; 0 where it is not counted.
    #[must_use]
    pub fn counting(
        policy: &Policy,
        ports: [Option<PortIndex>; 2],
        number: &dyn Fn(usize, usize) -> u8,
    ) -> Self {
        let [a, b] = ports;
        let ingress = [(a, b), (b, a)].map(|(source, destination)| side(policy, source, destination, number));
        let mut classification = Self { ingress };
        classification.settle();
        classification
    }

    /// Whether any TCP session can come to a worker. Then frames that could be an inspected segment in disguise are
    /// dropped, and fragments are a worker's.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.ingress.iter().any(|side| side.tcp.contains(&Action::Inspect))
    }

    /// Fills in what follows from the rest: answers to what is inspected, fragments, ICMP errors.
    fn settle(&mut self) {
        let guarded = self.is_guarded();
        let protocols: [fn(&mut Ingress) -> &mut Action; 3] =
            [|side| &mut side.udp, |side| &mut side.icmp, |side| &mut side.other];
        for protocol in protocols {
            if self.ingress.iter_mut().any(|side| *protocol(side) == Action::Inspect) {
                for side in &mut self.ingress {
                    *protocol(side) = Action::Inspect;
                }
            }
        }
        // An error may be about anything that a worker lets through.
        let followed = guarded
            || self.ingress.iter().any(|side| [side.udp, side.icmp, side.other].contains(&Action::Inspect));
        for side in &mut self.ingress {
            side.icmp_error = if followed && side.icmp == Action::Drop { Action::Inspect } else { side.icmp };
            let tcp = agreed(side.tcp.iter().copied());
            side.fragment = if guarded { Action::Inspect } else { tcp };
            side.fragment_v6 =
                if guarded { Action::Inspect } else { agreed([tcp, side.udp, side.icmp, side.other]) };
        }
    }
}

/// The one action there is, or a worker's decision.
fn agreed(actions: impl IntoIterator<Item = Action>) -> Action {
    let mut actions = actions.into_iter();
    let first = actions.next().unwrap_or(Action::Inspect);
    if actions.all(|action| action == first) { first } else { Action::Inspect }
}

/// What enters by `source` and would leave by `destination`.
fn side(
    policy: &Policy,
    source: Option<PortIndex>,
    destination: Option<PortIndex>,
    number: &dyn Fn(usize, usize) -> u8,
) -> Ingress {
    let wire = policy.form == Form::Classic || (source.is_some() && source == destination);
    let default = if wire { Action::Bridge } else { Action::Drop };
    let matches = |side: Option<PortIndex>, asked| side.is_none() || side == asked;
    let mut paths = policy
        .paths
        .iter()
        .enumerate()
        .filter(|(_, path)| matches(path.source, source) && matches(path.destination, destination));
    let paths: Vec<(usize, &Path)> = match policy.form {
        // Two ports of a zone need no policy; else the zone-pair decides, of which there is one.
        Form::Zone if wire => Vec::new(),
        Form::Zone => paths.next().into_iter().collect(),
        // A rule on the way in and another on the way out: whichever inspects it.
        Form::Classic => paths.collect(),
    };
    let ask = |traffic: Traffic| {
        let held = held(policy, traffic);
        let mut outcomes = paths.iter().map(|(path, it)| match outcome(it, &held) {
            Some((action, class)) => (action, class.map_or(0, |class| number(*path, class))),
            None => (default, 0),
        });
        match policy.form {
            Form::Zone => outcomes.next().unwrap_or((default, 0)),
            Form::Classic => outcomes.max().unwrap_or((default, 0)),
        }
    };

    let mut ingress = Ingress::uniform(default);
    // Which action a port has changes only at the ports that the policy names.
    let mut bounds = port_bounds(policy);
    bounds.push(PORT_COUNT);
    for pair in bounds.windows(2) {
        let (action, class) = ask(Traffic { protocol: Protocol::Tcp, port: u16::try_from(pair[0]).ok() });
        ingress.tcp[pair[0]..pair[1]].fill(action);
        ingress.tcp_class[pair[0]..pair[1]].fill(class);
    }
    let of = |protocol| ask(Traffic { protocol, port: None });
    (ingress.udp, ingress.udp_class) = of(Protocol::Udp);
    (ingress.icmp, ingress.icmp_class) = of(Protocol::Icmp);
    (ingress.other, ingress.other_class) = of(Protocol::Other);
    ingress.link_control = Action::Bridge;
    ingress.ethertype = default;
    ingress
}

/// Every port at which the answer to some condition can change, 0 first; ascending, unique.
fn port_bounds(policy: &Policy) -> Vec<usize> {
    let mut ranges: Vec<(u16, u16)> = policy.smtp_ports.iter().map(|port| (*port, *port)).collect();
    ranges.extend(policy.conditions.iter().filter_map(|condition| match condition {
        Condition::Port { port, .. } => Some((*port, *port)),
        _ => None,
    }));
    let entries = policy.access_lists.iter().flat_map(|list| &list.entries);
    ranges.extend(entries.filter_map(|entry| entry.destination_ports));
    let mut bounds: Vec<usize> =
        ranges.into_iter().flat_map(|(low, high)| [usize::from(low), usize::from(high) + 1]).collect();
    bounds.push(0);
    bounds.retain(|bound| *bound < PORT_COUNT);
    bounds.sort_unstable();
    bounds.dedup();
    bounds
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
    /// One of the others; which is not known.
    Other,
}

impl Protocol {
    /// Whether it is protocol `number`, if that can be said.
    fn is(self, number: u8) -> Option<bool> {
        match (self, number) {
            (Protocol::Tcp, _) => Some(number == TCP),
            (Protocol::Udp, _) => Some(number == UDP),
            // ICMPv6 counts as ICMP; whether this is it is not known.
            (Protocol::Icmp, ICMPV6) => None,
            (Protocol::Icmp, _) => Some(number == ICMP),
            (Protocol::Other, TCP | UDP | ICMP | ICMPV6) => Some(false),
            (Protocol::Other, _) => None,
        }
    }
}

/// What the kernel can tell about a frame.
#[derive(Debug, Clone, Copy)]
struct Traffic {
    protocol: Protocol,
    /// Destination port of TCP.
    port: Option<u16>,
}

/// What a path's classes do with traffic for which the conditions hold as in `held`, and which class that is, where only one
/// can be; `None` when no class matches.
fn outcome(path: &Path, held: &[Option<bool>]) -> Option<(Action, Option<usize>)> {
    let mut possible: Vec<Option<Action>> = Vec::new();
    for (index, class) in path.classes.iter().enumerate() {
        let action = match class.action {
            TopAction::Inspect { .. } | TopAction::Pass { log: true } | TopAction::Drop { log: true } => {
                Action::Inspect
            }
            TopAction::Pass { log: false } => Action::Bridge,
            TopAction::Drop { log: false } => Action::Drop,
        };
        match held.get(usize::from(class.condition)).copied().flatten() {
            Some(false) => {}
            Some(true) => {
                let only = possible.is_empty().then_some(index);
                possible.push(Some(action));
                return settled(&possible).map(|action| (action, only));
            }
            None => possible.push(Some(action)),
        }
    }
    possible.push(None);
    settled(&possible).map(|action| (action, None))
}

fn settled(possible: &[Option<Action>]) -> Option<Action> {
    match possible {
        [first, rest @ ..] if rest.iter().all(|other| other == first) => *first,
        _ => Some(Action::Inspect),
    }
}

/// Whether each condition holds: yes, no, or it depends on what the kernel does not look at. A condition refers only to
/// earlier ones, so one pass suffices; a reference to another is not known.
fn held(policy: &Policy, traffic: Traffic) -> Vec<Option<bool>> {
    let mut held: Vec<Option<bool>> = Vec::with_capacity(policy.conditions.len());
    for condition in &policy.conditions {
        let earlier = |index: &u16| held.get(usize::from(*index)).copied().flatten();
        let holds = match condition {
            Condition::Any => Some(true),
            Condition::Smtp => match (traffic.protocol, traffic.port) {
                (Protocol::Tcp, Some(port)) => Some(policy.smtp_ports.contains(&port)),
                (Protocol::Tcp, None) => None,
                _ => Some(false),
            },
            Condition::Protocol(number) => traffic.protocol.is(*number),
            Condition::Port { protocol, port } => {
                both(traffic.protocol.is(*protocol), traffic.port.map(|asked| asked == *port))
            }
            Condition::AccessList(list) => {
                policy.access_lists.get(usize::from(*list)).and_then(|list| permits(list, traffic))
            }
            Condition::Not(inner) => earlier(inner).map(|holds| !holds),
            Condition::All(list) => all(list.iter().map(earlier)),
            Condition::AnyOf(list) => {
                all(list.iter().map(|inner| earlier(inner).map(|it| !it))).map(|none| !none)
            }
        };
        held.push(holds);
    }
    held
}

/// Every one holds, where `None` is not known.
fn all(each: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for holds in each {
        all = both(all, holds);
    }
    all
}

/// Both hold, where `None` is not known.
fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// Whether an access list permits it: the first entry that matches decides, none means deny.
fn permits(list: &AccessList, traffic: Traffic) -> Option<bool> {
    let mut possible = Vec::new();
    for entry in &list.entries {
        match matches(entry, traffic) {
            Some(false) => continue,
            Some(true) => {
                possible.push(entry.permit);
                return possible.iter().all(|permit| *permit == entry.permit).then_some(entry.permit);
            }
            None => possible.push(entry.permit),
        }
    }
    (!possible.contains(&true)).then_some(false)
}

fn matches(entry: &AccessEntry, traffic: Traffic) -> Option<bool> {
    let protocol = entry.protocol.map_or(Some(true), |number| traffic.protocol.is(number));
    let destination = entry
        .destination_ports
        .map_or(Some(true), |(low, high)| traffic.port.map(|port| (low..=high).contains(&port)));
    let elsewhere = entry.source.is_some() || entry.destination.is_some() || entry.source_ports.is_some();
    both(both(protocol, destination), if elsewhere { None } else { Some(true) })
}

#[cfg(test)]
mod tests;
