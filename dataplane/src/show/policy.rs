//! `show policy` and `show interfaces`. The classic form prints what `show ip inspect config` and `interfaces` do, the zone
//! form what `show zone-pair security` and `show policy-map type inspect` do.

use serde_json::Value;

use super::{array, class_heading, line, number, text};

fn on(value: &Value) -> &'static str {
    if value == true { "on" } else { "off" }
}

/// The policy in force.
#[must_use]
pub fn policy(answer: &Value) -> String {
    let mut out = String::new();
    let (source, digest) = (text(&answer["source"]), text(&answer["digest"]));
    line(&mut out, &format!("Policy {source}, SHA-256 {digest}"));
    let (generation, since) = (number(&answer["generation"]), text(&answer["since"]));
    line(&mut out, &format!("Generation {generation}, in force since {since}"));
    for older in array(&answer["older_in_use"]) {
        let (generation, source) = (number(&older["generation"]), text(&older["source"]));
        line(&mut out, &format!("Sessions still live under generation {generation} ({source})"));
    }
    if answer["form"] == "classic" {
        classic(&mut out, answer);
    } else {
        zones(&mut out, answer);
    }
    out
}

fn thresholds(pair: &Value, unit: &str) -> String {
    match pair.as_array().map(Vec::as_slice) {
        Some([low, high]) => format!("[{}:{}]{unit}", number(low), number(high)),
        _ => "[unlimited]".to_owned() + unit,
    }
}

fn parameters(out: &mut String, it: &Value, indent: &str) {
    let enabled = |value: &Value| if value == true { "enabled" } else { "disabled" };
    let mut say = |text: String| line(out, &format!("{indent}{text}"));
    say(format!("Session audit trail is {}", enabled(&it["audit_trail"])));
    say(format!("Session alert is {}", enabled(&it["alert"])));
    say(format!(
        "one-minute (sampling period) thresholds are {}",
        thresholds(&it["one_minute"], " connections")
    ));
    say(format!("max-incomplete sessions thresholds are {}", thresholds(&it["max_incomplete"], "")));
    match it["max_incomplete_host"].as_u64() {
        Some(count) => say(format!(
            "max-incomplete tcp connections per host is {count}. Block-time {} minute.",
            number(&it["block_minutes"])
        )),
        None => say("max-incomplete tcp connections per host is unlimited.".into()),
    }
    say(format!(
        "tcp synwait-time is {} sec -- tcp finwait-time is {} sec",
        number(&it["tcp_synwait_time"]),
        number(&it["tcp_finwait_time"])
    ));
    say(format!("tcp idle-time is {} sec", number(&it["tcp_idle_time"])));
    say(format!(
        "udp idle-time is {} sec -- icmp idle-time is {} sec",
        number(&it["udp_idle_time"]),
        number(&it["icmp_idle_time"])
    ));
    if let Some(maximum) = it["sessions_maximum"].as_u64() {
        say(format!("sessions maximum is {maximum}"));
    }
}

fn classic(out: &mut String, answer: &Value) {
    parameters(out, &answer["parameters"][0], "");
    line(out, "Inspection Rule Configuration");
    for rule in array(&answer["inspection"]) {
        line(out, &format!(" Inspection name {}", text(&rule["name"])));
        inspection(out, rule);
    }
    line(out, "Interface Configuration");
    for port in array(&answer["ports"]) {
        line(out, &format!(" Interface {}", text(&port["name"])));
        for (heading, rules) in [("Inbound", &port["inbound"]), ("Outgoing", &port["outgoing"])] {
            if array(rules).is_empty() {
                line(out, &format!("  {heading} inspection rule is not set"));
            }
            for name in array(rules) {
                line(out, &format!("  {heading} inspection rule is {}", text(name)));
                for rule in array(&answer["inspection"]).iter().filter(|rule| rule["name"] == *name) {
                    inspection(out, rule);
                }
            }
        }
        // What no rule inspects passes, so a port has no list.
        line(out, "  Inbound access list is not set");
        line(out, "  Outgoing access list is not set");
    }
}

fn inspection(out: &mut String, rule: &Value) {
    let max_data = rule["max_data"].as_u64().map_or(String::new(), |limit| format!(" max-data {limit}"));
    let timeout = rule["timeout"].as_u64().map_or(String::new(), |seconds| format!(" timeout {seconds}"));
    line(
        out,
        &format!(
            "    {}{max_data} alert is {} audit-trail is {}{timeout}",
            text(&rule["protocol"]),
            on(&rule["alert"]),
            on(&rule["audit_trail"])
        ),
    );
}

