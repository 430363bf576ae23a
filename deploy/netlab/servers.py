"""Mail servers inside the server's namespace: postfix, smtp-sink, and one that writes down every octet."""

import glob
import os
import pwd
import socket
import subprocess
import threading
import time

from .namespaces import run
from .programs import DidNotStart, Program

DOMAIN = "lab.example"


def wait_for_port(namespace, address, port=25, seconds=20.0, program=None):
    """Waits until something listens there. Looks at the socket table: a test connection would be traffic."""
    end = time.monotonic() + seconds
    wanted = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    while time.monotonic() < end:
        table = namespace.run(["ss", "-Htln"]).stdout
        locals_ = [line.split()[3] for line in table.splitlines() if len(line.split()) > 3]
        if wanted in locals_ or any(entry in (f"*:{port}", f"0.0.0.0:{port}", f"[::]:{port}") for entry in locals_):
            return
        if program is not None and not program.is_running():
            raise DidNotStart(f"{program.argv[0]} ended:\n{program.output()}")
        time.sleep(0.05)
    raise DidNotStart(f"nothing listens at {wanted} after {seconds:g} s" + (f":\n{program.output()}" if program else ""))


class Postfix:
    """A postfix of its own: configuration, queue and mailboxes under `directory`. Takes any address at lab.example.
    `settings` are further lines of its `main.cf`."""

    def __init__(self, namespace, directory, addresses, hostname="mx.lab.example", outlives_us=False, settings=None):
        self.settings = settings or {}
        self.namespace = namespace
        self.directory = os.path.join(directory, "postfix")
        self.addresses = addresses
        self.hostname = hostname
        self.outlives_us = outlives_us
        self.program = None

    def start(self):
        config, queue, data = (os.path.join(self.directory, name) for name in ("etc", "queue", "data"))
        self.mailboxes = os.path.join(self.directory, "mail")
        for path in (config, queue, data, self.mailboxes):
            os.makedirs(path, exist_ok=True)
        owner = pwd.getpwnam("postfix")
        os.chmod(os.path.dirname(self.directory), 0o755)  # noqa: S103 - postfix's users must reach their folders
        os.chmod(self.directory, 0o755)
        os.chown(data, owner.pw_uid, owner.pw_gid)
        os.chown(self.mailboxes, owner.pw_uid, owner.pw_gid)
        key = os.path.join(self.directory, "key.pem")
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", f"/CN={self.hostname}", "-keyout", key, "-out", key])
        settings = {
            "compatibility_level": "3.6",
            "myhostname": self.hostname,
            "mydestination": "",
            "inet_interfaces": ", ".join(self.addresses),
            "inet_protocols": "all",
            "mynetworks": "127.0.0.0/8",
            "queue_directory": queue,
            "data_directory": data,
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_base": self.mailboxes,
            "virtual_mailbox_maps": "static:inbox/",
            "virtual_uid_maps": f"static:{owner.pw_uid}",
            "virtual_gid_maps": f"static:{owner.pw_gid}",
            "virtual_minimum_uid": "1",
            "virtual_mailbox_limit": "0",
            "message_size_limit": "50000000",
            "mailbox_size_limit": "0",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": key,
            "smtpd_tls_key_file": key,
            "smtpd_peername_lookup": "no",
            "smtpd_client_connection_count_limit": "0",
            "smtpd_error_sleep_time": "0",
            "default_process_limit": "210",
            "default_database_type": "hash",
            "alias_maps": "",
            "maillog_file": "/dev/stdout",
            "syslog_facility": "mail",
            **self.settings,
        }
        with open(os.path.join(config, "main.cf"), "w", encoding="ascii") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        with open(os.path.join(config, "master.cf"), "w", encoding="ascii") as file:
            file.write(_MASTER)
        self.log = os.path.join(self.directory, "log")
        self.program = Program(["postfix", "-c", config, "start-fg"], self.namespace, self.log, self.outlives_us)
        for address in self.addresses:
            wait_for_port(self.namespace, address, program=self.program)
        return self

    def messages(self):
        """Delivered mails with LF line ends as postfix stores them, oldest first."""
        found = []
        for path in glob.glob(os.path.join(self.mailboxes, "inbox", "new", "*")):
            with open(path, "rb") as file:
                found.append((os.stat(path).st_mtime_ns, file.read()))
        return [content for _, content in sorted(found)]

    def wait_for_messages(self, count, seconds=20.0):
        end = time.monotonic() + seconds
        while len(self.messages()) < count and time.monotonic() < end:
            time.sleep(0.05)
        return self.messages()

    def stop(self):
        if self.program is not None:
            self.program.stop(10.0)


