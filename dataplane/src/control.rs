//! The control socket: one question a connection, a line of JSON, and one answer, a line of JSON.
//!
//! `{"show":"sessions"}` → `{"ok":{…}}` or `{"error":"…"}`. Only who may open the socket may ask (mode 0600).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use inspect::engine::SessionView;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::board::Board;
use crate::edition::Editions;
use crate::journal::json::timestamp;
use crate::journal::names::Names;
use crate::reload::Reloader;
use crate::statistics;
use crate::worker::Request;

/// Octets of a question.
const QUESTION_LIMIT: u64 = 4096;
/// How long a connection may take to ask, and a worker to answer.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// How long an answer may take to be complete. A policy may have to be loaded for it.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// To tell something.
    Show(Topic),
    /// To make the artifact at a path the policy in force.
    Reload(PathBuf),
}

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Sessions under way.
    Sessions,
    /// Counters.
    Statistics,
}

/// A control socket; its file goes with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at `path`. What a gateway that died left there is replaced.
    ///
    /// # Errors
    /// When another gateway listens there, or the socket cannot be made.
    pub fn listen(path: &Path) -> io::Result<Self> {
        if path.exists() {
            match UnixStream::connect(path) {
                Ok(_) => {
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway listens there"));
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
                Err(error) => return Err(error),
            }
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// A second handle to the socket, for the thread that answers. The file still goes with this one.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn answering(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct Source {
    /// What the workers publish.
    pub board: Arc<Board>,
    /// By worker: where to ask it.
    pub workers: Vec<Sender<Request>>,
    /// Sessions listed, per worker.
    pub session_limit: usize,
    /// Brings another policy into force.
    pub reloader: Reloader,
}

/// Answers for as long as the process lives.
pub fn serve(listener: &UnixListener, source: &Source) {
    for stream in listener.incoming() {
        match stream {
            // Somebody who goes away or is too slow is no reason to stop.
            Ok(stream) => drop(answer(stream, source)),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn answer(stream: UnixStream, source: &Source) -> io::Result<()> {
    stream.set_read_timeout(Some(TIME_LIMIT))?;
    stream.set_write_timeout(Some(TIME_LIMIT))?;
    let mut line = String::new();
    BufReader::new((&stream).take(QUESTION_LIMIT)).read_line(&mut line)?;
    let reply = match serde_json::from_str(&line) {
        Ok(question) => match respond(question, source) {
            Ok(answer) => json!({"ok": answer}),
            Err(error) => json!({"error": error}),
        },
        Err(error) => json!({"error": format!("not understood: {error}")}),
    };
    let mut text = reply.to_string();
    text.push('\n');
    (&stream).write_all(text.as_bytes())
}

fn respond(question: Question, source: &Source) -> Result<Value, String> {
    Ok(match question {
        Question::Show(Topic::Statistics) => statistics::everything(&source.board),
        Question::Show(Topic::Sessions) => sessions(source),
        Question::Reload(path) => source.reloader.reload(&path)?,
    })
}

fn sessions(source: &Source) -> Value {
    let mut all = Vec::new();
    let mut is_partial = false;
    for worker in &source.workers {
        let (reply, replies) = crossbeam_channel::bounded(1);
        let into = Vec::with_capacity(source.session_limit);
        let views = worker
            .send_timeout(Request::Sessions { into, reply }, TIME_LIMIT)
            .ok()
            .and_then(|()| replies.recv_timeout(TIME_LIMIT).ok());
        match views {
            Some(views) => {
                is_partial |= views.len() >= source.session_limit;
                all.extend(views);
            }
            // It is gone, or too busy to say.
            None => is_partial = true,
        }
    }
    all.sort_by_key(|view| view.tag.id);
    let editions = source.board.editions();
    let sessions: Vec<_> = all.iter().map(|view| session(view, &source.board, &editions)).collect();
    json!({"count": sessions.len(), "partial": is_partial, "sessions": sessions})
}

fn session(view: &SessionView, board: &Board, editions: &Editions) -> Value {
    let unknown = Arc::default();
    let policy = editions.of(view.tag.generation).map_or(&unknown, |edition| &edition.policy);
    let names = Names::of(&view.tag, policy);
    let now = board.origin.elapsed().as_nanos() as u64;
    let ago = |nanos: u64| now.saturating_sub(nanos) / 1_000_000_000;
    json!({
        "flow_id": view.tag.id.0,
        "src_ip": view.tag.client.ip(), "src_port": view.tag.client.port,
        "dest_ip": view.tag.server.ip(), "dest_port": view.tag.server.port,
        "protocol": if view.tag.smtp.is_some() { "smtp" } else { "tcp" },
        "state": view.state.word(),
        "inspected": view.inspected,
        "created": timestamp(board.epoch.saturating_add(view.created.as_nanos())),
        "created_seconds_ago": ago(view.created.as_nanos()),
        "last_heard_seconds_ago": ago(view.last_heard.as_nanos()),
        "bytes_toserver": view.bytes[0], "bytes_toclient": view.bytes[1],
        "zone_pair": names.zone_pair, "class": names.top_class, "policy": names.policy(),
    })
}

/// Asks the gateway that listens at `path`.
///
/// # Errors
/// When none does, or it does not understand.
pub fn ask(path: &Path, question: &Question) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut line = serde_json::to_string(question)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let start = Instant::now();
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if start.elapsed() > ANSWER_LIMIT {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut answer: Value = serde_json::from_str(&text)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(io::Error::other(error.to_owned())),
        None => Ok(answer["ok"].take()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;
    use inspect::engine::SessionState as State;
    use inspect::unit::Instant;

    /// A session as an engine would show it.
    fn view() -> SessionView {
        SessionView {
            tag: sample::flow(),
            state: State::Open,
            inspected: true,
            created: Instant::ZERO,
            last_heard: Instant::ZERO,
            bytes: [48, 99],
        }
    }

    fn gateway(path: &Path) -> Control {
        let control = Control::listen(path).unwrap();
        let names = ["inside", "outside"].map(String::from);
        let board = Board::new(&sample::artifact(sample::policy()), names.clone(), names, 1, Arc::default());
        let (ask, asked) = crossbeam_channel::bounded(4);
        let board = Arc::new(board);
        let (reloader, _) = Reloader::new(Arc::clone(&board), 1);
        let source = Source { board, workers: vec![ask], session_limit: 2, reloader };
        let listener = control.answering().unwrap();
        std::thread::spawn(move || serve(&listener, &source));
        std::thread::spawn(move || {
            for request in asked {
                let Request::Sessions { mut into, reply } = request else { panic!("not asked for") };
                into.push(view());
                reply.send(into).unwrap();
            }
        });
        control
    }

    #[test]
    fn questions_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let control = gateway(&path);
        let sessions = ask(&path, &Question::Show(Topic::Sessions)).unwrap();
        assert_eq!((sessions["count"].as_u64(), sessions["partial"].as_bool()), (Some(1), Some(false)));
        let first = &sessions["sessions"][0];
        assert_eq!(
            (first["src_ip"].as_str(), first["state"].as_str()),
            (Some("192.0.2.1"), Some("SIS_OPEN"))
        );
        assert_eq!(first["class"], "mail");
        let statistics = ask(&path, &Question::Show(Topic::Statistics)).unwrap();
        assert_eq!(statistics["counters"]["frames_received_a"], 0);
        assert_eq!(statistics["policy"]["digest"], "ab".repeat(32));
        let kinds = statistics["kinds"].as_array().unwrap();
        assert!(kinds.iter().any(|kind| kind["kind"] == "TCP_INCONSISTENT_RETRANSMISSION"));
        assert!(kinds.iter().any(|kind| kind["kind"] == "SMTP_INVALID_COMMAND" && kind["severity"] == 3));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(control);
        assert!(!path.exists(), "the socket's file goes with it");
    }

    #[test]
    fn nonsense_gets_an_answer_and_the_next_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let _control = gateway(&path);
        for nonsense in [&b"{}\n"[..], b"\xff\xfe\n", b"{\"show\":\"weather\"}\n", &[b'['; 5000]] {
            let mut stream = UnixStream::connect(&path).unwrap();
            // The gateway may have read enough before all is written.
            let _ = stream.write_all(nonsense);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text);
            assert!(text.is_empty() || text.starts_with("{\"error\":\"not understood"), "{text}");
        }
        assert!(ask(&path, &Question::Show(Topic::Statistics)).is_ok());
    }

    #[test]
    fn what_a_dead_gateway_left_is_replaced_but_not_a_live_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(
            ask(&path, &Question::Show(Topic::Sessions)).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let _control = gateway(&path);
        let error = Control::listen(&path).unwrap_err();
        assert_eq!(error.to_string(), "another gateway listens there");
    }
}
