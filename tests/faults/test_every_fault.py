"""Every fault of the local cloud, on every kind of call, once and for ever, during a release over three regions.

It ends live; or stalled, with a reason and no alias moved; or undone, with every alias back. Never half-moved, never
waiting for ever, never a wrong byte in sight. When the fault is over, publishing again ends live.

`make long` runs every cell. `make test` runs cells in which every fault and every call is met, once and for ever.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pytest
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.steps import prewarm
from syncd.state.serving import prewarms
from syncd.state.state import State
from syncd.values.function import Scaling

from tests.crash.world import check_any_time, check_live, check_record
from tests.faults.cells import Cell, cells
from tests.faults.page import LIVE, PAGE, ends_of
from tests.faults.play import Outcome, release, rooms_for, served
from tests.support.directories import quick_directory
from tests.support.fleet import FUNCTION, PLACES, Fleet
from tests.support.lengths import LONG, one_of_each

SHARDS: Final = 13 if LONG else 5  # odd, so that each has cells of both kinds: once, and for ever
CELLS: Final = tuple(one_of_each(cells(), lambda cell: (cell.what, cell.often), lambda cell: (cell.call, cell.often)))


@dataclass(frozen=True)
class Ground:
    """A fleet on which v1 is live, and the copy that each cell begins with."""

    fleet: Fleet
    copy: Path


@pytest.fixture
def ground() -> Iterator[Ground]:
    with quick_directory() as base:
        fleet = Fleet(base / "now", {"stage_timeout_s": 5.0, "drain_s": 5.0, "step_failures_max": 3})
        fleet.home.mkdir()
        fleet.make()
        try:
            for name in ("v1", "v2"):
                fleet.deliver(name)
            assert release(fleet, "v1").phase == "live"
            fleet.stop()
            fleet.save(base / "copy")
            fleet.start()
            yield Ground(fleet, base / "copy")
        finally:
            fleet.stop()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_release_under_any_fault_ends_whole(ground: Ground, shard: int) -> None:
    table = [(cell, *_play(ground, cell)) for cell in CELLS[shard::SHARDS]]
    _report(table, shard)
    told = ends_of(PAGE.read_text())
    wrong = [f"{cell.name}: {fault}" for cell, _, fault in table if fault]
    for cell, outcome, _ in table:
        if (outcome.phase == LIVE) is not told[cell.name].startswith(LIVE):
            wrong.append(f"{cell.name}: it ended {outcome.phase}, and the page says {told[cell.name]}")
    assert not wrong, f"{len(wrong)} of {len(table)} cells:\n" + "\n".join(wrong)


def _play(ground: Ground, cell: Cell) -> tuple[Outcome, str]:
    """How it ended, and what was wrong about it."""
    fleet = ground.fleet
    fleet.restore(ground.copy)
    fleet.strategy, fleet.binding = cell.strategy, cell.binding
    fleet.configure(cell.timeout_s)
    before = {place: fleet.pointed(place) for place in PLACES}
    recorded = served(fleet)
    fleet.whole.cloud.faults.add(cell.rule)
    outcome = release(fleet, "v2")
    fleet.whole.cloud.faults.clear()
    try:
        check_any_time(fleet, ("v1", "v2"))
        if outcome.phase == "live":
            check_live(fleet, "v2")
        else:
            assert outcome.phase in {"stalled", "undone"}, f"{outcome.phase}: {outcome.reason}"
            assert outcome.reason
            check_record(fleet, ReleasePhase(outcome.phase))
            assert {place: fleet.pointed(place) for place in PLACES} == before, "an alias has moved"
            assert served(fleet) == recorded, "the record has moved"
        is_borne = outcome.phase == "live" or cell.rule.times == 0
        assert is_borne, f"one fault was enough: {outcome.phase}: {outcome.reason}"
        if cell.ends and cell.rule.times == 0:
            assert outcome.phase == cell.ends, f"it ended {outcome.phase}: {outcome.reason}"
            assert "digest" in outcome.reason, outcome.reason
        if outcome.phase != "live":
            again = release(fleet, "v2")
            assert again.phase == "live", f"after the fault, publishing again: {again.phase}: {again.reason}"
            check_live(fleet, "v2")
        if cell.binding:
            check_cool(fleet)
    except AssertionError as wrong:
        return outcome, str(wrong)
    return outcome, ""


def check_cool(fleet: Fleet) -> None:
    """When the fault is over, no instance is held ready any more."""
    state = State(fleet.url)
    prewarm.release_prewarmed(rooms_for(fleet, state))
    with state.read() as conn:
        assert prewarms.due(conn, state.now(conn)) == []
    state.close()
    for place, runtime in fleet.runtimes().items():
        assert runtime.scaling(FUNCTION, "prod-candidate") == Scaling(), f"{place} holds instances ready"


def _report(table: list[tuple[Cell, Outcome, str]], shard: int) -> None:
    """Print how each cell ended, and write it for `python -m tests.faults` below the directory `SYNCD_FAULT_REPORT`."""
    rows = [{**asdict(outcome), "cell": cell.name, "wrong": wrong} for cell, outcome, wrong in table]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    print(lines)  # noqa: T201 -- the summary
    where = os.environ.get("SYNCD_FAULT_REPORT")
    if where:
        Path(where).mkdir(parents=True, exist_ok=True)
        (Path(where) / f"{shard + 1}-of-{SHARDS}.jsonl").write_text(lines)
