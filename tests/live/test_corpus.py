"""Real mails, sent through: they arrive octet for octet, whether many classes look at them and none objects, or nothing looks.

`POSTERN_CORPUS` names a folder with mails in `eml/`."""

import os

import pytest
from conftest import PLAIN
from netlab import gateway
from netlab.clients import Step, code, sha256, stuffed
from policies import PINHOLE, zones

CORPUS = os.path.join(os.environ.get("POSTERN_CORPUS", os.path.join(gateway.ROOT, "..", "shared", "corpus")), "eml")

#: Mails in one connection: few enough for a connection to be looked at, many enough to be quick.
PER_CONNECTION = 50

ABSENT = "\\x01absent\\x02"

#: Every match kind, in classes of both modes. Nothing in any mail or dialogue here fits one of them.
MANY = zones(
    f"""
    parameter-map type regex absent
     pattern {ABSENT}
    parameter-map type regex absent-start
     pattern ^Subject: {ABSENT}.*x
     pattern (one|two|three){ABSENT}
    class-map type inspect smtp match-any envelope
     match sender address regex absent
     match recipient address regex absent-start
     match recipient count gt 60000
     match recipient invalid count gt 60000
     match cmd verb EVIL
     match cmd line length gt 60000
    class-map type inspect smtp match-all sizes
     match header length gt 65535
     match data-length gt 4000000000
    class-map type inspect smtp match-any content
     match header regex absent
     match header regex absent-start
     match body regex absent
     match body regex absent-start
     match mime content-type regex absent
     match mime encoding x-absent
    class-map type inspect smtp match-all together
     match body regex absent
     match header regex absent
     match mime content-type regex absent
    class-map type inspect smtp match-any extension
     match reply ehlo XABSENT
    """,
    rules="envelope: log reset, sizes: log reset, content: log reset, together: log reset, extension: log mask")

#: The same, and encoded text is decoded on the way to the patterns.
DECODED = MANY.replace("policy-map type inspect smtp rules", "policy-map type inspect smtp rules\n parameters\n  decode both")


def as_sent(octets):
    """Lines end in CRLF, as an honest client sends them; None for what cannot be sent so (RFC 5321, 2.3.8): NUL, bare CR, nothing."""
    if not octets:
        return None
    lines = [line.removesuffix(b"\r") for line in octets.split(b"\n")]
    content = b"\r\n".join(lines if lines[-1] == b"" else [*lines, b""])
    return None if b"\0" in content or b"\r" in content.replace(b"\r\n", b"") else content


def mails():
    found = {}
    for folder, _, names in os.walk(CORPUS):
        for name in names:
            if not name.endswith(".tsv"):
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.relpath(os.path.join(folder, name), CORPUS)] = as_sent(file.read())
    return dict(sorted(found.items()))


def deliver(network, address, contents):
    """All of them in one connection, the next envelope behind each end of data (RFC 2920). Replies to the ends of data."""
    envelope = b"MAIL FROM:<alice@example.org> BODY=8BITMIME\r\nRCPT TO:<bob@lab.example>\r\nDATA\r\n"
    codes = []
    with Step(network.client, address) as step:
        step.read_reply()
        assert step.say("EHLO client.example") == 250
        step.socket.sendall(envelope)
        for number, content in enumerate(contents, 1):
            assert [code(step.read_reply()) for _ in range(3)] == [250, 250, 354], number
            step.socket.sendall(stuffed(content) + (envelope if number < len(contents) else b"QUIT\r\n"))
            codes.append(code(step.read_reply()))
            if codes[-1] != 250:
                return codes
        assert code(step.read_reply()) == 221
    return codes


@pytest.mark.parametrize("policy", [MANY, DECODED, PINHOLE], ids=["many-classes", "decoded", "no-smtp-policy"])
def test_real_mails_arrive_unchanged(gate, network, plain, words, policy):
    everything = mails()
    if not everything:
        pytest.skip(f"no mail in {CORPUS} (POSTERN_CORPUS says where it is)")
    legal = {name: content for name, content in everything.items() if content is not None}
    assert len(legal) > 0.95 * len(everything), "nearly all of them can be sent"
    said = words(gate(policy))
    names = list(legal)
    for start in range(0, len(names), PER_CONNECTION):
        batch = names[start:start + PER_CONNECTION]
        codes = deliver(network, PLAIN[start // PER_CONNECTION % 2], [legal[name] for name in batch])
        assert codes == [250] * len(batch), f"{batch[len(codes) - 1]} got {codes[-1]}"
    arrived = [sha256(message) for message in plain.messages()]
    changed = [name for name, digest in zip(names, arrived, strict=True) if digest != sha256(legal[name])]
    assert not changed
    said.silent()
