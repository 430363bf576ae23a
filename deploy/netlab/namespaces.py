"""Three network namespaces joined by veth: client, gateway, server.

The gateway's two interfaces have no address: whatever stands there is a bump in the wire, and client and
server are in one subnet. Addresses are from the documentation ranges (RFC 5737, RFC 3849).
"""

import contextlib
import ctypes
import os
import socket
import subprocess

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

#: Addresses of the client's end.
CLIENT = ("192.0.2.10", "2001:db8::10")
#: Addresses of the server's end: several servers can listen on port 25 at once.
SERVERS = [("192.0.2.25", "2001:db8::25"), ("192.0.2.26", "2001:db8::26"), ("192.0.2.27", "2001:db8::27")]


class CommandFailed(Exception):
    """A program that should have succeeded did not."""


def run(argv, check=True, **options):
    """Runs a command to its end and returns it; its output is text."""
    done = subprocess.run(argv, text=True, capture_output=True, **options)
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise CommandFailed(f"{' '.join(map(str, argv))}: exit {done.returncode}: {said}")
    return done


class Namespace:
    """One network namespace with a name that `ip netns` knows."""

    def __init__(self, name):
        self.name = name

    def create(self):
        run(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")

    def exists(self):
        return os.path.exists(f"/run/netns/{self.name}")

    def delete(self):
        """Removes the namespace with its interfaces. Whatever still runs in it is ended first: only we put
        processes there, and one left behind would keep the namespace alive without a name."""
        if not self.exists():
            return
        for signal in (15, 9):
            pids = [int(pid) for pid in run(["ip", "netns", "pids", self.name], check=False).stdout.split()]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal)
            if not pids or self._empties(2.0 if signal == 15 else 5.0):
                break
        run(["ip", "netns", "del", self.name], check=False)

    def _empties(self, seconds):
        import time

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not run(["ip", "netns", "pids", self.name], check=False).stdout.split():
                return True
            time.sleep(0.05)
        return False

    def ip(self, *arguments):
        return run(["ip", "-n", self.name, *arguments])

    def command(self, argv):
        """The command line that runs `argv` inside; `ip netns exec` keeps the process id."""
        return ["ip", "netns", "exec", self.name, *map(str, argv)]

    def run(self, argv, check=True, **options):
        return run(self.command(argv), check=check, **options)

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is inside: sockets it opens belong there, also after it has left."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _setns(there)
            yield
        finally:
            _setns(here)
            os.close(here)
            os.close(there)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
        with self.entered():
            return socket.socket(family, kind, protocol)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Network:
    """client0 -- outside0 [gateway] inside0 -- server0"""

    def __init__(self, prefix, queues=1, mtu=1500):
        self.prefix = prefix
        self.queues = queues
        self.mtu = mtu
        self._losses = 0
        self.client = Namespace(f"{prefix}-client")
        self.gateway = Namespace(f"{prefix}-gateway")
        self.server = Namespace(f"{prefix}-server")
        self.namespaces = [self.client, self.gateway, self.server]

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    def up(self):
        """Makes everything; what an earlier run with this prefix left behind goes first."""
        self.down()
        try:
            for namespace in self.namespaces:
                namespace.create()
            # No IPv6 chatter of the gateway's own: it has no address and must be silent.
            for knob in ("all", "default"):
                self.gateway.run(["sysctl", "-qw", f"net.ipv6.conf.{knob}.disable_ipv6=1"])
            self._join(self.client, "client0", self.gateway, "outside0")
            self._join(self.server, "server0", self.gateway, "inside0")
            for index, address in enumerate(CLIENT):
                self._address(self.client, "client0", address, index)
            for pair in SERVERS:
                for index, address in enumerate(pair):
                    self._address(self.server, "server0", address, index)
        except BaseException:
            self.down()
            raise

    def down(self):
        for namespace in self.namespaces:
            namespace.delete()

    def _address(self, namespace, interface, address, is_v6):
        extra = ["nodad"] if is_v6 else []
        namespace.ip("addr", "add", f"{address}/{64 if is_v6 else 24}", "dev", interface, *extra)

    def _join(self, end, end_name, middle, middle_name):
        queues = ["numtxqueues", str(self.queues), "numrxqueues", str(self.queues), "mtu", str(self.mtu)]
        run(["ip", "link", "add", end_name, *queues, "netns", end.name, "type", "veth",
             "peer", "name", middle_name, *queues, "netns", middle.name])
        for namespace, name in ((end, end_name), (middle, middle_name)):
            # A local stack leaves checksums to a card that is not there: with this it writes them itself.
            # It also ends segments larger than the MTU, which no real wire carries.
            namespace.run(["ethtool", "-K", name, "tx", "off"])
            namespace.ip("link", "set", name, "up")
        # The kernel hands frames redirected to a veth to its far end only if that polls (an XDP program, or this).
        end.run(["ethtool", "-K", end_name, "gro", "on"])

    def lose(self, namespace, rule):
        """Drops packets in `namespace` by an nftables rule, which may begin with `arriving` (the default) or `leaving`.
        Returns a function that ends it. Captures see what arrives all the same: they stand before it.

        Example: `lose(network.server, "tcp dport 25 numgen random mod 100 < 2 drop")`."""
        self._losses += 1
        table = f"netlab{self._losses}"
        hook, _, expression = rule.partition(" ")
        if hook not in ("arriving", "leaving"):
            hook, expression = "arriving", rule
        point = "input" if hook == "arriving" else "output"
        namespace.run(["nft", f"add table inet {table}; add chain inet {table} {hook} {{ type filter hook {point} priority 0 ; }}; "
                              f"add rule inet {table} {hook} {expression}"])
        return lambda: namespace.run(["nft", "delete", "table", "inet", table], check=False)


def survivors(prefix):
    """What is left of networks with this prefix: names of namespaces. Their interfaces die with them."""
    try:
        names = os.listdir("/run/netns")
    except FileNotFoundError:
        return []
    return sorted(name for name in names if name.startswith(f"{prefix}-"))
