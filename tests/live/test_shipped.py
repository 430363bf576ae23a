"""The shipped policy beside its SMTP rules: what else may pass between the two zones, and in which direction."""

import contextlib
import socket
import time

import field
import pytest
from conftest import PLAIN
from netlab import clients
from netlab.namespaces import CLIENT
from netlab.servers import PlainServer

pytestmark = pytest.mark.decides


@pytest.fixture(autouse=True)
def middle(gate):
    return gate(field.shipped())


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("port", [25, 587])
def test_mail_goes_in(network, family, port):
    message = clients.make_message(700)
    with PlainServer(network.server, PLAIN, port) as server:
        with clients.Step(network.client, PLAIN[family], port) as step:
            step.read_reply()
            assert step.mail(message) == 250 and step.say("QUIT") == 221
        assert server.messages() == [message]


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_mail_goes_out_by_the_same_rules(network, family):
    message = clients.make_message(700)
    with PlainServer(network.client, CLIENT, ehlo=["CHUNKING", "SIZE 1000"]) as server:
        with clients.Step(network.server, CLIENT[family]) as step:
            step.read_reply()
            assert step.mail(message) == 250 and step.say("QUIT") == 221
            assert not any("CHUNKING" in line for _, line in step.transcript)
        assert server.messages() == [message]
        with clients.Step(network.server, CLIENT[family]) as step:
            step.read_reply()
            assert step.mail(b"Subject: x\r\n\r\none\n.\r\ntwo\r\n") == 554
        assert server.messages() == [message]


def answers_once(namespace, address, kind, port):
    """A socket that listens in a namespace."""
    listener = namespace.socket(socket.AF_INET, kind)
    listener.bind((address, port))
    listener.settimeout(3)
    if kind == socket.SOCK_STREAM:
        listener.listen()
    return listener


def test_the_server_asks_for_names(network):
    """UDP and TCP from inside, and the answers to it."""
    with answers_once(network.client, CLIENT[0], socket.SOCK_DGRAM, 53) as names, network.server.socket(kind=socket.SOCK_DGRAM) as asks:
        asks.settimeout(3)
        asks.sendto(b"who?", (CLIENT[0], 53))
        question, whom = names.recvfrom(100)
        names.sendto(b"you", whom)
        assert (question, asks.recv(100)) == (b"who?", b"you")
    with answers_once(network.client, CLIENT[0], socket.SOCK_STREAM, 443) as lists, network.server.socket() as asks:
        asks.settimeout(3)
        asks.connect((CLIENT[0], 443))
        asks.sendall(b"list?")
        peer, _ = lists.accept()
        assert peer.recv(100) == b"list?"
        peer.sendall(b"empty")
        assert asks.recv(100) == b"empty"
        peer.close()


def test_only_who_was_asked_answers(network, words, middle):
    """Over UDP: another port of the same host, and another port at the server, are others. And so before anybody has asked."""
    # What the tests before asked is counted by now: counters are published ten times a second.
    time.sleep(0.5)
    said = words(middle)
    with contextlib.ExitStack() as open_sockets:
        names, other = (
            open_sockets.enter_context(answers_once(network.client, CLIENT[0], socket.SOCK_DGRAM, port)) for port in (53, 54))
        asks, listens = (
            open_sockets.enter_context(answers_once(network.server, PLAIN[0], socket.SOCK_DGRAM, port)) for port in (40053, 40054))
        asks.settimeout(1)
        listens.settimeout(0.3)
        names.sendto(b"early", (PLAIN[0], 40053))
        time.sleep(0.3)
        asks.sendto(b"who?", (CLIENT[0], 53))
        assert names.recv(100) == b"who?"
        other.sendto(b"not asked", (PLAIN[0], 40053))
        names.sendto(b"not there", (PLAIN[0], 40054))
        names.sendto(b"you", (PLAIN[0], 40053))
        assert asks.recv(100) == b"you"
        with pytest.raises(TimeoutError):
            listens.recv(100)
        with pytest.raises(TimeoutError):
            asks.recv(100)
    assert said.counted("exchange_answers", by=1) == 1


def test_only_pings_beside_mail_come_in(network):
    for address in PLAIN:
        assert network.client.run(["ping", "-c1", "-W3", address], check=False).returncode == 0, address
    for kind, port in ((socket.SOCK_STREAM, 8025), (socket.SOCK_STREAM, 465), (socket.SOCK_DGRAM, 53)):
        with answers_once(network.server, PLAIN[0], kind, port) as listener, network.client.socket(kind=kind) as outside:
            outside.settimeout(1)
            listener.settimeout(1)
            with pytest.raises(TimeoutError):
                if kind == socket.SOCK_STREAM:
                    outside.connect((PLAIN[0], port))
                else:
                    outside.sendto(b"who?", (PLAIN[0], port))
                    listener.recvfrom(100)
