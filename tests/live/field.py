"""The mail servers of the field, each at an address of its own, and the tables that their tests fill."""

import os
import subprocess

import pytest
from netlab import mail_servers
from netlab.gateway import ROOT

#: Server by server: class and address. Their order is that of the tables.
SERVERS = {
    "postfix": (mail_servers.PostfixServer, "192.0.2.31"),
    "exim": (mail_servers.Exim, "192.0.2.32"),
    "opensmtpd": (mail_servers.OpenSmtpd, "192.0.2.33"),
    "sendmail": (mail_servers.Sendmail, "192.0.2.34"),
    "aiosmtpd": (mail_servers.Aiosmtpd, "192.0.2.35"),
    "haraka": (mail_servers.Haraka, "192.0.2.37"),
}
#: An exim without a key: it offers STARTTLS and refuses it.
KEYLESS = "192.0.2.36"

#: The policy that is shipped to begin with.
SHIPPED = os.path.join(ROOT, "deploy", "policies", "mail.policy")


def shipped(**changed):
    """Its text; `end_of_data="strict"` changes a line of its parameters."""
    with open(SHIPPED, encoding="utf-8") as file:
        text = file.read()
    for name, value in changed.items():
        word = name.replace("_", "-")
        lines = [line for line in text.splitlines() if line.startswith(f"  {word} ")]
        assert len(lines) == 1, f"{SHIPPED} has {lines} about {word}"
        text = text.replace(lines[0], f"  {word} {value}")
    return text


class Table:
    """What is printed at the end of a run: rows by columns."""

    def __init__(self, title):
        self.title, self.cells, self.columns = title, {}, []

    def put(self, row, column, value):
        if column not in self.columns:
            self.columns.append(column)
        self.cells.setdefault(row, {})[column] = value

    def lines(self):
        """As Markdown."""
        columns = [name for name in SERVERS if name in self.columns] + [name for name in self.columns if name not in SERVERS]
        rows = [["what", *columns], *([row, *(cells.get(column, "") for column in columns)] for row, cells in self.cells.items())]
        widths = [max(len(row[index]) for row in rows) for index in range(len(columns) + 1)]
        text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
        text.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
        return text


SESSIONS = Table("Sessions through the gateway")
SMUGGLING = Table("Ends of data that are none, without a gateway")
TABLES = [SESSIONS, SMUGGLING]

#: Where both are kept, with the versions they are about. `POSTERN_BLESS=1` writes what a run of both test files found.
RECORD = os.path.join(ROOT, "tests", "servers.md")

_RECORD = """\
# Mail servers of the field and Postern

Written by `POSTERN_BLESS=1 deploy/python -m pytest tests/live -k "servers or smuggling"`, and compared with every later run of the tests, as long as
the servers have these versions: {versions}.

## {sessions.title}

Policy: `deploy/policies/mail.policy`, over AF_XDP. Each session runs twice at the same time: straight to the server, and through the
gateway. *intact*: the client was told the same, and what arrived is the same. –: the server does not offer what the session is about. *fails itself*: without a gateway too.

{sessions_lines}

## {smuggling.title}

Each variant stands in a message, and a second session behind it. *smuggled*: the server took it for the end of data and delivered the second
mail. *one mail*: it did not, and delivered all as one. *refused*: it answered so. Through the gateway the client is answered 554 and the server
gets neither mail, in every one of these cases, at `end-of-data eod` and at `strict`.

{smuggling_lines}
"""


def version(name):
    """Package and version of a server, as the record names them."""
    package = {"postfix": "postfix", "aiosmtpd": "python3-aiosmtpd"}.get(name)
    if package:
        return subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package], capture_output=True, text=True, check=False).stdout
    folder = mail_servers.unpacked(SERVERS[name][0].package)
    if folder is None:
        return f"{name}: not here"
    with open(os.path.join(folder, ".complete"), encoding="ascii") as file:
        return file.read().strip()


def write_record():
    with open(RECORD, "w", encoding="utf-8") as file:
        file.write(_RECORD.format(versions=", ".join(version(name) for name in SERVERS), sessions=SESSIONS, smuggling=SMUGGLING,
                                  sessions_lines="\n".join(SESSIONS.lines()), smuggling_lines="\n".join(SMUGGLING.lines())))


def compare_with_record(table, name):
    """Fails when a server does otherwise than the record says; skips when the record is of another version."""
    found = {row: cells[name] for row, cells in table.cells.items() if name in cells}
    if not found:
        pytest.skip(f"skipped: {name} was not asked in this run")
    with open(RECORD, encoding="utf-8") as file:
        text = file.read()
    if version(name) not in text:
        pytest.skip(f"skipped: the record is of another version than {version(name)}, which did {found}")
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")]
            for line in text.partition(f"## {table.title}")[2].partition("\n## ")[0].splitlines() if line.startswith("| ")]
    column = rows[0].index(name) if name in rows[0] else -1
    recorded = {row[0]: row[column] for row in rows[2:]}
    assert found == recorded, {row: (found.get(row), recorded.get(row)) for row in {**found, **recorded} if found.get(row) != recorded.get(row)}
