//! The simplest forwarder there is on the `af_xdp` package: what the gateway's forwarding is held against.
//!
//! It receives a burst, reads each frame's headers, gives the descriptor to the other port, and wakes the kernel; where there is
//! nothing it sleeps, as the gateway does. It knows no connection and counts nothing.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use af_xdp::interface::{Interface, Promiscuous};
use af_xdp::{Received, Socket, SocketConfig, Transfer, Umem, View, Wake, wait};
use inspect::unit::PortId;
use postern::port::xdp::attachment::Attachment;
use postern::port::xdp::program::Program;
use postern::port::xdp::{Classification, WantedMode};

/// As the gateway's defaults.
const CHUNKS: u32 = 16_384;
const CHUNK_LEN: u32 = 2048;
const RING_LEN: u32 = 2048;
const BURST: usize = 64;
/// Looks for frames at least so often, to see whether it is to end.
const LIMIT: Duration = Duration::from_millis(100);

/// Forwards between two interfaces until `stop`; `ready` is called when frames flow. What is TCP to or from port 25 comes up here,
/// as it does in the gateway.
///
/// # Errors
/// Without root, when an interface is missing or the kernel refuses.
pub fn run(names: [&str; 2], stop: &AtomicBool, ready: impl FnOnce()) -> io::Result<u64> {
    let [a, b] = names.map(Interface::find);
    let interfaces = [a?, b?];
    let (umem, mut view) = Umem::new(CHUNK_LEN, CHUNKS)?;
    let open = |interface: &Interface, sharing: Option<&Socket>| {
        let (interface, transfer) = (interface.index(), Transfer::Copy);
        Socket::open(&umem, &SocketConfig { interface, queue: 0, transfer, ring_len: RING_LEN }, sharing)
    };
    let first = open(&interfaces[0], None)?;
    let second = open(&interfaces[1], Some(&first))?;
    let mut sockets = [first, second];
    let mut program = Program::load(false)?;
    program.set_policy(&Classification::inspecting(&[25]))?;
    let mut attached = Vec::new();
    for port in PortId::ALL {
        let interface = &interfaces[port.index()];
        program.set_socket(port, 0, &sockets[port.index()])?;
        program.set_port(port, Some(interface.index()))?;
        let attachment =
            Attachment::new(&mut program, interface.name(), interface.index(), WantedMode::Native, None)?;
        attached.push((attachment, Promiscuous::new(interface)?));
    }
    let mut free: Vec<u32> = view.owned().collect();
    let mut forwarded = 0;
    fill(&mut sockets, &mut view, &mut free);
    ready();
    while !stop.load(Ordering::Relaxed) {
        let before = forwarded;
        for side in 0..2 {
            let [one, other] = &mut sockets;
            let (from, to) = if side == 0 { (one, other) } else { (other, one) };
            for _ in 0..BURST {
                let Some(received) = from.receive(&mut view) else { break };
                match received {
                    Received::Frame { chunk, start, len } => {
                        let (start, len) = (start as usize, len as usize);
                        let is_good = is_tcp(&view.chunk(chunk)[start..start + len]);
                        if is_good && to.transmit(&view, chunk, start, len) {
                            forwarded += 1;
                        } else {
                            free.push(chunk);
                        }
                    }
                    Received::Unusable { chunk } => free.push(chunk),
                    Received::Stray => {}
                }
            }
            from.release_receive();
        }
        for socket in &mut sockets {
            if socket.flush() == Wake::Gone {
                return Err(io::Error::other("a port is gone"));
            }
            while let Some(completed) = socket.complete() {
                free.extend(completed.ok());
            }
            socket.release_complete();
        }
        fill(&mut sockets, &mut view, &mut free);
        if forwarded == before {
            wait(sockets.each_ref().map(Some), None, LIMIT)?;
        }
    }
    Ok(forwarded)
}

/// Lends the kernel what it has room for, a burst at a time.
fn fill(sockets: &mut [Socket; 2], view: &mut View, free: &mut Vec<u32>) {
    for socket in sockets {
        if (socket.fill_room() as usize) < BURST {
            continue;
        }
        for _ in 0..socket.fill_room() {
            let Some(chunk) = free.pop() else { break };
            if !socket.fill(view, chunk) {
                free.push(chunk);
                break;
            }
        }
        socket.submit_fill();
    }
}

/// Whether it is a TCP segment over IPv4 with all of its headers.
fn is_tcp(frame: &[u8]) -> bool {
    let Some(ip) = frame.get(14..34) else { return false };
    let header_len = usize::from(ip[0] & 15) * 4;
    let Some(tcp) = frame.get(14 + header_len..14 + header_len + 20) else { return false };
    let is_ip = frame[12..14] == [8, 0] && ip[0] >> 4 == 4 && ip[9] == 6;
    let is_whole = usize::from(tcp[12] >> 4) * 4 >= 20;
    is_ip && is_whole && (tcp[0..2] == [0, 25] || tcp[2..4] == [0, 25])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let mut frame = vec![0; 60];
        (frame[12], frame[14], frame[23], frame[37], frame[46]) = (8, 0x45, 6, 25, 0x50);
        assert!(is_tcp(&frame));
        assert!(!is_tcp(&frame[..50]) && !is_tcp(&[]));
        for (at, octet) in [(12, 9), (14, 0x65), (23, 17), (37, 26), (46, 0x40)] {
            let mut other = frame.clone();
            other[at] = octet;
            assert!(!is_tcp(&other), "{at}");
        }
    }
}
