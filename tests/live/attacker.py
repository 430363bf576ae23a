"""A TCP client of its own, made of scapy packets: it sends what no kernel would, and believes nothing.

It speaks from the client's own addresses. The kernel there knows nothing of these connections and would reset them, so a rule
drops what it sends from these ports; frames of a packet socket do not pass that rule.
"""

import logging
import threading
import time

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from netlab import packets  # noqa: E402
from netlab.clients import hardware_address  # noqa: E402
from netlab.namespaces import CLIENT  # noqa: E402
from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

#: Source ports of attacks.
PORTS = range(50000, 60000)
_ETH_P_ALL = 3


class Post:
    """The place at the client's end from which frames are sent, and where the answers are read."""

    _next_port = PORTS.start

    def __init__(self, network):
        import socket

        self.network = network
        client = network.client
        for address in ("192.0.2.27", "2001:db8::27"):
            client.run(["ping", "-c1", "-W1", address], check=False)
        self._quiet = network.lose(client, f"leaving tcp sport {PORTS.start}-{PORTS.stop - 1} drop")
        self.macs = (hardware_address(client, "client0"), hardware_address(network.server, "server0"))
        self._socket = client.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind(("client0", 0))
        self._ear = client.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._ear.bind(("client0", _ETH_P_ALL))
        self._ear.settimeout(0.2)
        self._heard, self._news, self._open = {}, threading.Condition(), True
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._open = False
        self._thread.join()
        self._socket.close()
        self._ear.close()
        self._quiet()

    def _listen(self):
        while self._open:
            try:
                frame, (_, _, kind, *_) = self._ear.recvfrom(65536)
            except TimeoutError:
                continue
            segment = packets.parse_frame(frame) if kind != 4 else None
            if segment and segment.destination[1] in PORTS:
                with self._news:
                    self._heard.setdefault(segment.destination[1], []).append(segment)
                    self._news.notify_all()

    def heard(self, port):
        with self._news:
            return list(self._heard.get(port, ()))

    def wait(self, seconds):
        with self._news:
            self._news.wait(seconds)

    def port(self):
        """A source port that nobody has used."""
        Post._next_port += 1
        return Post._next_port

    def send(self, frame):
        self._socket.send(frame)


class Flow:
    """One connection. `change(packet)` may turn each packet into several, or none: that is what a strategy does."""

    def __init__(self, post, server, isn=0x10000000, options=(), change=None, window=64000):
        self.post, self.server, self.is_v6 = post, server, ":" in server
        self.port = post.port()
        self.isn, self.seq, self.ack = isn, isn, 0
        self.options, self.window = list(options), window
        self.change = change or (lambda packet: [packet])
        #: Every frame sent, for boxes that look at them.
        self.sent = []
        self.clock = 100000

    def packet(self, payload=b"", flags="PA", seq=None, ack=None, options=None, **fields):
        """An IP packet of this connection at `seq`; fields of TCP by name, those of IP with `ip_` before it."""
        of_ip = {name[3:]: fields.pop(name) for name in list(fields) if name.startswith("ip_")}
        ip = (IPv6(src=CLIENT[1], dst=self.server, **of_ip) if self.is_v6
              else IP(src=CLIENT[0], dst=self.server, flags="DF", **of_ip) if "flags" not in of_ip
              else IP(src=CLIENT[0], dst=self.server, **of_ip))
        if options is None:
            options = self.stamps() if any(name == "Timestamp" for name, _ in self.options) and "S" not in flags else []
        tcp = TCP(sport=self.port, dport=25, seq=(self.seq if seq is None else seq) & 0xFFFFFFFF,
                  ack=self.ack if ack is None else ack & 0xFFFFFFFF, flags=flags, options=options,
                  **{"window": self.window, **fields})
        return ip / tcp / Raw(payload) if payload else ip / tcp

    def stamps(self, ago=0):
        """The time stamp option, as of now or of some time ago. An echo of 0 says that nothing is echoed."""
        self.clock += 1
        return [("NOP", None), ("NOP", None), ("Timestamp", ((self.clock - ago) & 0xFFFFFFFF, 0))]

    def send(self, packet):
        """Sends a packet of scapy's, through the strategy."""
        for each in self.change(packet):
            self.send_as_it_is(each)

    def send_as_it_is(self, packet):
        frame = bytes(Ether(src=self.post.macs[0], dst=self.post.macs[1]) / packet)
        self.sent.append(frame)
        self.post.send(frame)

    def segment(self, payload=b"", flags="PA", **fields):
        self.send(self.packet(payload, flags, **fields))

    def connect(self, seconds=6.0):
        """The handshake and the banner; True when both came."""
        end = time.monotonic() + seconds
        answer = None
        while answer is None and time.monotonic() < end:
            self.seq = self.isn
            self.segment(flags="S", ack=0, options=self.options)
            answer = self.until(lambda segment: segment.has(packets.SYN) and segment.has(packets.ACK), 0.8)
        if answer is None:
            return False
        self.seq, self.ack = (self.isn + 1) & 0xFFFFFFFF, (answer.seq + 1) & 0xFFFFFFFF
        self.segment(flags="A")
        return self.read(max(0.1, end - time.monotonic())).startswith(b"220")

    def until(self, condition, seconds):
        end = time.monotonic() + seconds
        while True:
            found = next((segment for segment in self.post.heard(self.port) if condition(segment)), None)
            if found or time.monotonic() >= end:
                return found
            self.post.wait(min(0.1, max(0.0, end - time.monotonic())))

    def read(self, seconds, lines=1):
        """The next octets in order, acknowledged, until so many lines came or the time is over."""
        end, got = time.monotonic() + seconds, b""
        while got.count(b"\n") < lines and time.monotonic() < end:
            fitting = self.until(lambda segment: segment.payload and segment.seq == self.ack, min(0.2, end - time.monotonic()))
            if fitting:
                got += fitting.payload
                self.ack = (self.ack + len(fitting.payload)) & 0xFFFFFFFF
                self.segment(flags="A")
            elif self.is_reset():
                break
        return got

    def acked(self):
        """Octets of ours that the other end has acknowledged, SYN included."""
        seen = [(segment.ack - self.isn) & 0xFFFFFFFF for segment in self.post.heard(self.port) if segment.has(packets.ACK)]
        return max((value for value in seen if value < 0x80000000), default=0)

    def is_reset(self):
        """Whether a RST came that an honest stack would believe: one with the next number."""
        return any(segment.has(packets.RST) and segment.seq == self.ack for segment in self.post.heard(self.port))

    def say(self, payload, seconds=3.0, patience=0.4):
        """Sends octets and sends them again, as an honest stack does, until they are acknowledged and a line came back."""
        end, goal, got = time.monotonic() + seconds, (self.seq + len(payload) - self.isn) & 0xFFFFFFFF, b""
        while time.monotonic() < end and not self.is_reset():
            if self.acked() < goal:
                self.segment(payload)
            got += self.read(patience)
            if b"\n" in got and self.acked() >= goal:
                break
        self.seq = (self.seq + len(payload)) & 0xFFFFFFFF
        return got

    def close(self):
        self.send_as_it_is(self.packet(flags="RA"))
