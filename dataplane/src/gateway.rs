//! `postern run`: ports, workers, journal and pages, from the start to the drain.
//!
//! The main thread supervises. Workers do nothing but frames; whatever can wait is done by a thread of its own. A
//! worker that panics takes the process down: the gate is then closed (or bridged by the kernel, if that was asked for).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::backend::Backend;
use crate::board::Board;
use crate::config::{Mode, OnFailure, RunConfig, Steering};
use crate::control::{self, Control};
use crate::crew::{Crew, Trouble};
use crate::failure::Failure;
use crate::gate::Gate;
use crate::http;
use crate::journal::syslog::Syslog;
use crate::journal::{self, JournalStatus, Scribe};
use crate::loaded::{Loaded, Sides, bind};
use crate::port::xdp::{self, Classification, XdpConfig};
use crate::reload::Reloader;
use crate::statistics;
use crate::worker::{Request, Switch};

/// How often the ports are looked after.
pub(crate) const TEND: Duration = Duration::from_secs(1);
/// How often the main thread looks whether it is to stop.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Tells the administrator something.
pub(crate) fn say(text: &str) {
    eprintln!("postern: {text}");
}

/// Carries frames until a signal says stop.
///
/// # Errors
/// Whatever cannot be used, by name.
pub fn command(config: &RunConfig) -> Result<(), Failure> {
    let loaded = Loaded::read(&config.policy)?;
    let exists = |name: &str| !name.contains('/') && Path::new("/sys/class/net").join(name).exists();
    let (ports, sides) = bind(&loaded.artifact.policy, &config.ports, exists)?;
    let interfaces = ports.each_ref().map(|port| port.interface.clone());
    let names = ports.map(|port| port.name);
    let xdp_config = XdpConfig {
        workers: config.worker_count,
        mode: match config.mode {
            Mode::Auto => xdp::WantedMode::Auto,
            Mode::Native => xdp::WantedMode::Native,
            Mode::Skb => xdp::WantedMode::Skb,
        },
        on_failure: match config.on_failure {
            OnFailure::Closed => xdp::OnFailure::Closed,
            OnFailure::Open => xdp::OnFailure::Open,
        },
        steering: match config.steering {
            Steering::Auto => xdp::Steering::Auto,
            Steering::Rss => xdp::Steering::Card,
            Steering::Hash => xdp::Steering::HandOver,
        },
        handover_len: narrow(config.limits.handover_len),
        burst: narrow(config.limits.burst),
        frame_count: narrow(config.limits.frame_count),
        ring_len: narrow(config.limits.ring_len),
        ..XdpConfig::new(interfaces.each_ref().map(String::as_str))
    };
    let switch = Arc::new(Switch::default());
    watch_signals(config.drain, Arc::clone(&switch))
        .map_err(|error| Failure::Bad(format!("signals: {error}")))?;
    run(config, &loaded, (names, interfaces, sides), &switch, |part| xdp::Gateway::open(&xdp_config, part))
}

