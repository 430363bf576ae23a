//! A socket on one queue of one interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libc::c_int;

use crate::Error;
use crate::ring::{Completion, Consumer, Descriptor, Fill, Producer, Rx, Tx};
use crate::sys;
use crate::umem::{Umem, View, fresh_id};

/// Frames that one `sendto` may transmit in copy mode (`XDP_MAX_TX_SKB_BUDGET`, Linux 6.17; not in `libc`).
/// Where the kernel does not know it, 32 (`TX_BATCH_SIZE` in `net/xdp/xsk.c`).
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;

/// Calls of `sendto` in a row that moved no frame, after which a flush gives up until the next.
const IDLE_WAKEUPS: u32 = 2;

/// How frames get from the driver into the umem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transfer {
    /// Zero-copy where driver and queue can, else copied (the kernel decides, `xp_assign_dev`).
    #[default]
    Auto,
    /// Copied. Always works; needed when the XDP program runs in skb mode.
    Copy,
    /// Zero-copy, or the socket is not made.
    ZeroCopy,
}

/// Where a socket is bound and how large its rings are.
#[derive(Debug, Clone, Copy)]
pub struct SocketConfig {
    /// Index of the interface.
    pub interface: u32,
    /// Receive and transmit queue, from 0.
    pub queue: u32,
    /// How frames are transferred. A socket that shares another's umem does it as that one does.
    pub transfer: Transfer,
    /// Slots of each ring, a power of two.
    pub ring_len: u32,
}

/// What came out of the receive ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A frame; its chunk is owned by the view again.
    Frame {
        /// Chunk.
        chunk: u32,
        /// Offset of the first octet in it.
        start: u32,
        /// Octets; `start + len` is within the chunk.
        len: u32,
    },
    /// A chunk that is owned again but has no whole frame in it: outside its chunk, empty, or a piece
    /// of a longer one (`XDP_PKT_CONTD`).
    Unusable {
        /// Chunk.
        chunk: u32,
    },
    /// A descriptor that names no chunk lent to this socket. Nothing changes hands.
    Stray,
}

/// What became of a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The kernel has taken everything, or is about to by itself. With the number of system calls.
    Done(u32),
    /// The kernel cannot take more now; flush again later. With the number of system calls.
    Busy(u32),
    /// The interface is down (`ENETDOWN`). What was queued stays queued.
    Down,
    /// The interface is gone (`xsk_notifier`): close the socket.
    Gone,
}

/// What the kernel counts for a socket since it was made (`struct xdp_statistics`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Frames lost for other reasons than a full ring: longer than a chunk, mostly.
    pub rx_dropped: u64,
    /// Descriptors in the fill ring that named no chunk.
    pub rx_invalid_descs: u64,
    /// Descriptors in the transmit ring that the kernel refused.
    pub tx_invalid_descs: u64,
    /// Frames lost because the receive ring was full.
    pub rx_ring_full: u64,
    /// Times a frame came and the fill ring was empty: the frame was lost.
    pub fill_ring_empty: u64,
    /// Times the kernel looked for frames to transmit and there were none.
    pub tx_ring_empty: u64,
}

/// An AF_XDP socket, bound to one queue of one interface, with its four rings.
#[derive(Debug)]
pub struct Socket {
    rx: Rx,
    tx: Tx,
    fill: Fill,
    completion: Completion,
    umem: Arc<Umem>,
    id: u32,
    zero_copy: bool,
    /// Number of the descriptor in `meter`, which is open as long as this value lives.
    raw: c_int,
    meter: Meter,
}

/// Reads what the kernel counts for a socket, from whatever thread, so that the one that moves frames need not. It does not
/// keep the socket open; of one that was closed it knows the last numbers.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Mutex<Handle>>);

#[derive(Debug)]
enum Handle {
    Open(OwnedFd),
    Closed(Statistics),
}

impl Meter {
    /// What the kernel has counted. A system call while the socket is open.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        // The lock is held over the call: the socket does not close meanwhile.
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Handle::Open(fd) => statistics(fd.as_fd()),
            Handle::Closed(last) => Ok(*last),
        }
    }

    /// Closes the socket.
    fn close(&self) {
        let mut handle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Handle::Open(fd) = &*handle {
            *handle = Handle::Closed(statistics(fd.as_fd()).unwrap_or_default());
        }
    }
}

