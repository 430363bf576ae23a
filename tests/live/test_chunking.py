"""BDAT with a real server: followed where the policy allows it, else never more than a refused word."""

import time

import pytest
from conftest import PLAIN, POSTFIX
from netlab import clients
from netlab.clients import Step, code, sha256
from netlab.servers import content_as_sent
from policies import zones

pytestmark = pytest.mark.decides


def policy(chunking):
    text = zones(
        r"""
        parameter-map type regex secret-words
         pattern Project Nightjar
        class-map type inspect smtp match-any leak
         match body regex secret-words
        """,
        "leak: log reset",
    )
    return text.replace("inspect smtp rules\n", f"inspect smtp rules\n parameters\n  chunking {chunking}\n")


@pytest.fixture
def allowing(gate):
    return gate(policy("allow"))


@pytest.fixture
def masking(gate):
    return gate(policy("mask"))


def chunks(message, size):
    """A message as BDAT commands with their octets, the last one LAST."""
    pieces = [message[at:at + size] for at in range(0, len(message), size)]
    return [f"BDAT {len(piece)}{' LAST' if at == len(pieces) - 1 else ''}\r\n".encode() + piece for at, piece in enumerate(pieces)]


def begin(step):
    step.read_reply()
    step.send("EHLO client.example\r\n")
    return step.read_reply()


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("size", [37, 1460, 100_000, 10_000_000])
def test_chunks_to_postfix(network, postfix, allowing, family, size, words):
    said = words(allowing)
    before = len(postfix.messages())
    message = clients.make_message(2_000 if size == 37 else 300_000, seed=f"chunks {family} {size}")
    with Step(network.client, POSTFIX[family]) as step:
        assert "250-CHUNKING" in begin(step) or "250 CHUNKING" in step.transcript[-1]
        assert step.say("MAIL FROM:<alice@example.org>") == 250
        assert step.say("RCPT TO:<bob@lab.example>") == 250
        parts = chunks(message, size)
        for part in parts:
            step.send(part)
            assert code(step.read_reply()) == 250
        assert step.say("QUIT") == 221
    stored = postfix.wait_for_messages(before + 1)
    assert len(stored) == before + 1
    assert sha256(content_as_sent(stored[-1], message)) == sha256(message)
    said.silent()
    said.counted("smtp_commands", "bdat", by=len(parts))


def test_a_pipelined_mail_in_chunks(network, postfix, allowing, words):
    """All of it at once, as Exim sends small mail: BDAT waits in the gateway until the recipient is accepted."""
    said = words(allowing)
    before = len(postfix.messages())
    messages = [clients.make_message(length, seed=length) for length in (500, 20_000)]
    with Step(network.client, POSTFIX[0]) as step:
        begin(step)
        flight, count = b"", 0
        for message in messages:
            parts = chunks(message, 9_000)
            flight += b"MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@lab.example>\r\n" + b"".join(parts)
            count += 2 + len(parts)
        began = time.monotonic()
        step.send(flight + b"QUIT\r\n")
        assert [code(step.read_reply()) for _ in range(count + 1)] == [250] * count + [221]
        print(f"{count} replies in {time.monotonic() - began:.3f} s")
    stored = postfix.wait_for_messages(before + 2)[before:]
    assert sorted(sha256(content_as_sent(one, sent)) for one, sent in zip(sorted(stored, key=len), messages, strict=True)) \
        == sorted(map(sha256, messages))
    said.silent()


@pytest.mark.parametrize("size", [50, 10_000])
def test_a_refused_mail_in_chunks(network, postfix, allowing, ends, words, size):
    said = words(allowing)
    before = len(postfix.messages())
    message = clients.make_message(4_000, seed=size) + b"\r\nthis is about Project Nightjar\r\n" + clients.make_message(2_000, seed=1)
    with ends() as seen, Step(network.client, POSTFIX[0]) as step:
        begin(step)
        step.say("MAIL FROM:<alice@example.org>")
        step.say("RCPT TO:<bob@lab.example>")
        codes = []
        for part in chunks(message, size):
            step.send(part)
            codes.append(code(step.read_reply()))
            if codes[-1] != 250:
                break
        assert codes[-1] == 554 and set(codes[:-1]) <= {250}
        assert step.read_to_end() == "closed"
    client, server = seen.client[0], seen.server[0]
    assert client.closed_by("S") == "FIN" and ("S", "RST") not in client.closings
    assert ("C", "RST") in server.closings and b"Project Nightjar" not in server.sent_by("C")
    assert said.event(kind="SMTP_MATCH", action="close", **{"class": "leak"})["postern"]["reply"].startswith("554")
    time.sleep(1)
    assert len(postfix.messages()) == before, "it was not delivered"