/// A limit as the kernel's 32 bits; its range was checked.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Opens ports by `open` and carries frames until `switch` says stop.
///
/// # Errors
/// Whatever cannot be used, by name.
pub fn run<B: Backend + 'static>(
    config: &RunConfig,
    loaded: &Loaded,
    (names, interfaces, sides): ([String; 2], [String; 2], Sides),
    switch: &Arc<Switch>,
    mut open: impl FnMut(&Classification) -> io::Result<B>,
) -> Result<(), Failure> {
    let cores = choose_cores(config)?;
    let bad = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Failure::Bad(format!("{what}: {error}"))
    };
    let worker_count = config.worker_count as usize;
    let status = Arc::<JournalStatus>::default();
    let board = Board::new(&loaded.artifact, names, interfaces, worker_count, Arc::clone(&status));
    let board = Arc::new(board);

    let events = config
        .events
        .as_ref()
        .map(|target| journal::open_events(target, true).map_err(bad(&format!("--events {target}"))));
    let syslog = config.syslog.as_ref().map(|target| {
        let limit = narrow(config.limits.syslog_lines_per_second);
        Syslog::open(target, limit).map_err(bad(&format!("--syslog {target}")))
    });
    let (events, syslog) = (events.transpose()?, syslog.transpose()?);
    let scribe = Scribe::with_status(Arc::clone(&board.register), board.epoch, events, syslog, status);
    let control_path = config.control.display();
    let control = Control::listen(&config.control).map_err(bad(&format!("--control {control_path}")))?;
    let listener = config
        .metrics
        .as_ref()
        .map(|address| http::listen(address).map_err(bad(&format!("--metrics {address}"))));
    let listener = listener.transpose()?;

    // The first time the ports must be there; later they are waited for.
    let part = board.edition().classification(sides);
    let mut backend = open(&part).map_err(|error| Failure::Bad(error.to_string()))?;

    let capacity = usize::try_from(config.limits.record_limit).unwrap_or(usize::MAX);
    let (sink, records) = journal::channel(capacity);
    let scribe = spawn_journal(scribe, records, Arc::clone(&board), config)?;
    let (requests, asked): (Vec<_>, Vec<_>) =
        (0..worker_count).map(|_| crossbeam_channel::bounded::<Request>(4)).unzip();
    let stream_limit = usize::try_from(config.limits.stream_limit).unwrap_or(usize::MAX);
    let (reloader, orders) = Reloader::new(Arc::clone(&board), stream_limit);
    serve_pages(&control, listener, (&board, requests.clone(), reloader.clone()), config)?;

    let mut crew = Crew {
        config,
        patterns: loaded.patterns.clone(),
        retired: Vec::new(),
        sides,
        cores,
        board: &board,
        switch,
        sink: &sink,
        requests,
        asked,
        gate: Gate::new(board.edition().generation, part),
        orders,
        reloader,
        announced: false,
    };
    let result = loop {
        for notice in backend.notices() {
            say(&notice);
        }
        match crew.serve(&mut backend) {
            Ok(()) => break Ok(()),
            Err(Trouble::Port(error)) => {
                board.ready.store(false, Ordering::Relaxed);
                board.port_restarts.fetch_add(1, Ordering::Relaxed);
                say(&format!("a port is gone, all sessions with it; trying again every second: {error}"));
            }
            Err(Trouble::Worker(error)) => break Err(Failure::Bad(error)),
        }
        drop(backend);
        crew.start_over();
        match reopen(&mut || open(&crew.gate.now()), switch) {
            Some(again) => backend = again,
            None => break Ok(()),
        }
    };
    board.ready.store(false, Ordering::Relaxed);
    // The journal writes what is left and ends when the last sink is gone.
    drop(crew);
    drop(sink);
    if scribe.join().is_err() {
        return Err(Failure::Bad("the journal died".into()));
    }
    result
}

/// Tries to open the ports again, once a second, and complains when the reason changes.
fn reopen<B>(open: &mut impl FnMut() -> io::Result<B>, switch: &Switch) -> Option<B> {
    let mut complaint = String::new();
    loop {
        std::thread::sleep(TEND);
        if switch.is_stopping() {
            return None;
        }
        match open() {
            Ok(backend) => return Some(backend),
            Err(error) => {
                let text = error.to_string();
                if text != complaint {
                    say(&text);
                    complaint = text;
                }
            }
        }
    }
}

/// The core of each worker: those asked for, else the last ones there are, as interrupts and other programs like the
/// first. Empty when there are fewer cores than workers.
fn choose_cores(config: &RunConfig) -> Result<Vec<core_affinity::CoreId>, Failure> {
    let there = core_affinity::get_core_ids().unwrap_or_default();
    for core in &config.cores {
        if !there.iter().any(|id| id.id == *core) {
            let known: Vec<_> = there.iter().map(|id| id.id.to_string()).collect();
            return Err(Failure::Usage(format!(
                "--cores: core {core} is not one this process may use ({})",
                known.join(", ")
            )));
        }
    }
    if !config.cores.is_empty() {
        return Ok(config.cores.iter().map(|id| core_affinity::CoreId { id: *id }).collect());
    }
    let count = config.worker_count as usize;
    Ok(there.len().checked_sub(count).map(|first| there[first..].to_vec()).unwrap_or_default())
}

