//! A port on plain memory: for tests and benches.
//!
//! What goes in by [`Inbox::push`] is received; what is transmitted comes out of [`Outbox::pop`] in order. No system
//! call, no allocation per frame while the ring has room. For a bench, make the pool larger than the processor's cache.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use inspect::frame::{Frame, Memory, Pool, Sealed};

use super::{Level, Port};

/// A port whose far end is in the hands of the same thread.
#[derive(Debug)]
pub struct MemoryPort {
    arrived: Rc<RefCell<VecDeque<Frame>>>,
    queued: VecDeque<Sealed>,
    left: Rc<RefCell<VecDeque<Sealed>>>,
    gone: Rc<Cell<bool>>,
    capacity: usize,
}

/// The far end of a [`MemoryPort`].
#[derive(Debug, Clone)]
pub struct FarEnd {
    arrived: Rc<RefCell<VecDeque<Frame>>>,
    left: Rc<RefCell<VecDeque<Sealed>>>,
    gone: Rc<Cell<bool>>,
}

impl MemoryPort {
    /// A port whose transmit ring holds `capacity` frames between two flushes, and its far end.
    #[must_use]
    pub fn new(capacity: usize) -> (Self, FarEnd) {
        let arrived = Rc::new(RefCell::new(VecDeque::with_capacity(capacity)));
        let left = Rc::new(RefCell::new(VecDeque::with_capacity(capacity)));
        let gone = Rc::new(Cell::new(false));
        let far = FarEnd { arrived: Rc::clone(&arrived), left: Rc::clone(&left), gone: Rc::clone(&gone) };
        (Self { arrived, queued: VecDeque::with_capacity(capacity), left, gone, capacity }, far)
    }

    fn check(&self) -> io::Result<()> {
        if self.gone.get() {
            Err(io::Error::new(io::ErrorKind::NotConnected, "the port is gone"))
        } else {
            Ok(())
        }
    }
}

impl FarEnd {
    /// Sends `bytes` to the port; `false` when the pool has no chunk for them.
    pub fn push<M: Memory>(&self, pool: &mut Pool<M>, bytes: &[u8]) -> bool {
        let Some(mut frame) = pool.alloc(0, bytes.len()) else { return false };
        pool.bytes_mut(&mut frame).copy_from_slice(bytes);
        self.push_frame(frame);
        true
    }

    /// Sends a frame to the port.
    pub fn push_frame(&self, frame: Frame) {
        self.arrived.borrow_mut().push_back(frame);
    }

    /// The next frame that the port transmitted.
    #[must_use]
    pub fn pop(&self) -> Option<Sealed> {
        self.left.borrow_mut().pop_front()
    }

    /// The octets of every frame that the port transmitted since the last call.
    pub fn drain<M: Memory>(&self, pool: &Pool<M>) -> Vec<Vec<u8>> {
        self.left.borrow_mut().drain(..).map(|frame| pool.sealed(&frame).to_vec()).collect()
    }

    /// Makes the port fail from now on, as if its interface had vanished.
    pub fn vanish(&self) {
        self.gone.set(true);
    }
}

impl<M: Memory> Port<M> for MemoryPort {
    fn receive(&mut self, _: &mut Pool<M>, into: &mut Vec<Frame>, limit: usize) -> io::Result<usize> {
        self.check()?;
        let mut arrived = self.arrived.borrow_mut();
        let count = arrived.len().min(limit);
        into.extend(arrived.drain(..count));
        Ok(count)
    }

    fn transmit(&mut self, _: &Pool<M>, frame: Sealed) -> Result<(), Sealed> {
        if self.queued.len() == self.capacity {
            return Err(frame);
        }
        self.queued.push_back(frame);
        Ok(())
    }

    fn flush(&mut self, _: &mut Pool<M>) -> io::Result<()> {
        self.check()?;
        self.left.borrow_mut().append(&mut self.queued);
        Ok(())
    }

    fn level(&self) -> Level {
        Level { tx_queued: self.queued.len() as u64, ..Level::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::frame::VecMemory;

    #[test]
    fn frames_come_and_go_in_order_and_a_full_ring_hands_back() {
        let mut pool = VecMemory::pool(4, 64);
        let (mut port, far) = MemoryPort::new(2);
        for octet in [b"1", b"2", b"3"] {
            assert!(far.push(&mut pool, octet));
        }
        let mut frames = Vec::new();
        assert_eq!(port.receive(&mut pool, &mut frames, 2).unwrap(), 2);
        assert_eq!(port.receive(&mut pool, &mut frames, 2).unwrap(), 1);
        let mut back = Vec::new();
        for frame in frames {
            let sealed = pool.seal(frame);
            back.extend(port.transmit(&pool, sealed).err());
        }
        assert_eq!(pool.sealed(&back[0]), b"3");
        assert_eq!(<MemoryPort as Port<VecMemory>>::level(&port).tx_queued, 2);
        port.flush(&mut pool).unwrap();
        assert_eq!(far.drain(&pool), [b"1", b"2"]);
        drop(back);
        assert_eq!(pool.free_count(), 4);
    }

    #[test]
    fn a_vanished_port_says_so() {
        let mut pool = VecMemory::pool(1, 64);
        let (mut port, far) = MemoryPort::new(2);
        far.vanish();
        assert!(port.receive(&mut pool, &mut Vec::new(), 2).is_err());
        assert!(port.flush(&mut pool).is_err());
    }
}
