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

use crate::board::{Board, Headcount};
use crate::edition::Editions;
use crate::journal::json::timestamp;
use crate::journal::names::Names;
use crate::overview;
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
    /// The policy in force.
    Policy,
    /// The two ports.
    Interfaces,
    /// Sessions under way.
    Sessions,
    /// Zone-pairs, their classes, and what these counted.
    ZonePairs,
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
        Question::Show(Topic::Policy) => overview::policy(&source.board),
        Question::Show(Topic::Interfaces) => overview::interfaces(&source.board),
        Question::Show(Topic::Sessions) => sessions(source),
        Question::Show(Topic::ZonePairs) => zone_pairs(source),
        Question::Reload(path) => source.reloader.reload(&path)?,
    })
}

/// What each worker answers; `None` for one that is gone, or too busy to say.
fn ask_workers<T>(source: &Source, request: impl Fn(Sender<T>) -> Request) -> Vec<Option<T>> {
    let ask = |worker: &Sender<Request>| {
        let (reply, replies) = crossbeam_channel::bounded(1);
        worker.send_timeout(request(reply), TIME_LIMIT).ok()?;
        replies.recv_timeout(TIME_LIMIT).ok()
    };
    source.workers.iter().map(ask).collect()
}

fn zone_pairs(source: &Source) -> Value {
    let count = source.board.editions().tops.len();
    let mut sum = Headcount::with_classes(count);
    let all = ask_workers(source, |reply| Request::Census { into: Headcount::with_classes(count), reply });
    let is_partial = all.iter().any(Option::is_none);
    for census in all.iter().flatten() {
        sum.add(census);
    }
    overview::zone_pairs(&source.board, &sum, is_partial)
}

fn sessions(source: &Source) -> Value {
    let limit = source.session_limit;
    let views = ask_workers(source, |reply| Request::Sessions { into: Vec::with_capacity(limit), reply });
    let is_partial = views.iter().any(|views| views.as_ref().is_none_or(|views| views.len() >= limit));
    let mut all: Vec<_> = views.into_iter().flatten().flatten().collect();
    all.sort_by_key(|view| view.tag.id);
    let editions = source.board.editions();
    let sessions: Vec<_> = all.iter().map(|view| session(view, &source.board, &editions)).collect();
    let form = overview::form_word(&editions.current().policy);
    json!({"form": form, "count": sessions.len(), "partial": is_partial, "sessions": sessions})
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
        "pkts_toserver": view.packets[0], "pkts_toclient": view.packets[1],
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
            packets: [5, 4],
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
                match request {
                    Request::Sessions { mut into, reply } => {
                        into.push(view());
                        reply.send(into).unwrap();
                    }
                    Request::Census { mut into, reply } => {
                        into.classes[0].count(&view());
                        reply.send(into).unwrap();
                    }
                    Request::Reload(_) => panic!("nobody asked for it"),
                }
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
        let zone_pairs = ask(&path, &Question::Show(Topic::ZonePairs)).unwrap();
        let class = &zone_pairs["zone_pairs"][0]["classes"][0];
        assert_eq!((&class["established"], &class["packets"]), (&1.into(), &9.into()));
        assert_eq!(class["smtp"]["classes"][0]["matches"][0], "sender address regex bad-senders");
        let policy = ask(&path, &Question::Show(Topic::Policy)).unwrap();
        assert_eq!((&policy["form"], &policy["generation"]), (&"zone".into(), &0.into()));
        assert_eq!(policy["zone_pairs"][0]["source"], "inside");
        let interfaces = ask(&path, &Question::Show(Topic::Interfaces)).unwrap();
        assert_eq!(interfaces["ports"][0]["inbound"][0], "firewall");
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
