"""What stands between the ends: Postern on real AF_XDP sockets, or a kernel bridge to compare with.

`NETLAB_GATEWAY=bridge` chooses the bridge; it forwards everything, so it shows that ends and harness work.
`POSTERN_BIN` names the folder of the two programs; default is cargo's release folder.
"""

import os
import signal
import subprocess

from . import observe
from .namespaces import run
from .programs import Program

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
METRICS = "127.0.0.1:9598"


def kind():
    """"postern" or "bridge", as the environment asks."""
    chosen = os.environ.get("NETLAB_GATEWAY", "postern")
    if chosen not in ("postern", "bridge"):
        raise ValueError(f"NETLAB_GATEWAY={chosen}: postern or bridge")
    return chosen


def binary(name):
    """Path of one of the programs; it need not exist."""
    folder = os.environ.get("POSTERN_BIN") or os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target"), "release")
    return os.path.join(folder, name)


class PolicyRefused(Exception):
    """The compiler found mistakes; its diagnostics are the text."""


def compile_policy(source, artifact):
    """Runs `posternc compile`. `source` is a path."""
    done = run([binary("posternc"), "compile", source, "-o", artifact], check=False)
    if done.returncode != 0 or not os.path.exists(artifact):
        raise PolicyRefused(f"posternc compile {source}: exit {done.returncode}\n{done.stderr}{done.stdout}")
    return artifact


class Bridge:
    """A kernel bridge between the gateway's interfaces."""

    def __init__(self, network):
        self.network = network

    def start(self):
        namespace = self.network.gateway
        namespace.ip("link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0")
        for interface in ("outside0", "inside0"):
            namespace.ip("link", "set", interface, "master", "bridge0")
        namespace.ip("link", "set", "bridge0", "up")
        return self

    def stop(self):
        self.network.gateway.run(["ip", "link", "del", "bridge0"], check=False)


class Postern:
    """The gateway itself: `postern run` inside the gateway's namespace.

    `ports` are the policy's names for the client's and the server's side. `syslog` is "path" or "udp" for a collector of
    our own at a socket or a UDP port, or the path of someone else's socket."""

    def __init__(self, network, directory, artifact, ports=("outside", "inside"), options=(), syslog="path",
                 name="postern", outlives_us=False):
        self.network = network
        self.directory = directory
        self.artifact = artifact
        self.ports = ports
        self.options = [str(option) for option in options]
        self.control = os.path.join(directory, f"{name}.control")
        self.events_path = os.path.join(directory, f"{name}.events")
        self.log = os.path.join(directory, f"{name}.log")
        self.syslog_kind = syslog
        self.name = name
        self.outlives_us = outlives_us
        self.program = None
        self.syslog = None

    def command_line(self, syslog_address):
        outside, inside = self.ports
        return [binary("postern"), "run", "--policy", self.artifact,
                "--port", f"{outside}=outside0", "--port", f"{inside}=inside0",
                "--events", self.events_path, "--syslog", syslog_address,
                "--metrics", METRICS, "--control", self.control, *self.options]

    def start(self):
        for path in (self.events_path, self.log, self.control):
            if os.path.exists(path):
                os.unlink(path)
        if self.syslog_kind.startswith("/"):
            self.syslog = None
        elif self.syslog_kind == "udp":
            self.syslog = observe.Syslog.on_udp(self.network.gateway)
        else:
            self.syslog = observe.Syslog.on_path(os.path.join(self.directory, f"{self.name}.syslog"))
        self.events = observe.Events(self.events_path)
        address = self.syslog.address if self.syslog else self.syslog_kind
        self.program = Program(self.command_line(address), self.network.gateway, self.log, self.outlives_us)
        try:
            self.program.wait_until(lambda: any(line.split()[:1] == ["ready"] for line in self.program.output().splitlines()),
                                    "it said ready")
        except BaseException:
            self.stop()
            raise
        return self

    def metrics(self):
        return observe.Metrics.fetch(self.network.gateway, METRICS)

    def fetch(self, path):
        """Status and text of another page of the metrics server, such as /healthz."""
        return observe.fetch(self.network.gateway, METRICS, path)

    def show(self, *words):
        """`postern show WORDS`; the finished process."""
        return run([binary("postern"), "show", *words, "--control", self.control], check=False, timeout=20)

    def terminate(self):
        self.program.send(signal.SIGTERM)

    def kill(self):
        """The hard way, as a crash would be."""
        self.program.send(signal.SIGKILL)
        self.program.wait(5.0)

    def stop(self):
        """Drains and ends it; returns its exit status."""
        status = None
        if self.program is not None:
            status = self.program.stop(15.0)
        if self.syslog is not None:
            self.syslog.close()
        return status


def xdp_is_attached(network, interface):
    """Whether an XDP program sits on one of the gateway's interfaces."""
    return "xdp" in network.gateway.ip("link", "show", interface).stdout


def pins():
    """Pinned BPF objects there are, where a BPF file system is mounted."""
    found = []
    for folder, _, files in os.walk("/sys/fs/bpf"):
        found += [os.path.join(folder, name) for name in files]
    return sorted(found)


def programs_are_built():
    return all(os.access(binary(name), os.X_OK) for name in ("postern", "posternc"))


def version(name):
    """First line of `NAME --version`, or the reason that there is none."""
    try:
        said = subprocess.run([binary(name), "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (said.stdout or said.stderr).strip().split("\n")[0]
