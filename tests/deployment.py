"""Checks what deploy/ ships beside the lab: unit file, container, alert rules, dashboard, scripts. Exits 0 or 1.

That the metrics named in rules and dashboard exist is checked live (tests/live/test_outside.py).
"""

import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEPLOY = os.path.join(ROOT, "deploy")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def expressions():
    """Every PromQL expression of rules and dashboard, with where it stands."""
    import yaml

    for group in yaml.safe_load(read("deploy", "prometheus", "alerts.yml"))["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]
    for panel in json.loads(read("deploy", "grafana", "postern.json"))["panels"]:
        for target in panel["targets"]:
            yield f"panel {panel['title']}", target["expr"]


def metric_names():
    """Names of Postern's metrics that rules and dashboard use."""
    return sorted({name for _, text in expressions() for name in re.findall(r"\bpostern_[a-z0-9_]+", text)})


def check_expressions():
    for where, text in expressions():
        plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
        stack = []
        for character in plain:
            if character in "([{":
                stack.append(character)
            elif character in ")]}":
                if not stack or stack.pop() + character not in ("()", "[]", "{}"):
                    yield f"{where}: brackets do not fit: {text}"
                    break
        if stack:
            yield f"{where}: brackets do not fit: {text}"
        for name in re.findall(r"rate\((postern_\w+)", plain) + re.findall(r"increase\((postern_\w+)", plain):
            if not name.endswith("_total"):
                yield f"{where}: a rate of {name}, which is no counter"


def check_alerts():
    import yaml

    for group in yaml.safe_load(read("deploy", "prometheus", "alerts.yml"))["groups"]:
        for rule in group["rules"]:
            missing = {"alert", "expr", "labels", "annotations"} - set(rule)
            if missing or set(rule["annotations"]) != {"summary", "description"} or rule["labels"].get("severity") not in ("warning", "critical"):
                yield f"alert {rule.get('alert')}: not whole: {sorted(missing)}"
            if "for" in rule and not re.fullmatch(r"\d+[smhd]", str(rule["for"])):
                yield f"alert {rule['alert']}: for: {rule['for']}"


def check_dashboard():
    dashboard = json.loads(read("deploy", "grafana", "postern.json"))
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        yield "dashboard: two panels with one id"
    places = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                if x > 23 or (x, y) in places:
                    yield f"dashboard: {panel['title']} lies over {places.get((x, y), 'the edge')}"
                    break
                places[(x, y)] = panel["title"]


def check_unit():
    if not shutil.which("systemd-analyze"):
        print("skipped: systemd-analyze is not installed; the unit file was not verified")
        return
    done = subprocess.run(["systemd-analyze", "verify", os.path.join(DEPLOY, "systemd", "postern.service")],
                          capture_output=True, text=True, check=False)
    for line in done.stderr.splitlines():
        # The programs are not installed where tests run.
        if line.strip() and not re.search(r"postern.*is not executable: No such file", line) and "postern" in line:
            yield f"unit: {line}"


def check_capabilities():
    """The same five everywhere."""
    wanted = {"NET_ADMIN", "NET_RAW", "BPF", "PERFMON", "IPC_LOCK"}
    for line in read("deploy", "systemd", "postern.service").splitlines():
        if "Capabilit" in line and "=" in line:
            have = {word.removeprefix("CAP_") for word in line.split("=", 1)[1].split()}
            if have != wanted:
                yield f"unit: {line}"
    if not all(word in read("deploy", "Containerfile") for word in wanted):
        yield "container: other capabilities than the unit"


def check_container():
    """What it copies is there, and packages come from the one list."""
    for line in read("deploy", "Containerfile").splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--from"):
            for name in words[1:-1]:
                if not os.path.exists(os.path.join(ROOT, name)):
                    yield f"container: no {name}"
        if "apt-get install" in line:
            yield f"container: packages of its own: {line}"


def check_packages():
    seen = set()
    for line in read("deploy", "packages.txt").splitlines():
        if line and not line.startswith("#"):
            package, group, *why = line.split()
            if group not in ("build", "run", "lab", "test", "unpack") or not why or package in seen:
                yield f"packages.txt: {line}"
            seen.add(package)


def check_scripts():
    for name in ("deploy/lab", "deploy/build", "deploy/install-packages", "deploy/prepare-host", "deploy/python", "tests/run", ".ci/run"):
        path = os.path.join(ROOT, name)
        if not os.access(path, os.X_OK):
            yield f"{name}: not executable"
        done = subprocess.run(["sh", "-n", path], capture_output=True, text=True, check=False)
        if done.returncode:
            yield f"{name}: {done.stderr}"
        if name not in ("deploy/python", ".ci/run"):
            done = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
            if done.returncode or len(done.stdout) < 40:
                yield f"{name} --help: exit {done.returncode}: {done.stdout}{done.stderr}"


def main():
    problems, checks = [], [check for name, check in globals().items() if name.startswith("check_")]
    for check in checks:
        problems += list(check())
    for problem in problems:
        print(f"deployment: {problem}", file=sys.stderr)
    print(f"{len(checks)} kinds of checks of deploy/: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
