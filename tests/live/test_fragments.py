"""Below TCP: fragments, hops, and sessions that began before the gateway did, on AF_XDP before a real Linux stack."""

import time

import pytest
from conftest import PLAIN
from netlab import packets
from netlab.clients import RawClient, Step
from policies import RULES, zones

pytestmark = pytest.mark.decides


@pytest.fixture
def middle(gate):
    return gate(RULES)


@pytest.fixture(params=[0, 1], ids=["ipv4", "ipv6"])
def raw(request, network, plain, middle):
    """A client of single frames, connected, in both families."""
    with RawClient(network, PLAIN[request.param], source_port=46000 + request.param) as client:
        client.connect()
        yield client


def test_a_command_in_fragments_reaches_the_server_whole(plain, middle, raw, ends, words):
    said = words(middle)
    line = b"NOOP " + b"x" * 200 + b"\r\n"
    with ends() as seen:
        fragments = packets.make_fragments(raw.frame(line), [24, 80, 160])
        raw.put(*reversed(fragments))
        raw.seq += len(line)
        assert raw.read().startswith(b"250")
    arrived = [frame for _, frame in seen.server_capture.frames()]
    assert not any(packets.is_fragment(frame) for frame in arrived)
    assert plain.connections[0].commands == [line.rstrip()]
    assert said.counted("datagrams_reassembled") == 1
    assert all(segment.checksum_ok for segment in seen.server_capture.segments())


def test_a_large_segment_in_fragments(plain, middle, raw):
    """More than a frame holds: it leaves as several segments that the server's stack puts in order."""
    line = b"NOOP " + b"y" * 450 + b"\r\n"
    lines = line * 8
    raw.put(*packets.make_fragments(raw.frame(lines), [1200, 2400]))
    raw.seq += len(lines)
    answer = b""
    while answer.count(b"\r\n") < 8:
        answer += raw.read()
    assert plain.connections[0].commands == [line.rstrip()] * 8


def test_a_banned_command_in_fragments_is_found(plain, middle, raw, words):
    said = words(middle)
    line = b"MAIL FROM:<x@spam.example>\r\n"
    frame = raw.frame(line)
    raw.put(*packets.make_fragments(frame, [24, 32, 40]))
    raw.seq += len(line)
    assert raw.read().startswith(b"554")
    said.event(kind="SMTP_MATCH")
    time.sleep(0.2)
    assert b"spam" not in bytes(plain.connections[0].received)


@pytest.mark.parametrize("order", ["good-first", "bad-first", "good-bad-good"])
def test_overlapping_fragments_reach_nobody(plain, middle, raw, ends, words, order):
    """The banned sender in one version of the second fragment, a harmless one in the other: whichever the server would take."""
    said = words(middle)
    # A datagram that was dropped stays dropped for half a minute, so each test has one of its own.
    identification = 11 + ["good-first", "bad-first", "good-bad-good"].index(order)
    good = packets.make_fragments(raw.frame(b"MAIL FROM:<x@fine.example>\r\n"), [32], identification=identification)
    bad = packets.make_fragments(raw.frame(b"MAIL FROM:<x@spam.example>\r\n"), [32], identification=identification)
    with ends() as seen:
        raw.put(*{"good-first": [good[1], bad[1], good[0]],
                  "bad-first": [bad[1], good[1], good[0]],
                  "good-bad-good": [good[0], bad[0], good[1], bad[1]]}[order])
        time.sleep(0.4)
        assert [segment for segment in seen.server_capture.segments() if segment.payload and segment.destination[1] == 25] == []
        said.counted("ip_overlapping_fragments", by=1)
        raw.send(b"NOOP\r\n")
        assert raw.read().startswith(b"250")
    assert plain.connections[0].commands == [b"NOOP"]


def test_a_first_fragment_that_hides_the_ports_reaches_nobody(plain, middle, raw, words):
    said = words(middle)
    raw.put(*packets.make_fragments(raw.frame(b"EVIL foo\r\n"), [8, 16]))
    said.counted("ip_tiny_fragment", by=1)
    assert plain.connections[0].commands == []


def test_fragments_of_other_protocols_pass_as_they_came(network, gate, ends):
    """A ping that two Linux stacks cut up and put together again, where the policy inspects SMTP and lets ICMP through."""
    gate(zones("""
        class-map type inspect match-any pings
         match protocol icmp
        """, top="""
        class type inspect pings
         inspect
        """))
    for target in PLAIN:
        with ends() as seen:
            answer = network.client.run(["ping", "-c", "2", "-i", "0.3", "-W", "2", "-s", "4000", target])
        assert " 0% packet loss" in answer.stdout, answer.stdout
        fragments = [frame for _, frame in seen.server_capture.frames() if packets.is_fragment(frame)]
        assert len(fragments) >= 4, "the test did not do what it says: nothing was in fragments"


def test_a_client_with_few_hops_left(network, plain, middle, address, ends, words):
    """Its segments arrive with as many as the floor says: none dies between the gateway and the server."""
    said = words(middle)
    setting = "net.ipv6.conf.client0.hop_limit" if ":" in address else "net.ipv4.ip_default_ttl"
    network.client.run(["sysctl", "-qw", f"{setting}=3"])
    try:
        with ends() as seen, Step(network.client, address) as step:
            step.read_reply()
            assert step.say("EVIL foo") == 500
            assert step.say("NOOP") == 250
            assert step.say("QUIT") == 221
    finally:
        network.client.run(["sysctl", "-qw", f"{setting}=64"])
    place = 21 if ":" in address else 22
    at_server = [frame for _, frame in seen.server_capture.frames()
                 if (segment := packets.parse_frame(frame)) and segment.destination[1] == 25]
    assert at_server and {frame[place] for frame in at_server} == {32}
    said.counted("ip_low_ttl", by=1)


def begun_before(network, gate, options):
    """A session whose gateway is replaced in its middle."""
    gate(RULES, options=("--drain-seconds", "0"))
    step = Step(network.client, PLAIN[0], timeout=3)
    step.__enter__()
    step.read_reply()
    assert step.say("HELO client.example") == 250
    return step, gate(RULES, options=options, fresh=True)


def test_a_session_that_began_before_is_dropped(network, plain, gate, words):
    step, middle = begun_before(network, gate, ())
    said = words(middle)
    try:
        with pytest.raises(OSError):
            step.say("NOOP")
        said.counted("tcp_middle_of_connection", by=1)
    finally:
        step.close()
    assert b"NOOP" not in plain.connections[0].commands


def test_a_session_that_began_before_passes_where_configured(network, plain, gate, words):
    step, middle = begun_before(network, gate, ("--unknown-sessions", "pass"))
    said = words(middle)
    try:
        assert step.say("NOOP") == 250
        said.event(kind="TCP_MIDDLE_OF_CONNECTION")
        assert said.counted("flows_picked_up") == 1
        assert step.say("QUIT") == 221
        # What begins now is inspected.
        with Step(network.client, PLAIN[0]) as new:
            new.read_reply()
            assert new.say("EVIL foo") == 500
    finally:
        step.close()
    assert plain.connections[0].commands == [b"HELO client.example", b"NOOP", b"QUIT"]
    assert b"EVIL foo" not in plain.connections[1].commands
