"""Geneva's strategies: how a client changes the packets it sends, as a tree of actions.

    [TCP:flags:PA]-duplicate(tamper{TCP:load:corrupt}(tamper{TCP:chksum:corrupt},),)-|

A strategy is triggers with trees for what leaves, `|`, and the same for what arrives (not needed to get past a box, and not done here).
Actions: `duplicate(a,b)`, `fragment{protocol:offset:inorder}(a,b)`, `tamper{protocol:field:replace|corrupt:value}(a)`, `drop`, and nothing,
which sends. Written from the language's description: Bock et al., Geneva: Evolving Censorship Evasion Strategies, CCS 2019, section 4.
"""

import dataclasses
import random
import re

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw


@dataclasses.dataclass
class Action:
    name: str
    words: list
    children: list


class Mistake(ValueError):
    """A strategy that is not understood."""


class _Reader:
    def __init__(self, text):
        self.text, self.at = text, 0

    def peek(self):
        return self.text[self.at:self.at + 1]

    def take(self, what):
        if not self.text.startswith(what, self.at):
            raise Mistake(f"{what!r} expected at {self.at} of {self.text!r}")
        self.at += len(what)

    def match(self, pattern):
        found = re.compile(pattern).match(self.text, self.at)
        if not found:
            raise Mistake(f"{pattern!r} expected at {self.at} of {self.text!r}")
        self.at = found.end()
        return found

    def action(self):
        """An action, or None where there is none."""
        if self.peek() in ("", ",", ")", "-"):
            return None
        name = self.match(r"[a-z]+")[0]
        words, children = [], []
        if self.peek() == "{":
            words = self.match(r"\{([^}]*)\}")[1].split(":")
        if self.peek() == "(":
            self.take("(")
            children.append(self.action())
            while self.peek() == ",":
                self.take(",")
                children.append(self.action())
            self.take(")")
        if name not in ("duplicate", "tamper", "fragment", "drop", "send"):
            raise Mistake(f"no such action: {name}")
        return Action(name, words, children)


class Strategy:
    """The part of a strategy for what leaves. `strategy(packet)` gives the packets to be sent instead."""

    def __init__(self, text, seed=0):
        self.text = text.strip()
        self._random = random.Random(f"{self.text}{seed}")
        outgoing = self.text.rpartition("|")[0] if "|" in self.text else self.text
        reader, self.forest = _Reader(outgoing.strip()), []
        while reader.peek() == "[":
            trigger = reader.match(r"\[(\w+):(\w+):([^\]]*)\]")
            reader.take("-")
            tree = reader.action()
            reader.take("-")
            self.forest.append((trigger.groups(), tree))
            reader.match(r"\s*")
        if reader.peek() or not self.forest:
            raise Mistake(f"not understood from {reader.at} on: {self.text!r}")

    def __call__(self, packet):
        for (protocol, field, value), tree in self.forest:
            if self._matches(packet, protocol, field, value):
                return self._run(tree, packet)
        return [packet]

    @staticmethod
    def _layer(packet, protocol):
        if protocol == "IP":
            return packet[IP] if IP in packet else packet[IPv6]
        return packet[TCP]

    def _matches(self, packet, protocol, field, value):
        return str(getattr(self._layer(packet, protocol), field)) == value

    def _run(self, action, packet):
        if action is None or action.name == "send":
            return [packet]
        if action.name == "drop":
            return []
        left, right = (action.children + [None, None])[:2]
        if action.name == "duplicate":
            return self._run(left, packet.copy()) + self._run(right, packet.copy())
        if action.name == "tamper":
            return self._run(left, self._tamper(packet.copy(), *action.words))
        first, second, in_order = self._fragment(packet, *action.words[:3])
        if second is None:
            return self._run(left, first)
        halves = [self._run(left, first), self._run(right, second)]
        return sum(halves if in_order else reversed(halves), [])

    def _fragment(self, packet, protocol, offset, in_order):
        if protocol != "tcp":
            raise Mistake(f"fragment of {protocol}")
        load = bytes(packet[TCP].payload)
        cut = int(offset) if int(offset) > 0 else len(load) // 2
        if not 0 < cut < len(load):
            return packet, None, True
        halves = []
        for part, seq in ((load[:cut], packet[TCP].seq), (load[cut:], packet[TCP].seq + cut)):
            half = packet.copy()
            half[TCP].remove_payload()
            half = half / Raw(part)
            half[TCP].seq = seq & 0xFFFFFFFF
            halves.append(half)
        return halves[0], halves[1], in_order == "True"

    def _tamper(self, packet, protocol, field, mode, value=""):
        # Packets are made, not received: lengths and checksums that no strategy has set are computed when they are sent.
        layer = self._layer(packet, protocol)
        if field == "load":
            old = bytes(packet[TCP].payload)
            new = bytes(self._random.randrange(256) for _ in range(len(old) or 8)) if mode == "corrupt" else value.encode()
            packet[TCP].remove_payload()
            packet = packet / Raw(new)
        elif field.startswith("options-"):
            self._tamper_option(packet[TCP], field.removeprefix("options-"), mode, value)
        elif field == "flags":
            # Twice the same letter is once; N is the ninth flag of old.
            layer.flags = "".join(sorted(set(value))) if mode == "replace" else self._random.randrange(256)
        elif mode == "replace":
            if field == "ttl" and IPv6 in packet:
                field = "hlim"
            if field == "len" and IPv6 in packet:
                field, value = "plen", int(value) - 40
            setattr(layer, field, int(value))
        else:
            bits = {"chksum": 16, "dataofs": 4, "ack": 32, "seq": 32, "window": 16, "urgptr": 16}[field]
            setattr(layer, field, self._random.randrange(1 << bits))
        return packet

    def _tamper_option(self, tcp, name, mode, value):
        number, length = {"md5header": (19, 16), "uto": (28, 2), "wscale": (3, 1), "mss": (2, 2), "sackok": (4, 0)}[name]
        octets = bytes(self._random.randrange(256) for _ in range(length)) if mode == "corrupt" else int(value or 0).to_bytes(length, "big")
        names = {3: "WScale", 2: "MSS", 4: "SAckOK", 19: "MD5"}
        tcp.options = [option for option in tcp.options if option[0] not in (names.get(number), number)] + [(number, octets)]
