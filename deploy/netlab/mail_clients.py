"""Sessions of real mail clients: what each says to a server, and what must have arrived afterwards.

A session is one client in one way of use: with TLS, with AUTH, with the extension that it is about. `SESSIONS` is all of them;
`needs` says what a server must offer. A session raises when its client was not content; what it returns
must be the same with and without a gateway.
"""

import os
import re
import shlex
import smtplib
import ssl
import subprocess
from typing import NamedTuple

from . import clients
from .clients import code, stuffed
from .mail_servers import PASSWORD, USER, Exim, Unpacked
from .servers import DOMAIN

SENDER, RECIPIENT = "alice@example.org", f"bob@{DOMAIN}"
HELLO = "client.example"
#: Seconds that a client may take in all.
PATIENCE = 40


class Failed(Exception):
    """A client was not content; its output is the text."""


class Session(NamedTuple):
    """One client in one way of use."""

    #: The program.
    client: str
    #: What is special about the session.
    way: str
    #: What the server must offer: "starttls", "auth", "pipelining", "utf8", "dsn".
    needs: tuple
    #: Called with a `Call`.
    run: object
    #: What mails must have arrived.
    mails: int = 1

    @property
    def name(self):
        return f"{self.client} {self.way}".strip()


class Call:
    """Where a session goes to, what it sends, and where it may write."""

    def __init__(self, namespace, address, token, directory):
        self.namespace, self.address, self.token, self.directory = namespace, address, token, directory

    def message(self, extra="", body=None):
        """A mail with the token as subject, CRLF line ends, dots at the start of lines."""
        head = (f"From: Alice <{SENDER}>\r\nTo: Bob <{RECIPIENT}>\r\nSubject: {self.token}\r\n{extra}"
                f"Date: Thu, 01 Jan 2026 12:00:00 +0000\r\nMessage-ID: <{self.token}@example.org>\r\n\r\n")
        return (head + (BODY if body is None else body)).encode()

    def file(self, octets):
        path = os.path.join(self.directory, f"{self.token}.eml")
        with open(path, "wb") as file:
            file.write(octets)
        return path

    def program(self, argv, stdin=b"", **environment):
        """Runs a client in its namespace; raises with its output when it fails."""
        done = subprocess.run(self.namespace.command(argv), input=stdin, capture_output=True, timeout=PATIENCE, check=False,
                              cwd=self.directory, env={"PATH": os.environ["PATH"], "HOME": self.directory, "LC_ALL": "C.UTF-8", **environment})
        if done.returncode != 0:
            raise Failed(f"{shlex.join(map(str, argv))}: exit {done.returncode}\n{(done.stdout + done.stderr).decode(errors='replace')[-1500:]}")
        return done.stdout + done.stderr


BODY = "One line.\r\n.\r\n..two dots\r\n.a dot and text\r\nFrom here on\r\nlast line\r\n"
LATIN = "Grüße aus Köln.\r\nπ ≈ 3.14159\r\n"


def unix(octets):
    return octets.replace(b"\r\n", b"\n")


def swaks(*options):
    def run(call):
        call.program(["swaks", "--server", call.address, "--port", "25", "--helo", HELLO, "--from", SENDER, "--to", RECIPIENT,
                      "--timeout", "20", *options, "--data", "-"], unix(call.message()))
    return run


def curl(*options):
    def run(call):
        path = call.file(unix(call.message()))
        call.program(["curl", "-sS", "-v", "--max-time", "30", "--crlf", "-T", path, "--mail-from", SENDER, "--mail-rcpt", RECIPIENT,
                      *options, f"smtp://{call.address}:25/{HELLO}"])
    return run


def msmtp(*options):
    def run(call):
        call.program(["msmtp", "--debug", f"--host={call.address}", "--port=25", f"--from={SENDER}", f"--domain={HELLO}", "--timeout=20",
                      *options, "--", RECIPIENT], unix(call.message()))
    return run


def nail(*options, login=False):
    def run(call):
        who = f"{USER}:{PASSWORD}@" if login else ""
        settings = ["v15-compat", f"mta=smtp://{who}{call.address}:25", f"from={SENDER}", f"hostname={HELLO}", "sendwait",
                    "ttycharset=utf-8", "tls-verify=ignore", "smtp-auth=none", *options]
        call.program(["s-nail", "-:/", *(word for setting in settings for word in ("-S", setting)), "-s", call.token, RECIPIENT],
                     unix(BODY.encode()))
    return run


