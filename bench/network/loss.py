"""How fast a mail gets through a bad network: past Postern, and past a kernel bridge in its place.

Five network namespaces in a row, joined by veth; the two in the middle of each side are a bad piece of wire, by nftables:

    client -- [wire] -- gateway -- [wire] -- server

A wire loses frames at random, in both directions, and overtakes: some frames take a detour over two more veth pairs and come
out later than those behind them. The client sends one large mail in each of a few sessions to Postfix's load sink; goodput is its
octets over the time from the first one to the reply to the last. Gateway and bridge take turns, round by round.

Prints one JSON object: {"cases": [{"name", "bridge": [Mbit/s ...], "postern": [...], "counters": {...}}], "faults": [...]}.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time

from netlab import gateway
from netlab.clients import Step, code, hardware_address, make_message, stuffed
from netlab.namespaces import CLIENT, SERVERS, Namespace, Network, run
from netlab.programs import DidNotStart
from netlab.servers import SmtpSink

#: Name, and where what happens, in percent of the frames: loss and overtaking at the client's side, at the server's side.
CASES = [
    ("no loss", (0, 0), (0, 0)),
    ("1 % lost at the client's side", (1, 0), (0, 0)),
    ("1 % lost at the server's side", (0, 0), (1, 0)),
    ("5 % lost at the client's side", (5, 0), (0, 0)),
    ("5 % lost at the server's side", (0, 0), (5, 0)),
    ("5 % overtaken at the client's side", (0, 5), (0, 0)),
    ("5 % overtaken at the server's side", (0, 0), (0, 5)),
    ("1 % lost, 5 % overtaken at both sides", (1, 5), (1, 5)),
]

POLICY = """class-map type inspect match-any mail
 match protocol smtp
policy-map type inspect inbound
 class type inspect mail
  inspect
 class class-default
  drop log
zone security outside
zone security inside
zone-pair security inbound source outside destination inside
 service-policy type inspect inbound
