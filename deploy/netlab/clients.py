"""Mail clients inside the client's namespace: one that speaks step by step, and swaks, curl, smtplib, smtp-source."""

import hashlib
import os
import random
import smtplib
import socket
import time

from . import packets


def sha256(octets):
    return hashlib.sha256(octets).hexdigest()


def make_message(size=2000, subject="A letter", seed=1, body=None, sender="alice@example.org", to="bob@lab.example"):
    """A mail with CRLF line ends of about `size` octets, the same for the same arguments. Lines begin with dots now
    and then, so that dot-stuffing is at work."""
    head = (f"From: Alice <{sender}>\r\nTo: Bob <{to}>\r\nSubject: {subject}\r\nDate: Thu, 01 Jan 2026 12:00:00 +0000\r\n"
            f"Message-ID: <{seed}.{size}@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
    if body is not None:
        return (head + body).encode("latin-1")
    generator = random.Random(f"{seed} {size}")
    words = ["mail", "letter", "north", "harbour", "seven", "copper", "quiet", "window", ".", "..", "summer", "."]
    lines, have = [], len(head)
    while have < size:
        line = " ".join(generator.choices(words, k=generator.randint(1, 10))) + "\r\n"
        lines.append(line)
        have += len(line)
    return (head + "".join(lines)).encode("ascii")


class Step:
    """Speaks SMTP by hand. Everything said goes to `transcript` as ("C" or "S", line).

    `letters` sends one octet per segment."""

    def __init__(self, namespace, server, port=25, letters=False, timeout=20.0, source_port=0):
        self.transcript = []
        self.letters = letters
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self.socket = namespace.socket(family)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        if source_port:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("::" if family == socket.AF_INET6 else "", source_port))
        try:
            self.socket.connect((server, port))
        except OSError as error:
            error.add_note(f"from {self.socket.getsockname()[:2]} to {(server, port)}")
            raise
        self.name = self.socket.getsockname()[:2]
        self._buffer = b""
        #: None, "closed" (the peer sent FIN) or "reset".
        self.ended = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, octets):
        """Sends octets as they are."""
        octets = octets.encode("latin-1") if isinstance(octets, str) else octets
        for line in octets.removesuffix(b"\r\n").split(b"\r\n"):
            self.transcript.append(("C", line.decode("latin-1")))
        if not self.letters:
            self.socket.sendall(octets)
            return
        for index in range(len(octets)):
            self.socket.sendall(octets[index:index + 1])
            self.until_acknowledged()

    def until_acknowledged(self):
        """Waits until the other side has acknowledged everything sent."""
        import fcntl
        import struct
        import termios

        # Only when nothing is under way does the next octet get a segment of its own.
        end = time.monotonic() + 5
        while struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
            if time.monotonic() > end:
                raise TimeoutError("an octet stayed unacknowledged for 5 s")
            time.sleep(0.0002)

    def read_reply(self):
        """One whole reply as a list of lines; [] when the connection ended instead."""
        lines = []
        while True:
            line = self._line()
            if line is None:
                return lines
            lines.append(line)
            self.transcript.append(("S", line))
            if line[3:4] != "-":
                return lines

    def say(self, line):
        """Sends a command line and returns the code of its reply, 0 when the connection ended instead."""
        try:
            self.send(line + "\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.ended = self.ended or "reset"
            return 0
        return code(self.read_reply())

    def _line(self):
        while b"\r\n" not in self._buffer:
            try:
                chunk = self.socket.recv(65536)
            except ConnectionResetError:
                self.ended = "reset"
                return None
            if not chunk:
                self.ended = "closed"
                return None
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def read_to_end(self, seconds=10.0):
        """Reads until the connection ends and says how: "closed", "reset", or None when it stays open."""
        self.socket.settimeout(seconds)
        try:
            while self.ended is None:
                line = self._line()
                if line is not None:
                    self.transcript.append(("S", line))
        except TimeoutError:
            pass
        return self.ended

    def mail(self, message, sender="alice@example.org", to="bob@lab.example", hello="EHLO client.example"):
        """A whole session after the banner, up to the reply to the end of data; returns that reply's code."""
        for line in (hello, f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>", "DATA"):
            got = self.say(line)
            if got >= 400 or got == 0:
                return got
        self.send(stuffed(message))
        return code(self.read_reply())


class RawClient:
    """A TCP client made of single frames, for what no honest stack sends. Speaks from the client's own address, of the
    server's family.

    The kernel there knows nothing of the connection and would reset it: it is kept quiet by a rule on what leaves, which
    frames sent through a packet socket do not pass."""

    def __init__(self, network, server, port=25, source_port=45678):
        from .capture import Capture
        from .namespaces import CLIENT

        self.me, self.peer = (CLIENT[":" in server], source_port), (server, port)
        client = network.client
        client.run(["ping", "-c1", "-W1", server], check=False)  # so that its address is resolved, when the policy lets a ping
        self._quiet = network.lose(client, f"leaving tcp sport {source_port} drop")
        self.ethernet = (hardware_address(client, "client0"), hardware_address(network.server, "server0"))
        self._socket = client.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind(("client0", 0))
        self.capture = Capture(client, "client0")
        self.seq, self.ack = 0x10000000, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.segment(flags=packets.RST | packets.ACK)
        self.capture.stop()
        self._socket.close()
        self._quiet()

    def segment(self, payload=b"", flags=packets.ACK, seq=None):
        """Sends one segment at `seq` (default: the next one). Does not advance."""
        octets = payload.encode("latin-1") if isinstance(payload, str) else payload
        self._socket.send(packets.make_segment(self.ethernet, self.me, self.peer, self.seq if seq is None else seq, self.ack, flags, octets))

    def frame(self, payload, flags=packets.ACK | packets.PSH, seq=None):
        """The frame that `segment` would send."""
        return packets.make_segment(self.ethernet, self.me, self.peer, self.seq if seq is None else seq, self.ack, flags, payload)

    def put(self, *frames):
        """Sends frames as they are."""
        for frame in frames:
            self._socket.send(frame)

    def connect(self, seconds=5.0):
        """The handshake and the banner, which it returns."""
        self.segment(flags=packets.SYN)
        answer = self.wait(lambda segment: segment.has(packets.SYN), seconds)
        self.seq, self.ack = self.seq + 1, (answer.seq + 1) & 0xFFFFFFFF
        self.segment()
        return self.read()

    def send(self, payload):
        """Sends a segment of new octets."""
        self.segment(payload, packets.ACK | packets.PSH)
        self.seq = (self.seq + len(payload)) & 0xFFFFFFFF

    def received(self):
        """Segments of this connection from the server, oldest first."""
        return [segment for segment in self.capture.segments() if segment.destination == self.me and segment.source == self.peer]

    def wait(self, condition, seconds=5.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for segment in self.received():
                if condition(segment):
                    return segment
            time.sleep(0.01)
        raise TimeoutError(f"no such segment from {self.peer} in {seconds:g} s")

    def read(self, seconds=5.0):
        """The next octets in order, acknowledged; waits for at least one whole line."""
        end, got = time.monotonic() + seconds, b""
        while not got.endswith(b"\r\n"):
            fitting = next((segment for segment in self.received() if segment.payload and segment.seq == self.ack), None)
            if fitting:
                got += fitting.payload
                self.ack = (self.ack + len(fitting.payload)) & 0xFFFFFFFF
                self.segment()
            elif time.monotonic() > end:
                raise TimeoutError(f"nothing from {self.peer} in {seconds:g} s behind {got!r}")
            else:
                time.sleep(0.01)
        return got


def hardware_address(namespace, interface):
    """The MAC address of an interface, as 6 octets."""
    words = namespace.ip("-o", "link", "show", interface).stdout.split()
    return bytes.fromhex(words[words.index("link/ether") + 1].replace(":", ""))


def code(reply):
    """The reply's code, 0 for none."""
    return int(reply[-1][:3]) if reply and reply[-1][:3].isdigit() else 0


def stuffed(message):
    """A message as it stands on the wire: dots doubled at the start of lines, end of data behind it."""
    octets = message.replace(b"\r\n.", b"\r\n..")
    if octets.startswith(b"."):
        octets = b"." + octets
    return octets + (b"" if octets.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def send_with_smtplib(namespace, server, message, sender="alice@example.org", to=("bob@lab.example",), timeout=60, **options):
    """Python's client. Returns what `sendmail` returns; raises what it raises."""
    with namespace.entered():
        session = smtplib.SMTP(server, 25, local_hostname="client.example", timeout=timeout)
    try:
        return session.sendmail(sender, list(to), message, **options)
    finally:
        try:
            session.quit()
        except (smtplib.SMTPException, OSError):
            session.close()


def swaks(namespace, server, *options, to="bob@lab.example", sender="alice@example.org", data=None):
    """swaks; the finished process, its output is the dialogue."""
    family = ["-6"] if ":" in server else ["-4"]
    words = ["swaks", *family, "--server", server, "--port", "25", "--helo", "client.example", "--to", to, "--from", sender,
             "--timeout", "20"]
    if data is not None:
        words += ["--data", "-"]
    return namespace.run([*words, *options], check=False, timeout=60, input=data)


def curl(namespace, server, path, *options, to="bob@lab.example", sender="alice@example.org"):
    """curl sending the file `path`; the finished process."""
    host = f"[{server}]" if ":" in server else server
    return namespace.run(["curl", "-sS", "-v", "--max-time", "60", "--crlf", "-T", path, "--mail-from", sender, "--mail-rcpt", to,
                          *options, f"smtp://{host}:25/client.example"], check=False)


def smtp_source(namespace, server, sessions, messages, length=2000, recipients=1):
    """Postfix's load generator; returns the seconds it took. Raises when a session failed."""
    at = f"[{server}]:25" if ":" in server else f"{server}:25"
    began = time.monotonic()
    namespace.run(["smtp-source", "-s", sessions, "-m", messages, "-l", length, "-r", recipients, "-f", "alice@example.org",
                   "-t", "bob@lab.example", at], timeout=300, env={**os.environ, "MAIL_CONFIG": "/etc/postfix"})
    return time.monotonic() - began