/// SIGTERM and SIGINT drain, a second one or the end of the time stops. SIGHUP reads the policy again.
fn watch_signals(drain: Duration, switch: Arc<Switch>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let watch = move || {
        let mut stop_at: Option<Instant> = None;
        loop {
            for signal in signals.pending() {
                match (signal, stop_at) {
                    (SIGHUP, _) => switch.ask_reload(),
                    (_, None) => {
                        say(&format!("stopping; sessions in flight have {} s", drain.as_secs()));
                        // Not run by systemd: nobody to tell.
                        let _ = sd_notify::notify(&[NotifyState::Stopping]);
                        stop_at = Some(Instant::now() + drain);
                        switch.drain();
                    }
                    (_, Some(_)) => switch.stop(),
                }
            }
            if stop_at.is_some_and(|at| Instant::now() >= at) {
                switch.stop();
            }
            std::thread::sleep(LOOK);
        }
    };
    Builder::new().name("signals".into()).spawn(watch).map(drop)
}

fn spawn_journal(
    scribe: Scribe,
    records: Receiver<inspect::event::Record>,
    board: Arc<Board>,
    config: &RunConfig,
) -> Result<JoinHandle<()>, Failure> {
    let interval = Duration::from_secs(config.limits.stats_interval_seconds);
    let write = move || {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let stats = || (u64::try_from(now()).unwrap_or(u64::MAX), statistics::counters(&board));
        scribe.run(&records, interval, stats);
    };
    Builder::new().name("journal".into()).spawn(write).map_err(no_thread)
}

fn no_thread(error: io::Error) -> Failure {
    Failure::Bad(format!("a thread could not be made: {error}"))
}