fn statistics(fd: BorrowedFd<'_>) -> Result<Statistics, Error> {
    let raw: libc::xdp_statistics = sys::get(fd, libc::XDP_STATISTICS, "get statistics")?;
    Ok(Statistics {
        rx_dropped: raw.rx_dropped,
        rx_invalid_descs: raw.rx_invalid_descs,
        tx_invalid_descs: raw.tx_invalid_descs,
        rx_ring_full: raw.rx_ring_full,
        fill_ring_empty: raw.rx_fill_ring_empty_descs,
        tx_ring_empty: raw.tx_ring_empty_descs,
    })
}

impl Socket {
    /// Makes and binds a socket.
    ///
    /// With `sharing`, a bound socket over the same umem, the kernel's registration of the memory is shared
    /// (`XDP_SHARED_UMEM`); without, the memory is registered anew, which is also how a socket is made
    /// again after its interface went and came back. Each socket has its own fill and completion ring.
    ///
    /// # Errors
    /// The first step the kernel refuses. Often: `bind` EBUSY (the queue has a socket), EOPNOTSUPP (no zero-copy),
    /// EINVAL (no such queue); `register umem` ENOBUFS (locked memory: raise the limit or give
    /// CAP_IPC_LOCK); `socket` EPERM (CAP_NET_RAW).
    pub fn open(umem: &Arc<Umem>, config: &SocketConfig, sharing: Option<&Socket>) -> Result<Self, Error> {
        if sharing.is_some_and(|other| other.umem.id() != umem.id()) {
            return Err(Error::invalid("share umem", "the other socket has another umem"));
        }
        let fd = sys::make()?;
        if sharing.is_none() {
            sys::register(fd.as_fd(), umem)?;
        }
        let len = config.ring_len;
        sys::set(fd.as_fd(), libc::XDP_UMEM_FILL_RING, &len, "make fill ring")?;
        sys::set(fd.as_fd(), libc::XDP_UMEM_COMPLETION_RING, &len, "make completion ring")?;
        sys::set(fd.as_fd(), libc::XDP_RX_RING, &len, "make rx ring")?;
        sys::set(fd.as_fd(), libc::XDP_TX_RING, &len, "make tx ring")?;
        // An older kernel refuses; then a flush takes more calls, that is all.
        let _ = sys::set(fd.as_fd(), XDP_MAX_TX_SKB_BUDGET, &len, "set transmit budget");

        let offsets: libc::xdp_mmap_offsets =
            sys::get(fd.as_fd(), libc::XDP_MMAP_OFFSETS, "get ring offsets")?;
        let (mapping, layout) =
            sys::map_ring::<u64>(fd.as_fd(), &offsets.fr, len, libc::XDP_UMEM_PGOFF_FILL_RING)?;
        let fill = Producer::new(mapping, layout, len)?;
        let (mapping, layout) =
            sys::map_ring::<u64>(fd.as_fd(), &offsets.cr, len, libc::XDP_UMEM_PGOFF_COMPLETION_RING)?;
        let completion = Consumer::new(mapping, layout, len)?;
        let (mapping, layout) =
            sys::map_ring::<Descriptor>(fd.as_fd(), &offsets.rx, len, libc::XDP_PGOFF_RX_RING as u64)?;
        let rx = Consumer::new(mapping, layout, len)?;
        let (mapping, layout) =
            sys::map_ring::<Descriptor>(fd.as_fd(), &offsets.tx, len, libc::XDP_PGOFF_TX_RING as u64)?;
        let tx = Producer::new(mapping, layout, len)?;

        sys::bind(fd.as_fd(), config, sharing)?;
        let options: libc::xdp_options = sys::get(fd.as_fd(), libc::XDP_OPTIONS, "get options")?;
        let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        let (raw, umem, id) = (fd.as_raw_fd(), Arc::clone(umem), fresh_id());
        let meter = Meter(Arc::new(Mutex::new(Handle::Open(fd))));
        Ok(Self { rx, tx, fill, completion, umem, id, zero_copy, raw, meter })
    }

    /// For whoever wants to know what the kernel counts for this socket.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Whether the driver reads and writes the umem itself.
    #[must_use]
    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Chunks that the fill ring has room for.
    pub fn fill_room(&mut self) -> u32 {
        let len = self.fill.len();
        self.fill.room(len)
    }

    /// Lends a chunk to the kernel to receive into; false if the ring is full. The kernel sees it
    /// after [`Socket::submit_fill`].
    ///
    /// # Panics
    /// When `view` does not own the chunk or is of another umem.
    pub fn fill(&mut self, view: &mut View, chunk: u32) -> bool {
        self.check(view);
        if self.fill.room(1) == 0 {
            return false;
        }
        view.lend(chunk, self.id);
        self.fill.push(self.umem.position(chunk))
    }

