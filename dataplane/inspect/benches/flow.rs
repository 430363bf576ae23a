//! Nanoseconds per operation of the flow table and the timer wheel, by number of flows, in random order.
#![allow(missing_docs)]

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use inspect::flow::{FlowIndex, FlowKey, Table, Wheel};
use inspect::unit::Instant;
use inspect::wire::{Endpoint, Vlan};

/// About what a flow keeps hot.
type Flow = [u64; 16];

fn key(number: u32) -> FlowKey {
    let client = Endpoint::new(Ipv4Addr::from_bits(0x0a00_0000 | number >> 12).into(), number as u16);
    FlowKey::between(Vlan::default(), &client, &Endpoint::new(Ipv4Addr::LOCALHOST.into(), 25)).0
}

fn filled(count: u32) -> (Table<Flow>, Vec<FlowIndex>) {
    let mut table = Table::new(count as usize + 1, &[7; 16]);
    let indexes = (0..count).map(|number| table.insert(key(number), [0; 16]).expect("room")).collect();
    (table, indexes)
}

/// Visits `0..count` in an order that no prefetcher guesses (a full-period linear congruential generator).
struct Shuffle(u32, u32);

impl Shuffle {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 4) % self.1
    }
}

fn flow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow");
    for count in [1_000, 100_000, 1_000_000] {
        let (mut table, indexes) = filled(count);
        let mut shuffle = Shuffle(1, count);
        group.bench_function(BenchmarkId::new("hash", count), |b| {
            b.iter(|| table.hash(black_box(&key(1))));
        });
        group.bench_function(BenchmarkId::new("lookup and change", count), |b| {
            b.iter(|| {
                let index = table.lookup(&key(shuffle.next())).expect("is there");
                table.get_mut(index).expect("is there")[0] += 1;
            });
        });
        group.bench_function(BenchmarkId::new("lookup in vain", count), |b| {
            b.iter(|| assert!(table.lookup(&key(count + shuffle.next())).is_none()));
        });
        group.bench_function(BenchmarkId::new("insert and remove", count), |b| {
            b.iter(|| {
                let index = table.insert(key(count + shuffle.next()), [0; 16]).expect("room");
                table.remove(index)
            });
        });

        let mut wheel = Wheel::new(count as usize + 1);
        let mut now = 0;
        for &index in &indexes {
            wheel.schedule(index, Instant::from_millis(300_000 + u64::from(shuffle.next()) % 1000));
        }
        group.bench_function(BenchmarkId::new("schedule anew", count), |b| {
            b.iter(|| {
                now += 1;
                wheel.schedule(indexes[shuffle.next() as usize], Instant::from_millis(300_000 + now / 1000));
            });
        });
        group.bench_function(BenchmarkId::new("pop when nothing is due", count), |b| {
            b.iter(|| assert!(wheel.pop(black_box(Instant::from_millis(5))).is_none()));
        });
    }
    group.bench_function("schedule and expire 10,000", |b| {
        let (_, indexes) = filled(10_000);
        let wheel = || {
            let mut wheel = Wheel::new(10_001);
            let mut shuffle = Shuffle(1, 300_000);
            for &index in &indexes {
                wheel.schedule(index, Instant::from_millis(u64::from(shuffle.next())));
            }
            wheel
        };
        b.iter_batched(
            wheel,
            |mut wheel| assert!(wheel.expire(Instant::from_millis(300_000), usize::MAX, |_| ())),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, flow);
criterion_main!(benches);