def content_as_sent(stored, sent):
    """The part of a mail in a mailbox that its sender sent: postfix puts its own fields above it and stores LF."""
    return stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")[-len(sent):]


_MASTER = """\
smtp      inet  n  -  n  -  -  smtpd
pickup    unix  n  -  n  60 1  pickup
cleanup   unix  n  -  n  -  0  cleanup
qmgr      unix  n  -  n  300 1 qmgr
tlsmgr    unix  -  -  n  1000? 1 tlsmgr
rewrite   unix  -  -  n  -  -  trivial-rewrite
bounce    unix  -  -  n  -  0  bounce
defer     unix  -  -  n  -  0  bounce
trace     unix  -  -  n  -  0  bounce
verify    unix  -  -  n  -  1  verify
flush     unix  n  -  n  1000? 0 flush
proxymap  unix  -  -  n  -  -  proxymap
proxywrite unix -  -  n  -  1  proxymap
showq     unix  n  -  n  -  -  showq
error     unix  -  -  n  -  -  error
retry     unix  -  -  n  -  -  error
discard   unix  -  -  n  -  -  discard
virtual   unix  -  n  n  -  -  virtual
anvil     unix  -  -  n  -  1  anvil
scache    unix  -  -  n  -  1  scache
postlog   unix-dgram n - n  -  1  postlogd
"""


class SmtpSink:
    """Postfix's load sink. Without `keep` it throws mail away; with it each one becomes a file."""

    def __init__(self, namespace, directory, address, keep=False, options=(), outlives_us=False):
        self.namespace, self.address, self.keep, self.options = namespace, address, keep, options
        self.directory = os.path.join(directory, "smtp-sink")
        self.outlives_us = outlives_us
        self.program = None

    def start(self):
        os.makedirs(self.directory, exist_ok=True)
        os.chmod(os.path.dirname(self.directory), 0o755)  # noqa: S103
        owner = pwd.getpwnam("postfix")
        os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        dump = ["-d", "m.%H%M%S."] if self.keep else []
        at = f"[{self.address}]:25" if ":" in self.address else f"{self.address}:25"
        self.program = Program(["smtp-sink", "-u", "postfix", "-R", self.directory, *dump, *self.options, at, "1000"],
                               self.namespace, self.directory + ".log", self.outlives_us)
        wait_for_port(self.namespace, self.address, program=self.program)
        return self

    def messages(self):
        """Stored mails: smtp-sink's own X- fields, then the content with LF line ends."""
        found = []
        for path in sorted(glob.glob(os.path.join(self.directory, "m.*"))):
            with open(path, "rb") as file:
                found.append(file.read())
        return found

    def stop(self):
        if self.program is not None:
            self.program.stop()


