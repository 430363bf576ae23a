//! Ports on AF_XDP in a real wire: client and server in network namespaces, the gateway between them.
//!
//! The gateway here only forwards what it receives. Needs root, `ip`, `ethtool` and `ping`; says "skipped" elsewhere.

mod support;

use std::io::BufRead;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use inspect::frame::Frame;
use inspect::unit::PortId;
use postern::port::Port;
use postern::port::xdp::{Classification, Fate, Gateway, OnFailure, Seat, WantedMode, XdpConfig};
use support::{Host, Process, Wire, eventually, say};

/// What the processes do that the tests below start.
#[test]
fn role() {
    let Ok(role) = std::env::var(support::ROLE) else { return };
    match role.split_once(' ') {
        Some(("gateway", options)) => gateway(options),
        _ => support::play_end(&role),
    }
}

/// `gateway OPTION...`: forwards until its input ends. Inspects TCP port 25.
fn gateway(options: &str) {
    let mut config = XdpConfig::new(["a", "b"]);
    for option in options.split(' ') {
        match option.split_once('=').unwrap_or((option, "")) {
            ("open", bpffs) => (config.on_failure, config.bpffs) = (OnFailure::Open, bpffs.into()),
            ("bpffs", path) => config.bpffs = path.into(),
            ("skb", _) => config.mode = WantedMode::Skb,
            ("ports", names) => {
                let (a, b) = names.split_once(',').expect("two names");
                config.interfaces = [a.into(), b.into()];
            }
            ("", _) => {}
            _ => panic!("no such option: {option}"),
        }
    }
    let mut gateway = match Gateway::open(&config, &Classification::inspecting(&[25])) {
        Ok(gateway) => gateway,
        Err(error) => return say(&format!("refused: {error}")),
    };
    let seat = gateway.take_seat(0).expect("a seat");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| forward(seat, &stop));
        let notices: Vec<_> = gateway.notices().iter().map(|notice| notice.text.clone()).collect();
        say(&format!("ready {:?} {}", gateway.ports().map(|port| port.mode), notices.join(" | ")));
        let (asked, questions) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                asked.send(line.expect("line")).expect("main thread");
            }
        });
        loop {
            match questions.recv_timeout(Duration::from_millis(100)) {
                Ok(question) if question == "counts" => say(&counts(&gateway)),
                Ok(question) => panic!("no such question: {question}"),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    for notice in gateway.tend() {
                        say(&format!("notice {}", notice.text));
                    }
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        let forwarded = worker.join().expect("worker");
        say(&format!("{} {forwarded}", counts(&gateway)));
    });
}

fn counts(gateway: &Gateway) -> String {
    let counts = gateway.statistics().expect("statistics");
    let side = |id: PortId| {
        let rows: Vec<String> = counts[id.index()]
            .rows()
            .filter(|(_, count)| count.frames > 0)
            .map(|(fate, count)| format!("{:?}.{}={}", id, fate.label(), count.frames))
            .collect();
        rows.join(" ")
    };
    format!("counts {} {}", side(PortId::A), side(PortId::B))
}

/// A worker without an engine: what comes in by one port goes out by the other.
fn forward(seat: Seat, stop: &AtomicBool) -> String {
    let postern::worker::Place { mut pool, mut ports, .. } = seat.open();
    let all = pool.free_count();
    let mut burst: Vec<Frame> = Vec::with_capacity(64);
    let (mut idle, mut full) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut moved = 0;
        for side in 0..2 {
            let [a, b] = &mut ports;
            let (from, to) = if side == 0 { (a, b) } else { (b, a) };
            moved += from.receive(&mut pool, &mut burst, 64).expect("receive");
            for frame in burst.drain(..) {
                let sealed = pool.seal(frame);
                full += u32::from(to.transmit(&pool, sealed).is_err());
            }
            to.flush(&mut pool).expect("flush");
        }
        idle = if moved > 0 { 0 } else { idle + 1 };
        if idle > 16 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let statistics = ports.each_ref().map(|port| port.statistics());
    let in_use: u32 = statistics.iter().map(|port| port.lent + port.in_flight).sum();
    assert_eq!(pool.free_count() + in_use as usize, all, "no chunk is lost");
    format!("full={full} {statistics:?}")
}

