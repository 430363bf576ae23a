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

/// One mail after the other, each when its time has come.
fn send(plan: &Plan, lane: u32, stop: &AtomicBool, mails: &AtomicU64) -> io::Result<()> {
    let mut mail = b"From: <a@example.org>\r\nSubject: half of what it can\r\n\r\n".to_vec();
    while mail.len() < MAIL_LEN {
        mail.extend(b"Seven copper letters for the harbour in the north.\r\n");
    }
    mail.extend(b".\r\n");
    let interval = Duration::from_secs(u64::from(LANES.min(plan.rate))).div_f64(f64::from(plan.rate));
    let mut random = u64::from(lane).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut due = Instant::now() + interval.mul_f64(f64::from(lane) / f64::from(LANES));
    while !stop.load(Ordering::Relaxed) {
        // Xorshift: evenly from 0.5 to 1.5 of the interval.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        due += interval.mul_f64(0.5 + (random >> 11) as f64 / (1_u64 << 53) as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
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

    #[test]
    fn mail_goes_at_the_rate_while_round_trips_are_timed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| serve(stream))))
        });
        let plan =
            Plan { server, rate: 200, time: Duration::from_millis(500), pace: Duration::from_millis(1) };
        let seen = run(&plan).unwrap();
        assert!(seen.micros.len() > 20 && seen.micros.iter().all(|micros| *micros > 0.0), "{seen:?}");
        assert!((50..=150).contains(&seen.mails), "{}", seen.mails);
        let nobody = Plan { server: ([127, 0, 0, 1], 1).into(), rate: 0, ..plan };
        assert!(run(&nobody).is_err());
    }
}
