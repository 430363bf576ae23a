"""What Python's `email` sees in mails: a line of JSON for each mail named on standard input, for tests/mime.rs.

    {"mail": NAME, "facts": [["type", VALUE, TYPE, NAME or null], ["encoding", TOKEN], ...]}

Facts stand in the order of the message, those of parts and of messages inside it included. Values are unfolded; octets are
written as characters of the same number. TYPE and NAME are what `email` makes of the first Content-Type of a part.
"""

import email
import email.message
import email.policy
import email.utils
import json
import re
import sys


def as_sent(octets):
    """Lines end in CRLF, as on the wire."""
    return b"".join(line.removesuffix(b"\r") + b"\r\n" for line in octets.split(b"\n"))


def octets_of(text):
    return text.encode("ascii", "surrogateescape").decode("latin-1")


def unfolded(value):
    return octets_of(re.sub(r"[\r\n]", "", value)).strip(" \t\r\n\f\v")


def name_of(part):
    # From octets as characters: `email` replaces those of 8 bits before it looks for parameters.
    field = email.message.Message()
    field["Content-Type"] = octets_of(dict((name.lower(), value) for name, value in reversed(list(part.raw_items())))["content-type"])
    name = field.get_param("name")
    return email.utils.collapse_rfc2231_value(name).encode("utf-8").decode("latin-1") if isinstance(name, tuple) else name or None


def facts(octets):
    found = []
    message = email.message_from_bytes(as_sent(octets), policy=email.policy.compat32)
    for part in message.walk():
        typed = False
        for field, value in part.raw_items():
            match field.lower():
                case "content-type":
                    first = [None, None] if typed else [part.get_content_type(), name_of(part)]
                    found.append(["type", unfolded(value), *first])
                    typed = True
                case "content-transfer-encoding":
                    found.append(["encoding", re.split(r"[ \t;(]", unfolded(value))[0]])
    return found


for line in sys.stdin:
    path = line.rstrip("\n")
    with open(path, "rb") as file:
        print(json.dumps({"mail": path, "facts": facts(file.read())}))
