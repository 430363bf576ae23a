//! Nanoseconds per frame of parsing, editing and emitting. All in the cache: what the code costs, not the memory.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use inspect::wire::emit::{Outgoing, Template, Toward, emit, emit_len};
use inspect::wire::{Checksums, Flags, Options, Packet, Segment, Timestamps, edit, parse};

/// A pure acknowledgement from 172.17.0.1:54321 to 172.17.0.2:25; its checksums do not matter.
#[rustfmt::skip]
const ACK: [u8; 54] = [
    0x02, 0x42, 0xac, 0x11, 0x00, 0x02, 0x02, 0x42, 0x99, 0x1d, 0x8a, 0x31, 0x08, 0x00,
    0x45, 0x00, 0x00, 0x28, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0x00, 0x00, 0xac, 0x11, 0x00, 0x01, 0xac, 0x11, 0x00, 0x02,
    0xd4, 0x31, 0x00, 0x19, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x60, 0x71, 0x82, 0x50, 0x10, 0x01, 0xf6, 0x00, 0x00, 0x00, 0x00,
];

fn segment_of(frame: &[u8]) -> Segment {
    match parse(frame, Checksums::Trust) {
        Ok(Packet::Tcp(segment)) => segment,
        other => panic!("{other:?}"),
    }
}

/// A frame of 66 octets of headers and `payload_len` of payload.
fn frame(payload_len: usize) -> Vec<u8> {
    let payload = vec![b'm'; payload_len];
    let options = Options { timestamps: Some(Timestamps { value: 1, echo: 2 }), ..Options::default() };
    let outgoing = Outgoing { flags: Flags::ACK, options, payload: &payload, ..Outgoing::default() };
    let template = Template::capture(&ACK, &segment_of(&ACK));
    let mut frame = vec![0; emit_len(&template, &outgoing)];
    emit(&template, Toward::Receiver, &outgoing, &mut frame);
    frame
}

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    for payload_len in [0, 446, 1448] {
        let mut frame = frame(payload_len);
        let mut segment = segment_of(&frame);
        let len = frame.len();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("parse, trust", len), |b| {
            b.iter(|| parse(black_box(&frame), Checksums::Trust));
        });
        group.bench_function(BenchmarkId::new("parse, verify", len), |b| {
            b.iter(|| parse(black_box(&frame), Checksums::Verify));
        });
        group.bench_function(BenchmarkId::new("fix_checksums", len), |b| {
            b.iter(|| edit::fix_checksums(black_box(&mut frame), &segment));
        });
        if payload_len > 0 {
            group.bench_function(BenchmarkId::new("overwrite 8", len), |b| {
                b.iter(|| edit::overwrite(black_box(&mut frame), &segment, 100, b"xxxxxxxx"));
            });
            group.bench_function(BenchmarkId::new("set_ttl", len), |b| {
                b.iter(|| edit::set_ttl(black_box(&mut frame), &mut segment, 64));
            });
        }
    }
    group.throughput(Throughput::Elements(1));
    let template = Template::capture(&ACK, &segment_of(&ACK));
    let payload = b"554 5.7.1 Transaction refused by policy\r\n";
    let outgoing = Outgoing { flags: Flags::ACK, payload, ..Outgoing::default() };
    let mut out = [0; 256];
    group.bench_function("emit a refusal", |b| {
        b.iter(|| emit(black_box(&template), Toward::Sender, black_box(&outgoing), &mut out));
    });
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
