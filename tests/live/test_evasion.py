"""Attacks on the gateway's reading of TCP and IP, made with scapy, against a real Linux server.

Each variant brings the same banned line to the server in its own way. It runs twice: through a kernel bridge, to see what the server's
stack makes of it, and through Postern. Behind Postern no server application is given the line, whatever the stack would have
done; and an honest session works afterwards. What two naive boxes would have seen is noted beside it: one that looks
into each packet, one that puts streams together and trusts what it is sent.

The server is ten hops behind the gateway: its end drops what comes with 10 or fewer hops left.
"""

import contextlib
import os
import threading
import time

import pytest
from conftest import PLAIN
from netlab import gateway
from netlab.clients import Step
from netlab.gateway import ROOT
from policies import RULES

scapy = pytest.importorskip("scapy", reason="no scapy: deploy/install-packages test")

from attacker import Flow, Post  # noqa: E402
from geneva import Strategy  # noqa: E402
from netlab import packets  # noqa: E402
from scapy.layers.inet import IPOption_RR, fragment  # noqa: E402
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop  # noqa: E402
from scapy.layers.l2 import Dot1Q  # noqa: E402
from scapy.packet import Raw  # noqa: E402

pytestmark = pytest.mark.decides

#: A command that is masked, and one whose session is refused; each with an innocent line of the same length.
LINES = {
    "masked": (b"EVIL all of you\r\n", b"NOOP all of you\r\n"),
    "refused": (b"MAIL FROM:<x@spam.example>\r\n", b"MAIL FROM:<x@good.example>\r\n"),
}

# ---- The variants. Each gets a connected flow, the banned line and the innocent one. What it does to connect differently stands in SETUP.

VARIANTS, SETUP = {}, {}


def variant(only=None, **setup):
    """Registers a variant under its function's name; `only` is an IP version."""
    def register(function):
        VARIANTS[function.__name__] = (function, only)
        SETUP[function.__name__] = setup
        return function

    return register


def at(flow, offset=0):
    return flow.seq + offset


@variant()
def whole(flow, bad, good):
    flow.segment(bad)


@variant()
def octet_by_octet(flow, bad, good):
    for index in range(len(bad)):
        flow.segment(bad[index:index + 1], seq=at(flow, index))


@variant()
def backwards(flow, bad, good):
    for index in reversed(range(0, len(bad), 3)):
        flow.segment(bad[index:index + 3], seq=at(flow, index))


@variant()
def innocent_tail_waits_then_the_whole(flow, bad, good):
    flow.segment(good[2:], seq=at(flow, 2))
    flow.segment(bad)


@variant()
def banned_tail_waits_then_the_whole_innocent(flow, bad, good):
    flow.segment(bad[2:], seq=at(flow, 2))
    flow.segment(good)
    flow.segment(bad[:2])


@variant()
def overlap_in_the_middle(flow, bad, good):
    flow.segment(bad[1:9], seq=at(flow, 1))
    flow.segment(good[3:], seq=at(flow, 3))
    flow.segment(bad[6:], seq=at(flow, 6))
    flow.segment(bad[:4])


@variant()
def sent_again_different_after_it_was_lost(flow, bad, good):
    """The innocent one dies behind the gateway, as frames do; then the banned one comes in its place."""
    flow.segment(good, **low(flow, 3))
    time.sleep(0.15)
    flow.segment(bad)


@variant()
def sent_again_different_after_its_acknowledgement(flow, bad, good):
    flow.segment(good)
    flow.until(lambda segment: (segment.ack - flow.isn - 1) & 0xFFFFFFFF >= len(good), 1.0)
    flow.segment(bad)
    flow.segment(bad[4:], seq=at(flow, 4))


@variant()
def half_lost_and_sent_again_in_other_pieces(flow, bad, good):
    flow.segment(good[:8], **low(flow, 3))
    flow.segment(bad[:2], **low(flow, 2))
    flow.segment(bad[5:], seq=at(flow, 5))
    flow.segment(bad[1:6], seq=at(flow, 1))
    flow.segment(bad[:3])


def low(flow, hops):
    return {"ip_hlim": hops} if flow.is_v6 else {"ip_ttl": hops}


