"""The gateway dies, or is told to end: nothing uninspected passes, nothing stays behind."""

import time

import pytest
from conftest import PLAIN
from netlab import clients, gateway
from netlab.clients import Step, code, stuffed
from policies import RULES

pytestmark = pytest.mark.decides


def octets_behind(capture, moment):
    """TCP payload toward the server that reached its interface after `moment`."""
    return [segment.payload for segment in capture.segments() if segment.time > moment and segment.destination[1] == 25 and segment.payload]


def test_killed_inside_a_mail(network, plain, gate, address, ends):
    """SIGKILL while a client is inside DATA, `closed` being the default: not one octet more reaches the server."""
    middle = gate(RULES, fresh=True)
    message = stuffed(clients.make_message(400_000))
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
            step.say(line)
        step.send(message[:100_000])
        time.sleep(0.2)
        middle.kill()
        killed = time.time() + 0.05
        time.sleep(0.1)
        step.socket.settimeout(1.0)
        try:
            step.socket.sendall(message[100_000:])
        except OSError:
            pass
        late = network.client.socket()
        late.settimeout(1.5)
        with pytest.raises(TimeoutError):
            late.connect((PLAIN[0], 25))
        late.close()
        time.sleep(1.0)
    assert octets_behind(seen.server_capture, killed) == []
    assert plain.messages() == []
    gate.clear()


def test_after_a_crash_it_starts_again_and_old_sessions_stay_out(network, plain, gate, ends):
    """A session whose beginning the new process never saw is not carried on."""
    middle = gate(RULES, fresh=True)
    with Step(network.client, PLAIN[0]) as old:
        old.read_reply()
        old.say("HELO client.example")
        middle.kill()
        gate.clear()
        gate(RULES, fresh=True)
        with ends() as seen:
            old.send("NOOP still here\r\n")
            time.sleep(1.0)
            with Step(network.client, PLAIN[1]) as new:
                new.read_reply()
                assert new.mail(clients.make_message(1000)) == 250
                new.say("QUIT")
        assert not any(b"still here" in segment.payload for segment in seen.server_capture.segments() if segment.destination[1] == 25)
    assert len(plain.messages()) == 1


def test_sigterm_drains(network, plain, gate):
    """A mail under way is finished; then the process ends with 0 and lets go of the ports."""
    middle = gate(RULES, options=("--drain-seconds", "20"), fresh=True)
    message = clients.make_message(50_000)
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
            step.say(line)
        octets = stuffed(message)
        step.send(octets[:20_000])
        middle.terminate()
        time.sleep(0.5)
        assert middle.program.is_running(), "it left in the middle of a mail"
        step.send(octets[20_000:])
        assert code(step.read_reply()) == 250
        assert step.say("QUIT") == 221
        step.read_to_end()
    assert middle.program.wait(10.0) == 0, middle.program.output()
    assert plain.messages() == [message]
    for interface in ("outside0", "inside0"):
        assert not gateway.xdp_is_attached(network, interface), "an XDP program stayed on the interface"
    assert not any(line for line in network.gateway.ip("-o", "link").stdout.splitlines()
                   if line.split(":")[1].strip().split("@")[0] not in ("lo", "outside0", "inside0")), "an interface was left"
    gate.clear()


def test_sigterm_ends_in_bounded_time_when_a_client_stays(network, plain, gate):
    middle = gate(RULES, options=("--drain-seconds", "1"), fresh=True)
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.say("EHLO client.example")
        middle.terminate()
        assert middle.program.wait(10.0) == 0, middle.program.output()
    gate.clear()


def test_it_starts_ten_times(network, gate):
    """Start and stop leave nothing that a next start would stumble over."""
    for _ in range(10):
        gate(RULES, fresh=True)
        assert gate.clear() == 0


def test_a_link_that_goes_down_and_comes_back(network, plain, gate):
    """As when someone pulls a cable and puts it back."""
    middle = gate(RULES, fresh=True)
    network.client.ip("link", "set", "client0", "down")
    time.sleep(0.5)
    network.client.ip("link", "set", "client0", "up")
    for index, address in enumerate(("192.0.2.10/24", "2001:db8::10/64")):
        network.client.run(["ip", "addr", "replace", address, "dev", "client0", *(["nodad"] if index else [])])
    time.sleep(0.5)
    assert middle.program.is_running(), middle.program.output()
    assert "panicked" not in middle.program.output()
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        assert step.mail(clients.make_message(1000)) == 250
