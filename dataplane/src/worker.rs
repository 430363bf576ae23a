//! A worker: one core, both ports, one engine, run to completion.
//!
//! Receive a burst from each port, give every frame to the engine, transmit what comes out, hand over what it
//! reports. The clock is read once per burst; counters are published, timers looked at and requests answered
//! outside the hot loop.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use inspect::engine::{Engine, GENERATION_LIMIT};
use inspect::engine::{SessionState as State, SessionView};
use inspect::frame::{Frame, Memory, Pool, Sealed};
use inspect::scan::Matcher;
use inspect::unit::{Instant, PortId};

use crate::board::{Board, Headcount, MatcherState, Totals, WorkerState};
use crate::edition::Editions;
use crate::handover::HandOver;
use crate::journal::Sink;
use crate::loaded::Sides;
use crate::matcher::{PatternMatcher, Prepared, Usage};
use crate::port::Port;
use crate::spin::Spin;
use crate::tally::Tally;

/// How often the engine's timers are looked at.
const TICK: Duration = Duration::from_millis(1);
/// How often counters are published and requests answered.
const PUBLISH: Duration = Duration::from_millis(100);
/// How long an ending session must have been silent before a stopping worker gives it up.
const LINGER: Duration = Duration::from_secs(1);

/// What all workers are asked to do.
#[derive(Debug, Default)]
pub struct Switch {
    level: AtomicU8,
    reload: AtomicBool,
}

impl Switch {
    /// Sessions in flight keep flowing; a worker without any stops.
    pub fn drain(&self) {
        self.level.fetch_max(1, Ordering::Relaxed);
    }

    /// Stop now.
    pub fn stop(&self) {
        self.level.store(2, Ordering::Relaxed);
    }

    /// The policy is to be read again from where it was.
    pub fn ask_reload(&self) {
        self.reload.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked for since this was last called.
    pub fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::Relaxed)
    }

    fn is_draining(&self) -> bool {
        self.level.load(Ordering::Relaxed) == 1
    }

    /// Whether it is time to stop or to drain.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.level.load(Ordering::Relaxed) != 0
    }

    /// Whether it is time to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.level.load(Ordering::Relaxed) == 2
    }
}

/// A policy to take over.
#[derive(Debug)]
pub struct Reload {
    /// The editions in use, the new one in force.
    pub editions: Arc<Editions>,
    /// A matcher for it.
    pub prepared: Prepared,
    /// Which of its ports the worker's are.
    pub sides: Sides,
    /// Where to say that it is done.
    pub done: Sender<()>,
}

/// Something a worker is asked to tell or to do.
#[derive(Debug)]
pub enum Request {
    /// Its sessions, at most as many as `into` has room for.
    Sessions {
        /// Where to put them; made by who asks, so that the worker need not allocate.
        into: Vec<SessionView>,
        /// Where to send them.
        reply: Sender<Vec<SessionView>>,
    },
    /// Its sessions counted, by row of [`Editions::tops`].
    Census {
        /// Where to count; made by who asks. Rows that it has no place for are left out.
        into: Headcount,
        /// Where to send it.
        reply: Sender<Headcount>,
    },
    /// Take a policy over: sessions that begin from then on are under it.
    Reload(Box<Reload>),
}

/// Where a worker works: its frames, its ports, its dealings with other workers.
#[derive(Debug)]
pub struct Place<M, P> {
    /// Its frames' memory.
    pub pool: Pool<M>,
    /// Port A first.
    pub ports: [P; 2],
    /// `None` where every frame that comes is its own.
    pub handover: Option<Box<dyn HandOver<M>>>,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct Worker<M: Memory, P, X, S> {
    engine: Engine<X>,
    // Ports go before the pool: they may hold frames of it.
    ports: [P; 2],
    handover: Option<Box<dyn HandOver<M>>>,
    out: Vec<(PortId, Sealed)>,
    received: Vec<Frame>,
    pool: Pool<M>,
    sink: S,
    editions: Arc<Editions>,
    usage: Rc<Usage>,
    state: WorkerState,
    burst: usize,
}

impl<M: Memory, P: Port<M>, X: Matcher, S: Sink> Worker<M, P, X, S> {
    /// A worker that moves frames of `pool` between `ports`, at most `burst` at once. With `handover` it is one of several
    /// that give each other what belongs to them.
    pub fn new(
        engine: Engine<X>,
        Place { pool, ports, handover }: Place<M, P>,
        sink: S,
        editions: Arc<Editions>,
        usage: Rc<Usage>,
        burst: usize,
    ) -> Self {
        let state = WorkerState {
            counters: engine.counters().clone(),
            tally: Tally::new(&editions),
            totals: Totals { chunks: pool.free_count() as u64, ..Totals::default() },
        };
        Self {
            engine,
            ports,
            handover,
            out: Vec::with_capacity(burst * 4),
            // What others hand over comes on top of what a port received.
            received: Vec::with_capacity(burst * 2),
            pool,
            sink,
            editions,
            usage,
            state,
            burst: burst.max(1),
        }
    }

