//! The page that `--metrics` serves: `/metrics`, `/healthz`, `/readyz`. HTTP/1.1, one request a connection.
//!
//! Small on purpose: one thread, one connection at a time, both with a time limit, so that nobody who can
//! reach the address can take more than that thread.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::metrics::exposition;

/// Octets a request may have.
const REQUEST_LIMIT: usize = 8 * 1024;
/// How long one connection may take.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Listens on `address`.
///
/// # Errors
/// When it cannot be listened on.
pub fn listen(address: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Answers requests for as long as the process lives.
pub fn serve(listener: &TcpListener, board: &Arc<Board>) {
    for stream in listener.incoming() {
        match stream {
            // A peer that goes away or is too slow is no reason to stop.
            Ok(stream) => drop(answer(stream, board)),
            // Out of descriptors, usually: do not spin.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn answer(mut stream: TcpStream, board: &Board) -> io::Result<()> {
    let Some(request) = read_request(&mut stream)? else { return Ok(()) };
    let (status, body) = respond(&request, board);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.set_write_timeout(Some(TIME_LIMIT))?;
    stream.write_all(head.as_bytes())?;
    if !request.starts_with("HEAD ") {
        stream.write_all(body.as_bytes())?;
    }
    stream.flush()
}

/// The head of a request; `None` when it is too long, or its sender went away.
fn read_request(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let start = Instant::now();
    let mut request = Vec::new();
    while !request.windows(4).any(|octets| octets == b"\r\n\r\n") {
        let left = TIME_LIMIT.saturating_sub(start.elapsed());
        if left.is_zero() || request.len() >= REQUEST_LIMIT {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        let mut octets = [0; 1024];
        let len = stream.read(&mut octets)?;
        if len == 0 {
            return Ok(None);
        }
        request.extend_from_slice(&octets[..len]);
    }
    Ok(Some(String::from_utf8_lossy(&request).into_owned()))
}

fn respond(request: &str, board: &Board) -> (&'static str, String) {
    let mut words = request.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !matches!(method, "GET" | "HEAD") {
        return ("405 Method Not Allowed", "only GET\n".into());
    }
    match target.split('?').next().unwrap_or_default() {
        "/metrics" => ("200 OK", exposition(board)),
        "/healthz" => ("200 OK", "ok\n".into()),
        "/readyz" if board.is_ready() => ("200 OK", "ready\n".into()),
        "/readyz" => ("503 Service Unavailable", "not ready\n".into()),
        _ => ("404 Not Found", "there is /metrics, /healthz and /readyz\n".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;
    use std::sync::atomic::Ordering;

    fn server() -> (std::net::SocketAddr, Arc<Board>) {
        let artifact = sample::artifact(sample::policy());
        let names = ["inside", "outside"].map(String::from);
        let board = Arc::new(Board::new(&artifact, names.clone(), names, 1, Arc::default()));
        let listener = listen("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&board);
        std::thread::spawn(move || serve(&listener, &shared));
        (address, board)
    }

    fn get(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn the_three_pages_and_nothing_else() {
        let (address, board) = server();
        let metrics = get(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n") && metrics.contains("\npostern_ready 0\n"));
        assert!(get(address, b"GET /healthz HTTP/1.0\r\n\r\n").ends_with("\r\n\r\nok\n"));
        assert!(get(address, b"GET /readyz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
        board.ready.store(true, Ordering::Relaxed);
        assert!(get(address, b"GET /readyz?x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
        assert!(get(address, b"HEAD /readyz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
        assert!(get(address, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(get(address, b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(get(address, b"\xff\xfe\r\n\r\n").starts_with("HTTP/1.1 405 "));
    }

    #[test]
    fn a_request_without_end_is_cut_off() {
        let (address, _board) = server();
        let mut stream = TcpStream::connect(address).unwrap();
        // The server may hang up before all of it is written.
        let _ = stream.write_all(&[b'a'; REQUEST_LIMIT]);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
        assert!(get(address, b"GET /healthz HTTP/1.0\r\n\r\n").ends_with("ok\n"), "and the next is served");
    }
}
