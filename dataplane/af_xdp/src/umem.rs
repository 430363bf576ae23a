//! The memory that frames live in, and who may touch which chunk of it.
//!
//! One [`Umem`] is shared by every socket and every worker. A [`View`] is one worker's right to some of its
//! chunks. Three states of a chunk, as a view sees it:
//!
//! - *owned*: this view lends it out as a slice;
//! - *lent* to the kernel through the fill ring of one socket: comes back through that socket's receive ring,
//!   or when that socket is closed;
//! - *foreign*: another view's. It comes in as a [`Chunk`], which some view gave away.
//!
//! A chunk whose frame is being transmitted stays owned: the kernel only reads it. That it is not written
//! meanwhile is the business of whoever keeps the frame (in the gateway the type `Sealed`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;
use crate::mapping::Mapping;

/// Octets the kernel leaves free before a received frame (`XDP_PACKET_HEADROOM` in `include/uapi/linux/bpf.h`).
pub const HEADROOM: usize = 256;

const FOREIGN: u32 = 0;
const OWNED: u32 = 1;
const FIRST_SOCKET: u32 = 2;

/// Names umems and sockets, so that a chunk or a ring of one cannot be used with another.
static NEXT_ID: AtomicU32 = AtomicU32::new(FIRST_SOCKET);

/// A number that no other umem or socket of this process has.
pub(crate) fn fresh_id() -> u32 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// Memory for frames, cut into chunks of equal length.
pub struct Umem {
    mapping: Mapping,
    chunk_len: u32,
    chunk_count: u32,
    id: u32,
}

impl Umem {
    /// Maps `chunk_count` zeroed chunks of `chunk_len` octets and gives the right to all of them.
    ///
    /// # Errors
    /// A chunk is 2048 or 4096 octets (`xdp_umem_reg` in `net/xdp/xdp_umem.c`: a power of two from
    /// `XDP_UMEM_MIN_CHUNK_SIZE` to a page); there is at least one; and the memory must be there.
    pub fn new(chunk_len: u32, chunk_count: u32) -> Result<(Arc<Umem>, View), Error> {
        const STEP: &str = "make umem";
        if chunk_len != 2048 && chunk_len != 4096 {
            return Err(Error::invalid(STEP, "a chunk is 2048 or 4096 octets long"));
        }
        if chunk_count == 0 {
            return Err(Error::invalid(STEP, "no chunks"));
        }
        let len = chunk_len as usize * chunk_count as usize;
        let mapping = Mapping::anonymous(len)?;
        let umem = Arc::new(Umem { mapping, chunk_len, chunk_count, id: fresh_id() });
        let holders = vec![OWNED; chunk_count as usize].into_boxed_slice();
        let view = View { umem: Arc::clone(&umem), holders };
        Ok((umem, view))
    }

    /// Octets of a chunk.
    #[must_use]
    pub fn chunk_len(&self) -> u32 {
        self.chunk_len
    }

    /// Number of chunks.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.chunk_count
    }

    /// Octets of the longest frame that can be received into a chunk.
    #[must_use]
    pub fn frame_limit(&self) -> usize {
        self.chunk_len as usize - HEADROOM
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn address(&self) -> u64 {
        self.mapping.start().as_ptr() as u64
    }

    pub(crate) fn len(&self) -> u64 {
        self.mapping.len() as u64
    }

    /// Position of the first octet of a chunk in the umem.
    pub(crate) fn position(&self, chunk: u32) -> u64 {
        u64::from(chunk) * u64::from(self.chunk_len)
    }

    /// The chunk that a position of a descriptor is in and the offset there, if there is such a chunk.
    pub(crate) fn locate(&self, position: u64) -> Option<(u32, u32)> {
        let chunk = position / u64::from(self.chunk_len);
        let offset = position % u64::from(self.chunk_len);
        (chunk < u64::from(self.chunk_count)).then_some((chunk as u32, offset as u32))
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Umem")
            .field("chunk_len", &self.chunk_len)
            .field("chunk_count", &self.chunk_count)
            .finish_non_exhaustive()
    }
}

/// The right to one chunk, on its way from one view to another. Dropping it loses the chunk until the umem
/// itself goes.
#[derive(Debug)]
#[must_use = "a chunk that no view takes is lost"]
pub struct Chunk {
    umem: u32,
    index: u32,
}

/// One worker's right to chunks of a umem.
pub struct View {
    umem: Arc<Umem>,
    /// By chunk: [`FOREIGN`], [`OWNED`], or the id of the socket whose fill ring it was put into.
    ///
    /// Over all views of a umem, at most one entry for a chunk is not `FOREIGN`, and while a `Chunk` for it
    /// exists, none is. That is what makes the slices below sound.
    holders: Box<[u32]>,
}

impl View {
    /// The memory.
    #[must_use]
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Whether this view may touch a chunk now.
    #[must_use]
    pub fn owns(&self, chunk: u32) -> bool {
        self.holders.get(chunk as usize) == Some(&OWNED)
    }

