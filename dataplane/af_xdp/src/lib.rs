//! AF_XDP sockets on `libc` alone: memory shared with the kernel, four rings, a socket.
//!
//! ```text
//!              Umem: chunks of 2048 or 4096 octets, one mapping, any number of sockets
//!   View (one per worker): which chunks this worker may touch
//!      │ fill: "put frames here"                        ▲ receive: "a frame is here"
//!      ▼                                                │
//!   [Fill ring] ─► kernel ─► copies or DMA ─► kernel ─► [Rx ring]
//!   [Tx ring]   ─► kernel ─► driver        ─► kernel ─► [Completion ring]
//!      ▲ transmit                                       │ complete: "that chunk has left"
//!      │                                                ▼
//! ```
//!
//! Everything here is safe to call. The kernel writes into chunks whenever it likes, so a chunk is either the
//! kernel's or a worker's, and a [`View`] knows which: what it does not own it does not lend out as a slice, and
//! what the rings bring back is checked against it. A kernel (or driver) that hands over a descriptor
//! it should not have gives [`Received::Stray`] or [`Received::Unusable`], which the caller counts.
//!
//! The facts about the kernel are from `net/xdp/xsk.c`, `net/xdp/xsk_queue.h`, `net/xdp/xsk_buff_pool.c` and
//! `include/uapi/linux/if_xdp.h` of Linux 6.18; function names stand beside each. The order in which a socket
//! comes to life is fixed there: `socket`, `XDP_UMEM_REG` (or a shared umem), ring sizes, `mmap` of the
//! rings, `bind`.

mod error;
pub mod interface;
mod mapping;
mod netlink;
pub mod ring;
mod socket;
mod sys;
mod umem;

pub use error::Error;
pub use socket::{Meter, Received, Socket, SocketConfig, Statistics, Stray, Transfer, Wake, wait};
pub use umem::{Chunk, Umem, View};