fn zones(out: &mut String, answer: &Value) {
    for port in array(&answer["ports"]) {
        line(out, &format!("Zone {}", text(&port["name"])));
        for interface in array(&port["interfaces"]) {
            line(out, &format!("  Member interface {}", text(interface)));
        }
    }
    for pair in array(&answer["zone_pairs"]) {
        line(out, &format!("Zone-pair name {}", text(&pair["zone_pair"])));
        let (source, destination) = (text(&pair["source"]), text(&pair["destination"]));
        line(out, &format!("    Source-Zone {source}  Destination-Zone {destination}"));
        line(out, &format!("    service-policy {}", text(&pair["policy"])));
        for class in array(&pair["classes"]) {
            class_heading(out, class, "      ");
            line(out, &format!("        {}", super::top_action(class)));
            let smtp = &class["smtp"];
            if smtp.is_object() {
                line(out, &format!("        Service-policy inspect smtp : {}", text(&smtp["policy"])));
                for class in array(&smtp["classes"]) {
                    class_heading(out, class, "          ");
                    line(out, &format!("            {}", super::smtp_action(class)));
                }
            }
        }
    }
    for it in array(&answer["parameters"]) {
        line(out, &format!("Parameter-map type inspect {}", text(&it["name"])));
        parameters(out, it, "  ");
    }
}

/// The two ports.
#[must_use]
pub fn interfaces(answer: &Value) -> String {
    let mut out = String::new();
    for port in array(&answer["ports"]) {
        line(&mut out, &format!("Interface {} ({})", text(&port["name"]), text(&port["interface"])));
        let mode = match port["mode"].as_str() {
            Some(mode) => {
                let transfer = if port["zero_copy"] == true { "zero-copy" } else { "copy mode" };
                format!("XDP {mode}, {transfer}")
            }
            None => "gone".into(),
        };
        let driver = Some(text(&port["driver"])).filter(|name| !name.is_empty()).unwrap_or("unknown");
        line(&mut out, &format!("  {mode}, MTU {}, driver {driver}", number(&port["mtu"])));
        for (heading, rules) in [("Inbound", &port["inbound"]), ("Outgoing", &port["outgoing"])] {
            let names: Vec<_> = array(rules).iter().map(text).collect();
            let names = if names.is_empty() { "not set".to_owned() } else { names.join(", ") };
            let what = if answer["form"] == "classic" { "inspection rule" } else { "service-policy" };
            line(&mut out, &format!("  {heading} {what} is {names}"));
        }
        super::traffic(&mut out, port);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_classic_form_reads_as_show_ip_inspect() {
        let rule = json!({
            "name": "mail-guard", "protocol": "esmtp", "max_data": 20_000_000, "alert": true, "audit_trail": false,
            "timeout": 30,
        });
        let answer = json!({
            "source": "mail.policy", "digest": "abcd", "generation": 0, "since": "now", "form": "classic",
            "parameters": [{
                "alert": true, "audit_trail": false, "one_minute": [400, 500], "max_incomplete": null,
                "max_incomplete_host": 50, "block_minutes": 0, "tcp_synwait_time": 30, "tcp_finwait_time": 5,
                "tcp_idle_time": 3600, "udp_idle_time": 30, "icmp_idle_time": 10, "sessions_maximum": 9,
            }],
            "inspection": [rule],
            "ports": [{"name": "Ethernet0", "inbound": ["mail-guard"], "outgoing": []}],
        });
        assert_eq!(
            policy(&answer),
            "Policy mail.policy, SHA-256 abcd\nGeneration 0, in force since now\n\
             Session audit trail is disabled\nSession alert is enabled\n\
             one-minute (sampling period) thresholds are [400:500] connections\n\
             max-incomplete sessions thresholds are [unlimited]\n\
             max-incomplete tcp connections per host is 50. Block-time 0 minute.\n\
             tcp synwait-time is 30 sec -- tcp finwait-time is 5 sec\ntcp idle-time is 3600 sec\n\
             udp idle-time is 30 sec -- icmp idle-time is 10 sec\nsessions maximum is 9\n\
             Inspection Rule Configuration\n Inspection name mail-guard\n    \
             esmtp max-data 20000000 alert is on audit-trail is off timeout 30\n\
             Interface Configuration\n Interface Ethernet0\n  Inbound inspection rule is mail-guard\n    \
             esmtp max-data 20000000 alert is on audit-trail is off timeout 30\n  \
             Outgoing inspection rule is not set\n  Inbound access list is not set\n  Outgoing access list is not set\n"
        );
    }
}