def test_chunks_without_a_recipient(network, postfix, allowing, ends, words):
    """Postfix would swallow them, other servers might execute them: they do not leave."""
    said = words(allowing)
    with ends() as seen, Step(network.client, POSTFIX[0]) as step:
        begin(step)
        step.say("MAIL FROM:<alice@example.org>")
        assert step.say("RCPT TO:<bob@elsewhere.example>") in (454, 554, 550)
        step.send("BDAT 25 LAST\r\nRSET\r\nVRFY postmaster\r\n..")
        assert code(step.read_reply()) == 503
        assert step.read_to_end() == "closed"
    assert b"VRFY" not in seen.server[0].sent_by("C") and ("C", "RST") in seen.server[0].closings
    assert said.event(kind="SMTP_OUT_OF_SYNC", action="close")["postern"]["value"] == "BDAT 25 LAST"


@pytest.mark.parametrize("size", ["-1", "+1", "4294967297", "18446744073709551617", "5LAST", "5 LAST x", "", "0x5"])
def test_sizes_that_are_none(network, plain_server, address, allowing, size, words):
    plain_server(ehlo=["PIPELINING", "CHUNKING"])
    said = words(allowing)
    with Step(network.client, address) as step:
        begin(step)
        step.say("MAIL FROM:<alice@example.org>")
        step.say("RCPT TO:<bob@lab.example>")
        step.send(f"BDAT {size}\r\n")
        # A size that is well written but too large is followed by its octets, as far as anyone would send them.
        if size != "4294967297":
            assert code(step.read_reply()) == 501 and step.read_to_end() == "closed"
    assert said.event(kind="SMTP_INVALID_PARAMETER", action="close")["postern"].get("value", "") == size


def test_masked_chunking(network, postfix, masking, words):
    """Postfix offers CHUNKING; the client is not shown it, uses DATA, and its mail arrives."""
    said = words(masking)
    before = len(postfix.messages())
    message = clients.make_message(20_000, seed="masked")
    with Step(network.client, POSTFIX[0]) as step:
        reply = begin(step)
        # Its line is overwritten whole, code and separator stay.
        assert not any("CHUNKING" in line for line in reply) and sum(line[4:] == "XXXXXXXX" for line in reply) == 1, reply
        step.say("QUIT")
    assert said.event(kind="SMTP_EHLO_MASKED", action="mask")["postern"]["value"] == "CHUNKING"
    clients.send_with_smtplib(network.client, POSTFIX[0], message)
    clients.smtp_source(network.client, POSTFIX[0], 1, 1)
    stored = postfix.wait_for_messages(before + 2)
    assert len(stored) == before + 2
    assert sha256(message) in {sha256(content_as_sent(one, message)) for one in stored[before:]}


def test_masked_bdat_is_refused(network, masking, plain_server, ends, words):
    """T8: the payload of a refused BDAT never reaches the server as commands, nor as anything else."""
    server = plain_server(ehlo=["PIPELINING", "CHUNKING"])
    said = words(masking)
    with ends() as seen, Step(network.client, PLAIN[0]) as step:
        begin(step)
        step.say("MAIL FROM:<alice@example.org>")
        step.say("RCPT TO:<bob@lab.example>")
        step.send("BDAT 34 LAST\r\nRSET\r\nMAIL FROM:<evil@example.org>")
        assert code(step.read_reply()) == 502
        assert step.read_to_end() == "closed"
    assert server.connections[0].commands[-1] == b"RCPT TO:<bob@lab.example>"
    assert b"evil" not in seen.server[0].sent_by("C") and ("C", "RST") in seen.server[0].closings
    assert said.event(kind="SMTP_INVALID_COMMAND", action="close")["postern"]["value"] == "BDAT 34 LAST"
