"""The harness itself: each trick that other tests rely on does what it says. True over a bridge as well."""

import time

import pytest
from conftest import PLAIN
from netlab import clients, packets, report
from netlab.clients import RawClient, Step
from netlab.observe import Metrics
from policies import RULES


@pytest.fixture(autouse=True)
def middle(gate):
    return gate(RULES)


def test_frames_made_by_hand_are_a_tcp_client(network, plain):
    with RawClient(network, PLAIN[0], source_port=45690) as raw:
        assert raw.connect() == b"220 plain.lab.example ESMTP\r\n"
        raw.send(b"NOOP\r\n")
        assert raw.read().startswith(b"250")
    assert plain.connections[0].commands == [b"NOOP"]


@pytest.mark.parametrize("rule", ["arriving tcp dport 25 drop", "leaving tcp sport 25 drop"])
def test_a_loss_makes_the_client_send_again(network, plain, address, ends, rule):
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        stop = network.lose(network.server, rule)
        step.send("NOOP\r\n")
        time.sleep(0.8)
        stop()
        step.read_reply()
        step.say("QUIT")
    copies = [segment for who, segment in seen.server[0].segments if who == "C" and segment.payload == b"NOOP\r\n"]
    assert len(copies) >= 2
    assert seen.server[0].sent_by("C") == b"NOOP\r\nQUIT\r\n"


def test_both_ends_see_the_same_session(network, plain, address, ends):
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        step.mail(clients.make_message(5000))
        step.say("QUIT")
        step.read_to_end()
    assert len(seen.client) == len(seen.server) == 1
    for who in "CS":
        assert seen.client[0].sent_by(who) == seen.server[0].sent_by(who) != b""
    assert all(segment.checksum_ok for segment in seen.client_capture.segments())
    rows = report.align(seen.client[0].lines, seen.server[0].lines)
    assert all(left and right and left[1] == right[1] for left, right in rows if left[1] is not None)


def test_frames_are_read_as_they_were_written():
    for ends in ((("192.0.2.1", 1), ("192.0.2.2", 2)), (("2001:db8::1", 1), ("2001:db8::2", 2))):
        frame = packets.make_segment((b"\1" * 6, b"\2" * 6), *ends, 5, 6, packets.ACK, b"odd")
        segment = packets.parse_frame(frame)
        assert (segment.source, segment.destination) == ends
        assert (segment.seq, segment.ack, segment.payload, segment.checksum_ok) == (5, 6, b"odd", True)
        assert not packets.parse_frame(frame[:-1] + b"!").checksum_ok
        assert all(packets.parse_frame(frame[:length]) is None for length in range(len(frame)))


def test_a_stream_is_put_in_order():
    def segment(seq, payload, flags=packets.ACK):
        return packets.Segment(("a", 1), ("b", 2), seq & 0xFFFFFFFF, 0, flags, 0, payload, True)

    start = 0xFFFFFFFE
    stream = packets.Stream(start)
    assert stream.add(segment(start, b"", packets.SYN)) == b""
    assert stream.add(segment(start + 4, b"def", packets.ACK | packets.FIN)) == b""
    assert stream.add(segment(start + 1, b"abcX")) == b"abcXef"
    assert stream.add(segment(start + 1, b"zzz")) == b""
    assert (bytes(stream.data), stream.end) == (b"abcXef", 6)


def test_transcripts_are_aligned():
    left = [("C", b"EVIL foo", ""), ("S", b"500 no", ""), ("S", b"554 refused", ""), ("S", None, "FIN")]
    right = [("C", b"xxxxxxxx", ""), ("S", b"500 no", ""), ("C", None, "RST")]
    assert report.align(left, right) == [
        (left[0], right[0]), (left[1], right[1]), (left[2], None), (left[3], None), (None, right[2])]


def test_a_metrics_page_is_read():
    page = '# HELP a_total What.\n# TYPE a_total counter\na_total{kind="x y",other="\\"q\\""} 3\na_total{kind="z"} 4\nb 1.5\n'
    metrics = Metrics.parse(page)
    assert metrics.total("a_total") == 7 and metrics.total("a_total", kind="z") == 4 and metrics.total("b") == 1.5
    assert metrics.growth(Metrics({})) == [("a_total", {"kind": "x y", "other": '\\"q\\"'}, 3.0), ("a_total", {"kind": "z"}, 4.0)]
    with pytest.raises(ValueError):
        Metrics.parse("not a page\n")