@variant()
def low_ttl_reset(flow, bad, good):
    flow.segment(flags="R", **low(flow, 2))
    flow.segment(bad)


@variant()
def low_ttl_fin(flow, bad, good):
    flow.segment(flags="FA", **low(flow, 1))
    flow.segment(bad)


@variant()
def wrong_checksum_decoy(flow, bad, good):
    flow.segment(good, chksum=0x1234)
    flow.segment(bad)


@variant()
def wrong_checksum_on_the_banned_one(flow, bad, good):
    flow.segment(bad, chksum=0x1234)
    flow.segment(good)


@variant(only=4)
def wrong_ip_checksum_decoy(flow, bad, good):
    flow.segment(good, ip_chksum=0x4321)
    flow.segment(bad)


@variant()
def header_longer_than_the_packet(flow, bad, good):
    flow.segment(good, dataofs=15)
    flow.segment(bad)


@variant()
def header_too_short(flow, bad, good):
    flow.segment(good, dataofs=4)
    flow.segment(bad)


@variant()
def header_that_hides_the_verb(flow, bad, good):
    """A header that is longer than it looks: its last words are the start of the line for a box that trusts in five words."""
    flow.segment(b"\1\1\1\1" + bad, dataofs=6)


@variant()
def urgent_octet_inside(flow, bad, good):
    """An application that does not ask for urgent octets in line is not given this one."""
    flow.segment(bad[:2] + b"!" + bad[2:], flags="PAU", urgptr=3)


@variant()
def urgent_octet_last(flow, bad, good):
    flow.segment(bad[:3] + b"#", flags="PAU", urgptr=4)
    flow.segment(bad[3:], seq=at(flow, 4))


@variant()
def urgent_pointer_far_away(flow, bad, good):
    flow.segment(bad, flags="PAU", urgptr=0x7000)


@variant(setup_data=True)
def octets_on_the_syn(flow, bad, good):
    """The line comes with the SYN, an innocent one with the first segment, and the banned one after it."""
    flow.segment(good)
    flow.segment(bad, seq=at(flow, len(good)))


@variant()
def reset_with_a_wrong_checksum(flow, bad, good):
    flow.segment(flags="RA", chksum=0x1111)
    flow.segment(bad)


@variant()
def reset_outside_the_window(flow, bad, good):
    flow.segment(flags="R", seq=at(flow, 0x40000000))
    flow.segment(flags="R", seq=at(flow, -5))
    flow.segment(bad)


@variant()
def reset_inside_the_window(flow, bad, good):
    flow.segment(flags="R", seq=at(flow, 1000))
    time.sleep(0.05)
    flow.segment(bad)


@variant()
def fin_with_a_wrong_checksum(flow, bad, good):
    flow.segment(flags="FA", chksum=0x1111)
    flow.segment(bad)


@variant()
def fin_outside_the_window(flow, bad, good):
    flow.segment(flags="FA", seq=at(flow, 0x20000000))
    flow.segment(bad)


@variant()
def line_with_its_fin(flow, bad, good):
    flow.segment(bad, flags="FPA")


@variant()
def octets_behind_the_fin(flow, bad, good):
    flow.segment(good, flags="FPA")
    flow.segment(bad, seq=at(flow, len(good)))
    flow.segment(bad, seq=at(flow, len(good) + 1))


@variant()
def outside_the_window_decoys(flow, bad, good):
    for offset in (0x10000000, -100, -len(good), 0x7FFFFFF0):
        flow.segment(good, seq=at(flow, offset))
    flow.segment(bad)


@variant(stamped=True)
def old_time_stamp_decoy(flow, bad, good):
    flow.segment(good, options=flow.stamps(ago=50000))
    flow.segment(bad)


@variant(stamped=True)
def no_time_stamp_decoy(flow, bad, good):
    flow.segment(good, options=[])
    time.sleep(0.05)
    flow.segment(bad)


@variant(isn=0xFFFFFFFF - 8)
def numbers_that_wrap(flow, bad, good):
    for index in range(0, len(bad), 5):
        flow.segment(bad[index:index + 5], seq=at(flow, index))


