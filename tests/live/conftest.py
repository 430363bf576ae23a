"""One network for the whole run, one gateway on it at a time, servers at its inner end.

`gate(policy)` is the way in: it compiles the text, starts Postern on AF_XDP and returns it; a gateway that already runs
with that policy and those options is used again. Under `NETLAB_GATEWAY=bridge` it is a kernel bridge, and tests
marked `decides` are skipped: what is left shows that ends and harness work.
"""

import contextlib
import json
import os
import shutil
import tempfile
import time

import field
import pytest

from netlab import gateway, mail_servers
from netlab.capture import Capture
from netlab.namespaces import SERVERS, Network, survivors
from netlab.servers import PlainServer, Postfix, SmtpSink

PREFIX = f"postern-test-{os.getpid()}"

#: Addresses of postfix, of the sink and of the plain server; each an IPv4 and an IPv6.
POSTFIX, SINK, PLAIN = SERVERS


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="only root makes network namespaces"))
    elif gateway.kind() == "bridge":
        for item in items:
            if item.get_closest_marker("decides"):
                item.add_marker(pytest.mark.skip(reason="NETLAB_GATEWAY=bridge: a bridge decides nothing"))


def pytest_report_header():
    if gateway.kind() == "bridge":
        return "gateway: a kernel bridge (NETLAB_GATEWAY=bridge)"
    return f"gateway: {gateway.binary('postern')} ({gateway.version('postern')})"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test says what the gateway had to say about it."""
    report = (yield).get_result()
    house = item.funcargs.get("gate")
    if report.when == "call" and report.failed and isinstance(house, Gatehouse):
        report.sections.append(("The gateway", house.last_words()))


@pytest.fixture(scope="session")
def directory():
    path = tempfile.mkdtemp(prefix=f"{PREFIX}-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def network():
    pins_before = gateway.pins()
    network = Network(PREFIX)
    network.up()
    yield network
    network.down()
    assert survivors(PREFIX) == [], "a namespace was left behind"
    assert gateway.pins() == pins_before, "a pinned BPF object was left behind"


class Gatehouse:
    """The place between the ends, and what stands there."""

    def __init__(self, network, directory):
        self.network, self.directory = network, directory
        self.current, self.key, self.count = None, None, 0
        self.artifacts = {}

    def compile(self, text):
        """The artifact of a policy text, compiled once."""
        if text not in self.artifacts:
            stem = os.path.join(self.directory, f"policy-{len(self.artifacts)}")
            with open(stem + ".policy", "w", encoding="utf-8") as file:
                file.write(text)
            self.artifacts[text] = gateway.compile_policy(stem + ".policy", stem + ".postern")
        return self.artifacts[text]

    def __call__(self, text, ports=("outside", "inside"), options=(), fresh=False, **more):
        key = (text, ports, tuple(options), tuple(sorted(more.items())))
        alive = self.current is not None and (gateway.kind() == "bridge" or self.current.program.is_running())
        if alive and not fresh and (key == self.key or gateway.kind() == "bridge"):
            return self.current
        self.clear()
        if gateway.kind() == "bridge":
            self.current = gateway.Bridge(self.network).start()
        else:
            self.count += 1
            self.current = gateway.Postern(self.network, self.directory, self.compile(text), ports, options,
                                           name=f"postern-{self.count}", **more).start()
        self.key = key
        return self.current

    def last_words(self):
        """What it dropped and found odd since its start, its last events, and connections that the server still has."""
        lines = []
        try:
            if self.current is None or gateway.kind() == "bridge":
                lines.append("there is none")
            else:
                metrics = self.current.metrics()
                lines += [f"{name} {dict(labels)} {amount:g}" for name, labels, amount in metrics.growth(metrics.parse(""))
                          if any(word in name for word in ("dropped", "lost", "anomal"))]
                lines += [json.dumps(event) for event in self.current.events.all()[-8:]]
        except (OSError, ValueError) as error:
            lines.append(f"it does not answer: {error}")
        connections = self.network.server.run(["ss", "-Htn", "state", "connected", "exclude", "time-wait"], check=False).stdout
        lines += connections.splitlines()[:20]
        return "\n".join(lines)

    def clear(self):
        """Takes away what stands there; returns its exit status."""
        current, self.current = self.current, None
        return current.stop() if current is not None else None


@pytest.fixture(scope="session")
def gate(network, directory):
    house = Gatehouse(network, directory)
    yield house
    house.clear()


@pytest.fixture(scope="session")
def postfix(network, directory):
    server = Postfix(network.server, directory, POSTFIX).start()
    yield server
    server.stop()


class Field:
    """Starts a mail server when a test first asks for it; skips the test when its program is not here."""

    def __init__(self, network, directory):
        self.network, self.directory, self.running = network, directory, {}

    def start(self, name, kind=None, address=None, **options):
        if name not in self.running:
            if kind is None:
                kind, address = field.SERVERS[name]
            folder = os.path.join(self.directory, f"field-{name}")
            os.makedirs(folder, exist_ok=True)
            os.chmod(self.directory, 0o755)  # noqa: S103 - the servers' users must reach their folders
            if address not in self.network.server.ip("addr", "show", "dev", "server0").stdout:
                self.network.server.ip("addr", "add", f"{address}/24", "dev", "server0")
            self.running[name] = kind(self.network.server, folder, address, **options).start()
        return self.running[name]

    def __call__(self, name):
        try:
            return self.start(name)
        except mail_servers.NotHere as reason:
            return pytest.skip(f"skipped: {reason}")

    def keyless(self):
        try:
            return self.start("keyless", mail_servers.Exim, field.KEYLESS, with_key=False)
        except mail_servers.NotHere as reason:
            return pytest.skip(f"skipped: {reason}")

    def stop(self):
        for server in self.running.values():
            server.stop()


@pytest.fixture(scope="session")
def mail_server(network, directory):
    """The mail servers of the field: `mail_server("exim")`."""
    servers = Field(network, directory)
    yield servers
    servers.stop()


def pytest_terminal_summary(terminalreporter):
    for table in field.TABLES:
        if table.cells:
            terminalreporter.section(table.title)
            for line in table.lines():
                terminalreporter.write_line(line)
    if os.environ.get("POSTERN_BLESS") and all(len(table.columns) == len(field.SERVERS) for table in field.TABLES):
        field.write_record()


@pytest.fixture(scope="session")
def sink(network, directory):
    """Two load sinks, IPv4 and IPv6."""
    sinks = []
    for name, address in zip(("four", "six"), SINK, strict=True):
        folder = os.path.join(directory, name)
        os.makedirs(folder)
        sinks.append(SmtpSink(network.server, folder, address).start())
    yield SINK
    for one in sinks:
        one.stop()


@pytest.fixture
def plain(network):
    """A fresh server that keeps every octet, on both address families."""
    with PlainServer(network.server, PLAIN) as server:
        yield server


@pytest.fixture
def plain_server(network):
    """Makes one with a behaviour of its own: `plain_server(ehlo=[...], replies={...})`."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(PlainServer(network.server, PLAIN, **options))


