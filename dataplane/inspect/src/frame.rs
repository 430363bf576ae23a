//! Frames: owned, mutable, on one core; then sealed.
//!
//! A [`Pool`] lends the chunks of some [`Memory`] (a umem, a vector). A [`Frame`] is the only handle to its
//! chunk, so it may be written. [`Pool::seal`] consumes it: from then on it can only be read, and shared, because
//! the port transmits it while the TCP layer remembers it until the receiver has acknowledged it. The chunk is free
//! again when the last handle is dropped; nothing has to be given back by hand.

use core::cell::{Cell, RefCell};
use core::ops::Range;
use std::rc::Rc;

/// Octets of a cache line.
const LINE_LEN: usize = 64;
/// Octets in which the headers of a segment mostly stand.
const HEADERS_LEN: usize = 2 * LINE_LEN;

/// Memory cut into chunks of equal length, named by index.
pub trait Memory {
    /// Octets of a chunk.
    fn chunk_len(&self) -> usize;
    /// Number of chunks.
    fn chunk_count(&self) -> usize;
    /// A chunk that this side owns.
    ///
    /// # Panics
    /// When `index` is not one that this side owns; never because of a frame's content.
    fn chunk(&self, index: u32) -> &[u8];
    /// The same, to be written.
    ///
    /// # Panics
    /// As for [`Memory::chunk`].
    fn chunk_mut(&mut self, index: u32) -> &mut [u8];
}

/// Memory that several pools have parts of: a chunk can change hands without being copied.
pub trait Shared: Memory {
    /// The right to one chunk, on its way from one pool to another.
    type Chunk: Send + core::fmt::Debug;

    /// Gives a chunk away.
    ///
    /// # Panics
    /// When `index` is not one that this side owns.
    fn give(&mut self, index: u32) -> Self::Chunk;
    /// Takes a chunk that another side gave away, and says which it is.
    fn take(&mut self, chunk: Self::Chunk) -> u32;
}

/// A frame on its way from one pool to another.
#[derive(Debug)]
#[must_use = "a frame that no pool takes is lost with its chunk"]
pub struct Parcel<C> {
    chunk: C,
    start: u16,
    len: u16,
}

/// Which chunks are free, and how many handles the others have.
#[derive(Debug)]
struct Ledger {
    handles: Box<[Cell<u8>]>,
    free: RefCell<Vec<u32>>,
}

impl Ledger {
    #[inline]
    fn release(&self, index: u32) {
        let cell = &self.handles[index as usize];
        let left = cell.get() - 1;
        cell.set(left);
        if left == 0 {
            self.free.borrow_mut().push(index);
        }
    }
}

/// A received or freshly made frame: the only handle to its chunk.
#[derive(Debug)]
pub struct Frame(Handle);

/// A frame that has its verdict: bytes that nobody can change any more.
#[derive(Debug)]
pub struct Sealed(Handle);

#[derive(Debug)]
struct Handle {
    ledger: Rc<Ledger>,
    place: Place,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.ledger.release(self.place.index());
    }
}

/// Which chunk, and where in it. One word: handles are moved many times for each frame, and a part that was just written
/// makes the processor wait when the whole is read.
#[derive(Debug, Clone, Copy)]
struct Place(u64);

impl Place {
    fn new(index: u32, start: u16, len: u16) -> Self {
        Self(u64::from(index) << 32 | u64::from(start) << 16 | u64::from(len))
    }

    fn index(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn start(self) -> u16 {
        (self.0 >> 16) as u16
    }

    fn len(self) -> u16 {
        self.0 as u16
    }
}

/// The chunks of one memory and who holds them.
#[derive(Debug)]
pub struct Pool<M> {
    memory: M,
    ledger: Rc<Ledger>,
}

impl<M: Memory> Pool<M> {
    /// A pool over the whole of `memory`, of which the chunks in `free` may be handed out. The others
    /// come in by [`Pool::adopt`] (a port's receive ring has them).
    pub fn new(memory: M, free: impl IntoIterator<Item = u32>) -> Self {
        let count = memory.chunk_count();
        let mut list = Vec::with_capacity(count);
        list.extend(free);
        let handles = (0..count).map(|_| Cell::new(0)).collect();
        Self { memory, ledger: Rc::new(Ledger { handles, free: RefCell::new(list) }) }
    }

