//! Counters as one JSON object: for `show statistics` and `stats` events.

use std::sync::atomic::Ordering;

use artifact::settings::SIGNATURES;
use inspect::anomaly::Anomaly;
use inspect::event::{EndReason, Kind};
use serde_json::{Map, Value, json};

use crate::board::{Board, Sums};
use crate::journal::json::timestamp;
use crate::journal::message::{ANOMALY_SEVERITY, anomaly_mnemonic};

/// What is counted since the start, without names of anything that can be many.
#[must_use]
pub fn counters(board: &Board) -> Value {
    let workers = board.workers();
    let editions = board.editions();
    let sums = Sums::of(&workers, &editions);
    let table = |rows: &mut dyn Iterator<Item = (String, u64)>| -> Value {
        rows.map(|(name, count)| (name, Value::from(count))).collect::<Map<_, _>>().into()
    };
    let lost: u64 = workers.iter().map(|worker| worker.totals.records_lost).sum();
    json!({
        "uptime": board.uptime_seconds(),
        "counters": table(&mut sums.counters.rows().map(|(name, _, count)| (name.to_owned(), count))),
        "flows_ended": table(
            &mut EndReason::ALL.iter().zip(sums.counters.flows_ended).map(|(r, count)| (r.word().to_owned(), count))
        ),
        "anomalies": table(
            &mut Anomaly::ALL.iter().zip(sums.counters.anomalies).map(|(a, count)| (a.label().to_owned(), count))
        ),
        "signatures": table(
            &mut SIGNATURES.iter().zip(sums.counters.signatures).map(|(row, count)| (row.id.to_string(), count))
        ),
        "matcher": {
            "scans": sums.matcher.scans,
            "scanned_bytes": sums.matcher.scanned_bytes,
            "hits": sums.matcher.hits,
            "streams_open": sums.matcher.streams_open,
            "streams_allocated": sums.matcher.streams_allocated,
            "streams_refused": sums.matcher.streams_refused,
        },
        "journal": {
            "events": board.journal.events.load(Ordering::Relaxed),
            "events_lost": board.journal.events_lost.load(Ordering::Relaxed),
            "syslog": board.journal.syslog.load(Ordering::Relaxed),
            "syslog_lost": board.journal.syslog_lost.load(Ordering::Relaxed),
            "records_lost": lost,
        },
    })
}

/// Everything: who this is, what it counted, by what, and the whole list of kinds.
#[must_use]
pub fn everything(board: &Board) -> Value {
    let workers = board.workers();
    let editions = board.editions();
    let sums = Sums::of(&workers, &editions);
    let decisions: Vec<_> = sums
        .tally
        .decisions()
        .filter(|(.., count)| *count > 0)
        .map(|(kind, by, action, count)| {
            json!({"kind": kind.mnemonic(), "match": by.label, "action": action.word(), "count": count})
        })
        .collect();
    let classes: Vec<_> = sums
        .tally
        .classes(&editions)
        .filter(|(.., count)| *count > 0)
        .map(|(row, action, count)| {
            json!({
                "zone_pair": row.zone_pair, "policy": row.policy, "class": row.class,
                "action": action.word(), "count": count,
            })
        })
        .collect();
    let kernel = board.kernel();
    let edition = editions.current();
    let ports: Vec<_> = (0..2)
        .map(|port| {
            let level = |value: fn(&crate::port::Level) -> u64| -> u64 {
                workers.iter().map(|worker| value(&worker.totals.levels[port])).sum()
            };
            let tx_full: u64 = workers.iter().map(|worker| worker.totals.tx_full[port]).sum();
            json!({
                "name": board.port_names[port], "interface": board.interfaces[port],
                "rx_lost": level(|level| level.rx_lost), "tx_refused": level(|level| level.tx_refused),
                "kernel": kernel[port].iter().map(|(fate, frames, octets)| {
                    json!({"fate": fate, "frames": frames, "bytes": octets})
                }).collect::<Vec<_>>(),
                "tx_full": tx_full, "wakeups": level(|level| level.wakeups),
            })
        })
        .collect();
    let per_worker: Vec<_> = workers
        .iter()
        .map(|worker| {
            let totals = &worker.totals;
            json!({
                "busy_seconds": totals.busy_nanos as f64 / 1e9, "seconds": totals.total_nanos as f64 / 1e9,
                "sleeps": totals.sleeps, "chunks": totals.chunks, "chunks_free": totals.chunks_free,
                "handover": {
                    "given": totals.handover.given, "taken": totals.handover.taken,
                    "dropped": totals.handover.dropped, "returned": totals.handover.returned,
                    "wakeups": totals.handover.rung, "surplus": totals.handover.surplus,
                },
            })
        })
        .collect();
    let mut all = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "matcher_library": board.library,
        "started": timestamp(board.epoch),
        "ready": board.is_ready(),
        "policy": {"source": edition.policy.source.name, "digest": edition.digest, "generation": edition.generation},
        "reloads": board.reloads.load(Ordering::Relaxed),
        "reload_failures": board.reload_failures.load(Ordering::Relaxed),
        "ports": ports,
        "decisions": decisions,
        "classes": classes,
        "workers": per_worker,
        "kinds": kinds(),
    });
    if let (Some(all), Value::Object(counters)) = (all.as_object_mut(), counters(board)) {
        all.extend(counters);
    }
    all
}

/// Every `postern.kind` that an event can have, with its severity.
#[must_use]
pub fn kinds() -> Vec<Value> {
    let of_kind = |kind: Kind| json!({"kind": kind.mnemonic(), "severity": kind.severity()});
    let of_anomaly = |anomaly: &Anomaly| json!({"kind": anomaly_mnemonic(*anomaly), "severity": ANOMALY_SEVERITY, "help": anomaly.help()});
    let mut kinds: Vec<_> = Kind::ALL.into_iter().map(of_kind).collect();
    kinds.push(json!({"kind": "DROP_PKT", "severity": 6}));
    kinds.extend(Anomaly::ALL.iter().map(of_anomaly));
    kinds
}
