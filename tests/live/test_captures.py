"""The SMTP captures of other projects, replayed, and what comes out compared with what those projects expect of their own engines.

Suricata's tests say which transactions and anomalies there are (`*.test.yaml`), Zeek's logs list transactions, Arkime's files list who said
HELO and who wrote to whom. Every difference stands in `captures.tsv` with its reason; one that does not, and a row that no longer differs, fail the
test. Not compared is what Postern has no word for: extracted files, URLs, decoded fields, counts of packets.

The captures are found through POSTERN_CORPUS (a folder with `pcap/` in it); without it these tests are skipped. Needs no root.
"""

import collections
import csv
import glob
import gzip
import json
import os
import re
import socket
import struct
import subprocess

import field
import pytest
from netlab import gateway, packets
from netlab.gateway import ROOT

pytestmark = pytest.mark.decides

CORPUS = os.environ.get("POSTERN_CORPUS") or os.path.join(ROOT, "..", "shared", "corpus")
PCAP = os.path.join(CORPUS, "pcap")
TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "captures.tsv")
#: Ports other than those of the policy at which these captures speak SMTP.
PORTS = [1224, 2525]

if not os.path.exists(os.path.join(PCAP, "MANIFEST.tsv")):
    pytestmark = [pytestmark, pytest.mark.skip(reason="skipped: no captures; POSTERN_CORPUS names the folder that has pcap/")]


