//! Sockets on the queues of interfaces.

use std::io;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use af_xdp::interface::Interface;
use af_xdp::{Socket, SocketConfig, Transfer, Umem};

use super::XdpConfig;

/// How long a queue or an interface may still be held by a process that just ended: the kernel frees sockets and
/// links in the background (`xp_release_deferred`, `bpf_link_put_deferred`).
const RELEASE_TIME: Duration = Duration::from_secs(2);

/// A socket for each worker and port. Where zero-copy works on one port only, both copy.
pub(super) fn open_all(
    umem: &Arc<Umem>,
    config: &XdpConfig,
    interfaces: [&Interface; 2],
    transfer: Transfer,
) -> io::Result<(Vec<[Socket; 2]>, Transfer)> {
    let attempt = |transfer| -> Result<Vec<[Socket; 2]>, io::Error> {
        let mut sockets: Vec<[Socket; 2]> = Vec::new();
        for queue in 0..config.workers {
            let first = sockets.first().map(|[a, _]| a);
            let a = bind(umem, config, interfaces[0], queue, transfer, first)?;
            let b = bind(umem, config, interfaces[1], queue, transfer, Some(first.unwrap_or(&a)))?;
            sockets.push([a, b]);
        }
        Ok(sockets)
    };
    match attempt(transfer) {
        Err(_) if transfer == Transfer::Auto => Ok((attempt(Transfer::Copy)?, Transfer::Copy)),
        result => Ok((result?, transfer)),
    }
}

/// A socket on one queue, as `config` says.
pub(super) fn bind(
    umem: &Arc<Umem>,
    config: &XdpConfig,
    interface: &Interface,
    queue: u32,
    transfer: Transfer,
    sharing: Option<&Socket>,
) -> io::Result<Socket> {
    let socket = SocketConfig { interface: interface.index(), queue, transfer, ring_len: config.ring_len };
    let opened = patiently(|| Socket::open(umem, &socket, sharing).map_err(io::Error::from));
    opened.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::ResourceBusy => "; another program, perhaps another gateway, has this queue",
            io::ErrorKind::PermissionDenied => {
                "; it takes root, or CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_IPC_LOCK"
            }
            _ => "",
        };
        io::Error::new(error.kind(), format!("port {}, queue {queue}: {error}{hint}", interface.name()))
    })
}

/// Tries again while something is busy, as it is for a moment after its last user ended.
pub(super) fn patiently<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let start = Instant::now();
    loop {
        match action() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && start.elapsed() < RELEASE_TIME => {
                sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// The same kind of error, with what was being done before it.
pub(super) fn explain(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
