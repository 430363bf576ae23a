"""`postern replay` over real captures: never a panic, the same output every time, and nothing uninspected in it.

The captures are found through POSTERN_CORPUS (a folder with `pcap/` in it); without it these tests are skipped.
Needs neither root nor namespaces.

"Nothing uninspected" is checked from the octets alone, for every TCP connection to or from a port where mail is spoken:
  one value    each place of a stream left with one value, however often it was sent
  no gap       an octet left only after all octets of its stream before it
  no invention each octet is the one that came in at that place, or x or X (masked), or belongs to what the gateway says
               itself to a client that it refuses (a reply line behind which nothing of the server's follows)
  beginning    nothing of a connection leaves whose SYN did not leave before
"""

import ipaddress
import os
import re
import struct
import subprocess

import pytest
from netlab import gateway, packets
from netlab.gateway import ROOT
from policies import CLASSIC, RULES

pytestmark = pytest.mark.decides

CORPUS = os.environ.get("POSTERN_CORPUS") or os.path.join(ROOT, "..", "shared", "corpus")
CAPTURES = sorted(
    os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(CORPUS, "pcap")) for name in names
    if name.endswith((".pcap", ".pcapng", ".cap")))
if not CAPTURES:
    pytestmark = [pytestmark, pytest.mark.skip(reason="skipped: no captures; POSTERN_CORPUS names the folder that has pcap/")]

MAIL_PORTS = {25}


def replay(artifact, capture, folder, name, *options):
    out, events = os.path.join(folder, name + ".pcap"), os.path.join(folder, name + ".events")
    done = subprocess.run([gateway.binary("postern"), "replay", "--policy", artifact, "--in", capture, "--out", out, "--events", events, *options],
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)
    assert "panicked" not in done.stderr and done.returncode in (0, 1), f"{capture}: {done.returncode}: {done.stderr}"
    if done.returncode == 1:
        assert os.path.basename(capture) in done.stderr, f"{capture}: refused without naming it: {done.stderr}"
        return None
    with open(out, "rb") as first, open(events, "rb") as second:
        return out, first.read(), second.read()


class Stream:
    """One direction of one connection, as frames of it pass by: which octet stands where."""

    def __init__(self, isn):
        self.isn = isn
        #: Values seen at each place.
        self.values = {}

    def place(self, seq):
        return ((seq - self.isn - 1 + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def segments_of(path):
    for when, linktype, frame in packets.read_capture(path):
        segment = packets.parse_frame(frame, linktype, when)
        if segment and {segment.source[1], segment.destination[1]} & MAIL_PORTS:
            yield segment


def incoming_values(path):
    """Every value that came in at each place: by (source, destination), by sequence number."""
    values = {}
    for segment in segments_of(path):
        stream = values.setdefault((segment.source, segment.destination), {})
        start = segment.seq + bool(segment.flags & packets.SYN)
        for index, octet in enumerate(segment.payload):
            stream.setdefault((start + index) & 0xFFFFFFFF, set()).add(octet)
    return values


def faults(capture, out):
    """Breaches of the four rules, as text."""
    came = incoming_values(capture)
    streams, found, opaque = {}, [], set()
    for segment in segments_of(out):
        key = (segment.source, segment.destination)
        connection = frozenset(key)
        name = f"{segment.source[0]}:{segment.source[1]} > {segment.destination[0]}:{segment.destination[1]}"
        if segment.has(packets.SYN):
            if key not in streams or streams[key].isn != segment.seq:
                streams[key] = Stream(segment.seq)
                opaque.discard(connection)
            if segment.payload:
                found.append(f"{name}: octets on a SYN")
            continue
        if not segment.checksum_ok and segment.payload:
            found.append(f"{name}: a wrong checksum left")
        if not segment.payload:
            continue
        if key not in streams:
            found.append(f"{name}: octets of a connection whose SYN never left")
            continue
        stream = streams[key]
        start = stream.place(segment.seq)
        if start > len(stream.values) and connection not in opaque:
            found.append(f"{name}: place {start} left before place {len(stream.values)}")
        invented = []
        for index, octet in enumerate(segment.payload):
            place, seq = start + index, (segment.seq + index) & 0xFFFFFFFF
            if place < 0:
                continue
            if stream.values.setdefault(place, octet) != octet and connection not in opaque:
                found.append(f"{name}: place {place} left as {stream.values[place]:#x} and as {octet:#x}")
            if octet not in came.get(key, {}).get(seq, ()) and octet not in b"xX":
                invented.append(index)
        if invented and not _is_reply(segment):
            found.append(f"{name}: octets that nobody sent: {segment.payload[:80]!r}")
        if segment.source[1] in MAIL_PORTS and segment.payload.startswith(b"220 ") and b"TLS" in segment.payload.upper():
            opaque.add(connection)
    return found


def _is_reply(segment):
    """Whether a segment is a whole reply of the gateway's to a client."""
    return segment.source[1] in MAIL_PORTS and re.fullmatch(rb"[45]\d\d [^\r\n]{1,508}\r\n", segment.payload) is not None


@pytest.fixture(scope="module", params=["zones", "classic-esmtp", "classic-smtp"])
def artifact(request, tmp_path_factory):
    text = {"zones": RULES, "classic-esmtp": CLASSIC["esmtp"], "classic-smtp": CLASSIC["smtp"]}[request.param]
    folder = tmp_path_factory.mktemp("replay")
    source = folder / "replay.policy"
    source.write_text(text)
    return gateway.compile_policy(str(source), str(folder / "replay.postern"))


def in_slices(captures, count=16):
    """One test per slice: thousands of small captures as sixteen lines of report."""
    return [captures[index::count] for index in range(count)]


@pytest.mark.parametrize("captures", in_slices(CAPTURES), ids=lambda captures: f"{len(captures)}-captures")
def test_captures(artifact, captures, tmp_path):
    problems = []
    for capture in captures:
        once = replay(artifact, capture, tmp_path, "once")
        again = replay(artifact, capture, tmp_path, "again")
        short = os.path.relpath(capture, CORPUS)
        if once is None or again is None:
            if once is not again:
                problems.append(f"{short}: refused only once")
            continue
        if once[1:] != again[1:]:
            problems.append(f"{short}: two runs differ")
        problems += [f"{short}: {fault}" for fault in faults(capture, once[0])[:3]]
    assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:30])


