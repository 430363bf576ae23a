"""Frames and captures: enough of Ethernet, IP and TCP to say which octet stood where in which stream.

Written apart from the gateway's own parser on purpose: it is what the gateway is judged by.
"""

import dataclasses
import ipaddress
import struct

ETHERNET, NULL, RAW, LOOP, LINUX_SLL, LINUX_SLL2, PPP_HDLC = 1, 0, 101, 108, 113, 276, 50
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


@dataclasses.dataclass(frozen=True)
class Segment:
    """One TCP segment of one frame."""

    source: tuple
    destination: tuple
    seq: int
    ack: int
    flags: int
    window: int
    payload: bytes
    checksum_ok: bool
    time: float = 0.0

    @property
    def length(self):
        """What it takes of sequence space."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)

    def has(self, flag):
        return bool(self.flags & flag)


def checksum(data):
    """The Internet checksum, RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def parse_frame(frame, linktype=ETHERNET, time=0.0):
    """The TCP segment of a frame; None for anything else, fragments included."""
    try:
        return _parse_link(frame, linktype, time)
    except (struct.error, IndexError, ValueError):
        return None


def _parse_link(frame, linktype, time):
    if linktype == ETHERNET:
        kind, at = struct.unpack_from("!H", frame, 12)[0], 14
        while kind in (0x8100, 0x88A8, 0x9100):
            kind, at = struct.unpack_from("!H", frame, at + 2)[0], at + 4
        if kind not in (0x0800, 0x86DD):
            return None
    elif linktype in (NULL, LOOP):
        at = 4
    elif linktype == LINUX_SLL:
        at = 16
    elif linktype == LINUX_SLL2:
        at = 20
    elif linktype in (RAW, 12, 228, 229):
        at = 0
    else:
        return None
    version = frame[at] >> 4
    if version == 4:
        return _parse_v4(frame[at:], time)
    if version == 6:
        return _parse_v6(frame[at:], time)
    return None


def _parse_v4(packet, time):
    header, total = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
    fragment = struct.unpack_from("!H", packet, 6)[0] & 0x3FFF
    if packet[9] != 6 or fragment or header < 20 or not header <= total <= len(packet):
        return None
    source, destination = packet[12:16], packet[16:20]
    tcp = packet[header:total]
    pseudo = source + destination + struct.pack("!BBH", 0, 6, len(tcp))
    return _parse_tcp(tcp, pseudo, ipaddress.ip_address(source), ipaddress.ip_address(destination), time)


def _parse_v6(packet, time):
    length, following, at = struct.unpack_from("!H", packet, 4)[0], packet[6], 40
    end = at + length
    if end > len(packet):
        return None
    while following in (0, 43, 60):
        following, at = packet[at], at + 8 * (packet[at + 1] + 1)
    if following != 6 or at > end:
        return None
    source, destination = packet[8:24], packet[24:40]
    tcp = packet[at:end]
    pseudo = source + destination + struct.pack("!II", len(tcp), 6)
    return _parse_tcp(tcp, pseudo, ipaddress.ip_address(source), ipaddress.ip_address(destination), time)


def _parse_tcp(tcp, pseudo, source, destination, time):
    source_port, destination_port, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", tcp)
    start = (offset >> 4) * 4
    if not 20 <= start <= len(tcp):
        return None
    return Segment((str(source), source_port), (str(destination), destination_port), seq, ack, flags & 0x3F,
                   window, tcp[start:], checksum(pseudo + tcp) == 0, time)