class PlainServer:
    """A small mail server that keeps what it received to the octet, and can be told to behave in a particular way.

    `ehlo` are the keywords of its EHLO reply; `replies` overrides the reply to a verb, as a line or a function of the
    command line. Runs as threads of this process, on sockets inside the namespace.
    """

    def __init__(self, namespace, addresses, port=25, banner="220 plain.lab.example ESMTP",
                 ehlo=("PIPELINING", "SIZE 50000000", "8BITMIME"), replies=None):
        self.namespace, self.addresses, self.port = namespace, addresses, port
        self.banner, self.ehlo, self.replies = banner, list(ehlo), dict(replies or {})
        #: One per connection, in order of arrival.
        self.connections = []
        self._lock = threading.Lock()
        self._listeners = []
        self._stopping = False

    def start(self):
        for address in self.addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = self.namespace.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, self.port))
            listener.listen(1024)
            self._listeners.append(listener)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def stop(self):
        self._stopping = True
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in self.connections:
            connection.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def messages(self):
        """Content of every accepted mail: dots unstuffed, CRLF kept, end of data not included."""
        with self._lock:
            return [message for connection in self.connections for message in connection.messages]

    def _accept(self, listener):
        while not self._stopping:
            try:
                peer_socket, peer = listener.accept()
            except OSError:
                return
            # Replies to a pipelined group are short, and would else wait for each other's acknowledgement.
            peer_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = PlainConnection(self, peer_socket, peer)
            with self._lock:
                self.connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()


class PlainConnection:
    """One connection to a `PlainServer` and all that was said in it."""

    def __init__(self, server, peer_socket, peer):
        self.server, self.socket, self.peer = server, peer_socket, peer
        #: Every octet received, in order.
        self.received = bytearray()
        #: Command lines without CRLF, as received.
        self.commands = []
        self.messages = []
        #: None while it is open, then "closed" (FIN) or "reset" (RST).
        self.ended = None
        self.done = threading.Event()
        self._buffer = bytearray()

    def close(self):
        self.socket.close()

    def serve(self):
        try:
            self._say(self.server.banner)
            while (line := self._line()) is not None:
                if not self._obey(line):
                    break
            if self.ended is None:
                self.ended = "closed"
        except ConnectionResetError:
            self.ended = "reset"
        except OSError:
            self.ended = self.ended or "closed"
        finally:
            self.socket.close()
            self.done.set()

    def _say(self, *lines):
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode("latin-1"))

    def _more(self):
        chunk = self.socket.recv(65536)
        self.received += chunk
        self._buffer += chunk
        return bool(chunk)

    def _line(self):
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not self._more():
                return None
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 2]
        return line

    def _obey(self, line):
        self.commands.append(line)
        verb = line.split(b" ")[0].upper().decode("latin-1")
        answer = self.server.replies.get(verb)
        if callable(answer):
            answer = answer(line)
        if answer is not None:
            self._say(*answer.split("\n"))
            return True
        match verb:
            case "EHLO":
                words = ["plain.lab.example", *self.server.ehlo]
                self._say(*(f"250{'-' if word is not words[-1] else ' '}{word}" for word in words))
            case "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP":
                self._say("250 2.0.0 Ok")
            case "DATA":
                self._say("354 End data with <CR><LF>.<CR><LF>")
                if not self._content():
                    return False
                self._say("250 2.0.0 Ok: kept")
            case "QUIT":
                self._say("221 2.0.0 Bye")
                return False
            case _:
                self._say("500 5.5.2 Error: command not recognized")
        return True

    def _content(self):
        at = 0
        while not (self._buffer.startswith(b".\r\n") or (end := self._buffer.find(b"\r\n.\r\n", at)) >= 0):
            at = max(0, len(self._buffer) - 4)
            if not self._more():
                return False
        if self._buffer.startswith(b".\r\n"):
            content, used = b"", 3
        else:
            content, used = bytes(self._buffer[:end + 2]), end + 5
        del self._buffer[:used]
        if content.startswith(b"."):
            content = content[1:]
        self.messages.append(content.replace(b"\r\n.", b"\r\n"))
        return True


def stop_all(things):
    """Stops in reverse order, whatever fails; the last failure is raised at the end."""
    failure = None
    for thing in reversed(things):
        try:
            thing.stop()
        except (OSError, subprocess.SubprocessError) as error:
            failure = error
    if failure:
        raise failure
