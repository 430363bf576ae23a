//! Ports on AF_XDP: the gateway in a wire.
//!
//! ```text
//! Gateway::open(&config)          main thread: checks the host, makes one umem and a socket for each worker and port, loads
//!    │                            the XDP program, attaches it
//!    ├─ take_seat(n) -> Seat      goes to worker n's thread (`Send`)
//!    │     └─ open() -> (Pool<UmemMemory>, [XdpPort; 2])      stay there
//!    ├─ notices() , ports()       what to tell the administrator about the start
//!    ├─ set_policy(..)            a new artifact: every frame is judged by one policy or the other
//!    ├─ statistics(), losses()    what the XDP program counted, what the sockets lost
//!    └─ tend() -> Vec<Notice>     about once a second: ports that went and came back
//! drop(Gateway)                   after the workers: the program is taken off, nothing is left
//! ```
//!
//! A worker calls [`Port::receive`], its engine, [`Port::transmit`] and [`Port::flush`]; where there is nothing to do it
//! waits for [`Port::ready`]. A port whose interface is gone receives nothing and takes nothing; when the interface is
//! back, [`Gateway::tend`] makes a new socket and the port goes on with it: sessions and held frames survive.
//!
//! Chunks move without being copied: free list of the pool → fill ring → kernel → receive ring → `Frame` → `Sealed` →
//! transmit ring → kernel → completion ring → free list. Part of the pool ([`XdpConfig::reserve`]) is never lent for
//! receiving, so that the gateway can always answer.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use af_xdp::{Received, Socket, View, Wake};
use inspect::frame::{Frame, Memory, Pool, Sealed, Shared};

use super::{Level, Port};

pub mod attachment;
mod binding;
pub mod classification;
pub mod gateway;
pub mod host;
pub mod program;
mod slot;
mod toll;

pub use classification::{Action, Classification};
pub use gateway::{Gateway, Notice, Seat};
pub use program::{Count, Counts, Fate};
use slot::{Change, Slot};

/// Octets that the kernel leaves free before a received frame in its chunk.
pub const UMEM_HEADROOM: u32 = 256;

/// Chunks that are put into the fill ring at once, so that its counter is not touched for each frame.
const FILL_BATCH: u32 = 64;

/// How long a worker waits at most while the interface of a port is away: it may be back.
const AWAY: Duration = Duration::from_millis(1);

/// Octets of an Ethernet header; no driver transmits less.
const SHORTEST: usize = 14;

/// What becomes of mail while no worker is bound to the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Nothing passes.
    #[default]
    Closed,
    /// Everything that is not dropped by policy passes uninspected, inside the kernel.
    Open,
}

/// In which mode the XDP program is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WantedMode {
    /// In the driver if it can, else in the stack.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the stack (generic XDP), which every interface has.
    Skb,
}

/// How both directions of a session come to one worker, where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Steering {
    /// By the card if both say that their receive hash is symmetric and the same, else by hand-over.
    #[default]
    Auto,
    /// The card sees to it: every worker keeps what comes.
    Card,
    /// Each frame is handed over to the worker that its addresses belong to.
    HandOver,
}

/// In which mode it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the stack.
    Skb,
}

/// What a gateway is made of.
#[derive(Debug, Clone)]
pub struct XdpConfig {
    /// Names of the two interfaces, port A first.
    pub interfaces: [String; 2],
    /// Number of workers; worker `n` has queue `n` of both ports.
    pub workers: u32,
    /// Mode of the XDP program.
    pub mode: WantedMode,
    /// What happens without workers.
    pub on_failure: OnFailure,
    /// Chunks for each worker; 2048 octets each, 4096 above an MTU of 1770. Default 16384.
    pub frame_count: u32,
    /// Slots of each ring, a power of two. Default 2048.
    pub ring_len: u32,
    /// Chunks of each worker that are not lent for receiving. Default 1024.
    pub reserve: u32,
    /// Who brings both directions of a session to one worker.
    pub steering: Steering,
    /// Frames that may wait for a worker that has to take them from another, per port. Default 2048.
    pub handover_len: u32,
    /// Frames that a worker takes from a port at once. Default 64.
    pub burst: u32,
    /// Zero-copy or not.
    pub transfer: af_xdp::Transfer,
    /// Where a bpf file system is or can be mounted, for [`OnFailure::Open`].
    pub bpffs: std::path::PathBuf,
}

