"""Runs a client as a process and reads off what it cost: from the kernel, and from the sink."""

import http.client
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.sink import CONTROL

_LOOK_MS = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """What one or several processes, one after another, came to. `rss_bytes` is the largest one's peak."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    said: str = ""

    def __add__(self, other: "Cost") -> "Cost":
        rss_bytes = max(self.rss_bytes, other.rss_bytes)
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, rss_bytes, self.said + other.said)


@dataclass(frozen=True, slots=True)
class Counts:
    """What the sink has counted."""

    requests: Mapping[str, int]
    body_bytes: Mapping[str, int]
    head_bytes: int
    stored: Mapping[str, Mapping[str, int]]
    uploads_open: int
    refused: Sequence[str] = field(default_factory=tuple)

    @property
    def wire_bytes(self) -> int:
        """Heads and bodies of all requests."""
        return self.head_bytes + sum(self.body_bytes.values())


class FailedRunError(Exception):
    """A client ended with an error, or the sink saw something that must not be."""


def run(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command to its end; the CPU time is that of all its threads and of the children it waited for.

    Raises:
        FailedRunError: It ended with another status than 0.
    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        rss_bytes = _watched(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)  # so that it is not waited for again
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        raise FailedRunError(f"{command[0]} ended with {process.returncode}: {said[-2000:]}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, rss_bytes, said)


def _watched(pid: int) -> int:
    """Wait until it ends; the largest resident size it was seen with.

    The kernel's own figure after the end (`ru_maxrss`) begins with what this process had when it forked.
    """
    ended = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        peak = 0
        while not poll.poll(_LOOK_MS):
            seen = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()
            peak = max(peak, int(seen[0]) * 1024) if seen else peak
        return peak
    finally:
        os.close(ended)


class SinkProcess:
    """A sink in a process of its own, from enter to exit."""

    def __init__(self, check_every: int) -> None:
        self._check_every = check_every

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.sink", "--check-every", str(self._check_every)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def clear(self) -> None:
        """Forget all objects and counts."""
        self._ask("DELETE")

    def counts(self) -> Counts:
        return Counts(**json.loads(self._ask("GET")))

    def cpu_s(self) -> float:
        """What it has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ask(self, method: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, CONTROL)
            return connection.getresponse().read()
        finally:
            connection.close()