def captures():
    """Those with SMTP in them, by the corpus's own list."""
    path = os.path.join(PCAP, "MANIFEST.tsv")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [row["file"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if int(row["smtp_streams"] or 0)]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """The shipped policy, one way, with records of transactions, and the ports of the captures."""
    text, _, _ = field.shipped(audit_trail="on").partition("zone-pair security outbound")
    text = "\n".join(f"ip port-map smtp port tcp {port}" for port in PORTS) + "\n" + text
    folder = tmp_path_factory.mktemp("captures")
    source = folder / "captures.policy"
    source.write_text(text)
    return gateway.compile_policy(str(source), str(folder / "captures.postern"))


def replay(artifact, capture, folder):
    """The events of a capture."""
    source = os.path.join(PCAP, capture)
    if source.endswith(".gz"):
        with gzip.open(source) as packed:
            source = os.path.join(folder, "unpacked.pcap")
            with open(source, "wb") as file:
                file.write(packed.read())
    wire = as_on_a_wire(source, os.path.join(folder, "wire.pcap"))
    done = subprocess.run([gateway.binary("postern"), "replay", "--policy", artifact, "--in", wire, "--events", "-", "--checksum", "trust"],
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"{capture}: {done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


#: Octets before the IP header, by link type: null (loopback), Ethernet, raw IP, Linux cooked.
_LINK = {0: 4, 1: 14, 101: 0, 113: 16}
#: What a segment may have where the receiver has not said how much it takes (RFC 9293, 3.7.1).
_SEGMENT = 536


def as_on_a_wire(source, target):
    """Writes a capture as a wire would have carried it. Many were taken inside a host: from 127.0.0.1 to itself, which no
    gateway lets pass, and with segments that only the card cuts to size."""
    frames = []
    for when, linktype, frame in packets.read_capture(source):
        # A VLAN tag, or what is no IP over a known link, stays as it is.
        at = _LINK.get(linktype, len(frame))
        pieces = _pieces(frame[:at], frame[at:]) if len(frame) > at and (linktype != 1 or frame[12:14] in (b"\x08\x00", b"\x86\xdd")) else [frame]
        frames += [(when, linktype, piece) for piece in pieces]
    with open(target, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 20, frames[0][1] if frames else 1))
        for when, _, frame in frames:
            file.write(struct.pack("<IIII", int(when), int(when % 1 * 1e6), len(frame), len(frame)) + frame)
    return target


def _pieces(link, packet):
    """An IP packet with addresses of a network, as one or more segments. Its TCP checksum is not looked at."""
    version = packet[0] >> 4
    length = (packet[0] & 15) * 4 if version == 4 else 40
    protocol, addresses, size = (9, 12, 4) if version == 4 else (6, 8, 16)
    if version not in (4, 6) or len(packet) < length + 20 or packet[protocol] != 6 or (version == 4 and packet[6:8] not in (b"\0\0", b"\x40\0")):
        return [link + packet]
    header, tcp = bytearray(packet[:length]), bytearray(packet[length:])
    source, destination = (bytes(header[start:start + size]) for start in (addresses, addresses + size))
    if source == destination:
        # Whose port is the lower one is the server.
        client, server = socket_addresses(version)
        ports = struct.unpack_from(">HH", tcp)
        header[addresses:addresses + 2 * size] = server + client if ports[0] < ports[1] else client + server
    total = int.from_bytes(header[2:4], "big") if version == 4 else length + int.from_bytes(header[4:6], "big")
    offset = (tcp[12] >> 4) * 4
    whole = len(packet) >= total > length + offset
    payload = bytes(tcp[offset:total - length]) if whole else bytes(tcp[offset:])
    if not whole or len(payload) <= _SEGMENT:
        return [link + _with_checksum(header, version) + tcp]
    found = []
    for start in range(0, len(payload), _SEGMENT):
        part = payload[start:start + _SEGMENT]
        last = start + len(part) == len(payload)
        cut, segment = bytearray(header), bytearray(tcp[:offset])
        segment[4:8] = ((int.from_bytes(tcp[4:8], "big") + start) & 0xFFFFFFFF).to_bytes(4, "big")
        # PSH and FIN belong to the last octet.
        segment[13] = tcp[13] if last else tcp[13] & ~0x09
        place, extent = (2, length + offset + len(part)) if version == 4 else (4, offset + len(part))
        cut[place:place + 2] = extent.to_bytes(2, "big")
        found.append(link + _with_checksum(cut, version) + segment + part)
    return found


def socket_addresses(version):
    """A client's and a server's address, as octets; from the ranges for documentation."""
    family, pair = (socket.AF_INET, ("192.0.2.1", "192.0.2.2")) if version == 4 else (socket.AF_INET6, ("2001:db8::1", "2001:db8::2"))
    return tuple(socket.inet_pton(family, address) for address in pair)


def _with_checksum(header, version):
    """An IPv4 header with its checksum; an IPv6 header has none."""
    if version == 4:
        header[10:12] = b"\0\0"
        total = sum(struct.unpack(f">{len(header) // 2}H", header))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        header[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(header)


class Seen:
    """What Postern says of a capture."""

    def __init__(self, events):
        self.mails = [event["smtp"] | {"rcpt_count": event["postern"]["rcpt_count"]} for event in events if event["event_type"] == "smtp"]
        self.anomalies = collections.Counter(event["postern"]["kind"] for event in events if event["event_type"] == "anomaly")
        self.decisions = collections.Counter(
            f"{event['postern']['kind']} {event['postern']['action']} {event['postern'].get('reply', '')[:3]}".strip()
            for event in events if event["event_type"] in ("alert", "drop") and "kind" in event["postern"])

    def mails_with(self, helo=None, sender=None, recipients=None, place=None):
        """How many mails have these. The record of a mail has its first recipient and their number. `place`: only the
        mail at this place of the capture."""
        def fits(mail):
            return ((helo is None or mail.get("helo", "") == helo) and (sender is None or mail.get("mail_from", "") == sender)
                    and (recipients is None or (mail["rcpt_count"] == len(recipients) and set(mail.get("rcpt_to", [])) <= set(recipients))))
        return sum(map(fits, self.mails if place is None else self.mails[place:place + 1]))


def bare(path):
    return path.removeprefix("<").removesuffix(">")


#: What Postern calls an anomaly of Suricata's, where it has a word for it.
NAMES = {
    "INVALID_REPLY": ("SMTP_MALFORMED_REPLY", "SMTP_OUT_OF_SYNC"),
    "INVALID_BDAT": ("SMTP_INVALID_COMMAND",),
}


def suricata(path, seen):
    """Differences from a test of Suricata's, newest version."""
    import yaml
    with open(path, encoding="utf-8") as file:
        checks = yaml.safe_load(file).get("checks") or []
    for check in checks:
        claim = check.get("filter")
        if not claim or "lt-version" in claim.get("requires", {}) or claim.get("requires", {}).get("version") == 7:
            continue
        match = {str(name): str(value) for name, value in claim["match"].items()}
        absent = [name for name in [match.pop("not-has-key", "")] if name]
        kind, count = match.get("event_type"), claim["count"]
        if kind == "anomaly" and "anomaly.event" in match:
            name = match["anomaly.event"]
            found = sum(amount for ours, amount in (seen.anomalies + seen.decisions).items() if ours.split()[0] in NAMES.get(name, ()))
            if bool(found) != bool(count):
                yield f"suricata: anomaly {name} {'is' if count else 'is not'} seen"
        elif kind == "smtp" or (kind is None and "smtp.helo" in match):
            helo, sender = match.get("smtp.helo"), match.get("smtp.mail_from")
            recipients = [bare(match[name]) for name in sorted(match) if name.startswith("smtp.rcpt_to[")]
            if any("rcpt_to" in name and "[" not in name for name in absent):
                recipients = []
            elif not recipients:
                recipients = None
            if sender is None and any("mail_from" in name for name in absent):
                sender = ""
            # A trailing QUIT has been a transaction of its own; where it is said that it no longer is, the place matters.
            place = int(match["tx_id"]) if count == 0 and "tx_id" in match else None
            found = seen.mails_with(helo, None if sender is None else bare(sender), recipients, place)
            if found != count:
                wanted = " ".join(f"{name}={value}" for name, value in (("helo", helo), ("from", sender), ("to", recipients and ",".join(recipients))) if value is not None)
                yield f"suricata: {count} transactions {wanted}: here {found}".replace("  ", " ").replace(" :", ":")


def zeek(path, seen):
    """Differences from Zeek's smtp.log."""
    names, rows = [], collections.Counter()
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("#fields"):
                names = line.rstrip("\n").split("\t")[1:]
            elif not line.startswith("#") and names:
                row = dict(zip(names, line.rstrip("\n").split("\t"), strict=True))
                rows[row["helo"], row["mailfrom"], row["rcptto"]] += 1
    for (helo, sender, recipients), count in rows.items():
        found = seen.mails_with(helo, "" if sender == "-" else sender, [] if recipients == "-" else recipients.split(","))
        if found != count:
            yield f"zeek: {count} transactions helo={helo} from={sender} to={recipients}: here {found}"


def arkime(path, seen):
    """Differences from Arkime's sessions: who said HELO, who wrote, to whom. Arkime adds the addresses of the mail's header."""
    with open(path, encoding="utf-8") as file:
        sessions = json.load(file)["sessions3"]
    mails = [session["body"]["email"] for session in sessions if "email" in session["body"]]
    for word, ours in (("smtpHello", "helo"), ("src", "mail_from"), ("dst", "rcpt_to")):
        theirs = {value.lower() for mail in mails for value in mail.get(word, [])}
        here = set()
        for mail in seen.mails:
            value = mail.get(ours) or []
            here |= {each.lower() for each in ([value] if isinstance(value, str) else value)}
        if theirs and not here:
            yield f"arkime: {word} has {len(theirs)}: here none"
        elif not here - {""} <= theirs:
            yield f"arkime: {word} does not have {sorted(here - theirs)}"


def differences(capture, events):
    """All of them, sorted: from those projects, and what Postern refuses or finds odd by itself."""
    seen = Seen(events)
    found = []
    for path in sorted(glob.glob(glob.escape(os.path.join(PCAP, capture)) + ".*")):
        if path.endswith(".test.yaml"):
            found += suricata(path, seen)
        elif re.search(r"\.zeek\..*\.smtp\.log$", path) and "disable-analyzer" not in path:
            found += zeek(path, seen)
        elif path.endswith(".arkime.json"):
            found += arkime(path, seen)
    found += [f"postern: {name}" for name in (seen.decisions + seen.anomalies)]
    return sorted(set(found))


def explained():
    """The table: by capture and difference, why."""
    with open(TABLE, encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    table = {(row["capture"], row["difference"]): row["why"] for row in rows}
    assert len(table) == len(rows), "a row stands twice"
    return table


def test_every_difference_is_explained(artifact, tmp_path):
    table = explained()
    found = {(capture, difference) for capture in captures() for difference in differences(capture, replay(artifact, capture, tmp_path))}
    if os.environ.get("POSTERN_BLESS"):
        with open(TABLE, "w", encoding="utf-8") as file:
            file.write("capture\tdifference\twhy\n")
            file.writelines(f"{capture}\t{difference}\t{table.get((capture, difference), '')}\n" for capture, difference in sorted(found))
        table = explained()
    new = sorted(found - set(table))
    stale = sorted(set(table) - found)
    assert not new and not stale, "\n".join(["not explained:", *map(str, new), "no longer so:", *map(str, stale)])
    assert all(len(why) > 20 for why in table.values()), [row for row, why in table.items() if len(why) <= 20]


def test_most_agree(artifact, tmp_path):
    """A comparison that compared nothing would find no difference: most transactions of the other projects are found here."""
    agreed = sum(len(Seen(replay(artifact, capture, tmp_path)).mails) for capture in captures())
    assert agreed >= 40, agreed


def test_the_judge_is_not_blind(tmp_path):
    """A claim that does not hold is a difference."""
    yaml, log, session = (tmp_path / name for name in ("x.yaml", "x.log", "x.json"))
    yaml.write_text("checks:\n- filter: {count: 1, match: {event_type: smtp, smtp.mail_from: <a@b>, 'smtp.rcpt_to[0]': <c@d>}}\n"
                    "- filter: {count: 1, match: {event_type: anomaly, anomaly.event: INVALID_REPLY}}\n")
    log.write_text("#fields\thelo\tmailfrom\trcptto\nh\ta@b\tc@d\n")
    session.write_text(json.dumps({"sessions3": [{"body": {"email": {"smtpHello": ["h"], "src": ["a@b"], "dst": ["c@d"]}}}]}))

    def mail(**changed):
        fields = {"helo": "h", "mail_from": "a@b", "rcpt_to": ["c@d"]} | changed
        return {"event_type": "smtp", "smtp": fields, "postern": {"rcpt_count": len(fields["rcpt_to"])}}

    odd = {"event_type": "anomaly", "postern": {"kind": "SMTP_MALFORMED_REPLY"}}
    same, other, none = Seen([mail(), odd]), Seen([mail(mail_from="x@b")]), Seen([])
    for judge, path, faults in ((suricata, yaml, 2), (zeek, log, 1), (arkime, session, 1)):
        assert list(judge(path, same)) == []
        assert len(list(judge(path, other))) == faults
        assert list(judge(path, none))
