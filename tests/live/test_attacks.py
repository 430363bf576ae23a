"""Attacks on the protocol itself, at real servers behind the policy that is shipped: what the client is told, and that the server
sees nothing of it. Both of a STARTTLS session's sides, early talkers, groups of commands that may not be groups, odd octets, BDAT,
commands of other servers.
"""

import socket
import time

import field
import pytest
from conftest import PLAIN
from netlab.clients import Step, code, make_message

pytestmark = pytest.mark.decides

EVIL = b"smuggler@example.org"


@pytest.fixture(params=["postfix", "exim"])
def server(request, mail_server, gate):
    gate(field.shipped())
    return mail_server(request.param)


def greeted(namespace, server, hello="EHLO client.example"):
    step = Step(namespace, server.address, timeout=10)
    step.read_reply()
    assert step.say(hello) == 250, step.transcript
    return step


def told(step, seconds=8.0):
    """Codes of all that is said from here on, and how it ended."""
    step.read_to_end(seconds)
    return [int(line[:3]) for side, line in step.transcript if side == "S" and line[3:4] == " "], step.ended


def at_server(seen, step):
    """What the server's end got of this client."""
    return next((session for session in seen.server if session.client == step.name), None)


def assert_closed(step, reply=(554,)):
    codes, ended = told(step)
    assert codes[-1] in reply and ended == "closed", (codes, ended)
    return codes


def assert_unseen(session, *octets):
    got = session.sent_by("C")
    for each in octets:
        assert each not in got, got
    assert ("C", "RST") in session.closings, session.closings


@pytest.mark.parametrize("behind", [b"MAIL FROM:<%s>\r\n" % EVIL, b"RSET\r\n", b"x"], ids=["command", "reset", "octet"])
def test_commands_behind_starttls(server, network, ends, behind):
    """CVE-2011-0411: what stands behind STARTTLS in clear would be obeyed inside TLS."""
    with ends() as seen:
        with greeted(network.client, server) as step:
            step.send(b"STARTTLS\r\n" + behind)
            codes, ended = told(step)
            assert ended in ("closed", "reset"), codes
            assert codes[-1] != 250
    session = at_server(seen, step)
    assert session.sent_by("C").removesuffix(b"STARTTLS\r\n").endswith(b"EHLO client.example\r\n"), session.sent_by("C")


def test_no_tls_behind_starttls(server, network, ends, mail_server):
    """An accepted STARTTLS must be followed by TLS."""
    with ends() as seen:
        with greeted(network.client, server) as step:
            assert step.say("STARTTLS") == 220
            step.send(b"MAIL FROM:<%s>\r\n" % EVIL)
            _, ended = told(step)
            assert ended in ("closed", "reset")
    assert_unseen(at_server(seen, step), EVIL, b"MAIL")


@pytest.mark.parametrize("answer", ["220 go ahead\n250 injected", "220 go ahead\n220 injected"])
def test_replies_behind_starttls(network, gate, plain_server, answer):
    """CVE-2021-38371: what stands behind the server's 220 in clear would be believed inside TLS. The real servers do not do it."""
    gate(field.shipped())
    plain_server(ehlo=["STARTTLS", "PIPELINING"], replies={"STARTTLS": answer})
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.say("EHLO client.example")
        step.send("STARTTLS\r\n")
        codes, ended = told(step)
    assert ended in ("closed", "reset") and not any("injected" in line for _, line in step.transcript), step.transcript


def test_an_early_talker(server, network, ends):
    """Commands before the greeting never reach a server that has not said it."""
    with ends() as seen:
        with Step(network.client, server.address, timeout=10) as step:
            step.send(b"EHLO client.example\r\nMAIL FROM:<%s>\r\nRCPT TO:<bob@lab.example>\r\n" % EVIL)
            told(step, 1.5)
    session = at_server(seen, step)
    # Whose octets came first, at the server's end: nothing of the client before the greeting is out.
    said = [who for who, line, note in session.lines if line is not None and not note]
    assert "C" not in said[:1], session.lines


@pytest.mark.parametrize("group", [
    b"EHLO client.example\r\nMAIL FROM:<%s>\r\n" % EVIL,
    b"MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@lab.example>\r\nDATA\r\nSubject: early\r\n\r\n%s\r\n.\r\n" % EVIL,
], ids=["ehlo", "data"])
def test_a_group_that_is_none(server, network, ends, group):
    """What must wait for a reply (RFC 2920, 3.1) reaches the server only behind it, or not at all."""
    with ends() as seen:
        with greeted(network.client, server) as step:
            step.send(group)
            told(step, 1.5)
    session = at_server(seen, step)
    got = session.sent_by("C")
    order = [(who, line) for who, line, note in session.lines if line is not None and not note]
    if EVIL in got:
        # It waited: a reply of the server stands between the command and what was said behind it.
        first = next(index for index, (who, line) in enumerate(order) if who == "C" and (line == b"DATA" or index > 1 and line.startswith(b"EHLO")))
        assert order[first + 1][0] == "S", order


