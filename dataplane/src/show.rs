//! `postern show`: a running gateway's answers as tables. Sessions look as Cisco's `show` commands print them.

use std::fmt::Write;

use serde_json::Value;

use crate::config::{ShowArgs, What};
use crate::control::{Question, Topic, ask};
use crate::failure::Failure;

mod policy;
mod zone_pair;

/// Asks and prints.
///
/// # Errors
/// When no gateway answers; names the socket.
pub fn command(args: &ShowArgs) -> Result<String, Failure> {
    let topics: &[Topic] = match args.what {
        What::Policy => &[Topic::Policy],
        What::Interfaces => &[Topic::Interfaces],
        What::Sessions { .. } => &[Topic::Sessions],
        What::ZonePair { .. } => &[Topic::ZonePairs],
        What::Statistics => &[Topic::Statistics],
        What::All => {
            &[Topic::Policy, Topic::Interfaces, Topic::ZonePairs, Topic::Sessions, Topic::Statistics]
        }
    };
    let mut answers = Vec::new();
    for topic in topics {
        let answer = ask(&args.control, &Question::Show(*topic)).map_err(|error| {
            Failure::Bad(format!("no gateway answers at {}: {error}", args.control.display()))
        })?;
        answers.push((*topic, answer));
    }
    let wanted = match &args.what {
        What::ZonePair { name: Some(name) } => Some(name.as_str()),
        _ => None,
    };
    if let Some(name) = wanted {
        let pairs = &mut answers[0].1["zone_pairs"];
        let all = pairs.as_array_mut().map(std::mem::take).unwrap_or_default();
        let known: Vec<_> = all.iter().map(|pair| format!("`{}`", text(&pair["zone_pair"]))).collect();
        let found: Vec<_> = all.into_iter().filter(|pair| pair["zone_pair"] == name).collect();
        if found.is_empty() {
            let known = known.join(", ");
            return Err(Failure::Bad(format!("the policy has no zone-pair `{name}` (it has {known})")));
        }
        *pairs = found.into();
    }
    if args.json {
        let answer = if args.what == What::All {
            let all = answers.into_iter().map(|(topic, answer)| (name_of(topic).to_owned(), answer));
            Value::Object(all.collect())
        } else {
            answers.pop().map_or(Value::Null, |(_, answer)| answer)
        };
        return Ok(format!("{answer:#}\n"));
    }
    let detail = matches!(args.what, What::All | What::Sessions { detail: Some(_) });
    let tables = answers.iter().map(|(topic, answer)| match topic {
        Topic::Policy => policy::policy(answer),
        Topic::Interfaces => policy::interfaces(answer),
        Topic::ZonePairs => zone_pair::zone_pairs(answer, wanted),
        Topic::Sessions => sessions(answer, detail),
        Topic::Statistics => statistics(answer),
    });
    Ok(tables.collect::<Vec<_>>().join("\n"))
}

