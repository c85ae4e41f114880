"""A release of many files through a throttling store, with a kill in the middle: `python -m tests.faults.throttled`.

Prints a line for each share of 503s: the calls that reached the stores, those refused and lost, and how it ended.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from syncd.plan.phases import StepKind
from syncd.state.releases import releases, steps
from syncd.state.state import State

from tests.support.directories import quick_directory
from tests.support.fleet import BUCKETS, MODEL, PLACES, Fleet
from tests.support.throttling import ThrottlingProxy, throttling

VERSION: Final = "v1"
LIMIT_S: Final = 3600.0


@dataclass(frozen=True)
class Outcome:
    """How it ended. `failures` are those of the step that places, which are counted towards its end."""

    phase: str
    reason: str
    exit_code: int
    failures: int
    calls: int
    throttled: int
    lost: int
    seconds: float


def deliver(fleet: Fleet, files: int) -> None:
    """A version of many small files and one of a few parts."""
    root = fleet.home / "registry" / MODEL / VERSION
    root.mkdir(parents=True)
    listed = []
    for n in range(files):
        path, size_bytes = f"shard-{n:05}.bin", 1200 + n % 700 if n else 3_000_000
        data = random.Random(path).randbytes(size_bytes)
        (root / path).write_bytes(data)
        listed.append(f"{hashlib.sha256(data).hexdigest()}  {path}\n")
    (root / "SHA256SUMS").write_text("".join(listed))


def release(fleet: Fleet, files: int, throttled: float, lost: float) -> Outcome:
    """Publish through proxies, kill the daemon when half of the files have been sent, and start it again."""
    with ExitStack() as stack:
        proxies = _proxied(fleet, stack, throttled, lost)
        command = [sys.executable, "-m", "syncd"]
        environ = os.environ | fleet.environment | {"SYNCD_CONFIG": str(fleet.config_file)}
        began = time.monotonic()
        with _daemon(command, environ, fleet.home) as first:
            asking = subprocess.Popen([*command, "publish", f"{MODEL}@{VERSION}", "--wait"], env=environ,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            while _calls(proxies) < files and time.monotonic() - began < LIMIT_S:  # two buckets: half of the files each
                time.sleep(0.05)
            first.kill()
            first.wait()
        with _daemon(command, environ, fleet.home):
            code = asking.wait(LIMIT_S)
        seconds = time.monotonic() - began
        counts = [sum(proxy.counts[what] for proxy in proxies) for what in ("calls", "throttled", "lost")]
    return _outcome(fleet, code, (counts[0], counts[1], counts[2]), seconds)


def _proxied(fleet: Fleet, stack: ExitStack, throttled: float, lost: float) -> list[ThrottlingProxy]:
    """A proxy in front of each bucket, which the configuration names from now on."""
    text, proxies = fleet.config_file.read_text(), []
    for seed, place in enumerate(BUCKETS):
        endpoint = fleet.whole.cloud.endpoint(PLACES[place])
        proxy = stack.enter_context(throttling(endpoint, throttled, lost, seed))
        text = text.replace(f'endpoint = "{endpoint}"', f'endpoint = "{proxy.endpoint}"')
        proxies.append(proxy)
    fleet.config_file.write_text(text)
    return proxies


def _calls(proxies: list[ThrottlingProxy]) -> int:
    return sum(proxy.counts["calls"] for proxy in proxies)


@contextmanager
def _daemon(command: list[str], environ: dict[str, str], home: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (home / "run.log").open("ab") as log, subprocess.Popen([*command, "run"], env=environ, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()


def _outcome(fleet: Fleet, code: int, counts: tuple[int, int, int], seconds: float) -> Outcome:
    state = State(fleet.url)
    try:
        with state.read() as conn:
            ended = releases.get(conn, "r-1")
            failures = sum(step.failures for step in steps.of_release(conn, ended.id) if step.kind is StepKind.PLACE)
    finally:
        state.close()
    return Outcome(ended.phase.value, ended.reason, code, failures, *counts, round(seconds, 1))


def main() -> None:
    """Print the table; exit 1 unless each is live."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--percent", type=float, nargs="*", default=[1.0, 5.0, 10.0], help="of 503s")
    parser.add_argument("--lost", type=float, default=2.0, help="percent of answers that are lost")
    options = parser.parse_args()
    all_live = True
    for percent in options.percent:
        with quick_directory() as home:
            fleet = Fleet(home)
            fleet.make()
            try:
                deliver(fleet, options.files)
                told = release(fleet, options.files, percent / 100, options.lost / 100)
            finally:
                fleet.stop()
        all_live &= told.phase == "live"
        sys.stdout.write(f"{options.files} files, {percent:g} % 503s, {options.lost:g} % lost, one kill: {told}\n")
        sys.stdout.flush()
    sys.exit(not all_live)


if __name__ == "__main__":
    main()
