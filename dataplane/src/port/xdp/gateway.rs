//! Both ports of a gateway, for all workers: made, watched, taken down.

use std::io;
use std::sync::Arc;

use af_xdp::interface::{Facts, Interface, Promiscuous};
use af_xdp::{Socket, Transfer, Umem, View};
use inspect::flow::owner::Owners;
use inspect::unit::PortId;

use super::attachment::{Attachment, PinFolder};
use super::binding::{bind, explain, open_all, patiently};
use super::classification::Classification;
use super::host::{self, Finding, Severity};
use super::program::{Count, Counts, Program};
use super::slot::{Change, Slot};
use super::toll::Toll;
use super::{Mode, OnFailure, Steering, UmemMemory, WantedMode, XdpConfig, XdpPort};
use crate::handover::{Exchange, HandOver, HandOverConfig, Member, members};
use crate::port::Losses;
use crate::random::random_key;
use crate::worker::Place;

/// Something an administrator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How bad it is; a refusal after the start means the port stays down.
    pub severity: Severity,
    /// The sentence.
    pub text: String,
}

impl From<Finding> for Notice {
    fn from(finding: Finding) -> Self {
        Self { severity: finding.severity, text: finding.to_string() }
    }
}

/// What a port turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// Name of the interface.
    pub interface: String,
    /// Mode of the XDP program; `None` while the interface is gone.
    pub mode: Option<Mode>,
    /// Whether the driver reads and writes the umem itself.
    pub zero_copy: bool,
    /// Longest IP packet, in octets.
    pub mtu: u32,
    /// Driver.
    pub driver: String,
}

/// A worker's place: its part of the umem and its sockets. Send it to the worker's thread and open it there.
#[derive(Debug)]
pub struct Seat {
    view: View,
    sockets: [Socket; 2],
    slots: [Arc<Slot>; 2],
    ring_len: u32,
    reserve: u32,
    burst: usize,
    member: Option<Member<af_xdp::Chunk>>,
}

impl Seat {
    /// The worker's pool, its ports and its dealings with other workers. They stay in this thread.
    #[must_use]
    pub fn open(self) -> Place<UmemMemory, XdpPort> {
        let chunk_count = self.view.umem().chunk_count();
        let pool = UmemMemory::pool(self.view);
        let [a, b] = self.sockets;
        let [slot_a, slot_b] = self.slots;
        let port = |socket, slot| XdpPort::new(socket, slot, self.ring_len, self.reserve, chunk_count);
        let burst = self.burst;
        let handover =
            self.member.map(|member| Box::new(Exchange::new(member, burst)) as Box<dyn HandOver<UmemMemory>>);
        Place { pool, ports: [port(a, slot_a), port(b, slot_b)], handover }
    }
}

/// What the gateway has on one interface.
#[derive(Debug)]
struct Attached {
    interface: Interface,
    /// Before `promiscuous`, so that the program goes first.
    attachment: Attachment,
    promiscuous: Promiscuous,
}

/// One port, over all workers.
#[derive(Debug)]
struct Side {
    id: PortId,
    name: String,
    /// `None` while the interface is gone.
    attached: Option<Attached>,
    info: PortInfo,
    /// By worker.
    slots: Vec<Arc<Slot>>,
    /// By worker.
    tolls: Vec<Toll>,
    /// What last stood in the way of taking it back, so that it is said once.
    trouble: Option<String>,
}

/// Two ports, the XDP program on them, and a seat for each worker. Drop it after the workers' ports.
#[derive(Debug)]
pub struct Gateway {
    sides: [Side; 2],
    program: Program,
    seats: Vec<Option<Seat>>,
    umem: Arc<Umem>,
    config: XdpConfig,
    transfer: Transfer,
    notices: Vec<Notice>,
    /// Last, so that its folder is empty when it goes.
    pins: Option<PinFolder>,
}

