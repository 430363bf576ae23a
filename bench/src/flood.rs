//! The flow table alone, and what a flood of SYNs costs.

use inspect::flow::{FlowKey, Table};
use inspect::wire::{Endpoint, Vlan};

use crate::flows::{next_frame, session};
use crate::gateway::{CHUNKS, Gateway, Meter, Passed, Subject};
use crate::measure::{Samples, Stopwatch};
use crate::pipeline::{SEED, Scale};
use crate::policy::Rules;
use crate::table::{Reach, Row, Section, grouped};
use crate::traffic::seed::Seed;

/// Lookups of a round.
const LOOKUPS: usize = 1_000_000;
/// Octets of a value, about as many as a lookup of a flow touches.
const VALUE_LEN: usize = 192;
/// Sessions that are established while the flood lasts.
const GUESTS: u64 = 1_000;
/// SYNs of a round, each of an address and port of its own.
const SYNS: u64 = 100_000;
/// Half-open sessions that the policy allows (see [`Rules::Guarded`]).
pub const HIGH: u64 = 500;

/// Nanoseconds for a lookup in a table of this many flows, in random order.
fn lookups(count: usize, scale: Scale) -> Result<Samples, String> {
    let key = |number: u32| {
        let end = |address: u32, port| Endpoint::new(core::net::Ipv4Addr::from_bits(address).into(), port);
        let client = end(0x0a00_0000 + number / 8, 1024 + (number % 60_000) as u16);
        FlowKey::between(Vlan::default(), &client, &end(0xc000_0219, 25)).0
    };
    let mut table = Table::new(count, &[7; 16]);
    for number in 0..count as u32 {
        table.insert(key(number), [number as u8; VALUE_LEN]).map_err(|_| "the table is full".to_owned())?;
    }
    // Keys come from frames, one after the other: they are not what is waited for.
    let mut order = Seed::new(SEED);
    let keys: Vec<_> = (0..LOOKUPS).map(|_| key(order.below(count) as u32)).collect();
    let mut samples = Samples::default();
    for round in 0..=scale.rounds() {
        let mut watch = Stopwatch::default();
        let found: u64 = watch.time(|| {
            let find = |key| {
                table
                    .lookup(key)
                    .and_then(|index| table.get(index))
                    .map_or(0, |value| u64::from(value[9]) + 1)
            };
            keys.iter().map(find).sum()
        });
        if found < LOOKUPS as u64 {
            return Err("a flow was not found".into());
        }
        if round > 0 {
            samples.push(watch.total().as_secs_f64() / LOOKUPS as f64 * 1e9);
        }
    }
    Ok(samples)
}

/// Rows about the table.
///
/// # Errors
/// When a flow is not found.
pub fn table(scale: Scale) -> Result<Section, String> {
    let mut section = Section::new("flow table: a lookup and a look at the flow, in random order");
    let mut first = None;
    for count in [1_000, 100_000, 1_000_000] {
        let samples = lookups(count, scale)?;
        let name = format!("flows: lookup among {}", grouped(count as f64));
        let ratio = samples.median() / *first.get_or_insert(samples.median());
        let detail = format!("{}, {ratio:.1} times that among 1,000", samples.spread());
        let row = Row::new(name, "ns", samples.median(), detail);
        section.rows.push(if count == 1_000_000 { row.reaching(Reach::AtMost(250.0)) } else { row });
    }
    Ok(section)
}

/// Rows about a flood of SYNs: nobody completes a handshake.
///
/// # Errors
/// When something could not be measured at all.
pub fn flood(scale: Scale, meter: Meter) -> Result<Section, String> {
    let mut section = Section::new("SYN flood: every frame opens a session that nobody goes on with");
    let mut gateway = Gateway::new(meter, (CHUNKS.0, 256));
    let mut subject = Subject::new(Rules::Guarded, 65_536)?;
    let (mut watch, mut passed, mut frame) = (Stopwatch::default(), Passed::default(), Vec::new());
    let mut guests: Vec<_> = (0..GUESTS).map(session).collect();
    for guest in &mut guests {
        while let Some(port) = next_frame(guest, &mut frame) {
            gateway.put_or_play((port, &frame), &mut subject, &mut watch, &mut passed)?;
        }
    }
    gateway.play(&mut subject, &mut watch, &mut passed, |_, _| {})?;
    let mut samples = Samples::default();
    let (mut allocations, mut next) = (0, GUESTS);
    for round in 0..=scale.rounds() {
        let mut watch = Stopwatch::default();
        let earlier = passed.allocations;
        for _ in 0..SYNS {
            let mut stranger = session(next);
            next += 1;
            if let Some(port) = next_frame(&mut stranger, &mut frame) {
                gateway.put_or_play((port, &frame), &mut subject, &mut watch, &mut passed)?;
            }
        }
        gateway.play(&mut subject, &mut watch, &mut passed, |_, _| {})?;
        // The first round warms up.
        if round > 0 {
            samples.push(watch.total().as_secs_f64() / SYNS as f64 * 1e9);
            allocations += passed.allocations - earlier;
        }
        let counters = subject.engine.counters();
        if counters.flows_half_open > HIGH + 2 {
            section.faults.push(format!("{} sessions are half-open", counters.flows_half_open));
        }
        if counters.flows_active - counters.flows_half_open != GUESTS {
            section.faults.push("a session that was established is gone".into());
        }
    }
    let detail = format!(
        "{}, {} SYNs, at most {HIGH} half-open, {} established sessions stay, {} allocations",
        samples.spread(),
        grouped((SYNS * samples.len() as u64) as f64),
        grouped(GUESTS as f64),
        grouped(allocations as f64),
    );
    let row = Row::new("flows: SYN of a flood", "ns", samples.median(), detail);
    section.rows.push(row.reaching(Reach::AtMost(2000.0)));
    Ok(section)
}
