//! Frames with VLAN tags, octet by octet through a real wire: the ends are AF_XDP sockets of their own, since a
//! stack without VLAN devices can neither send nor show tags. Needs root; says "skipped" elsewhere.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use af_xdp::interface::Interface;
use af_xdp::{Received, Socket, SocketConfig, Transfer, Umem, View, Wake};
use aya::programs::XdpMode;
use inspect::unit::PortId;
use postern::port::Port;
use postern::port::xdp::classification::{Action, Ingress};
use postern::port::xdp::program::Program;
use postern::port::xdp::{Classification, Gateway, XdpConfig};
use support::{Host, Wire, say};

/// Source address of our frames, which nobody else uses.
const MARK: [u8; 6] = [2, 0, 0, 0, 7, 7];

#[test]
fn role() {
    let Ok(role) = std::env::var(support::ROLE) else { return };
    match role.split_once(' ').unwrap_or((&role, "")) {
        ("gateway", _) => gateway(),
        ("send", frames) => send(frames),
        ("listen", _) => listen(),
        _ => support::play_end(&role),
    }
}

fn gateway() {
    let policy = Classification::inspecting(&[25]);
    let mut gateway = Gateway::open(&XdpConfig::new(["a", "b"]), &policy).expect("gateway");
    let seat = gateway.take_seat(0).expect("a seat");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let worker = std::thread::spawn(move || {
        let postern::worker::Place { mut pool, ports: [mut a, mut b], .. } = seat.open();
        let mut burst = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            a.receive(&mut pool, &mut burst, 64).expect("receive");
            for frame in burst.drain(..) {
                let sealed = pool.seal(frame);
                // Twice at a time: remembered frames are transmitted again while the first copy still waits.
                let again = sealed.share();
                b.transmit(&pool, sealed).expect("room");
                b.transmit(&pool, again).expect("room");
            }
            b.flush(&mut pool).expect("flush");
            std::thread::sleep(Duration::from_micros(100));
        }
        let statistics = b.statistics();
        assert_eq!((statistics.in_flight, statistics.stray), (0, 0), "{statistics:?}");
        statistics.transmitted
    });
    say("ready");
    let mut end = String::new();
    let _ = std::io::stdin().read_line(&mut end);
    stop.store(true, Ordering::Relaxed);
    say(&format!("transmitted {}", worker.join().expect("worker")));
}

fn socket(interface: &Interface) -> (Socket, View) {
    let (umem, view) = Umem::new(4096, 64).expect("umem");
    let config =
        SocketConfig { interface: interface.index(), queue: 0, transfer: Transfer::Copy, ring_len: 64 };
    (Socket::open(&umem, &config, None).expect("socket"), view)
}

/// Transmits frames given in hexadecimal.
fn send(frames: &str) {
    let (mut socket, mut view) = socket(&Interface::find("c0").expect("c0"));
    for (chunk, frame) in frames.split(' ').enumerate() {
        let octets: Vec<u8> = (0..frame.len() / 2)
            .map(|at| u8::from_str_radix(&frame[2 * at..][..2], 16).expect("hexadecimal"))
            .collect();
        view.chunk_mut(chunk as u32)[..octets.len()].copy_from_slice(&octets);
        assert!(socket.transmit(&view, chunk as u32, 0, octets.len()));
    }
    assert!(matches!(socket.flush(), Wake::Done(_)));
    assert!(socket.close(&mut view).is_empty());
    say("sent");
}

/// Says every marked frame that comes to the server until none has come for a while.
fn listen() {
    let interface = Interface::find("s0").expect("s0");
    let (mut socket, mut view) = socket(&interface);
    let mut program = Program::load(false).expect("program");
    let all = || Ingress::uniform(Action::Inspect);
    program.set_policy(&Classification { ingress: [all(), all()] }).expect("policy");
    program.set_port(PortId::A, Some(interface.index())).expect("port");
    program.set_socket(PortId::A, 0, &socket).expect("socket");
    let link = program.attach(interface.index(), XdpMode::Driver).expect("attach");
    for chunk in 0..32 {
        assert!(socket.fill(&mut view, chunk));
    }
    socket.submit_fill();
    say("ready");
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_secs(2) {
        match socket.receive(&mut view) {
            Some(Received::Frame { chunk, start, len }) => {
                let frame = &view.chunk(chunk)[start as usize..][..len as usize];
                if frame[6..12] == MARK {
                    say(&hexadecimal(frame));
                    last = Instant::now();
                }
                socket.fill(&mut view, chunk);
                socket.submit_fill();
            }
            Some(other) => panic!("{other:?}"),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
        socket.release_receive();
    }
    drop(link);
    let lent = socket.close(&mut view);
    assert_eq!((lent.len(), view.owned().count()), (32, 64), "every chunk is back");
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn frame(headers: &[u8], payload_len: usize) -> String {
    let mut frame = [&[2, 0, 0, 0, 8, 8], &MARK[..], headers].concat();
    frame.extend((0..payload_len).map(|at| at as u8));
    hexadecimal(&frame)
}

/// IPv4 and TCP headers for a segment to port 25 with `payload_len` octets.
fn mail(payload_len: usize) -> Vec<u8> {
    let len = (40 + payload_len) as u16;
    let mut headers = vec![0x45, 0];
    headers.extend(len.to_be_bytes());
    headers.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2, 0x9c, 0x40, 0, 25]);
    headers.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    headers
}

#[test]
fn tagged_frames_pass_as_they_are() {
    let Some(wire) = Wire::new("tags") else { return };
    let mut server = wire.start(&Host::Server, "listen");
    let gateway = wire.start(&Host::Gateway, "gateway");
    let tag = |kind: u16, id: u16| [kind.to_be_bytes(), id.to_be_bytes()].concat();
    let v4 = [8, 0];
    let inspected = [
        frame(&[&v4[..], &mail(100)].concat(), 100),
        frame(&[&tag(0x8100, 0x6005)[..], &v4, &mail(1460)].concat(), 1460),
        frame(&[&tag(0x88a8, 100)[..], &tag(0x8100, 0x0fff), &v4, &mail(10)].concat(), 10),
    ];
    let bridged = [
        frame(&[&tag(0x8100, 9)[..], &[0x80, 0x01]].concat(), 46),
        frame(&[&tag(0x88a8, 9)[..], &tag(0x8100, 8), &[0x12, 0x34]].concat(), 46),
    ];
    let dropped =
        [frame(&[&tag(0x8100, 1)[..], &tag(0x8100, 2), &tag(0x8100, 3), &v4, &mail(10)].concat(), 10)];
    let all = [&inspected[..], &bridged, &dropped].concat().join(" ");
    assert_eq!(wire.start(&Host::Client, &format!("send {all}")).first, "sent");

    let mut came: Vec<String> = Vec::new();
    while let Some(line) = Some(server.line()).filter(|line| !line.is_empty()) {
        came.push(line);
    }
    let mut expected: Vec<String> = [&inspected[..], &inspected, &bridged].concat();
    expected.sort();
    came.sort();
    let short = |frames: &[String]| {
        frames.iter().map(|frame| frame[24..48.min(frame.len())].to_owned()).collect::<Vec<_>>()
    };
    assert!(came == expected, "{:#?}, not {:#?}", short(&came), short(&expected));
    assert_eq!(gateway.end(), "transmitted 6");
}
