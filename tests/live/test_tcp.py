"""What TCP may do to a session on its way: resending, overlapping, losing. A mask is part of the octets forever."""

import threading
import time

import pytest
from conftest import PLAIN
from netlab import clients, packets
from netlab.clients import RawClient, Step, code
from policies import RULES

pytestmark = pytest.mark.decides


@pytest.fixture(autouse=True)
def middle(gate):
    return gate(RULES)


def payloads_at_server(seen, session=0):
    return [segment.payload for who, segment in seen.server[session].segments if who == "C" and segment.payload]


@pytest.mark.parametrize("what", ["arriving tcp dport 25 drop", "leaving tcp sport 25 drop"], ids=["segment-lost", "acknowledgement-lost"])
def test_a_masked_segment_sent_again_is_masked_again(network, plain, address, ends, what):
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        step.say("HELO client.example")
        stop = network.lose(network.server, what)
        step.send("EVIL foo\r\n")
        time.sleep(1.2)
        stop()
        assert code(step.read_reply()) == 500
        step.say("QUIT")
    copies = [payload for payload in payloads_at_server(seen) if len(payload) == 10]
    assert len(copies) >= 2, "the test did not do what it says: it was sent once"
    assert set(copies) == {b"xxxxxxxx\r\n"}
    assert b"EVIL" not in b"".join(payloads_at_server(seen))


def test_sent_again_in_other_pieces(network, plain, ends):
    """The copy covers half of the masked line and what follows it."""
    with ends() as seen:
        stop = network.lose(network.server, "arriving tcp dport 25 tcp flags & psh != 0 drop")
        with RawClient(network, PLAIN[0]) as raw:
            raw.connect()
            start = raw.seq
            raw.send(b"EVIL foo\r\n")
            raw.send(b"NOOP\r\n")
            time.sleep(0.3)
            stop()
            raw.segment(b"L foo\r\nNO", packets.ACK | packets.PSH, seq=start + 3)
            raw.segment(b"EVI", packets.ACK | packets.PSH, seq=start)
            raw.segment(b"EVIL foo\r\nNOOP\r\n", packets.ACK | packets.PSH, seq=start)
            answer = raw.read()
            while answer.count(b"\r\n") < 2:
                answer += raw.read()
    assert plain.connections[0].commands == [b"xxxxxxxx", b"NOOP"]
    assert b"EVIL" not in b"".join(payloads_at_server(seen)) and b"EVI" not in payloads_at_server(seen)
    assert answer.startswith(b"500") and b"\r\n250" in answer


def test_sent_again_with_other_octets(network, plain, middle, ends, words):
    """The first octets win, and the difference is reported."""
    said = words(middle)
    with ends() as seen:
        stop = network.lose(network.server, "arriving tcp dport 25 tcp flags & psh != 0 drop")
        with RawClient(network, PLAIN[0], source_port=45679) as raw:
            raw.connect()
            start = raw.seq
            raw.send(b"NOOP first\r\n")
            time.sleep(0.3)
            stop()
            raw.segment(b"RSET other\r\n", packets.ACK | packets.PSH, seq=start)
            assert raw.read().startswith(b"250")
    assert plain.connections[0].commands == [b"NOOP first"]
    assert set(payloads_at_server(seen)) == {b"NOOP first\r\n"}
    said.event(kind="TCP_INCONSISTENT_RETRANSMISSION")
    said.counted("inconsistent")


def test_out_of_order_segments_wait(network, plain, ends):
    """What follows a hole does not leave before the hole is filled, and is judged with it."""
    with ends() as seen, RawClient(network, PLAIN[0], source_port=45680) as raw:
        raw.connect()
        start = raw.seq
        raw.segment(b"L foo\r\n", packets.ACK | packets.PSH, seq=start + 3)
        time.sleep(0.4)
        at_server = list(_payloads(seen))
        raw.segment(b"EVI", packets.ACK | packets.PSH, seq=start)
        raw.seq = start + 10
        assert raw.read().startswith(b"500")
    assert at_server == [], "octets behind a hole were forwarded"
    assert plain.connections[0].commands[0].endswith(b"xxxxx") and b"EVIL" not in bytes(plain.connections[0].received)