def exim(*lines):
    """Exim as a client: it takes BDAT where CHUNKING is offered, STARTTLS, DSN and PIPECONNECT."""
    def run(call):
        program = Unpacked(Exim.package, os.path.join(call.directory, f"{call.token}.exim"), [Exim.user])
        for name in ("spool", "logs"):
            os.makedirs(os.path.join(program.directory, name))
            os.chown(os.path.join(program.directory, name), Exim.user[1], Exim.user[1])
        for path in (call.directory, program.directory):
            os.chmod(path, 0o755)  # noqa: S103
        config = os.path.join(program.directory, "exim.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write(_EXIM.format(directory=program.directory, path=program.path("usr/sbin/exim4"), address=call.address,
                                    helo=HELLO, more="\n".join(f"  {line}" for line in lines)))
        said = call.program(program.command(program.path("usr/sbin/exim4"), "-C", config, "-odi", "-i", "-v", "-d-all+transport", "-f", SENDER, RECIPIENT),
                            unix(call.message()))
        log = open(os.path.join(program.directory, "logs", "main"), encoding="utf-8", errors="replace").read()
        if " => " not in log or "Completed" not in log:
            raise Failed(f"{log}\n{said.decode(errors='replace')[-3000:]}")
        call.said = said
    return run


_EXIM = """\
primary_hostname = {helo}
exim_path = {path}
spool_directory = {directory}/spool
log_file_path = {directory}/logs/%s
deliver_drop_privilege = true
keep_environment =
trusted_users = root
begin routers
there:
  driver = manualroute
  route_list = * {address} byname
  self = send
  transport = smtp
begin transports
smtp:
  driver = smtp
  port = 25
  hosts_pipe_connect = *
  tls_verify_hosts =
  tls_try_verify_hosts =
{more}
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^alice^secret
"""


def smtp_source(*options):
    def run(call):
        call.program(["smtp-source", "-s", "2", "-m", "4", "-l", "3000", "-M", HELLO, "-f", SENDER, "-t", RECIPIENT, "-S", call.token,
                      *options, f"{call.address}:25"], MAIL_CONFIG="/etc/postfix")
    return run


class Smtplib(smtplib.SMTP):
    """Python's client on a socket inside the namespace."""

    def __init__(self, call):
        self.call = call
        super().__init__(call.address, 25, local_hostname=HELLO, timeout=20)

    def _get_socket(self, host, port, timeout):
        with self.call.namespace.entered():
            return super()._get_socket(host, port, timeout)


def library(way):
    """A session with Python's smtplib; `way` is a function of the open connection and the call."""
    def run(call):
        try:
            with Smtplib(call) as smtp:
                return way(smtp, call)
        except (smtplib.SMTPException, OSError) as error:
            raise Failed(repr(error)) from error
    return run


def _send(smtp, call, message=None, mail_options=(), rcpt_options=(), sender=SENDER):
    refused = smtp.sendmail(sender, [RECIPIENT], message or call.message(), mail_options, rcpt_options)
    if refused:
        raise Failed(repr(refused))


def _plain(smtp, call):
    _send(smtp, call)


def _tls(smtp, call):
    smtp.starttls(context=_trusting())
    smtp.ehlo()
    if smtp.has_extn("starttls"):
        raise Failed("STARTTLS is offered inside TLS")
    _send(smtp, call)


def _tls_auth(smtp, call):
    smtp.starttls(context=_trusting())
    smtp.login(USER, PASSWORD)
    _send(smtp, call)


def _auth(smtp, call):
    smtp.login(USER, PASSWORD)
    _send(smtp, call)


def _wrong_password(smtp, call):
    """Refused, tried again, and the session goes on."""
    for _ in range(2):
        try:
            smtp.login(USER, "not that")
        except smtplib.SMTPAuthenticationError:
            continue
        raise Failed("a wrong password was taken")
    smtp.login(USER, PASSWORD)
    _send(smtp, call)


def _cancelled(smtp, call):
    """An exchange that the client breaks off with `*`."""
    smtp.ehlo()
    if smtp.docmd("AUTH", "LOGIN")[0] != 334 or smtp.docmd("*")[0] // 100 != 5:
        raise Failed("a cancelled AUTH was not refused")
    smtp.login(USER, PASSWORD)
    _send(smtp, call)


