"""Timeouts and limits of sessions that `parameter-map type inspect` sets: what each end sees, event, syslog line, counter, `show`."""

import contextlib
import time

import pytest
from conftest import PLAIN
from netlab import packets
from netlab.clients import RawClient, Step
from policies import CLASSIC_PORTS, zones

pytestmark = pytest.mark.decides

#: Ports that half-open sessions are opened from.
PORTS = range(45000, 45040)


def limited(*lines):
    """SMTP from outside to inside, followed under these parameters."""
    parameters = "\n".join(["parameter-map type inspect limits", *(f" {line}" for line in lines)])
    return parameters + "\n" + zones().replace("  inspect\n", "  inspect limits\n")


@pytest.fixture
def flood(network):
    """Opens sessions that nobody completes: `flood(3)` sends three SYNs from ports that were not used before."""
    with contextlib.ExitStack() as stack:
        stack.callback(network.lose(network.client, f"leaving tcp sport {PORTS[0]}-{PORTS[-1]} drop"))
        client = stack.enter_context(RawClient(network, PLAIN[0], source_port=PORTS[0]))
        free, used = iter(PORTS), []

        def reset_all():
            for port, seq, ack in used:
                client.me, client.ack = (client.me[0], port), ack
                client.segment(flags=packets.RST | packets.ACK, seq=seq + 1)

        stack.callback(reset_all)

        def open_some(count, answered=True):
            for _ in range(count):
                port = next(free)
                client.me, client.ack = (client.me[0], port), 0
                client.segment(flags=packets.SYN)
                if answered:
                    answer = client.wait(lambda segment: segment.has(packets.SYN))
                    used.append((port, client.seq, (answer.seq + 1) & 0xFFFFFFFF))
            return client

        yield open_some


def ended(said, reason, seconds=8.0):
    """A session ended for this reason: waits for the counter."""
    said.counted("flows", "ended", reason, by=1, seconds=seconds)


def zone_pair(middle, heading):
    """The line of `show zone-pair` that begins so."""
    done = middle.show("zone-pair", "inbound")
    assert done.returncode == 0, done.stderr
    return next(line.strip() for line in done.stdout.splitlines() if line.strip().startswith(heading))


def eventually(question, wanted, seconds=5.0):
    end = time.monotonic() + seconds
    while (answer := question()) != wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert answer == wanted


def test_sessions_maximum(gate, network, plain, words):
    middle = gate(limited("sessions maximum 2", "tcp finwait-time 1"))
    said = words(middle)
    with Step(network.client, PLAIN[0]) as one, Step(network.client, PLAIN[0]) as two:
        assert one.read_reply() and two.read_reply()
        with pytest.raises(TimeoutError):
            Step(network.client, PLAIN[0], timeout=1.5)
        event = said.event(kind="SESSIONS_MAXIMUM", action="drop")
        line = said.line("%FW-4-SESSIONS_MAXIMUM: (target:class)-(inbound:mail):")
        assert line == event["postern"]["message"] and line.endswith("maximum value 2")
        said.counted("sessions", "maximum", by=1)
        assert zone_pair(middle, "Current session counts").endswith("[2:0:0]")
        assert one.say("NOOP") == 250, "those that there are go on"
        one.say("QUIT")
        one.read_to_end()
    # The two leave room.
    eventually(lambda: zone_pair(middle, "Current session counts")[-7:], "[0:0:0]")
    with Step(network.client, PLAIN[0]) as three:
        assert three.read_reply()
        three.say("QUIT")
    assert zone_pair(middle, "Maxever session counts").split("[")[1].startswith("2:")
    assert zone_pair(middle, "Maxever session creation rate") == "Maxever session creation rate 3"


def test_an_idle_session_ends(gate, network, plain, words):
    middle = gate(limited("tcp idle-time 2", "audit-trail on"))
    said = words(middle)
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        assert step.say("EHLO client.example") == 250
        began = time.monotonic()
        assert step.read_to_end() == "reset", "neither end waits for the other for ever"
        assert 1.5 < time.monotonic() - began < 4
    assert plain.connections[0].done.wait(3) and plain.connections[0].ended == "reset"
    ended(said, "idle_timeout")
    event = middle.events.wait_for(lambda event: event["event_type"] == "flow" and event["flow"]["state"] == "closed", said.event_mark)
    assert event["flow"]["reason"] == "idle_timeout"
    start = said.line("%FW-6-SESS_AUDIT_TRAIL_START: ")
    assert f"Start tcp session: initiator ({step_address(step)}) -- responder ({PLAIN[0]}:25)" in start
    stop = said.line("%FW-6-SESS_AUDIT_TRAIL: ")
    received = len(plain.connections[0].received)
    assert f"Stop tcp session: initiator ({step_address(step)}) sent {received} bytes -- responder ({PLAIN[0]}:25) sent " in stop


def step_address(step):
    return f"192.0.2.10:{step.name[1]}"


def test_a_busy_session_is_not_idle(gate, network, plain):
    gate(limited("tcp idle-time 2"))
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        for _ in range(6):
            time.sleep(0.6)
            assert step.say("NOOP") == 250
        assert step.say("QUIT") == 221


def test_a_handshake_that_nobody_completes(gate, network, plain, words, flood):
    middle = gate(limited("tcp synwait-time 1"))
    said = words(middle)
    flood(2)
    assert zone_pair(middle, "Current session counts").endswith("[0:2:0]")
    assert "SIS_OPENING" in middle.show("sessions").stdout
    ended(said, "syn_timeout")
    eventually(lambda: zone_pair(middle, "Current session counts")[-7:], "[0:0:0]")
    assert zone_pair(middle, "Maxever session counts").endswith("[0:2:0]")


