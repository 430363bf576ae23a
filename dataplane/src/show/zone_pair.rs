//! `show zone-pair`: what `show policy-map type inspect zone-pair` prints, and of it what the gateway knows.

use serde_json::Value;

use super::{array, class_heading, clock, line, number, text};

/// Every zone-pair, or the one with a name.
#[must_use]
pub fn zone_pairs(answer: &Value, name: Option<&str>) -> String {
    let mut out = String::new();
    for pair in array(&answer["zone_pairs"]) {
        let zone_pair = text(&pair["zone_pair"]);
        if name.is_some_and(|name| name != zone_pair) {
            continue;
        }
        line(&mut out, &format!("policy exists on zp {zone_pair}"));
        line(&mut out, &format!("  Zone-pair: {zone_pair}"));
        line(&mut out, &format!("  Service-policy inspect : {}", text(&pair["policy"])));
        for class in array(&pair["classes"]) {
            class_heading(&mut out, class, "    ");
            if class["action"] == "inspect" {
                inspected(&mut out, class, &answer["reassembly"]);
            } else {
                line(&mut out, &format!("      {}", super::top_action(class)));
                let (packets, bytes) = (number(&class["packets"]), number(&class["bytes"]));
                line(&mut out, &format!("        {packets} packets, {bytes} bytes"));
            }
        }
        let kernel = &pair["uninspected"];
        if kernel.is_object() {
            line(&mut out, &format!("  Not inspected, entering by {} (all classes):", text(&kernel["port"])));
            for what in ["bridged", "dropped"] {
                let (packets, bytes) = (number(&kernel[what]), number(&kernel[format!("{what}_bytes")]));
                line(&mut out, &format!("    {what} {packets} packets, {bytes} bytes"));
            }
        }
    }
    if answer["partial"] == true {
        line(&mut out, "A worker was too busy to count its sessions; those shown are not all");
    }
    out
}

fn inspected(out: &mut String, class: &Value, reassembly: &Value) {
    let of = |name: &str| number(&class[name]);
    line(out, &format!("        {} packets, {} bytes", of("packets"), of("bytes")));
    line(out, &format!("        30 second rate {} bps", of("bits_per_second")));
    line(out, "      Inspect");
    let mut say = |text: String| line(out, &format!("        {text}"));
    // Nothing is switched by a process here.
    say("Packet inspection statistics [process switch:fast switch]".into());
    say(format!("tcp packets: [0:{}]", of("packets")));
    say(format!("Session creations since subsystem startup or last reset {}", of("created")));
    say(format!(
        "Current session counts (estab/half-open/terminating) [{}:{}:{}]",
        of("established"),
        of("half_open"),
        of("terminating")
    ));
    say(format!(
        "Maxever session counts (estab/half-open/terminating) [{}:{}:{}]",
        of("max_established"),
        of("max_half_open"),
        of("max_terminating")
    ));
    let last = class["last_created_seconds_ago"].as_u64().map_or("never".into(), clock);
    say(format!("Last session created {last}"));
    say("Last statistic reset never".into());
    say(format!("Last session creation rate {}", of("creation_rate")));
    say(format!("Maxever session creation rate {}", of("max_creation_rate")));
    say(format!("Last half-open session total {}", of("half_open")));
    say("TCP reassembly statistics (all classes)".into());
    let (received, dropped) = (number(&reassembly["out_of_order"]), number(&reassembly["dropped"]));
    say(format!("received {received} packets out-of-order; dropped {dropped}"));
    let kilobytes = |name: &str| number(&reassembly[name]).div_ceil(1024);
    let (peak, current) = (kilobytes("peak_memory_bytes"), kilobytes("memory_bytes"));
    say(format!("peak memory usage {peak} KB; current usage: {current} KB"));
    say(format!("peak queue length {}", number(&reassembly["peak_queue_length"])));
    let smtp = &class["smtp"];
    if !smtp.is_object() {
        return;
    }
    line(out, &format!("      Service-policy inspect smtp : {}", text(&smtp["policy"])));
    for class in array(&smtp["classes"]) {
        class_heading(out, class, "        ");
        let hits = class["hits"].as_object().into_iter().flatten().filter(|(_, count)| number(count) > 0);
        let hits: Vec<_> = hits.map(|(action, count)| format!("{action} {}", number(count))).collect();
        let hits = if hits.is_empty() { "no hits".to_owned() } else { format!("hits: {}", hits.join(", ")) };
        line(out, &format!("          {}, {hits}", super::smtp_action(class)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_zone_pair_reads_as_show_policy_map() {
        let answer = json!({
            "partial": false,
            "reassembly": {
                "out_of_order": 4, "dropped": 1, "memory_bytes": 0, "peak_memory_bytes": 12_288, "peak_queue_length": 3,
            },
            "zone_pairs": [{
                "zone_pair": "in-out", "policy": "PM",
                "classes": [
                    {
                        "class": "CM", "mode": "match-any", "matches": ["protocol smtp"], "action": "inspect",
                        "packets": 12, "bytes": 384, "created": 30, "established": 10, "half_open": 2,
                        "terminating": 1, "max_established": 12, "max_half_open": 5, "max_terminating": 3,
                        "creation_rate": 6, "max_creation_rate": 9, "bits_per_second": 1024, "last_created_seconds_ago": 60_152,
                        "smtp": {"policy": "rules", "classes": [
                            {"class": "spam", "mode": "match-all", "matches": ["body regex x"], "log": true,
                             "action": "reset", "hits": {"close": 3, "log": 0}},
                        ]},
                    },
                    {"class": "class-default", "mode": "match-any", "matches": ["any"], "action": "drop",
                     "log": false, "implicit": true, "packets": 3, "bytes": 180},
                ],
                "uninspected": {"port": "inside", "bridged": 7, "bridged_bytes": 420, "dropped": 1, "dropped_bytes": 60},
            }],
        });
        let expected = "\
policy exists on zp in-out
  Zone-pair: in-out
  Service-policy inspect : PM
    Class-map: CM (match-any)
      Match: protocol smtp
        12 packets, 384 bytes
        30 second rate 1024 bps
      Inspect
        Packet inspection statistics [process switch:fast switch]
        tcp packets: [0:12]
        Session creations since subsystem startup or last reset 30
        Current session counts (estab/half-open/terminating) [10:2:1]
        Maxever session counts (estab/half-open/terminating) [12:5:3]
        Last session created 16:42:32
        Last statistic reset never
        Last session creation rate 6
        Maxever session creation rate 9
        Last half-open session total 2
        TCP reassembly statistics (all classes)
        received 4 packets out-of-order; dropped 1
        peak memory usage 12 KB; current usage: 0 KB
        peak queue length 3
      Service-policy inspect smtp : rules
        Class-map: spam (match-all)
          Match: body regex x
          Reset and log, hits: close 3
    Class-map: class-default (match-any)
      Match: any
      Drop (default action)
        3 packets, 180 bytes
  Not inspected, entering by inside (all classes):
    bridged 7 packets, 420 bytes
    dropped 1 packets, 60 bytes
";
        assert_eq!(zone_pairs(&answer, None), expected);
        assert_eq!(zone_pairs(&answer, Some("in-out")), expected);
        assert_eq!(zone_pairs(&answer, Some("out-in")), "");
    }
}
