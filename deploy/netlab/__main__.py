"""deploy/lab: shows Postern at work between real mail programs, or leaves it running to play with."""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time

from . import gateway, report, scenes
from .capture import Capture
from .namespaces import CLIENT, CommandFailed, Network, survivors
from .programs import DidNotStart, Program
from .servers import DOMAIN, Postfix, SmtpSink, stop_all

PREFIX = "postern-lab"
STATE = "/run/postern-lab.json"
LOCK = "/run/postern-lab.lock"
POLICIES = os.path.join(gateway.ROOT, "deploy", "policies")


def main():
    options = _arguments()
    if os.geteuid() != 0:
        print("lab: run it as root: it makes network namespaces and AF_XDP sockets", file=sys.stderr)
        return 1
    # Also where a shell that runs us in the background made us deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    with open(LOCK, "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("lab: another lab is running on this machine", file=sys.stderr)
            return 1
        try:
            return _down() if options.command == "down" else Lab(options).run()
        except KeyboardInterrupt:
            print("\nlab: interrupted; everything is removed", file=sys.stderr)
            return 130
        except (CommandFailed, DidNotStart, gateway.PolicyRefused) as error:
            print(f"lab: {error}", file=sys.stderr)
            return 1
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(LOCK)


def _arguments():
    parser = argparse.ArgumentParser(
        prog="deploy/lab", description="Installs what is missing, builds Postern, and shows it between real mail programs in three "
        "network namespaces on this machine. Removes everything afterwards. Run it as root.",
        epilog="examples: deploy/lab; deploy/lab --keep, then deploy/lab down; deploy/lab --only 4,5")
    parser.add_argument("command", nargs="?", choices=["show", "down"], default="show",
                        help="show (the default) plays the scenes; down removes what --keep left")
    parser.add_argument("--keep", action="store_true", help="leave gateway and mail server running, and say how to use them")
    parser.add_argument("--only", metavar="N,N", default="", help="play only these scenes (numbers as printed)")
    parser.add_argument("--no-build", action="store_true", help="neither install packages nor build; use the programs that are there")
    parser.add_argument("--gateway", choices=["postern", "bridge"], default=gateway.kind(),
                        help="bridge: a kernel bridge in Postern's place, to see what the ends do without it; nothing is judged")
    options = parser.parse_args()
    try:
        options.only = {int(number) for number in options.only.split(",") if number}
    except ValueError:
        parser.error(f"--only {options.only}: numbers with commas between them")
    if options.command == "down" and options.keep:
        parser.error("--keep belongs to show")
    return options


def _remove_leftovers():
    """Ends and removes what a lab left, by --keep or because it was killed. Returns whether there was anything."""
    found = bool(survivors(PREFIX))
    Network(PREFIX).down()
    with contextlib.suppress(FileNotFoundError, ValueError):
        with open(STATE, encoding="ascii") as file:
            state = json.load(file)
        found = True
        _end_collector(state.get("collector"))
        directory = state.get("directory", "")
        if os.path.basename(directory).startswith(f"{PREFIX}-"):
            shutil.rmtree(directory, ignore_errors=True)
        os.unlink(STATE)
    return found


