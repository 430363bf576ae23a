//! A port that writes every frame that passes to a capture, on its way in and on its way out.

use std::cell::RefCell;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use inspect::frame::{Frame, Memory, Pool, Sealed};

use super::capture::Writer;
use super::{Level, Port};

/// Which way of a port is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What it receives.
    Received,
    /// What it transmits.
    Transmitted,
    /// Both.
    Both,
}

/// A wrapper around another port that writes what passes. Several can share one capture. It copies and allocates: a
/// tool to look with, not for full load.
#[derive(Debug)]
pub struct TracePort<P, W: io::Write, C> {
    inner: P,
    way: Way,
    capture: Rc<RefCell<Writer<W>>>,
    clock: C,
}

impl<P, W: io::Write, C: Fn() -> u64> TracePort<P, W, C> {
    /// Writes what passes `inner` to `capture`; `clock` tells nanoseconds since 1970.
    pub fn new(inner: P, way: Way, capture: Rc<RefCell<Writer<W>>>, clock: C) -> Self {
        Self { inner, way, capture, clock }
    }
}

impl<M: Memory, P: Port<M>, W: io::Write, C: Fn() -> u64> Port<M> for TracePort<P, W, C> {
    fn receive(&mut self, pool: &mut Pool<M>, into: &mut Vec<Frame>, limit: usize) -> io::Result<usize> {
        let before = into.len();
        let count = self.inner.receive(pool, into, limit)?;
        if count > 0 && self.way != Way::Transmitted {
            let at = (self.clock)();
            let mut capture = self.capture.borrow_mut();
            for frame in &into[before..] {
                capture.write(at, pool.bytes(frame))?;
            }
        }
        Ok(count)
    }

    fn transmit(&mut self, pool: &Pool<M>, frame: Sealed) -> Result<(), Sealed> {
        // A second handle, because the first is gone once the port took the frame.
        let seen = (self.way != Way::Received).then(|| frame.share());
        self.inner.transmit(pool, frame)?;
        if let Some(seen) = seen {
            // An error sticks to the writer and comes back from `flush`.
            let _ = self.capture.borrow_mut().write((self.clock)(), pool.sealed(&seen));
        }
        Ok(())
    }

    fn flush(&mut self, pool: &mut Pool<M>) -> io::Result<()> {
        self.inner.flush(pool)?;
        self.capture.borrow_mut().flush()
    }

    fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.inner.ready()
    }

    fn level(&self) -> Level {
        self.inner.level()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::capture::Reader;
    use crate::port::memory::MemoryPort;
    use inspect::frame::VecMemory;

    #[test]
    fn what_passes_is_written_in_order() {
        let mut pool = VecMemory::pool(4, 64);
        let (port, far) = MemoryPort::new(4);
        let capture = Rc::new(RefCell::new(Writer::new(Vec::new()).unwrap()));
        let mut port = TracePort::new(port, Way::Both, Rc::clone(&capture), || 5_000_000_001);
        far.push(&mut pool, b"in");
        let mut frames = Vec::new();
        port.receive(&mut pool, &mut frames, 4).unwrap();
        let mut out = pool.alloc(0, 3).unwrap();
        pool.bytes_mut(&mut out).copy_from_slice(b"out");
        let out = pool.seal(out);
        port.transmit(&pool, out).unwrap();
        port.flush(&mut pool).unwrap();
        let written = capture.borrow().get_ref().clone();
        let mut reader = Reader::new(written.as_slice()).unwrap();
        let mut seen = Vec::new();
        while let Some(packet) = reader.next_packet().unwrap() {
            seen.push((packet.nanos, packet.octets.to_vec()));
        }
        assert_eq!(seen, [(5_000_000_001, b"in".to_vec()), (5_000_000_001, b"out".to_vec())]);
    }
}
