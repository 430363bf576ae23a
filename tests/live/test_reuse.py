"""A client uses its port again while the gateway, the server or both still have an older connection between the same ends:
it is connected all the same, within a few SYNs."""

import contextlib
import socket
import struct
import time

import pytest
from netlab import packets
from netlab.clients import Step
from policies import PINHOLE, RULES

pytestmark = pytest.mark.decides

#: What a connect may take; Linux sends the third 3 s after the first.
SYNS = 3
_ports = iter(range(47000, 47100))


@pytest.fixture
def port():
    """One that no other test leaves anything at."""
    return next(_ports)


def reset(step):
    """Ends a connection by RST."""
    step.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    step.close()


@contextlib.contextmanager
def crash(network, port):
    """What the client's kernel forgets in here, nobody hears of."""
    stop = network.lose(network.client, f"leaving tcp sport {port} drop")
    yield
    stop()


def began(network, address, port):
    step = Step(network.client, address, source_port=port)
    step.read_reply()
    step.say("EHLO client.example")
    # The reply is acknowledged by then: else the server would send it again, and learn from that that nobody is there.
    time.sleep(0.1)
    return step


def in_good_order(network, address, port):
    with began(network, address, port) as step:
        assert step.say("QUIT") == 221
        step.read_to_end()


def refused(network, address, port):
    with began(network, address, port) as step:
        assert step.say("MAIL FROM:<offers@spam.example>") == 554
        step.read_to_end()


def by_reset(network, address, port):
    reset(began(network, address, port))


def by_crash(network, address, port):
    step = began(network, address, port)
    with crash(network, port):
        reset(step)


def in_the_middle_of_a_refusal(network, address, port):
    step = began(network, address, port)
    stop = network.lose(network.client, f"arriving tcp dport {port} drop")
    step.send("MAIL FROM:<offers@spam.example>\r\n")
    time.sleep(0.2)
    with crash(network, port):
        reset(step)
    stop()


def given_up(network, address, port, rule):
    """A connect that is given up unanswered."""
    stop = network.lose(*rule)
    with pytest.raises(TimeoutError):
        Step(network.client, address, source_port=port, timeout=0.5)
    stop()


def without_a_syn_at_the_server(network, address, port):
    given_up(network, address, port, (network.server, "arriving tcp dport 25 drop"))


def without_an_answer(network, address, port):
    given_up(network, address, port, (network.client, f"arriving tcp dport {port} drop"))


LEFT = [in_good_order, refused, by_reset, by_crash, in_the_middle_of_a_refusal, without_a_syn_at_the_server, without_an_answer]


@pytest.mark.parametrize("is_restarted", [False, True], ids=["known", "restarted"])
@pytest.mark.parametrize("leave", LEFT, ids=lambda leave: leave.__name__)
def test_a_port_that_is_used_again(network, plain, address, port, gate, ends, leave, is_restarted):
    """`restarted`: the gateway has forgotten the older connection, too, as after an update or a crash."""
    middle = gate(RULES)
    leave(network, address, port)
    settle(gate, middle, RULES, is_restarted)
    connects(network, address, port, ends)


@pytest.mark.parametrize("is_restarted", [False, True], ids=["known", "restarted"])
def test_a_port_of_a_pinhole_that_is_used_again(network, plain, address, port, gate, ends, is_restarted):
    """Of sessions that are not inspected the gateway remembers less."""
    middle = gate(PINHOLE, fresh=True)
    by_crash(network, address, port)
    settle(gate, middle, PINHOLE, is_restarted)
    connects(network, address, port, ends)
    gate.clear()


def settle(gate, middle, rules, is_restarted):
    # What is under way arrives: a client that still waits for an acknowledgement does not use its port again.
    time.sleep(0.3)
    if is_restarted:
        middle.kill()
        gate.clear()
        gate(rules, fresh=True)


def connects(network, address, port, ends):
    began_at = time.monotonic()
    with ends() as seen:
        with Step(network.client, address, source_port=port, timeout=8.0) as step:
            took = time.monotonic() - began_at
            step.read_reply()
            assert step.say("EHLO client.example") == 250
            assert step.say("QUIT") == 221
    syns = [segment for segment in seen.client_capture.segments()
            if segment.source[1] == port and segment.flags & (packets.SYN | packets.ACK) == packets.SYN]
    assert len(syns) <= SYNS, f"{len(syns)} SYNs in {took:.1f} s"
