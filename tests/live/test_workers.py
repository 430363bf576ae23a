"""Two workers on interfaces with two queues, where the two directions of a session come by different queues: each frame is
handed to the worker that has its session, none is lost or overtaken, and no worker runs out of frames."""

import hashlib
import os
import re
import threading
import time

import pytest
from conftest import PREFIX, Gatehouse
from netlab import clients, gateway
from netlab.clients import Step, code, sha256, stuffed
from netlab.namespaces import SERVERS, Network, run
from netlab.servers import PlainServer, SmtpSink
from policies import RULES, zones

pytestmark = pytest.mark.decides

#: More servers than `SERVERS`: a pair of hosts has one worker, so that it takes several for both to have some.
MORE = [f"192.0.2.{number}" for number in range(101, 117)]
PLAIN = SERVERS[2]
WORKERS = ("--workers", "2")
MASKS_VRFY = zones("class-map type inspect smtp match-any verbs\n match cmd verb VRFY", "verbs: log mask")


@pytest.fixture(scope="module")
def two_queues(gate):
    gate.clear()
    network = Network(f"{PREFIX}-two", queues=2)
    with network:
        for address in MORE:
            network.server.ip("addr", "add", f"{address}/24", "dev", "server0")
        yield network


@pytest.fixture(scope="module")
def house(two_queues, tmp_path_factory):
    house = Gatehouse(two_queues, str(tmp_path_factory.mktemp("two")))
    yield house
    house.clear()


@pytest.fixture(scope="module")
def everywhere(two_queues, tmp_path_factory):
    """A load sink on every IPv4 address of the server."""
    folder = tmp_path_factory.mktemp("sink")
    os.chmod(folder, 0o755)  # noqa: S103
    sink = SmtpSink(two_queues.server, str(folder), "0.0.0.0", keep=True).start()  # noqa: S104
    yield sink
    sink.stop()


@pytest.fixture
def plain(two_queues):
    with PlainServer(two_queues.server, PLAIN, port=2525) as server:
        yield server


def by_worker(metrics, name, **labels):
    return [metrics.total(name, worker=str(worker), **labels) for worker in range(2)]


def handed(metrics):
    """Given and taken, by worker."""
    return (by_worker(metrics, "postern_handover_frames_total", direction="given"),
            by_worker(metrics, "postern_handover_frames_total", direction="taken"))


def settled(middle, seconds=5.0):
    """Metrics once what the workers hold and publish has come to rest."""
    end = time.monotonic() + seconds
    last = middle.metrics()
    while time.monotonic() < end:
        time.sleep(0.3)
        now = middle.metrics()
        given, taken = handed(now)
        if now.total("postern_flows", state="active") == 0 and sum(given) == sum(taken) and handed(last) == (given, taken):
            return now
        last = now
    return last



def policy(rules=RULES):
    """`rules`, with mail on port 2525, too."""
    return "ip port-map smtp port tcp 2525\n" + rules


def test_hundreds_of_sessions_whose_directions_come_apart(two_queues, house, everywhere):
    """smtp-source to a load sink, to many addresses at once; every mail arrives, every frame is at its worker."""
    middle = house(policy(), options=WORKERS, fresh=True)
    before, failures = len(everywhere.messages()), []

    def source(address):
        try:
            clients.smtp_source(two_queues.client, address, sessions=20, messages=60, length=6000)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=source, args=(address,)) for address in MORE]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:2]
    time.sleep(0.5)
    messages = everywhere.messages()[before:]
    assert len(messages) == 60 * len(MORE)
    contents = {hashlib.sha256(re.sub(rb"(?s)^.*?\n\n", b"", each, count=1)).hexdigest() for each in messages}
    assert len(contents) == 1, "mails differ in content"
    metrics = settled(middle)
    given, taken = handed(metrics)
    assert all(given) and all(taken), f"both workers both give and take: {given} {taken}"
    assert sum(given) == sum(taken)
    assert metrics.total("postern_handover_dropped_total") == 0
    for reason in ("state", "malformed", "checksum", "waiting"):
        assert metrics.total("postern_frames_total", fate="dropped", reason=reason) == 0, reason
    assert metrics.total("postern_anomalies_total", kind="middle-of-connection") == 0
    assert metrics.total("postern_frames_total", fate="held") == 0, "frames were overtaken"
    for worker, surplus in enumerate(by_worker(metrics, "postern_umem_chunks", state="surplus")):
        assert abs(surplus) < 64, f"worker {worker} has {surplus} chunks too many"
    shown = middle.show("statistics", "--json")
    assert '"handover"' in shown.stdout, shown.stdout[:400]


