"""Each verdict seen from both ends, and in the gateway's own words: event, syslog line, counter."""

import pytest
from conftest import PLAIN
from netlab import clients
from netlab.clients import Step, code, stuffed
from policies import RULES

pytestmark = pytest.mark.decides


@pytest.fixture(autouse=True)
def middle(gate):
    return gate(RULES)


def client_lines(session, who="C"):
    return [line for side, line, note in session.lines if side == who and line is not None and not note]


def assert_refused(seen, reply, server_must_not_see):
    """What a reset is: the client reads the reply and a FIN, the server is reset and has seen nothing of the bad."""
    client, server = seen.client[0], seen.server[0]
    assert any(line.startswith(reply) for line in client_lines(client, "S")), client.lines
    assert client.closed_by("S") == "FIN" and ("S", "RST") not in client.closings, client.closings
    assert ("C", "RST") in server.closings, server.closings
    assert server_must_not_see not in server.sent_by("C")
    # And nobody invents: what the client read before the reply is what the server had sent.
    assert client.sent_by("S").startswith(server.sent_by("S")[:len(client.sent_by("S"))].rsplit(b"\r\n", 1)[0][:3])


def test_a_masked_command(network, plain, address, middle, ends, words):
    said = words(middle)
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        step.say("EHLO client.example")
        assert step.say("EVIL foo") == 500
        assert step.say("vrfy postmaster") == 500
        assert step.say("NOOP") == 250
        assert step.say("QUIT") == 221
    assert plain.connections[0].commands == [b"EHLO client.example", b"xxxxxxxx", b"x" * 15, b"NOOP", b"QUIT"]
    assert client_lines(seen.client[0])[1:3] == [b"EVIL foo", b"vrfy postmaster"]
    event = said.event(kind="SMTP_MATCH", action="mask", **{"class": "verbs"})
    assert event["postern"]["value"] == "EVIL foo" and event["direction"] == "to_server"
    assert event["dest_port"] == 25 and event["dest_ip"] == address
    said.line("EVIL foo")
    said.counted("mask", by=2)


def test_a_masked_command_is_masked_in_every_split(network, plain, address):
    """The first cut falls after each letter: the server must never see the whole verb."""
    for cut in range(1, len("EVIL foo\r\n")):
        with Step(network.client, address) as step:
            step.read_reply()
            step.say("HELO client.example")
            step.send(b"EVIL foo\r\n"[:cut])
            step.until_acknowledged()
            step.send(b"EVIL foo\r\n"[cut:])
            assert code(step.read_reply()) == 500
            step.say("QUIT")
        line = plain.connections[-1].commands[1]
        assert len(line) == 8 and not line.startswith(b"EVIL") and line.endswith(b"xxx"), (cut, line)


def test_a_prefix_of_a_masked_verb_is_not_lost(network, plain, address):
    """`E` could still become EHLO: EHLO typed in two segments works."""
    with Step(network.client, address) as step:
        step.read_reply()
        step.send("E")
        step.until_acknowledged()
        step.send("HLO client.example\r\n")
        assert code(step.read_reply()) == 250
        step.say("QUIT")
    assert plain.connections[0].commands == [b"EHLO client.example", b"QUIT"]


def test_a_masked_command_in_a_pipeline(network, plain, address):
    """Replies stay in step."""
    with Step(network.client, address) as step:
        step.read_reply()
        step.say("EHLO client.example")
        step.send("NOOP\r\nEVIL foo\r\nNOOP\r\nEVIL bar\r\nQUIT\r\n")
        assert [code(step.read_reply()) for _ in range(5)] == [250, 500, 250, 500, 221]
    assert plain.connections[0].commands[1:] == [b"NOOP", b"xxxxxxxx", b"NOOP", b"xxxxxxxx", b"QUIT"]


def test_a_masked_keyword(network, plain_server, address, middle, words):
    plain_server(ehlo=["PIPELINING", "XSECRET one two", "SIZE 50000000", "ETRN"])
    said = words(middle)
    with Step(network.client, address) as step:
        step.read_reply()
        step.send("EHLO client.example\r\n")
        reply = step.read_reply()
        step.say("QUIT")
    assert [line[:4] for line in reply] == ["250-", "250-", "250-", "250-", "250 "], "codes and separators stay"
    assert reply[1] == "250-PIPELINING" and reply[3] == "250-SIZE 50000000"
    assert reply[2].startswith("250-XXXXXXX") and len(reply[2]) == len("250-XSECRET one two") and "one" not in reply[2]
    assert reply[4] == "250 XXXX"
    assert said.event(action="mask", **{"class": "extensions"})["direction"] == "to_client"
    said.counted("mask", by=2)


