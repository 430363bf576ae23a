"""What users and scripts rely on: events, syslog, metrics, health, the show commands."""

import contextlib
import ipaddress
import json
import os
import re
import socket
import sys
import time

import pytest
from conftest import PLAIN
from netlab import clients, gateway
from netlab.clients import Step
from policies import CLASSIC, CLASSIC_PORTS, RULES, zones

pytestmark = pytest.mark.decides

EVENT_TYPES = {"alert", "drop", "smtp", "flow", "anomaly", "stats"}
ACTIONS = {"log", "mask", "close", "forward", "drop"}


@pytest.fixture
def busy(gate, network, plain):
    """A gateway that has decided a few things."""
    middle = gate(RULES)
    for sender in ("alice@example.org", "x@spam.example", "carol@noted.example"):
        with Step(network.client, PLAIN[0]) as step:
            step.read_reply()
            step.say("EVIL foo")
            step.mail(clients.make_message(500), sender=sender)
            step.say("QUIT")
    middle.events.wait_for(lambda event: event.get("postern", {}).get("class") == "noted")
    return middle


def test_every_event_keeps_its_promise(busy):
    events = busy.events.all()
    assert events
    for event in events:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:?\d\d)", event["timestamp"]), event
        assert event["event_type"] in EVENT_TYPES
        if event["event_type"] == "stats":
            continue
        own = event["postern"]
        if "src_ip" in event:
            ipaddress.ip_address(event["src_ip"]), ipaddress.ip_address(event["dest_ip"])
            assert event["proto"] and event.get("direction", "to_server") in ("to_server", "to_client")
        if event["event_type"] == "alert":
            assert own["kind"] and 0 <= own["severity"] <= 7 and own["action"] in ACTIONS
            assert len(own.get("value", "")) <= 64
            assert event["flow_id"] and own["zone_pair"] == "inbound" and event["direction"]


def test_events_of_one_session_share_its_id(busy, network, words):
    said = words(busy)
    with Step(network.client, PLAIN[1]) as step:
        step.read_reply()
        step.say("EVIL foo")
        step.say("EVIL bar")
        step.say("QUIT")
    said.counted("mask", by=2)
    mine = [event for event in busy.events.since(said.event_mark) if event.get("src_port") == step.name[1]]
    assert mine and len({event["flow_id"] for event in mine}) == 1


def test_octets_of_a_peer_are_escaped_in_events(busy, network, words):
    said = words(busy)
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.send(b'EVIL "\\\x1b[2J\x00\xff\r\n')
        step.read_reply()
    mine = busy.events.wait_for(lambda event: event.get("src_port") == step.name[1] and event["event_type"] == "alert", said.event_mark)
    assert mine, "nothing was said about it"
    assert all(32 <= ord(character) < 127 for character in mine["postern"]["value"]), mine


def test_metrics(busy):
    metrics = busy.metrics()
    names = metrics.names()
    assert names and all(name.startswith("postern_") or name.startswith("process_") for name in names), names
    for name in names:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        kind = metrics.kinds.get(name) or metrics.kinds.get(base)
        assert kind, f"{name} has no TYPE"
        assert name in metrics.helps or base in metrics.helps, f"{name} has no HELP"
        if kind == "counter":
            assert name.endswith("_total"), name
    for (name, labels), value in metrics.values.items():
        for label, content in labels:
            assert not re.fullmatch(r"\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f]*:[0-9a-f:]*", content), f"an address in {name}: {label}={content}"
        assert value >= 0
    assert metrics.total("postern_policy_info") == 1


def test_counters_never_go_down(busy, network):
    first = busy.metrics()
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.say("QUIT")
    second = busy.metrics()
    for (name, labels), value in first.values.items():
        if name.endswith("_total"):
            assert second.values[(name, labels)] >= value, name


def test_health(busy):
    assert busy.fetch("/healthz")[0] == 200
    assert busy.fetch("/readyz")[0] == 200
    assert busy.fetch("/nothing")[0] == 404


