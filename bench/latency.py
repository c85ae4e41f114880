"""Latency on the local cloud: `python -m bench.latency` prints a table with targets, then JSON.

A daemon of its own works on a fleet of its own. Drop to live is from the request of a release of a version of 2 kB to
the record's `live`; rollback is from the start of the command's work to the last alias moved. Both are wall clock, as
the median of the rounds; the calls of a rollback are the platform's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from syncd.daemon.process import Process
from syncd.daemon.settings import settings_of
from syncd.engine import lock
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.requests import operations
from syncd.reconcile.requests.operations import Requester
from syncd.reconcile.requests.rollbacks import rollback
from syncd.state.releases import releases
from syncd.state.serving import live
from syncd.state.state import State
from syncd.wiring import context_of
from tests.support.fleet import MODEL, PLACES, Fleet

PATIENCE_S = 120.0
_LOOK_S = 0.005


@dataclass(frozen=True, slots=True)
class Latency:
    """One figure."""

    what: str
    seconds: float
    target_s: float | None
    calls_an_alias: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="latency-") as home, _at_work(Path(home)) as (fleet, requester):
        figures = _measured(fleet, requester, options.rounds)
    sys.stdout.write(table(figures))
    sys.stdout.write(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")


def table(figures: Sequence[Latency]) -> str:
    """The figures as lines."""
    lines = [f"{'what':28} {'seconds':>8} {'calls an alias':>14} target"]
    for each in figures:
        target = (
            "" if each.target_s is None else f"{each.target_s} {'met' if each.seconds <= each.target_s else 'MISSED'}"
        )
        calls = "" if each.calls_an_alias is None else f"{each.calls_an_alias:.1f}"
        lines.append(f"{each.what:28} {each.seconds:8.3f} {calls:>14} {target}")
    return "\n".join(lines) + "\n"


def _measured(fleet: Fleet, requester: Requester, rounds: int) -> list[Latency]:
    drops, rollbacks, skews, calls = [], [], [], []
    for number in range(rounds + 2):
        version = f"v{number}"
        fleet.deliver(version)
        began_s = time.monotonic()
        _wait_live(requester.state, operations.publish(requester, MODEL, version).id)
        drops.append(time.monotonic() - began_s)
        if number == 0:
            continue
        before = len(fleet.whole.cloud.counters.calls(service="fc"))
        began_s, requested = time.monotonic(), requester.state
        release = rollback(requester, MODEL, "measured")
        _wait_live(requested, release.id)
        with requested.read() as conn:
            moved = [row.since for row in live.all(conn)]
            asked = release.created_at
        rollbacks.append((max(moved) - asked).total_seconds())
        skews.append((max(moved) - min(moved)).total_seconds())
        calls.append((len(fleet.whole.cloud.counters.calls(service="fc")) - before) / len(PLACES))
        operations.unhold(requester, MODEL)
    return [
        Latency("drop to live, the first", drops[0], None),
        Latency("drop to live", statistics.median(drops[1:]), 0.6),
        Latency("rollback, request to flipped", statistics.median(rollbacks), 0.5, statistics.median(calls)),
        Latency("rollback, skew of regions", statistics.median(skews), 1.0),
    ]


def _wait_live(state: State, release: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        with state.read() as conn:
            found = releases.get(conn, release)
        if found.phase is ReleasePhase.LIVE:
            return
        if found.phase in {ReleasePhase.STALLED, ReleasePhase.UNDONE}:
            raise SystemExit(f"{release} is {found.phase}: {found.reason}")
        time.sleep(_LOOK_S)
    raise SystemExit(f"{release} is not live after {PATIENCE_S:.0f} s")


@contextmanager
def _at_work(home: Path) -> Iterator[tuple[Fleet, Requester]]:
    """A fleet with a process at work on its record, and somebody who requests, as another process would."""
    fleet = Fleet(home)
    fleet.make()
    state, other = State(fleet.url), State(fleet.url)
    with lock.hold(fleet.url) as held:
        context = context_of(fleet.config, state)
        settings = settings_of(fleet.config, polls=False)
        process = Process(context, settings, sole=True, check_lock=held.check)
        working = threading.Thread(target=process.run)
        working.start()
        try:
            yield fleet, Requester(context_of(fleet.config, other), "bench")
        finally:
            process.stop()
            working.join()
            fleet.stop()
            other.close()
            state.close()


if __name__ == "__main__":
    main()
