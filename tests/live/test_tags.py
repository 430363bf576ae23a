"""VLAN and QinQ tags: inspected inside, kept outside. Both ends are frames made by hand; there are no VLAN devices."""

import socket
import time

import pytest
from netlab import packets
from netlab.capture import Capture
from netlab.clients import hardware_address
from policies import RULES

TAGS = {"one": ((0x8100, 5),), "two": ((0x88A8, 7), (0x8100, 5)), "none": ()}
#: Addresses that no stack here has: nobody answers but this test.
ENDS = {"ipv4": ("192.0.2.110", "192.0.2.120"), "ipv6": ("2001:db8::110", "2001:db8::120")}


class End:
    """One end of a connection: sends frames, sees those of the other."""

    def __init__(self, namespace, interface, ethernet, me, peer, tags):
        self.ethernet, self.me, self.peer, self.tags = ethernet, me, peer, tags
        self.socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((interface, 0))
        self.capture = Capture(namespace, interface)

    def send(self, seq, ack, flags, payload=b""):
        self.socket.send(packets.make_segment(self.ethernet, self.me, self.peer, seq, ack, flags, payload, tags=self.tags))

    def arrived(self):
        """(tags, segment) of everything from the other end."""
        parsed = [(packets.tags_of(frame), packets.parse_frame(frame)) for _, frame in self.capture.frames()]
        return [(tags, segment) for tags, segment in parsed if segment and segment.source == self.peer and segment.destination == self.me]

    def wait(self, condition, seconds=3.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for tags, segment in self.arrived():
                if condition(segment):
                    assert tags == self.tags, f"the tags changed: {tags}"
                    assert segment.checksum_ok
                    return segment
            time.sleep(0.01)
        raise TimeoutError(f"it did not arrive; what did: {self.arrived()}")

    def close(self):
        self.capture.stop()
        self.socket.close()


@pytest.fixture(params=TAGS)
def tags(request):
    return TAGS[request.param]


@pytest.fixture(params=ENDS)
def connection(request, network, gate, tags):
    """A connection after its handshake and banner: client, server, and their next sequence numbers."""
    gate(RULES)
    addresses = ENDS[request.param]
    # A port of its own for each case, so that no state of an earlier one is met.
    port = 41000 + 10 * list(TAGS.values()).index(tags) + list(ENDS).index(request.param)
    here, there = (addresses[0], port), (addresses[1], 25)
    macs = hardware_address(network.client, "client0"), hardware_address(network.server, "server0")
    client = End(network.client, "client0", macs, here, there, tags)
    server = End(network.server, "server0", macs[::-1], there, here, tags)
    client.send(1000, 0, packets.SYN)
    server.wait(lambda segment: segment.has(packets.SYN))
    server.send(5000, 1001, packets.SYN | packets.ACK)
    client.wait(lambda segment: segment.has(packets.SYN))
    client.send(1001, 5001, packets.ACK)
    banner = b"220 by hand\r\n"
    server.send(5001, 1001, packets.ACK | packets.PSH, banner)
    client.wait(lambda segment: segment.payload == banner)
    client.send(1001, 5001 + len(banner), packets.ACK)
    yield client, server, 1001, 5001 + len(banner)
    client.send(1001, 5001 + len(banner), packets.RST | packets.ACK)
    client.close()
    server.close()


def test_an_allowed_command_keeps_its_tags(connection):
    client, server, seq, ack = connection
    client.send(seq, ack, packets.ACK | packets.PSH, b"HELO by.hand\r\n")
    server.wait(lambda segment: segment.payload == b"HELO by.hand\r\n")


@pytest.mark.decides
def test_a_masked_command_keeps_its_tags(connection):
    client, server, seq, ack = connection
    client.send(seq, ack, packets.ACK | packets.PSH, b"EVIL foo\r\n")
    server.wait(lambda segment: segment.payload == b"xxxxxxxx\r\n")
    assert not any(b"EVIL" in segment.payload for _, segment in server.arrived())


@pytest.mark.decides
def test_a_refusal_has_the_tags_of_its_session(connection):
    """Frames that the gateway makes itself."""
    client, server, seq, ack = connection
    client.send(seq, ack, packets.ACK | packets.PSH, b"MAIL FROM:<x@spam.example>\r\n")
    reply = client.wait(lambda segment: segment.payload.startswith(b"554 "))
    assert reply.seq == ack
    server.wait(lambda segment: segment.has(packets.RST))
