"""The mail servers of the field beside postfix: exim, opensmtpd, sendmail, aiosmtpd and Haraka.

Exim, opensmtpd and sendmail conflict with postfix as packages, so they are not installed: `deploy/install-packages --unpack`
puts each into a folder of its own, and it runs from there. What such a program expects at a fixed place (its users, its
folders below /usr and /var) is mounted over that place in the mount namespace that `ip netns exec` makes for it, where
nobody else sees it.
"""

import glob
import os
import shlex
import shutil
import subprocess
import sys
import time

from .namespaces import run
from .programs import Program
from .servers import DOMAIN, Postfix, wait_for_port

HOSTNAME = "mx.lab.example"
#: The one user that AUTH knows, and its password.
USER, PASSWORD = "alice", "secret"

_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(os.path.dirname(_HERE))


def unpacked(package):
    """The folder of an unpacked package, or None when it is not there. `NETLAB_SERVERS` names the folder of them all."""
    folder = os.environ.get("NETLAB_SERVERS") or os.path.join(_ROOT, "target", "servers")
    path = os.path.join(folder, package)
    return path if os.path.exists(os.path.join(path, ".complete")) else None


class NotHere(Exception):
    """The program is not on this machine; the text says how it would come."""


def make_key(path, hostname=HOSTNAME):
    """A key and a certificate signed by itself, in one file."""
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", f"/CN={hostname}", "-keyout", path, "-out", path])
    os.chmod(path, 0o600)
    return path


class Unpacked:
    """A program of an unpacked package, and the private mounts that it needs."""

    def __init__(self, package, directory, users=()):
        self.root = unpacked(package)
        if self.root is None:
            raise NotHere(f"{package} is not unpacked: deploy/install-packages --unpack target/servers")
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        # Its users, and nobody outside to ask for a name.
        self.mounts = [
            ("/etc/passwd", self._extended("/etc/passwd", [f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin"
                                                           for name, number in users])),
            ("/etc/group", self._extended("/etc/group", [f"{name}:x:{number}:" for name, number in users])),
            ("/etc/hosts", self._file("hosts", f"127.0.0.1 {HOSTNAME} mx localhost\n")),
            ("/etc/nsswitch.conf", self._file("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")),
        ]

    def _file(self, name, text):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return path

    def _extended(self, path, lines):
        with open(path, encoding="utf-8") as file:
            kept = [line for line in file.read().splitlines() if line.split(":")[0] not in {new.split(":")[0] for new in lines}]
        return self._file(os.path.basename(path), "\n".join([*kept, *lines, ""]))

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def command(self, *argv):
        """The command line that makes the mounts and becomes the program."""
        libraries = glob.glob(self.path("usr/lib/*-linux-gnu*")) + glob.glob(self.path("lib/*-linux-gnu*"))
        steps = []
        for place, source in self.mounts:
            if source is None:
                steps.append(f"mount -t tmpfs -o mode=755 tmpfs {shlex.quote(place)}")
            elif source.startswith("mkdir "):
                steps.append(f"{source} {shlex.quote(place)}")
            else:
                steps.append(f"mount --bind {shlex.quote(source)} {shlex.quote(place)}")
        steps.append(f"export LD_LIBRARY_PATH={shlex.quote(':'.join(libraries))}")
        steps.append("exec " + " ".join(shlex.quote(str(word)) for word in argv))
        return ["sh", "-ec", "\n".join(steps)]