impl Gateway {
    /// Checks the host, makes umem and sockets, loads the program with its policy and attaches it. From then on frames
    /// come in; those for which no worker has lent chunks yet are lost.
    ///
    /// # Errors
    /// Whatever cannot work, in one sentence that names the port and what to do about it.
    pub fn open(config: &XdpConfig, policy: &Classification) -> io::Result<Self> {
        validate(config)?;
        let mut notices = Vec::new();
        let mut found = Vec::new();
        for name in &config.interfaces {
            let interface = Interface::find(name).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("port {name}: there is no such interface ({error})"),
                )
            })?;
            let facts = examine(&interface, config.workers, &mut notices)?;
            found.push((interface, facts));
        }
        let [(a, facts_a), (b, facts_b)] = &found[..] else { unreachable!("two interfaces were given") };
        notices.extend(host::check_pair([a, b], [facts_a, facts_b]).map(Notice::from));

        let is_shared = hands_over(config, [a, b], &mut notices);
        let chunk_len = host::chunk_len(facts_a.mtu.max(facts_b.mtu));
        let chunk_count = config.frame_count.checked_mul(config.workers).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "frame_count times workers is more than 2^32")
        })?;
        let (umem, mut all) = Umem::new(chunk_len, chunk_count)?;
        let transfer = if config.mode == WantedMode::Skb { Transfer::Copy } else { config.transfer };
        let (sockets, transfer) = open_all(&umem, config, [a, b], transfer)?;

        let pins = PinFolder::find(&config.bpffs)?;
        for name in &config.interfaces {
            if pins.clear(name)? {
                let text = format!("{name}: removed what a gateway that died had left in its place");
                notices.push(Notice { severity: Severity::Note, text });
            }
        }
        let pins = match config.on_failure {
            OnFailure::Closed => None,
            OnFailure::Open => {
                let warning = pins.make()?;
                notices.extend(warning.map(|text| Notice { severity: Severity::Warning, text }));
                Some(pins)
            }
        };

        let mut program = Program::load(config.on_failure == OnFailure::Open)
            .map_err(|error| explain(&error, "the XDP program could not be loaded"))?;
        program.set_policy(policy)?;
        let mut members = if is_shared {
            let hand_over = HandOverConfig {
                len: config.handover_len as usize,
                reserve: config.reserve as usize,
                chunk_count: chunk_count as usize,
            };
            members(&Owners::new(config.workers, &random_key()), &hand_over)?
        } else {
            Vec::new()
        }
        .into_iter();
        let mut seats = Vec::new();
        let mut slots = [Vec::new(), Vec::new()];
        for (worker, sockets) in sockets.into_iter().enumerate() {
            let worker = worker as u32;
            let first = worker * config.frame_count;
            let view = all.split(first..first + config.frame_count);
            let own = [Arc::new(Slot::default()), Arc::new(Slot::default())];
            for id in PortId::ALL {
                program.set_socket(id, worker, &sockets[id.index()])?;
                slots[id.index()].push(Arc::clone(&own[id.index()]));
            }
            let (ring_len, reserve) = (config.ring_len, config.reserve);
            let member = members.next();
            let burst = config.burst as usize;
            seats.push(Some(Seat { view, sockets, slots: own, ring_len, reserve, burst, member }));
        }

        let mut sides = Vec::new();
        for ((id, (interface, facts)), slots) in PortId::ALL.into_iter().zip(found).zip(slots) {
            let sockets = || seats.iter().flatten().map(|seat: &Seat| &seat.sockets[id.index()]);
            let zero_copy = sockets().any(Socket::is_zero_copy);
            let tolls = sockets().map(Toll::new).collect();
            let attached = attach(&mut program, id, interface, config, pins.as_ref(), &mut notices)?;
            let mode = attached.attachment.mode();
            if mode == Mode::Skb && zero_copy {
                return Err(io::Error::other(format!(
                    "port {}: zero-copy needs the XDP program in the driver",
                    attached.interface.name()
                )));
            }
            let name = attached.interface.name().to_owned();
            let info = PortInfo {
                interface: name.clone(),
                mode: Some(mode),
                zero_copy,
                mtu: facts.mtu,
                driver: facts.driver,
            };
            sides.push(Side { id, name, attached: Some(attached), info, slots, tolls, trouble: None });
        }
        let sides =
            <[Side; 2]>::try_from(sides).unwrap_or_else(|_| unreachable!("two interfaces were given"));
        Ok(Self { sides, program, seats, umem, config: config.clone(), transfer, notices, pins })
    }

    /// The place of worker `n`, from 0; `None` when there is none or it was taken.
    pub fn take_seat(&mut self, worker: usize) -> Option<Seat> {
        self.seats.get_mut(worker)?.take()
    }

    /// What was noticed at the start.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// What the ports are, port A first.
    #[must_use]
    pub fn ports(&self) -> [&PortInfo; 2] {
        [&self.sides[0].info, &self.sides[1].info]
    }

    /// What the kernel's part counted of the classes with the numbers 1 to `last`.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn class_counts(&self, last: u8) -> io::Result<Vec<Count>> {
        self.program.class_counts(last)
    }

    /// Makes another policy hold.
    ///
    /// # Errors
    /// When the kernel refuses; then the one before holds.
    pub fn set_policy(&mut self, policy: &Classification) -> io::Result<()> {
        self.program.set_policy(policy)
    }

    /// What the XDP program counted by port of entry, port A first.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn statistics(&self) -> io::Result<[Counts; 2]> {
        Ok([self.program.counts(PortId::A)?, self.program.counts(PortId::B)?])
    }

    /// What the kernel lost of each worker's frames at the two ports, since the start.
    #[must_use]
    pub fn losses(&self) -> Vec<[Losses; 2]> {
        let [a, b] = &self.sides;
        a.tolls.iter().zip(&b.tolls).map(|(a, b)| [a.losses(), b.losses()]).collect()
    }

    /// Looks after the ports; to be called about once a second. A port whose interface went is given up, and taken back
    /// when an interface of the same name is there again. Says what changed.
    pub fn tend(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for index in 0..self.sides.len() {
            let now = Interface::find(&self.sides[index].name).ok();
            let side = &mut self.sides[index];
            if let Some(attached) = &side.attached {
                if now.as_ref() == Some(&attached.interface) && attached.promiscuous.is_bound() {
                    continue;
                }
                side.give_up();
                let text = format!("{}: the interface is gone; waiting for it to come back", side.name);
                notices.push(Notice { severity: Severity::Warning, text });
                let _ = self.program.set_port(side.id, None);
            }
            let Some(interface) = now else { continue };
            let mut more = Vec::new();
            match self.take_back(index, interface, &mut more) {
                Ok(()) => {
                    notices.append(&mut more);
                    let text = format!("{}: the interface is back", self.sides[index].name);
                    notices.push(Notice { severity: Severity::Note, text });
                    self.sides[index].trouble = None;
                }
                Err(error) => {
                    let side = &mut self.sides[index];
                    side.give_up();
                    let _ = self.program.set_port(side.id, None);
                    let text = format!("{}: the interface is back but cannot be used: {error}", side.name);
                    if side.trouble.as_ref() != Some(&text) {
                        side.trouble = Some(text.clone());
                        notices.push(Notice { severity: Severity::Refusal, text });
                    }
                }
            }
        }
        notices
    }

    /// Binds new sockets to an interface that came back, and attaches the program.
    fn take_back(&mut self, index: usize, interface: Interface, notices: &mut Vec<Notice>) -> io::Result<()> {
        let facts = examine(&interface, self.config.workers, notices)?;
        if host::chunk_len(facts.mtu) > self.umem.chunk_len() {
            return Err(io::Error::other(format!(
                "its MTU of {} is longer than it was at the start",
                facts.mtu
            )));
        }
        let id = self.sides[index].id;
        let mut sockets: Vec<Socket> = Vec::new();
        for queue in 0..self.config.workers {
            // The memory is registered once more: the sockets that have it may be gone.
            sockets.push(bind(&self.umem, &self.config, &interface, queue, self.transfer, sockets.first())?);
        }
        for (queue, socket) in sockets.iter().enumerate() {
            self.program.set_socket(id, queue as u32, socket)?;
        }
        if let Some(pins) = &self.pins {
            pins.clear(interface.name())?;
        }
        let attached = attach(&mut self.program, id, interface, &self.config, self.pins.as_ref(), notices)?;
        let side = &mut self.sides[index];
        side.info.mode = Some(attached.attachment.mode());
        side.info.zero_copy = sockets.iter().any(Socket::is_zero_copy);
        (side.info.mtu, side.info.driver) = (facts.mtu, facts.driver);
        side.attached = Some(attached);
        for ((slot, toll), socket) in side.slots.iter().zip(&mut side.tolls).zip(sockets) {
            toll.follow(&socket);
            slot.put(Change::Back(Box::new(socket)));
        }
        Ok(())
    }
}