def _payloads(seen):
    return [segment.payload for segment in seen.server_capture.segments() if segment.destination[1] == 25 and segment.payload]


def test_a_middle_of_a_connection_is_not_let_in(network, plain, ends, middle, words):
    """Octets of a connection whose beginning the gateway never saw."""
    said = words(middle)
    with ends() as seen, RawClient(network, PLAIN[0], source_port=45681) as raw:
        raw.ack = 12345
        raw.send(b"MAIL FROM:<alice@example.org>\r\n")
        time.sleep(0.4)
    assert _payloads(seen) == []
    said.counted("drop")


def test_bad_checksums_do_not_pass(network, plain, ends):
    with ends() as seen, RawClient(network, PLAIN[0], source_port=45682) as raw:
        raw.connect()
        frame = bytearray(packets.make_segment(raw.ethernet, raw.me, raw.peer, raw.seq, raw.ack, packets.ACK | packets.PSH, b"NOOP bad\r\n"))
        frame[-3] ^= 1
        raw._socket.send(frame)
        time.sleep(0.3)
        assert _payloads(seen) == []
        raw.send(b"NOOP good\r\n")
        assert raw.read().startswith(b"250")
    assert plain.connections[0].commands == [b"NOOP good"]


def test_every_frame_at_the_server_has_a_right_checksum(network, plain, ends):
    """Rewritten and generated ones included."""
    with ends() as seen:
        for sender in ("alice@example.org", "x@spam.example"):
            with Step(network.client, PLAIN[0]) as step:
                step.read_reply()
                step.say("EVIL foo")
                step.mail(clients.make_message(3000), sender=sender)
                step.read_to_end(2)
    for capture in (seen.client_capture, seen.server_capture):
        wrong = [segment for segment in capture.segments() if not segment.checksum_ok]
        assert not wrong, wrong[:3]


def test_loss_while_many_are_masked(network, plain):
    """Five of a hundred frames lost on both sides, twenty sessions of masked and allowed commands."""
    stops = [network.lose(network.server, "tcp dport 25 numgen random mod 100 < 5 drop"),
             network.lose(network.client, "tcp sport 25 numgen random mod 100 < 5 drop")]
    failures = []

    def session(number):
        try:
            with Step(network.client, PLAIN[number % 2], timeout=60) as step:
                step.read_reply()
                step.say("EHLO client.example")
                for _ in range(20):
                    assert step.say("EVIL foo") == 500
                    assert step.say("NOOP") == 250
                assert step.say("QUIT") == 221
        except (OSError, AssertionError) as error:
            failures.append((number, repr(error)))

    threads = [threading.Thread(target=session, args=(number,)) for number in range(20)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for stop in stops:
            stop()
    assert not failures
    for connection in plain.connections:
        assert connection.commands == [b"EHLO client.example", *[b"xxxxxxxx", b"NOOP"] * 20, b"QUIT"]


def test_a_client_that_never_acknowledges_its_refusal(network, plain, ends):
    """The reply is sent again, and the session ends in bounded time without it."""
    with ends() as seen, RawClient(network, PLAIN[0], source_port=45683) as raw:
        raw.connect()
        raw.send(b"MAIL FROM:<x@spam.example>\r\n")
        raw.wait(lambda segment: segment.payload.startswith(b"554"))
        time.sleep(3.0)
        copies = [segment for segment in raw.received() if segment.payload.startswith(b"554")]
    assert len(copies) >= 2, "the refusal was sent only once"
    assert all(copy.payload == copies[0].payload and copy.seq == copies[0].seq for copy in copies)
    assert ("C", "RST") in seen.server[0].closings