"""

SERVER = SERVERS[0][0]


class Wire(Namespace):
    """A piece of wire between two interfaces, `near` and `far`, that can be made bad."""

    def create(self):
        super().create()
        for way in ("up", "down"):
            # Two pairs, one behind the other: each one's receive queue is a wait.
            for number in (1, 2):
                self.ip("link", "add", "name", f"{way}{number}a", "type", "veth", "peer", "name", f"{way}{number}b")
            for number in (1, 2):
                self.plain(f"{way}{number}a")
                self.plain(f"{way}{number}b")

    def plain(self, name):
        """No offloads: a frame is a frame."""
        self.run(["ethtool", "-K", name, "tx", "off", "gro", "off", "gso", "off"])
        self.ip("link", "set", "dev", name, "promisc", "on", "arp", "off", "up")

    def become(self, loss, overtaking):
        """From now on so many percent are lost, and so many come late."""
        rules = ["add table netdev wire", "delete table netdev wire", "add table netdev wire"]
        for way, source, target in (("up", "near", "far"), ("down", "far", "near")):
            for number, interface in enumerate((source, f"{way}1b", f"{way}2b")):
                rules.append(f"add chain netdev wire {interface} {{ type filter hook ingress device {interface} priority 0 ; }}")
                if number == 0 and loss:
                    rules.append(f"add rule netdev wire {interface} numgen random mod 1000 < {loss * 10} drop")
                if number == 0 and overtaking:
                    rules.append(f"add rule netdev wire {interface} numgen random mod 1000 < {overtaking * 10} fwd to {way}1a")
                onward = f"{way}2a" if number == 1 else target
                rules.append(f"add rule netdev wire {interface} fwd to {onward}")
        self.run(["nft", "-f", "-"], input="\n".join(rules) + "\n")


class BadNetwork(Network):
    """A network with a wire on each side."""

    def __init__(self, prefix):
        super().__init__(prefix)
        self.wires = [Wire(f"{prefix}-wire{side}") for side in (0, 1)]
        self.namespaces += self.wires

    def _join(self, end, end_name, middle, middle_name):
        wire = self.wires[0 if end is self.client else 1]
        for near, near_name, far, far_name in ((end, end_name, wire, "near"), (middle, middle_name, wire, "far")):
            run(["ip", "link", "add", near_name, "netns", near.name, "type", "veth", "peer", "name", far_name, "netns", far.name])
            near.run(["ethtool", "-K", near_name, "tx", "off"])
            near.ip("link", "set", "dev", near_name, "up")
            wire.plain(far_name)

    def up(self):
        super().up()
        for namespace in (self.client, self.server):
            # What a connection learnt of the path is forgotten with it: neither round begins with the other's threshold.
            namespace.run(["sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1"])
        # Nobody answers for addresses over a bad wire, and the kernel hands a redirected ARP to no veth without GRO.
        for namespace, name, other, other_name, addresses in (
                (self.client, "client0", self.server, "server0", [pair[0] for pair in SERVERS]),
                (self.server, "server0", self.client, "client0", [CLIENT[0]])):
            mac = ":".join(f"{octet:02x}" for octet in hardware_address(other, other_name))
            for address in addresses:
                namespace.ip("neigh", "replace", address, "lladdr", mac, "dev", name, "nud", "permanent")


def transfer(network, octets, sessions):
    """Mbit/s of so many sessions at once, from the first octet of a mail to the reply to the last."""
    spans, failures = [], []
    ready = threading.Barrier(sessions, timeout=60)

    def one():
        try:
            with Step(network.client, SERVER, timeout=120) as step:
                step.read_reply()
                for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
                    step.say(line)
                ready.wait()
                began = time.monotonic()
                step.socket.sendall(octets)
                answer = code(step.read_reply())
                spans.append((began, time.monotonic()))
                if answer != 250:
                    failures.append(f"the mail was answered with {answer}")
        except (OSError, threading.BrokenBarrierError) as error:
            failures.append(f"{type(error).__name__}: {error}")
            ready.abort()

    threads = [threading.Thread(target=one) for _ in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise OSError(failures[0])
    seconds = max(end for _, end in spans) - min(began for began, _ in spans)
    return len(octets) * sessions * 8 / seconds / 1e6


def measure(network, folder, arguments, faults):
    with open(os.path.join(folder, "bench.policy"), "w", encoding="ascii") as file:
        file.write(POLICY)
    artifact = gateway.compile_policy(os.path.join(folder, "bench.policy"), os.path.join(folder, "bench.postern"))
    names = [name for name, *_ in CASES]
    results = {name: {"name": name, "bridge": [], "postern": [], "counters": {}} for name in names}
    for number in range(arguments.rounds):
        kinds = ("bridge", "postern") if number % 2 == 0 else ("postern", "bridge")
        for kind in kinds:
            if kind == "bridge":
                middle = gateway.Bridge(network).start()
            else:
                # Its policy reads no octets; segments are treated as those of a session that is read.
                middle = gateway.Postern(network, folder, artifact, options=("--uninspected-sessions", "normalize"),
                                         name=f"bench-{number}").start()
            try:
                before = middle.metrics() if kind == "postern" else None
                for name, client_side, server_side in CASES:
                    if arguments.only and not any(part in name for part in arguments.only.split(",")):
                        continue
                    network.wires[0].become(*client_side)
                    network.wires[1].become(*server_side)
                    message = stuffed(make_message(1_000_000) * arguments.megabytes)
                    try:
                        speed = transfer(network, message, arguments.sessions)
                        results[name][kind].append(round(speed, 2))
                        if arguments.verbose:
                            print(f"{number} {kind:8} {name:45} {speed:9.1f} Mbit/s", file=sys.stderr)
                    except OSError as error:
                        faults.append(f"{kind}, {name}: {error}")
                    for wire in network.wires:
                        wire.become(0, 0)
                    if before is not None:
                        now = middle.metrics()
                        counters = results[name]["counters"]
                        for metric, labels, by in now.growth(before):
                            key = metric + "".join(f" {value}" for label, value in labels.items() if label not in ("worker", "port"))
                            counters[key] = counters.get(key, 0) + by
                        before = now
            finally:
                middle.stop()
    return [results[name] for name in names if results[name]["bridge"] or results[name]["postern"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each (default 5)")
    # So much that one retransmission timeout, 0.2 s, is not all there is to see.
    parser.add_argument("--megabytes", type=int, default=32, help="size of a mail (default 32)")
    parser.add_argument("--sessions", type=int, default=4, help="sessions at once (default 4)")
    parser.add_argument("--only", help="cases with one of these, separated by commas, in their name")
    parser.add_argument("--verbose", action="store_true", help="each measurement as it comes, to standard error")
    arguments = parser.parse_args()
    # So that an early end leaves nothing behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended early"))
    faults = []
    folder = tempfile.mkdtemp(prefix="postern-bench-")
    os.chmod(folder, 0o755)  # noqa: S103
    cases = []
    try:
        with BadNetwork(f"postern-bench-{os.getpid()}") as network, contextlib.ExitStack() as stack:
            sink = SmtpSink(network.server, folder, SERVER)
            stack.callback(sink.stop)
            sink.start()
            cases = measure(network, folder, arguments, faults)
    except (DidNotStart, gateway.PolicyRefused) as error:
        faults.append(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps({"cases": cases, "faults": faults}))


if __name__ == "__main__":
    main()