class MailServer:
    """What all of them have: an address, a folder with what they delivered, and what they can do."""

    #: For tables.
    name = ""
    has_starttls = has_auth = has_pipelining = has_chunking = has_utf8 = has_dsn = False
    #: Sessions that fail with it whatever stands between, and why.
    fails = {}

    def __init__(self, namespace, directory, address):
        self.namespace, self.address = namespace, address
        self.directory = os.path.join(directory, self.name)
        self.mailbox = os.path.join(self.directory, "mail")
        self.program = None

    def prepare(self):
        os.makedirs(self.mailbox, exist_ok=True)
        for path in (os.path.dirname(self.directory), self.directory):
            os.chmod(path, 0o755)  # noqa: S103 - the servers' users must reach their folders
        self.key = make_key(os.path.join(self.directory, "key.pem"))

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def run(self, argv):
        self.program = Program(argv, self.namespace, os.path.join(self.directory, "log"))
        wait_for_port(self.namespace, self.address, program=self.program)
        return self

    def messages(self):
        """Delivered mails, as octets; their order says nothing."""
        found = []
        for path in glob.glob(os.path.join(self.mailbox, "**", "new", "*"), recursive=True) + glob.glob(os.path.join(self.mailbox, "*.eml")):
            with open(path, "rb") as file:
                found.append(file.read())
        return found

    def find(self, token, seconds=10.0):
        """The delivered mails with this text in them; waits for the first."""
        end = time.monotonic() + seconds
        while True:
            found = [mail for mail in self.messages() if token in mail]
            if found or time.monotonic() > end:
                return found
            time.sleep(0.05)

    def log(self):
        return self.program.output() if self.program else ""

    def stop(self):
        if self.program is not None:
            self.program.stop(5.0)


class PostfixServer(MailServer):
    """Postfix as the others: one address, AUTH with Cyrus SASL's own user database. `settings` are lines of its `main.cf`."""

    name = "postfix"
    has_starttls = has_auth = has_pipelining = has_chunking = has_utf8 = has_dsn = True

    def __init__(self, namespace, directory, address, settings=None):
        super().__init__(namespace, directory, address)
        self.settings = settings or {}

    def start(self):
        self.prepare()
        # Debian's postfix looks for it below its configuration, whatever `cyrus_sasl_config_path` says.
        sasl = os.path.join(self.directory, "postfix", "etc", "sasl")
        os.makedirs(sasl, exist_ok=True)
        database = os.path.join(sasl, "sasldb2")
        self.write("postfix/etc/sasl/smtpd.conf", f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {database}\n"
                                      "mech_list: PLAIN LOGIN CRAM-MD5\n")
        run(["saslpasswd2", "-p", "-c", "-u", HOSTNAME, "-f", database, USER], input=PASSWORD)
        os.chmod(database, 0o644)  # noqa: S103 - a password that is in the source
        self.postfix = Postfix(self.namespace, self.directory, [self.address], HOSTNAME, settings={
            "smtpd_sasl_auth_enable": "yes", "smtpd_sasl_path": "smtpd", "cyrus_sasl_config_path": sasl,
            "smtpd_sasl_local_domain": HOSTNAME, **self.settings}).start()
        self.program, self.mailbox = self.postfix.program, self.postfix.mailboxes
        return self

    def stop(self):
        if self.program is not None:
            self.postfix.stop()


class Exim(MailServer):
    """Exim, with STARTTLS and AUTH PLAIN and LOGIN, also without TLS. `key` off: it offers STARTTLS and then refuses it."""

    name = "exim"
    package = "exim4-daemon-light"
    has_starttls = has_auth = has_pipelining = has_chunking = has_utf8 = has_dsn = True
    #: Compiled in.
    user = ("Debian-exim", 8025)

    def __init__(self, namespace, directory, address, with_key=True):
        super().__init__(namespace, directory, address)
        self.with_key = with_key

    def start(self):
        program = Unpacked(self.package, self.directory, [self.user])
        self.prepare()
        spool, logs = (os.path.join(self.directory, name) for name in ("spool", "logs"))
        for path in (spool, logs, self.mailbox):
            os.makedirs(path, exist_ok=True)
            os.chown(path, self.user[1], self.user[1])
        os.chown(self.key, self.user[1], self.user[1])
        if not self.with_key:
            self.write("key.pem", "")
        config = self.write("exim.conf", _EXIM.format(
            directory=self.directory, hostname=HOSTNAME, address=self.address, domain=DOMAIN, user=USER, password=PASSWORD,
            path=program.path("usr/sbin/exim4")))
        return self.run(program.command(program.path("usr/sbin/exim4"), "-C", config, "-bdf", "-oX", f"{self.address}.25",
                                        "-oP", os.path.join(self.directory, "pid")))

    def log(self):
        text = super().log()
        for path in glob.glob(os.path.join(self.directory, "logs", "*")):
            with open(path, encoding="utf-8", errors="replace") as file:
                text += file.read()
        return text


