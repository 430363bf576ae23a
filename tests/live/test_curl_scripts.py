"""curl's own SMTP tests, played by curl through the gateway, to a server that answers as each test says.

A test of curl names its command line, what is sent, what the server answers, and what the server must then have got (`<protocol>`, `<upload>`).
Each runs twice, without a gateway and through it with the policy that is shipped: the server gets the same octets, curl ends in the
same way, and it is what the test expects. What differs stands in `curl_scripts.tsv` with its reason; one that does not, and a row that
no longer differs, fail the test.

The scripts are found through POSTERN_CORPUS (a folder with `smtp-scripts/` in it); without it these tests are skipped.
"""

import csv
import glob
import os
import re
import shlex
import subprocess

import field
import pytest
from conftest import PLAIN
from netlab.gateway import ROOT
from netlab.servers import PlainServer

CORPUS = os.environ.get("POSTERN_CORPUS") or os.path.join(ROOT, "..", "shared", "corpus")
SCRIPTS = sorted(glob.glob(os.path.join(CORPUS, "smtp-scripts", "curl", "*.xml")))
TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "curl_scripts.tsv")
pytestmark = pytest.mark.skipif(not SCRIPTS, reason="skipped: no scripts; POSTERN_CORPUS names the folder that has smtp-scripts/")



def unmarked(octets):
    """Without what is different in every multipart message, as the tests themselves write it."""
    return re.sub(rb"boundary=-{24}[a-z0-9]*", b"boundary=" + b"-" * 28, re.sub(rb"(?m)^-{26}[a-z0-9]*", b"-" * 30, octets))


class Script:
    """One of curl's test files."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.text = file.read()
        self.number = re.search(r"(\d+)\.xml$", path)[1]
        self.is_library = b"<tool>" in self.text
        self.is_without_idn = b"\n!idn\n" in self.text
        self.replies, self.offers = {}, []
        for line in self.part("servercmd").decode("latin-1").splitlines():
            word, _, rest = line.partition(" ")
            if word == "REPLY":
                key, answer = re.fullmatch(r'("[^"]*"|\S+) (.*)', rest).groups()
                self.replies[key.strip('"')] = answer
            elif word == "CAPA":
                self.offers.append(rest.strip('"'))
            elif word == "AUTH":
                self.offers.append(f"AUTH {rest}")

    def part(self, name):
        found = re.search(rb"<%s( [^>]*)?>\r?\n(.*?)</%s>" % (name.encode(), name.encode()), self.text, re.DOTALL)
        if not found:
            return b""
        text = self.filled(found[2])
        return text.removesuffix(b"\n") if b'nonewline="yes"' in (found[1] or b"") else text

    def filled(self, text):
        for name, value in (("TESTNUMBER", self.number), ("SMTPPORT", "25"), ("HOSTIP", PLAIN[0])):
            text = text.replace(f"%{name}".encode(), value.encode())
        text = text.replace(b"127.0.0.1", PLAIN[0].encode())
        return re.sub(rb"%b64\[(.*?)\]b64%", lambda found: _base64(found[1]), text)

    def expected(self):
        """What the server must have got: commands and content, and how curl ends."""
        return (self.part("protocol").replace(b"\r\n", b"\n"), self.part("upload"),
                int(self.part("errorcode").strip() or 0))


def _base64(escaped):
    import base64
    import urllib.parse
    return base64.b64encode(urllib.parse.unquote_to_bytes(escaped))


class Answering(PlainServer):
    """Answers as a script says, and otherwise as the server of curl's tests."""

    def __init__(self, namespace, script):
        super().__init__(namespace, [PLAIN[0]], ehlo=script.offers or ["HELP"])
        self.script = script

    def answer(self, line):
        """To a command line, or None for the ordinary one."""
        text = line.decode("utf-8", "replace")
        words = text.split()
        for key in (text, " ".join(words[:2]), *words[:1]):
            if key in self.script.replies:
                return self.script.replies[key]
        verb, rest = words[0].upper() if words else "", text.partition(" ")[2]
        plain = rest.isascii() or "SMTPUTF8" in text or any("SMTPUTF8" in offer for offer in self.script.offers)
        if verb in ("MAIL", "RCPT") and ("@" not in rest and "<>" not in rest or not plain):
            return "501 Invalid address"
        size, limit = (re.search(r"SIZE[ =](\d+)", said) for said in (rest, " ".join(self.script.offers)))
        if verb == "MAIL" and size and limit and int(size[1]) > int(limit[1]):
            return "552 Message too large"
        if verb == "VRFY":
            return "252 Cannot VRFY user" if plain else "501 Invalid address"
        if verb == "EXPN":
            return "250 Some Friend <friend@example.com>"
        return "214 This server supports the usual" if verb == "HELP" else None