def make_segment(ethernet, source, destination, seq, ack, flags, payload=b"", window=64000, tags=()):
    """An Ethernet frame with one TCP segment; `ethernet` is (source, destination) as 6 octets each, `tags` are pairs of
    tag protocol and VLAN, the outer one first."""
    addresses = [ipaddress.ip_address(end[0]) for end in (source, destination)]
    pair = addresses[0].packed + addresses[1].packed
    tcp = struct.pack("!HHIIBBHHH", source[1], destination[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
                      5 << 4, flags, window, 0, 0) + payload
    is_v6 = addresses[0].version == 6
    pseudo = pair + (struct.pack("!II", len(tcp), 6) if is_v6 else struct.pack("!BBH", 0, 6, len(tcp)))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    if is_v6:
        ip, kind = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + pair, 0x86DD
    else:
        ip, kind = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + pair, 0x0800
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    words = b"".join(struct.pack("!HH", protocol, vlan) for protocol, vlan in tags)
    return ethernet[1] + ethernet[0] + words + struct.pack("!H", kind) + ip + tcp


def make_fragments(frame, cuts, identification=7, last=True):
    """The IP fragments of an untagged frame, cut at these places of its payload (multiples of 8); with `last=False` the
    last one says, too, that others follow."""
    is_v6 = frame[12:14] == b"\x86\xdd"
    header, payload = (frame[14:54], frame[54:]) if is_v6 else (frame[14:34], frame[34:])
    bounds, made = [0, *cuts, len(payload)], []
    for start, end in zip(bounds, bounds[1:], strict=False):
        piece, more = payload[start:end], end < len(payload) or not last
        if is_v6:
            ip = header[:4] + struct.pack("!HBB", len(piece) + 8, 44, header[7]) + header[8:]
            ip += struct.pack("!BBHI", header[6], 0, start | more, identification)
        else:
            ip = header[:2] + struct.pack("!HHH", 20 + len(piece), identification, start // 8 | more << 13) + header[8:10]
            ip += b"\0\0" + header[12:]
            ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        made.append(frame[:14] + ip + piece)
    return made


def is_fragment(frame):
    """Whether an untagged frame is an IP fragment."""
    if frame[12:14] == b"\x86\xdd":
        return frame[20] == 44
    return frame[12:14] == b"\x08\x00" and struct.unpack_from("!H", frame, 20)[0] & 0x3FFF != 0


def tags_of(frame):
    """Pairs of tag protocol and VLAN of an Ethernet frame, the outer one first."""
    found, at = [], 12
    while len(frame) >= at + 4 and struct.unpack_from("!H", frame, at)[0] in (0x8100, 0x88A8, 0x9100):
        protocol, control = struct.unpack_from("!HH", frame, at)
        found.append((protocol, control & 0x0FFF))
        at += 4
    return tuple(found)


def read_capture(path):
    """Frames of a pcap or pcapng file as (time, linktype, bytes). Stops quietly where the file is cut off."""
    with open(path, "rb") as file:
        data = file.read()
    magic = data[:4]
    if magic == b"\x0a\x0d\x0d\x0a":
        yield from _read_pcapng(data)
        return
    orders = {b"\xd4\xc3\xb2\xa1": ("<", 1e6), b"\xa1\xb2\xc3\xd4": (">", 1e6),
              b"\x4d\x3c\xb2\xa1": ("<", 1e9), b"\xa1\xb2\x3c\x4d": (">", 1e9)}
    if magic not in orders:
        raise ValueError(f"{path} is neither pcap nor pcapng")
    order, unit = orders[magic]
    linktype = struct.unpack_from(order + "I", data, 20)[0] & 0x0FFFFFFF
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, captured, _ = struct.unpack_from(order + "IIII", data, at)
        if at + 16 + captured > len(data):
            return
        yield seconds + fraction / unit, linktype, data[at + 16:at + 16 + captured]
        at += 16 + captured


def _read_pcapng(data):
    order, interfaces, at = "<", [], 0
    while at + 12 <= len(data):
        kind = struct.unpack_from(order + "I", data, at)[0]
        if kind == 0x0A0D0D0A:
            order = "<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
        length = struct.unpack_from(order + "I", data, at + 4)[0]
        if length < 12 or at + length > len(data):
            return
        body = data[at + 8:at + length - 4]
        if kind == 1:
            interfaces.append((struct.unpack_from(order + "H", body)[0], _resolution(body[8:], order)))
        elif kind == 6:
            index, high, low, captured = struct.unpack_from(order + "IIII", body)
            linktype, unit = interfaces[index]
            yield ((high << 32) | low) / unit, linktype, body[20:20 + captured]
        elif kind == 3:
            yield 0.0, interfaces[0][0], body[4:4 + struct.unpack_from(order + "I", body)[0]]
        at += length


def _resolution(options, order):
    """Ticks per second, from option if_tsresol (9)."""
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack_from(order + "HH", options, at)
        if code == 0:
            break
        if code == 9 and length == 1:
            value = options[at + 4]
            return float(2 ** (value & 127)) if value & 128 else 10.0 ** value
        at += 4 + (length + 3) // 4 * 4
    return 1e6


class Stream:
    """One direction of a connection: octets by their place behind the SYN; the first one seen stays."""

    def __init__(self, isn):
        self.isn = isn
        self.data = bytearray()
        self.pending = {}
        self.end = None

    def offset(self, seq):
        """Place of a sequence number, 0 for the first octet; negative is before it. Good for streams under 2 GiB."""
        return ((seq - self.isn - 1 + 0x80000000) & 0xFFFFFFFF) - 0x80000000

    def add(self, segment):
        """Puts a segment in and returns the octets that thereby became readable."""
        before = len(self.data)
        start = self.offset(segment.seq) + bool(segment.flags & SYN)
        if segment.payload:
            self.pending.setdefault(start, segment.payload)
        if segment.has(FIN):
            self.end = start + len(segment.payload)
        for start in sorted(self.pending):
            if start > len(self.data):
                break
            self.data += self.pending.pop(start)[len(self.data) - start:]
        return bytes(self.data[before:])
