#!/usr/bin/env python3
"""Measures on the wire: `bench/network/live.py wire|forwarding|latency|reload [--quick]`, started by `bench/run`. Prints JSON.

Client, gateway and server are network namespaces joined by veth, all on this machine's cores. What is compared with a kernel bridge
in the gateway's place is measured in turn. Needs root, and postfix for smtp-source and smtp-sink."""

import argparse
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from netlab import gateway
from netlab.clients import smtp_source
from netlab.namespaces import SERVERS, Network, run
from netlab.programs import Program
from netlab.servers import SmtpSink

SERVER = SERVERS[0][0]
#: This bench's own program, for what runs inside a namespace.
BENCH = os.environ.get("POSTERN_BENCH") or gateway.binary("postern-bench")
#: (sessions at once, mails, octets of a mail), by name and whether it is quick.
LOADS = {
    "small": {False: (8, 12000, 2000), True: (8, 2000, 2000)},
    "large": {False: (4, 400, 1_400_000), True: (4, 60, 1_400_000)},
}
SMALL_ROUNDS = {False: 5, True: 2}
#: A policy with a hundred patterns over bodies, as the memory benches have.
PATTERN_COUNT = 100
#: Milliseconds of round trips in a round, and microseconds between two of them.
TALK_MILLIS = {False: 5000, True: 1500}
PACE = 500
RELOADS = {False: 20, True: 4}
#: Milliseconds between two of them.
RELOAD_EVERY = 300
RELOAD_PATTERNS = {False: 10_000, True: 200}
#: Octets of the frames that are forwarded, and for how many milliseconds they come.
FORWARDED = {"60 octets": 60, "1,514 octets": 1514}
FORWARDING_MILLIS = {False: 500, True: 250}
FORWARDING_ROUNDS = {False: 11, True: 5}
#: Follows connections to the port of mail, looks into none.
PINHOLE = """zone security outside
zone security inside
class-map type inspect match-any mail
 match protocol smtp
policy-map type inspect inbound
 class type inspect mail
  inspect
 class class-default
  pass
zone-pair security in source outside destination inside
 service-policy type inspect inbound
"""


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
        *text, "policy-map type inspect smtp rules",
        # Round trips are timed with thousands of NOOPs.
        " parameters", "  limit junk-commands off", " class type inspect smtp found", "  log",
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


def worker_threads(pid):
    """The workers of a gateway: parts of paths below /proc."""
    tasks = [f"{pid}/task/{task}" for task in os.listdir(f"/proc/{pid}/task")]
    return [task for task in tasks if open(f"/proc/{task}/comm", encoding="ascii").read().startswith("worker")]


