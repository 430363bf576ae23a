//! What the gateway tells about its policy, its interfaces and its classes, as JSON; [`crate::show`] makes tables of it.

use artifact::model::{Form, InspectParameters, Mode, Path, Policy, Thresholds, TopAction, TopClass};
use artifact::smtp::{Base, SmtpPolicy, Terminal};
use inspect::engine::level::RATE_SECONDS;
use serde_json::{Value, json};

use crate::board::{Board, Census, Headcount, Sums};
use crate::edition::{Edition, Editions, TopRow};
use crate::journal::json::timestamp;
use crate::tally::SessionCount;

/// `zone` or `classic`.
#[must_use]
pub fn form_word(policy: &Policy) -> &'static str {
    match policy.form {
        Form::Zone => "zone",
        Form::Classic => "classic",
    }
}

/// The policy in force: where it comes from and what it is made of.
#[must_use]
pub fn policy(board: &Board) -> Value {
    let editions = board.editions();
    let edition = editions.current();
    let policy = &edition.policy;
    let since = edition.since.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let older: Vec<_> = editions.all().filter(|other| other.generation != edition.generation).collect();
    json!({
        "source": policy.source.name,
        "digest": edition.digest,
        "generation": edition.generation,
        "since": timestamp(u64::try_from(since).unwrap_or(u64::MAX)),
        "older_in_use": older.iter().map(|other| json!({
            "generation": other.generation, "source": other.policy.source.name, "digest": other.digest,
        })).collect::<Vec<_>>(),
        "form": form_word(policy),
        "smtp_ports": policy.smtp_ports,
        "parameters": policy.parameters.iter().map(parameters).collect::<Vec<_>>(),
        "ports": policy.ports.iter().map(|port| json!({
            "name": port.name, "interfaces": port.interfaces,
            "inbound": rule(policy, &port.name, |path| path.source),
            "outgoing": rule(policy, &port.name, |path| path.destination),
        })).collect::<Vec<_>>(),
        "inspection": policy.smtp.iter().map(|smtp| inspection(policy, smtp)).collect::<Vec<_>>(),
        "zone_pairs": policy.paths.iter().map(|path| json!({
            "zone_pair": path.zone_pair, "policy": path.policy,
            "source": port_name(policy, path.source), "destination": port_name(policy, path.destination),
            "classes": path.classes.iter().map(|class| class_words(policy, class)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn port_name(policy: &Policy, port: Option<u16>) -> Option<&str> {
    policy.ports.get(usize::from(port?)).map(|port| port.name.as_str())
}

/// Names of the rules on one side of a port.
fn rule(policy: &Policy, port: &str, side: impl Fn(&Path) -> Option<u16>) -> Vec<String> {
    let on_it = |path: &&Path| port_name(policy, side(path)) == Some(port);
    policy.paths.iter().filter(on_it).map(|path| path.policy.clone()).collect()
}

fn parameters(parameters: &InspectParameters) -> Value {
    let pair = |pair: Option<Thresholds>| pair.map(|pair| json!([pair.low, pair.high]));
    json!({
        "name": parameters.name, "alert": parameters.alert, "audit_trail": parameters.audit_trail,
        "tcp_idle_time": parameters.tcp_idle_time, "tcp_synwait_time": parameters.tcp_synwait_time,
        "tcp_finwait_time": parameters.tcp_finwait_time, "udp_idle_time": parameters.udp_idle_time,
        "icmp_idle_time": parameters.icmp_idle_time, "one_minute": pair(parameters.one_minute),
        "max_incomplete": pair(parameters.max_incomplete), "sessions_maximum": parameters.sessions_maximum,
        "max_incomplete_host": parameters.max_incomplete_host.map(|(count, _)| count),
        "block_minutes": parameters.max_incomplete_host.map(|(_, minutes)| minutes),
    })
}

/// An SMTP policy as `show ip inspect config` sums it up. The timeout is that of the class that uses it.
fn inspection(policy: &Policy, smtp: &SmtpPolicy) -> Value {
    let uses = |class: &&TopClass| match class.action {
        TopAction::Inspect { smtp: Some(index), .. } => {
            policy.smtp.get(usize::from(index)).is_some_and(|used| used.name == smtp.name)
        }
        _ => false,
    };
    let user = policy.paths.iter().flat_map(|path| &path.classes).find(uses);
    let used = user.and_then(|class| match class.action {
        TopAction::Inspect { parameters, .. } => policy.parameters.get(usize::from(parameters)),
        _ => None,
    });
    let protocol = match smtp.base {
        Base::None | Base::Smtp => "smtp",
        Base::Esmtp => "esmtp",
    };
    json!({
        "name": smtp.name, "protocol": protocol, "max_data": smtp.max_data, "alert": smtp.alert,
        "audit_trail": smtp.audit_trail, "timeout": used.map(|used| used.tcp_idle_time),
    })
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Any => "match-any",
        Mode::All => "match-all",
    }
}

/// A top-level class, as far as the policy alone says it.
fn class_words(policy: &Policy, class: &TopClass) -> Value {
    let (action, log, smtp) = match class.action {
        TopAction::Inspect { smtp, .. } => ("inspect", false, smtp),
        TopAction::Pass { log } => ("pass", log, None),
        TopAction::Drop { log } => ("drop", log, None),
    };
    let smtp = smtp.and_then(|index| policy.smtp.get(usize::from(index)));
    json!({
        "class": class.name, "mode": mode_word(class.mode), "matches": class.matches, "action": action, "log": log,
        "implicit": class.line == 0, "smtp": smtp.map(smtp_words),
    })
}

fn smtp_words(smtp: &SmtpPolicy) -> Value {
    let classes = smtp.classes.iter().map(|class| {
        let criteria = class.criteria.iter().filter_map(|index| smtp.criteria.get(usize::from(*index)));
        let text = |negated: bool, text: &str| {
            if negated && !text.starts_with("not ") { format!("not {text}") } else { text.to_owned() }
        };
        let terminal = class.terminal.map(|terminal| match terminal {
            Terminal::Allow => "allow",
            Terminal::Mask => "mask",
            Terminal::Reset => "reset",
        });
        json!({
            "class": class.name, "mode": mode_word(class.mode), "log": class.log, "action": terminal,
            "matches": criteria.map(|it| text(it.negated, &it.text)).collect::<Vec<_>>(),
        })
    });
    json!({"policy": smtp.name, "classes": classes.collect::<Vec<_>>()})
}

/// The two ports: what they are bound to, what inspects what enters and leaves, what they carried.
#[must_use]
pub fn interfaces(board: &Board) -> Value {
    let edition = board.edition();
    let policy = &edition.policy;
    let statistics = crate::statistics::everything(board);
    let facts = board.port_facts();
    let ports = (0..2).map(|port| {
        let name = &board.port_names[port];
        let mut told = statistics["ports"][port].clone();
        let facts = &facts[port];
        told["driver"] = json!(facts.driver);
        told["mtu"] = json!(facts.mtu);
        told["mode"] = json!(facts.mode);
        told["zero_copy"] = json!(facts.zero_copy);
        told["inbound"] = json!(rule(policy, name, |path| path.source));
        told["outgoing"] = json!(rule(policy, name, |path| path.destination));
        let side = if port == 0 { "a" } else { "b" };
        for row in ["frames_received", "bytes_received", "frames_transmitted", "bytes_transmitted"] {
            told[row] = statistics["counters"][format!("{row}_{side}")].clone();
        }
        told
    });
    json!({"form": form_word(policy), "ports": ports.collect::<Vec<_>>()})
}

/// Every zone-pair with its classes and what they counted. `census` are the sessions there are now, when every worker
/// could say; `partial` when not.
#[must_use]
pub fn zone_pairs(board: &Board, census: &Headcount, partial: bool) -> Value {
    let editions = board.editions();
    let edition = editions.current();
    let policy = &edition.policy;
    let workers = board.workers();
    let sums = Sums::of(&workers, &editions);
    let now = board.origin.elapsed().as_nanos() as u64;
    let pairs = policy.paths.iter().map(|path| {
        let classes = path.classes.iter().map(|class| {
            let mut told = class_words(policy, class);
            let row = TopRow { zone_pair: path.zone_pair.clone(), class: class.name.clone() };
            let row = editions.tops.iter().position(|known| *known == row).unwrap_or(usize::MAX);
            if matches!(class.action, TopAction::Inspect { .. }) {
                let count = sums.tally.sessions().get(row).copied().unwrap_or_default();
                let live = census.classes.get(row).copied().unwrap_or_default();
                counted(&mut told, &count, &live, now);
                hits(&mut told, path, &sums, &editions);
            } else {
                // What the kernel decided, and what a worker did because it had to look closer.
                let [packets, bytes] = census.classes.get(row).copied().unwrap_or_default().level.decided;
                let [kernel_packets, kernel_bytes] = board.kernel_class(row);
                told["packets"] = json!(packets + kernel_packets);
                told["bytes"] = json!(bytes + kernel_bytes);
            }
            told
        });
        json!({
            "zone_pair": path.zone_pair, "policy": path.policy,
            "source": port_name(policy, path.source), "destination": port_name(policy, path.destination),
            "classes": classes.collect::<Vec<_>>(),
            "uninspected": uninspected(board, edition, path),
        })
    });
    let counters = &sums.counters;
    json!({
        "form": form_word(policy), "partial": partial, "zone_pairs": pairs.collect::<Vec<_>>(),
        "reassembly": {
            "out_of_order": counters.out_of_order_segments,
            "dropped": counters.anomalies[inspect::anomaly::Anomaly::OutOfOrderOverflow as usize],
            "retransmitted": counters.retransmitted_segments,
            "memory_bytes": census.waiting[0], "peak_memory_bytes": census.waiting[1], "peak_queue_length": census.waiting[2],
        },
    })
}

fn counted(told: &mut Value, count: &SessionCount, live: &Census, now: u64) {
    told["packets"] = json!(count.packets + live.packets);
    told["bytes"] = json!(count.bytes + live.bytes);
    told["created"] = json!(count.created);
    told["established"] = json!(live.established);
    told["half_open"] = json!(live.half_open);
    told["terminating"] = json!(live.terminating);
    let [half_open, established, terminating] = live.level.most;
    told["max_established"] = json!(established);
    told["max_half_open"] = json!(half_open);
    told["max_terminating"] = json!(terminating);
    told["creation_rate"] = json!(live.level.begun);
    told["max_creation_rate"] = json!(live.level.most_begun);
    told["bits_per_second"] = json!(live.level.octets * 8 / RATE_SECONDS);
    let ago = (count.created > 0).then(|| now.saturating_sub(count.last_created) / 1_000_000_000);
    told["last_created_seconds_ago"] = json!(ago);
}

/// Adds the decisions of each class of the SMTP policy, by action.
fn hits(told: &mut Value, path: &Path, sums: &Sums, editions: &Editions) {
    let Some(policy) = told["smtp"]["policy"].as_str().map(str::to_owned) else { return };
    let Some(classes) = told["smtp"]["classes"].as_array_mut() else { return };
    for class in classes {
        let name = class["class"].as_str().unwrap_or_default().to_owned();
        let of_class = sums
            .tally
            .classes(editions)
            .filter(|(row, ..)| row.zone_pair == path.zone_pair && row.policy == policy && row.class == name);
        let hits: serde_json::Map<_, _> =
            of_class.map(|(_, action, count)| (action.word().to_owned(), count.into())).collect();
        class["hits"] = hits.into();
    }
}

/// What the kernel let through or dropped of what enters by the zone-pair's source: it knows no classes. `None` where
/// the source is not one of the gateway's ports.
fn uninspected(board: &Board, edition: &Edition, path: &Path) -> Option<Value> {
    let source = port_name(&edition.policy, path.source)?;
    let port = board.port_names.iter().position(|name| name == source)?;
    let kernel = board.kernel();
    let of = |wanted: &str| {
        let row = kernel[port].iter().find(|(fate, ..)| *fate == wanted);
        row.map_or([0, 0], |(_, frames, octets)| [*frames, *octets])
    };
    let ([bridged, bridged_bytes], [dropped, dropped_bytes]) = (of("bridged"), of("dropped_policy"));
    Some(json!({
        "port": source, "bridged": bridged, "bridged_bytes": bridged_bytes,
        "dropped": dropped, "dropped_bytes": dropped_bytes,
    }))
}
