"""`decode`: text in base64 and quoted-printable is searched decoded where the policy says so, and only there."""

import base64

import pytest
from conftest import PLAIN
from netlab.clients import Step, code, stuffed
from policies import zones

pytestmark = pytest.mark.decides

SECRET = "the codeword is Nightjar, keep it"

PLAIN_POLICY = zones(
    """
    parameter-map type regex words
     pattern codeword is Nightjar
    class-map type inspect smtp match-any leak
     match body regex words
    """,
    rules="leak: log reset")


def policy(decode):
    """With this value of `decode`; None leaves the line out."""
    block = f"policy-map type inspect smtp rules\n parameters\n  decode {decode}\n"
    return PLAIN_POLICY if decode is None else PLAIN_POLICY.replace("policy-map type inspect smtp rules\n", block)


def quoted_printable(text):
    """Every other octet encoded, a soft line break in every word."""
    return "".join(f"={ord(character):02X}" if at % 2 else character + "=\r\n" for at, character in enumerate(text))


BODIES = {
    "7bit": SECRET,
    "base64": "\r\n".join(base64.b64encode(("x" * 2000 + SECRET + "y" * 500).encode()).decode()[at:at + 61] for at in range(0, 3400, 61)),
    "quoted-printable": quoted_printable(SECRET),
}


def message(encoding, kind="text/plain"):
    return (f"Subject: one part\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\n"
            f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{BODIES[encoding]}\r\n--cut--\r\n").encode("ascii")


def send(network, octets, letters=False):
    """The reply to the end of data, 0 for none."""
    with Step(network.client, PLAIN[0], letters=letters) as step:
        step.read_reply()
        for line in ("EHLO client.example", "MAIL FROM:<alice@example.org>", "RCPT TO:<bob@lab.example>", "DATA"):
            step.say(line)
        step.send(stuffed(octets))
        return code(step.read_reply())


#: Which encodings each setting finds the text in.
FOUND = {
    None: {"7bit"},
    "off": {"7bit"},
    "base64": {"7bit", "base64"},
    "quoted-printable": {"7bit", "quoted-printable"},
    "both": {"7bit", "base64", "quoted-printable"},
}


@pytest.mark.parametrize("decode", FOUND, ids=str)
def test_what_is_found(gate, network, plain, words, decode):
    middle = gate(policy(decode))
    for encoding in BODIES:
        said, before = words(middle), len(plain.messages())
        answer = send(network, message(encoding))
        if encoding in FOUND[decode]:
            assert answer == 554, encoding
            said.event(kind="SMTP_MATCH", action="close", match="body regex words")
            assert len(plain.messages()) == before
        else:
            assert answer == 250, encoding
            said.silent()
            assert plain.messages()[-1] == message(encoding), "it is not changed by being decoded"


def test_what_is_no_text_is_not_decoded(gate, network, plain, words):
    said = words(gate(policy("both")))
    assert send(network, message("base64", "application/octet-stream")) == 250
    assert plain.messages() == [message("base64", "application/octet-stream")]
    said.silent()


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_one_octet_per_segment(gate, network, plain, encoding):
    gate(policy("both"))
    short = message(encoding) if encoding == "quoted-printable" else (
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(SECRET.encode()).replace(b"\n", b"\r\n"))
    assert send(network, short, letters=True) == 554
    assert plain.messages() == []