@pytest.fixture(params=[0, 1], ids=["ipv4", "ipv6"])
def address(request):
    """The plain server's address, in both families."""
    return PLAIN[request.param]


class Ends:
    """Captures at both ends for as long as the `with` statement lasts."""

    def __init__(self, network):
        self.network = network

    def __enter__(self):
        self.client_capture = Capture(self.network.client, "client0")
        self.server_capture = Capture(self.network.server, "server0")
        return self

    def __exit__(self, *_):
        self.client_capture.stop()
        self.server_capture.stop()
        assert self.client_capture.lost == 0 and self.server_capture.lost == 0, "the capture lost frames"
        self.client, self.server = self.client_capture.sessions(), self.server_capture.sessions()


@pytest.fixture
def ends(network):
    return lambda: Ends(network)


class Words:
    """What the gateway says from here on: events, syslog lines, counters."""

    def __init__(self, middle):
        self.middle = middle
        self.event_mark, self.syslog_mark = middle.events.mark(), middle.syslog.mark()
        self.before = middle.metrics()

    def event(self, **wanted):
        """The event whose own object has these fields; fails with all events when there is none."""
        def fits(event):
            return all(event.get("postern", {}).get(name) == value for name, value in wanted.items())

        found = self.middle.events.wait_for(fits, self.event_mark)
        assert found, f"no event with {wanted} in {self.middle.events.since(self.event_mark)}"
        return found

    def line(self, text, seconds=5.0):
        """The syslog message with this text in it."""
        found = self.middle.syslog.wait_for(text, self.syslog_mark, seconds)
        assert found, f"no line with {text!r} in {self.middle.syslog.since(self.syslog_mark)}"
        return found

    def counted(self, *words, by=None, seconds=5.0):
        """By how much counters with all these words in name or labels went up; waits until one did, by at least `by`."""
        end = time.monotonic() + seconds
        while True:
            growth = self.middle.metrics().growth(self.before)
            fitting = [amount for name, labels, amount in growth
                       if all(word in " ".join([name, *labels, *labels.values()]).lower() for word in words)]
            if fitting and max(fitting) >= (by or 0):
                return sum(fitting)
            assert time.monotonic() < end, f"no counter with {words} (by {by}) went up: {growth}"
            time.sleep(0.05)

    def silent(self):
        """Asserts that no decision was reported: no alert, no drop."""
        decisions = [event for event in self.middle.events.since(self.event_mark) if event["event_type"] in ("alert", "drop")]
        assert not decisions, decisions


@pytest.fixture
def words():
    return Words
