//! The workers of a gateway: started, watched, ended together.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use inspect::engine::{Config, Engine, GENERATION_LIMIT, Pickup};
use sd_notify::NotifyState;

use crate::backend::Backend;
use crate::board::Board;
use crate::config::{Checksum, RunConfig, UnknownSessions};
use crate::gate::Gate;
use crate::gateway::{LOOK, TEND, say};
use crate::journal::ChannelSink;
use crate::loaded::Sides;
use crate::matcher::Patterns;
use crate::random::random_key;
use crate::reload::{Order, Reloader};
use crate::worker::{Reload, Request, Switch, Worker};

/// How long a worker may take to take over a policy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the workers ended before they were asked to.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A port is gone; worth another try.
    Port(io::Error),
    /// A worker cannot work.
    Worker(String),
}

/// What a worker tells the main thread.
enum Report {
    /// Its first burst is done.
    Started,
    /// It has ended.
    Ended(Result<(), Trouble>),
}

/// Tells the main thread that a worker died, should it end without saying so.
struct Alarm(Sender<Report>, bool);

impl Drop for Alarm {
    fn drop(&mut self) {
        if !self.1 {
            let died = Trouble::Worker("a worker died; stopping, so that nothing passes uninspected".into());
            // The main thread waits for this.
            let _ = self.0.send(Report::Ended(Err(died)));
        }
    }
}

/// The workers and what they need.
pub(crate) struct Crew<'a> {
    pub(crate) config: &'a RunConfig,
    /// Of the policy in force, for workers that are still to be made.
    pub(crate) patterns: Patterns,
    /// Of older policies that sessions may live under, by generation. Kept here so that they are freed in this thread: a
    /// worker would stand still while the kernel takes the memory of large databases back.
    pub(crate) retired: Vec<(u32, Patterns)>,
    pub(crate) sides: Sides,
    pub(crate) cores: Vec<core_affinity::CoreId>,
    pub(crate) board: &'a Arc<Board>,
    pub(crate) switch: &'a Arc<Switch>,
    pub(crate) sink: &'a ChannelSink,
    /// By worker: where to ask it, and where it hears that.
    pub(crate) requests: Vec<Sender<Request>>,
    pub(crate) asked: Vec<Receiver<Request>>,
    /// What the kernel is told of the policies in use.
    pub(crate) gate: Gate,
    /// Policies to bring into force.
    pub(crate) orders: Receiver<Order>,
    pub(crate) reloader: Reloader,
    /// Whether "ready" was said.
    pub(crate) announced: bool,
}

