"""The classic form: `ip inspect name N smtp|esmtp`, to the letter."""

import smtplib

import pytest
from conftest import POSTFIX
from netlab import clients
from netlab.clients import Step
from netlab.servers import content_as_sent
from policies import CLASSIC, CLASSIC_PORTS

pytestmark = pytest.mark.decides

LEGAL = {"smtp": "DATA HELO HELP MAIL NOOP QUIT RCPT RSET SAML SEND SOML VRFY".split()}
LEGAL["esmtp"] = LEGAL["smtp"] + ["AUTH", "EHLO", "ETRN"]
ILLEGAL = {"esmtp": ["STARTTLS", "EXPN", "TURN", "VERB", "BDAT", "ATRN", "WIZ", "DEBUG", "XEXCH50", "EVIL"]}
ILLEGAL["smtp"] = ILLEGAL["esmtp"] + ["AUTH", "EHLO", "ETRN"]


def end(name):
    """An end of a connection as syslog lines have it."""
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


@pytest.fixture(params=["smtp", "esmtp"])
def mode(request):
    return request.param


def start(gate, mode):
    return gate(CLASSIC[mode], CLASSIC_PORTS)


def test_the_alert_of_an_invalid_command(gate, network, plain, address, words, mode):
    said = words(start(gate, mode))
    with Step(network.client, address) as step:
        step.read_reply()
        step.say("HELO client.example")
        assert step.say("EVIL foo") == 500
        step.say("QUIT")
    assert plain.connections[0].commands[1] == b"xxxxxxxx"
    line = said.line("SMTP_INVALID_COMMAND")
    assert line == f"%FW-3-SMTP_INVALID_COMMAND: Invalid SMTP command (EVIL foo) (total 8 chars) from initiator ({end(step.name)})"
    event = said.event(kind="SMTP_INVALID_COMMAND", action="mask")
    assert event["postern"]["severity"] == 3 and event["postern"]["message"] == line
    said.counted("mask", by=1)


def test_the_alert_of_an_invalid_parameter(gate, network, plain, address, ends, words):
    """An extension outside the eight, used in a command: refused and closed."""
    said = words(start(gate, "esmtp"))
    with ends() as seen, Step(network.client, address) as step:
        step.read_reply()
        step.say("EHLO client.example")
        answer = step.say("MAIL FROM:<alice@example.org> FUTURERELEASE=60")
        assert 500 <= answer <= 599
        assert step.read_to_end() == "closed"
    line = said.line("SMTP_INVALID_PARAMETER")
    assert line.startswith("%FW-3-SMTP_INVALID_PARAMETER: Invalid SMTP parameter (") and line.endswith(f") from initiator ({end(step.name)})")
    assert "FUTURERELEASE" in line
    assert b"FUTURERELEASE=60\r\n" not in seen.server[0].sent_by("C")


def test_attacker_octets_are_escaped_in_the_alert(gate, network, plain, words):
    said = words(start(gate, "esmtp"))
    with Step(network.client, "192.0.2.27") as step:
        step.read_reply()
        step.say("EHLO client.example")
        step.send(b"EVIL \x1b[31m%s\x07\r\n")
        step.read_reply()
        step.say("QUIT")
    line = said.line("SMTP_INVALID_COMMAND")
    assert all(32 <= ord(character) < 127 for character in line), line


def test_every_verb(gate, network, plain_server, mode):
    """Legal ones reach the server as they are, the others as x's of the same length."""
    start(gate, mode)
    everything = {verb: "250 2.0.0 noted" for verb in LEGAL["esmtp"] + ILLEGAL["smtp"] if verb not in ("DATA", "QUIT", "AUTH", "EHLO")}
    plain = plain_server(replies={**everything, "DATA": "503 5.5.1 not now", "AUTH": "504 5.5.4 no such mechanism"})
    for verb in sorted({*LEGAL["esmtp"], *ILLEGAL["smtp"]} - {"QUIT"}):
        argument = {"MAIL": " FROM:<a@example.org>", "RCPT": " TO:<b@lab.example>", "SEND": " FROM:<a@example.org>", "SAML": " FROM:<a@example.org>",
                    "SOML": " FROM:<a@example.org>", "AUTH": " PLAIN", "BDAT": " 0", "DATA": "", "RSET": "", "NOOP": "",
                    "STARTTLS": "", "TURN": ""}.get(verb, " client.example")
        line = (verb + argument).encode()
        with Step(network.client, "192.0.2.27") as step:
            step.read_reply()
            step.say("HELO client.example")
            step.say(line.decode())
            step.close()
        connection = plain.connections[-1]
        assert connection.done.wait(5)
        received = connection.commands[1:2]
        expected = line if verb in LEGAL[mode] else b"x" * len(line)
        if verb == "BDAT" and received == []:
            # Octets of a chunk would follow, and the server would read them as commands: refused instead (RFC 3030).
            assert b"BDAT 0\r\n" not in bytes(connection.received)
            continue
        assert received == [expected], verb


