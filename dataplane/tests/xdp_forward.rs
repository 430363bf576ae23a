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
    let (mut pool, mut ports) = seat.open();
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
