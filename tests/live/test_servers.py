"""Every mail server with every client, through the gateway with the policy that is shipped: each session works, and the mail that
arrives is the one that arrives without a gateway. That is asked of the same server in the same moment: every session runs
twice, from the client's namespace through the gateway, and from the server's own, where there is none.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import field
import pytest
from netlab.mail_clients import SESSIONS, Call, Failed, essence
from netlab.mail_servers import NotHere

#: What the shipped policy overwrites in honest sessions, and nothing else is reported of them.
QUIET = {"SMTP_EHLO_MASKED", "SMTP_MATCH"}


def _needs(session, server):
    return [need for need in session.needs if not getattr(server, f"has_{need}")]


def _play(session, namespace, server, token, directory):
    """What the session said, and what arrived; an exception is a result too."""
    try:
        said = session.run(Call(namespace, server.address, token, directory))
    except (Failed, OSError, AssertionError) as error:
        return f"failed: {error}", []
    return said, [essence(mail, token) for mail in server.find(token.encode())]


def _both(session, server, network, directory):
    """The session without and with the gateway; the differences as text, or None."""
    results = []
    for way, namespace in (("direct", network.server), ("through", network.client)):
        token = f"session-{server.name}-{SESSIONS.index(session)}-{way}-"
        folder = os.path.join(directory, token)
        os.makedirs(folder)
        results.append((token, *_play(session, namespace, server, token, folder)))
    (straight, said_straight, arrived_straight), (token, said, arrived) = results
    # Several mails of a session arrive one by one, and for two recipients perhaps twice: until nothing comes any more.
    end, before = time.monotonic() + 10, None
    while session.mails > 1 and (len(arrived) < session.mails or before != (len(arrived_straight), len(arrived))) and time.monotonic() < end:
        before = len(arrived_straight), len(arrived)
        time.sleep(0.7)
        arrived_straight = [essence(mail, straight) for mail in server.find(straight.encode(), 0)]
        arrived = [essence(mail, token) for mail in server.find(token.encode(), 0)]
    if str(said_straight).startswith("failed"):
        return f"{session.name}: without a gateway: {said_straight}"
    if str(said) != str(said_straight):
        return f"{session.name}: {said}\n  without a gateway: {said_straight}"
    if len(arrived) < session.mails or sorted(arrived) != sorted(arrived_straight):
        return f"{session.name}: arrived {arrived}\n  without a gateway {arrived_straight}"
    return None


@pytest.mark.parametrize("name", field.SERVERS)
def test_every_client(name, mail_server, network, gate, words, tmp_path):
    server = mail_server(name)
    middle = gate(field.shipped())
    said = words(middle) if hasattr(middle, "events") else None
    os.chmod(tmp_path, 0o755)
    for folder in tmp_path.parents[:2]:
        os.chmod(folder, 0o755)  # exim as a client is not root
    possible = [session for session in SESSIONS if not _needs(session, server) and session.name not in server.fails]
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda session: _both(session, server, network, str(tmp_path)), possible))
    for session in SESSIONS:
        field.SESSIONS.put(session.name, name, "fails itself" if session.name in server.fails else "–")
    for session, difference in zip(possible, outcomes, strict=True):
        field.SESSIONS.put(session.name, name, "intact" if difference is None else "NOT")
    differences = [difference for difference in outcomes if difference]
    assert not differences, f"{len(differences)} of {len(possible)}:\n" + "\n".join(differences)
    if said:
        decisions = [event["postern"] for event in said.middle.events.since(said.event_mark) if event["event_type"] in ("alert", "drop")]
        loud = [one for one in decisions if one.get("action") != "mask" or one.get("kind") not in QUIET]
        assert not loud, loud[:5]


def test_at_least_four_run(network, directory, mail_server):
    """A table of servers that are not here would be empty, and would pass."""
    running, absent = [], []
    for name in field.SERVERS:
        try:
            running.append(mail_server.start(name).name)
        except NotHere as reason:
            absent.append(str(reason))
    if absent and not os.environ.get("CI"):
        pytest.skip(f"skipped: {'; '.join(absent)}")
    assert len(running) >= 4, absent


def _by_exim(way, server, namespace, token, directory):
    """Exim hands a mail in; what it said while it did so, and what arrived."""
    for folder in (directory, *directory.parents[:2]):
        os.chmod(folder, 0o755)  # exim as a client is not root
    call = Call(namespace, server.address, token, str(directory))
    next(session for session in SESSIONS if session.name == way).run(call)
    return call.said, [essence(mail, token) for mail in server.find(token.encode())]


@pytest.mark.decides
@pytest.mark.parametrize("name", ["postfix", "exim"])
def test_chunking_allowed(name, network, gate, mail_server, tmp_path):
    """Where the policy says so BDAT passes, in exim's own way of it."""
    server = mail_server(name)
    gate(field.shipped(chunking="allow"))
    _, straight = _by_exim("exim", server, network.server, f"allowed-{name}-direct-", tmp_path)
    said, arrived = _by_exim("exim", server, network.client, f"allowed-{name}-through-", tmp_path)
    assert b" BDAT " in said and b" DATA\n" not in said, said[-3000:]
    assert arrived == straight != []


