//! `postern check-host`: is this host ready, and if not, what mends it.
//!
//! What can be tried is tried (the XDP program is loaded, a socket bound to each port for a moment, nothing attached); what
//! can only be read is read; what can be neither is said to be so.

use std::fs;

use af_xdp::interface::Interface;
use af_xdp::{Socket, SocketConfig, Transfer, Umem};
use serde::Serialize;

use crate::config::CheckHostArgs;
use crate::failure::Failure;
use crate::limits::Limits;
use crate::port::xdp::host::{self, Severity};
use crate::port::xdp::program::Program;

/// Oldest kernel that has all it takes: umem shared between devices, XDP links, frames of any driver.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or it could not be found out.
    Warn,
    /// It cannot work.
    Fail,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How it went.
    pub status: Status,
    /// The kernel, the process, or an interface.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Check {
    fn new(status: Status, subject: &str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { status, subject: subject.into(), text: text.into(), mend: mend.into() }
    }
}

/// Checks, prints; what is printed and whether nothing failed.
///
/// # Errors
/// With the whole answer, when something fails.
pub fn command(args: &CheckHostArgs) -> (String, Result<(), Failure>) {
    let checks = everything(args);
    let text = if args.json {
        serde_json::to_string_pretty(&checks).map(|text| text + "\n").unwrap_or_default()
    } else {
        table(&checks)
    };
    let count = checks.iter().filter(|check| check.status == Status::Fail).count();
    let result = match count {
        0 => Ok(()),
        1 => Err(Failure::Bad("this host is not ready: one check failed".into())),
        count => Err(Failure::Bad(format!("this host is not ready: {count} checks failed"))),
    };
    (text, result)
}

fn table(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        text.push_str(&format!("{status:<5} {}: {}\n", check.subject, check.text));
        if !check.mend.is_empty() {
            text.push_str(&format!("      mend: {}\n", check.mend));
        }
    }
    text
}

fn everything(args: &CheckHostArgs) -> Vec<Check> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut checks = vec![
        kernel(read("/proc/sys/kernel/osrelease").trim()),
        jit(read("/proc/sys/net/core/bpf_jit_enable").trim()),
        capabilities(&read("/proc/self/status")),
    ];
    let mut ports = Vec::new();
    for port in &args.ports {
        match Interface::find(&port.interface).and_then(|found| Ok((found.facts()?, found))) {
            Ok((facts, interface)) => ports.push((interface, facts)),
            Err(error) => checks.push(Check::new(
                Status::Fail,
                &port.interface,
                format!("there is no such interface ({error})"),
                "ip link; --port NAME=INTERFACE names one of this machine",
            )),
        }
    }
    let mtu = ports.iter().map(|(_, facts)| facts.mtu).max().unwrap_or(1500);
    checks.push(memory(&read("/proc/self/limits"), &read("/proc/self/status"), args.workers, mtu));
    checks.push(match Program::load(false) {
        Ok(_) => Check::new(Status::Ok, "kernel", "it takes the XDP program", ""),
        Err(error) => Check::new(
            Status::Fail,
            "kernel",
            format!("it does not take the XDP program: {error}"),
            "run as root or with the capabilities above, on a kernel with CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS",
        ),
    });
    for (interface, facts) in &ports {
        let name = interface.name();
        let speed = match facts.zero_copy {
            Some(true) => "zero-copy AF_XDP",
            Some(false) => "AF_XDP in copy mode",
            None => "AF_XDP (the kernel does not say in which mode)",
        };
        let driver = if facts.driver.is_empty() { "unknown" } else { &facts.driver };
        let text =
            format!("driver {driver}, MTU {}, {} receive queues, {speed}", facts.mtu, facts.queue_count);
        checks.push(Check::new(Status::Ok, name, text, ""));
        for finding in host::check(interface, facts, args.workers) {
            let status = if finding.severity == Severity::Refusal { Status::Fail } else { Status::Warn };
            checks.push(Check::new(status, name, finding.text, finding.remedy));
        }
        checks.push(socket(interface));
        if interface.merges_received() {
            let mend = format!("ethtool -K {name} lro off");
            checks.push(Check::new(Status::Fail, name, "it puts received segments together (LRO)", mend));
        }
        if facts.transmits_redirected == Some(false) {
            let mend = if facts.driver == "veth" {
                "ethtool -K FAR_END gro on, unless the far end has an XDP program"
            } else {
                "none is needed if it takes them once the gateway's own program is on it; else --mode skb"
            };
            let text = "it takes no frames from other ports inside the kernel: ARP and what else is not inspected is lost";
            checks.push(Check::new(Status::Warn, name, text, mend));
        }
    }
    if let [(a, facts_a), (b, facts_b)] = &ports[..] {
        checks.push(spread([a, b], args.workers));
        if let Some(finding) = host::check_pair([a, b], [facts_a, facts_b]) {
            checks.push(Check::new(Status::Warn, &finding.interface, finding.text, finding.remedy));
        }
    }
    checks
}