def test_ehlo_falls_back_to_helo(gate, network, postfix, ends, words):
    said = words(start(gate, "smtp"))
    before = len(postfix.messages())
    message = clients.make_message(1000, seed="fallback")
    with ends() as seen:
        clients.send_with_smtplib(network.client, POSTFIX[0], message)
    commands = [line for who, line, _ in seen.server[0].lines if who == "C" and line is not None]
    assert commands[0] == b"x" * len("ehlo client.example")
    assert commands[1].lower() == b"helo client.example"
    stored = postfix.wait_for_messages(before + 1)
    assert content_as_sent(stored[-1], message) == message
    said.line("(ehlo client.example) (total 19 chars)")


def test_the_ehlo_reply_keeps_the_eight(gate, network, plain_server, words):
    said = words(start(gate, "esmtp"))
    kept = ["SIZE 1000", "ETRN", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", "8BITMIME", "AUTH PLAIN LOGIN"]
    hidden = ["STARTTLS", "SMTPUTF8", "VRFY", "XPRIVATE", "CHUNKING"]
    plain_server(ehlo=[word for pair in zip(kept, [*hidden, "HELP", "EXPN"], strict=False) for word in pair])
    with Step(network.client, "192.0.2.27") as step:
        step.read_reply()
        step.send("EHLO client.example\r\n")
        reply = [line[4:] for line in step.read_reply()[1:]]
        step.say("QUIT")
    assert reply[0::2] == kept
    assert [set(word) for word in reply[1::2]] == [{"X"}] * len(reply[1::2])
    assert [len(word) for word in reply[1::2]] == [len(word) for word in [*hidden, "HELP", "EXPN"]]
    said.event(kind="SMTP_EHLO_MASKED", action="mask")


def test_a_client_that_wants_tls_gets_none(gate, network, postfix):
    start(gate, "esmtp")
    with network.client.entered():
        session = smtplib.SMTP(POSTFIX[0], 25, local_hostname="client.example", timeout=20)
    session.ehlo()
    assert not session.has_extn("starttls")
    with pytest.raises(smtplib.SMTPNotSupportedError):
        session.starttls()
    session.quit()


def test_what_no_rule_inspects_passes(gate, network, postfix):
    """Another port, and sessions from the inside: as through a wire."""
    start(gate, "esmtp")
    listener = network.server.socket()
    listener.bind((POSTFIX[0], 8025))
    listener.listen()
    client = network.client.socket()
    client.settimeout(5)
    client.connect((POSTFIX[0], 8025))
    accepted, _ = listener.accept()
    client.sendall(b"EVIL foo\r\n")
    assert accepted.recv(100) == b"EVIL foo\r\n"
    for one in (client, accepted, listener):
        one.close()
    done = network.client.run(["ping", "-c1", "-W2", POSTFIX[0]], check=False)
    assert done.returncode == 0, done.stdout


def test_the_audit_trail(gate, network, plain, words):
    said = words(start(gate, "esmtp"))
    with Step(network.client, "192.0.2.27") as step:
        step.read_reply()
        assert step.mail(clients.make_message(500)) == 250
        step.say("QUIT")
        step.read_to_end()
    started = said.line("SESS_AUDIT_TRAIL_START")
    assert started == f"%FW-6-SESS_AUDIT_TRAIL_START: Start tcp session: initiator ({end(step.name)}) -- responder (192.0.2.27:25)"
    step.close()
    # A session is over `tcp finwait-time` (5 s) after its last FIN.
    # Other sessions of this gateway may end meanwhile.
    stopped = f"%FW-6-SESS_AUDIT_TRAIL: Stop tcp session: initiator ({end(step.name)}) sent "
    assert "responder (192.0.2.27:25) sent " in said.line(stopped, seconds=15)