@pytest.mark.decides
def test_chunking_falls_back(network, gate, mail_server, tmp_path):
    """Exim sends by BDAT to a server that offers it; through the gateway it is not offered, and exim sends by DATA."""
    server = mail_server("exim")
    gate(field.shipped())
    direct, straight = _by_exim("exim", server, network.server, "chunks-direct-", tmp_path)
    through, arrived = _by_exim("exim", server, network.client, "chunks-through-", tmp_path)
    assert arrived == straight != []
    # Commands in a group are marked otherwise than `>>`.
    assert b" BDAT " in direct and b" DATA\n" not in direct, direct[-3000:]
    assert b" DATA\n" in through and b"BDAT" not in through and b"CHUNKING" not in through, through[-3000:]


@pytest.mark.decides
def test_what_is_offered(network, gate, mail_server):
    """Before STARTTLS all that the server offers but CHUNKING and PIPECONNECT; after it the gateway reads nothing, and all of it."""
    server = mail_server("exim")
    gate(field.shipped())

    def offers(namespace):
        from netlab.mail_clients import Smtplib, _trusting
        call = Call(namespace, server.address, "offers", "/")
        with Smtplib(call) as smtp:
            smtp.ehlo()
            before = dict(smtp.esmtp_features)
            smtp.starttls(context=_trusting())
            smtp.ehlo()
            return before, dict(smtp.esmtp_features)

    (before, after), (seen_before, seen_after) = offers(network.server), offers(network.client)
    assert {"chunking", "pipeconnect", "starttls", "auth", "smtputf8", "size", "dsn", "8bitmime", "pipelining"} <= set(before)
    masked = {name: value for name, value in before.items() if name not in ("chunking", "pipeconnect")}
    assert {name: value for name, value in seen_before.items() if not name.startswith("x")} == masked
    assert seen_after == after and "chunking" in after and "starttls" not in after


def test_starttls_refused(network, gate, mail_server):
    """A server that offers STARTTLS and has no key answers 454, and mail goes on in clear."""
    from netlab.clients import Step, make_message
    server = mail_server.keyless()
    gate(field.shipped())
    for namespace in (network.server, network.client):
        message = make_message(400, subject=f"no key {namespace.name}")
        with Step(namespace, server.address) as step:
            step.read_reply()
            step.say("EHLO client.example")
            assert step.say("STARTTLS") == 454, step.transcript
            assert step.mail(message) == 250, step.transcript
            assert step.say("QUIT") == 221
        assert server.find(f"no key {namespace.name}".encode())


@pytest.mark.parametrize("name", field.SERVERS)
def test_the_record(name):
    """The table that stands in the record is the one of this run."""
    field.compare_with_record(field.SESSIONS, name)
