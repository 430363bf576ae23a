#!/usr/bin/env python3
"""Measures on the wire: `bench/network/live.py wire|latency|reload [--quick]`, started by `bench/run`. Prints JSON.

Client, gateway and server are network namespaces joined by veth, all on this machine's cores. What is compared with a kernel bridge
in the gateway's place is measured in turn. Needs root, and postfix for smtp-source and smtp-sink."""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from netlab import gateway
from netlab.clients import Step, smtp_source
from netlab.namespaces import SERVERS, Network, run
from netlab.servers import SmtpSink

SERVER = SERVERS[0][0]
#: (sessions at once, mails, octets of a mail), by name and whether it is quick.
LOADS = {
    "small": {False: (8, 12000, 2000), True: (8, 2000, 2000)},
    "large": {False: (4, 400, 1_400_000), True: (4, 60, 1_400_000)},
}
SMALL_ROUNDS = {False: 5, True: 2}
#: A policy with a hundred patterns over bodies, as the memory benches have.
PATTERN_COUNT = 100
NOOPS = {False: 20000, True: 3000}
RELOADS = {False: 20, True: 4}
RELOAD_PATTERNS = {False: 10_000, True: 200}


def policy(patterns):
    text = ["zone security outside", "zone security inside"]
    maps = []
    for first in range(0, patterns, 64):
        maps.append(f"words{first}")
        text.append(f"parameter-map type regex words{first}")
        text += [f' pattern "casino number #{number};"' for number in range(first, min(first + 64, patterns))]
    text.append("class-map type inspect smtp match-any found")
    text += [f" match body regex {name}" for name in maps]
    return "\n".join([
        *text, "policy-map type inspect smtp rules", " class type inspect smtp found", "  log",
        "class-map type inspect match-any mail", " match protocol smtp",
        "policy-map type inspect inbound", " class type inspect mail", "  inspect", "  service-policy smtp rules",
        " class class-default", "  pass",
        "zone-pair security in source outside destination inside", " service-policy type inspect inbound",
        "zone-pair security out source inside destination outside", " service-policy type inspect inbound", ""])


def row(name, unit, measured, detail, at_least=None, at_most=None):
    return {"name": name, "unit": unit, "measured": measured, "at_least": at_least, "at_most": at_most, "detail": detail}