impl Crew<'_> {
    /// Runs workers on a backend until they are asked to stop, or something is wrong.
    pub(crate) fn serve<B: Backend + 'static>(&mut self, backend: &mut B) -> Result<(), Trouble> {
        let own_switch = Arc::new(Switch::default());
        let (reports, reported) = crossbeam_channel::unbounded();
        let mut threads = Vec::new();
        for number in 0..self.config.worker_count as usize {
            let Some(seat) = backend.take_seat(number) else {
                return Err(Trouble::Worker(format!("there is no place for worker {number}")));
            };
            let work = self.worker::<B>(number, seat, &own_switch, &reports);
            let thread = Builder::new().name(format!("worker-{number}")).spawn(work);
            threads.push(thread.map_err(|error| Trouble::Worker(error.to_string()))?);
        }
        drop(reports);
        self.board.set_port_facts(backend.ports());
        let result = self.supervise(backend, &own_switch, &reported, threads.len());
        own_switch.stop();
        for thread in threads {
            // One that died has said so.
            let _ = thread.join();
        }
        self.ask_kernel(backend);
        result
    }

    fn supervise<B: Backend>(
        &mut self,
        backend: &mut B,
        own_switch: &Switch,
        reported: &Receiver<Report>,
        count: usize,
    ) -> Result<(), Trouble> {
        let (mut started, mut ended) = (0, 0);
        let mut tend_at = Instant::now() + TEND;
        loop {
            match reported.recv_timeout(LOOK) {
                Ok(Report::Started) => {
                    started += 1;
                    if started == count {
                        self.announce();
                    }
                }
                Ok(Report::Ended(Ok(()))) => {
                    ended += 1;
                    if ended == count {
                        return Ok(());
                    }
                }
                Ok(Report::Ended(Err(trouble))) => return Err(trouble),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.switch.is_stopped() {
                own_switch.stop();
            } else if self.switch.is_stopping() {
                own_switch.drain();
            }
            while let Ok(order) = self.orders.try_recv() {
                let reply = order.reply.clone();
                // Whoever asked may have given up.
                let _ = reply.try_send(self.reload(backend, order));
            }
            if self.switch.take_reload() {
                self.read_again();
            }
            if Instant::now() >= tend_at {
                self.forget_old(backend);
                tend_at += TEND;
                for notice in backend.tend() {
                    say(&notice);
                }
                self.ask_kernel(backend);
                self.board.set_port_facts(backend.ports());
            }
        }
    }

    fn ask_kernel<B: Backend>(&self, backend: &B) {
        self.board.set_kernel(backend.kernel());
        self.board.set_losses(backend.losses());
        self.board.set_kernel_classes(backend.kernel_classes(self.board.editions().tops.len()));
    }

    /// Brings a policy into force: see [`crate::gate`] for the order.
    fn reload<B: Backend>(&mut self, backend: &mut B, order: Order) -> Result<(), String> {
        let Order { loaded, sides, prepared, .. } = order;
        // What the board knows may be one reload old.
        let is_full = |generations: [u32; GENERATION_LIMIT]| {
            generations[GENERATION_LIMIT - 3] < generations[GENERATION_LIMIT - 2]
        };
        if self.board.workers().iter().any(|worker| is_full(worker.totals.generations)) {
            return Err(format!(
                "sessions still live under {} older policies; try again when some have ended",
                GENERATION_LIMIT - 2
            ));
        }
        let before = self.board.editions();
        let editions = Arc::new(before.next(&loaded.artifact));
        let part = editions.current().classification(sides);
        backend
            .set_policy(&self.gate.before(&part))
            .map_err(|error| format!("the kernel did not take the policy: {error}"))?;
        self.retired.push((before.current().generation, self.patterns.clone()));
        // Before any worker can report under it.
        self.board.register.set(Arc::clone(&editions));
        let (done, is_done) = crossbeam_channel::bounded(prepared.len().max(1));
        for (worker, prepared) in self.requests.iter().zip(prepared) {
            let reload = Reload { editions: Arc::clone(&editions), prepared, sides, done: done.clone() };
            // One that is gone has ended the process, or is about to.
            let _ = worker.send_timeout(Request::Reload(Box::new(reload)), PATIENCE);
        }
        drop(done);
        self.gate.push(editions.current().generation, part);
        (self.patterns, self.sides) = (loaded.patterns, sides);
        for _ in &self.requests {
            // The kernel is left with what both policies allow.
            is_done
                .recv_timeout(PATIENCE)
                .map_err(|_| "a worker did not take the policy over in time; the others did".to_owned())?;
        }
        self.board.reloads.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = backend.set_policy(&self.gate.now()) {
            say(&format!("the kernel still goes by what the old policy and the new one allow: {error}"));
        }
        Ok(())
    }

    /// Reads the artifact again from where it was, in a thread of its own.
    fn read_again(&self) {
        let (reloader, path) = (self.reloader.clone(), self.config.policy.clone());
        let read = move || match reloader.reload(&path) {
            Ok(_) => say(&format!("SIGHUP: {} was read again and is in force", path.display())),
            Err(error) => say(&format!("SIGHUP: still running under the policy before: {error}")),
        };
        if let Err(error) = Builder::new().name("reload".into()).spawn(read) {
            say(&format!("SIGHUP: {error}"));
        }
    }

    /// Forgets policies under which no worker has a session any more.
    fn forget_old<B: Backend>(&mut self, backend: &mut B) {
        let editions = self.board.editions();
        if editions.count() == 1 {
            return;
        }
        let now = editions.current().generation;
        let used: Vec<_> = self.board.workers().iter().map(|worker| worker.totals.generations).collect();
        // Who has not published since the last change may have begun sessions that are not known here.
        if !used.iter().all(|generations| generations.contains(&now)) {
            return;
        }
        let in_use = |generation| used.iter().any(|generations| generations.contains(&generation));
        self.board.register.set(Arc::new(editions.only(in_use)));
        // What a worker published it did after it had given its own hold on them up.
        self.retired.retain(|(generation, _)| in_use(*generation));
        if self.gate.forget(in_use)
            && let Err(error) = backend.set_policy(&self.gate.now())
        {
            say(&format!("the kernel still inspects what an old policy did: {error}"));
        }
    }

    /// All workers have ended, and all sessions with them: only the policy in force is left.
    pub(crate) fn start_over(&mut self) {
        let editions = self.board.editions();
        self.board.register.set(Arc::new(editions.only(|_| false)));
        self.retired.clear();
        self.gate.forget(|_| false);
    }

    /// Frames flow: says so once to people, and to systemd.
    fn announce(&mut self) {
        self.board.ready.store(true, Ordering::Relaxed);
        if std::mem::replace(&mut self.announced, true) {
            say("frames flow again");
            return;
        }
        // Whoever started the program may not listen.
        let _ = writeln!(io::stdout(), "ready").and_then(|()| io::stdout().flush());
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }

    /// What worker `number` does, for its thread.
    fn worker<B: Backend>(
        &self,
        number: usize,
        seat: B::Seat,
        switch: &Arc<Switch>,
        reports: &Sender<Report>,
    ) -> impl FnOnce() + Send + use<B> {
        let patterns = self.patterns.clone();
        let editions = self.board.editions();
        let limits = self.config.limits.clone();
        let (board, switch) = (Arc::clone(self.board), Arc::clone(switch));
        let (sink, asked) = (self.sink.another(), self.asked[number].clone());
        let core = self.cores.get(number).copied();
        let engine_config = Config {
            ports: self.sides,
            generation: editions.current().generation,
            hash_key: random_key(),
            verify_checksums: self.config.checksum == Checksum::Verify,
            worker_count: self.config.worker_count,
            pickup: match self.config.unknown_sessions {
                UnknownSessions::Drop => Pickup::Drop,
                UnknownSessions::Pass => Pickup::Pass,
            },
            uninspected: self.config.uninspected_sessions.into(),
            flow_id_start: number as u64 + 1,
            flow_id_step: u64::from(self.config.worker_count),
            ..limits.engine()
        };
        let mut alarm = Alarm(reports.clone(), false);
        move || {
            if core.is_some_and(|core| !core_affinity::set_for_current(core)) {
                say(&format!("worker {number} could not be bound to its core"));
            }
            let stream_limit = usize::try_from(limits.stream_limit).unwrap_or(usize::MAX);
            let result = match patterns.matcher(stream_limit) {
                Err(error) => Err(Trouble::Worker(error.to_string())),
                Ok(matcher) => {
                    let usage = matcher.usage();
                    let policy = Arc::clone(&editions.current().policy);
                    let engine = Engine::new(policy, matcher, engine_config);
                    let burst = usize::try_from(limits.burst).unwrap_or(usize::MAX);
                    let mut worker = Worker::new(engine, B::sit(seat), sink, editions, usage, burst);
                    let spin = Duration::from_micros(limits.spin_micros);
                    // The first burst lends the ports what they receive into: only then do frames flow.
                    let now = inspect::unit::Instant::from_nanos(board.origin.elapsed().as_nanos() as u64);
                    let first = worker.step(now).map(|_| alarm.0.send(Report::Started));
                    first
                        .and_then(|_| worker.run(number, &board, &switch, &asked, spin))
                        .map_err(Trouble::Port)
                }
            };
            alarm.1 = true;
            // The main thread listens until every worker has ended.
            let _ = alarm.0.send(Report::Ended(result));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ() {
        assert_ne!(random_key(), random_key());
    }
}