def _end_collector(pid):
    """Ends the log collector of --keep, when that process is still the one that was started."""
    with contextlib.suppress(OSError, TypeError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            ours = b"netlab.collector" in file.read()
        if ours:
            os.kill(pid, signal.SIGTERM)


def _down():
    found = _remove_leftovers()
    left = survivors(PREFIX)
    print("lab: removed" if found and not left else f"lab: could not remove {', '.join(left)}" if left else "lab: there was none")
    return 1 if left else 0


class Lab:
    """One showing, from namespaces to clean-up."""

    def __init__(self, options):
        self.options = options
        self.paper = report.Paper()
        self.is_bridge = options.gateway == "bridge"
        self.failed = []
        self.judged = 0

    def run(self):
        if not self.is_bridge and not gateway.programs_are_built():
            raise DidNotStart(f"{gateway.binary('postern')} and posternc are not built: deploy/build makes them")
        if _remove_leftovers():
            self.paper.step("removed what an earlier lab had left")
        self.directory = tempfile.mkdtemp(prefix=f"{PREFIX}-")
        self._write_state()
        self.network = Network(PREFIX)
        self.running = []
        kept = False
        try:
            self._begin()
            number = 0
            for act in scenes.ACTS:
                wanted = [number + index + 1 for index in range(len(act.scenes))]
                number += len(act.scenes)
                if not self.options.only or self.options.only & set(wanted):
                    self._act(act, wanted[0])
            status = self._sum_up()
            if self.options.keep:
                self._keep()
                kept = True
            return status
        finally:
            if not kept:
                self._clean_up()

    # ------------------------------------------------------------ setting up and clearing away

    def _begin(self):
        keep = self.options.keep
        self.paper.title("Postern: a mail firewall between two network ports")
        self.paper.say()
        middle = "kernel bridge" if self.is_bridge else "Postern"
        for line in ("┌────────────────┐          ┌─────────────────────┐          ┌────────────────┐",
                     f"│     client     │ client0  │{middle:^21}│  server0 │    postfix     │",
                     "│ smtplib, swaks ├──────────┤outside0      inside0├──────────┤   smtp-sink    │",
                     f"│{CLIENT[0]:^16}│   veth   │     no address      │   veth   │{scenes.MX4:^16}│",
                     "└────────────────┘          └─────────────────────┘          └────────────────┘"):
            self.paper.say("   " + line)
        self.paper.say()
        if not self.is_bridge:
            self.paper.step(f"{gateway.version('postern')}; {gateway.version('posternc')}")
        self.paper.step("three network namespaces, joined by veth; IPv4 and IPv6")
        self.network.up()
        self.paper.step("postfix and smtp-sink in the server's namespace")
        self.postfix = Postfix(self.network.server, self.directory, [scenes.MX4, scenes.MX6], outlives_us=keep).start()
        self.running.append(self.postfix)
        self.sinks = []
        for name, address in (("four", scenes.SINK4), ("six", scenes.SINK6)):
            folder = os.path.join(self.directory, name)
            os.makedirs(folder)
            sink = SmtpSink(self.network.server, folder, address, outlives_us=keep).start()
            self.running.append(sink)

    def _write_state(self, **more):
        with open(STATE, "w", encoding="ascii") as file:
            json.dump({"directory": self.directory, **more}, file)

    def _clean_up(self):
        self.paper.step("removing namespaces, processes and files")
        # A second Ctrl-C must not leave half of it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(Exception):
            stop_all(self.running)
        self.network.down()
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(STATE)
        left = survivors(PREFIX)
        if left:
            print(f"lab: left behind: {', '.join(left)}", file=sys.stderr)

    # ------------------------------------------------------------ playing

    def _start_gateway(self, policy, ports, **options):
        if self.is_bridge:
            return gateway.Bridge(self.network).start()
        source = os.path.join(POLICIES, policy)
        self.paper.step(f"posternc compile deploy/policies/{policy}")
        artifact = gateway.compile_policy(source, os.path.join(self.directory, policy.replace(".policy", ".postern")))
        self.paper.step(f"postern run --policy {os.path.basename(artifact)} --port {ports[0]}=outside0 --port {ports[1]}=inside0")
        name = options.pop("name", policy.removesuffix(".policy"))
        return gateway.Postern(self.network, self.directory, artifact, ports, name=name, **options).start()

    def _act(self, act, first):
        self.paper.title(f"deploy/policies/{act.policy}")
        self.paper.paragraph(act.text)
        middle = self._start_gateway(act.policy, act.ports)
        self.running.append(middle)
        stage = scenes.Stage(self.network, self.postfix, self.sinks, None if self.is_bridge else middle)
        for number, scene in enumerate(act.scenes, first):
            if not self.options.only or number in self.options.only:
                self._scene(number, scene, stage)
        self.running.remove(middle)
        status = middle.stop()
        if not self.is_bridge:
            self._check(status == 0, f"the gateway ended with status {status} after SIGTERM", "its end", always=status != 0)

    def _scene(self, number, scene, stage):
        self.paper.scene(number, scene.title, scene.text)
        middle = stage.gateway
        if middle:
            events, syslog, before = middle.events.mark(), middle.syslog.mark(), middle.metrics()
        error = played = None
        with Capture(self.network.client, "client0") as client, Capture(self.network.server, "server0") as server:
            try:
                played = scene.play(stage)
            except (OSError, EOFError, CommandFailed) as raised:
                error = raised
        if middle:
            # Counters are published outside the hot loop: give them a moment.
            time.sleep(0.3)
        result = scenes.Result(
            client.sessions(), server.sessions(), middle.events.since(events) if middle else [],
            middle.syslog.since(syslog) if middle else [], middle.metrics().growth(before) if middle else [], played)
        checks = [(False, f"the client failed: {error}")] if error else self._judge(scene, result)
        if scene.shown:
            self.paper.sides(result.client[0].lines if result.client else [], result.server[0].lines if result.server else [])
            self.paper.say()
        if result.notes:
            self.paper.facts("", result.notes)
        if middle:
            self.paper.facts("events", _shortened([report.describe_event(event) for event in result.events]))
            self.paper.facts("syslog", _shortened(result.syslog))
            self.paper.facts("counters", report.describe_growth(result.growth))
        if middle or error:
            for ok, text in checks:
                self._check(ok, text, f"scene {number}, {scene.title}", always=True)
        if middle and not middle.program.is_running():
            raise DidNotStart(f"the gateway ended by itself:\n{middle.program.output()}")

    def _judge(self, scene, result):
        try:
            return scene.judge(result)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            # A judge may stumble over a session that is not there at all; that is a failure to show, not to raise.
            return [(False, f"nothing to judge by ({type(error).__name__}: {error})")]

    def _check(self, ok, text, where, always):
        self.judged += 1
        if always:
            self.paper.checks([(ok, text)])
        if not ok:
            self.failed.append((where, text))

    def _sum_up(self):
        self.paper.say()
        if self.is_bridge:
            self.paper.say("A kernel bridge decides nothing, so nothing was judged.", "bold")
            return 0
        if not self.failed:
            self.paper.say(f"All {self.judged} of what was to be seen was seen.", "bold", "green")
            return 0
        self.paper.say(f"{len(self.failed)} of {self.judged} did not hold:", "bold", "red")
        for where, text in self.failed:
            self.paper.say(f"  {where}: {text}")
        return 1

    # ------------------------------------------------------------ staying

    def _keep(self):
        act = scenes.ACTS[0]
        log, path = os.path.join(self.directory, "syslog.log"), os.path.join(self.directory, "kept.syslog")
        collector = Program([sys.executable, "-m", "netlab.collector", path, log], None, os.path.join(self.directory, "collector.log"),
                            outlives_us=True)
        self._write_state(collector=collector.pid)
        collector.wait_until(lambda: os.path.exists(path), "its socket was there")
        middle = self._start_gateway(act.policy, act.ports, name="kept", outlives_us=True, **({} if self.is_bridge else {"syslog": path}))
        inside = f"ip netns exec {PREFIX}-client"
        self.paper.title("Left running: deploy/policies/lab.policy")
        rows = [
            ("send mail", f"{inside} swaks --server {scenes.MX4} --from you@example.org --to anyone@{DOMAIN}"),
            ("be refused", f"{inside} swaks --server {scenes.MX4} --from x@spam.example --to anyone@{DOMAIN}"),
            ("over IPv6", f"{inside} swaks -6 --server {scenes.MX6} --from you@example.org --to anyone@{DOMAIN}"),
            ("by hand", f"{inside} curl -v telnet://{scenes.MX4}:25"),
            ("many", f"{inside} smtp-source -s 50 -m 1000 -l 4000 -f you@example.org -t anyone@{DOMAIN} {scenes.SINK4}:25"),
            ("mailbox", f"ls -t {self.postfix.mailboxes}/inbox/new"),
        ]
        if not self.is_bridge:
            rows += [
                ("events", f"tail -f {middle.events_path} | jq -c .postern"),
                ("syslog", f"tail -f {log}"),
                ("counters", f"ip netns exec {PREFIX}-gateway curl -s {gateway.METRICS}/metrics"),
                ("sessions", f"{gateway.binary('postern')} show sessions --control {middle.control}"),
            ]
        rows += [("watch", f"ip netns exec {PREFIX}-server tcpdump -nAi server0 port 25"), ("remove", "deploy/lab down")]
        self.paper.say()
        for name, command in rows:
            self.paper.say(f"  {self.paper.paint(name.ljust(11), 'bold')} {command}")


def _shortened(lines, limit=12):
    if len(lines) <= limit:
        return lines
    return [*lines[:limit], f"... and {len(lines) - limit} more"]


if __name__ == "__main__":
    sys.exit(main())
