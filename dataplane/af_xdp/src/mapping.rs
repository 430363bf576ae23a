//! A piece of mapped memory that unmaps itself.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use crate::Error;

/// Memory from `mmap`, readable and writable, page-aligned, shared with nobody or with the kernel.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory that stays where it is until `drop`; who may touch which part is the
// business of its two users (`ring`: atomics and slots between cursors; `umem`: `View`).
unsafe impl Send for Mapping {}
// SAFETY: as above; `Mapping` itself hands out only a pointer.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed memory of this process. Huge pages are asked for, and a child process does not get it (a page
    /// pinned by the kernel and copied on write would leave parent and kernel with different pages).
    pub(crate) fn anonymous(len: usize) -> Result<Self, Error> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mapping = Self::map(len, flags, -1, 0, "map memory")?;
        // SAFETY: the range is exactly the mapping just made. Both calls are advice; their failure changes
        // nothing that is relied on.
        unsafe {
            libc::madvise(mapping.start.as_ptr().cast(), len, libc::MADV_HUGEPAGE);
            libc::madvise(mapping.start.as_ptr().cast(), len, libc::MADV_DONTFORK);
        }
        Ok(mapping)
    }

    /// One ring of a socket (`xsk_mmap` in `net/xdp/xsk.c`); `offset` is one of `XDP_*_PGOFF_*`.
    pub(crate) fn ring(socket: BorrowedFd<'_>, len: usize, offset: libc::off_t) -> Result<Self, Error> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Self::map(len, flags, socket.as_raw_fd(), offset, "map ring")
    }

    fn map(len: usize, flags: i32, fd: i32, offset: libc::off_t, step: &'static str) -> Result<Self, Error> {
        // SAFETY: no address is given, so no existing mapping is touched; every argument is checked by
        // the kernel.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset)
        };
        if start == libc::MAP_FAILED {
            return Err(Error::last(step));
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| Error::invalid(step, "mapped at address 0"))?;
        Ok(Self { start, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is a mapping that this value alone owns, and whoever points into it keeps this
        // value alive.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
