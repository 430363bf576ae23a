"""Holds deny.toml against what cargo would build: licences, banned crates, sources, and a reason for each direct dependency.

cargo-deny does the first three more thoroughly and is used where it is installed. Exits 0 or 1.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def permitted(expression, allowed):
    """Whether an SPDX expression can be satisfied with allowed licences. `/` is the old way to write OR."""
    words = re.findall(r"\(|\)|[^\s()]+", (expression or "").replace("/", " OR "))
    joined, index = [], 0
    while index < len(words):
        if words[index].upper() == "WITH" and joined and index + 1 < len(words):
            joined[-1] = f"{joined[-1]} WITH {words[index + 1]}"
            index += 2
        else:
            joined.append(words[index])
            index += 1
    value, rest = _either(joined, allowed)
    return value and not rest


def _either(words, allowed):
    value, words = _both(words, allowed)
    while words and words[0].upper() == "OR":
        other, words = _both(words[1:], allowed)
        value = value or other
    return value, words


def _both(words, allowed):
    value, words = _one(words, allowed)
    while words and words[0].upper() == "AND":
        other, words = _one(words[1:], allowed)
        value = value and other
    return value, words


def _one(words, allowed):
    if not words:
        return False, []
    if words[0] == "(":
        value, rest = _either(words[1:], allowed)
        return value, rest[1:]
    return words[0].removesuffix("+") in allowed or words[0] in allowed, words[1:]


def check(metadata, deny, reasons):
    """Problems as text."""
    allowed = set(deny["licenses"]["allow"])
    banned = {entry["crate"]: entry for entry in deny["bans"].get("deny", [])}
    ours = {package["id"] for package in metadata["packages"] if package["source"] is None}
    found, direct = [], {}
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        if package["id"] in ours:
            for dependency in package["dependencies"]:
                if not dependency.get("path"):
                    direct.setdefault(dependency["name"], set()).add(package["name"])
            continue
        if not permitted(package["license"], allowed):
            found.append(f"{name}: licence {package['license']!r} is not among those allowed")
        if package["name"] in banned:
            entry = banned[package["name"]]
            found.append(f"{name}: banned ({entry.get('reason', 'no reason')}); use {entry.get('use-instead', 'another')}")
        if package["source"] != REGISTRY:
            found.append(f"{name}: from {package['source']}, not from the registry")
    for name, users in sorted(direct.items()):
        if name not in reasons:
            found.append(f"{name}: {', '.join(sorted(users))} uses it, and deny.toml does not say why")
    workspace = set(tomllib.load(open(os.path.join(ROOT, "Cargo.toml"), "rb"))["workspace"]["dependencies"])
    unused = set(reasons) - set(direct) - workspace
    return found, unused, len(metadata["packages"]) - len(ours), len(direct)


def self_test():
    allowed = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}
    for expression, expected in [
        ("MIT", True), ("GPL-3.0", False), ("MIT OR GPL-3.0", True), ("MIT AND GPL-3.0", False), ("MIT/Apache-2.0", True),
        ("(GPL-2.0 OR MIT) AND Apache-2.0", True), ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", True), ("GPL-2.0 WITH x", False),
        ("MIT AND (GPL-2.0 OR LGPL-2.1)", False), (None, False), ("", False),
    ]:
        assert permitted(expression, allowed) is expected, expression


def main():
    self_test()
    with open(os.path.join(ROOT, "deny.toml"), "rb") as file:
        text = file.read()
    deny = tomllib.loads(text.decode())
    reasons = dict(re.findall(r"^# why (\S+): (.+)$", text.decode(), re.MULTILINE))
    problems, unused, count, direct = [], set(reasons), 0, 0
    # The fuzzer is a package of its own and brings crates of its own; its lock file is the workspace's and those.
    shutil.copy(os.path.join(ROOT, "Cargo.lock"), os.path.join(ROOT, "tests", "fuzz", "Cargo.lock"))
    for manifest, options in (("Cargo.toml", ["--locked"]), ("tests/fuzz/Cargo.toml", [])):
        done = subprocess.run(["cargo", "metadata", "--format-version=1", *options, "--manifest-path", manifest,
                               "--filter-platform", deny["graph"]["targets"][0]],
                              cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(done.stderr, file=sys.stderr)
            return 1
        found, not_here, crates, used = check(json.loads(done.stdout), deny, reasons)
        problems += [problem for problem in found if problem not in problems]
        unused &= not_here
        count, direct = max(count, crates), max(direct, used)
    problems += [f"{name}: deny.toml says why, but nobody uses it" for name in sorted(unused)]
    for problem in problems:
        print(f"licences: {problem}", file=sys.stderr)
    print(f"{count} crates of others, {direct} used directly: {len(problems)} problems")
    if shutil.which("cargo-deny"):
        return subprocess.run(["cargo", "deny", "--offline", "check", "licenses", "bans", "sources"], cwd=ROOT, check=False).returncode or bool(problems)
    print("skipped: cargo-deny is not installed; what it would check of licences, bans and sources was checked here")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
