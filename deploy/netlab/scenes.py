"""What the lab shows: one scene per kind of verdict, on a real mail server.

A scene plays (a client does something), then judges from both ends. It never asks the gateway what happened: the
gateway's own words are printed beside, and checked to be there.
"""

import dataclasses
import re
import time
from collections.abc import Callable

from . import clients
from .clients import Step, code
from .namespaces import SERVERS
from .observe import postern
from .servers import content_as_sent

#: Postfix, IPv4 and IPv6; and the load sink.
MX4, MX6 = SERVERS[0]
SINK4, SINK6 = SERVERS[1]


@dataclasses.dataclass
class Stage:
    """What a scene plays on."""

    network: object
    postfix: object
    sink: object
    #: None under a kernel bridge.
    gateway: object = None


@dataclasses.dataclass
class Result:
    """What came of a scene: the sessions at both ends and the gateway's words about them."""

    client: list
    server: list
    events: list
    syslog: list
    growth: list
    #: What `play` returned.
    played: object = None
    #: Anything else worth a line.
    notes: list = dataclasses.field(default_factory=list)

    def at_client(self):
        return self.client[0] if self.client else None

    def at_server(self):
        return self.server[0] if self.server else None

    def event(self, **wanted):
        """Whether one event has these fields in its own object."""
        return any(all(postern(event, name) == value for name, value in wanted.items()) for event in self.events)


@dataclasses.dataclass
class Scene:
    """One thing to see."""

    title: str
    text: str
    play: Callable
    judge: Callable
    #: Whether the transcripts are worth printing.
    shown: bool = True


@dataclasses.dataclass
class Act:
    """Scenes under one policy."""

    policy: str
    #: The policy's names for the client's and the server's side.
    ports: tuple
    text: str
    scenes: list


def _commands(session):
    """Command lines of the client as this end saw them."""
    return [line for who, line, _ in session.lines if who == "C" and line is not None] if session else []


def _replies(session):
    return [line for who, line, _ in session.lines if who == "S" and line is not None] if session else []


def _ended_cleanly(session):
    """The client read a FIN, and no reset, from the server's side."""
    return session is not None and session.closed_by("S") == "FIN" and ("S", "RST") not in session.closings


def _clean_close(result, prefix):
    client = result.at_client()
    return [
        (bool(client) and any(reply.startswith(prefix) for reply in _replies(client)), f"the client was told {prefix.decode()}"),
        (_ended_cleanly(client), "the client's connection was closed with a FIN, not a reset"),
    ]


# ---------------------------------------------------------------- allowed mail

def _play_allowed(stage):
    before = len(stage.postfix.messages())
    message = clients.make_message(1200, subject="Minutes of the meeting")
    clients.send_with_smtplib(stage.network.client, MX4, message)
    clients.send_with_smtplib(stage.network.client, MX6, message)
    return message, stage.postfix.wait_for_messages(before + 2)[before:]


def _judge_allowed(result):
    message, arrived = result.played
    sent = clients.sha256(message)
    got = [clients.sha256(content_as_sent(mail, message)) for mail in arrived]
    result.notes += [f"sent      SHA-256 {sent}"] + [f"delivered SHA-256 {each}" for each in got]
    return [(got == [sent, sent], "over IPv4 and over IPv6 it lies in the mailbox octet for octet as it was sent")]


# ---------------------------------------------------------------- masked command

def _play_evil(stage):
    with Step(stage.network.client, MX4) as step:
        step.read_reply()
        answers = [step.say("HELO client.example"), step.say("EVIL foo"), step.say("NOOP"), step.say("QUIT")]
        step.read_to_end()
    return answers


def _judge_evil(result):
    answers = result.played
    return [
        (b"xxxxxxxx" in _commands(result.at_server()), "the server received xxxxxxxx"),
        (b"EVIL foo" in _commands(result.at_client()), "the client had sent EVIL foo"),
        (500 <= answers[1] <= 502, f"the server itself refused it: {answers[1]}"),
        (answers[2:] == [250, 221], "the session went on"),
        (result.event(action="mask"), "an event says so"),
    ]