    /// Shows the chunks filled in to the kernel, and wakes it if it waits for them (zero-copy drivers do).
    /// Says whether it was woken.
    pub fn submit_fill(&mut self) -> bool {
        self.fill.submit();
        let asked = self.fill.needs_wakeup();
        if asked {
            // SAFETY: a null buffer of length 0; `xsk_recvmsg` only wakes the driver.
            unsafe {
                libc::recvfrom(
                    self.raw(),
                    ptr::null_mut(),
                    0,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
        }
        asked
    }

    /// Takes one received frame, if there is one.
    ///
    /// # Panics
    /// When `view` is of another umem.
    pub fn receive(&mut self, view: &mut View) -> Option<Received> {
        self.check(view);
        let descriptor = self.rx.pop()?;
        Some(accept(&self.umem, view, self.id, descriptor))
    }

    /// Gives the slots of received frames back. Once per burst.
    pub fn release_receive(&mut self) {
        self.rx.release();
    }

    /// Queues part of a chunk for transmission; false if the ring is full. The kernel reads the chunk until it
    /// comes back by [`Socket::complete`]: whoever owns it must leave it as it is until then. The kernel is told by
    /// [`Socket::flush`].
    ///
    /// # Panics
    /// When `view` does not own the chunk or is of another umem, or the range is empty or outside the chunk (the
    /// kernel would drop such a descriptor without completing it, `xp_aligned_validate_desc`).
    pub fn transmit(&mut self, view: &View, chunk: u32, start: usize, len: usize) -> bool {
        self.check(view);
        assert!(view.owns(chunk), "chunk {chunk} is not owned by this view");
        let inside = start.checked_add(len).is_some_and(|end| end <= self.umem.chunk_len() as usize);
        assert!(len > 0 && inside, "{len} octets at {start} are not a part of a chunk");
        let position = self.umem.position(chunk) + start as u64;
        self.tx.push(Descriptor { position, len: len as u32, options: 0 })
    }

    /// Makes the kernel transmit what is queued. In copy mode this call builds and sends each frame
    /// (`__xsk_generic_xmit`), at most a budget of them per system call, so it is repeated as long as it gets on.
    pub fn flush(&mut self) -> Wake {
        self.tx.submit();
        let mut left = self.tx.pending();
        let (mut calls, mut idle) = (0, 0);
        while left > 0 && self.tx.needs_wakeup() {
            // SAFETY: a null buffer of length 0 and no address: only a wake-up.
            let result =
                unsafe { libc::sendto(self.raw(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
            calls += 1;
            if result < 0 {
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::ENETDOWN) => return Wake::Down,
                    Some(libc::ENXIO | libc::EBADF | libc::ENODEV) => return Wake::Gone,
                    // EAGAIN: the budget is used up, or the completion ring is full; EBUSY: the driver's queue is full;
                    // ENOBUFS, ENOMEM: no buffer now; EINTR. Any other is treated the same: try again a little later.
                    _ => {}
                }
            }
            let now = self.tx.pending();
            idle = if now < left { 0 } else { idle + 1 };
            if idle == IDLE_WAKEUPS {
                return Wake::Busy(calls);
            }
            left = now;
        }
        Wake::Done(calls)
    }

    /// Takes the chunk of one transmitted frame, if there is one. `Err` when the kernel completes what is no chunk.
    pub fn complete(&mut self) -> Option<Result<u32, Stray>> {
        let position = self.completion.pop()?;
        Some(self.umem.locate(position).map(|(chunk, _)| chunk).ok_or(Stray))
    }

    /// Gives the slots of completed frames back. Once per burst.
    pub fn release_complete(&mut self) {
        self.completion.release();
    }

    /// Closes the socket and takes every chunk back that was lent through it; they are owned by `view`
    /// again and returned.
    ///
    /// # Panics
    /// When `view` is of another umem.
    #[must_use = "the chunks are owned but in nobody's free list"]
    pub fn close(self, view: &mut View) -> Vec<u32> {
        self.check(view);
        let id = self.id;
        // Closing waits until no frame is being received into the socket any more (`xsk_unbind_dev` calls
        // `synchronize_net`; a zero-copy driver is stopped by `xp_clear_dev`). Nobody else has this descriptor: it
        // is never duplicated, a meter uses it only under the lock that closing takes, and it does not survive `exec`.
        // Only then are the chunks ours.
        drop(self);
        let lent: Vec<u32> = view.lent_to(id).collect();
        for chunk in &lent {
            view.return_from(*chunk, id);
        }
        lent
    }

    fn check(&self, view: &View) {
        assert_eq!(view.umem().id(), self.umem.id(), "a view of another umem");
    }

    fn raw(&self) -> c_int {
        self.raw
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.meter.close();
    }
}

/// Waits until a frame has come to one of `sockets` or `bell` is readable, at most `limit`; a signal ends it, too. In copy mode
/// the kernel first transmits what is queued (`xsk_poll`).
///
/// # Errors
/// When the kernel cannot wait: no memory.
pub fn wait(
    sockets: [Option<&Socket>; 2],
    bell: Option<BorrowedFd<'_>>,
    limit: Duration,
) -> Result<(), Error> {
    let [a, b] = sockets.map(|socket| socket.map_or(-1, Socket::raw));
    let bell = bell.map_or(-1, |bell| bell.as_raw_fd());
    // A negative descriptor is passed over.
    let mut events = [a, b, bell].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let limit = libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
    };
    // SAFETY: addresses of values on this stack, with the number of events; no signal mask.
    let result = unsafe {
        libc::ppoll(events.as_mut_ptr(), events.len() as libc::nfds_t, &raw const limit, ptr::null())
    };
    let error = io::Error::last_os_error();
    if result >= 0 || error.kind() == io::ErrorKind::Interrupted {
        Ok(())
    } else {
        Err(Error::new("wait for frames", error))
    }
}

/// For `XSKMAP`. Only the number: a duplicate would keep the socket alive when [`Socket::close`] takes its chunks back.
impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> c_int {
        self.raw()
    }
}

/// A completion that names no chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray;

/// Judges a descriptor of the receive ring.
fn accept(umem: &Umem, view: &mut View, socket: u32, descriptor: Descriptor) -> Received {
    let Some((chunk, start)) = umem.locate(descriptor.position) else { return Received::Stray };
    if !view.return_from(chunk, socket) {
        return Received::Stray;
    }
    let len = descriptor.len;
    let inside = u64::from(start) + u64::from(len) <= u64::from(umem.chunk_len());
    if !inside || len == 0 || descriptor.options & libc::XDP_PKT_CONTD != 0 {
        return Received::Unusable { chunk };
    }
    Received::Frame { chunk, start, len }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: u32 = 1000;

    fn accepted(position: u64, len: u32, options: u32) -> (Received, bool) {
        let (umem, mut view) = Umem::new(2048, 4).unwrap();
        view.lend(2, SOCKET);
        let received = accept(&umem, &mut view, SOCKET, Descriptor { position, len, options });
        (received, view.owns(2))
    }

    #[test]
    fn a_frame_in_a_lent_chunk_is_received() {
        assert_eq!(accepted(4096 + 256, 60, 0), (Received::Frame { chunk: 2, start: 256, len: 60 }, true));
        assert_eq!(
            accepted(4096 + 256, 1792, 0),
            (Received::Frame { chunk: 2, start: 256, len: 1792 }, true)
        );
    }

    #[test]
    fn an_odd_descriptor_gives_its_chunk_back_but_no_frame() {
        for (position, len, options) in
            [(4096 + 256, 1793, 0), (4096 + 256, u32::MAX, 0), (4096, 0, 0), (4096, 60, libc::XDP_PKT_CONTD)]
        {
            assert_eq!(accepted(position, len, options), (Received::Unusable { chunk: 2 }, true));
        }
    }

    #[test]
    fn a_descriptor_of_a_chunk_not_lent_changes_nothing() {
        for position in [0, 2048, 4 * 2048, u64::MAX] {
            assert_eq!(accepted(position, 60, 0), (Received::Stray, false));
        }
        let (umem, mut view) = Umem::new(2048, 4).unwrap();
        view.lend(2, SOCKET);
        let descriptor = Descriptor { position: 4096, len: 60, options: 0 };
        assert_eq!(accept(&umem, &mut view, SOCKET + 1, descriptor), Received::Stray, "lent to another");
        assert!(matches!(accept(&umem, &mut view, SOCKET, descriptor), Received::Frame { .. }));
        assert_eq!(accept(&umem, &mut view, SOCKET, descriptor), Received::Stray, "received twice");
    }
}