def test_a_long_one_way_transfer_leaves_the_free_lists_balanced(two_queues, house, plain):
    """128 MB in mails of 16 MB, until a session's client side comes by the other worker's queue."""
    middle = house(policy(), options=WORKERS, fresh=True)
    mail = clients.make_message(1_000_000)
    body = stuffed(mail * 16)
    digest = sha256(mail * 16)
    sessions, crossing, octets = 0, 0, 0
    least = [1e9, 1e9]
    while crossing < 8 and sessions < 40:
        time.sleep(0.2)
        given_before = sum(handed(middle.metrics())[0])
        with Step(two_queues.client, PLAIN[0], port=2525, timeout=60) as step:
            step.read_reply()
            for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
                step.say(line)
            step.send(body[:1_000_000])
            sessions += 1
            time.sleep(0.3)
            if sum(handed(middle.metrics())[0]) - given_before < 500:
                # The client's frames come by their own worker's queue: another session may not.
                continue
            for start in range(1_000_000, len(body), 4_000_000):
                step.socket.sendall(body[start:start + 4_000_000])
                free = by_worker(middle.metrics(), "postern_umem_chunks", state="free")
                least = [min(pair) for pair in zip(least, free, strict=True)]
            assert code(step.read_reply()) == 250
            step.say("QUIT")
            crossing += 1
            octets += len(body)
    assert crossing == 8, f"only {crossing} of {sessions} sessions came by the other worker's queue"
    assert [sha256(each) for each in plain.messages()] == [digest] * crossing
    assert octets > 100_000_000
    metrics = settled(middle)
    assert metrics.total("postern_handover_chunks_returned_total") > 50_000
    assert metrics.total("postern_handover_dropped_total") == 0
    assert all(free >= 900 for free in least), f"a worker ran short of free frames: {least}"
    for surplus in by_worker(metrics, "postern_umem_chunks", state="surplus"):
        assert abs(surplus) < 64


def sessions_in_data(network, count, connections):
    """Sessions to several pairs of hosts, inside DATA."""
    steps = []
    for number in range(count):
        step = Step(network.client, PLAIN[number % 2], port=2525, timeout=30)
        step.read_reply()
        for line in ("EHLO client.example", f"MAIL FROM:<a{number}@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
            step.say(line)
        steps.append(step)
    assert len(connections()) >= count
    return steps


def test_a_reload_takes_hold_at_both_workers(two_queues, house, plain):
    middle = house(policy(zones()), options=WORKERS, fresh=True)
    old = sessions_in_data(two_queues, 12, lambda: plain.connections)
    command = [gateway.binary("postern"), "reload", "--policy", house.compile(policy(MASKS_VRFY)), "--control", middle.control]
    done = run(command, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    for step in old:
        step.send(stuffed(clients.make_message(3000)))
        assert code(step.read_reply()) == 250
        assert step.say("VRFY old") == 500
        step.say("QUIT")
        step.close()
    before = len(plain.connections)
    for number in range(12):
        with Step(two_queues.client, PLAIN[number % 2], port=2525) as step:
            step.read_reply()
            step.say("HELO client.example")
            step.say("VRFY new")
            step.say("QUIT")
    assert all(b"VRFY old" in each.commands for each in plain.connections[:before])
    assert all(b"xxxxxxxx" in each.commands for each in plain.connections[before:])


def test_sigterm_drains_both_workers(two_queues, house, plain):
    """A worker whose own sessions have ended goes on carrying the other's frames."""
    middle = house(policy(), options=(*WORKERS, "--drain-seconds", "20"), fresh=True)
    message = clients.make_message(50_000)
    steps = sessions_in_data(two_queues, 12, lambda: plain.connections)
    for step in steps:
        step.send(stuffed(message)[:20_000])
    middle.terminate()
    # One after the other: sooner or later only one worker has any left.
    for step in steps:
        time.sleep(0.15)
        step.send(stuffed(message)[20_000:])
        assert code(step.read_reply()) == 250
        assert step.say("QUIT") == 221
        assert step.read_to_end() == "closed"
        step.close()
    assert middle.program.wait(10.0) == 0, middle.program.output()
    assert plain.messages() == [message] * 12
    for interface in ("outside0", "inside0"):
        assert not gateway.xdp_is_attached(two_queues, interface)
    house.clear()


def test_killed_with_two_workers_nothing_more_passes(two_queues, house, plain):
    middle = house(policy(), options=WORKERS, fresh=True)
    message = stuffed(clients.make_message(200_000))
    steps = sessions_in_data(two_queues, 8, lambda: plain.connections)
    for step in steps:
        step.send(message[:50_000])
    time.sleep(0.3)
    middle.kill()
    time.sleep(0.1)
    had = [len(connection.received) for connection in plain.connections]
    for step in steps:
        step.socket.settimeout(0.2)
        try:
            step.socket.sendall(message[50_000:])
        except OSError:
            pass
    time.sleep(1.0)
    assert [len(connection.received) for connection in plain.connections] == had
    assert plain.messages() == []
    for step in steps:
        step.close()
    house.clear()
    middle = house(policy(), options=WORKERS, fresh=True)
    for number in range(8):
        with Step(two_queues.client, PLAIN[number % 2], port=2525) as step:
            step.read_reply()
            assert step.mail(clients.make_message(5000)) == 250
            step.say("QUIT")
    assert len(plain.messages()) == 8


def test_rss_is_warned_of_where_the_card_does_not_say(two_queues, house, plain):
    middle = house(policy(), options=(*WORKERS, "--steering", "rss"), fresh=True)
    assert "does not say how it spreads frames over its queues" in middle.program.output()
    house.clear()