def test_a_finished_session_stays_a_moment(gate, network, plain, words):
    middle = gate(limited("tcp finwait-time 2"))
    said = words(middle)
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        assert step.say("QUIT") == 221
        assert step.read_to_end() == "closed"
    assert "SIS_CLOSING" in middle.show("sessions").stdout
    began = time.monotonic()
    ended(said, "finished")
    assert time.monotonic() - began > 1
    assert "No sessions" in middle.show("sessions").stdout


def test_too_many_half_open_sessions(gate, network, plain, words, flood):
    middle = gate(limited("max-incomplete high 4", "max-incomplete low 2"))
    said = words(middle)
    with Step(network.client, PLAIN[0]) as honest:
        honest.read_reply()
        flood(4)
        assert not middle.events.wait_for(lambda event: event.get("postern", {}).get("kind") == "ALERT_ON", said.event_mark, 0.5)
        client = flood(1)
        assert said.line("%FW-4-ALERT_ON: ").endswith("getting aggressive, count (5/4) current 1-min rate: 6")
        ended(said, "evicted")
        assert "calming down, count (2/4)" in said.line("%FW-4-ALERT_OFF: ")
        assert said.event(kind="ALERT_OFF", action="log")["postern"]["zone_pair"] == "inbound"
        assert zone_pair(middle, "Current session counts").endswith("[1:2:0]"), "the oldest went, down to low"
        assert zone_pair(middle, "Last half-open session total") == "Last half-open session total 2"
        assert client.me[1] == PORTS[4]
        assert honest.say("NOOP") == 250, "an established session is none of them"
        honest.say("QUIT")


def test_too_many_new_sessions_a_minute(gate, network, plain, words, flood):
    middle = gate(limited("one-minute high 3", "one-minute low 1"))
    said = words(middle)
    flood(4)
    assert said.line("%FW-4-ALERT_ON: ").endswith("getting aggressive, count (4/unlimited) current 1-min rate: 4")
    ended(said, "evicted")
    assert zone_pair(middle, "Last session creation rate") == "Last session creation rate 4"


def test_too_many_half_open_sessions_to_a_host(gate, network, plain, words, flood):
    middle = gate(limited("tcp max-incomplete host 2"))
    said = words(middle)
    flood(3)
    assert said.line("%FW-4-HOST_TCP_ALERT_ON: ").endswith(f"Max tcp half-open connections (2) exceeded for host {PLAIN[0]}.")
    ended(said, "evicted")
    assert zone_pair(middle, "Current session counts").endswith("[0:2:0]"), "one went for each that came"
    with Step(network.client, PLAIN[1]) as other:
        assert other.read_reply(), "another host is none of its business"
        other.say("QUIT")


def test_a_host_is_blocked(gate, network, plain, words, flood):
    middle = gate(limited("tcp max-incomplete host 2 block-time 1"))
    said = words(middle)
    flood(2)
    flood(1, answered=False)
    assert f"Blocking new TCP connections to host {PLAIN[0]} for 1 minute" in said.line("%FW-2-BLOCK_HOST: ")
    said.event(kind="BLOCK_HOST", action="drop")
    said.counted("host", "blocked", by=1)
    with pytest.raises(TimeoutError):
        Step(network.client, PLAIN[0], timeout=1.2)
    eventually(lambda: zone_pair(middle, "Current session counts")[-7:], "[0:0:0]")
    with Step(network.client, PLAIN[1]) as other:
        assert other.read_reply(), "another host is not blocked"
        other.say("QUIT")


def test_alert_off_is_silent(gate, network, plain, words, flood):
    middle = gate(limited("max-incomplete high 2", "max-incomplete low 1", "alert off"))
    said = words(middle)
    flood(3)
    ended(said, "evicted")
    assert not [line for line in middle.syslog.since(said.syslog_mark) if "ALERT_ON" in line]


def test_the_timeout_of_a_classic_rule(gate, network, plain, words):
    """`ip inspect name ... timeout` is the idle time of the sessions that the rule inspects; `show` says so, and all else of the rule."""
    middle = gate("ip inspect name mail-guard esmtp alert on audit-trail on max-data 1000 timeout 5\n"
                  "interface Ethernet0\n ip inspect mail-guard in\ninterface Ethernet1\n", CLASSIC_PORTS)
    shown = middle.show("policy").stdout
    assert "\n Inspection name mail-guard\n    esmtp max-data 1000 alert is on audit-trail is on timeout 5\n" in shown
    assert "  Inbound inspection rule is mail-guard\n" in shown and "  Outgoing inspection rule is not set\n" in shown
    said = words(middle)
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        began = time.monotonic()
        assert step.read_to_end() == "reset"
        assert 4.5 < time.monotonic() - began < 7
    ended(said, "idle_timeout")


def test_half_open_sessions_of_the_classic_form(gate, network, plain, words, flood):
    middle = gate("ip inspect max-incomplete high 3\nip inspect max-incomplete low 1\nip inspect name mail-guard smtp\n"
                  "interface Ethernet0\n ip inspect mail-guard in\ninterface Ethernet1\n", CLASSIC_PORTS)
    assert "max-incomplete sessions thresholds are [1:3]" in middle.show("policy").stdout
    said = words(middle)
    flood(4)
    assert "%FW-4-ALERT_ON: getting aggressive, count (4/3) current 1-min rate: 4" in said.line("ALERT_ON")
    said.line("%FW-4-ALERT_OFF: calming down, count (1/3)")