_EXIM = """\
primary_hostname = {hostname}
exim_path = {path}
spool_directory = {directory}/spool
log_file_path = {directory}/logs/%s
local_interfaces = {address}
tls_advertise_hosts = *
tls_certificate = {directory}/key.pem
tls_privatekey = {directory}/key.pem
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
pipelining_connect_advertise_hosts = *
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 200
message_size_limit = 50M
deliver_drop_privilege = true
acl_smtp_rcpt = accept
acl_smtp_data = accept
domainlist local_domains = {domain}

begin acl

begin routers
here:
  driver = accept
  domains = +local_domains
  transport = keep

begin transports
keep:
  driver = appendfile
  maildir_format
  directory = {directory}/mail

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{user}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
"""


class OpenSmtpd(MailServer):
    """OpenSMTPD; its STARTTLS does not work with the OpenSSL of Debian 12, so it has none."""

    name = "opensmtpd"
    package = "opensmtpd"
    has_dsn = True
    users = (("opensmtpd", 8026), ("opensmtpq", 8027), ("labmail", 8028))

    def start(self):
        program = Unpacked(self.package, self.directory, self.users)
        self.prepare()
        os.chown(self.mailbox, 8028, 8028)
        program.mounts += [
            ("/usr/libexec", program.path("usr/libexec")),
            ("/var/spool", None), ("/var/spool/smtpd", "mkdir -m 711"),
            ("/var/lib", None), ("/var/lib/opensmtpd", "mkdir -m 755"), ("/var/lib/opensmtpd/empty", "mkdir -m 755"),
            ("/run", None),
            ("/usr/sbin", program.path("usr/sbin")),
        ]
        config = self.write("smtpd.conf", "\n".join([
            f"listen on {self.address} port 25 hostname {HOSTNAME}",
            'table everyone { "@" = labmail }',
            f'action "keep" maildir "{self.mailbox}" virtual <everyone>',
            f'match from any for domain "{DOMAIN}" action "keep"',
            ""]))
        return self.run(program.command("/usr/sbin/smtpd", "-d", "-f", config))


class Sendmail(MailServer):
    """Sendmail, with STARTTLS, and AUTH with Cyrus SASL's own user database."""

    name = "sendmail"
    package = "sendmail-bin"
    has_starttls = has_auth = has_pipelining = has_dsn = True
    users = (("smmta", 8029), ("smmsp", 8030))

    def start(self):
        program = Unpacked(self.package, self.directory, self.users)
        self.prepare()
        queue = os.path.join(self.directory, "queue")
        os.makedirs(queue, exist_ok=True)
        os.chmod(queue, 0o700)
        # It reads no key and no list below a folder that everybody may write to, such as /tmp.
        here = "/mnt"
        program.mounts.append((here, self.directory))
        os.chmod(self.mailbox, 0o777)  # noqa: S103 - mail comes as nobody known
        database = os.path.join(self.directory, "sasldb2")
        run(["saslpasswd2", "-p", "-c", "-u", HOSTNAME, "-f", database, USER], input=PASSWORD)
        # Where the package that has `saslpasswd2` made one, too.
        program.mounts.append(("/etc/sasldb2", database))
        self.write("keep", f"#!/bin/sh\nf=$(mktemp {here}/mail/XXXXXXXX) && cat > $f && mv $f $f.eml\n", 0o755)
        macros = self.write("sendmail.mc", _SENDMAIL.format(directory=here, hostname=HOSTNAME, address=self.address))
        cf = program.path("usr/share/sendmail/cf/")
        done = subprocess.run([_m4(program), f"-D_CF_DIR_={cf}", os.path.join(cf, "m4/cf.m4"), macros],
                              capture_output=True, text=True, check=True)
        self.write("sendmail.cf", done.stdout, 0o600)
        self.write("local-host-names", f"{DOMAIN}\n", 0o600)
        self.write("aliases", "", 0o600)
        self.write("service.switch", "hosts files\naliases files\npasswd files\n")
        return self.run(program.command(program.path("usr/libexec/sendmail/sendmail"), "-bD", "-C", f"{here}/sendmail.cf"))


def _m4(program):
    own = program.path("usr/bin/m4")
    return own if os.path.exists(own) else "m4"