def test_a_refused_sender(network, plain, address, middle, ends, words):
    said = words(middle)
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        step.say("EHLO client.example")
        assert step.say("MAIL FROM:<offers@spam.example>") == 554
        assert step.read_to_end() == "closed"
    assert_refused(seen, b"554", b"spam.example>\r\n")
    assert plain.connections[0].done.wait(5) and plain.connections[0].ended == "reset"
    assert plain.connections[0].commands == [b"EHLO client.example"]
    event = said.event(kind="SMTP_MATCH", action="close", **{"class": "banned"})
    assert event["postern"]["reply"].startswith("554")
    assert event["postern"]["zone_pair"] == "inbound" and event["src_port"] == step.name[1]
    said.line("offers@spam.example")
    said.counted("close")


def test_a_refused_recipient_in_a_pipeline(network, plain, address, middle, ends, words):
    """The reply comes in its place, behind those of the commands before it."""
    said = words(middle)
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        step.say("EHLO client.example")
        step.send("MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@lab.example>\r\nRCPT TO:<secret@lab.example>\r\nDATA\r\n")
        codes = [code(step.read_reply()) for _ in range(3)]
        assert codes[:2] == [250, 250] and codes[2] in (550, 554)
        assert step.read_to_end() == "closed"
    assert_refused(seen, str(codes[2]).encode(), b"secret@lab.example>\r\n")
    assert plain.messages() == []
    said.event(action="close", **{"class": "closed"})


@pytest.mark.parametrize("size", [100, 100_000], ids=["short", "long"])
def test_a_refused_body(network, plain, address, middle, ends, words, size):
    """The client is answered where it waits for it; the server never sees an end of data."""
    said = words(middle)
    filler = clients.make_message(size).decode().split("\r\n\r\n", 1)[1]
    message = clients.make_message(body=filler + "about Project Nightjar\r\n" + filler)
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        assert step.mail(message) == 554
        assert step.read_to_end() == "closed"
    assert_refused(seen, b"554", b"Nightjar")
    received = bytes(plain.connections[0].received)
    assert b"\r\n.\r\n" not in received and plain.messages() == []
    assert plain.connections[0].done.wait(5) and plain.connections[0].ended == "reset"
    said.event(action="close", **{"class": "leak"})
    said.counted("close")


def test_a_body_pattern_cut_anywhere(network, plain):
    """Found across segments."""
    text = b"Subject: x\r\n\r\nabout Project Nightjar\r\n"
    start = text.index(b"Project")
    for cut in range(start + 1, start + len(b"Project Nightjar")):
        with Step(network.client, PLAIN[0]) as step:
            step.read_reply()
            for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
                step.say(line)
            octets = stuffed(text)
            step.send(octets[:cut])
            step.until_acknowledged()
            step.send(octets[cut:])
            assert code(step.read_reply()) == 554, cut
    assert plain.messages() == []


def test_only_logged(network, plain, address, middle, words):
    said = words(middle)
    message = clients.make_message(500)
    with Step(network.client, address) as step:
        step.read_reply()
        assert step.mail(message, sender="carol@noted.example") == 250
        step.say("QUIT")
    assert plain.messages() == [message]
    said.event(action="log", **{"class": "noted"})
    said.line("carol@noted.example")


def test_an_allow_comes_first(network, plain, address, middle, words):
    """Class friend stands before class banned and matches a part of it."""
    said = words(middle)
    message = clients.make_message(500)
    with Step(network.client, address) as step:
        step.read_reply()
        assert step.mail(message, sender="friend@spam.example") == 250
        step.say("QUIT")
    assert plain.messages() == [message]
    said.event(**{"class": "friend"})


def test_silence_about_ordinary_mail(network, plain, address, middle, words):
    said = words(middle)
    with Step(network.client, address) as step:
        step.read_reply()
        assert step.mail(clients.make_message(500)) == 250
        assert step.say("QUIT") == 221
    said.silent()


def test_other_traffic_is_dropped(network, middle, words):
    said = words(middle)
    client = network.client.socket()
    client.settimeout(1.5)
    with pytest.raises(TimeoutError):
        client.connect((PLAIN[0], 8025))
    client.close()
    said.counted("drop")


def test_the_inside_may_not_open_sessions(network, plain):
    """A zone-pair goes one way."""
    server = network.server.socket()
    server.settimeout(1.5)
    with pytest.raises(TimeoutError):
        server.connect(("192.0.2.10", 25))
    server.close()