impl XdpConfig {
    /// The defaults, for one worker.
    #[must_use]
    pub fn new(interfaces: [&str; 2]) -> Self {
        Self {
            interfaces: interfaces.map(str::to_owned),
            workers: 1,
            mode: WantedMode::default(),
            on_failure: OnFailure::default(),
            frame_count: 16_384,
            ring_len: 2048,
            reserve: 1024,
            steering: Steering::default(),
            handover_len: 2048,
            burst: 64,
            transfer: af_xdp::Transfer::default(),
            bpffs: attachment::BPFFS.into(),
        }
    }
}

/// A worker's part of the umem, as a pool sees it.
#[derive(Debug)]
pub struct UmemMemory(View);

impl UmemMemory {
    /// A pool of what `view` owns.
    #[must_use]
    pub fn pool(view: View) -> Pool<UmemMemory> {
        let free: Vec<u32> = view.owned().collect();
        Pool::new(UmemMemory(view), free.into_iter().rev())
    }
}

impl Memory for UmemMemory {
    fn chunk_len(&self) -> usize {
        self.0.umem().chunk_len() as usize
    }

    fn chunk_count(&self) -> usize {
        self.0.umem().chunk_count() as usize
    }

    fn chunk(&self, index: u32) -> &[u8] {
        self.0.chunk(index)
    }

    fn chunk_mut(&mut self, index: u32) -> &mut [u8] {
        self.0.chunk_mut(index)
    }
}

impl Shared for UmemMemory {
    type Chunk = af_xdp::Chunk;

    fn give(&mut self, index: u32) -> af_xdp::Chunk {
        self.0.give(index)
    }

    fn take(&mut self, chunk: af_xdp::Chunk) -> u32 {
        self.0.take(chunk)
    }
}

/// What a port counted since its start, sockets that were closed included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStatistics {
    /// Frames received.
    pub received: u64,
    /// Frames that have left (or were lost by the driver: the kernel does not say).
    pub transmitted: u64,
    /// Frames shorter than an Ethernet header, not transmitted.
    pub too_short: u64,
    /// Descriptors from the kernel that named no chunk of ours.
    pub stray: u64,
    /// Received chunks without a whole frame.
    pub unusable: u64,
    /// System calls that made the kernel transmit.
    pub tx_wakeups: u64,
    /// System calls that told the driver of fresh chunks.
    pub rx_wakeups: u64,
    /// Flushes after which frames were left in the ring.
    pub tx_busy: u64,
    /// Frames queued or being transmitted now.
    pub in_flight: u32,
    /// Chunks lent for receiving now.
    pub lent: u32,
    /// Times the interface went.
    pub lost: u64,
}

/// One queue of one interface, as its worker sees it. Frames are of the pool that came with it.
#[derive(Debug)]
pub struct XdpPort {
    socket: Option<Socket>,
    slot: Arc<Slot>,
    ring_len: u32,
    reserve: usize,
    /// By chunk: the handle that keeps it until its transmission is completed.
    in_flight: Box<[Option<Sealed>]>,
    /// Further handles of chunks that are transmitted more than once at a time (a retransmission while the first copy
    /// still waits).
    again: Vec<Sealed>,
    statistics: PortStatistics,
}

impl XdpPort {
    fn new(socket: Socket, slot: Arc<Slot>, ring_len: u32, reserve: u32, chunk_count: u32) -> Self {
        Self {
            socket: Some(socket),
            slot,
            ring_len,
            reserve: reserve as usize,
            in_flight: (0..chunk_count).map(|_| None).collect(),
            again: Vec::with_capacity(ring_len as usize),
            statistics: PortStatistics::default(),
        }
    }

    /// What was counted.
    #[must_use]
    pub fn statistics(&self) -> PortStatistics {
        self.statistics
    }

    /// Lends chunks to the kernel as long as the pool has more than its reserve.
    fn refill(&mut self, pool: &mut Pool<UmemMemory>) {
        let Some(socket) = &mut self.socket else { return };
        let room = self.ring_len - self.statistics.lent.min(self.ring_len);
        if room < FILL_BATCH {
            return;
        }
        let spare = pool.free_count().saturating_sub(self.reserve);
        let mut lent = 0;
        for _ in 0..spare.min(room as usize) {
            let Some(chunk) = pool.lend() else { break };
            if !socket.fill(&mut pool.memory_mut().0, chunk) {
                pool.give_back(chunk);
                break;
            }
            lent += 1;
        }
        if lent > 0 {
            self.statistics.lent += lent;
            self.statistics.rx_wakeups += u64::from(socket.submit_fill());
        }
    }