impl Side {
    fn give_up(&mut self) {
        self.attached = None;
        self.info.mode = None;
        for slot in &self.slots {
            slot.put(Change::Gone);
        }
    }
}

fn validate(config: &XdpConfig) -> io::Result<()> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let [a, b] = &config.interfaces;
    if a == b {
        return refuse(format!("both ports are {a}: a gateway stands between two interfaces"));
    }
    if config.workers == 0 {
        return refuse("a gateway needs at least one worker".into());
    }
    if !config.ring_len.is_power_of_two() || !(64..=32_768).contains(&config.ring_len) {
        return refuse(format!(
            "a ring has a power of two of slots from 64 to 32768, not {}",
            config.ring_len
        ));
    }
    if config.frame_count < config.reserve.saturating_add(2 * super::FILL_BATCH) {
        return refuse(format!(
            "{} frames for each worker are too few for a reserve of {}",
            config.frame_count, config.reserve
        ));
    }
    Ok(())
}

/// Whether workers hand frames over to each other, with what is to be noticed about it.
fn hands_over(config: &XdpConfig, interfaces: [&Interface; 2], notices: &mut Vec<Notice>) -> bool {
    if config.workers == 1 {
        return false;
    }
    let why_not = host::check_spread(interfaces);
    let (severity, text) = match (config.steering, &why_not) {
        (Steering::HandOver, _) => (Severity::Note, "workers hand frames over, as asked".to_owned()),
        (Steering::Auto, Some(why)) => (Severity::Note, format!("workers hand frames over: {why}")),
        (Steering::Card, Some(why)) => {
            let text = format!("what comes to a worker that does not have its session will not pass: {why}");
            (Severity::Warning, text)
        }
        (Steering::Auto | Steering::Card, None) => return false,
    };
    notices.push(Notice { severity, text });
    config.steering != Steering::Card
}

