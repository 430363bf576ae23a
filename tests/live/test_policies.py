"""Every policy that the project shows compiles, and without a warning: shipped ones, and those in the READMEs."""

import glob
import os
import re
import subprocess

import pytest
from netlab import gateway
from netlab.gateway import ROOT

pytestmark = pytest.mark.decides


def shown():
    """Name and text of each."""
    for path in sorted(glob.glob(os.path.join(ROOT, "deploy", "policies", "*.policy"))):
        with open(path, encoding="utf-8") as file:
            yield os.path.relpath(path, ROOT), file.read()
    for path in [os.path.join(ROOT, "README.md"), *sorted(glob.glob(os.path.join(ROOT, "*", "README.md")))]:
        with open(path, encoding="utf-8") as file:
            blocks = re.findall(r"^```\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(blocks, 1):
            if re.search(r"^(policy-map type|ip inspect name)", block, re.MULTILINE):
                yield f"{os.path.relpath(path, ROOT)} block {number}", block


@pytest.mark.parametrize(("name", "text"), shown(), ids=lambda value: value if "\n" not in value else "")
def test_it_compiles(name, text, tmp_path):
    source = tmp_path / "shown.policy"
    source.write_text(text)
    done = subprocess.run([gateway.binary("posternc"), "check", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "warning" not in done.stderr, f"{name}:\n{done.stderr}{done.stdout}"
    gateway.compile_policy(str(source), str(tmp_path / "shown.postern"))


def test_there_are_some():
    names = [name for name, _ in shown()]
    assert sum(name.startswith("README.md") for name in names) == 2 and len(names) >= 5, names