def _judge_evil_classic(result):
    client = result.at_client()
    address = f"{client.client[0]}:{client.client[1]}" if client else "?"
    line = f"%FW-3-SMTP_INVALID_COMMAND: Invalid SMTP command (EVIL foo) (total 8 chars) from initiator ({address})"
    return [*_judge_evil(result), (any(line in entry for entry in result.syslog), f"the syslog line reads {line}")]


# ---------------------------------------------------------------- masked keyword

def _play_ehlo(stage):
    with Step(stage.network.client, MX4) as step:
        step.read_reply()
        step.say("EHLO client.example")
        step.say("QUIT")
        step.read_to_end()


def _keywords(session):
    return [line[4:].split(b" ")[0] for line in _replies(session) if line.startswith(b"250")]


def _judge_keyword(keyword):
    def judge(result):
        there, here = _keywords(result.at_server()), _keywords(result.at_client())
        pairs = list(zip(there, here, strict=False))
        masked = [(real, seen) for real, seen in pairs if real != seen]
        return [
            (keyword in there, f"the server offered {keyword.decode()}"),
            ((keyword, b"X" * len(keyword)) in masked, f"the client read {'X' * len(keyword)}"),
            (len(there) == len(here) and b"PIPELINING" in here, "every other line of the reply is as the server wrote it, or masked likewise"),
            (result.event(kind="SMTP_EHLO_MASKED") or result.event(action="mask"), "an event says so"),
        ]

    return judge


# ---------------------------------------------------------------- refused sender

def _play_banned(stage):
    before = len(stage.postfix.messages())
    with Step(stage.network.client, MX4) as step:
        step.read_reply()
        step.say("HELO client.example")
        answer = step.say("MAIL FROM:<offers@spam.example>")
        ended = step.read_to_end()
    time.sleep(0.3)
    return answer, ended, len(stage.postfix.messages()) - before


def _judge_banned(result):
    answer, ended, arrived = result.played
    server = result.at_server()
    return [
        *_clean_close(result, b"554"),
        (500 <= answer <= 599 and ended == "closed", f"in the client's own words: {answer}, then {ended}"),
        (not any(b"spam.example" in line and note == "" for who, line, note in (server.lines if server else []) if line),
         "the server never received that command as a whole line"),
        (server is not None and ("C", "RST") in server.closings, "the server's connection was reset"),
        (arrived == 0, "no mail arrived"),
        (result.event(action="close", **{"class": "banned"}), "an event names the class"),
        (any("offers@spam.example" in line for line in result.syslog), "a syslog line names the sender"),
    ]


# ---------------------------------------------------------------- refused inside the content

def _play_leak(stage):
    before = len(stage.postfix.messages())
    text = clients.make_message(600).decode().split("\r\n\r\n", 1)[1]
    message = clients.make_message(subject="Holiday pictures", body=text + "It is about Project Nightjar, keep it quiet.\r\n" + text)
    with Step(stage.network.client, MX4) as step:
        step.read_reply()
        answer = step.mail(message)
        ended = step.read_to_end()
    time.sleep(0.3)
    return answer, ended, len(stage.postfix.messages()) - before


def _judge_leak(result):
    answer, ended, arrived = result.played
    server = result.at_server()
    received = server.sent_by("C") if server else b""
    return [
        (answer == 554, f"the client's end of data was answered {answer}"),
        *_clean_close(result, b"554")[1:],
        (ended == "closed", "the client read that reply and then the end of the connection"),
        (server is not None and b"\r\n.\r\n" not in received, "the server never received an end of data"),
        (b"Nightjar" not in received, "nor the words themselves"),
        (server is not None and ("C", "RST") in server.closings, "its connection was reset"),
        (arrived == 0, "no mail arrived"),
        (result.event(action="close", **{"class": "leak"}), "an event names the class"),
    ]