@pytest.mark.parametrize("line", [
    b"MAIL FROM:<%s>\nRCPT TO:<bob@lab.example>\r\n" % EVIL,
    b"MAIL FROM:<%s>\rRCPT TO:<bob@lab.example>\r\n" % EVIL,
    b"MAIL FROM:<smug\0gler@example.org>\r\n",
    b"NOOP %s\n\r\n" % EVIL,
], ids=["LF", "CR", "NUL", "LF at the end"])
def test_odd_octets_in_a_command(server, network, ends, line):
    """Two servers would read two different commands."""
    with ends() as seen:
        with greeted(network.client, server) as step:
            step.send(line)
            assert_closed(step, (500, 501, 554))
    session = at_server(seen, step)
    assert session.sent_by("C").count(b"\n") == 1, session.sent_by("C")


def test_eight_bits_without_smtputf8(server, network, ends):
    """Octets above 127 in a command, where SMTPUTF8 was not asked for: nobody delivers for them, whoever refuses."""
    with greeted(network.client, server) as step:
        step.send(b"MAIL FROM:<j\xc3\xbcrgen@example.org>\r\n")
        first = code(step.read_reply())
        if first == 250:
            step.send(b"RCPT TO:<m\xff\xfe@lab.example>\r\n")
            first = code(step.read_reply())
        assert first != 354


def test_a_chunk_is_no_command(server, network, ends):
    """BDAT is not offered; sent all the same, its chunk never reaches the server as commands (RFC 3030, 4.2)."""
    chunk = b"MAIL FROM:<%s>\r\nRCPT TO:<bob@lab.example>\r\nDATA\r\n" % EVIL
    with ends() as seen:
        with greeted(network.client, server) as step:
            assert not any("CHUNKING" in line for side, line in step.transcript if side == "S"), step.transcript
            step.say("MAIL FROM:<alice@example.org>")
            step.say("RCPT TO:<bob@lab.example>")
            step.send(b"BDAT %d LAST\r\n" % len(chunk) + chunk)
            codes, ended = told(step)
            assert codes[-1] in (502, 503, 554) and ended in ("closed", "reset"), (codes, ended)
    assert_unseen(at_server(seen, step), EVIL, b"BDAT")


@pytest.mark.parametrize("command", ["XCLIENT ADDR=192.0.2.99", "XFORWARD NAME=x", "TURN", "X-LINK2STATE FIRST CHUNK={00}", "XEXCH50 1 2"])
def test_commands_between_servers(server, network, ends, command):
    """They arrive overwritten, and the server refuses what is left."""
    with ends() as seen:
        with greeted(network.client, server) as step:
            assert step.say(command) // 100 == 5
            assert step.say("NOOP") == 250
            assert step.mail(make_message(300, subject="afterwards"), hello="RSET") == 250
            assert step.say("QUIT") == 221
    got = at_server(seen, step).sent_by("C")
    assert command.split()[0].encode() not in got and b"x" * len(command) in got, got


@pytest.mark.parametrize(("line", "code"), [
    ("RCPT TO:<|/bin/sh@lab.example>", 554), ("MAIL FROM:<|/bin/sh>", 554), ("WIZ", 554), ("DEBUG", 554), ("RCPT TO:<decode@lab.example>", 554),
    ("RCPT TO:<${run{/bin/sh}}@lab.example>", 554), ("MAIL FROM:<;sh;>", 554),
    ("MAIL FROM:<alice@example.org> SIZE=1 SIZE=2", 501), ("MAIL FROM:<alice@example.org> BODY=9BIT", 501), ("MAIL FROM:<alice@example.org> XFOO=1", 555),
])
def test_known_attacks(server, network, ends, line, code):
    with ends() as seen:
        with greeted(network.client, server) as step:
            if line.startswith("RCPT"):
                assert step.say("MAIL FROM:<alice@example.org>") == 250
            assert step.say(line) == code, step.transcript
            assert told(step)[1] == "closed"
    assert_unseen(at_server(seen, step), line.encode())


def test_half_a_session(server, network, ends):
    """A client that leaves inside content: no mail, whatever stood there."""
    message = make_message(300, subject=f"half {server.name}")
    with greeted(network.client, server) as step:
        for line in ("MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
            step.say(line)
        step.send(message)
        step.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    time.sleep(0.5)
    assert not server.find(f"half {server.name}".encode(), 0)
