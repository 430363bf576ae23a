//! Makes frames inside the kernel, faster than any program: `BPF_PROG_TEST_RUN` with live frames.
//!
//! What is made are segments of established TCP connections, 64 of them in turn, each with the next octets. The program that
//! counts sequence numbers up is `bench/network/frames.bpf.c`.

use std::io;
use std::time::{Duration, Instant};

use af_xdp::interface::Interface;
use aya::EbpfLoader;
use aya::maps::Array;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/frames.bpf.o"));

/// Octets of Ethernet, IPv4 and TCP headers.
const HEADERS: usize = 14 + 20 + 20;
/// Octets that the program needs behind them.
const LEAST_PAYLOAD: usize = 6;
/// Connections, a power of two, and the source port of the first.
const CONNECTIONS: u32 = 64;
const FIRST_PORT: u32 = 32_768;
/// Where mail is taken.
const SMTP: u16 = 25;
/// Frames of one call: a few milliseconds.
const CALL: u32 = 8192;
/// Frames that the kernel makes before it sends them.
const BATCH: u32 = 64;

/// Sends frames of `len` octets out of `interface`, as many as it can for `time`, and says how many.
///
/// # Errors
/// Without root; when there is no such interface, or its driver has no receive queue that XDP knows (a veth needs `gro on`).
pub fn run(interface: &str, len: usize, time: Duration) -> io::Result<u64> {
    let index = Interface::find(interface)?.index();
    let frame = frame(len)?;
    let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT).map_err(io::Error::other)?;
    let map = ebpf.take_map("states").ok_or_else(|| io::Error::other("no map `states`"))?;
    let mut states = Array::<_, [u32; 4]>::try_from(map).map_err(io::Error::other)?;
    states.set(0, [0, CONNECTIONS, (len - HEADERS) as u32, FIRST_PORT], 0).map_err(io::Error::other)?;
    let program = ebpf.program_mut("frames").ok_or_else(|| io::Error::other("no program `frames`"))?;
    let program: &mut Xdp = program.try_into().map_err(io::Error::other)?;
    program.load().map_err(io::Error::other)?;
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, len as u32, 0, index, 0, 0].map(u32::to_ne_bytes);
    let start = Instant::now();
    let mut made = 0;
    while start.elapsed() < time {
        let options = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(context.as_flattened()),
            repeat: CALL,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        program.test_run(options).map_err(io::Error::other)?;
        made += u64::from(CALL);
    }
    Ok(made)
}

/// The first frame: from the client to the server of the lab. Its Ethernet addresses are nobody's, so the server drops it as soon
/// as it has it.
fn frame(len: usize) -> io::Result<Vec<u8>> {
    if !(HEADERS + LEAST_PAYLOAD..=1514).contains(&len) {
        return Err(io::Error::other(format!(
            "{len} octets: must be from {} to 1514",
            HEADERS + LEAST_PAYLOAD
        )));
    }
    let mut frame = vec![0_u8; len];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 9, 2, 2, 0, 0, 0, 9, 1, 8, 0]);
    let ip_len = (len - 14) as u16;
    frame[14..34].copy_from_slice(&[0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 10, 192, 0, 2, 25]);
    frame[16..18].copy_from_slice(&ip_len.to_be_bytes());
    let sum = !fold(words(&frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[36..38].copy_from_slice(&SMTP.to_be_bytes());
    // An acknowledgement number, 20 octets of header, ACK, a window.
    frame[42..54].copy_from_slice(&[0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    // Port and sequence number are 0 here, so their complements are ones.
    frame[HEADERS..HEADERS + LEAST_PAYLOAD].fill(0xff);
    let pseudo = words(&frame[26..34]) + 6 + u32::from(ip_len - 20);
    let sum = !fold(pseudo + words(&frame[34..]));
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
    Ok(frame)
}

/// Sum of 16-bit words (RFC 1071).
fn words(octets: &[u8]) -> u32 {
    octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_stays_right_while_the_numbers_move() {
        for len in [60, 61, 1514] {
            let mut frame = frame(len).unwrap();
            for (port, sequence) in [(32_768_u16, 0_u32), (32_831, 6), (40_000, 0xffff_fff0)] {
                // What the program does.
                frame[34..36].copy_from_slice(&port.to_be_bytes());
                frame[54..56].copy_from_slice(&(!port).to_be_bytes());
                frame[38..42].copy_from_slice(&sequence.to_be_bytes());
                frame[56..60].copy_from_slice(&(!sequence).to_be_bytes());
                let pseudo = words(&frame[26..34]) + 6 + (len as u32 - 34);
                assert_eq!(fold(pseudo + words(&frame[34..])), 0xffff, "{len} {port} {sequence}");
                assert_eq!(fold(words(&frame[14..34])), 0xffff);
            }
        }
        assert!(frame(59).is_err() && frame(1515).is_err());
    }
}