# ---------------------------------------------------------------- one octet per segment

def _play_letters(stage):
    with Step(stage.network.client, MX6, letters=True) as step:
        step.read_reply()
        answers = [step.say("HELO client.example"), step.say("EVIL foo"), step.say("QUIT")]
        step.read_to_end()
    return answers


def _judge_letters(result):
    hello, evil, bye = result.played
    commands = _commands(result.at_server())
    segments = [segment for who, segment in result.at_client().segments if who == "C" and segment.payload] if result.client else []
    return [
        (bool(segments) and max(len(segment.payload) for segment in segments) == 1, f"{len(segments)} segments of one octet"),
        (hello == 250 and commands[:1] == [b"HELO client.example"], "HELO, typed letter by letter, was understood by the server"),
        (500 <= evil <= 502 and len(commands) > 1 and commands[1] != b"EVIL foo" and commands[1].endswith(b"xxxx"),
         "EVIL foo was overwritten from the first letter that makes it illegal"),
        (bye == 221, "the session went on"),
    ]


# ---------------------------------------------------------------- another port

def _play_other_port(stage):
    client = stage.network.client.socket()
    client.settimeout(1.0)
    try:
        client.connect((MX4, 80))
        return "connected"
    except TimeoutError:
        return "no answer"
    except ConnectionRefusedError:
        return "refused by the server"
    finally:
        client.close()


def _judge_other_port(result):
    return [(result.played == "no answer", f"a connection to port 80: {result.played}")]


# ---------------------------------------------------------------- many at once

def _play_bulk(stage):
    return [(address, clients.smtp_source(stage.network.client, address, 200, 1000)) for address in (SINK4, SINK6)]


def _judge_bulk(result):
    result.notes += [f"{address}: 1,000 mails in 200 concurrent sessions, {seconds:.2f} s" for address, seconds in result.played]
    return [(len(result.played) == 2, "smtp-source delivered every one to smtp-sink")]


# ---------------------------------------------------------------- the shipped policy

def _play_tls(stage):
    before = len(stage.postfix.messages())
    done = clients.swaks(stage.network.client, MX4, "--tls", data="Subject: Sealed\n\nNobody on the way reads this.\n")
    return done.returncode, stage.postfix.wait_for_messages(before + 1)[before:]


def _judge_tls(result):
    status, arrived = result.played
    client, server = _commands(result.at_client()), _commands(result.at_server())
    return [
        (status == 0 and len(arrived) == 1 and b"Nobody on the way" in arrived[0], "swaks was content, and its mail arrived"),
        (b"STARTTLS" in client and b"STARTTLS" in server, "STARTTLS passed"),
        (not any(line.startswith(b"MAIL") for line in client + server), "and behind it nobody could read a command"),
    ]


def _play_smuggling(stage):
    before = len(stage.postfix.messages())
    hidden = b"MAIL FROM:<boss@lab.example>\r\nRCPT TO:<bob@lab.example>\r\nDATA\r\nSubject: Pay at once\r\n\r\nThe boss\r\n.\r\n"
    with Step(stage.network.client, MX4) as step:
        step.read_reply()
        for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
            step.say(line)
        step.send(b"Subject: Harmless\r\n\r\nHello\n.\r\n" + hidden)
        answer, ended = code(step.read_reply()), step.read_to_end()
    time.sleep(0.3)
    return answer, ended, len(stage.postfix.messages()) - before


def _judge_smuggling(result):
    answer, ended, arrived = result.played
    server = result.at_server()
    received = server.sent_by("C") if server else b""
    return [
        ((answer, ended) == (554, "closed"), f"the client was told {answer}, and the connection was {ended}"),
        (server is not None and b"boss@" not in received and b"\n.\r\n" not in received, "the server saw neither the false end nor what stood behind it"),
        (arrived == 0, "no mail arrived, where this postfix would have delivered two"),
        (result.event(kind="SMTP_SMUGGLING", action="close"), "an event says what it was"),
    ]


