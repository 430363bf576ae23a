"""Processes of the lab: started inside a namespace, logged to a file, ended by their process id."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class DidNotStart(Exception):
    """A program ended, or stayed silent, before it was ready."""


def _end_with_parent():
    # Also when the lab itself is killed hard, nothing of it stays.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Program:
    """A running program. Its standard output and error go to `log`."""

    def __init__(self, argv, namespace, log, outlives_us=False, **options):
        self.argv = [str(word) for word in argv]
        self.log = log
        command = namespace.command(self.argv) if namespace else self.argv
        # With `outlives_us` the program stays when the lab ends: `lab --keep`.
        guard = None if outlives_us else _end_with_parent
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=guard, **options)

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process.poll() is None

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_until(self, condition, what, seconds=15.0):
        """Waits for `condition()`; says what the program wrote when it ends or stays silent."""
        end = time.monotonic() + seconds
        while not condition():
            if not self.is_running():
                raise DidNotStart(f"{self.argv[0]} ended with {self.process.returncode} before {what}:\n{self.output()}")
            if time.monotonic() > end:
                raise DidNotStart(f"{self.argv[0]}: no sign of {what} in {seconds:g} s:\n{self.output()}")
            time.sleep(0.01)

    def send(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds):
        """Exit status, or None when it still runs after `seconds`."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, seconds=5.0):
        """Asks with SIGTERM, then insists. Returns the exit status."""
        if self.is_running():
            self.send(signal.SIGTERM)
            if self.wait(seconds) is None:
                self._kill_group()
                self.wait(5.0)
        return self.process.returncode

    def _kill_group(self):
        # A session of its own (start_new_session): its children are in its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
