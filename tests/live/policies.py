"""Policies of the live tests, as text: what a test is about stands next to it, the frame around it is here."""

import textwrap


def zones(maps_and_classes="", rules="", top=""):
    """A zone policy that inspects SMTP from outside to inside with these classes and rules.

    `rules` are pairs of class name and actions: "banned: log reset, noisy: log"."""
    body = []
    for entry in filter(None, (part.strip() for part in rules.split(","))):
        name, _, actions = entry.partition(":")
        body.append(f" class type inspect smtp {name}")
        body += [f"  {action}" for action in actions.split()]
    child = ["policy-map type inspect smtp rules", *body] if body else []
    return "\n".join([
        textwrap.dedent(maps_and_classes).strip("\n"),
        *child,
        "class-map type inspect match-any mail",
        " match protocol smtp",
        "policy-map type inspect inbound",
        " class type inspect mail",
        "  inspect",
        *(["  service-policy smtp rules"] if body else []),
        *(f" {line}" for line in textwrap.dedent(top).strip("\n").splitlines()),
        " class class-default",
        "  drop log",
        "zone security outside",
        "zone security inside",
        "zone-pair security inbound source outside destination inside",
        " service-policy type inspect inbound",
        "",
    ])


#: One class for each kind of verdict.
RULES = zones(
    """
    parameter-map type regex banned-senders
     pattern @spam\\.example
    parameter-map type regex closed-boxes
     pattern ^<?secret@
    parameter-map type regex secret-words
     pattern Project Nightjar
    parameter-map type regex noted-senders
     pattern @noted\\.example
    parameter-map type regex friends
     pattern friend@spam\\.example
    class-map type inspect smtp match-any friend
     match sender address regex friends
    class-map type inspect smtp match-any banned
     match sender address regex banned-senders
    class-map type inspect smtp match-any closed
     match recipient address regex closed-boxes
    class-map type inspect smtp match-any leak
     match body regex secret-words
    class-map type inspect smtp match-any noted
     match sender address regex noted-senders
    class-map type inspect smtp match-any verbs
     match cmd verb EVIL
     match cmd verb VRFY
    class-map type inspect smtp match-any extensions
     match reply ehlo ETRN
     match reply ehlo XSECRET
    """,
    rules="friend: log allow, banned: log reset, closed: reset, leak: log reset, noted: log, verbs: log mask, extensions: log mask")

#: SMTP passes uninspected by content, followed by TCP only: a pinhole.
PINHOLE = zones()

_CLASSIC = """\
ip inspect name mail-guard {mode} alert on audit-trail on
interface Ethernet0
 ip inspect mail-guard in
interface Ethernet1
"""

#: The classic form in both modes; its ports are interfaces.
CLASSIC = {mode: _CLASSIC.format(mode=mode) for mode in ("smtp", "esmtp")}
CLASSIC_PORTS = ("Ethernet0", "Ethernet1")