def play(script, namespace, server_namespace, directory):
    """Runs curl against a fresh server; what the server got, and curl's exit status."""
    server = Answering(server_namespace, script)
    # A reply to any line, also one of an AUTH exchange.
    server.replies = _Lookup(server)
    for name, body in re.findall(rb'<file name="([^"]*)">\n(.*?)</file>', script.text, re.DOTALL):
        path = os.path.join(directory, script.filled(name).decode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(script.filled(body))
    command = script.part("command").decode().strip()
    with server:
        done = subprocess.run(namespace.command(["curl", "-sS", "--max-time", "20", *shlex.split(command)]), input=script.part("stdin"),
                              capture_output=True, timeout=40, check=False, cwd=directory,
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": directory})
        for connection in server.connections:
            connection.done.wait(5)
        commands = b"".join(line + b"\n" for connection in server.connections for line in connection.commands)
        received = b"".join(bytes(connection.received) for connection in server.connections)
        # What curl sent of a message, whole or not.
        content = b"".join(re.findall(rb"(?:^|\n)DATA\r\n(.*?)(?=QUIT\r\n|\Z)", received, re.DOTALL))
    return commands, unmarked(content), done.returncode, unmarked(received)


class _Lookup(dict):
    """The plain server asks for a reply by verb; this one is asked with the line."""

    def __init__(self, server):
        super().__init__()
        self.server = server

    def get(self, verb, default=None):
        return lambda line: self.server.answer(line)


def differences(script, network, directory):
    """As text; none when the test does through the gateway what it does without, and what it says."""
    if script.is_library:
        return ["a program of libcurl"]
    if script.is_without_idn:
        return ["a curl without IDN"]
    results = []
    for name, namespace in (("direct", network.server), ("through", network.client)):
        folder = os.path.join(directory, script.number, name)
        os.makedirs(folder)
        results.append(play(script, namespace, network.server, folder))
    direct, through = results
    found = []
    if through != direct:
        found.append("not as without a gateway")
    protocol, upload, status = script.expected()
    if through[0] != protocol:
        found.append("other commands than expected")
    if upload and through[1] != upload:
        found.append("other content than expected")
    if through[2] != status:
        found.append(f"curl ended with {through[2]}, not {status}")
    return found


def test_every_script(network, gate, tmp_path):
    gate(field.shipped())
    found = {}
    for path in SCRIPTS:
        script = Script(path)
        for difference in differences(script, network, str(tmp_path)):
            found[f"test{script.number}", difference] = ""
    with open(TABLE, encoding="utf-8") as file:
        rows = {(row["script"], row["difference"]): row["why"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    if os.environ.get("POSTERN_BLESS"):
        with open(TABLE, "w", encoding="utf-8") as file:
            file.write("script\tdifference\twhy\n")
            file.writelines(f"{script}\t{difference}\t{rows.get((script, difference), '')}\n" for script, difference in sorted(found))
    new, stale = sorted(set(found) - set(rows)), sorted(set(rows) - set(found))
    assert not new and not stale, f"not explained: {new}\nno longer so: {stale}"
    assert all(len(why) > 20 for why in rows.values())
    assert len({script for script, _ in found}) < len(SCRIPTS) / 4, "most differ: the comparison is broken"
