//! Client, gateway and server in network namespaces of their own, joined by two veth pairs.
//!
//! The program under test runs in its namespace as a process: this test binary starts itself there again
//! (`ip netns exec`) with a role in its environment, and the test function `role` does what it says.

#![allow(dead_code)] // each test file uses a part of it

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Name of the environment variable with the role of a process.
pub const ROLE: &str = "POSTERN_TEST_ROLE";

/// Three namespaces; gone when dropped.
pub struct Wire {
    prefix: String,
}

pub enum Host {
    Client,
    Gateway,
    Server,
}

impl Wire {
    /// Makes `client(c0) -- (a)gateway(b) -- (s0)server`, 10.77.0.1 and fd77::1 to 10.77.0.2 and fd77::2. `None`, with a
    /// word on the terminal, where that is not possible.
    pub fn new(name: &str) -> Option<Self> {
        if !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
            println!("skipped: network namespaces need root");
            return None;
        }
        for (tool, argument) in [("ip", "-V"), ("ethtool", "--version"), ("ping", "-V")] {
            if Command::new(tool).arg(argument).output().is_err() {
                println!(
                    "skipped: `{tool}` is not installed (apt-get install iproute2 ethtool iputils-ping)"
                );
                return None;
            }
        }
        let wire = Wire { prefix: format!("pport-{name}-{}", std::process::id()) };
        for host in [Host::Client, Host::Gateway, Host::Server] {
            run(&["ip", "netns", "add", &wire.namespace(&host)]);
            wire.on(&host, &["ip", "link", "set", "lo", "up"]);
        }
        wire.client_cable(1500);
        wire.server_cable(1500);
        Some(wire)
    }

    /// The cable between client and port `a`, for packets of at most `mtu` octets.
    pub fn client_cable(&self, mtu: u32) {
        self.cable("c0", &Host::Client, "a", mtu);
        self.on(&Host::Client, &["ip", "address", "add", "10.77.0.1/24", "dev", "c0"]);
        self.on(&Host::Client, &["ip", "address", "add", "fd77::1/64", "dev", "c0", "nodad"]);
    }

    /// The cable between port `b` and server.
    pub fn server_cable(&self, mtu: u32) {
        self.cable("s0", &Host::Server, "b", mtu);
        self.on(&Host::Server, &["ip", "address", "add", "10.77.0.2/24", "dev", "s0"]);
        self.on(&Host::Server, &["ip", "address", "add", "fd77::2/64", "dev", "s0", "nodad"]);
    }

    /// Frames that the server has received.
    pub fn server_received(&self) -> u64 {
        let text = self.on(&Host::Server, &["cat", "/sys/class/net/s0/statistics/rx_packets"]);
        text.trim().parse().expect("a number")
    }

    /// A veth pair with one end at `host` and the other at the gateway, both up.
    fn cable(&self, end: &str, host: &Host, port: &str, mtu: u32) {
        let (far, near, mtu) = (self.namespace(host), self.namespace(&Host::Gateway), mtu.to_string());
        let this = ["ip", "link", "add", end, "mtu", &mtu, "netns", &far, "type", "veth"];
        run(&[&this[..], &["peer", "name", port, "mtu", &mtu, "netns", &near]].concat());
        for (host, interface) in [(host, end), (&Host::Gateway, port)] {
            self.on(host, &["ip", "link", "set", "dev", interface, "up"]);
        }
        self.on(host, &["ethtool", "-K", end, "tx", "off", "txvlan", "off", "gro", "on"]);
    }

    pub fn namespace(&self, host: &Host) -> String {
        let suffix = match host {
            Host::Client => "c",
            Host::Gateway => "g",
            Host::Server => "s",
        };
        format!("{}-{suffix}", self.prefix)
    }

    /// Runs a command at a host; it must succeed.
    pub fn on(&self, host: &Host, command: &[&str]) -> String {
        let namespace = self.namespace(host);
        run(&[&["ip", "netns", "exec", &namespace], command].concat())
    }

    /// Whether a command at a host succeeds.
    pub fn succeeds(&self, host: &Host, command: &[&str]) -> bool {
        let namespace = self.namespace(host);
        output(&[&["ip", "netns", "exec", &namespace], command].concat()).status.success()
    }

    /// Starts this binary at a host with a role, and waits until it says a line; returns that line.
    pub fn start(&self, host: &Host, role: &str) -> Process {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.namespace(host)])
            .arg(std::env::current_exe().expect("own path"))
            .args(["--exact", "role", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start ip");
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut process = Process { child, input, lines, first: String::new() };
        process.first = process.line();
        process
    }

    /// One or more pings from client to server; whether all were answered.
    pub fn pings(&self, address: &str, count: u32) -> bool {
        self.succeeds(
            &Host::Client,
            &["ping", "-q", "-n", "-i", "0.2", "-W", "1", "-c", &count.to_string(), address],
        )
    }

    /// Sends `len` octets from client to a port of the server; what the client said, or why it failed.
    pub fn sends(&self, to: &str, len: usize) -> Result<String, String> {
        let mut client = self.start(&Host::Client, &format!("client {to} {len}"));
        let said = std::mem::take(&mut client.first);
        client.wait();
        if said.starts_with("sent") { Ok(said) } else { Err(said) }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for host in [Host::Client, Host::Gateway, Host::Server] {
            output(&["ip", "netns", "delete", &self.namespace(&host)]);
        }
    }
}

