//! What a client sees: round trips of NOOP over one session, while mail goes at a set rate beside it.
//!
//! The rate is open-loop: sessions begin when the clock says, a little earlier or later by chance, however long those before them
//! take. So what stands between the ends is given the same load whether it is fast or slow.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Sessions that can be under way at once.
const LANES: u32 = 16;
/// Octets of a mail.
const MAIL_LEN: usize = 2000;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between the start of the load and the first round trip.
const LEAD: Duration = Duration::from_millis(200);

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The mail server.
    pub server: SocketAddr,
    /// Mails a second beside the round trips.
    pub rate: u32,
    /// How long to go on.
    pub time: Duration,
    /// Between two round trips.
    pub pace: Duration,
}

/// What was seen.
#[derive(Debug, Serialize)]
pub struct Seen {
    /// Microseconds of each round trip, in order.
    pub micros: Vec<f64>,
    /// Mails taken by the server meanwhile.
    pub mails: u64,
    /// Seconds that all of it took.
    pub seconds: f64,
}

/// Talks.
///
/// # Errors
/// When a session does not go as it should.
pub fn run(plan: &Plan) -> io::Result<Seen> {
    let stop = Arc::new(AtomicBool::new(false));
    let mails = Arc::new(AtomicU64::new(0));
    let lanes: Vec<_> = (0..LANES.min(plan.rate))
        .map(|lane| {
            let (plan, stop, mails) = (*plan, Arc::clone(&stop), Arc::clone(&mails));
            thread::spawn(move || send(&plan, lane, &stop, &mails))
        })
        .collect();
    let seen = measure(plan, &mails);
    stop.store(true, Ordering::Relaxed);
    for lane in lanes {
        lane.join().map_err(|_| io::Error::other("a lane died"))??;
    }
    seen
}

fn measure(plan: &Plan, mails: &AtomicU64) -> io::Result<Seen> {
    let mut session = Session::open(plan.server)?;
    session.ask(b"HELO bench.example\r\n", b"250")?;
    if plan.rate > 0 {
        thread::sleep(LEAD);
    }
    let before = mails.load(Ordering::Relaxed);
    let mut micros = Vec::new();
    let start = Instant::now();
    while start.elapsed() < plan.time {
        let began = Instant::now();
        session.ask(b"NOOP\r\n", b"250")?;
        micros.push(began.elapsed().as_nanos() as f64 / 1e3);
        thread::sleep(plan.pace);
    }
    let mails = mails.load(Ordering::Relaxed) - before;
    Ok(Seen { micros, mails, seconds: start.elapsed().as_secs_f64() })
}

/// When the mails of a lane are due, from its start on. All lanes together come to the rate.
struct Due {
    at: Duration,
    interval: Duration,
    random: u64,
}

impl Due {
    fn new(rate: u32, lane: u32) -> Self {
        let interval = Duration::from_secs(u64::from(LANES.min(rate))).div_f64(f64::from(rate));
        let at = interval.mul_f64(f64::from(lane) / f64::from(LANES));
        Self { at, interval, random: u64::from(lane).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }
}

impl Iterator for Due {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Xorshift: evenly from 0.5 to 1.5 of the interval.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.at += self.interval.mul_f64(0.5 + (self.random >> 11) as f64 / (1_u64 << 53) as f64);
        Some(self.at)
    }
}

