//! What stands in a gateway's way on a host, and how to mend it.
//!
//! `postern run` asks before it binds anything and refuses what cannot work; `postern check-host` prints the same.

use std::fmt;

use af_xdp::interface::{Facts, Interface};

use super::program::QUEUE_LIMIT;
use super::{Mode, UMEM_HEADROOM};

/// Longest IP packet of a port, in octets. A frame must fit one page together with XDP's headroom and the
/// driver's bookkeeping (`veth_xdp_set` in `drivers/net/veth.c` allows 3506); longer ones need a program that knows fragments.
pub const MTU_LIMIT: u32 = 3500;

/// Octets around an IP packet: Ethernet header and two VLAN tags.
pub const LINK_OVERHEAD: u32 = 14 + 8;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know; depends on what is at the other end of the cable.
    Note,
    /// Works, but something will be lost or slow.
    Warning,
    /// Cannot work.
    Refusal,
}

/// One thing about a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Name of the interface.
    pub interface: String,
    /// What is the matter, in a sentence.
    pub text: String,
    /// What to do about it: a command, or a few words.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.interface, self.text, self.remedy)
    }
}

/// Octets of a chunk that holds the longest frame of both ports: 2048 or 4096.
#[must_use]
pub fn chunk_len(mtu: u32) -> u32 {
    if mtu + LINK_OVERHEAD + UMEM_HEADROOM <= 2048 { 2048 } else { 4096 }
}

/// What speaks against a port before anything is bound to it.
#[must_use]
pub fn check(interface: &Interface, facts: &Facts, workers: u32) -> Vec<Finding> {
    let name = interface.name();
    let mut findings = Vec::new();
    let mut find = |severity, text: String, remedy: String| {
        findings.push(Finding { severity, interface: name.to_owned(), text, remedy });
    };
    if facts.mtu > MTU_LIMIT {
        find(
            Severity::Refusal,
            format!(
                "its MTU is {}, and AF_XDP takes frames of one page: at most {MTU_LIMIT} octets and the link header",
                facts.mtu
            ),
            format!("ip link set dev {name} mtu {MTU_LIMIT}, at both ends of the cable"),
        );
    }
    if facts.queue_count != workers {
        let queues = facts.queue_count;
        let (text, remedy) = if queues > QUEUE_LIMIT {
            (format!("it has {queues} receive queues, more than {QUEUE_LIMIT}"), String::new())
        } else {
            let workers = if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") };
            (
                format!("it has {queues} receive queues and the gateway {workers}: each queue needs one"),
                format!("--workers {queues}, or "),
            )
        };
        find(Severity::Refusal, text, format!("{remedy}ethtool -L {name} combined {workers}"));
    }
    if !facts.up {
        find(Severity::Warning, "it is down".into(), format!("ip link set dev {name} up"));
    }
    if !facts.addresses.is_empty() {
        let list: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        find(
            Severity::Warning,
            format!(
                "it has addresses ({}) that nobody will reach: a port is a piece of wire",
                list.join(", ")
            ),
            format!("ip address flush dev {name}"),
        );
    }
    if facts.driver == "veth" {
        find(
            Severity::Note,
            "it is a veth: what is at its far end must compute checksums and insert VLAN tags itself".into(),
            "ethtool -K FAR_END tx off txvlan off".into(),
        );
    } else if facts.strips_vlan {
        find(
            Severity::Warning,
            "it takes VLAN tags out of received frames before the gateway sees them".into(),
            format!("ethtool -K {name} rxvlan off"),
        );
    }
    findings
}

/// What speaks against a port once the program is on it in a mode: a driver says only then what it can do.
#[must_use]
pub fn check_attached(interface: &Interface, facts: &Facts, mode: Mode) -> Vec<Finding> {
    let name = interface.name();
    let mut findings = Vec::new();
    let mut find = |severity, text: &str, remedy: String| {
        findings.push(Finding { severity, interface: name.to_owned(), text: text.into(), remedy });
    };
    let is_veth = facts.driver == "veth";
    if mode == Mode::Native && facts.transmits_redirected == Some(false) {
        find(
            Severity::Warning,
            "it takes no frames from other ports inside the kernel: whatever the policy lets pass uninspected, ARP \
             included, is lost",
            if is_veth {
                "its far end needs GRO or an XDP program: ethtool -K FAR_END gro on".into()
            } else {
                "use another driver, or --mode skb".into()
            },
        );
    }
    if mode == Mode::Skb {
        find(
            Severity::Warning,
            "the XDP program runs in skb mode, which is slow and does not stop the sender from handing over segments \
             longer than a frame: these are lost and TCP crawls",
            if is_veth {
                "ethtool -K FAR_END tso off gso off, or --mode native".into()
            } else {
                format!("ethtool -K {name} gro off lro off, or a driver with XDP")
            },
        );
    }
    findings
}