/// The number that stands behind `name=`.
fn number(text: &str, name: &str) -> u64 {
    let name = format!("{name}=");
    let word = text.split(' ').find_map(|word| word.strip_prefix(&name));
    word.map_or(0, |digits| digits.parse().expect("a number"))
}

fn start(wire: &Wire, options: &str) -> Process {
    let gateway = wire.start(&Host::Gateway, &format!("gateway {options}"));
    assert!(gateway.first.starts_with("ready"), "{}", gateway.first);
    gateway
}

#[test]
fn mail_goes_by_a_worker_and_the_rest_inside_the_kernel() {
    let Some(wire) = Wire::new("mail") else { return };
    assert!(!wire.pings("10.77.0.2", 1), "without a gateway there is no way");
    let _server = wire.start(&Host::Server, "server 25 80");
    let mut gateway = start(&wire, "");
    println!("{}", gateway.first);
    assert!(gateway.first.contains("[Some(Native), Some(Native)]"));
    assert!(wire.pings("10.77.0.2", 5) && wire.pings("fd77::2", 5));
    for address in ["10.77.0.2", "[fd77::2]"] {
        println!("by a worker  {}", wire.sends(&format!("{address}:25"), 20_000_000).unwrap());
        let before = number(&gateway.ask("counts"), "A.inspected");
        println!("in the kernel {}", wire.sends(&format!("{address}:80"), 20_000_000).unwrap());
        assert_eq!(number(&gateway.ask("counts"), "A.inspected"), before, "port 80 is nobody's to inspect");
    }
    let counts = gateway.end();
    println!("{counts}");
    assert!(number(&counts, "A.inspected") > 10_000 && number(&counts, "B.inspected") > 1000);
    assert!(number(&counts, "A.bridged") > 10_000 && number(&counts, "B.bridged") > 10);
    for fate in Fate::ALL.into_iter().filter(|fate| fate.label().starts_with("dropped")) {
        assert_eq!(number(&counts, &format!("A.{}", fate.label())), 0);
    }
    let link = wire.on(&Host::Gateway, &["ip", "-d", "link", "show", "a"]);
    assert!(!link.contains("prog/xdp") && link.contains("promiscuity 0"), "left behind: {link}");
    assert!(!wire.pings("10.77.0.2", 1), "and no way again");
}

#[test]
fn a_gateway_that_is_killed_fails_closed() {
    let Some(wire) = Wire::new("closed") else { return };
    let _server = wire.start(&Host::Server, "server 25 80");
    let mut gateway = start(&wire, "");
    wire.sends("10.77.0.2:25", 1000).unwrap();
    // The worst case: the host would route if it could.
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        wire.on(&Host::Gateway, &["sh", "-c", &format!("echo 1 > /proc/sys/net/{setting}")]);
    }
    let mut client = wire.start(&Host::Client, "client 10.77.0.2:25 400000000");
    std::thread::sleep(Duration::from_millis(300));
    let before = wire.server_received();
    assert!(before > 1000, "in the middle of a session");
    gateway.kill();
    let at_kill = wire.server_received();
    std::thread::sleep(Duration::from_secs(1));
    assert!(wire.server_received() - at_kill <= 2, "frames still flow");
    assert!(!wire.pings("10.77.0.2", 2) && !wire.pings("fd77::2", 2));
    assert!(wire.sends("10.77.0.2:25", 1000).is_err() && wire.sends("10.77.0.2:80", 1000).is_err());
    let link = wire.on(&Host::Gateway, &["ip", "-d", "link", "show", "a"]);
    assert!(!link.contains("prog/xdp") && link.contains("promiscuity 0"), "left behind: {link}");

    let again = start(&wire, "");
    wire.sends("10.77.0.2:25", 1000).unwrap();
    // A session survives a gateway that is away for a moment: this one has no state.
    assert!(client.first.is_empty() || client.first.starts_with("sent"), "{}", client.first);
    client.wait();
    again.end();
}