fn kernel(release: &str) -> Check {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map_while(|word| word.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST_KERNEL {
        return Check::new(Status::Ok, "kernel", format!("Linux {release}"), "");
    }
    let (major, minor) = OLDEST_KERNEL;
    let text = format!("Linux {release} is too old, AF_XDP as used here came with {major}.{minor}");
    Check::new(Status::Fail, "kernel", text, "a newer kernel")
}

fn jit(setting: &str) -> Check {
    match setting {
        "1" | "2" => Check::new(Status::Ok, "kernel", "XDP programs are compiled", ""),
        "0" => {
            let mend = "sysctl -w net.core.bpf_jit_enable=1";
            Check::new(Status::Warn, "kernel", "XDP programs are interpreted, which is slow", mend)
        }
        // Only the first network namespace has the setting, and no kernel that always compiles.
        _ => Check::new(
            Status::Warn,
            "kernel",
            "whether XDP programs are compiled could not be read",
            "look outside of this network namespace: sysctl net.core.bpf_jit_enable (not there: always)",
        ),
    }
}

/// Bit of a capability (`include/uapi/linux/capability.h`).
const NEEDED: [(u32, &str); 5] =
    [(12, "NET_ADMIN"), (13, "NET_RAW"), (39, "BPF"), (38, "PERFMON"), (14, "IPC_LOCK")];
const SYS_ADMIN: u32 = 21;

/// The effective capabilities in `/proc/self/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn capabilities(status: &str) -> Check {
    let Some(bits) = effective(status) else {
        return Check::new(Status::Warn, "process", "its capabilities could not be read", "");
    };
    let has = |bit: u32| bits & 1 << bit != 0;
    // CAP_SYS_ADMIN stands for the two of BPF.
    let missing = |(bit, _): &&(u32, &str)| !(has(*bit) || matches!(bit, 38 | 39) && has(SYS_ADMIN));
    let missing: Vec<_> = NEEDED.iter().filter(missing).map(|(_, name)| format!("CAP_{name}")).collect();
    if missing.is_empty() {
        return Check::new(Status::Ok, "process", "it has the capabilities a gateway needs", "");
    }
    let mend = "run as root, or AmbientCapabilities= of the systemd unit";
    Check::new(Status::Fail, "process", format!("it lacks {}", missing.join(", ")), mend)
}

/// Whether the frames' memory may be locked.
fn memory(limits: &str, status: &str, workers: u32, mtu: u32) -> Check {
    let needed = Limits::default().frame_count * u64::from(workers) * u64::from(host::chunk_len(mtu));
    let mib = |octets: u64| octets.div_ceil(1 << 20);
    if effective(status).is_some_and(|bits| bits & 1 << 14 != 0) {
        let text =
            format!("it may lock memory without limit (CAP_IPC_LOCK); frames need {} MiB", mib(needed));
        return Check::new(Status::Ok, "process", text, "");
    }
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let mend = "CAP_IPC_LOCK, or LimitMEMLOCK=infinity of the systemd unit";
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => Check::new(Status::Ok, "process", "it may lock memory without limit", ""),
        Some(limit) => {
            let limit = limit.parse().unwrap_or(0);
            let status = if limit >= needed { Status::Ok } else { Status::Fail };
            let text = format!("it may lock {} MiB of memory, frames need {}", limit >> 20, mib(needed));
            Check::new(status, "process", text, if limit >= needed { "" } else { mend })
        }
        None => Check::new(Status::Warn, "process", "how much memory it may lock could not be read", mend),
    }
}

/// Binds a socket to the first queue for a moment.
fn socket(interface: &Interface) -> Check {
    let name = interface.name();
    let config =
        SocketConfig { interface: interface.index(), queue: 0, transfer: Transfer::Auto, ring_len: 64 };
    let opened = Umem::new(4096, 64).and_then(|(umem, _view)| Socket::open(&umem, &config, None));
    match opened.map_err(std::io::Error::from) {
        Ok(socket) => {
            let how = if socket.is_zero_copy() { "zero-copy" } else { "in copy mode" };
            Check::new(Status::Ok, name, format!("an AF_XDP socket can be bound, {how}"), "")
        }
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
            let text = "its first queue has an AF_XDP socket: of a gateway that runs, or of another program";
            Check::new(Status::Warn, name, text, "stop that program before the gateway is started")
        }
        Err(error) => {
            let text = format!("no AF_XDP socket can be bound: {error}");
            Check::new(
                Status::Fail,
                name,
                text,
                "root or the capabilities above, and CONFIG_XDP_SOCKETS in the kernel",
            )
        }
    }
}