    /// Frees the handles of what has been transmitted.
    fn reap(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        let mut any = false;
        while let Some(completed) = socket.complete() {
            any = true;
            let handle = completed.ok().and_then(|chunk| {
                // A chunk that is in flight twice gives one handle back, whichever.
                let twice = self.again.iter().position(|sealed| sealed.descriptor().0 == chunk);
                match twice {
                    Some(position) => Some(self.again.swap_remove(position)),
                    None => self.in_flight.get_mut(chunk as usize)?.take(),
                }
            });
            match handle {
                Some(sealed) => {
                    drop(sealed);
                    self.statistics.in_flight -= 1;
                    self.statistics.transmitted += 1;
                }
                None => self.statistics.stray += 1,
            }
        }
        if any {
            socket.release_complete();
        }
    }

    /// Goes along with what happened to the interface.
    #[cold]
    fn follow(&mut self, pool: &mut Pool<UmemMemory>) {
        let change = self.slot.take();
        self.close(pool);
        if let Change::Back(socket) = change {
            self.socket = Some(*socket);
        }
    }

    /// Gives up the socket: what it held is free again, what it had not transmitted is lost.
    #[cold]
    fn close(&mut self, pool: &mut Pool<UmemMemory>) {
        let Some(socket) = self.socket.take() else { return };
        for chunk in socket.close(&mut pool.memory_mut().0) {
            pool.give_back(chunk);
        }
        self.in_flight.fill_with(|| None);
        self.again.clear();
        self.statistics.in_flight = 0;
        self.statistics.lent = 0;
        self.statistics.lost += 1;
    }
}

impl Port<UmemMemory> for XdpPort {
    fn receive(
        &mut self,
        pool: &mut Pool<UmemMemory>,
        into: &mut Vec<Frame>,
        limit: usize,
    ) -> io::Result<usize> {
        if self.slot.changed() {
            self.follow(pool);
        }
        self.refill(pool);
        let Some(socket) = &mut self.socket else { return Ok(0) };
        let (mut count, mut taken) = (0, 0);
        while count < limit {
            let Some(received) = socket.receive(&mut pool.memory_mut().0) else { break };
            taken += 1;
            match received {
                Received::Frame { chunk, start, len } => {
                    self.statistics.lent -= 1;
                    into.push(pool.adopt(chunk, start as usize, len as usize));
                    count += 1;
                }
                Received::Unusable { chunk } => {
                    self.statistics.lent -= 1;
                    self.statistics.unusable += 1;
                    pool.give_back(chunk);
                }
                Received::Stray => self.statistics.stray += 1,
            }
        }
        if taken > 0 {
            socket.release_receive();
        }
        self.statistics.received += count as u64;
        Ok(count)
    }

    fn transmit(&mut self, pool: &Pool<UmemMemory>, frame: Sealed) -> Result<(), Sealed> {
        let Some(socket) = &mut self.socket else { return Err(frame) };
        let (chunk, start, len) = frame.descriptor();
        if len < SHORTEST {
            self.statistics.too_short += 1;
            return Ok(());
        }
        if !socket.transmit(&pool.memory().0, chunk, start, len) {
            return Err(frame);
        }
        self.statistics.in_flight += 1;
        match &mut self.in_flight[chunk as usize] {
            free @ None => *free = Some(frame),
            Some(_) => self.again.push(frame),
        }
        Ok(())
    }

    fn flush(&mut self, pool: &mut Pool<UmemMemory>) -> io::Result<()> {
        if self.statistics.in_flight == 0 {
            return Ok(());
        }
        let Some(socket) = &mut self.socket else { return Ok(()) };
        match socket.flush() {
            Wake::Done(calls) => self.statistics.tx_wakeups += u64::from(calls),
            Wake::Busy(calls) => {
                self.statistics.tx_wakeups += u64::from(calls);
                self.statistics.tx_busy += 1;
            }
            Wake::Down => self.statistics.tx_busy += 1,
            // The gateway notices, too, and will make another socket.
            Wake::Gone => self.close(pool),
        }
        self.reap();
        Ok(())
    }

    fn wait(ports: [&Self; 2], bell: Option<BorrowedFd<'_>>, limit: Duration) -> io::Result<()> {
        let sockets = ports.map(|port| port.socket.as_ref());
        let limit = if sockets.iter().all(Option::is_some) { limit } else { limit.min(AWAY) };
        Ok(af_xdp::wait(sockets, bell, limit)?)
    }

    /// What the kernel lost is not in it: see [`Gateway::losses`].
    fn level(&self) -> Level {
        let statistics = &self.statistics;
        Level {
            tx_queued: u64::from(statistics.in_flight),
            fill_queued: u64::from(statistics.lent),
            rx_lost: 0,
            tx_refused: statistics.too_short,
            wakeups: statistics.tx_wakeups + statistics.rx_wakeups,
        }
    }
}
