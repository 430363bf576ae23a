"""Every match kind with every action it may have: what the server received, what the client read, the event, the counter, the
syslog line. One session that all of them could object to, and one class at a time that does."""

import pytest

from conftest import PLAIN
from netlab.clients import Step, code, stuffed
from netlab.servers import PlainServer
from policies import zones

pytestmark = pytest.mark.decides

MESSAGE = b"\r\n".join([
    b"From: alice@example.org", b"To: bob@lab.example", b"Subject: you won the lottery", b"MIME-Version: 1.0",
    b"X-Filler: " + b"f" * 300, b'Content-Type: multipart/mixed; boundary="cut"', b"",
    b"--cut", b"Content-Type: text/plain", b"Content-Transfer-Encoding: 7bit", b"", b"the secret words are here", b"",
    b"--cut", b'Content-Type: application/x-msdownload; name="game.exe"', b"Content-Transfer-Encoding: x-private", b"",
    b"AAAA", b"--cut--", b""])

PATTERNS = {"senders": "alice@", "boxes": "^second@", "fields": "Subject: .*lottery", "words": "secret words", "types": "game\\.exe"}

#: What the class asks, which criterion the event names, and which reply a reset gives.
KINDS = {
    "sender": ("sender address regex senders", "554"),
    "recipient": ("recipient address regex boxes", "550"),
    "recipient-count": ("recipient count gt 2", "452"),
    "invalid-count": ("recipient invalid count gt 1", "554"),
    "verb": ("cmd verb NOOP", "554"),
    "line-length": ("cmd line length gt 60", "500"),
    "header-length": ("header length gt 200", "554"),
    "header": ("header regex fields", "554"),
    "body": ("body regex words", "554"),
    "data-length": ("data-length gt 400", "554"),
    "content-type": ("mime content-type regex types", "554"),
    "encoding": ("mime encoding unknown", "554"),
    "encoding-token": ("mime encoding x-private", "554"),
    "ehlo": ("reply ehlo XPROT", None),
}


def policy(match, actions):
    maps = "".join(f"parameter-map type regex {name}\n pattern {pattern}\n" for name, pattern in PATTERNS.items()
                   if match.endswith(name))
    return zones(f"{maps}class-map type inspect smtp match-any subject\n match {match}", f"subject: {actions}")


@pytest.fixture
def server(network):
    def recipient(line):
        return "550 5.1.1 no such user" if b"nobody" in line else None

    with PlainServer(network.server, PLAIN, replies={"RCPT": recipient}, ehlo=("SIZE 50000000", "XPROT", "8BITMIME")) as server:
        yield server


def session(network):
    """All of it, until somebody closes; the client's transcript."""
    lines = ["EHLO client.example", "NOOP " + "n" * 60, "NOOP", "MAIL FROM:<alice@example.org>", "RCPT TO:<first@lab.example>",
             "RCPT TO:<second@lab.example>", "RCPT TO:<nobody@lab.example>", "RCPT TO:<nobody2@lab.example>",
             "RCPT TO:<third@lab.example>", "DATA"]
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        for line in lines:
            if step.say(line) == 0:
                return step
        step.send(stuffed(MESSAGE))
        if code(step.read_reply()) == 250:
            step.say("QUIT")
        step.read_to_end()
        return step


@pytest.mark.parametrize("kind", KINDS)
def test_log(gate, network, server, words, kind):
    match, _ = KINDS[kind]
    said = words(gate(policy(match, "log")))
    session(network)
    assert server.messages() == [MESSAGE], "it is only logged"
    event = said.event(kind="SMTP_MATCH", action="log", match=match)
    assert event["postern"]["class"] == "subject" and event["event_type"] == "alert"
    assert "(inbound:mail)" in said.line("%APPFW-4-SMTP_")
    said.counted("class_hits", "subject", "log", by=1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][1]])
def test_reset(gate, network, server, words, kind):
    match, reply = KINDS[kind]
    said = words(gate(policy(match, "log reset")))
    step = session(network)
    read = [line for who, line in step.transcript if who == "S"]
    assert read[-1].startswith(reply), read
    assert step.ended == "closed", "with FIN, not RST"
    assert server.messages() == [], "the server accepted nothing"
    assert b"\r\n.\r\n" not in bytes(server.connections[-1].received)
    event = said.event(kind="SMTP_MATCH", action="close", match=match)
    assert event["postern"]["reply"] == read[-1]
    said.line("action reset")
    said.counted("class_hits", "subject", "close", by=1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][1]])
def test_allow(gate, network, server, kind):
    match, _ = KINDS[kind]
    gate(policy(match, "allow"))
    session(network)
    assert server.messages() == [MESSAGE]


def test_mask_of_a_verb(gate, network, server, words):
    said = words(gate(policy("cmd verb NOOP", "log mask")))
    session(network)
    assert server.messages() == [MESSAGE]
    assert b"x" * 65 in server.connections[-1].commands and b"xxxx" in server.connections[-1].commands
    said.event(kind="SMTP_MATCH", action="mask", match="cmd verb NOOP")
    said.counted("class_hits", "subject", "mask", by=2)


def test_mask_of_a_keyword(gate, network, server, words):
    said = words(gate(policy("reply ehlo XPROT", "log mask")))
    step = session(network)
    assert ("S", "250-XXXXX") in step.transcript and server.messages() == [MESSAGE]
    said.event(kind="SMTP_MATCH", action="mask", match="reply ehlo XPROT")
    said.counted("class_hits", "subject", "mask", by=1)