#[test]
fn a_gateway_that_is_killed_fails_open_if_it_is_told_to() {
    let Some(wire) = Wire::new("open") else { return };
    let Some(bpffs) = BpfFileSystem::mount() else { return };
    let pins = || std::fs::read_dir(bpffs.0.join("postern")).map_or(0, Iterator::count);
    let _server = wire.start(&Host::Server, "server 25 80");
    let options = format!("open={}", bpffs.0.display());
    let mut gateway = start(&wire, &options);
    assert_eq!(pins(), 2);
    wire.sends("10.77.0.2:25", 100_000).unwrap();
    gateway.kill();
    assert_eq!(pins(), 2);
    println!("without a gateway: {}", wire.sends("10.77.0.2:25", 5_000_000).unwrap());
    assert!(wire.pings("10.77.0.2", 2) && wire.pings("fd77::2", 2));

    let mut gateway = start(&wire, &options);
    assert!(gateway.first.contains("removed what a gateway that died had left"), "{}", gateway.first);
    wire.sends("[fd77::2]:25", 100_000).unwrap();
    let counts = gateway.ask("counts");
    assert!(number(&counts, "A.inspected") > 50 && number(&counts, "A.bridged_uninspected") == 0, "{counts}");
    gateway.kill();
    // One that fails closed does not leave the way open either.
    let gateway = start(&wire, &format!("bpffs={}", bpffs.0.display()));
    assert_eq!(pins(), 0);
    drop(gateway);
    assert!(!wire.pings("10.77.0.2", 1));
    let gateway = start(&wire, &options);
    gateway.end();
    assert!(!bpffs.0.join("postern").exists(), "a clean exit leaves no pin");
    assert!(!wire.pings("10.77.0.2", 1));
}

/// A bpf file system that the namespaces' processes see; unmounted when dropped.
struct BpfFileSystem(std::path::PathBuf);

