"""Captures of evasion, of other projects' test suites, through `postern replay`: overlaps, fragments, urgent octets, odd flags and numbers.

`evasion_captures.tsv` has a line for each: what of its TCP octets leaves (`whole`, `part`, `nothing`; `none` where no frame by
itself has any), and which anomalies are reported.
`POSTERN_BLESS=1` writes what is there now; read the difference before you commit it. All TCP is followed, whatever its port, and
what leaves is held against the rules of `test_replay.py`: one value for each place, no gap, no invention, no beginning without its SYN.
"""

import json
import os
import textwrap

import pytest
import test_replay
from netlab import gateway, packets
from policies import zones

pytestmark = [pytest.mark.decides]

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "evasion_captures.tsv")
FOLDER = os.path.join(test_replay.CORPUS, "pcap")
if not os.path.isdir(FOLDER):
    pytestmark.append(pytest.mark.skip(reason="skipped: no captures; POSTERN_CORPUS names the folder that has pcap/"))

ALL_TCP = zones(
    """
    class-map type inspect match-any all-tcp
     match protocol tcp
    """,
    top="""
    class type inspect all-tcp
     inspect
    """)


def table():
    with open(TABLE, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if line.strip() and not line.startswith("#")]
    return {name: (outcome, kinds) for name, outcome, kinds in rows}


def places(path, sound_only):
    """How many places of streams have an octet in this capture."""
    found = set()
    for when, linktype, frame in packets.read_capture(path):
        segment = packets.parse_frame(frame, linktype, when)
        if segment is None or sound_only and not segment.checksum_ok:
            continue
        start = segment.seq + segment.has(packets.SYN)
        found.update((segment.source, segment.destination, (start + index) & 0xFFFFFFFF) for index in range(len(segment.payload)))
    return len(found)


def has_fragments(path):
    """Whether there are IP fragments of TCP in a capture, atomic ones of IPv6 included."""
    for _, linktype, frame in packets.read_capture(path):
        if linktype != packets.ETHERNET or packets.parse_frame(frame) is not None:
            continue
        kind, at = frame[12:14], 14
        while kind in (b"\x81\x00", b"\x88\xa8") and len(frame) >= at + 4:
            kind, at = frame[at + 2:at + 4], at + 4
        if kind == b"\x08\x00" and frame[at + 6:at + 8].strip(b"\0\x40") or kind == b"\x86\xdd" and 44 in (*frame[at + 6:at + 7], *frame[at + 40:at + 41]):
            return True
    return False


def outcome(capture, replayed):
    """What left, and what was reported."""
    if replayed is None:
        return "refused", ""
    out, _, events = replayed
    left, came = places(out, False), places(capture, False)
    kinds = {json.loads(line).get("postern", {}).get("kind", "") for line in events.decode().splitlines()}
    kinds = sorted(kind for kind in kinds if kind.startswith("TCP_") or kind.startswith("IP_") or "FRAGMENT" in kind)
    return ("none" if not left + came else "nothing" if not left else "whole" if left >= came else "part"), ",".join(kinds)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evasion")
    source = folder / "all-tcp.policy"
    source.write_text(textwrap.dedent(ALL_TCP))
    return gateway.compile_policy(str(source), str(folder / "all-tcp.postern"))


def test_captures(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(test_replay, "MAIL_PORTS", set(range(65536)))
    expected, got, wrong = table(), {}, []
    for name in expected:
        capture = os.path.join(FOLDER, name)
        if not os.path.exists(capture):
            wrong.append(f"{name}: is in the table, not in the corpus")
            continue
        replayed = test_replay.replay(artifact, capture, tmp_path, "once", "--uninspected-sessions", "normalize")
        got[name] = outcome(capture, replayed)
        if replayed:
            # The judge does not put fragments together, so it does not know what was sent in them.
            judged = [fault for fault in test_replay.faults(capture, replayed[0]) if "nobody sent" not in fault or not has_fragments(capture)]
            wrong += [f"{name}: {fault}" for fault in judged[:3]]
        if got[name] != expected[name] and not os.environ.get("POSTERN_BLESS"):
            wrong.append(f"{name}: expected {expected[name]}, got {got[name]}")
    if os.environ.get("POSTERN_BLESS"):
        with open(TABLE, encoding="utf-8") as file:
            head = [line for line in file if line.startswith("#")]
        with open(TABLE, "w", encoding="utf-8") as file:
            file.writelines(head + ["\t".join([name, *result]) + "\n" for name, result in got.items()])
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:40])
    outcomes = [result for result, _ in got.values()]
    assert outcomes.count("whole") >= 10 and outcomes.count("nothing") < len(outcomes) // 2, "what is honest passes"


def test_the_table_is_about_evasion():
    names = table()
    assert len(names) > 60
    assert any("overlap" in name for name in names) and any("frag" in name for name in names) and any("urg" in name for name in names)
