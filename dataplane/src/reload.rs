//! A new policy for a gateway that carries sessions: loaded and checked first, in force for all workers or not at all.
//!
//! Whoever asks (`postern reload` through the control socket, or SIGHUP) does the loading in a thread of its own:
//! reading, checking, databases, scratch memory for each worker. Only what can no longer fail is ordered from the main
//! thread, which has the kernel and the workers change over in the order that [`crate::gate`] explains.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use serde_json::{Value, json};

use crate::board::Board;
use crate::config::ReloadArgs;
use crate::control::{Question, ask};
use crate::failure::Failure;
use crate::loaded::{Loaded, Sides, sides};
use crate::matcher::Prepared;

/// How long the change-over may take.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A policy that is ready to take over.
#[derive(Debug)]
pub struct Order {
    /// The artifact.
    pub loaded: Loaded,
    /// Which of its ports the gateway's are.
    pub sides: Sides,
    /// A matcher for each worker.
    pub prepared: Vec<Prepared>,
    /// Where to say how it went.
    pub reply: Sender<Result<(), String>>,
}

/// Loads policies and orders them into force.
#[derive(Debug, Clone)]
pub struct Reloader {
    /// Names of the gateway's ports.
    names: [String; 2],
    board: Arc<Board>,
    stream_limit: usize,
    orders: Sender<Order>,
}

impl Reloader {
    /// A reloader, and where its orders come out.
    #[must_use]
    pub fn new(board: Arc<Board>, stream_limit: usize) -> (Self, Receiver<Order>) {
        let (orders, received) = crossbeam_channel::bounded(1);
        let names = board.port_names.clone();
        (Self { names, board, stream_limit, orders }, received)
    }

    /// Makes the artifact at `path` the policy in force and says what that is now.
    ///
    /// # Errors
    /// Why it is not; the one before stays in force.
    pub fn reload(&self, path: &Path) -> Result<Value, String> {
        let result = self.load(path).and_then(|(order, reply)| {
            self.orders
                .send_timeout(order, TIME_LIMIT)
                .map_err(|_| "the gateway is busy with another policy or stopping".to_owned())?;
            reply.recv_timeout(TIME_LIMIT).map_err(|_| "the gateway did not answer in time".to_owned())?
        });
        match result {
            Ok(()) => {
                let edition = self.board.edition();
                Ok(json!({
                    "source": edition.policy.source.name, "digest": edition.digest,
                    "generation": edition.generation,
                }))
            }
            Err(error) => {
                self.board.reload_failures.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn load(&self, path: &Path) -> Result<(Order, Receiver<Result<(), String>>), String> {
        let named = |error: &dyn std::fmt::Display| format!("--policy {}: {error}", path.display());
        let loaded = Loaded::read(path).map_err(|error| error.to_string())?;
        let sides = sides(&loaded.artifact.policy, [&self.names[0], &self.names[1]])
            .map_err(|error| named(&error))?;
        let prepare = |_| loaded.patterns.prepare(self.stream_limit);
        let prepared = (0..self.board.worker_count()).map(prepare).collect::<Result<_, _>>();
        let prepared = prepared.map_err(|error| named(&error))?;
        let (reply, replies) = crossbeam_channel::bounded(1);
        Ok((Order { loaded, sides, prepared, reply }, replies))
    }
}

/// `postern reload`: asks a running gateway, and says what is in force then.
///
/// # Errors
/// When no gateway answers, or why the policy did not come into force.
pub fn command(args: &ReloadArgs) -> Result<String, Failure> {
    // The gateway may run in another folder.
    let path: PathBuf =
        std::path::absolute(&args.policy).map_err(|error| Failure::file("--policy", &args.policy, &error))?;
    let answer = ask(&args.control, &Question::Reload(path)).map_err(|error| {
        Failure::Bad(match error.kind() {
            std::io::ErrorKind::Other => format!("not reloaded: {error}"),
            _ => format!("no gateway answers at {}: {error}", args.control.display()),
        })
    })?;
    let text = |key: &str| answer[key].as_str().unwrap_or("?").to_owned();
    Ok(format!(
        "{} is in force, SHA-256 {}; sessions that exist go on under the policy they began with\n",
        text("source"),
        text("digest")
    ))
}