    /// Moves one burst of each port through the engine and says how many frames that were.
    ///
    /// # Errors
    /// When a port is gone.
    pub fn step(&mut self, now: Instant) -> io::Result<usize> {
        let mut count = 0;
        for side in PortId::ALL {
            count += self.ports[side.index()].receive(&mut self.pool, &mut self.received, self.burst)?;
            if let Some(handover) = &mut self.handover {
                count += handover.exchange(side, &mut self.pool, &mut self.received, self.burst);
            }
            let frames = self.received.drain(..).map(|frame| (side, frame));
            self.engine.receive_burst(now, frames, &mut self.pool, &mut self.out);
        }
        self.transmit()?;
        if let Some(handover) = &mut self.handover {
            handover.settle(&mut self.pool);
        }
        if count > 0 {
            self.report();
        }
        Ok(count)
    }

    /// Does what the engine's timers say.
    ///
    /// # Errors
    /// When a port is gone.
    pub fn tick(&mut self, now: Instant) -> io::Result<()> {
        self.engine.tick(now, &mut self.pool, &mut self.out);
        if !self.out.is_empty() {
            self.transmit()?;
        }
        self.report();
        Ok(())
    }

    /// Ends every session for the journal and lets what is queued leave.
    ///
    /// # Errors
    /// When a port is gone.
    pub fn end(&mut self, now: Instant) -> io::Result<()> {
        self.engine.shut_down(now);
        self.report();
        self.transmit()
    }

    /// Hands the engine's frames to the ports. What finds no room even after a flush is dropped and counted; its
    /// sender sends it again.
    fn transmit(&mut self) -> io::Result<()> {
        for (side, frame) in self.out.drain(..) {
            let port = &mut self.ports[side.index()];
            if let Err(frame) = port.transmit(&self.pool, frame) {
                port.flush(&mut self.pool)?;
                if port.transmit(&self.pool, frame).is_err() {
                    self.state.totals.tx_full[side.index()] += 1;
                }
            }
        }
        for port in &mut self.ports {
            port.flush(&mut self.pool)?;
        }
        Ok(())
    }

    /// Hands over what the engine reports.
    fn report(&mut self) {
        for record in self.engine.journal_mut().drain() {
            self.state.tally.record(&record, &self.editions);
            self.sink.record(record);
        }
    }

    /// What it did and holds, brought up to date.
    pub fn state(&mut self) -> &WorkerState {
        let lost_in_engine = self.engine.journal_mut().lost_count;
        self.state.counters.clone_from(self.engine.counters());
        let totals = &mut self.state.totals;
        totals.generations = [self.engine.generation(); GENERATION_LIMIT];
        for (place, generation) in totals.generations.iter_mut().zip(self.engine.generations()) {
            *place = generation;
        }
        totals.chunks_free = self.pool.free_count() as u64;
        totals.handover = self.handover.as_ref().map(|handover| handover.counts()).unwrap_or_default();
        totals.levels = [self.ports[0].level(), self.ports[1].level()];
        totals.records_lost = self.sink.lost_count() + lost_in_engine;
        totals.matcher = MatcherState {
            scans: self.usage.scans.get(),
            scanned_bytes: self.usage.scanned_bytes.get(),
            hits: self.usage.hits.get(),
            streams_open: self.usage.streams_open.get(),
            streams_allocated: self.usage.streams_allocated.get(),
            streams_refused: self.usage.streams_refused.get(),
        };
        &self.state
    }

    /// Its sink, for the end of a replay.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// The pool, for tests that feed memory ports.
    pub fn pool_mut(&mut self) -> &mut Pool<M> {
        &mut self.pool
    }