/// One mail after the other, each when its time has come.
fn send(plan: &Plan, lane: u32, stop: &AtomicBool, mails: &AtomicU64) -> io::Result<()> {
    let mut mail = b"From: <a@example.org>\r\nSubject: half of what it can\r\n\r\n".to_vec();
    while mail.len() < MAIL_LEN {
        mail.extend(b"Seven copper letters for the harbour in the north.\r\n");
    }
    mail.extend(b".\r\n");
    let start = Instant::now();
    for due in Due::new(plan.rate, lane) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep((start + due).saturating_duration_since(Instant::now()));
        let mut session = Session::open(plan.server)?;
        for (line, code) in [
            (&b"HELO bench.example\r\n"[..], b"250"),
            (b"MAIL FROM:<a@example.org>\r\n", b"250"),
            (b"RCPT TO:<b@lab.example>\r\n", b"250"),
            (b"DATA\r\n", b"354"),
            (&mail, b"250"),
            (b"QUIT\r\n", b"221"),
        ] {
            session.ask(line, code)?;
        }
        mails.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A client's end.
struct Session(TcpStream);

impl Session {
    fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = Self(stream);
        session.hear(b"220")?;
        Ok(session)
    }

    fn ask(&mut self, octets: &[u8], code: &[u8; 3]) -> io::Result<()> {
        self.0.write_all(octets)?;
        self.hear(code)
    }

    /// Reads one reply of one line.
    fn hear(&mut self, code: &[u8; 3]) -> io::Result<()> {
        let mut reply = [0; 512];
        let mut len = 0;
        while !reply[..len].ends_with(b"\r\n") {
            let more = self.0.read(&mut reply[len..])?;
            if more == 0 {
                return Err(io::Error::other("the session was closed"));
            }
            len += more;
        }
        if reply.starts_with(code) {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&reply[..len]).trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// A server that takes everything.
    fn serve(stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let say = |text: &[u8]| (&stream).write_all(text).is_ok();
        say(b"220 here\r\n");
        while let Some(Ok(line)) = lines.next() {
            match line.as_str() {
                "DATA" => {
                    say(b"354 go on\r\n");
                    lines.by_ref().map_while(Result::ok).find(|line| line == ".");
                    say(b"250 taken\r\n");
                }
                "QUIT" => {
                    say(b"221 bye\r\n");
                    return;
                }
                _ => {
                    say(b"250 good\r\n");
                }
            }
        }
    }

    /// By the clock of the plan alone, which no load of the machine moves.
    #[test]
    fn mail_is_due_at_the_rate() {
        for rate in [1, 5, 16, 200, 3000] {
            let seconds = 1000;
            let until =
                |lane| Due::new(rate, lane).take_while(|due| due.as_secs() < seconds).collect::<Vec<_>>();
            let lanes: Vec<_> = (0..LANES.min(rate)).map(until).collect();
            let count = lanes.iter().map(Vec::len).sum::<usize>() as f64;
            let wanted = f64::from(rate) * seconds as f64;
            assert!((count / wanted - 1.0).abs() < 0.05, "{count} of {wanted}");
            assert!(lanes.iter().all(|lane| lane.is_sorted()) && (lanes.len() < 2 || lanes[0] != lanes[1]));
        }
    }

    #[test]
    fn mail_goes_when_it_is_due_while_round_trips_are_timed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| serve(stream))))
        });
        let plan = Plan { server, rate: 200, time: Duration::ZERO, pace: Duration::from_millis(1) };
        // A busy machine may leave too little of a short time.
        let enough = (0..6).any(|doubling| {
            let time = Duration::from_millis(500 << doubling);
            let start = Instant::now();
            let seen = run(&Plan { time, ..plan }).unwrap();
            assert!(seen.seconds >= time.as_secs_f64() && seen.micros.iter().all(|micros| *micros > 0.0));
            // Each begins when it is due or later: never more than that, however slow all this was.
            let passed = start.elapsed();
            let due =
                (0..LANES).map(|lane| Due::new(plan.rate, lane).take_while(|due| *due < passed).count());
            assert!(seen.mails <= due.sum::<usize>() as u64, "{} mails in {passed:?}", seen.mails);
            seen.mails >= 50 && seen.micros.len() > 20
        });
        assert!(enough, "hardly any mail went, or round trip was made, in half a minute");
        let nobody = Plan { server: ([127, 0, 0, 1], 1).into(), rate: 0, time: Duration::ZERO, ..plan };
        assert!(run(&nobody).is_err());
    }
}
