"""What the gateway says about itself: events, syslog lines, counters."""

import http.client
import json
import os
import re
import select
import socket
import threading
import time


class Events:
    """The file of `--events`: one JSON object a line."""

    def __init__(self, path):
        self.path = path

    def all(self):
        """Every whole line so far. A line that is not JSON raises: the format is a promise."""
        if not os.path.exists(self.path):
            return []
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]

    def mark(self):
        """A place to read on from with `since`."""
        return len(self.all())

    def since(self, mark):
        return self.all()[mark:]

    def wait_for(self, condition, mark=0, seconds=5.0):
        """The first event behind `mark` that fits, or None."""
        return _wait(lambda: next((event for event in self.since(mark) if condition(event)), None), seconds)


def postern(event, name):
    """A field of the event's own object; None when there is none."""
    return event.get("postern", {}).get(name)


def _wait(look, seconds):
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > end:
            return found
        time.sleep(0.02)


class Syslog:
    """A collector: a datagram socket at a path (as /dev/log is one) or a UDP port inside a namespace."""

    def __init__(self, listener, address):
        self.address = address
        self._socket = listener
        self._lines = []
        self._stopping = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @classmethod
    def on_path(cls, path):
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(path)
        return cls(listener, path)

    @classmethod
    def on_udp(cls, namespace, address="127.0.0.1", port=5514):
        listener = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind((address, port))
        return cls(listener, f"{address}:{port}")

    def _work(self):
        while not self._stopping:
            if select.select([self._socket], [], [], 0.05)[0]:
                self._lines.append(self._socket.recv(65536).decode("utf-8", "replace").rstrip("\n\0"))

    def lines(self):
        """Whole datagrams, with their priority in front."""
        return list(self._lines)

    def messages(self):
        """From the mnemonic on: `%FW-3-SMTP_...: text`. Datagrams without one are given whole."""
        return [line[line.find("%"):] if re.search(r"%[A-Z]+-\d-", line) else line for line in self._lines]

    def mark(self):
        return len(self._lines)

    def since(self, mark):
        return self.messages()[mark:]

    def wait_for(self, text, mark=0, seconds=5.0):
        """The first message behind `mark` that contains `text`, or None."""
        return _wait(lambda: next((line for line in self.since(mark) if text in line), None), seconds)

    def close(self):
        self._stopping = True
        self._thread.join()
        self._socket.close()


def fetch(namespace, address, path, seconds=5.0):
    """GET over HTTP inside a namespace: status and text."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=seconds)
    with namespace.entered():
        connection.connect()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8")
    finally:
        connection.close()


_SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """One reading of a Prometheus page: value by name and labels."""

    def __init__(self, values, kinds=None, helps=None):
        self.values, self.kinds, self.helps = values, kinds or {}, helps or {}

    @classmethod
    def parse(cls, text):
        """Raises on a line that the text format does not allow."""
        values, kinds, helps = {}, {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ", 3)
                kinds[name] = kind
            elif line.startswith("# HELP "):
                name, _, words = line[7:].partition(" ")
                helps[name] = words
            elif line and not line.startswith("#"):
                sample = _SAMPLE.match(line)
                if not sample:
                    raise ValueError(f"not a sample: {line}")
                labels = frozenset(_LABEL.findall(sample[2] or ""))
                values[(sample[1], labels)] = float(sample[3])
        return cls(values, kinds, helps)

    @classmethod
    def fetch(cls, namespace, address):
        status, text = fetch(namespace, address, "/metrics")
        if status != 200:
            raise ValueError(f"/metrics: HTTP {status}")
        return cls.parse(text)

    def total(self, name, **labels):
        """Sum over every series of this name that has these labels; 0.0 when there is none."""
        wanted = set(labels.items())
        return sum(value for (have, has), value in self.values.items() if have == name and wanted <= has)

    def names(self):
        return sorted({name for name, _ in self.values})

    def growth(self, earlier):
        """Counters that went up since `earlier`: (name, labels, by how much)."""
        found = []
        for (name, labels), value in sorted(self.values.items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
            by = value - earlier.values.get((name, labels), 0.0)
            if name.endswith("_total") and by > 0:
                found.append((name, dict(sorted(labels)), by))
        return found