    /// Whether no session is in flight any more. One that has ended stays a while for stragglers; it is not waited for.
    fn is_drained(&self, now: Instant) -> bool {
        let mut sessions = self.engine.sessions();
        sessions.all(|session| session.state == State::Closing && now.since(session.last_heard) >= LINGER)
    }
}

impl<M: Memory, P: Port<M>, X: Matcher, S: Sink> Worker<M, P, X, S> {
    /// Whether no session is in flight any more, here or at a worker whose frames come here.
    fn all_drained(&mut self, now: Instant) -> bool {
        let drained = self.is_drained(now);
        self.handover.as_mut().map_or(drained, |handover| handover.all_done(drained))
    }

    /// Sleeps until frames come or a timer may be due.
    fn sleep(&mut self, now: Instant) -> io::Result<()> {
        if let Some(handover) = &mut self.handover
            && !handover.lie_down()
        {
            return Ok(());
        }
        self.state.totals.sleeps += 1;
        let due = self.engine.idle_until(now, self.pool.free_count());
        let limit = due.map_or(PUBLISH, |due| due.since(now).clamp(TICK, PUBLISH));
        let bell = self.handover.as_ref().map(|handover| handover.bell());
        let result = P::wait(self.ports.each_ref(), bell, limit);
        if let Some(handover) = &mut self.handover {
            handover.get_up();
        }
        result
    }
}

/// Live, with patterns: what a capture's worker is never asked.
impl<M: Memory, P: Port<M>, S: Sink> Worker<M, P, PatternMatcher, S> {
    fn answer(&mut self, request: Request, now: Instant) -> io::Result<()> {
        match request {
            Request::Sessions { mut into, reply } => {
                let room = into.capacity();
                into.extend(self.engine.sessions().take(room));
                // Whoever asked may have gone.
                let _ = reply.try_send(into);
                Ok(())
            }
            Request::Census { mut into, reply } => {
                for session in self.engine.sessions() {
                    let edition = self.editions.of(session.tag.generation);
                    let row = edition.and_then(|edition| edition.top(&session.tag));
                    if let Some(census) = row.and_then(|row| into.classes.get_mut(row)) {
                        census.count(&session);
                    }
                }
                let Self { engine, editions, .. } = self;
                engine.levels(now, |generation, path, class, level| {
                    let row = editions.of(generation).and_then(|edition| edition.top_of(path, class));
                    if let Some(census) = row.and_then(|row| into.classes.get_mut(row)) {
                        census.rise(&level);
                    }
                });
                let [held, most, longest] = self.engine.held().map(|count| count as u64);
                let chunk_len = self.pool.memory().chunk_len() as u64;
                into.waiting = [held * chunk_len, most * chunk_len, longest];
                let _ = reply.try_send(into);
                Ok(())
            }
            Request::Reload(reload) => self.reload(*reload),
        }
    }

    fn reload(&mut self, reload: Reload) -> io::Result<()> {
        self.report();
        let Reload { editions, prepared, sides, done } = reload;
        let policy = Arc::clone(&editions.current().policy);
        let matcher = prepared.matcher(Rc::clone(&self.usage));
        let taken = self.engine.reload(policy, matcher, sides);
        if taken != Ok(editions.current().generation) {
            // Workers under different policies would be worse than starting over.
            return Err(io::Error::other("a policy could not be taken over"));
        }
        self.state.tally.grow(&editions);
        self.editions = editions;
        // Whoever asked may have given up.
        let _ = done.try_send(());
        Ok(())
    }