impl BpfFileSystem {
    fn mount() -> Option<Self> {
        let at = std::env::temp_dir().join(format!("pport-bpf-{}", std::process::id()));
        std::fs::create_dir(&at).expect("make directory");
        let mounted = support::output(&["mount", "-t", "bpf", "bpf", at.to_str().expect("path")]);
        if !mounted.status.success() {
            println!("skipped: cannot mount a bpf file system: {}", String::from_utf8_lossy(&mounted.stderr));
            std::fs::remove_dir(&at).expect("remove directory");
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for BpfFileSystem {
    fn drop(&mut self) {
        support::output(&["umount", self.0.to_str().expect("path")]);
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_port_that_goes_and_comes_back_is_taken_back() {
    let Some(wire) = Wire::new("back") else { return };
    let _server = wire.start(&Host::Server, "server 25");
    let mut gateway = start(&wire, "");
    wire.sends("10.77.0.2:25", 100_000).unwrap();
    for round in 0..3 {
        wire.on(&Host::Gateway, &["ip", "link", "delete", "dev", "a"]);
        assert_eq!(gateway.line(), "notice a: the interface is gone; waiting for it to come back");
        if round == 1 {
            // Both at once: no socket is left that has the umem.
            wire.on(&Host::Gateway, &["ip", "link", "delete", "dev", "b"]);
            assert_eq!(gateway.line(), "notice b: the interface is gone; waiting for it to come back");
            wire.server_cable(1500);
            while gateway.line() != "notice b: the interface is back" {}
        }
        if round == 2 {
            wire.client_cable(9000);
            let said = gateway.line();
            assert!(
                said.contains("a: the interface is back but cannot be used: port a: its MTU is 9000"),
                "{said}"
            );
            wire.on(&Host::Gateway, &["ip", "link", "set", "dev", "a", "mtu", "1500"]);
        } else {
            wire.client_cable(1500);
        }
        while gateway.line() != "notice a: the interface is back" {}
        eventually("the way is there again", || wire.pings("10.77.0.2", 1));
        wire.sends("10.77.0.2:25", 1_000_000).unwrap();
        wire.sends("[fd77::2]:25", 1_000_000).unwrap();
    }
    // Down and up again is no reason to give it up; and away to another namespace and back is the same to its sockets.
    wire.on(&Host::Gateway, &["ip", "link", "set", "dev", "a", "down"]);
    assert!(!wire.pings("10.77.0.2", 1));
    wire.on(&Host::Gateway, &["ip", "link", "set", "dev", "a", "up"]);
    eventually("up again", || wire.pings("10.77.0.2", 1));
    wire.sends("10.77.0.2:25", 1_000_000).unwrap();
    let (near, far) = (wire.namespace(&Host::Gateway), wire.namespace(&Host::Client));
    // At once, so that the gateway does not see that it is away.
    let away = format!("ip link set dev a netns {far} && ip -n {far} link set dev a netns {near}");
    wire.on(&Host::Gateway, &["sh", "-c", &away]);
    wire.on(&Host::Gateway, &["ip", "link", "set", "dev", "a", "up"]);
    eventually("back from elsewhere", || wire.sends("10.77.0.2:25", 1_000_000).is_ok());
    let counts = gateway.end();
    assert!(counts.contains("full=") && counts.contains("lost: 4"), "{counts}");
}

#[test]
fn skb_mode_works_and_is_warned_about() {
    let Some(wire) = Wire::new("skb") else { return };
    for (host, end) in [(Host::Client, "c0"), (Host::Server, "s0")] {
        wire.on(&host, &["ethtool", "-K", end, "tso", "off", "gso", "off"]);
    }
    let _server = wire.start(&Host::Server, "server 25 80");
    let gateway = start(&wire, "skb");
    assert!(
        gateway.first.contains("[Some(Skb), Some(Skb)]") && gateway.first.contains("TCP crawls"),
        "{}",
        gateway.first
    );
    assert!(wire.pings("10.77.0.2", 2) && wire.pings("fd77::2", 2));
    println!("skb mode {}", wire.sends("10.77.0.2:25", 5_000_000).unwrap());
    println!("skb mode, in the kernel {}", wire.sends("10.77.0.2:80", 5_000_000).unwrap());
    let counts = gateway.end();
    assert!(number(&counts, "A.inspected") > 3000, "{counts}");
}

#[test]
fn what_cannot_work_is_refused_and_leaves_nothing() {
    let Some(wire) = Wire::new("refuse") else { return };
    let refusal = |options: &str| {
        let said = wire.start(&Host::Gateway, &format!("gateway {options}")).first.clone();
        assert!(said.starts_with("refused: "), "{said}");
        said
    };
    assert_eq!(refusal("ports=a,a"), "refused: both ports are a: a gateway stands between two interfaces");
    assert!(refusal("ports=a,nowhere").starts_with("refused: port nowhere: there is no such interface"));
    wire.on(&Host::Gateway, &["ip", "link", "set", "dev", "b", "mtu", "9000"]);
    assert!(refusal("").starts_with("refused: port b: its MTU is 9000, and AF_XDP takes frames of one page"));
    wire.on(&Host::Gateway, &["ip", "link", "set", "dev", "b", "mtu", "1500"]);

    let _server = wire.start(&Host::Server, "server 25");
    let gateway = start(&wire, "");
    let second = refusal("");
    assert!(
        second.contains("port a, queue 0: bind") && second.contains("perhaps another gateway"),
        "{second}"
    );
    wire.sends("10.77.0.2:25", 100_000).unwrap();
    gateway.end();

    wire.on(&Host::Server, &["ethtool", "-K", "s0", "gro", "off"]);
    let gateway = start(&wire, "");
    assert!(
        gateway.first.contains("b: it takes no frames from other ports inside the kernel"),
        "{}",
        gateway.first
    );
    assert!(!gateway.first.contains("a: it takes no frames"), "{}", gateway.first);
    gateway.end();
}