/// Starts the threads that answer `show` and serve metrics.
fn serve_pages(
    control: &Control,
    listener: Option<std::net::TcpListener>,
    (board, workers, reloader): (&Arc<Board>, Vec<Sender<Request>>, Reloader),
    config: &RunConfig,
) -> Result<(), Failure> {
    let session_limit = usize::try_from(config.limits.show_sessions).unwrap_or(usize::MAX);
    let source = control::Source { board: Arc::clone(board), workers, session_limit, reloader };
    let socket = control.answering().map_err(|error| Failure::Bad(format!("--control: {error}")))?;
    let answer = move || control::serve(&socket, &source);
    Builder::new().name("control".into()).spawn(answer).map_err(no_thread)?;
    if let Some(listener) = listener {
        let board = Arc::clone(board);
        let serve = move || http::serve(&listener, &board);
        Builder::new().name("metrics".into()).spawn(serve).map_err(no_thread)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{KernelCounts, PortFacts};
    use crate::config::RunArgs;
    use crate::control::{Question, Topic, ask};
    use crate::journal::sample;
    use crate::port::Losses;
    use crate::port::memory::MemoryPort;
    use crate::worker::Place;
    use inspect::frame::VecMemory;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    const STATISTICS: Question = Question::Show(Topic::Statistics);

    /// A backend whose ports nobody sends to; `broken` of them fail at once.
    #[derive(Default)]
    struct Quiet {
        broken: bool,
        /// The kernel takes no policy.
        stubborn: bool,
        /// What the kernel was told.
        told: Arc<Mutex<Vec<Classification>>>,
    }

    impl Backend for Quiet {
        type Memory = VecMemory;
        type Port = MemoryPort;
        type Seat = bool;

        fn take_seat(&mut self, _: usize) -> Option<bool> {
            Some(self.broken)
        }
        fn sit(broken: bool) -> Place<VecMemory, MemoryPort> {
            let (a, far) = MemoryPort::new(4);
            if broken {
                far.vanish();
            }
            Place { pool: VecMemory::pool(16, 2048), ports: [a, MemoryPort::new(4).0], handover: None }
        }
        fn notices(&self) -> Vec<String> {
            Vec::new()
        }
        fn tend(&mut self) -> Vec<String> {
            Vec::new()
        }
        fn ports(&self) -> [PortFacts; 2] {
            Default::default()
        }
        fn set_policy(&mut self, part: &Classification) -> io::Result<()> {
            if self.stubborn {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.told.lock().unwrap().push(part.clone());
            Ok(())
        }
        fn kernel(&self) -> [KernelCounts; 2] {
            [vec![("bridged", 1, 60)], Vec::new()]
        }
        fn losses(&self) -> Vec<[Losses; 2]> {
            vec![[Losses { rx_lost: 3, tx_refused: 0 }, Losses::default()]]
        }
        fn kernel_classes(&self, count: usize) -> Vec<[u64; 2]> {
            vec![[0; 2]; count]
        }
    }

    fn config(folder: &Path) -> RunConfig {
        let args = RunArgs {
            policy: Some("unused".into()),
            control: Some(folder.join("control")),
            events: Some(folder.join("events").display().to_string()),
            metrics: Some("127.0.0.1:0".into()),
            workers: Some(2),
            ..RunArgs::default()
        };
        RunConfig::new(args).unwrap()
    }

    fn names() -> ([String; 2], [String; 2], Sides) {
        (["inside", "outside"].map(String::from), ["eth0", "eth1"].map(String::from), [Some(0), Some(1)])
    }

    fn start(
        config: RunConfig,
        mut open: impl FnMut() -> io::Result<Quiet> + Send + 'static,
    ) -> (Arc<Switch>, JoinHandle<Result<(), Failure>>) {
        let switch = Arc::new(Switch::default());
        let shared = Arc::clone(&switch);
        let thread = std::thread::spawn(move || {
            let loaded = Loaded::new(sample::artifact(sample::policy())).unwrap();
            run(&config, &loaded, names(), &shared, |_| open())
        });
        (switch, thread)
    }

    fn eventually(mut holds: impl FnMut() -> bool) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            holds()
        })
    }

    #[test]
    fn it_becomes_ready_answers_and_drains() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let path = config.control.clone();
        let (switch, thread) = start(config, || Ok(Quiet::default()));
        assert!(eventually(|| ask(&path, &STATISTICS).is_ok_and(|all| all["ready"] == true)));
        let statistics = ask(&path, &STATISTICS).unwrap();
        assert_eq!(statistics["workers"].as_array().unwrap().len(), 2);
        assert_eq!(ask(&path, &Question::Show(Topic::Sessions)).unwrap()["count"], 0);
        let lost = || ask(&path, &STATISTICS).unwrap()["ports"][0]["rx_lost"] == 3;
        assert!(eventually(lost), "what the kernel lost is asked for about once a second");
        switch.drain();
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert!(!path.exists(), "the control socket is gone");
    }

    /// A policy without patterns, for which no database is needed.
    fn storable() -> artifact::model::Policy {
        let mut policy = sample::policy();
        policy.smtp[0].criteria[0].test = artifact::smtp::Test::CommandVerb("EVIL".into());
        policy.conditions.push(artifact::model::Condition::Any);
        policy.paths[0].classes.push(artifact::model::TopClass {
            name: "class-default".into(),
            mode: artifact::model::Mode::Any,
            condition: 1,
            matches: vec!["any".into()],
            action: artifact::model::TopAction::Drop { log: false },
            line: 0,
        });
        policy
    }

    /// An artifact in a file, whose policy inspects `port`.
    fn artifact_at(folder: &Path, port: u16) -> std::path::PathBuf {
        let mut policy = storable();
        policy.smtp_ports = vec![port];
        policy.paths[0].zone_pair = format!("to-{port}");
        let path = folder.join(format!("{port}.postern"));
        std::fs::write(&path, sample::artifact(policy).write()).unwrap();
        path
    }

    #[test]
    fn a_new_policy_comes_into_force_in_steps() {
        use crate::port::xdp::Action::{Drop, Inspect};
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        config.policy = artifact_at(folder.path(), 587);
        let path = config.control.clone();
        let told = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&told);
        let (switch, thread) =
            start(config, move || Ok(Quiet { told: Arc::clone(&shared), ..Quiet::default() }));
        let statistics = || ask(&path, &STATISTICS).unwrap();
        assert!(eventually(|| ask(&path, &STATISTICS).is_ok_and(|all| all["ready"] == true)));

        let answer = ask(&path, &Question::Reload(artifact_at(folder.path(), 2525))).unwrap();
        assert_eq!(answer["generation"], 1);
        assert_eq!((&statistics()["reloads"], &statistics()["policy"]["generation"]), (&1.into(), &1.into()));
        // Nobody has a session under the old policy, so the kernel soon forgets it.
        assert!(eventually(|| told.lock().unwrap().len() == 3));
        let steps: Vec<_> = told
            .lock()
            .unwrap()
            .iter()
            .map(|part| [25, 2525].map(|port| part.ingress[0].tcp(port)))
            .collect();
        assert_eq!(steps, [[Inspect, Inspect], [Inspect, Inspect], [Drop, Inspect]]);

        switch.ask_reload();
        assert!(eventually(|| statistics()["reloads"] == 2), "SIGHUP reads the file of the start");
        assert!(eventually(|| told.lock().unwrap().last().unwrap().ingress[0].tcp(587) == Inspect));
        switch.stop();
        assert_eq!(thread.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_policy_that_cannot_be_used_leaves_the_old_one_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let path = config.control.clone();
        let (switch, thread) = start(config, || Ok(Quiet { stubborn: true, ..Quiet::default() }));
        assert!(eventually(|| ask(&path, &STATISTICS).is_ok_and(|all| all["ready"] == true)));
        let reload = |file: &Path| ask(&path, &Question::Reload(file.into())).unwrap_err().to_string();

        let file = folder.path().join("mail.policy");
        std::fs::write(&file, "zone security inside").unwrap();
        assert!(reload(&file).starts_with(&format!("--policy {}: ", file.display())));
        let mut policy = storable();
        policy.ports[1].name = "dmz".into();
        std::fs::write(&file, sample::artifact(policy).write()).unwrap();
        assert!(reload(&file).ends_with("the policy has no zone `outside` (it has `inside`, `dmz`)"));
        let good = artifact_at(folder.path(), 2525);
        assert!(reload(&good).starts_with("the kernel did not take the policy: "));

        let args = crate::config::ReloadArgs { policy: file, control: path.clone() };
        let failure = crate::reload::command(&args).unwrap_err();
        assert!(failure.to_string().starts_with("not reloaded: --policy "), "{failure}");
        assert_eq!(failure.status(), 1);
        let statistics = ask(&path, &STATISTICS).unwrap();
        assert_eq!((&statistics["reload_failures"], &statistics["reloads"]), (&4.into(), &0.into()));
        assert_eq!(statistics["policy"]["generation"], 0);
        switch.stop();
        assert_eq!(thread.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_vanished_port_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let path = config.control.clone();
        let opened = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&opened);
        let (switch, thread) = start(config, move || match counter.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Quiet { broken: true, ..Quiet::default() }),
            1 => Err(io::Error::other("still gone")),
            _ => Ok(Quiet::default()),
        });
        assert!(eventually(|| ask(&path, &STATISTICS).is_ok_and(|all| all["ready"] == true)));
        assert_eq!(opened.load(Ordering::Relaxed), 3);
        switch.stop();
        assert_eq!(thread.join().unwrap(), Ok(()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let fails = |change: fn(&mut RunConfig), expected: &str| {
            let mut config = config(folder.path());
            change(&mut config);
            let (_, thread) = start(config, || Err(io::Error::other("port eth0: no such interface")));
            let failure = thread.join().unwrap().unwrap_err();
            assert!(failure.to_string().starts_with(expected), "{failure}");
            failure.status()
        };
        assert_eq!(fails(|_| {}, "port eth0: no such interface"), 1);
        assert_eq!(
            fails(|c| c.events = Some("/nonexistent/events".into()), "--events /nonexistent/events: "),
            1
        );
        assert_eq!(fails(|c| c.syslog = Some("no such host".into()), "--syslog no such host: "), 1);
        assert_eq!(fails(|c| c.control = "/nonexistent/x".into(), "--control /nonexistent/x: "), 1);
        assert_eq!(fails(|c| c.metrics = Some("192.0.2.1:1".into()), "--metrics 192.0.2.1:1: "), 1);
        assert_eq!(fails(|c| c.cores = vec![9999], "--cores: core 9999 is not one"), 2);
    }
}
