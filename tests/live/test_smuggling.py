"""SMTP smuggling at real servers: a second mail hidden behind something that some server takes for the end of the first.

Each variant is sent twice: from the server's own namespace, where no gateway stands, which says what this server makes of it
(the table that a run prints, and `tests/servers.md`); and from outside, where the gateway answers 554 and the server gets
neither a second mail nor an end of data.
"""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import field
import pytest
from netlab import gateway
from netlab.clients import Step, code
from netlab.gateway import ROOT

#: The twelve that the tools of the research try (The-Login/SMTP-Smuggling-Tools, smtpsmug).
VARIANTS = {
    "LF.LF": b"\n.\n",
    "LF.CR": b"\n.\r",
    "CR.LF": b"\r.\n",
    "CR.CR": b"\r.\r",
    "LF.CRLF": b"\n.\r\n",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
}
#: The same behind a first header line that ends in LF alone: exim from 4.97.1 on decides by that line what it takes for an end.
LF_HEADER = {f"{name}, LF header": VARIANTS[name] for name in ("LF.LF", "LF.CRLF", "CRLF.LF")}
#: What only `end-of-data strict` refuses: senders of these are sloppy, not malicious.
SLOPPY = {"bare LF": b"one\ntwo\r\n", "bare CR": b"one\rtwo\r\n", "NUL": b"one\0two\r\n"}


def _mail(subject, body, first_end=b"\r\n"):
    return b"From: <alice@example.org>" + first_end + b"Subject: " + subject.encode() + b"\r\n\r\n" + body


def _hidden(token, case):
    """A message with another session in it, behind the variant."""
    variant = (VARIANTS | LF_HEADER)[case]
    inner = (b"MAIL FROM:<smuggler@example.org>\r\nRCPT TO:<bob@lab.example>\r\nDATA\r\n" + _mail(f"{token}-inner", b"smuggled\r\n"))
    return _mail(f"{token}-outer", b"first", b"\n" if case in LF_HEADER else b"\r\n") + variant + inner + b"\r\n.\r\n"


def _send(namespace, address, content):
    """The session up to the reply to the content, and all that is said until it ends."""
    with Step(namespace, address, timeout=10) as step:
        step.read_reply()
        for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
            if step.say(line) >= 400:
                raise AssertionError(f"{step.transcript}")
        step.send(content)
        answer = code(step.read_reply())
        try:
            step.send(b"QUIT\r\n")
        except OSError:
            pass
        step.read_to_end(5)
        return answer, step.name, step.ended, step.transcript


def _outcome(server, token, answer, transcript):
    """What became of the two mails, in words."""
    # Who took the first for complete went on to answer MAIL, RCPT and DATA.
    went_on = [line for side, line in transcript if side == "S" and line.startswith("354")][1:]
    end = time.monotonic() + (10 if went_on else 0.3)
    while True:
        mails = server.find(token.encode(), 10 if answer == 250 else 0.3)
        if any(f"{token}-outer".encode() not in mail for mail in mails):
            return "smuggled"
        if time.monotonic() > end:
            return "one mail" if mails else f"refused {answer}"
        time.sleep(0.1)


@pytest.mark.parametrize("name", field.SERVERS)
@pytest.mark.parametrize("level", ["eod", "strict"])
def test_every_variant(level, name, mail_server, network, gate, ends):
    server = mail_server(name)
    gate(field.shipped(end_of_data=level))
    known = VARIANTS | LF_HEADER
    cases = known if level == "eod" else known | SLOPPY

    def straight(case):
        token = f"smug-{name}-{list(cases).index(case)}-direct-"
        answer, _, _, transcript = _send(network.server, server.address, _hidden(token, case))
        return _outcome(server, token, answer, transcript)

    def through(case):
        token = f"smug-{name}-{list(cases).index(case)}-{level}-"
        content = _hidden(token, case) if case in known else _mail(token, cases[case]) + b"end\r\n.\r\n"
        return token, *_send(network.client, server.address, content)

    with ThreadPoolExecutor(6) as pool:
        if level == "eod":
            for case, outcome in zip(known, pool.map(straight, known), strict=True):
                field.SMUGGLING.put(case, name, outcome)
        if gateway.kind() == "bridge":
            return
        with ends() as seen:
            outcomes = list(pool.map(through, cases))
    at_server = {session.client: session for session in seen.server}
    for (case, variant), (token, answer, ours, ended, _) in zip(cases.items(), outcomes, strict=True):
        assert (answer, ended) == (554, "closed"), f"{case}: {answer}, {ended}"
        session = at_server[ours]
        octets = session.sent_by("C")
        assert variant not in octets and b"smuggler" not in octets and b"\r\n.\r\n" not in octets, f"{case}: {octets[-200:]}"
        assert ("C", "RST") in session.closings, f"{case}: {session.closings}"
        assert not server.find(token.encode(), 0), f"{case}: a mail was delivered"


@pytest.mark.parametrize("name", field.SERVERS)
def test_sloppy_mail_passes_by_default(name, mail_server, network, gate):
    """A bare LF within a line is no end of data for anybody; what the server says to it is its own business."""
    server = mail_server(name)
    gate(field.shipped())
    answer, *_ = _send(network.client, server.address, _mail(f"sloppy-{name}", SLOPPY["bare LF"]) + b".\r\n")
    straight, *_ = _send(network.server, server.address, _mail(f"sloppy-{name}", SLOPPY["bare LF"]) + b".\r\n")
    assert answer == straight and answer in (250, 421)


@pytest.mark.parametrize("name", field.SERVERS)
def test_the_record(name):
    """What servers do without a gateway is what the record says. It also shows that the tests above can fail: postfix of Debian 12
    is taken in by every second variant."""
    field.compare_with_record(field.SMUGGLING, name)


def test_nothing_is_forgotten():
    """The list that the research published, where it is here."""
    path = os.path.join(os.environ.get("POSTERN_CORPUS") or os.path.join(ROOT, "..", "shared", "corpus"), "smtp-scripts", "smuggling-eod-sequences.tsv")
    if not os.path.exists(path):
        pytest.skip("skipped: no smtp-scripts; POSTERN_CORPUS names the folder that has them")
    with open(path, encoding="ascii") as file:
        listed = {re.sub(r"\\x00", "\0", line.split("\t")[0].replace("\\r", "\r").replace("\\n", "\n")).encode() for line in file.read().splitlines()[1:]}
    assert listed and listed <= set(VARIANTS.values()), listed - set(VARIANTS.values())
