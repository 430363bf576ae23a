"""Wrong arguments and bad artifacts: an error that names what is at fault, the promised exit status, never a panic."""

import os
import random
import struct
import subprocess

import pytest
from netlab import gateway
from policies import RULES

pytestmark = pytest.mark.decides


def call(program, *words, seconds=20, namespace=None):
    argv = [gateway.binary(program), *map(str, words)]
    done = subprocess.run(namespace.command(argv) if namespace else argv, capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL, check=False)
    assert "panicked" not in done.stderr and done.returncode in (0, 1, 2), (words, done.returncode, done.stderr)
    return done


@pytest.fixture(scope="module")
def artifact(gate):
    return gate.compile(RULES)


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    """An empty capture: reading the artifact is what is tested."""
    path = tmp_path_factory.mktemp("capture") / "empty.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    return path


@pytest.mark.parametrize(("program", "words", "named"), [
    ("postern", ["fly"], "fly"),
    ("postern", ["run"], "--policy"),
    ("postern", ["run", "--policy", "x.postern", "--port", "outside"], "outside"),
    ("postern", ["run", "--policy", "x.postern", "--port", "=eth0"], "--port"),
    ("postern", ["run", "--policy", "x.postern", "--workers", "none"], "none"),
    ("postern", ["run", "--policy", "x.postern", "--workers", "0"], "0"),
    ("postern", ["run", "--policy", "x.postern", "--cores", "a,b"], "--cores"),
    ("postern", ["run", "--policy", "x.postern", "--mode", "fast"], "fast"),
    ("postern", ["run", "--policy", "x.postern", "--on-failure", "maybe"], "maybe"),
    ("postern", ["run", "--policy", "x.postern", "--metrics", "nowhere"], "nowhere"),
    ("postern", ["run", "--policy", "x.postern", "--frobnicate"], "--frobnicate"),
    ("postern", ["replay", "--policy", "x.postern"], "--in"),
    ("postern", ["replay", "--policy", "x.postern", "--in", "x.pcap", "--zone", "192.0.2.0/99=outside"], "192.0.2.0/99"),
    ("postern", ["show", "weather"], "weather"),
    ("posternc", ["fly"], "fly"),
    ("posternc", ["compile", "x.policy"], "-o"),
    ("posternc", ["check"], "POLICY"),
])
def test_wrong_usage(program, words, named):
    done = call(program, *words)
    assert done.returncode == 2, done
    assert named.lower() in done.stderr.lower()
    assert done.stdout == ""


@pytest.mark.parametrize(("program", "words", "named"), [
    ("postern", ["run", "--policy", "/nonexistent/x.postern", "--port", "outside=lo", "--port", "inside=lo"], "/nonexistent/x.postern"),
    ("postern", ["replay", "--policy", "/nonexistent/x.postern", "--in", "/nonexistent/x.pcap"], "/nonexistent/x.postern"),
    ("postern", ["show", "sessions", "--control", "/nonexistent/control"], "/nonexistent/control"),
    ("posternc", ["check", "/nonexistent/x.policy"], "/nonexistent/x.policy"),
    ("posternc", ["compile", "/nonexistent/x.policy", "-o", "/tmp/x.postern"], "/nonexistent/x.policy"),
])
def test_what_is_not_there(program, words, named):
    done = call(program, *words)
    assert done.returncode in (1, 2), done
    assert named in done.stderr


@pytest.mark.parametrize(("ports", "named"), [
    (["outside=outside0", "inside=nosuch0"], "nosuch0"),
    (["outside=outside0", "nosuchzone=inside0"], "nosuchzone"),
    (["outside=outside0", "inside=outside0"], "outside0"),
    (["outside=outside0"], "port"),
])
def test_ports_that_do_not_fit(network, gate, artifact, ports, named):
    gate.clear()
    words = [word for port in ports for word in ("--port", port)]
    done = call("postern", "run", "--policy", artifact, *words, namespace=network.gateway)
    assert done.returncode in (1, 2) and named in done.stderr, done
    for interface in ("outside0", "inside0"):
        assert not gateway.xdp_is_attached(network, interface)


