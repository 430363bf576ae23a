//! One end: a smoltcp stack with one TCP connection and something that talks over it.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpListenEndpoint};

/// What talks over the connection.
pub trait Talk {
    /// Takes received octets; returns octets to send.
    fn receive(&mut self, bytes: &[u8]) -> Vec<u8>;
    /// The peer has closed its side.
    fn peer_closed(&mut self) {}
    /// Whether it has said everything.
    fn done(&self) -> bool;
    /// For looking into it afterwards.
    fn as_any(&mut self) -> &mut dyn std::any::Any;
}

pub struct Host {
    interface: Interface,
    device: Wire,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    number: u8,
    talk: Option<Box<dyn Talk>>,
    outgoing: VecDeque<u8>,
    closed: bool,
    /// Everything received.
    pub received: Vec<u8>,
    /// Whether the connection ended by a RST of the peer.
    pub was_reset: bool,
    /// Whether the peer closed its side in good order.
    pub peer_finished: bool,
    was_open: bool,
    has_timestamps: bool,
}

std::thread_local! {
    /// The simulation's time in milliseconds: a test runs on one thread.
    static MILLIS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// The clock of timestamps; it wraps within every simulation.
fn tick() -> u32 {
    MILLIS.get().wrapping_sub(500)
}

/// Which addresses are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn address(self, number: u8) -> IpAddress {
        match self {
            Family::V4 => IpAddress::v4(192, 0, 2, number),
            Family::V6 => IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)),
        }
    }
}

impl Host {
    pub fn new(number: u8, seed: u64) -> Self {
        let mut device = Wire::default();
        let mac = EthernetAddress([2, 0, 0, 0, 0, number]);
        let mut config = Config::new(HardwareAddress::Ethernet(mac));
        config.random_seed = seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number));
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|list| {
            for family in [Family::V4, Family::V6] {
                let prefix = if family == Family::V4 { 24 } else { 64 };
                list.push(IpCidr::new(family.address(number), prefix)).expect("two addresses fit");
            }
        });
        let mut socket = tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; 65_536]),
            tcp::SocketBuffer::new(vec![0; 65_536]),
        );
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self {
            interface,
            device,
            sockets,
            handle,
            number,
            talk: None,
            outgoing: VecDeque::new(),
            closed: false,
            received: Vec::new(),
            was_reset: false,
            peer_finished: false,
            was_open: false,
            has_timestamps: false,
        }
    }

    pub fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    pub fn listen(&mut self, talk: impl Talk + 'static) {
        self.talk = Some(Box::new(talk));
        self.socket().listen(IpListenEndpoint::from(25)).expect("listens");
    }

    pub fn connect(&mut self, family: Family, to: u8, talk: impl Talk + 'static) {
        self.talk = Some(Box::new(talk));
        let local = (family.address(self.number), 40_000);
        let remote = (family.address(to), 25);
        let context = self.interface.context();
        self.sockets
            .get_mut::<tcp::Socket<'_>>(self.handle)
            .connect(context, remote, local)
            .expect("connects");
    }

    pub fn set_buffers(&mut self, receive: usize, send: usize) {
        let mut socket =
            tcp::Socket::new(tcp::SocketBuffer::new(vec![0; receive]), tcp::SocketBuffer::new(vec![0; send]));
        socket.set_nagle_enabled(false);
        if self.has_timestamps {
            socket.set_tsval_generator(Some(tick));
        }
        self.sockets.remove(self.handle);
        self.handle = self.sockets.add(socket);
    }

    /// Sends timestamps, of a clock that ticks every millisecond (smoltcp asks it without telling the time).
    pub fn set_timestamps(&mut self) {
        self.has_timestamps = true;
        self.socket().set_tsval_generator(Some(tick));
    }

    pub fn set_mtu(&mut self, mtu: usize) {
        self.device.mtu = mtu;
    }

    /// Octets of the application per segment at the most; 0 is no limit.
    pub fn set_piece(&mut self, octets: usize) {
        self.device.piece = octets;
    }

    pub fn talk<T: 'static>(&mut self) -> &mut T {
        self.talk.as_mut().expect("talks").as_any().downcast_mut().expect("is of this kind")
    }

    pub fn deliver(&mut self, frame: Vec<u8>) {
        self.device.received.push_back(frame);
    }

    pub fn is_closed(&mut self) -> bool {
        matches!(self.socket().state(), tcp::State::Closed | tcp::State::TimeWait)
    }

    /// Lets the stack and the talker work; returns frames to be sent.
    pub fn poll(&mut self, now_micros: u64) -> Vec<Vec<u8>> {
        let now = Instant::from_micros(now_micros as i64);
        MILLIS.set((now_micros / 1_000) as u32);
        self.interface.poll(now, &mut self.device, &mut self.sockets);
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        self.was_open |= socket.may_send();
        if let Some(talk) = &mut self.talk {
            if socket.may_send() && !self.closed && self.received.is_empty() && self.outgoing.is_empty() {
                self.outgoing.extend(talk.receive(&[]));
            }
            while socket.can_recv() {
                let bytes = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).expect("can receive");
                self.received.extend_from_slice(&bytes);
                self.outgoing.extend(talk.receive(&bytes));
            }
            let piece = if self.device.piece == 0 { usize::MAX } else { self.device.piece };
            if self.device.piece == 0 || socket.send_queue() == 0 {
                let (front, _) = self.outgoing.as_slices();
                let front = &front[..front.len().min(piece)];
                if socket.can_send() && !front.is_empty() {
                    let sent = socket.send_slice(front).expect("can send");
                    self.outgoing.drain(..sent);
                }
            }
            if self.was_open && !socket.may_recv() && socket.state() == tcp::State::CloseWait {
                self.peer_finished = true;
                talk.peer_closed();
                if !self.closed {
                    socket.close();
                    self.closed = true;
                }
            }
            if talk.done() && self.outgoing.is_empty() && socket.send_queue() == 0 && !self.closed {
                socket.close();
                self.closed = true;
            }
            if self.was_open && !self.closed && socket.state() == tcp::State::Closed {
                self.was_reset = true;
                self.closed = true;
            }
        }
        self.interface.poll(now, &mut self.device, &mut self.sockets);
        std::mem::take(&mut self.device.sent)
    }
}

struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    mtu: usize,
    piece: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Self { received: VecDeque::new(), sent: Vec::new(), mtu: 1514, piece: 0 }
    }
}

struct Receiving(Vec<u8>);
struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Receiving {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Receiving;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Receiving(frame), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}
