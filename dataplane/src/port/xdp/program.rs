//! The XDP program in the kernel: its tables, its counters, its place on an interface.
//!
//! The object is built by `build.rs` from `xdp/postern.bpf.c` and is part of the binary. The layouts of `settings`,
//! `policies` and `counts` are those of the structs there, written as words.

use std::os::fd::AsRawFd;
use std::{fmt, io};

use aya::maps::{Array, DevMap, MapData, PerCpuArray, XskMap};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use inspect::unit::PortId;

use super::classification::{Classification, Ingress};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/postern.bpf.o"));

/// Receive queues of a port that can have a worker (`QUEUES`).
pub const QUEUE_LIMIT: u32 = 64;

const FATES: u32 = 16;
const PORTS_PER_WORD: usize = 32;
const PORT_WORDS: usize = 65536 / PORTS_PER_WORD;
const INGRESS_WORDS: usize = 2;
/// Octets of the table of classes of one side, in words.
const CLASS_WORDS: usize = 65536 / 8;
/// Numbers of classes, 0 included, which is none (`CLASSES`).
const CLASSES: u32 = 256;
/// `struct policy` in words of 64 bits.
const POLICY_WORDS: usize = 2 * PORT_WORDS + 2 * INGRESS_WORDS + 2 * CLASS_WORDS;

/// What became of a frame that came in by a port. The numbers are those of `enum fate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Given to a worker.
    Inspected,
    /// Let out by the other port, as the policy says.
    Bridged,
    /// Let out by the other port because no worker is bound and the gateway fails open.
    BridgedUninspected,
    /// The policy discards it.
    DroppedPolicy,
    /// No worker is bound and the gateway fails closed.
    DroppedNoWorker,
    /// The other port is gone.
    DroppedNoPort,
    /// Shorter than its headers say, or a field that cannot be.
    DroppedMalformed,
    /// More VLAN tags than are looked behind.
    DroppedVlan,
    /// IP inside a link-layer tunnel.
    DroppedEncapsulated,
    /// IPv6 extension headers that are not followed.
    DroppedExtensions,
    /// An IPv6 jumbogram.
    DroppedJumbogram,
}

impl Fate {
    /// Every fate, in the order of its number.
    pub const ALL: [Fate; 11] = [
        Fate::Inspected,
        Fate::Bridged,
        Fate::BridgedUninspected,
        Fate::DroppedPolicy,
        Fate::DroppedNoWorker,
        Fate::DroppedNoPort,
        Fate::DroppedMalformed,
        Fate::DroppedVlan,
        Fate::DroppedEncapsulated,
        Fate::DroppedExtensions,
        Fate::DroppedJumbogram,
    ];

    /// Its name as a metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Fate::Inspected => "inspected",
            Fate::Bridged => "bridged",
            Fate::BridgedUninspected => "bridged_uninspected",
            Fate::DroppedPolicy => "dropped_policy",
            Fate::DroppedNoWorker => "dropped_no_worker",
            Fate::DroppedNoPort => "dropped_no_port",
            Fate::DroppedMalformed => "dropped_malformed",
            Fate::DroppedVlan => "dropped_vlan_depth",
            Fate::DroppedEncapsulated => "dropped_encapsulated",
            Fate::DroppedExtensions => "dropped_ipv6_extensions",
            Fate::DroppedJumbogram => "dropped_jumbogram",
        }
    }
}

/// Frames and octets, Ethernet header included, FCS not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// Octets.
    pub bytes: u64,
}

/// What the program counted for one port of entry, since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts([Count; Fate::ALL.len()]);

impl Counts {
    /// Frames with a fate.
    #[must_use]
    pub fn of(&self, fate: Fate) -> Count {
        self.0[fate as usize]
    }

    /// Every fate with its count.
    pub fn rows(&self) -> impl Iterator<Item = (Fate, Count)> + '_ {
        Fate::ALL.into_iter().map(|fate| (fate, self.of(fate)))
    }
}