/// Facts of an interface, with what is to be noticed about it.
fn examine(interface: &Interface, workers: u32, notices: &mut Vec<Notice>) -> io::Result<Facts> {
    let facts = interface.facts()?;
    for finding in host::check(interface, &facts, workers) {
        if finding.severity == Severity::Refusal {
            return Err(io::Error::other(format!("port {finding}")));
        }
        notices.push(finding.into());
    }
    Ok(facts)
}

/// Puts the program on an interface and makes it take every frame.
fn attach(
    program: &mut Program,
    id: PortId,
    interface: Interface,
    config: &XdpConfig,
    pins: Option<&PinFolder>,
    notices: &mut Vec<Notice>,
) -> io::Result<Attached> {
    let name = interface.name().to_owned();
    let fail = |error: &io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::ResourceBusy => {
                format!(
                    "; another XDP program is on it (ip link set dev {name} xdp off; if a gateway that failed open left it, \
                     remove its pin in the bpf file system it was given)"
                )
            }
            _ => String::new(),
        };
        explain(error, &format!("port {name}: the XDP program could not be attached{hint}"))
    };
    program.set_port(id, Some(interface.index())).map_err(|error| fail(&error))?;
    let (attachment, why_not_native) =
        patiently(|| Attachment::new(program, &name, interface.index(), config.mode, pins))
            .map_err(|error| fail(&error))?;
    if let Some(why) = why_not_native {
        let text = format!("{name}: its driver did not take the XDP program ({why})");
        notices.push(Notice { severity: Severity::Warning, text });
    }
    let facts = interface.facts()?;
    notices.extend(host::check_attached(&interface, &facts, attachment.mode()).into_iter().map(Notice::from));
    let promiscuous = Promiscuous::new(&interface).map_err(|error| {
        explain(&error.into(), &format!("port {name} cannot take frames for other hosts"))
    })?;
    Ok(Attached { interface, attachment, promiscuous })
}