    /// Chunks that can be handed out now.
    #[must_use]
    pub fn free_count(&self) -> usize {
        self.ledger.free.borrow().len()
    }

    /// The memory, for the port that owns its rings.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The memory, for the port that owns its rings.
    pub fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }

    /// An empty frame of `len` octets (content is whatever was there) that starts `headroom` octets into
    /// its chunk; `None` when no chunk is free or it does not fit.
    pub fn alloc(&mut self, headroom: usize, len: usize) -> Option<Frame> {
        if headroom + len > self.memory.chunk_len() {
            return None;
        }
        let index = self.ledger.free.borrow_mut().pop()?;
        Some(self.handle(index, headroom, len))
    }

    /// A frame that a port received into chunk `index`, which was lent to it by [`Pool::lend`].
    ///
    /// # Panics
    /// When the chunk still has a handle, or the range is outside it: a bug of the port.
    pub fn adopt(&mut self, index: u32, start: usize, len: usize) -> Frame {
        assert!(start + len <= self.memory.chunk_len(), "received range is outside its chunk");
        assert_eq!(self.ledger.handles[index as usize].get(), 0, "received into a chunk in use");
        self.handle(index, start, len)
    }

    /// Takes a free chunk away for a port's fill ring.
    pub fn lend(&mut self) -> Option<u32> {
        self.ledger.free.borrow_mut().pop()
    }

    /// Takes back a chunk that [`Pool::lend`] gave and nothing was received into.
    pub fn give_back(&mut self, index: u32) {
        assert_eq!(self.ledger.handles[index as usize].get(), 0, "gave back a chunk in use");
        self.ledger.free.borrow_mut().push(index);
    }

    fn handle(&self, index: u32, start: usize, len: usize) -> Frame {
        self.ledger.handles[index as usize].set(1);
        // Chunks are at most 64 KiB - 1 long; checked by the callers against `chunk_len`.
        let place = Place::new(index, start as u16, len as u16);
        Frame(Handle { ledger: Rc::clone(&self.ledger), place })
    }

    /// The octets of a frame.
    #[must_use]
    #[inline]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        self.slice(&frame.0)
    }

    /// The octets of a frame, to be written.
    #[must_use]
    #[inline]
    pub fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        let place = frame.0.place;
        &mut self.memory.chunk_mut(place.index())[usize::from(place.start())..][..usize::from(place.len())]
    }

    /// The octets of a sealed frame.
    #[must_use]
    pub fn sealed(&self, frame: &Sealed) -> &[u8] {
        self.slice(&frame.0)
    }

    /// Asks for a frame's first octets, where the headers of a segment stand, and does not wait.
    #[inline]
    pub fn prefetch_headers(&self, frame: &Frame) {
        self.ask(frame, 0..HEADERS_LEN);
    }

    /// Asks for the rest of a frame: while the frame before it is judged, its memory comes. The processor by itself follows a frame only
    /// once it is read, and no farther than the end of a page.
    #[inline]
    pub fn prefetch(&self, frame: &Frame) {
        self.ask(frame, HEADERS_LEN..self.bytes(frame).len());
    }

    #[inline]
    fn ask(&self, frame: &Frame, places: Range<usize>) {
        for place in places.step_by(LINE_LEN) {
            prefetch_index::prefetch_index(self.bytes(frame), place);
        }
    }

    #[inline]
    fn slice(&self, handle: &Handle) -> &[u8] {
        let place = handle.place;
        &self.memory.chunk(place.index())[usize::from(place.start())..][..usize::from(place.len())]
    }

    /// Ends writing: the frame has its verdict.
    #[must_use]
    #[inline]
    pub fn seal(&mut self, frame: Frame) -> Sealed {
        Sealed(frame.0)
    }
}

impl<M: Shared> Pool<M> {
    /// Gives a frame away, chunk and all.
    pub fn give(&mut self, frame: Frame) -> Parcel<M::Chunk> {
        let (index, start, len) = (frame.0.place.index(), frame.0.place.start(), frame.0.place.len());
        // It was the only handle: the chunk is the one that became free last.
        drop(frame);
        let freed = self.ledger.free.borrow_mut().pop();
        debug_assert_eq!(freed, Some(index));
        Parcel { chunk: self.memory.give(index), start, len }
    }