/// A process of this binary with a role. Killed when dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<std::process::ChildStdout>,
    /// The first line it said.
    pub first: String,
}

impl Process {
    /// The next line that starts with `> `, without that; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).is_ok_and(|len| len > 0) {
            // The test runner's own words may stand before ours on the line.
            if let Some((_, said)) = line.split_once("> ") {
                return said.trim_end().to_owned();
            }
            line.clear();
        }
        String::new()
    }

    /// Says a line to it and returns its answer.
    pub fn ask(&mut self, question: &str) -> String {
        if let Some(input) = &mut self.input {
            writeln!(input, "{question}").expect("ask");
        }
        self.line()
    }

    /// Closes its input and waits until it ends; the last line it says.
    pub fn end(mut self) -> String {
        drop(self.input.take());
        let mut last = String::new();
        while let Some(line) = Some(self.line()).filter(|line| !line.is_empty()) {
            last = line;
        }
        self.wait();
        last
    }

    /// Kills it as `kill -9` does: `ip netns exec` became the process itself.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.wait();
    }

    pub fn wait(&mut self) {
        drop(self.input.take());
        self.child.wait().expect("wait");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn output(command: &[&str]) -> Output {
    Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", command[0]))
}

fn run(command: &[&str]) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Says a line to whoever started this process.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "> {text}").and_then(|()| out.flush()).expect("say");
}

/// The roles of the ends: `server PORT...` takes octets and answers with how many there were and their digest;
/// `client ADDRESS:PORT LEN` sends some and checks that answer.
pub fn play_end(role: &str) {
    let words: Vec<&str> = role.split(' ').collect();
    match words[0] {
        "server" => serve(&words[1..]),
        "client" => match send(words[1], words[2].parse().expect("length")) {
            Ok(text) => say(&text),
            Err(error) => say(&format!("failed: {error}")),
        },
        other => panic!("no such role: {other}"),
    }
}

fn serve(ports: &[&str]) {
    let mut threads = Vec::new();
    for port in ports {
        let listener = TcpListener::bind(format!("[::]:{port}")).expect("listen");
        threads.push(std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || answer(stream.expect("accept")));
            }
        }));
    }
    say("listening");
    let mut end = String::new();
    let _ = std::io::stdin().read_line(&mut end);
    std::process::exit(0);
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut digest = Digest::default();
    let mut piece = vec![0; 1 << 16];
    loop {
        match stream.read(&mut piece)? {
            0 => return stream.write_all(digest.text().as_bytes()),
            len => digest.add(&piece[..len]),
        }
    }
}

fn send(to: &str, len: usize) -> std::io::Result<String> {
    let address: SocketAddr = to.parse().expect("address");
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut digest = Digest::default();
    let mut seed = 1_u32;
    let mut left = len;
    while left > 0 {
        let piece: Vec<u8> = (0..left.min(1 << 16))
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        digest.add(&piece);
        stream.write_all(&piece)?;
        left -= piece.len();
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let seconds = start.elapsed().as_secs_f64();
    if reply == digest.text() {
        Ok(format!("sent {len} octets in {seconds:.3} s, {:.0} MB/s", len as f64 / 1e6 / seconds))
    } else {
        Err(std::io::Error::other(format!("the server got {reply}, not {}", digest.text())))
    }
}

/// FNV-1a over what passed, and how much it was.
struct Digest {
    len: u64,
    hash: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self { len: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Digest {
    fn add(&mut self, octets: &[u8]) {
        self.len += octets.len() as u64;
        for octet in octets {
            self.hash = (self.hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn text(&self) -> String {
        format!("{}:{:016x}", self.len, self.hash)
    }
}