/// Its key in the JSON of `show all`.
fn name_of(topic: Topic) -> &'static str {
    match topic {
        Topic::Policy => "policy",
        Topic::Interfaces => "interfaces",
        Topic::Sessions => "sessions",
        Topic::ZonePairs => "zone_pairs",
        Topic::Statistics => "statistics",
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A class and its `match` lines.
fn class_heading(out: &mut String, class: &Value, indent: &str) {
    line(out, &format!("{indent}Class-map: {} ({})", text(&class["class"]), text(&class["mode"])));
    for one in array(&class["matches"]) {
        line(out, &format!("{indent}  Match: {}", text(one)));
    }
}

/// What a top-level class does.
fn top_action(class: &Value) -> String {
    let action = match text(&class["action"]) {
        "inspect" => "Inspect",
        "pass" => "Pass",
        _ => "Drop",
    };
    let log = if class["log"] == true { " log" } else { "" };
    let default = if class["implicit"] == true { " (default action)" } else { "" };
    format!("{action}{log}{default}")
}

/// What a class of an SMTP policy does.
fn smtp_action(class: &Value) -> String {
    let action = match class["action"].as_str() {
        Some("allow") => "Allow",
        Some("mask") => "Mask",
        Some("reset") => "Reset",
        _ => return "Log".into(),
    };
    if class["log"] == true { format!("{action} and log") } else { action.into() }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// An end of a connection: IPv6 in brackets.
fn end(session: &Value, side: &str) -> String {
    let (ip, port) = (text(&session[format!("{side}_ip")]), number(&session[format!("{side}_port")]));
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Sessions by state: half-open, established, terminating.
#[must_use]
pub fn sessions(answer: &Value, detail: bool) -> String {
    let mut out = String::new();
    let all = array(&answer["sessions"]);
    for (state, heading) in [
        ("SIS_OPENING", "Half-open Sessions"),
        ("SIS_OPEN", "Established Sessions"),
        ("SIS_CLOSING", "Terminating Sessions"),
    ] {
        let sessions: Vec<_> = all.iter().filter(|session| session["state"] == state).collect();
        if sessions.is_empty() {
            continue;
        }
        if answer["form"] == "zone" {
            line(&mut out, &format!("Number of {heading} = {}", sessions.len()));
        }
        line(&mut out, heading);
        for session in sessions {
            let (client, server) = (end(session, "src"), end(session, "dest"));
            let (id, protocol) = (number(&session["flow_id"]), text(&session["protocol"]));
            line(&mut out, &format!(" Session {id} ({client})=>({server}) {protocol} {state}"));
            if !detail {
                continue;
            }
            let created = clock(number(&session["created_seconds_ago"]));
            let heard = clock(number(&session["last_heard_seconds_ago"]));
            line(&mut out, &format!("  Created {created}, Last heard {heard}"));
            let (sent, answered) = (number(&session["bytes_toserver"]), number(&session["bytes_toclient"]));
            line(&mut out, &format!("  Bytes sent (initiator:responder) [{sent}:{answered}]"));
            let inspected =
                if session["inspected"] == true || state == "SIS_CLOSING" { "" } else { ", not inspected" };
            let (zone_pair, class, policy) =
                (text(&session["zone_pair"]), text(&session["class"]), text(&session["policy"]));
            line(&mut out, &format!("  Zone-pair {zone_pair}, class {class}, policy {policy}{inspected}"));
        }
    }
    match (all.len(), answer["partial"] == true) {
        (0, false) => line(&mut out, "No sessions"),
        (count, true) => line(&mut out, &format!("{count} sessions shown; there are more")),
        _ => {}
    }
    out
}

/// Counters, those that are zero left out where there are many.
#[must_use]
pub fn statistics(answer: &Value) -> String {
    let mut out = String::new();
    let ready = if answer["ready"] == true { "ready" } else { "not ready" };
    let uptime = clock(number(&answer["uptime"]));
    line(&mut out, &format!("Postern {}, {ready}, up {uptime}", text(&answer["version"])));
    let (source, digest) = (text(&answer["policy"]["source"]), text(&answer["policy"]["digest"]));
    line(&mut out, &format!("Policy {source}, SHA-256 {digest}"));
    for (port, side) in answer["ports"].as_array().into_iter().flatten().zip(["a", "b"]) {
        let mut port = port.clone();
        for row in ["frames_received", "bytes_received", "frames_transmitted", "bytes_transmitted"] {
            port[row] = answer["counters"][format!("{row}_{side}")].clone();
        }
        line(&mut out, &format!("Port {} ({})", text(&port["name"]), text(&port["interface"])));
        traffic(&mut out, &port);
    }
    let per_port = |name: &str| name.ends_with("_a") || name.ends_with("_b");
    table(&mut out, "Counters", &answer["counters"], |name| !per_port(name), true);
    table(&mut out, "Sessions ended", &answer["flows_ended"], |_| true, false);
    table(&mut out, "Pattern matcher", &answer["matcher"], |_| true, true);
    table(&mut out, "Journal", &answer["journal"], |_| true, true);
    table(&mut out, "Anomalies", &answer["anomalies"], |_| true, false);
    table(&mut out, "Signatures", &answer["signatures"], |_| true, false);
    for (heading, rows, labels) in [
        ("Decisions", &answer["decisions"], &["kind", "match", "action"][..]),
        ("Classes", &answer["classes"], &["zone_pair", "policy", "class", "action"]),
    ] {
        let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
        if !rows.is_empty() {
            line(&mut out, heading);
        }
        for row in rows {
            let labels: Vec<_> = labels.iter().map(|label| text(&row[*label])).collect();
            line(&mut out, &format!("  {:<50} {:>12}", labels.join(" "), number(&row["count"])));
        }
    }
    out
}

/// What a port carried.
fn traffic(out: &mut String, port: &Value) {
    let count = |name: &str| number(&port[name]);
    let (frames, octets) = (count("frames_received"), count("bytes_received"));
    line(out, &format!("  received {frames} frames, {octets} bytes; lost {}", count("rx_lost")));
    let (frames, octets) = (count("frames_transmitted"), count("bytes_transmitted"));
    let lost = count("tx_full") + count("tx_refused");
    line(out, &format!("  transmitted {frames} frames, {octets} bytes; lost {lost}"));
    for row in array(&port["kernel"]).iter().filter(|row| number(&row["frames"]) > 0) {
        let fate = text(&row["fate"]).replace('_', " ");
        let (frames, octets) = (number(&row["frames"]), number(&row["bytes"]));
        line(out, &format!("  in the kernel: {fate} {frames} frames, {octets} bytes"));
    }
}

fn table(out: &mut String, heading: &str, rows: &Value, wanted: impl Fn(&str) -> bool, zeros: bool) {
    let rows: Vec<_> = rows
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, count)| wanted(name) && (zeros || number(count) > 0))
        .collect();
    if !rows.is_empty() {
        line(out, heading);
    }
    for (name, count) in rows {
        line(out, &format!("  {name:<50} {:>12}", number(count)));
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn session(id: u64, state: &str) -> Value {
        json!({
            "flow_id": id, "src_ip": "192.0.2.1", "src_port": 40000, "dest_ip": "2001:db8::25", "dest_port": 25,
            "protocol": "smtp", "state": state, "inspected": true, "created_seconds_ago": 3674,
            "last_heard_seconds_ago": 11, "bytes_toserver": 821, "bytes_toclient": 1431,
            "zone_pair": "in-out", "class": "mail", "policy": "mail-rules",
        })
    }

    #[test]
    fn sessions_look_as_ciscos() {
        let answer =
            json!({"partial": false, "sessions": [session(2, "SIS_OPEN"), session(3, "SIS_OPENING")]});
        assert_eq!(
            sessions(&answer, false),
            "Half-open Sessions\n Session 3 (192.0.2.1:40000)=>([2001:db8::25]:25) smtp SIS_OPENING\n\
             Established Sessions\n Session 2 (192.0.2.1:40000)=>([2001:db8::25]:25) smtp SIS_OPEN\n"
        );
        let answer = json!({"form": "zone", "partial": true, "sessions": [session(2, "SIS_CLOSING")]});
        assert_eq!(
            sessions(&answer, true),
            "Number of Terminating Sessions = 1\nTerminating Sessions\n Session 2 (192.0.2.1:40000)=>([2001:db8::25]:25) smtp SIS_CLOSING\n\
             \x20 Created 01:01:14, Last heard 00:00:11\n\
             \x20 Bytes sent (initiator:responder) [821:1431]\n\
             \x20 Zone-pair in-out, class mail, policy mail-rules\n\
             1 sessions shown; there are more\n"
        );
        assert_eq!(sessions(&json!({"sessions": [], "partial": false}), false), "No sessions\n");
    }

    #[test]
    fn statistics_are_a_table() {
        let answer = json!({
            "version": "0.1.0", "ready": true, "uptime": 61,
            "policy": {"source": "mail.policy", "digest": "abcd"},
            "ports": [{"name": "inside", "interface": "eth0", "rx_lost": 1, "tx_full": 2, "tx_refused": 3}],
            "counters": {"frames_received_a": 7, "bytes_received_a": 700, "smtp_commands": 5, "dropped_policy": 0},
            "anomalies": {"tcp_urgent": 0, "tcp_bad_flags": 1},
            "signatures": {"3101": 4, "3102": 0},
            "decisions": [{"kind": "SMTP_MATCH", "match": "body", "action": "close", "count": 9}],
            "classes": [],
        });
        let table = statistics(&answer);
        assert!(
            table.starts_with(
                "Postern 0.1.0, ready, up 00:01:01\nPolicy mail.policy, SHA-256 abcd\nPort inside (eth0)\n  received 7 \
                 frames, 700 bytes; lost 1\n  transmitted 0 frames, 0 bytes; lost 5\nCounters\n"
            ),
            "{table}"
        );
        for row in
            ["  smtp_commands                                                 5\n", "  dropped_policy    "]
        {
            assert!(table.contains(row), "{table}");
        }
        assert!(table.contains("Signatures\n  3101   ") && !table.contains("3102"), "{table}");
        assert!(!table.contains("tcp_urgent") && table.contains("tcp_bad_flags"));
        assert!(
            table.ends_with("Decisions\n  SMTP_MATCH body close                                         9\n"),
            "{table}"
        );
    }

    #[test]
    fn nobody_there_names_the_socket() {
        let args = ShowArgs { what: What::Statistics, control: "/nonexistent/postern".into(), json: false };
        let failure = command(&args).unwrap_err();
        assert!(failure.to_string().starts_with("no gateway answers at /nonexistent/postern: "));
        assert_eq!(failure.status(), 1);
    }
}