    /// Chunks that this view owns, ascending.
    pub fn owned(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.umem.chunk_count).filter(|chunk| self.owns(*chunk))
    }

    /// The octets of a chunk.
    ///
    /// # Panics
    /// When this view does not own it: a mistake of the caller, never of a peer or the kernel.
    #[must_use]
    pub fn chunk(&self, chunk: u32) -> &[u8] {
        let start = self.start(chunk);
        // SAFETY: `start` is that of a whole chunk inside the mapping, which `self.umem` keeps alive. The chunk is
        // owned: no other view has it (see `holders`), the kernel does not write to it, and to lend or give
        // it away needs `&mut self`, so not while this slice lives. Mapped memory is initialised.
        unsafe { std::slice::from_raw_parts(start, self.umem.chunk_len as usize) }
    }

    /// The octets of a chunk, to be written.
    ///
    /// # Panics
    /// As for [`View::chunk`].
    #[must_use]
    pub fn chunk_mut(&mut self, chunk: u32) -> &mut [u8] {
        let start = self.start(chunk);
        // SAFETY: as in `chunk`; and `&mut self` makes this the only slice of this view.
        unsafe { std::slice::from_raw_parts_mut(start, self.umem.chunk_len as usize) }
    }

    fn start(&self, chunk: u32) -> *mut u8 {
        assert!(self.owns(chunk), "chunk {chunk} is not owned by this view");
        // SAFETY: an owned chunk is one of `chunk_count`, all of which are inside the mapping.
        unsafe { self.umem.mapping.start().as_ptr().add(self.umem.position(chunk) as usize) }
    }

    /// A new view with the chunks of `chunks`, which this one owns no more.
    ///
    /// # Panics
    /// When one of them is not owned.
    #[must_use]
    pub fn split(&mut self, chunks: impl IntoIterator<Item = u32>) -> View {
        let mut holders = vec![FOREIGN; self.holders.len()].into_boxed_slice();
        for chunk in chunks {
            assert!(self.owns(chunk), "chunk {chunk} is not owned by this view");
            self.holders[chunk as usize] = FOREIGN;
            holders[chunk as usize] = OWNED;
        }
        View { umem: Arc::clone(&self.umem), holders }
    }

    /// Gives a chunk away, to be taken by another view of the same umem.
    ///
    /// # Panics
    /// When it is not owned.
    pub fn give(&mut self, chunk: u32) -> Chunk {
        assert!(self.owns(chunk), "chunk {chunk} is not owned by this view");
        self.holders[chunk as usize] = FOREIGN;
        Chunk { umem: self.umem.id, index: chunk }
    }

    /// Takes a chunk that another view gave away, and says which it is.
    ///
    /// # Panics
    /// When it belongs to another umem.
    pub fn take(&mut self, chunk: Chunk) -> u32 {
        assert_eq!(chunk.umem, self.umem.id, "a chunk of another umem");
        self.holders[chunk.index as usize] = OWNED;
        chunk.index
    }

    /// Marks an owned chunk as lent to the kernel through `socket`.
    pub(crate) fn lend(&mut self, chunk: u32, socket: u32) {
        assert!(self.owns(chunk), "chunk {chunk} is not owned by this view");
        self.holders[chunk as usize] = socket;
    }

    /// Takes a chunk back that was lent through `socket`; false if it was not.
    pub(crate) fn return_from(&mut self, chunk: u32, socket: u32) -> bool {
        match self.holders.get_mut(chunk as usize) {
            Some(holder) if *holder == socket => {
                *holder = OWNED;
                true
            }
            _ => false,
        }
    }

    /// Chunks lent through `socket`, ascending.
    pub(crate) fn lent_to(&self, socket: u32) -> impl Iterator<Item = u32> + '_ {
        let chunks = self.holders.iter().enumerate();
        chunks.filter(move |(_, holder)| **holder == socket).map(|(chunk, _)| chunk as u32)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("umem", &self.umem).field("owned", &self.owned().count()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics(action: impl FnOnce()) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(action)).is_err()
    }

    #[test]
    fn a_chunk_is_written_and_read_by_its_owner() {
        let (umem, mut view) = Umem::new(2048, 4).unwrap();
        view.chunk_mut(3)[2047] = 7;
        assert_eq!(view.chunk(3)[2047], 7);
        assert_eq!((view.chunk(0).len(), umem.frame_limit()), (2048, 1792));
        assert!(panics(|| assert!(view.chunk(4).is_empty())));
    }

    #[test]
    fn a_chunk_has_one_owner() {
        let (_umem, mut first) = Umem::new(2048, 8).unwrap();
        let mut second = first.split([4, 5]);
        assert_eq!(first.owned().collect::<Vec<_>>(), [0, 1, 2, 3, 6, 7]);
        assert_eq!(second.owned().collect::<Vec<_>>(), [4, 5]);
        assert!(panics(|| first.chunk_mut(4)[0] = 1));
        second.chunk_mut(4)[0] = 9;
        let token = second.give(4);
        assert!(panics(|| assert!(second.chunk(4).is_empty())));
        assert_eq!(first.take(token), 4);
        assert_eq!(first.chunk(4)[0], 9);
        assert!(panics(|| drop(first.split([5]))));
    }

    #[test]
    fn a_lent_chunk_comes_back_only_from_where_it_was_lent() {
        let (_umem, mut view) = Umem::new(2048, 4).unwrap();
        view.lend(1, 77);
        assert!(panics(|| assert!(view.chunk(1).is_empty())));
        assert!(panics(|| view.lend(1, 77)), "not lent twice");
        assert!(!view.return_from(1, 78) && !view.return_from(2, 77) && !view.return_from(99, 77));
        assert_eq!(view.lent_to(77).collect::<Vec<_>>(), [1]);
        assert!(view.return_from(1, 77) && view.owns(1) && !view.return_from(1, 77));
    }

    #[test]
    fn chunks_of_another_umem_are_refused() {
        let (_a, mut a) = Umem::new(2048, 2).unwrap();
        let (_b, mut b) = Umem::new(2048, 2).unwrap();
        let token = a.give(0);
        assert!(panics(|| assert_eq!(b.take(token), 99)));
    }

    #[test]
    fn lengths_the_kernel_refuses_are_refused_here() {
        assert!(Umem::new(1024, 4).is_err() && Umem::new(3000, 4).is_err() && Umem::new(2048, 0).is_err());
    }
}