def test_show_sessions(busy, network):
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.say("EHLO client.example")
        done = busy.show("sessions")
        assert done.returncode == 0, done.stderr
        assert f"(192.0.2.10:{step.name[1]})=>({PLAIN[0]}:25)" in done.stdout and "SIS_OPEN" in done.stdout
        as_json = busy.show("sessions", "--json")
        assert as_json.returncode == 0 and str(step.name[1]) in json.dumps(json.loads(as_json.stdout))


def test_show_statistics(busy):
    done = busy.show("statistics")
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    assert json.loads(busy.show("statistics", "--json").stdout)


def test_show_of_classes_that_pass_and_drop(gate, network, plain, words):
    """What the kernel decides is counted for its class, and so is what a worker decides."""
    middle = gate(zones(top="class type inspect web\n pass").replace(
        "policy-map type inspect inbound\n",
        "class-map type inspect web\n match protocol http\npolicy-map type inspect inbound\n").replace("  drop log\n", "  drop\n"))

    def packets():
        classes = json.loads(middle.show("zone-pair", "--json").stdout)["zone_pairs"][0]["classes"]
        return {each["class"]: (each["packets"], each["bytes"]) for each in classes}

    assert packets()["web"] == (0, 0)
    before = packets()["class-default"]
    client = network.client
    for port in (80, 80, 81):
        with contextlib.suppress(OSError), client.socket(socket.AF_INET) as attempt:
            attempt.settimeout(0.3)
            attempt.connect((PLAIN[0], port))
    client.run(["ping", "-c2", "-i0.2", "-W1", PLAIN[0]], check=False)
    end = time.monotonic() + 5
    while packets()["class-default"][0] < before[0] + 3 and time.monotonic() < end:
        time.sleep(0.2)  # the kernel is asked once a second
    web, rest = packets()["web"], packets()["class-default"]
    assert web[0] >= 2 and web[1] >= 2 * 60, web
    assert rest[0] >= before[0] + 3 and rest[1] > before[1], "one SYN and two pings"
    shown = middle.show("zone-pair").stdout
    assert re.search(r"Class-map: class-default \(match-any\)\n      Match: any\n      Drop\n        \d+ packets, \d+ bytes\n", shown), shown


def test_every_show_has_its_json(busy):
    for words in ("policy", "interfaces", "sessions", "sessions detail", "zone-pair", "statistics", "all"):
        done = busy.show(*words.split())
        assert done.returncode == 0 and done.stdout.strip(), (words, done.stderr)
        as_json = busy.show(*words.split(), "--json")
        assert as_json.returncode == 0 and isinstance(json.loads(as_json.stdout), dict), words


def test_a_wrong_question(busy):
    assert busy.show("weather").returncode == 2


def test_syslog_over_udp(gate, network, plain, words):
    said = words(gate(CLASSIC["esmtp"], CLASSIC_PORTS, syslog="udp"))
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.say("EVIL foo")
        step.say("QUIT")
    said.line("SMTP_INVALID_COMMAND")
    raw = next(line for line in gate.current.syslog.lines() if "SMTP_INVALID_COMMAND" in line)
    priority = re.match(r"<(\d{1,3})>", raw)
    assert priority and int(priority[1]) % 8 == 3, raw


def test_the_same_line_in_event_and_syslog(busy, network, words):
    said = words(busy)
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.say("EVIL same")
        step.say("QUIT")
    event = said.event(action="mask", value="EVIL same")
    assert event["postern"]["message"] == said.line("EVIL same")


def test_metrics_of_rules_and_dashboard_exist(busy):
    """Nobody is woken, or left asleep, by a name that is not there. A counter may appear with its first event."""
    sys.path.insert(0, os.path.join(gateway.ROOT, "tests"))
    import deployment

    # Counters are published outside the hot loop, a moment after the events.
    end = time.monotonic() + 5
    while True:
        status, page = busy.fetch("/metrics")
        missing = [name for name in deployment.metric_names() if f"# TYPE {name} " not in page]
        if (status == 200 and not missing) or time.monotonic() > end:
            break
        time.sleep(0.1)
    assert not missing, missing
