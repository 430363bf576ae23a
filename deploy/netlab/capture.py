"""Everything that crosses one interface of an end, and the sessions in it as that end saw them.

Taken from the wire, not from the programs: what stands here is what this end's kernel received and sent,
whatever client or server ran there.
"""

import contextlib
import dataclasses
import select
import socket
import struct
import threading
import time

from . import packets

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA = 263, 6, 8
_SO_RCVBUFFORCE = 33
_VLAN_VALID, _VLAN_TPID_VALID = 1 << 4, 1 << 6


@dataclasses.dataclass
class Session:
    """One TCP connection at one end."""

    client: tuple
    server: tuple
    #: ("C" or "S", line without CRLF) in the order in which the lines ended here; FIN and RST as ("C", None, "FIN").
    lines: list = dataclasses.field(default_factory=list)
    #: Every segment, in order, resent ones included.
    segments: list = dataclasses.field(default_factory=list)
    streams: dict = dataclasses.field(default_factory=dict)
    closings: list = dataclasses.field(default_factory=list)
    _partial: dict = dataclasses.field(default_factory=lambda: {"C": b"", "S": b""})

    def sent_by(self, who):
        """The octets of one side, in order, each once: "C" for the client, "S" for the server."""
        stream = self.streams.get(who)
        return bytes(stream.data) if stream else b""

    def closed_by(self, who):
        """"FIN", "RST" or None: how this side ended the connection, as seen here."""
        return next((how for side, how in self.closings if side == who), None)

    def _add(self, segment):
        who = "C" if segment.source == self.client else "S"
        self.segments.append((who, segment))
        if segment.has(packets.SYN):
            self.streams.setdefault(who, packets.Stream(segment.seq))
        stream = self.streams.get(who)
        if stream is None:
            return
        self._read(who, stream.add(segment))
        complete = stream.end is not None and len(stream.data) >= stream.end
        how = "RST" if segment.has(packets.RST) else "FIN" if complete else None
        if how and (who, how) not in self.closings:
            if self._partial[who]:
                self.lines.append((who, self._partial[who], "no end of line"))
                self._partial[who] = b""
            self.closings.append((who, how))
            self.lines.append((who, None, how))

    def _read(self, who, new):
        text = self._partial[who] + new
        *whole, self._partial[who] = text.split(b"\n")
        for line in whole:
            self.lines.append((who, line.removesuffix(b"\r"), ""))

    def unfinished(self):
        """What came behind the last end of line, by side."""
        return dict(self._partial)


class Capture:
    """Records an interface from `start` (or the `with` statement) to `stop`."""

    def __init__(self, namespace, interface, ports=(25,)):
        self.ports = set(ports)
        self._frames = []
        self._stopping = threading.Event()
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.bind((interface, _ETH_P_ALL))
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._work, name=f"capture {interface}", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _work(self):
        while not self._stopping.is_set():
            if select.select([self._socket], [], [], 0.05)[0]:
                self._drain()

    def _drain(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, auxiliary, _, _ = self._socket.recvmsg(65536 + 64, 64)
                self._frames.append((time.time(), _with_tag(frame, auxiliary)))

    def stop(self, settle=0.15):
        """Ends recording after `settle` seconds for what is still under way."""
        if self._stopping.is_set():
            return
        time.sleep(settle)
        self._stopping.set()
        self._thread.join()
        self._drain()
        self.lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
        self._socket.close()

    def frames(self):
        return list(self._frames)

    def segments(self):
        for when, frame in list(self._frames):
            segment = packets.parse_frame(frame, time=when)
            if segment and (segment.source[1] in self.ports or segment.destination[1] in self.ports):
                yield segment

    def sessions(self):
        """Every connection to one of `ports`, in the order of their SYNs."""
        found = {}
        for segment in self.segments():
            to_server = segment.destination[1] in self.ports
            key = (segment.source, segment.destination) if to_server else (segment.destination, segment.source)
            if segment.flags & (packets.SYN | packets.ACK) == packets.SYN and to_server:
                session = found.get(key)
                # A repeated SYN belongs to the same connection, another number begins a new one on old ports.
                if session is None or session.streams["C"].isn != segment.seq:
                    found[key] = Session(*key)
                    found.setdefault("order", []).append(found[key])
            if key in found:
                found[key]._add(segment)
        return found.get("order", [])

    def write(self, path):
        """As a pcap file, for other tools."""
        with open(path, "wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, packets.ETHERNET))
            for when, frame in self._frames:
                seconds, micros = int(when), int(when % 1 * 1e6)
                file.write(struct.pack("<IIII", seconds, micros, len(frame), len(frame)) + frame)


def _with_tag(frame, auxiliary):
    """The frame as it was on the wire: the kernel takes the outer VLAN tag off and hands it over beside."""
    for level, kind, data in auxiliary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= 20:
            status, _, _, _, _, control, protocol = struct.unpack_from("IIIHHHH", data)
            if status & _VLAN_VALID:
                tag = struct.pack("!HH", protocol if status & _VLAN_TPID_VALID else 0x8100, control)
                return frame[:12] + tag + frame[12:]
    return frame