def test_mail_gets_through(artifact, tmp_path):
    """A replay that let nothing out would pass every other test here. Captures of whole sessions (both SYNs, right
    checksums) give octets of both directions."""
    whole, through = 0, []
    for capture in CAPTURES:
        segments = list(segments_of(capture))
        syns = {segment.source for segment in segments if segment.has(packets.SYN)}
        talking = {segment.source for segment in segments if segment.payload and segment.checksum_ok}
        if len(syns) < 2 or len(talking & syns) < 2:
            continue
        if any(ipaddress.ip_address(host).is_loopback for host, _ in syns):
            # Taken inside a host. No wire carries these addresses, and the gateway drops them (RFC 6890).
            continue
        whole += 1
        result = replay(artifact, capture, tmp_path, "through")
        speakers = {segment.source for segment in segments_of(result[0]) if segment.payload} if result else set()
        if any(source[1] in MAIL_PORTS for source in speakers) and any(source[1] not in MAIL_PORTS for source in speakers):
            through.append(capture)
    assert whole and len(through) >= 0.8 * whole, f"{len(through)} of {whole} whole sessions"


def test_the_judge_is_not_blind(tmp_path):
    """Each breach, made by hand, is found."""
    ethernet, client, server = (b"\1" * 6, b"\2" * 6), ("192.0.2.1", 40000), ("192.0.2.2", 25)

    def write(name, frames):
        path = tmp_path / name
        records = b"".join(struct.pack("<IIII", 1, number, len(frame), len(frame)) + frame for number, frame in enumerate(frames))
        path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + records)
        return str(path)

    def frame(payload, seq, flags=packets.ACK):
        return packets.make_segment(ethernet, client, server, seq, 1, flags, payload)

    syn, one, two = frame(b"", 99, packets.SYN), frame(b"EVIL", 100), frame(b" foo\r\n", 104)
    whole = write("in.pcap", [syn, one, two])
    assert faults(whole, write("same.pcap", [syn, one, two])) == []
    assert faults(whole, write("masked.pcap", [syn, frame(b"xxxx", 100), frame(b"xxxx\r\n", 104)])) == []
    assert faults(whole, write("none.pcap", [])) == []
    for name, frames, fault in [
        ("gap", [syn, two], "left before place 0"),
        ("changed", [syn, one, frame(b" bar\r\n", 104)], "nobody sent"),
        ("twice", [syn, frame(b"xxxx", 100), one], "left as"),
        ("start", [one, two], "SYN never left"),
        ("checksum", [syn, one[:-1] + b"x"], "checksum"),
    ]:
        found = faults(whole, write(name + ".pcap", frames))
        assert any(fault in each for each in found), (name, found)