def _long_response(smtp, call):
    """A response of 8000 octets, as tokens of web logins are; the server refuses it in its own words."""
    smtp.ehlo()
    got, _ = smtp.docmd("AUTH", "PLAIN")
    if got == 334:
        got, _ = smtp.docmd("QQ" * 4000)
    if got // 100 not in (4, 5):
        raise Failed(f"a response of nonsense was answered {got}")
    if smtp.noop()[0] != 250:
        raise Failed("no reply to NOOP behind it")
    smtp.login(USER, PASSWORD)
    _send(smtp, call)
    return got


def _eight_bit(smtp, call):
    _send(smtp, call, call.message("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", LATIN),
          mail_options=["BODY=8BITMIME"])


def _utf8(smtp, call):
    message = call.message("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", LATIN)
    _send(smtp, call, message, mail_options=["SMTPUTF8", "BODY=8BITMIME"], sender="jürgen@example.org")


def _dsn(smtp, call):
    _send(smtp, call, mail_options=["RET=HDRS", "ENVID=QQ314159+3D"],
          rcpt_options=["NOTIFY=FAILURE,DELAY", f"ORCPT=rfc822;{RECIPIENT}"])


def _size(smtp, call):
    """SIZE is what smtplib says by itself; one that is larger than the server takes is its own business."""
    smtp.ehlo()
    answer = smtp.mail(SENDER, [f"SIZE={int(smtp.esmtp_features['size'] or 0) + 1}"])
    smtp.rset()
    _send(smtp, call)
    return answer


def _large(smtp, call):
    _send(smtp, call, call.message(body=BODY * 8000))


def _several(smtp, call):
    """Three mails in one session, one given up before its recipient, one before its content."""
    _send(smtp, call)
    smtp.mail(SENDER)
    smtp.rset()
    smtp.mail(SENDER)
    smtp.rcpt(RECIPIENT)
    smtp.rset()
    smtp.ehlo(HELLO)
    _send(smtp, call)
    smtp.noop()
    smtp.helo(HELLO)
    smtp.esmtp_features.clear()
    _send(smtp, call)


def _odd(smtp, call):
    """The null sender, commands that need no transaction, one that nobody knows."""
    smtp.ehlo()
    answers = [smtp.docmd(*words)[0] for words in (("NOOP", "a word"), ("HELP",), ("VRFY", RECIPIENT), ("EXPN", "everybody"))]
    if smtp.docmd("XUNKNOWN")[0] // 100 != 5:
        raise Failed("XUNKNOWN was not refused")
    if smtp.docmd("DATA")[0] // 100 != 5:
        raise Failed("DATA before MAIL was not refused")
    _send(smtp, call, sender="")
    return answers


def pipelined(call):
    """Two mails by hand, each command group in one write (RFC 2920), the second group behind the first content."""
    with clients.Step(call.namespace, call.address, timeout=20) as step:
        step.read_reply()
        if step.say(f"EHLO {HELLO}") != 250:
            raise Failed(f"{step.transcript}")
        group = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nRCPT TO:<carol@{DOMAIN}>\r\nDATA\r\n"
        step.send(group)
        _expect(step, 250, 250, 250, 354)
        step.send(stuffed(call.message()) + b"RSET\r\n" + group.encode())
        _expect(step, 250, 250, 250, 250, 250, 354)
        step.send(stuffed(call.message()) + b"NOOP\r\n")
        _expect(step, 250, 250)
        if step.say("QUIT") != 221 or step.read_to_end() != "closed":
            raise Failed(f"{step.transcript}")


def _expect(step, *codes):
    for wanted in codes:
        got = code(step.read_reply())
        if got != wanted:
            raise Failed(f"{got} instead of {wanted}: {step.transcript}")


def letters(call):
    """Every octet in a segment of its own."""
    with clients.Step(call.namespace, call.address, letters=True, timeout=20) as step:
        step.read_reply()
        got = step.mail(call.message(), sender=SENDER, to=RECIPIENT, hello=f"EHLO {HELLO}")
        if got != 250 or step.say("QUIT") != 221:
            raise Failed(f"{step.transcript}")


def _trusting():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


_LOGIN = ("--auth-user", USER, "--auth-password", PASSWORD)
_MSMTP_LOGIN = (f"--user={USER}", f"--passwordeval=echo {PASSWORD}")