/// Why the two directions of a session need not come to queues of the same number; `None` when they do.
#[must_use]
pub fn check_spread(interfaces: [&Interface; 2]) -> Option<String> {
    let hashes = interfaces.map(|interface| (interface.name(), interface.receive_hash()));
    for (name, hash) in &hashes {
        match hash {
            None => return Some(format!("{name} does not say how it spreads frames over its queues")),
            Some(hash) if !hash.is_symmetric() => {
                return Some(format!("the receive hash of {name} is not symmetric"));
            }
            Some(hash) if !hash.by_addresses => {
                return Some(format!(
                    "{name} spreads TCP by ports, too, and fragments do not have them (ethtool -N {name} rx-flow-hash tcp4 sd)"
                ));
            }
            Some(_) => {}
        }
    }
    let [(a, one), (b, other)] = hashes;
    (one != other).then(|| format!("{a} and {b} have different hash keys or tables"))
}

/// What speaks against two ports as a pair.
#[must_use]
pub fn check_pair(interfaces: [&Interface; 2], facts: [&Facts; 2]) -> Option<Finding> {
    let [a, b] = facts.map(|facts| facts.mtu);
    (a != b).then(|| Finding {
        severity: Severity::Warning,
        interface: interfaces[0].name().to_owned(),
        text: format!(
            "its MTU is {a} and that of {} is {b}: longer frames are lost on their way",
            interfaces[1].name()
        ),
        remedy: "set both to the same".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            mtu: 1500,
            up: true,
            driver: "mlx5_core".into(),
            queue_count: 1,
            transmit_checksum: false,
            segmentation: false,
            strips_vlan: false,
            transmits_redirected: Some(true),
            zero_copy: Some(true),
            addresses: Vec::new(),
        }
    }

    fn texts(facts: &Facts, workers: u32) -> Vec<String> {
        let loopback = Interface::find("lo").unwrap();
        check(&loopback, facts, workers)
            .iter()
            .map(|finding| format!("{:?} {finding}", finding.severity))
            .collect()
    }

    #[test]
    fn a_host_that_is_ready_has_no_findings() {
        assert!(texts(&facts(), 1).is_empty());
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_remedy() {
        assert_eq!(
            texts(&Facts { mtu: 9000, ..facts() }, 1),
            [
                "Refusal lo: its MTU is 9000, and AF_XDP takes frames of one page: at most 3500 octets and the link \
              header (ip link set dev lo mtu 3500, at both ends of the cable)"
            ]
        );
        assert_eq!(
            texts(&Facts { queue_count: 8, ..facts() }, 2),
            [
                "Refusal lo: it has 8 receive queues and the gateway 2 workers: each queue needs one (--workers 8, or \
              ethtool -L lo combined 2)"
            ]
        );
    }

    #[test]
    fn what_will_hurt_is_said() {
        let veth = Facts { driver: "veth".into(), transmits_redirected: Some(false), ..facts() };
        let loopback = Interface::find("lo").unwrap();
        assert_eq!(check_attached(&loopback, &veth, Mode::Native).len(), 1);
        assert_eq!(check_attached(&loopback, &veth, Mode::Skb).len(), 1);
        assert!(check_attached(&loopback, &facts(), Mode::Native).is_empty());
        let striped =
            Facts { strips_vlan: true, up: false, addresses: vec![[192, 0, 2, 1].into()], ..facts() };
        assert_eq!(texts(&striped, 1).len(), 3);
        assert!(check_pair([&loopback, &loopback], [&facts(), &Facts { mtu: 1400, ..facts() }]).is_some());
        assert!(check_pair([&loopback, &loopback], [&facts(), &facts()]).is_none());
    }

    #[test]
    fn a_chunk_holds_the_longest_frame() {
        assert_eq!([1500, 1770, 1771, 3500].map(chunk_len), [2048, 2048, 4096, 4096]);
    }
}
