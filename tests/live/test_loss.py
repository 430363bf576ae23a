"""Segments that the gateway makes, over links that lose one in five: the refusal is read, the session ends, nothing stays."""

import json
import threading
import time

import pytest
from conftest import PLAIN
from netlab.clients import Step, code
from policies import RULES

pytestmark = pytest.mark.decides

#: Of a hundred frames, so many are lost, each way at either end.
LOSS = 20
#: Sessions of each kind, all at once.
SESSIONS = 12
#: What a refused session may take, from its connection to its end (seconds): the client's own SYN and its segments are lost too, and TCP
#: waits longer each time.
BOUND = 75.0
#: After the end, the gateway answers late segments for a minute, as a closed connection of Linux does (TIME-WAIT).
FAREWELL = 75.0


@pytest.fixture
def bad_links(network):
    """Loss on everything of SMTP, both ways, at both ends."""
    rules = [(network.client, f"arriving tcp sport 25 numgen random mod 100 < {LOSS} drop"),
             (network.client, f"leaving tcp dport 25 numgen random mod 100 < {LOSS} drop"),
             (network.server, f"arriving tcp dport 25 numgen random mod 100 < {LOSS} drop"),
             (network.server, f"leaving tcp sport 25 numgen random mod 100 < {LOSS} drop")]
    stops = [network.lose(namespace, rule) for namespace, rule in rules]
    yield
    for stop in stops:
        stop()


def sessions(gate):
    shown = gate.show("sessions", "--json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)["sessions"]


def empty_after(gate, seconds):
    """Waits until the gateway remembers no session; returns those that are left."""
    end = time.monotonic() + seconds
    while (left := sessions(gate)) and time.monotonic() < end:
        time.sleep(0.5)
    return left


def in_command(step):
    """Refused for its sender."""
    step.read_reply()
    step.say("EHLO client.example")
    return step.say("MAIL FROM:<x@spam.example>")


def pipelined(step):
    """Refused in the middle of what was said at once."""
    step.read_reply()
    step.say("EHLO client.example")
    step.send("NOOP\r\nMAIL FROM:<x@spam.example>\r\nRCPT TO:<bob@lab.example>\r\nDATA\r\n")
    assert code(step.read_reply()) == 250
    return code(step.read_reply())


def in_content(step):
    """Refused for its content, at its end, after all of it was swallowed."""
    step.read_reply()
    return step.mail(b"Subject: a\r\n\r\n" + b"Project Nightjar\r\n" + b"x" * 70 + b"\r\n" + b"more text\r\n" * 500)


def test_a_refused_client_always_reads_why(network, plain, gate, bad_links):
    middle = gate(RULES, fresh=True)
    took, wrong = [], []

    def session(number, refused):
        began = time.monotonic()
        try:
            with Step(network.client, PLAIN[number % 2], timeout=BOUND) as step:
                told = refused(step)
                ended = step.read_to_end(BOUND)
                if told != 554 or ended != "closed":
                    wrong.append((refused.__name__, number, told, ended))
        except (OSError, AssertionError) as error:
            wrong.append((refused.__name__, number, repr(error)))
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=session, args=(number, refused))
               for refused in (in_command, pipelined, in_content) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, f"{len(wrong)} of {len(threads)}: {wrong[:5]}"
    assert max(took) < BOUND, f"the slowest took {max(took):.1f} s"
    for connection in plain.connections:
        assert b"spam.example>\r\n" not in bytes(connection.received) and not connection.messages
    left = empty_after(middle, FAREWELL)
    assert not left, f"{len(left)} sessions are remembered: {left[:2]}"


def test_the_links_do_lose(network, plain, gate, bad_links):
    """The test above would pass on good links too: here the same ends send octets again."""
    gate(RULES)

    def resent():
        counts = network.client.run(["nstat", "-asz", "TcpRetransSegs"]).stdout.split()
        return int(counts[counts.index("TcpRetransSegs") + 1])

    before = resent()
    with Step(network.client, PLAIN[0], timeout=BOUND) as step:
        step.read_reply()
        for _ in range(20):
            assert step.say("NOOP") == 250
    assert resent() > before