_SENDMAIL = """\
divert(0)dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `{hostname}')dnl
define(`QUEUE_DIR', `{directory}/queue')dnl
define(`STATUS_FILE', `{directory}/statistics')dnl
define(`confPID_FILE', `{directory}/pid')dnl
define(`ALIAS_FILE', `{directory}/aliases')dnl
define(`confCW_FILE', `{directory}/local-host-names')dnl
define(`confCR_FILE', `-o {directory}/relay-domains')dnl
define(`HELP_FILE', `')dnl
define(`confSERVER_CERT', `{directory}/key.pem')dnl
define(`confSERVER_KEY', `{directory}/key.pem')dnl
define(`confCACERT', `{directory}/key.pem')dnl
define(`confCACERT_PATH', `/etc/ssl/certs')dnl
define(`confAUTH_MECHANISMS', `CRAM-MD5 PLAIN LOGIN')dnl
TRUST_AUTH_MECH(`CRAM-MD5 PLAIN LOGIN')dnl
define(`confAUTH_REALM', `{hostname}')dnl
define(`confTO_IDENT', `0')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confPRIVACY_FLAGS', `authwarnings')dnl
define(`confDELIVERY_MODE', `interactive')dnl
define(`confMAX_DAEMON_CHILDREN', `200')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confSERVICE_SWITCH_FILE', `{directory}/service.switch')dnl
define(`LOCAL_MAILER_PATH', `{directory}/keep')dnl
define(`LOCAL_MAILER_ARGS', `keep $u')dnl
define(`LOCAL_MAILER_FLAGS', `lsmnDFMA5:/|@q')dnl
define(`LOCAL_MAILER_DSN_DIAGNOSTIC_CODE', `X-Unix')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`use_cw_file')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`accept_unresolvable_domains')dnl
DAEMON_OPTIONS(`Name=MTA, Addr={address}, Port=25')dnl
MODIFY_MAILER_FLAGS(`LOCAL', `-w')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
"""


class Aiosmtpd(MailServer):
    """A mail server in Python, with STARTTLS, AUTH and SMTPUTF8."""

    name = "aiosmtpd"
    has_starttls = has_auth = has_utf8 = True
    fails = {"smtplib AUTH long": "of a line over 1001 octets that comes in several segments it drops only those that are there,"
                                  " and takes the rest for the next command (`readline` of asyncio's `StreamReader`)"}

    def start(self):
        python = next((path for path in ("/usr/bin/python3", sys.executable)
                       if subprocess.run([path, "-c", "import aiosmtpd"], capture_output=True, check=False).returncode == 0), None)
        if python is None:
            raise NotHere("python3-aiosmtpd is not installed: deploy/install-packages test")
        self.prepare()
        return self.run([python, os.path.join(_HERE, "aiosmtpd_server.py"), self.address, self.mailbox, self.key, USER, PASSWORD])


class Haraka(MailServer):
    """Haraka, with STARTTLS. It is not in Debian; `tests/live/haraka/install` gets it."""

    name = "haraka"
    package = "haraka"
    has_starttls = has_pipelining = has_utf8 = True
    fails = {"exim": "exim sends QUIT and FIN right behind the end of data, and Haraka closes before it has answered"}

    def start(self):
        root = unpacked(self.package)
        if root is None:
            raise NotHere("Haraka is not here: tests/live/haraka/install target/servers/haraka")
        self.prepare()
        shutil.copytree(os.path.join(root, "node_modules", "Haraka", "config"), os.path.join(self.directory, "config"), dirs_exist_ok=True)
        os.makedirs(os.path.join(self.directory, "queue"), exist_ok=True)
        for name, text in {
            "smtp.ini": f"listen={self.address}:25\nnodes=0\n",
            "me": f"{HOSTNAME}\n",
            "host_list": f"{DOMAIN}\n",
            "plugins": "tls\nrcpt_to.in_host_list\nqueue/test\n",
            "tls.ini": f"key={self.key}\ncert={self.key}\n",
        }.items():
            self.write(f"config/{name}", text)
        program = os.path.join(root, "node_modules", "Haraka", "bin", "haraka")
        return self.run(["env", f"TMPDIR={self.mailbox}", "node", program, "-c", self.directory])
