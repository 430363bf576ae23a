"""Segments that the gateway makes, over a link that loses one in five: the refusal is read, the session ends, nothing stays."""

import contextlib
import json
import threading
import time

import pytest
from conftest import PLAIN
from netlab.clients import Step, code
from policies import RULES

pytestmark = pytest.mark.decides

#: Of a hundred frames, so many are lost each way, at the client's end and at the server's. What the gateway makes goes to the client. (With one in
#: five at both, TCP itself doubles its timers beyond any bound of a test.)
LOSS, SERVER_LOSS = 20, 3
#: Sessions of each kind, all at once.
SESSIONS = 16
#: What a refused session may take to its end (seconds): the client's own segments are lost too, and TCP waits longer each time.
BOUND = 75.0
#: After the end, the gateway answers late segments for a minute, as a closed connection of Linux does (TIME-WAIT).
FAREWELL = 75.0


@contextlib.contextmanager
def bad_links(network):
    """Loss on everything of SMTP, both ways, at both ends."""
    rules = [(network.client, f"arriving tcp sport 25 numgen random mod 100 < {LOSS} drop"),
             (network.client, f"leaving tcp dport 25 numgen random mod 100 < {LOSS} drop"),
             (network.server, f"arriving tcp dport 25 numgen random mod 100 < {SERVER_LOSS} drop"),
             (network.server, f"leaving tcp sport 25 numgen random mod 100 < {SERVER_LOSS} drop")]
    stops = [network.lose(namespace, rule) for namespace, rule in rules]
    try:
        yield
    finally:
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
    step.say("EHLO client.example")
    return step.say("MAIL FROM:<x@spam.example>")


def pipelined(step):
    """Refused in the middle of what was said at once. The reply before it is waited for, but not for ever."""
    step.say("EHLO client.example")
    step.send("NOOP\r\nMAIL FROM:<x@spam.example>\r\nRCPT TO:<bob@lab.example>\r\nDATA\r\n")
    first = code(step.read_reply())
    return code(step.read_reply()) if first == 250 else first


def in_content(step):
    """Refused for its content, at its end, after all of it was swallowed."""
    return step.mail(b"Subject: a\r\n\r\n" + b"Project Nightjar\r\n" + b"x" * 70 + b"\r\n" + b"more text\r\n" * 500)


def test_a_refused_client_always_reads_why(network, plain, gate):
    """The links go bad when all sessions have begun: a handshake that takes longer than half a minute is given up, as a policy says
    (`tcp synwait-time`), and that is not what is looked at here."""
    middle = gate(RULES, fresh=True)
    took, wrong = [], []
    kinds = [refused for refused in (in_command, pipelined, in_content) for _ in range(SESSIONS)]
    begun, go = threading.Barrier(len(kinds) + 1, timeout=60), threading.Event()

    def session(number, refused):
        with Step(network.client, PLAIN[number % 2], timeout=BOUND) as step:
            step.read_reply()
            begun.wait()
            go.wait()
            began = time.monotonic()
            try:
                told = refused(step)
                ended = step.read_to_end(BOUND)
            except OSError as error:
                told, ended = 0, repr(error)
            took.append(time.monotonic() - began)
            if told != 554 or ended != "closed":
                wrong.append((refused.__name__, step.name, told, ended, f"{took[-1]:.1f} s", step.transcript[-2:]))

    threads = [threading.Thread(target=session, args=pair) for pair in enumerate(kinds)]
    for thread in threads:
        thread.start()
    begun.wait()
    with bad_links(network):
        go.set()
        for thread in threads:
            thread.join()
    assert not wrong, f"{len(wrong)} of {len(threads)}: {wrong[:5]}"
    assert len(took) == len(kinds) and max(took) < BOUND, f"the slowest took {max(took):.1f} s"
    for connection in plain.connections:
        assert b"spam.example>\r\n" not in bytes(connection.received) and not connection.messages
    left = empty_after(middle, FAREWELL)
    assert not left, f"{len(left)} sessions are remembered: {left[:2]}"


def test_the_links_do_lose(network, plain, gate):
    """The test above would pass on good links too: here the same ends send octets again."""
    gate(RULES)

    def resent():
        counts = network.client.run(["nstat", "-asz", "TcpRetransSegs"]).stdout.split()
        return int(counts[counts.index("TcpRetransSegs") + 1])

    before = resent()
    with Step(network.client, PLAIN[0], timeout=BOUND) as step, bad_links(network):
        step.read_reply()
        for _ in range(20):
            assert step.say("NOOP") == 250
    assert resent() > before
