"""A new policy takes over without a session lost; what cannot be loaded changes nothing; and the host can be asked."""

import json
import os
import signal

import pytest

from conftest import PLAIN
from netlab import gateway
from netlab.clients import Step
from netlab.namespaces import run
from policies import zones

pytestmark = pytest.mark.decides

MASKS_EVIL = zones("class-map type inspect smtp match-any verbs\n match cmd verb EVIL", "verbs: log mask")
MASKS_VRFY = zones("class-map type inspect smtp match-any verbs\n match cmd verb VRFY", "verbs: log mask")


def reload(middle, artifact):
    command = [gateway.binary("postern"), "reload", "--policy", artifact, "--control", middle.control]
    return run(command, check=False, timeout=20)



def test_a_session_ends_under_the_policy_it_began_with(gate, network, plain):
    middle = gate(MASKS_EVIL, fresh=True)
    with Step(network.client, PLAIN[0]) as old:
        old.read_reply()
        old.say("HELO client.example")
        done = reload(middle, gate.compile(MASKS_VRFY))
        assert done.returncode == 0, done.stderr
        with Step(network.client, PLAIN[0]) as new:
            new.read_reply()
            new.say("HELO client.example")
            for step in (old, new):
                step.say("EVIL one")
                step.say("VRFY two")
                step.say("QUIT")
    commands = [connection.commands for connection in plain.connections]
    assert [b"xxxxxxxx" in each for each in commands] == [True, True]
    old_lines, new_lines = commands
    assert b"VRFY two" in old_lines and b"EVIL one" not in old_lines
    assert b"EVIL one" in new_lines and b"VRFY two" not in new_lines
    gate.clear()


def test_what_cannot_be_loaded_changes_nothing(gate, network, plain, directory):
    middle = gate(MASKS_EVIL, fresh=True)
    bad = os.path.join(directory, "flipped.postern")
    with open(gate.compile(MASKS_VRFY), "rb") as file:
        octets = bytearray(file.read())
    octets[len(octets) // 2] ^= 1
    with open(bad, "wb") as file:
        file.write(octets)
    for artifact in (bad, os.path.join(directory, "nowhere.postern")):
        done = reload(middle, artifact)
        assert done.returncode == 1 and os.path.basename(artifact) in done.stderr, done.stderr
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.say("EVIL one")
        step.say("QUIT")
    assert b"xxxxxxxx" in plain.connections[0].commands
    assert middle.program.is_running()


def test_sighup_loads_the_same_path_again(gate, network, plain, directory):
    path = os.path.join(directory, "changing.postern")
    def put(text):
        with open(gate.compile(text), "rb") as source, open(path + ".new", "wb") as target:
            target.write(source.read())
        os.rename(path + ".new", path)
    put(MASKS_EVIL)
    gate.clear()
    middle = gateway.Postern(network, directory, path, name="sighup").start()
    try:
        put(MASKS_VRFY)
        middle.program.send(signal.SIGHUP)
        middle.program.wait_until(lambda: "xxxxxxxx" in answer(network, "VRFY two", plain), "the new policy masks VRFY")
    finally:
        middle.stop()


def answer(network, line, plain):
    """What the server received of a line, in a session of its own."""
    with Step(network.client, PLAIN[0]) as step:
        step.read_reply()
        step.say(line)
        step.say("QUIT")
    return plain.connections[-1].commands[0].decode()


@pytest.mark.parametrize("words", [["policy"], ["interfaces"], ["zone-pair"], ["zone-pair", "inbound"], ["all"], ["sessions", "detail"]])
def test_every_show_command(gate, words):
    middle = gate(MASKS_EVIL)
    done = middle.show(*words)
    assert done.returncode == 0, done.stderr
    if words[0] not in ("sessions",):
        assert done.stdout.strip()
    if words[0] in ("zone-pair", "all"):
        assert "inbound" in done.stdout and "Class-map: mail (match-any)" in done.stdout
    assert json.loads(middle.show(*words, "--json").stdout) is not None
    assert middle.show("zone-pair", "no-such-pair").returncode == 1


def test_the_host_is_checked(gate, network):
    gate.clear()
    command = [gateway.binary("postern"), "check-host", "--port", "outside=outside0", "--port", "inside=inside0"]
    done = network.gateway.run(command, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    missing = network.gateway.run([*command[:3], "outside=nothing0", *command[4:]], check=False)
    assert missing.returncode == 1 and "nothing0" in missing.stdout + missing.stderr