/// The program, loaded.
pub struct Program {
    ebpf: Ebpf,
    settings: Array<MapData, [u32; 4]>,
    policies: Array<MapData, [u64; POLICY_WORDS]>,
    counts: PerCpuArray<MapData, [u64; 2]>,
    class_counts: PerCpuArray<MapData, [u64; 2]>,
    sockets: XskMap<MapData>,
    ports: DevMap<MapData>,
    interfaces: [u32; 2],
    bank: u32,
    open: bool,
}

impl Program {
    /// Loads the program into the kernel, attached to nothing. Until [`Program::set_policy`] it drops everything.
    ///
    /// # Errors
    /// Without CAP_BPF and CAP_NET_ADMIN, or when the kernel's verifier refuses it (its reasons are in the error).
    pub fn load(open: bool) -> io::Result<Self> {
        // The object has no type information, so none of the kernel's is needed.
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT).map_err(io::Error::other)?;
        let mut take = |name: &str| {
            ebpf.take_map(name)
                .ok_or_else(|| io::Error::other(format!("the XDP program has no map `{name}`")))
        };
        let settings = Array::try_from(take("settings")?).map_err(io::Error::other)?;
        let policies = Array::try_from(take("policies")?).map_err(io::Error::other)?;
        let counts = PerCpuArray::try_from(take("counts")?).map_err(io::Error::other)?;
        let class_counts = PerCpuArray::try_from(take("class_counts")?).map_err(io::Error::other)?;
        let sockets = XskMap::try_from(take("sockets")?).map_err(io::Error::other)?;
        let ports = DevMap::try_from(take("ports")?).map_err(io::Error::other)?;
        let mut program = Self {
            ebpf,
            settings,
            policies,
            counts,
            class_counts,
            sockets,
            ports,
            interfaces: [0; 2],
            bank: 0,
            open,
        };
        program.xdp()?.load().map_err(io::Error::other)?;
        program.write_settings()?;
        Ok(program)
    }

    /// Makes a policy hold: every frame is judged by the one before or by this one as a whole.
    ///
    /// # Errors
    /// When the kernel refuses; then the one before holds.
    pub fn set_policy(&mut self, policy: &Classification) -> io::Result<()> {
        let next = self.bank ^ 1;
        self.policies.set(next, policy_words(policy), 0).map_err(io::Error::other)?;
        self.bank = next;
        self.write_settings()
    }

    /// Says which interface a port is, or that it is gone.
    ///
    /// # Errors
    /// When the kernel refuses: there is no such interface.
    pub fn set_port(&mut self, port: PortId, interface: Option<u32>) -> io::Result<()> {
        if let Some(interface) = interface {
            self.ports.set(port.index() as u32, interface, None, 0).map_err(io::Error::other)?;
        }
        // The kernel takes an interface that goes out of the map by itself (`dev_map_notification`).
        self.interfaces[port.index()] = interface.unwrap_or(0);
        self.write_settings()
    }

    /// Makes a socket get what is inspected of a queue. It is taken out when the socket is closed.
    ///
    /// # Errors
    /// When the kernel refuses, or the queue is not below [`QUEUE_LIMIT`].
    pub fn set_socket(&mut self, port: PortId, queue: u32, socket: &impl AsRawFd) -> io::Result<()> {
        if queue >= QUEUE_LIMIT {
            return Err(io::Error::other(format!("queue {queue} is not below {QUEUE_LIMIT}")));
        }
        let index = port.index() as u32 * QUEUE_LIMIT + queue;
        self.sockets.set(index, socket.as_raw_fd(), 0).map_err(io::Error::other)
    }

    /// Puts the program on an interface for as long as the link is kept.
    ///
    /// # Errors
    /// EBUSY when there is another program; EOPNOTSUPP when the driver has no XDP; ERANGE or EINVAL for an MTU too long.
    pub fn attach(&mut self, interface: u32, mode: XdpMode) -> io::Result<XdpLink> {
        let xdp = self.xdp()?;
        let id = xdp.attach_to_if_index(interface, mode).map_err(plain)?;
        xdp.take_link(id).map_err(plain)
    }

    /// What was counted for frames that came in by a port.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn counts(&self, port: PortId) -> io::Result<Counts> {
        let mut counts = Counts::default();
        for fate in Fate::ALL {
            let key = port.index() as u32 * FATES + fate as u32;
            let total = &mut counts.0[fate as usize];
            for [frames, bytes] in self.counts.get(&key, 0).map_err(io::Error::other)?.iter() {
                total.frames += frames;
                total.bytes += bytes;
            }
        }
        Ok(counts)
    }

    /// What was counted of the classes with the numbers 1 to `last`, since the program was loaded.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn class_counts(&self, last: u8) -> io::Result<Vec<Count>> {
        let count = |key: u32| {
            let mut total = Count::default();
            for [frames, bytes] in self.class_counts.get(&key, 0).map_err(io::Error::other)?.iter() {
                total.frames += frames;
                total.bytes += bytes;
            }
            Ok(total)
        };
        (1..=u32::from(last).min(CLASSES - 1)).map(count).collect()
    }

    /// Runs the program `repeat` times on a frame that is on no wire (`BPF_PROG_TEST_RUN`), as if it came in by the
    /// loopback interface of this thread's network namespace, and says how long one run took. A frame has at least
    /// 14 octets; what became of it is seen in [`Program::counts`].
    ///
    /// # Errors
    /// When the kernel refuses the frame.
    pub fn try_frame(&mut self, frame: &[u8], repeat: u32) -> io::Result<std::time::Duration> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = self.xdp()?.test_run(options).map_err(plain)?;
        Ok(result.duration)
    }

    fn xdp(&mut self) -> io::Result<&mut Xdp> {
        let program = self.ebpf.program_mut("postern").ok_or_else(|| io::Error::other("no XDP program"))?;
        program.try_into().map_err(io::Error::other)
    }

    fn write_settings(&mut self) -> io::Result<()> {
        let [a, b] = self.interfaces;
        self.settings.set(0, [a, b, self.bank, u32::from(self.open)], 0).map_err(io::Error::other)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("interfaces", &self.interfaces)
            .field("bank", &self.bank)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// The kernel's own error, if that is what it was.
fn plain(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}

/// `struct policy`.
fn policy_words(policy: &Classification) -> Box<[u64; POLICY_WORDS]> {
    let mut words = Box::new([0; POLICY_WORDS]);
    let guarded = u8::from(policy.is_guarded());
    for (side, ingress) in policy.ingress.iter().enumerate() {
        let table = &mut words[side * PORT_WORDS..][..PORT_WORDS];
        for (word, actions) in table.iter_mut().zip(ingress.tcp_actions().chunks(PORTS_PER_WORD)) {
            *word = actions.iter().rev().fold(0, |word, action| word << 2 | *action as u64);
        }
        let at = 2 * PORT_WORDS + side * INGRESS_WORDS;
        words[at..at + INGRESS_WORDS].copy_from_slice(&ingress_words(ingress, guarded));
        let at = 2 * PORT_WORDS + 2 * INGRESS_WORDS + side * CLASS_WORDS;
        for (word, classes) in
            words[at..at + CLASS_WORDS].iter_mut().zip(ingress.tcp_classes().as_chunks::<8>().0)
        {
            *word = u64::from_ne_bytes(*classes);
        }
    }
    words
}

/// `struct ingress`.
fn ingress_words(side: &Ingress, guarded: u8) -> [u64; INGRESS_WORDS] {
    let first = [
        side.udp,
        side.icmp,
        side.icmp_error,
        side.other,
        side.fragment,
        side.fragment_v6,
        side.link_control,
        side.ethertype,
    ];
    [
        u64::from_ne_bytes(first.map(|action| action as u8)),
        u64::from_ne_bytes([guarded, side.udp_class, side.icmp_class, side.other_class, 0, 0, 0, 0]),
    ]
}