/// Both directions of a session must be seen by one worker: best if the card brings them there.
fn spread(interfaces: [&Interface; 2], workers: u32) -> Check {
    let [a, b] = interfaces.map(Interface::name);
    let subject = format!("{a} and {b}");
    if workers == 1 {
        return Check::new(Status::Ok, &subject, "one worker sees both directions of every session", "");
    }
    match host::check_spread(interfaces) {
        None => {
            let text = "their receive hashes bring both directions of a session to one worker";
            Check::new(Status::Ok, &subject, text, "")
        }
        Some(why) => {
            let text = format!(
                "the workers must hand frames to each other, which takes a little of their time: {why}"
            );
            let mend = "deploy/prepare-host sets the receive hash where the card has one; --steering hash where it has none";
            Check::new(Status::Warn, &subject, text, mend)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, status) in [
            ("6.1.0-18-amd64", Status::Ok),
            ("5.10.0", Status::Ok),
            ("5.9.16", Status::Fail),
            ("5.4.0-150-generic", Status::Fail),
            ("10.0", Status::Ok),
            ("", Status::Fail),
        ] {
            assert_eq!(kernel(release).status, status, "{release}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(capabilities("CapEff:\t000001ffffffffff\n").status, Status::Ok);
        let check = capabilities("CapEff:\t0000000000003000\n");
        assert_eq!(
            (check.status, check.text.as_str()),
            (Status::Fail, "it lacks CAP_BPF, CAP_PERFMON, CAP_IPC_LOCK")
        );
        assert_eq!(
            capabilities("CapEff:\t0000000000207000\n").status,
            Status::Ok,
            "SYS_ADMIN stands for BPF"
        );
        assert_eq!(capabilities("").status, Status::Warn);
    }

    #[test]
    fn locked_memory_must_hold_the_frames() {
        let none = "CapEff:\t0000000000000000\n";
        let limits = |limit: &str| {
            format!("Max locked memory         {limit}              {limit}              bytes\n")
        };
        assert_eq!(memory(&limits("unlimited"), none, 4, 1500).status, Status::Ok);
        assert_eq!(memory(&limits("33554432"), none, 1, 1500).status, Status::Ok);
        assert_eq!(memory(&limits("33554432"), none, 1, 3000).status, Status::Fail);
        let check = memory(&limits("8388608"), none, 2, 1500);
        assert_eq!(
            (check.status, check.text.as_str()),
            (Status::Fail, "it may lock 8 MiB of memory, frames need 64")
        );
        assert_eq!(memory(&limits("8388608"), "CapEff:\tffffffffff\n", 2, 1500).status, Status::Ok);
        assert_eq!(memory("", none, 2, 1500).status, Status::Warn);
    }

    #[test]
    fn a_failure_is_printed_with_what_mends_it_and_counts() {
        let ports = vec!["a=no-such-port".parse().unwrap()];
        let mut args = CheckHostArgs { ports, workers: 2, json: false };
        let (text, result) = command(&args);
        assert!(text.contains("\nfail  no-such-port: there is no such interface ("), "{text}");
        assert!(text.contains("\n      mend: ip link; "), "{text}");
        assert_eq!(result.unwrap_err().status(), 1);
        args.json = true;
        let checks: serde_json::Value = serde_json::from_str(&command(&args).0).unwrap();
        assert!(checks.as_array().unwrap().iter().any(|check| check["status"] == "fail"));
    }

    #[test]
    fn loopback_is_looked_at() {
        let args = CheckHostArgs { ports: vec!["a=lo".parse().unwrap()], workers: 1, json: false };
        let (text, _) = command(&args);
        assert!(text.contains("lo: driver unknown, MTU "), "{text}");
        assert!(!text.contains("both directions"), "one port is no pair: {text}");
        let ports = ["a=lo", "b=lo"].map(|port| port.parse().unwrap()).to_vec();
        let (text, _) = command(&CheckHostArgs { ports: ports.clone(), workers: 1, json: false });
        assert!(text.contains("ok    lo and lo: one worker sees both directions"), "{text}");
        let (text, _) = command(&CheckHostArgs { ports, workers: 2, json: false });
        assert!(text.contains("warn  lo and lo: the workers must hand frames to each other"), "{text}");
    }
}