@pytest.mark.parametrize("program", ["postern", "posternc"])
def test_help(program):
    done = call(program, "--help")
    assert done.returncode == 0 and done.stdout.strip()
    commands = {"postern": ["run", "replay", "show"], "posternc": ["check", "compile", "explain"]}[program]
    for command in commands:
        assert command in done.stdout
        each = call(program, command, "--help")
        assert each.returncode == 0
        assert program + " " + command in each.stdout and "xample" in each.stdout, "help without an example"


def replay(artifact, capture):
    return call("postern", "replay", "--policy", artifact, "--in", capture)


def test_the_artifact_itself_is_good(artifact, capture):
    assert replay(artifact, capture).returncode == 0


def test_truncated_artifacts(artifact, capture, tmp_path):
    """A sample of lengths here; every length is tried beside the loader."""
    with open(artifact, "rb") as file:
        octets = file.read()
    lengths = sorted({0, 1, 7, 8, 16, 63, 64, 65, len(octets) - 1, *random.Random(7).sample(range(len(octets)), 20)})
    path = tmp_path / "truncated.postern"
    for length in lengths:
        path.write_bytes(octets[:length])
        done = replay(path, capture)
        assert done.returncode == 1 and "truncated.postern" in done.stderr, (length, done)


def test_flipped_artifacts(artifact, capture, tmp_path):
    """Any octet changed is noticed: the loader trusts none."""
    with open(artifact, "rb") as file:
        octets = bytearray(file.read())
    places = sorted({*range(0, min(96, len(octets)), 8), *random.Random(8).sample(range(len(octets)), 40)})
    path = tmp_path / "flipped.postern"
    for place in places:
        changed = bytearray(octets)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        done = replay(path, capture)
        assert done.returncode == 1 and "flipped.postern" in done.stderr, (place, done)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"policy-map type inspect smtp x\n", os.urandom(4096)], ids=["empty", "zeros", "text", "noise"])
def test_what_is_no_artifact(capture, tmp_path, content):
    path = tmp_path / "other.postern"
    path.write_bytes(content)
    done = replay(path, capture)
    assert done.returncode == 1 and "other.postern" in done.stderr


@pytest.mark.parametrize("content", [b"", b"\xd4\xc3\xb2\xa1", b"GET / HTTP/1.0\r\n\r\n", b"\x0a\x0d\x0d\x0a" + b"\xff" * 40], ids=["empty", "cut", "text", "broken"])
def test_what_is_no_capture(artifact, tmp_path, content):
    path = tmp_path / "other.pcap"
    path.write_bytes(content)
    done = replay(artifact, path)
    assert done.returncode == 1 and "other.pcap" in done.stderr


def test_a_policy_with_mistakes(tmp_path):
    path = tmp_path / "wrong.policy"
    path.write_text("class-map type inspect smtp match-any a\n match cmd verbs EVIL\npolicy-map type inspect smtp b\n class type inspect smtp nosuch\n  reset\n")
    done = call("posternc", "check", path)
    assert done.returncode == 1
    assert "wrong.policy:2:" in done.stderr and "wrong.policy:4:" in done.stderr, "every mistake in one run"
    target = tmp_path / "x.postern"
    assert call("posternc", "compile", path, "-o", target).returncode == 1
    assert not target.exists(), "an artifact of a wrong policy was written"


def test_the_same_text_gives_the_same_octets(tmp_path):
    source = tmp_path / "same.policy"
    source.write_text(RULES)
    outputs = []
    for name in ("one", "two"):
        target = tmp_path / f"{name}.postern"
        assert call("posternc", "compile", source, "-o", target).returncode == 0
        outputs.append(target.read_bytes())
    assert outputs[0] == outputs[1]