@variant(isn=0xFFFFFFFF - 8)
def numbers_that_wrap_backwards(flow, bad, good):
    flow.segment(good[12:], seq=at(flow, 12))
    flow.segment(bad[4:], seq=at(flow, 4))
    flow.segment(bad[:4])


@variant(window=40)
def tiny_window(flow, bad, good):
    """The client takes little at a time, and says so with every piece."""
    for index, octet in enumerate(bad):
        flow.segment(bytes([octet]), seq=at(flow, index), window=40 if index % 2 else 1)
    flow.segment(flags="A", seq=at(flow, len(bad)), window=4000)


@variant()
def zero_window_probe_decoy(flow, bad, good):
    """A keep-alive holds an octet that was sent before: here another one."""
    flow.segment(bad[:2])
    flow.segment(b"!", seq=at(flow, 1))
    flow.segment(bad[2:], seq=at(flow, 2))


@variant()
def md5_option_decoy(flow, bad, good):
    flow.segment(good, options=[(19, bytes(16)), ("NOP", None), ("NOP", None)])
    flow.segment(bad)


@variant()
def no_ack_flag_decoy(flow, bad, good):
    flow.segment(good, flags="P", ack=0)
    flow.segment(good, flags="", ack=0)
    flow.segment(bad)


@variant()
def acknowledges_what_was_never_sent(flow, bad, good):
    flow.segment(good, ack=flow.ack + 0x10000000)
    flow.segment(bad)


@variant()
def odd_flags_decoys(flow, bad, good):
    for flags in ("SF", "SR", "FSRPAUEC", "SFPA"):
        flow.segment(good, flags=flags, chksum=0x2222)
    flow.segment(bad)


@variant()
def second_syn_with_other_numbers(flow, bad, good):
    flow.segment(flags="S", seq=0x70000000, ack=0)
    flow.segment(good, seq=0x70000001)
    time.sleep(0.05)
    flow.segment(bad)


@variant(lost_syn=True)
def a_syn_with_other_numbers_that_dies(flow, bad, good):
    """A first SYN is seen by the box and not by the server. Postern holds on to the first, so there may be no connection at all."""
    flow.segment(bad)


@variant()
def priority_tag(flow, bad, good):
    """A frame with a tag that only says how urgent it is; receivers leave that out."""
    tagged = flow.packet(bad)
    kind = 0x86DD if flow.is_v6 else 0x0800
    frame = bytes(Dot1Q(prio=3, vlan=0, type=kind) / tagged)
    frame = flow.post.macs[1] + flow.post.macs[0] + b"\x81\x00" + frame
    flow.sent.append(frame)
    flow.post.send(frame)


@variant(only=4)
def padding_behind_the_packet(flow, bad, good):
    packet = bytes(flow.packet(bad[:2]))
    frame = flow.post.macs[1] + flow.post.macs[0] + b"\x08\x00" + packet + good[2:]
    flow.sent.append(frame)
    flow.post.send(frame)
    flow.segment(bad[2:], seq=at(flow, 2))


@variant(only=4)
def ip_length_too_long(flow, bad, good):
    flow.segment(good, ip_len=200)
    flow.segment(bad)


@variant(only=4)
def ip_option(flow, bad, good):
    flow.segment(good, ip_options=[IPOption_RR(length=7, routers=["0.0.0.0"])])
    flow.segment(bad)


def identification(flow):
    """One that no other flow uses: all have the same addresses."""
    flow.identified = getattr(flow, "identified", 0) + 1
    return (flow.port * 4 + flow.identified) & 0xFFFF