    /// Takes a frame that another pool gave away.
    pub fn take(&mut self, parcel: Parcel<M::Chunk>) -> Frame {
        let Parcel { chunk, start, len } = parcel;
        let index = self.memory.take(chunk);
        self.adopt(index, usize::from(start), usize::from(len))
    }

    /// Gives a free chunk away; `None` when there is none.
    pub fn give_free(&mut self) -> Option<M::Chunk> {
        let index = self.lend()?;
        Some(self.memory.give(index))
    }

    /// Takes a chunk that another pool gave away, to be used for any frame.
    pub fn take_free(&mut self, chunk: M::Chunk) {
        let index = self.memory.take(chunk);
        self.give_back(index);
    }
}

impl Frame {
    /// Octets of the frame.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::from(self.0.place.len())
    }

    /// Cuts the frame's end off.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        let place = self.0.place;
        let len = place.len().min(u16::try_from(len).unwrap_or(u16::MAX));
        self.0.place = Place::new(place.index(), place.start(), len);
    }
}

impl Sealed {
    /// A second handle to the same octets.
    ///
    /// # Panics
    /// At 255 handles to one chunk; two are ever made.
    #[must_use]
    #[inline]
    pub fn share(&self) -> Sealed {
        let cell = &self.0.ledger.handles[self.0.place.index() as usize];
        cell.set(cell.get().checked_add(1).expect("a chunk has at most two handles"));
        Sealed(Handle { ledger: Rc::clone(&self.0.ledger), place: self.0.place })
    }

    /// Octets of the frame.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::from(self.0.place.len())
    }

    /// Chunk and position in it, for a transmit descriptor.
    #[must_use]
    pub fn descriptor(&self) -> (u32, usize, usize) {
        let place = self.0.place;
        (place.index(), usize::from(place.start()), usize::from(place.len()))
    }
}

/// Chunks in plain memory: for captures, simulations and benches.
#[derive(Debug)]
pub struct VecMemory {
    bytes: Vec<u8>,
    chunk_len: usize,
}

impl VecMemory {
    /// `chunk_count` chunks of `chunk_len` octets.
    #[must_use]
    pub fn new(chunk_count: usize, chunk_len: usize) -> Self {
        Self { bytes: vec![0; chunk_count * chunk_len], chunk_len }
    }

    /// A pool of which every chunk is free.
    #[must_use]
    pub fn pool(chunk_count: usize, chunk_len: usize) -> Pool<VecMemory> {
        Pool::new(Self::new(chunk_count, chunk_len), (0..chunk_count as u32).rev())
    }
}

impl Memory for VecMemory {
    fn chunk_len(&self) -> usize {
        self.chunk_len
    }

    fn chunk_count(&self) -> usize {
        self.bytes.len() / self.chunk_len
    }

    #[inline]
    fn chunk(&self, index: u32) -> &[u8] {
        &self.bytes[index as usize * self.chunk_len..][..self.chunk_len]
    }

    #[inline]
    fn chunk_mut(&mut self, index: u32) -> &mut [u8] {
        &mut self.bytes[index as usize * self.chunk_len..][..self.chunk_len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_free_when_its_last_handle_is_dropped() {
        let mut pool = VecMemory::pool(2, 64);
        let mut frame = pool.alloc(10, 5).unwrap();
        pool.bytes_mut(&mut frame).copy_from_slice(b"hello");
        frame.truncate(4);
        let sealed = pool.seal(frame);
        let remembered = sealed.share();
        assert_eq!(pool.free_count(), 1);
        drop(sealed);
        assert_eq!(pool.free_count(), 1);
        assert_eq!(pool.sealed(&remembered), b"hell");
        drop(remembered);
        assert_eq!(pool.free_count(), 2);
    }

    #[test]
    fn nothing_is_lent_twice() {
        let mut pool = VecMemory::pool(2, 64);
        let lent = pool.lend().unwrap();
        let frame = pool.alloc(0, 64).unwrap();
        assert!(pool.alloc(0, 1).is_none());
        assert!(pool.lend().is_none());
        let received = pool.adopt(lent, 0, 10);
        drop((frame, received));
        assert_eq!(pool.free_count(), 2);
        assert!(pool.alloc(60, 5).is_none(), "does not fit");
    }
}