def busy():
    """Seconds that all processors were busy since the machine started: everything but idle and waiting for disks."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def spread(values):
    middle = statistics.median(values)
    return f"±{max(abs(value - middle) for value in values) / middle * 100:.0f}%" if middle else "±0%"


class Bench:
    def __init__(self, quick):
        self.quick = quick
        self.directory = tempfile.mkdtemp(prefix="postern-bench-")
        self.network = Network(f"postern-bench-{os.getpid()}")
        self.artifacts = {}
        self.rows, self.faults = [], []

    def __enter__(self):
        self.network.up()
        self.sink = SmtpSink(self.network.server, self.directory, SERVER).start()
        return self

    def __exit__(self, *_):
        self.sink.stop()
        self.network.down()
        shutil.rmtree(self.directory, ignore_errors=True)

    def artifact(self, patterns):
        if patterns not in self.artifacts:
            source = os.path.join(self.directory, f"{patterns}.policy")
            with open(source, "w", encoding="ascii") as file:
                file.write(policy(patterns))
            self.artifacts[patterns] = gateway.compile_policy(source, source + ".postern")
        return self.artifacts[patterns]

    def middle(self, kind):
        if kind == "bridge":
            return gateway.Bridge(self.network).start()
        return gateway.Postern(self.network, self.directory, self.artifact(PATTERN_COUNT)).start()

    def alternated(self, measure):
        """`measure(middle)` under a bridge and under Postern, in turn; two lists of what it returns."""
        found = {"bridge": [], "postern": []}
        for _ in range(SMALL_ROUNDS[self.quick]):
            for kind, values in found.items():
                middle = self.middle(kind)
                try:
                    values.append(measure(middle))
                finally:
                    middle.stop()
        return found["bridge"], found["postern"]

    def wire(self):
        for name in LOADS:
            sessions, mails, length = LOADS[name][self.quick]

            def load(middle, sessions=sessions, mails=mails, length=length):
                before = busy()
                seconds = smtp_source(self.network.client, SERVER, sessions, mails, length)
                return (busy() - before) / mails, mails / seconds

            bridge, postern = self.alternated(load)
            cost = [ours[0] / theirs[0] for ours, theirs in zip(postern, bridge)]
            rate = [ours[1] / theirs[1] for ours, theirs in zip(postern, bridge)]
            unit = f"{statistics.median(each[1] for each in postern):.0f} mails/s"
            if name == "large":
                unit = f"{statistics.median(each[1] for each in postern) * length / 1e6:.0f} MB/s"
            micros = [statistics.median(each[0] for each in side) * 1e6 for side in (postern, bridge)]
            self.rows.append(row(f"wire: {name} mail, processor time to a bridge's", "ratio", statistics.median(cost),
                                 f"{micros[0]:.0f} and {micros[1]:.0f} us a mail, whole machine, {spread(cost)}", at_most=1.3))
            self.rows.append(row(f"wire: {name} mail, rate to a bridge's", "ratio", statistics.median(rate),
                                 f"{unit}, {spread(rate)}", at_least=0.9))
        self.system_calls()

    def system_calls(self):
        """What the workers ask of the kernel under load, besides waking the rings up and waiting for them."""
        if shutil.which("strace") is None:
            self.faults.append("wire: system calls: skipped, strace is not installed")
            return
        middle = self.middle("postern")
        try:
            tasks = f"/proc/{middle.program.pid}/task"
            workers = [task for task in os.listdir(tasks) if open(f"{tasks}/{task}/comm").read().startswith("worker")]
            before = middle.metrics()
            with tempfile.NamedTemporaryFile("r", dir=self.directory) as out:
                tracer = subprocess.Popen(["strace", "-c", "-o", out.name, *(f"-p{task}" for task in workers)],
                                          stderr=subprocess.DEVNULL)
                time.sleep(0.5)
                smtp_source(self.network.client, SERVER, 8, 500, 2000)
                tracer.send_signal(signal.SIGINT)
                tracer.wait(10)
                table = out.read()
            calls = {words[-1]: int(words[3]) for words in (line.split() for line in table.splitlines())
                     if len(words) >= 5 and re.fullmatch(r"[\d.]+", words[0]) and words[-1] != "total"}
            rings = {"sendto", "recvfrom", "poll", "ppoll", "futex", "recvmsg", "sendmsg", "restart_syscall"}
            others = {name: count for name, count in calls.items() if name not in rings}
            asked = sum(calls.values()) - sum(others.values())
            frames = [each.total("postern_frames_total", fate="forwarded") for each in (before, middle.metrics())]
            detail = f"{asked} ring wake-ups and waits, {len(workers)} worker"
            detail += f", {frames[1] - frames[0]:.0f} frames"
            if others:
                detail += f"; others: {others}"
            self.rows.append(row("wire: system calls besides the rings'", "calls", sum(others.values()), detail, at_most=0))
        finally:
            middle.stop()

    def round_trips(self, count, until=lambda: False, pace=0.0):
        """Microseconds of NOOP and its reply."""
        times = []
        with Step(self.network.client, SERVER) as step:
            step.read_reply()
            step.say("HELO bench.example")
            plain = step.socket
            plain.settimeout(5)
            while len(times) < count and not until():
                began = time.perf_counter_ns()
                plain.sendall(b"NOOP\r\n")
                plain.recv(100)
                times.append((time.perf_counter_ns() - began) / 1e3)
                if pace:
                    time.sleep(pace)
        return times

    def latency(self):
        def measure(_middle):
            # Two sessions of a load generator beside it: about half of what the machine can do.
            stop = threading.Event()

            def load():
                while not stop.is_set():
                    smtp_source(self.network.client, SERVER, 2, 300, 2000)

            beside = threading.Thread(target=load)
            beside.start()
            try:
                times = sorted(self.round_trips(NOOPS[self.quick], pace=0.0005))
            finally:
                stop.set()
                beside.join()
            return times[len(times) // 2], times[len(times) * 99 // 100]

        bridge, postern = self.alternated(measure)
        for index, (name, limit) in enumerate((("p50", 30), ("p99", 100))):
            added = [ours[index] - theirs[index] for ours, theirs in zip(postern, bridge)]
            middles = [statistics.median(each[index] for each in side) for side in (postern, bridge)]
            self.rows.append(row(f"latency: added to a command and its reply, {name}", "us", statistics.median(added),
                                 f"{middles[0]:.0f} and {middles[1]:.0f} us, over a bridge", at_most=limit))

    def reload(self):
        artifact = self.artifact(RELOAD_PATTERNS[self.quick])
        middle = self.middle("postern")
        try:
            quiet = max(self.round_trips(NOOPS[self.quick] // 4, pace=0.0005))
            before = self.dropped(middle)
            done = threading.Event()
            failed = []

            def reloads():
                for _ in range(RELOADS[self.quick]):
                    ended = run([gateway.binary("postern"), "reload", "--policy", artifact, "--control", middle.control],
                                check=False, timeout=30)
                    if ended.returncode != 0:
                        failed.append(ended.stderr.strip())
                    time.sleep(0.05)
                done.set()

            threading.Thread(target=reloads).start()
            times = self.round_trips(10**9, until=done.is_set, pace=0.0002)
            self.faults += failed[:1]
            lost = self.dropped(middle) - before
            count = f"{RELOADS[self.quick]} reloads of {RELOAD_PATTERNS[self.quick]} patterns"
            self.rows.append(row("reload: frames dropped", "frames", lost, f"{count}, {len(times)} round trips", at_most=0))
            over = [each for each in times if each > 1000]
            self.rows.append(row("reload: longest round trip over the longest without", "ms", max(max(times) - quiet, 0) / 1e3,
                                 f"{max(times):.0f} and {quiet:.0f} us; {len(over)} of {len(times)} over 1 ms", at_most=1))
        finally:
            middle.stop()

    def dropped(self, middle):
        return middle.metrics().total("postern_frames_total", fate="dropped")


def skipped():
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if not gateway.programs_are_built():
        return f"{gateway.binary('postern')} is not built"
    for program in ("smtp-source", "smtp-sink", "ethtool"):
        if shutil.which(program) is None and not os.path.exists(f"/usr/sbin/{program}"):
            return f"{program} is not installed (deploy/install-packages lab)"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measure", choices=["wire", "latency", "reload"])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    why = skipped()
    if why:
        print(json.dumps({"skipped": why}))
        return
    with Bench(arguments.quick) as bench:
        getattr(bench, arguments.measure)()
        print(json.dumps({"rows": bench.rows, "faults": bench.faults}))


if __name__ == "__main__":
    sys.exit(main())