def in_fragments(flow, payload, size, **fields):
    """The fragments of one packet."""
    packet = flow.packet(payload, **fields)
    if not flow.is_v6:
        packet.flags = 0
        packet.id = identification(flow)
        return fragment(packet, size)
    number, parts = identification(flow), []
    base = IPv6(src=packet.src, dst=packet.dst, nh=44)
    # The checksum is over the whole segment: scapy computes it when the packet is made.
    whole_tcp = bytes(packet)[40:]
    for start in range(0, len(whole_tcp), size):
        part = whole_tcp[start:start + size]
        parts.append(base / IPv6ExtHdrFragment(nh=6, offset=start // 8, m=start + size < len(whole_tcp), id=number) / Raw(part))
    return parts


def send_all(flow, parts):
    for part in parts:
        flow.send_as_it_is(part)


@variant()
def fragments(flow, bad, good):
    send_all(flow, in_fragments(flow, bad, 24))


@variant()
def fragments_backwards(flow, bad, good):
    send_all(flow, reversed(in_fragments(flow, bad, 24)))


@variant()
def tiny_fragments(flow, bad, good):
    """The first one ends inside the TCP header."""
    send_all(flow, in_fragments(flow, bad, 8))


@variant()
def fragments_twice(flow, bad, good):
    parts = in_fragments(flow, bad, 24)
    send_all(flow, [parts[0], parts[0], *parts[1:], parts[-1]])


@variant()
def overlapping_fragments_innocent_first(flow, bad, good):
    banned, innocent = in_fragments(flow, bad, 24), in_fragments(flow, good, 24)
    for part in innocent:
        set_id(flow, part, banned[0])
    send_all(flow, [innocent[0], banned[0], *banned[1:]])


@variant()
def overlapping_fragments_innocent_last(flow, bad, good):
    banned, innocent = in_fragments(flow, bad, 24), in_fragments(flow, good, 24)
    for part in innocent:
        set_id(flow, part, banned[0])
    send_all(flow, [banned[1], *banned[2:], innocent[0], banned[0]])


def set_id(flow, part, like):
    if flow.is_v6:
        part[IPv6ExtHdrFragment].id = like[IPv6ExtHdrFragment].id
    else:
        part.id = like.id


@variant()
def a_fragment_that_never_ends(flow, bad, good):
    send_all(flow, in_fragments(flow, good, 24)[:-1])
    flow.segment(bad)


@variant(only=6)
def atomic_fragment(flow, bad, good):
    packet = bytes(flow.packet(bad))[40:]
    base = flow.packet()
    flow.send_as_it_is(IPv6(src=base.src, dst=base.dst, nh=44) / IPv6ExtHdrFragment(nh=6, offset=0, m=0, id=99) / Raw(packet))


@variant(only=6)
def extension_headers(flow, bad, good):
    packet, base = bytes(flow.packet(bad))[40:], flow.packet()
    ip = IPv6(src=base.src, dst=base.dst)
    flow.send_as_it_is(ip / IPv6ExtHdrHopByHop(nh=60) / IPv6ExtHdrDestOpt(nh=6) / Raw(packet))


@variant(only=6)
def extension_headers_out_of_order(flow, bad, good):
    packet, base = bytes(flow.packet(bad))[40:], flow.packet()
    ip = IPv6(src=base.src, dst=base.dst)
    flow.send_as_it_is(ip / IPv6ExtHdrDestOpt(nh=60) / IPv6ExtHdrDestOpt(nh=60) / IPv6ExtHdrDestOpt(nh=6) / Raw(packet))


# ---- What is done with them.

def connected(post, name, address, bad, good):
    """A flow that has read the banner, or None."""
    setup = SETUP[name]
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (100000, 0))] if setup.get("stamped") else [("MSS", 1460)]
    flow = Flow(post, address, isn=setup.get("isn", 0x10000000), options=options, window=setup.get("window", 64000))
    if setup.get("lost_syn"):
        flow.segment(flags="S", seq=0x60000000, ack=0, options=options, **low(flow, 2))
        time.sleep(0.05)
    if setup.get("setup_data"):
        flow.seq = flow.isn
        flow.segment(bad, flags="S", ack=0, options=options)
        time.sleep(0.05)
    return flow if flow.connect(2.0 if setup.get("lost_syn") else 6.0) else None


def play(post, names, address):
    """Runs the variants with all lines, each on its own connection. Returns the flows by variant and line. Who got no connection,
    among a hundred that begin at once on a busy machine, tries again."""
    flows = play_once(post, names, address)
    for _ in range(2):
        late = {name for (name, _), flow in flows.items() if flow is None and "lost_syn" not in SETUP[name]}
        again = play_once(post, sorted(late), address)
        flows.update({case: flow for case, flow in again.items() if flow is not None})
    return flows