    /// Moves frames until `switch` says stop, or drain and no session is left. `spin` is how long it looks at most
    /// for frames before it sleeps until some come.
    ///
    /// # Errors
    /// When a port is gone.
    pub fn run(
        &mut self,
        number: usize,
        board: &Board,
        switch: &Switch,
        requests: &Receiver<Request>,
        spin: Duration,
    ) -> io::Result<()> {
        let clock = || Instant::from_nanos(board.origin.elapsed().as_nanos() as u64);
        let start = clock();
        let (mut tick_at, mut publish_at) = (start, start);
        let mut spin = Spin::new(spin);
        let mut last = start;
        let mut was_busy = false;
        loop {
            let now = clock();
            if was_busy {
                let nanos = now.since(last).as_nanos() as u64;
                self.state.totals.busy_nanos += nanos;
                self.state.totals.bursts.record(nanos);
            }
            last = now;
            was_busy = self.step(now)? > 0;
            let ticks = now >= tick_at;
            if ticks {
                self.tick(now)?;
                tick_at = now + TICK;
            }
            if now >= publish_at {
                self.state.totals.total_nanos = now.since(start).as_nanos() as u64;
                board.publish(number, self.state());
                while let Ok(request) = requests.try_recv() {
                    self.answer(request, now)?;
                }
                if switch.is_stopping() {
                    self.engine.refuse_new(true);
                }
                let is_done = switch.is_stopped() || (switch.is_draining() && self.all_drained(now));
                if is_done {
                    self.end(now)?;
                    board.publish(number, self.state());
                    return Ok(());
                }
                publish_at = now + PUBLISH;
            }
            if ticks {
                spin.resume(clock());
            }
            if was_busy {
                spin.found(now);
            } else if spin.look_again(now) {
                std::hint::spin_loop();
            } else {
                self.sleep(now)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sample;
    use crate::matcher::Patterns;
    use crate::port::memory::{FarEnd, MemoryPort};
    use artifact::format::Artifact;
    use inspect::engine::Config;
    use inspect::event::Record;
    use inspect::frame::VecMemory;

    /// Keeps what it is given.
    #[derive(Debug, Default)]
    struct Kept(Vec<Record>);

    impl Sink for Kept {
        fn record(&mut self, record: Record) {
            self.0.push(record);
        }
        fn lost_count(&self) -> u64 {
            0
        }
    }

    type TestWorker = Worker<VecMemory, MemoryPort, PatternMatcher, Kept>;

    fn artifact() -> Artifact {
        sample::artifact(sample::policy())
    }

    fn worker(capacity: usize) -> (TestWorker, [FarEnd; 2]) {
        let artifact = artifact();
        let matcher = Patterns::load(&artifact).unwrap().matcher(4).unwrap();
        let usage = matcher.usage();
        let editions = Arc::new(Editions::new(&artifact));
        let policy = Arc::clone(&editions.current().policy);
        let config = Config { ports: [Some(0), Some(1)], ..Config::default() };
        let (a, far_a) = MemoryPort::new(capacity);
        let (b, far_b) = MemoryPort::new(capacity);
        let engine = Engine::new(policy, matcher, config);
        let place = Place { pool: VecMemory::pool(64, 2048), ports: [a, b], handover: None };
        (Worker::new(engine, place, Kept::default(), editions, usage, 8), [far_a, far_b])
    }

    /// An ARP request: what every engine lets through unchanged.
    fn arp() -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.resize(60, 0);
        frame
    }

    #[test]
    fn frames_cross_in_order_both_ways() {
        let (mut worker, [a, b]) = worker(64);
        let (mut first, mut second) = (arp(), arp());
        (first[59], second[59]) = (1, 2);
        a.push(worker.pool_mut(), &first);
        a.push(worker.pool_mut(), &second);
        b.push(worker.pool_mut(), &first);
        assert_eq!(worker.step(Instant::ZERO).unwrap(), 3);
        assert_eq!(b.drain(worker.pool_mut()), [first.clone(), second]);
        assert_eq!(a.drain(worker.pool_mut()), [first]);
        assert_eq!(worker.step(Instant::ZERO).unwrap(), 0);
        assert_eq!(worker.state().totals.chunks_free, 64, "every chunk came back");
    }

    #[test]
    fn a_full_ring_is_flushed_before_anything_is_dropped() {
        let (mut worker, [a, b]) = worker(2);
        for _ in 0..5 {
            a.push(worker.pool_mut(), &arp());
        }
        worker.step(Instant::ZERO).unwrap();
        assert_eq!(b.drain(worker.pool_mut()).len(), 5);
        assert_eq!(worker.state().totals.tx_full, [0, 0]);
    }

    #[test]
    fn a_vanished_port_ends_the_loop_with_an_error() {
        let (mut worker, [_, b]) = worker(2);
        b.vanish();
        assert!(worker.step(Instant::ZERO).is_err());
    }

    #[test]
    fn it_runs_publishes_answers_and_stops() {
        let (mut worker, [a, b]) = worker(64);
        let names = ["inside", "outside"].map(String::from);
        let board = Board::new(&artifact(), names.clone(), names, 1, Arc::default());
        let switch = Switch::default();
        let (ask, requests) = crossbeam_channel::bounded(1);
        let (reply, answer) = crossbeam_channel::bounded(1);
        ask.send(Request::Sessions { into: Vec::with_capacity(4), reply }).unwrap();
        a.push(worker.pool_mut(), &arp());
        switch.drain();
        worker.run(0, &board, &switch, &requests, Duration::ZERO).unwrap();
        assert_eq!(b.drain(worker.pool_mut()).len(), 1, "what was queued has left");
        assert_eq!(answer.try_recv().unwrap().len(), 0);
        assert_eq!(board.workers()[0].totals.chunks, 64);
    }
}
