//! Syslog lines: RFC 5424 over UDP, or the traditional form (RFC 3164) to a local socket such as `/dev/log`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::json::timestamp;
use super::message::Message;

/// Facility `local7`, the default of Cisco devices.
const FACILITY: u8 = 23;
/// Port of syslog over UDP (RFC 5426).
const PORT: u16 = 514;
/// How long a local socket that refused is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Debug)]
enum Target {
    Udp(UdpSocket),
    Local { path: PathBuf, socket: UnixDatagram, retry_at: Option<Instant> },
}

/// Sends lines; what cannot be sent at once is lost and counted, nobody waits for a log server.
#[derive(Debug)]
pub struct Syslog {
    target: Target,
    process: u32,
    budget: Budget,
    /// Lines sent.
    pub sent_count: u64,
    /// Lines lost: the target refused, or there were more than the limit.
    pub lost_count: u64,
}

impl Syslog {
    /// Lines to `target`: a path when it has a slash, else `ADDRESS` or `ADDRESS:PORT`. At most
    /// `lines_per_second`.
    ///
    /// # Errors
    /// When the address means nothing or no socket can be made. A local socket that is not there yet is not an error.
    pub fn open(target: &str, lines_per_second: u32) -> io::Result<Self> {
        let target = if target.contains('/') {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Target::Local { path: target.into(), socket, retry_at: None }
        } else {
            let address = resolve(target)?;
            let any: SocketAddr = if address.is_ipv4() {
                (Ipv4Addr::UNSPECIFIED, 0).into()
            } else {
                (Ipv6Addr::UNSPECIFIED, 0).into()
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            socket.set_nonblocking(true)?;
            Target::Udp(socket)
        };
        let budget = Budget { limit: lines_per_second, second: 0, spent: 0 };
        Ok(Self { target, process: std::process::id(), budget, sent_count: 0, lost_count: 0 })
    }

    /// Sends a line about something that happened `nanos` after 1970 began.
    pub fn send(&mut self, message: &Message, nanos: u64) {
        let sent = self.budget.spend(nanos / 1_000_000_000)
            && match &mut self.target {
                Target::Udp(socket) => socket.send(rfc5424(message, nanos, self.process).as_bytes()).is_ok(),
                Target::Local { path, socket, retry_at } => {
                    if retry_at.is_some_and(|at| Instant::now() < at) {
                        false
                    } else {
                        let line = rfc3164(message, nanos, self.process);
                        let sent = socket.send_to(line.as_bytes(), path).is_ok();
                        *retry_at = (!sent).then(|| Instant::now() + RETRY_AFTER);
                        sent
                    }
                }
            };
        if sent {
            self.sent_count += 1;
        } else {
            self.lost_count += 1;
        }
    }
}

/// Lines of one second, so that an attacker cannot flood the log server through the gateway.
#[derive(Debug)]
struct Budget {
    limit: u32,
    second: u64,
    spent: u32,
}

impl Budget {
    fn spend(&mut self, second: u64) -> bool {
        if second != self.second {
            self.second = second;
            self.spent = 0;
        }
        let left = self.spent < self.limit;
        self.spent += u32::from(left);
        left
    }
}

fn resolve(target: &str) -> io::Result<SocketAddr> {
    let mut addresses = match target.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(_) => (target, PORT).to_socket_addrs()?,
    };
    addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
}

fn priority(message: &Message) -> u8 {
    FACILITY * 8 + message.severity.min(7)
}

/// `<PRI>1 TIME HOST postern PID MSGID - TEXT`; without a host name, since the receiver knows the sender's address.
fn rfc5424(message: &Message, nanos: u64, process: u32) -> String {
    let mnemonic = message.mnemonic.get(..32).unwrap_or(&message.mnemonic);
    format!("<{}>1 {} - postern {process} {mnemonic} - {}", priority(message), timestamp(nanos), message.text)
}

/// `<PRI>Mmm dd hh:mm:ss postern[PID]: TEXT`, the time in UTC.
fn rfc3164(message: &Message, nanos: u64, process: u32) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = timestamp(nanos);
    let month = time.get(5..7).and_then(|month| month.parse::<usize>().ok()).unwrap_or(1);
    let day = time.get(8..10).unwrap_or("01").trim_start_matches('0');
    let clock = time.get(11..19).unwrap_or("00:00:00");
    let month = MONTHS[(month - 1) % 12];
    format!("<{}>{month} {day:>2} {clock} postern[{process}]: {}", priority(message), message.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            severity: 3,
            mnemonic: "SMTP_INVALID_COMMAND".into(),
            text: "%FW-3-SMTP_INVALID_COMMAND: x".into(),
        }
    }

    const AT: u64 = 1_709_510_400_000_001_000;

    #[test]
    fn both_forms() {
        assert_eq!(
            rfc5424(&message(), AT, 77),
            "<187>1 2024-03-04T00:00:00.000001Z - postern 77 SMTP_INVALID_COMMAND - %FW-3-SMTP_INVALID_COMMAND: x"
        );
        assert_eq!(
            rfc3164(&message(), AT, 77),
            "<187>Mar  4 00:00:00 postern[77]: %FW-3-SMTP_INVALID_COMMAND: x"
        );
    }

    #[test]
    fn lines_arrive_over_udp() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut syslog = Syslog::open(&server.local_addr().unwrap().to_string(), 10).unwrap();
        syslog.send(&message(), AT);
        let mut octets = [0; 256];
        let len = server.recv(&mut octets).unwrap();
        assert_eq!(&octets[..len], rfc5424(&message(), AT, std::process::id()).as_bytes());
        assert_eq!((syslog.sent_count, syslog.lost_count), (1, 0));
    }

    #[test]
    fn lines_arrive_at_a_local_socket_that_came_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut syslog = Syslog::open(path.to_str().unwrap(), 10).unwrap();
        syslog.send(&message(), AT);
        assert_eq!((syslog.sent_count, syslog.lost_count), (0, 1));
        let server = UnixDatagram::bind(&path).unwrap();
        if let Target::Local { retry_at, .. } = &mut syslog.target {
            *retry_at = None;
        }
        syslog.send(&message(), AT);
        let mut octets = [0; 256];
        let len = server.recv(&mut octets).unwrap();
        assert!(octets[..len].starts_with(b"<187>Mar  4 00:00:00 postern["));
    }

    #[test]
    fn a_second_has_a_limit() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut syslog = Syslog::open(&server.local_addr().unwrap().to_string(), 2).unwrap();
        for _ in 0..5 {
            syslog.send(&message(), AT);
        }
        syslog.send(&message(), AT + 1_000_000_000);
        assert_eq!((syslog.sent_count, syslog.lost_count), (3, 3));
    }

    #[test]
    fn a_bad_address_is_an_error() {
        assert!(Syslog::open("no such host", 1).is_err());
        assert_eq!(resolve("127.0.0.1").unwrap().to_string(), "127.0.0.1:514");
        assert_eq!(resolve("::1").unwrap().to_string(), "[::1]:514");
    }
}