SESSIONS = [
    Session("swaks", "", (), swaks()),
    Session("swaks", "TLS", ("starttls",), swaks("--tls")),
    Session("swaks", "AUTH PLAIN", ("auth",), swaks("--auth", "PLAIN", *_LOGIN)),
    Session("swaks", "AUTH LOGIN", ("auth",), swaks("--auth", "LOGIN", *_LOGIN)),
    Session("swaks", "TLS AUTH", ("starttls", "auth"), swaks("--tls", "--auth", "PLAIN", *_LOGIN)),
    Session("swaks", "pipelined", ("pipelining",), swaks("--pipeline")),
    Session("msmtp", "", (), msmtp()),
    Session("msmtp", "TLS", ("starttls",), msmtp("--tls=on", "--tls-starttls=on", "--tls-certcheck=off")),
    Session("msmtp", "AUTH PLAIN", ("auth",), msmtp("--auth=plain", *_MSMTP_LOGIN)),
    Session("msmtp", "TLS AUTH", ("starttls", "auth"), msmtp("--tls=on", "--tls-starttls=on", "--tls-certcheck=off", "--auth=on", *_MSMTP_LOGIN)),
    Session("curl", "", (), curl()),
    Session("curl", "TLS", ("starttls",), curl("--ssl-reqd", "-k")),
    Session("curl", "AUTH PLAIN", ("auth",), curl("-u", f"{USER}:{PASSWORD}", "--login-options", "AUTH=PLAIN", "--sasl-ir")),
    Session("curl", "AUTH LOGIN", ("auth",), curl("-u", f"{USER}:{PASSWORD}", "--login-options", "AUTH=LOGIN")),
    Session("curl", "TLS AUTH", ("starttls", "auth"), curl("--ssl-reqd", "-k", "-u", f"{USER}:{PASSWORD}")),
    Session("s-nail", "", (), nail()),
    Session("s-nail", "TLS", ("starttls",), nail("smtp-use-starttls")),
    Session("s-nail", "AUTH", ("auth",), nail("smtp-auth=plain", login=True)),
    Session("exim", "", (), exim("hosts_avoid_tls = *")),
    Session("exim", "TLS", ("starttls",), exim("hosts_require_tls = *")),
    Session("exim", "AUTH", ("auth",), exim("hosts_avoid_tls = *", "hosts_require_auth = *")),
    Session("smtp-source", "", (), smtp_source(), mails=4),
    Session("smtplib", "", (), library(_plain)),
    Session("smtplib", "TLS", ("starttls",), library(_tls)),
    Session("smtplib", "AUTH", ("auth",), library(_auth)),
    Session("smtplib", "TLS AUTH", ("starttls", "auth"), library(_tls_auth)),
    Session("smtplib", "AUTH refused", ("auth",), library(_wrong_password)),
    Session("smtplib", "AUTH cancelled", ("auth",), library(_cancelled)),
    Session("smtplib", "AUTH long", ("auth",), library(_long_response)),
    Session("smtplib", "8BITMIME", (), library(_eight_bit)),
    Session("smtplib", "SMTPUTF8", ("utf8",), library(_utf8)),
    Session("smtplib", "DSN", ("dsn",), library(_dsn)),
    Session("smtplib", "SIZE", (), library(_size)),
    Session("smtplib", "large", (), library(_large)),
    Session("smtplib", "several", (), library(_several), mails=3),
    Session("smtplib", "odd", (), library(_odd)),
    Session("by hand", "pipelined", ("pipelining",), pipelined, mails=2),
    Session("by hand", "letters", (), letters),
]


#: Fields that servers and clients add and that differ from run to run.
_OF_THE_WAY = re.compile(rb"^(From |received|return-path|delivered-to|x-original-to|envelope-to|delivery-date|message-id|date|user-agent|x-mailer)",
                         re.IGNORECASE)


def essence(mail, token):
    """What of a delivered mail does not depend on the way and the time: its own fields and its content, LF line ends."""
    head, _, body = unix(mail).partition(b"\n\n")
    fields = re.split(rb"\n(?![ \t])", head)
    kept = [field for field in fields if not _OF_THE_WAY.match(field)]
    return b"\n".join(sorted(kept)).replace(token.encode(), b"TOKEN"), body.rstrip(b"\n").replace(token.encode(), b"TOKEN")


__all__ = ["SESSIONS", "Call", "Failed", "Session", "essence"]