# ---------------------------------------------------------------- fall back to HELO

def _play_fallback(stage):
    before = len(stage.postfix.messages())
    message = clients.make_message(500, subject="The old way")
    clients.send_with_smtplib(stage.network.client, MX4, message)
    return message, stage.postfix.wait_for_messages(before + 1)[before:]


def _judge_fallback(result):
    message, arrived = result.played
    server = _commands(result.at_server())
    client = _commands(result.at_client())
    return [
        (any(line.upper().startswith(b"EHLO") for line in client), "the client said EHLO"),
        (bool(server) and re.fullmatch(rb"x+", server[0]) is not None and len(server[0]) == len(client[0]), "the server received only x"),
        (any(line.upper().startswith(b"HELO") for line in server), "the client fell back to HELO by itself"),
        (len(arrived) == 1 and content_as_sent(arrived[0], message) == message, "and its mail arrived octet for octet"),
        (any("SMTP_INVALID_COMMAND" in line for line in result.syslog), "a syslog line names the command"),
    ]


ACTS = [
    Act("lab.policy", ("outside", "inside"), "Zones and classes: each class of the policy in turn.", [
        Scene("Mail that nothing objects to", "Python's smtplib sends the same letter over IPv4 and IPv6. Nothing is changed on its way.",
              _play_allowed, _judge_allowed),
        Scene("A command that the policy masks", "Class unwanted-verb, action mask: the command is overwritten while its letters pass, so the server "
              "refuses it in its own words and the session stays in step.", _play_evil, _judge_evil),
        Scene("An extension that the policy hides", "Class unwanted-extension, action mask: the keyword in the server's EHLO reply is overwritten, so the "
              "client does not use it.", _play_ehlo, _judge_keyword(b"ETRN")),
        Scene("A sender that the policy refuses", "Class banned, action reset: the client is told in the right place and sees a clean end; the server "
              "is rid of the session.", _play_banned, _judge_banned),
        Scene("Words that must not leave", "Class leak, action reset inside the content: the rest is swallowed, the client gets its answer where it waits for it, "
              "and the server never sees an end of data.", _play_leak, _judge_leak),
        Scene("One letter per segment", "A command need not come in one piece: what is forwarded is always still undecided or allowed.",
              _play_letters, _judge_letters),
        Scene("Traffic that is no mail", "Class class-default drops what no other class names.", _play_other_port, _judge_other_port, shown=False),
        Scene("Two hundred sessions at once", "Postfix's load generator against its load sink.", _play_bulk, _judge_bulk, shown=False),
    ]),
    Act("mail.policy", ("outside", "inside"), "The policy to begin with: today's mail passes, attacks on the protocol do not.", [
        Scene("Mail under TLS", "STARTTLS passes, and what follows it passes unread.", _play_tls, _judge_tls, shown=False),
        Scene("A mail within a mail", "LF, dot, CRLF is no end of data; this postfix takes it for one, and what follows it for commands: SMTP smuggling.",
              _play_smuggling, _judge_smuggling),
    ]),
    Act("classic-esmtp.policy", ("Ethernet0", "Ethernet1"), "The classic form, \"ip inspect name mail-guard esmtp\": fifteen commands and eight extensions are legal.", [
        Scene("A command outside the protocol", "EVIL is none of the fifteen.", _play_evil, _judge_evil_classic),
        Scene("An extension outside the eight", "STARTTLS would hide the rest of the session; this mode does not let it through.", _play_ehlo,
              _judge_keyword(b"STARTTLS")),
    ]),
    Act("classic-smtp.policy", ("Ethernet0", "Ethernet1"), "The classic form, \"ip inspect name mail-guard smtp\": the twelve commands of RFC 821.", [
        Scene("EHLO becomes HELO", "The server does not understand what is left of EHLO, and every client knows what to do then.", _play_fallback,
              _judge_fallback),
    ]),
]

__all__ = ["ACTS", "Act", "Result", "Scene", "Stage", "code"]
