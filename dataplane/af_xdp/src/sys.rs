//! The system calls that bring a socket to life.

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use libc::c_int;

use crate::Error;
use crate::mapping::Mapping;
use crate::ring::{Layout, Slot};
use crate::socket::{Socket, SocketConfig, Transfer};
use crate::umem::Umem;

/// An AF_XDP socket.
pub(crate) fn make() -> Result<OwnedFd, Error> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(Error::last("make socket"));
    }
    // SAFETY: a descriptor that was just made and that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives a socket its own registration of the memory (`xdp_umem_reg`).
pub(crate) fn register(fd: BorrowedFd<'_>, umem: &Umem) -> Result<(), Error> {
    let registration = libc::xdp_umem_reg {
        addr: umem.address(),
        len: umem.len(),
        chunk_size: umem.chunk_len(),
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set(fd, libc::XDP_UMEM_REG, &registration, "register umem")
}

/// `xsk_bind`: flags other than `XDP_SHARED_UMEM` are taken from the socket that is shared with.
pub(crate) fn bind(fd: BorrowedFd<'_>, config: &SocketConfig, sharing: Option<&Socket>) -> Result<(), Error> {
    let transfer = match config.transfer {
        Transfer::Auto => 0,
        Transfer::Copy => libc::XDP_COPY,
        Transfer::ZeroCopy => libc::XDP_ZEROCOPY,
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: sharing.map_or(libc::XDP_USE_NEED_WAKEUP | transfer, |_| libc::XDP_SHARED_UMEM),
        sxdp_ifindex: config.interface,
        sxdp_queue_id: config.queue,
        sxdp_shared_umem_fd: sharing.map_or(0, |other| other.as_raw_fd() as u32),
    };
    // SAFETY: address and length of one value on this stack.
    let result = unsafe {
        libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_xdp>() as u32)
    };
    if result == 0 { Ok(()) } else { Err(Error::last("bind")) }
}

/// Maps one ring of a socket; `page` is one of `XDP_*PGOFF_*`.
pub(crate) fn map_ring<T: Slot>(
    fd: BorrowedFd<'_>,
    offset: &libc::xdp_ring_offset,
    len: u32,
    page: u64,
) -> Result<(Arc<Mapping>, Layout), Error> {
    let layout = Layout {
        producer: offset.producer as usize,
        consumer: offset.consumer as usize,
        flags: offset.flags as usize,
        slots: offset.desc as usize,
    };
    let octets = layout.slots + len as usize * size_of::<T>();
    Ok((Arc::new(Mapping::ring(fd, octets, page as libc::off_t)?), layout))
}

/// Sets an option of `SOL_XDP`.
pub(crate) fn set<T>(fd: BorrowedFd<'_>, option: c_int, value: &T, step: &'static str) -> Result<(), Error> {
    // SAFETY: address and length of one value; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(Error::last(step)) }
}

/// Gets an option of `SOL_XDP`. A `T` is one of the kernel's plain structs of integers.
pub(crate) fn get<T: Copy>(fd: BorrowedFd<'_>, option: c_int, step: &'static str) -> Result<T, Error> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as u32;
    // SAFETY: address and length of one value on this stack.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value.as_mut_ptr().cast(), &raw mut len)
    };
    if result != 0 {
        return Err(Error::last(step));
    }
    if (len as usize) < size_of::<T>() {
        return Err(Error::invalid(step, "this kernel is too old (Linux 5.11 or later is needed)"));
    }
    // SAFETY: integers only, so any bits are a value; zeroed and then written by the kernel.
    Ok(unsafe { value.assume_init() })
}