def play_once(post, names, address):
    flows, failures = {}, []

    def one(case):
        name, which = case
        try:
            bad, good = LINES[which]
            flow = connected(post, name, address, bad, good)
            if flow is None:
                flows[case] = None
                return
            VARIANTS[name][0](flow, bad, good)
            flow.read(0.3, lines=3)
            # What an honest sender would add if nothing had arrived.
            flow.segment(b"", flags="A")
            flow.read(0.2, lines=3)
            flow.close()
            flows[case] = flow
        except Exception as error:  # noqa: BLE001
            failures.append((case, repr(error)))

    threads = [threading.Thread(target=one, args=((name, which),)) for name in names for which in LINES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    return flows


def was_given(server, flow, bad):
    """Whether the application was given the banned line, in the connection of this flow."""
    port = flow.port if flow else None
    return any(bad in bytes(connection.received) for connection in server.connections if connection.peer[1] == port)


def seen_by_packet_box(flow, bad):
    """A box that looks for the line in each frame."""
    return any(bad.rstrip() in frame for frame in flow.sent)


def seen_by_stream_box(flow, bad):
    """A box that puts the stream together, the first octet wins, and checks nothing: no checksum, no window, no hop count. After a
    FIN or RST it listens no more."""
    octets = {}
    for frame in flow.sent:
        segment = packets.parse_frame(frame)
        if segment is None or segment.has(packets.SYN):
            continue
        if segment.has(packets.RST):
            break
        for index, octet in enumerate(segment.payload):
            octets.setdefault((segment.seq - flow.isn - 1 + index) & 0xFFFFFFFF, octet)
        if segment.has(packets.FIN):
            break
    stream = bytearray()
    while len(stream) in octets:
        stream.append(octets[len(stream)])
    return bad in bytes(stream)


@contextlib.contextmanager
def far_away(network):
    """The server is some hops away: what has few left does not arrive. Geneva's strategies count on ten."""
    stops = [network.lose(network.server, "ip ttl <= 10 tcp dport 25 drop"),
             network.lose(network.server, "ip6 hoplimit <= 10 tcp dport 25 drop")]
    try:
        yield
    finally:
        for stop in stops:
            stop()


@contextlib.contextmanager
def bridge(network, gate):
    gate.clear()
    middle = gateway.Bridge(network).start()
    try:
        yield middle
    finally:
        middle.stop()


def honest_session_works(network, address):
    with Step(network.client, address) as step:
        step.read_reply()
        assert step.mail(b"Subject: honest\r\n\r\nhello\r\n") == 250
        assert step.say("QUIT") == 221


#: Variants, with either line, that get it past at least one of the naive boxes and into the application, through a kernel bridge.
#: Fewer would mean that the attacks do not work, and then that they fail behind Postern shows nothing.
EVADE_AT_LEAST = 40


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_no_variant_brings_a_banned_line_to_the_server(network, gate, plain, version, capsys):
    address = PLAIN[0 if version == 4 else 1]
    names = [name for name, (_, only) in VARIANTS.items() if only in (None, version)]
    with far_away(network), Post(network) as post:
        with bridge(network, gate):
            direct = play(post, names, address)
            time.sleep(0.2)
        gate(RULES)
        behind = play(post, names, address)
        time.sleep(0.3)
    honest_session_works(network, address)
    evading, leaked = set(), []
    with capsys.disabled():
        for which, (bad, _) in LINES.items():
            print(f"\n{which}, IPv{version}: {len(names)} variants\n{'':48} bridge  packet box  stream box  Postern")
            for name in names:
                case = (name, which)
                flow, given = direct[case], was_given(plain, direct[case], bad)
                boxes = [flow is not None and seen(flow, bad) for seen in (seen_by_packet_box, seen_by_stream_box)]
                if given and not all(boxes):
                    evading.add(case)
                behind_it = "-" if behind[case] else "no connection"
                if was_given(plain, behind[case], bad):
                    behind_it = "GIVEN"
                    leaked.append(case)
                said = ["sees it" if box else "blind" for box in boxes]
                print(f"{name:48} {'given' if given else '-':7} {said[0]:11} {said[1]:11} {behind_it}")
                assert name != "whole" or given, "the line does not arrive even without a gateway"
    assert not leaked, f"the application behind Postern was given the banned line by {leaked}"
    unconnected = {name for (name, _), flow in behind.items() if flow is None and "lost_syn" not in SETUP[name]}
    assert not unconnected, f"no connection through Postern: {unconnected}"
    assert len(evading) >= EVADE_AT_LEAST, f"only {len(evading)} variants get past a naive box: {sorted(evading)}"


STRATEGIES = os.path.join(os.environ.get("POSTERN_CORPUS") or os.path.join(ROOT, "..", "shared", "corpus"), "smtp-scripts", "geneva-tcp-strategies.txt")


def strategies():
    with open(STRATEGIES, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


@pytest.mark.skipif(not os.path.exists(STRATEGIES), reason="skipped: no strategies; POSTERN_CORPUS names the folder that has smtp-scripts/")
def test_no_published_strategy_brings_a_banned_line_to_the_server(network, gate, plain, capsys):
    texts = strategies()
    cases = [(text, which) for text in texts for which in LINES]

    def play_all(post):
        flows = {}

        def one(case):
            text, which = case
            flow = Flow(post, PLAIN[0], options=[("MSS", 1460), ("WScale", 7)], change=Strategy(text))
            if flow.connect():
                flow.say(LINES[which][0])
                flow.close()
            flows[case] = flow

        threads = [threading.Thread(target=one, args=(case,)) for case in cases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return flows

    with far_away(network), Post(network) as post:
        with bridge(network, gate):
            direct = play_all(post)
            time.sleep(0.2)
        gate(RULES)
        behind = play_all(post)
        time.sleep(0.3)
    honest_session_works(network, PLAIN[0])
    leaked, arrived = [], []
    with capsys.disabled():
        print(f"\n{len(texts)} strategies\n{'line':8} {'bridge':8} {'stream box':11} {'Postern':9} strategy")
        for case in cases:
            text, which = case
            bad = LINES[which][0]
            given = [was_given(plain, flows[case], bad) for flows in (direct, behind)]
            sees = "sees it" if seen_by_stream_box(direct[case], bad) else "blind"
            words = ["given" if one else "-" for one in given]
            print(f"{which:8} {words[0]:8} {sees:11} {words[1]:9} {text}")
            arrived += [case] * given[0]
            leaked += [case] * given[1]
    assert len(texts) >= 10, "are these all strategies?"
    assert len(arrived) >= len(cases) // 2, f"only {len(arrived)} of {len(cases)} work at all"
    assert not leaked, f"the application behind Postern was given the banned line by {leaked}"


def test_the_interpreter_does_what_a_strategy_says(network, gate, plain):
    """What leaves is what the tree says."""
    gate(RULES)
    with Post(network) as post:
        flow = Flow(post, PLAIN[0])
        packet = flow.packet(b"0123456789AB")
        fields = [(p["TCP"].seq - flow.seq, bytes(p["TCP"].payload)) for p in Strategy("[TCP:flags:PA]-fragment{tcp:8:True}(,fragment{tcp:2:False})-|")(packet)]
        assert fields == [(0, b"01234567"), (10, b"AB"), (8, b"89")]
        decoy, real = Strategy("[TCP:flags:PA]-duplicate(tamper{TCP:load:corrupt}(tamper{TCP:chksum:corrupt},),)-|")(packet)
        assert bytes(decoy["TCP"].payload) != b"0123456789AB" == bytes(real["TCP"].payload) and "chksum" in decoy["TCP"].fields
        assert "chksum" not in real["TCP"].fields or real["TCP"].chksum is None
        assert Strategy("[TCP:flags:PA]-drop-|")(packet) == []
        assert Strategy("[TCP:flags:S]-drop-|")(packet) == [packet]
        reset, = Strategy("[TCP:flags:PA]-tamper{TCP:flags:replace:R}(tamper{IP:ttl:replace:10},)-|")(packet)
        assert str(reset["TCP"].flags) == "R" and reset.ttl == 10
        with pytest.raises(ValueError):
            Strategy("[TCP:flags:PA]-explode-|")