def command_name(pid):
    """Of a process; nothing when it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def processor_seconds(task):
    """What a thread has used."""
    with open(f"/proc/{task}/schedstat", encoding="ascii") as file:
        return int(file.readline().split()[0]) / 1e9


class SimpleForwarder:
    """The simplest forwarder on the same AF_XDP package: it reads headers."""

    def __init__(self, network, directory):
        self.network, self.log = network, os.path.join(directory, "forwarder.log")

    def start(self):
        if os.path.exists(self.log):
            os.unlink(self.log)
        last = max(os.sched_getaffinity(0))
        argv = ["taskset", "-c", last, BENCH, "forwarder", "outside0", "inside0"]
        self.program = Program(argv, self.network.gateway, self.log, False)
        try:
            self.program.wait_until(lambda: "ready" in self.program.output(), "it said ready")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        self.program.stop(5.0)


class Bench:
    def __init__(self, quick):
        self.quick = quick
        self.directory = tempfile.mkdtemp(prefix="postern-bench-")
        self.network = Network(f"postern-bench-{os.getpid()}")
        self.artifacts = {}
        self.softirqs = [pid for pid in os.listdir("/proc") if pid.isdigit() and command_name(pid).startswith("ksoftirqd")]
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
        return self.compiled(str(patterns), policy(patterns))

    def compiled(self, name, text):
        if name not in self.artifacts:
            source = os.path.join(self.directory, f"{name}.policy")
            with open(source, "w", encoding="ascii") as file:
                file.write(text)
            self.artifacts[name] = gateway.compile_policy(source, source + ".postern")
        return self.artifacts[name]

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
                before = busy(), self.own(middle)
                seconds = smtp_source(self.network.client, SERVER, sessions, mails, length)
                return (busy() - before[0]) / mails, mails / seconds, (self.own(middle) - before[1]) / mails

            bridge, postern = self.alternated(load)
            cost = [ours[0] / theirs[0] for ours, theirs in zip(postern, bridge)]
            rate = [ours[1] / theirs[1] for ours, theirs in zip(postern, bridge)]
            unit = f"{statistics.median(each[1] for each in postern):.0f} mails/s"
            if name == "large":
                unit = f"{statistics.median(each[1] for each in postern) * length / 1e6:.0f} MB/s"
            own = statistics.median(ours[2] / theirs[2] for ours, theirs in zip(postern, bridge))
            micros = [statistics.median(each[0] for each in side) * 1e6 for side in (postern, bridge)]
            self.rows.append(row(f"wire: {name} mail, processor time to a bridge's", "ratio", statistics.median(cost),
                                 f"{micros[0]:.0f} and {micros[1]:.0f} us a mail, whole machine, {spread(cost)}; "
                                 f"of what takes part alone {own:.2f}", at_most=1.3))
            self.rows.append(row(f"wire: {name} mail, rate to a bridge's", "ratio", statistics.median(rate),
                                 f"{unit}, {spread(rate)}", at_least=0.9))
        self.system_calls()

    def own(self, middle):
        """Seconds of both ends, of the gateway, and of the kernel's threads for network work."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        pids = [self.sink.program.pid, *self.softirqs]
        if isinstance(middle, gateway.Postern):
            pids.append(middle.program.pid)
        tasks = [f"{pid}/task/{task}" for pid in pids for task in os.listdir(f"/proc/{pid}/task")]
        return used.ru_utime + used.ru_stime + sum(processor_seconds(task) for task in tasks)

    def system_calls(self):
        """What the workers ask of the kernel under load, besides waking the rings up and waiting for them."""
        if shutil.which("strace") is None:
            self.faults.append("wire: system calls: skipped, strace is not installed")
            return
        middle = self.middle("postern")
        try:
            workers = [os.path.basename(task) for task in worker_threads(middle.program.pid)]
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
            rings = {"sendto", "recvfrom", "ppoll", "restart_syscall"}
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

    def forwarding(self):
        """Segments of sessions that are followed but not looked into, made by the kernel as fast as it can: past Postern, and past
        a program that only reads headers, in turn, each on the last core. What counts is the time of that core; both sleep as soon as
        there is nothing."""
        artifact = self.compiled("pinhole", PINHOLE)
        settings = os.path.join(self.directory, "forwarding.toml")
        with open(settings, "w", encoding="ascii") as file:
            file.write("[limits]\nspin_micros = 0\n")
        options = ["--unknown-sessions", "pass", "--config", settings]
        found = {name: {"simple": [], "postern": []} for name in FORWARDED}
        for _ in range(FORWARDING_ROUNDS[self.quick]):
            for kind in ("simple", "postern"):
                if kind == "postern":
                    middle = gateway.Postern(self.network, self.directory, artifact, options=options).start()
                    thread = worker_threads(middle.program.pid)[0]
                else:
                    middle = SimpleForwarder(self.network, self.directory).start()
                    thread = f"{middle.program.pid}/task/{middle.program.pid}"
                try:
                    for name, length in FORWARDED.items():
                        self.flood(length, 50)
                        before = self.arrived(), processor_seconds(thread), time.monotonic()
                        self.flood(length, FORWARDING_MILLIS[self.quick])
                        seconds = time.monotonic() - before[2]
                        frames = self.arrived() - before[0]
                        if frames == 0:
                            self.faults.append(f"forwarding: {name}: no frame came through ({kind})")
                            return
                        found[name][kind].append((frames / (processor_seconds(thread) - before[1]), frames / seconds))
                finally:
                    middle.stop()
        for name, sides in found.items():
            ratio = [ours[0] / theirs[0] for ours, theirs in zip(sides["postern"], sides["simple"])]
            nanos, rates = ([statistics.median(value(each) for each in sides[kind]) for kind in ("postern", "simple")]
                            for value in (lambda each: 1e9 / each[0], lambda each: each[1]))
            detail = (f"{nanos[0]:.0f} and {nanos[1]:.0f} ns a frame; {rates[0]:,.0f} and {rates[1]:,.0f} frames/s, {spread(ratio)}")
            self.rows.append(row(f"forwarding: frames of {name}, to a header-only forwarder", "ratio", statistics.median(ratio), detail,
                                 at_least=0.95))

    def flood(self, length, millis):
        self.network.client.run(["taskset", "-c", "0", BENCH, "frames", "client0", length, millis])
        # What is on its way arrives.
        time.sleep(0.02)

    def arrived(self):
        """Frames that the server's interface has received."""
        return int(self.network.server.run(["cat", "/sys/class/net/server0/statistics/rx_packets"]).stdout)

    def talk(self, rate, millis, pace=PACE):
        """Round trips of NOOP beside `rate` mails a second: what `postern-bench talk` saw."""
        done = self.network.client.run([BENCH, "talk", f"{SERVER}:25", rate, millis, pace])
        return json.loads(done.stdout)

    def latency(self):
        """Half of what goes at most through whichever takes less, sent by the clock, so the same under both."""
        sessions, mails, length = LOADS["small"][True]
        # Tens of thousands of connections in a minute: without this the client runs out of ports, with either in the middle.
        self.network.client.run(["sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65535"])
        most = self.alternated(lambda _: mails / smtp_source(self.network.client, SERVER, sessions, mails, length))
        rate = int(min(statistics.median(each) for each in most) / 2)
        went = []

        def measure(_middle):
            seen = self.talk(rate, TALK_MILLIS[self.quick])
            went.append(seen["mails"] / seen["seconds"])
            times = sorted(seen["micros"])
            return times[len(times) // 2], times[len(times) * 99 // 100]

        bridge, postern = self.alternated(measure)
        if min(went) < rate * 0.8:
            self.faults.append(f"latency: {rate} mails/s were to go beside it, {min(went):.0f} did")
        for index, (name, limit) in enumerate((("p50", 30), ("p99", 100))):
            added = [ours[index] - theirs[index] for ours, theirs in zip(postern, bridge)]
            middles = [statistics.median(each[index] for each in side) for side in (postern, bridge)]
            self.rows.append(row(f"latency: added to a command and its reply, {name}", "us", statistics.median(added),
                                 f"{middles[0]:.0f} and {middles[1]:.0f} us, over a bridge; beside {rate} mails/s, half of what goes",
                                 at_most=limit))

    def reload(self):
        artifact = self.artifact(RELOAD_PATTERNS[self.quick])
        middle = self.middle("postern")
        try:
            # As long as the reloads take, so that the longest of each are like.
            quiet = self.talk(0, RELOADS[self.quick] * RELOAD_EVERY, PACE)["micros"]
            before = self.dropped(middle)
            failed = []

            def reloads():
                for number in range(RELOADS[self.quick]):
                    time.sleep(max(0, began + (number + 0.5) * RELOAD_EVERY / 1e3 - time.monotonic()))
                    ended = run([gateway.binary("postern"), "reload", "--policy", artifact, "--control", middle.control],
                                check=False, timeout=30)
                    if ended.returncode != 0:
                        failed.append(ended.stderr.strip())

            beside = threading.Thread(target=reloads)
            began = time.monotonic()
            beside.start()
            times = self.talk(0, RELOADS[self.quick] * RELOAD_EVERY, PACE)["micros"]
            beside.join()
            self.faults += failed[:1]
            lost = self.dropped(middle) - before
            count = f"{RELOADS[self.quick]} reloads of {RELOAD_PATTERNS[self.quick]:,} patterns"
            self.rows.append(row("reload: frames dropped", "frames", lost, f"{count}, {len(times)} round trips", at_most=0))
            over, over_quiet = (sum(each > 1000 for each in some) for some in (times, quiet))
            self.rows.append(row("reload: longest round trip over the longest without", "ms", max(max(times) - max(quiet), 0) / 1e3,
                                 f"{max(times):.0f} and {max(quiet):.0f} us; {over} of {len(times)} over 1 ms, {over_quiet} of {len(quiet)} without",
                                 at_most=1))
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
    parser.add_argument("measure", choices=["wire", "forwarding", "latency", "reload"])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    why = skipped()
    if why:
        print(json.dumps({"skipped": why}))
        return
    # What else the machine does is to disturb as little as may be; everything started here inherits it.
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    with Bench(arguments.quick) as bench:
        getattr(bench, arguments.measure)()
        print(json.dumps({"rows": bench.rows, "faults": bench.faults}))


if __name__ == "__main__":
    sys.exit(main())
