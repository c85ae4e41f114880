"""Periodic drift scans, resumed retirements, the retention rules and the scrub, by a daemon."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.daemon.process import Process
from syncd.daemon.settings import DEFAULT_SLOTS, DriftSchedule, ProcessSettings
from syncd.engine.memory import MemoryEngine
from syncd.plan.drift import DriftPolicy
from syncd.plan.retention import RetentionPolicy, RetentionRule
from syncd.reconcile.repair.scrub import ScrubPolicy
from syncd.reconcile.requests.operations import publish
from syncd.state.content import versions
from syncd.state.records import Drift
from syncd.state.releases import retirements
from syncd.state.serving import drifts
from syncd.state.state import State
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, SDXL, Site, World, site

PATIENCE_S = 60.0
SETTINGS = ProcessSettings(tick_s=0.02, drain_s=10.0, auto_release=False, polls=(), slots=DEFAULT_SLOTS)


@pytest.fixture
def there(tmp_path: Path, sqlite_template: Path) -> Iterator[Site]:
    """A version is live in two regions, and an alias was moved outside syncd since."""
    shutil.copyfile(sqlite_template, tmp_path / "state.db")
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    world = World(tmp_path / "registry")
    here = site(world, state)
    for version in ("v1", "v2"):
        world.deliver(SDXL, version)
        publish(here.requester, SDXL, version)
        here.settle()
    world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("1")
    yield here
    state.close()


def run(there: Site, settings: ProcessSettings, until: str) -> list[Drift]:
    """Run a daemon until an event of this kind is recorded."""
    context = replace(there.context, engine=MemoryEngine())
    deadline = time.monotonic() + PATIENCE_S

    def done() -> bool:
        assert time.monotonic() < deadline
        return any(event.kind == until for event in there.events())

    Process(context, settings, sole=True).run(done)
    with there.state.read() as conn:
        return drifts.open_drifts(conn)


def test_an_alias_moved_outside_syncd_is_found(there: Site) -> None:
    (drift,) = run(there, replace(SETTINGS, drifting=DriftSchedule(0.05, DriftPolicy.REPORT)), "binding.drifted")
    assert (drift.binding, drift.got, drift.want) == ("draw-sg", "1", "2")


def test_an_alias_moved_outside_syncd_is_restored_by_policy(there: Site) -> None:
    assert run(there, replace(SETTINGS, drifting=DriftSchedule(0.05, DriftPolicy.RESTORE)), "binding.restored") == []
    there.assert_record_is_true()


def test_an_interrupted_retirement_is_resumed(there: Site, tmp_path: Path) -> None:
    there.world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("2")
    there.world.deliver(SDXL, "v3")
    publish(there.requester, SDXL, "v3")
    there.settle()
    with there.state.write() as conn:
        known = versions.find(conn, SDXL, "v1")
        assert known is not None
        retirements.begin(conn, known, "ann", "", there.state.now(conn))
    run(there, SETTINGS, "version.retired")
    assert set(there.world.runtimes["singapore"].functions[DRAW].versions) == {"2", "3"}


def test_the_rules_are_applied_by_a_daemon(there: Site) -> None:
    there.world.runtimes["singapore"].functions[DRAW].aliases["prod"] = AliasState("2")
    there.world.deliver(SDXL, "v3")
    publish(there.requester, SDXL, "v3")
    there.settle()
    there.context = replace(there.context, retention=RetentionPolicy((RetentionRule(("*",), keep=1),), grace_s=0.01))
    run(there, replace(SETTINGS, retention_every_s=0.05), "version.retired")
    assert set(there.world.runtimes["singapore"].functions[DRAW].versions) == {"2", "3"}


def test_a_damaged_copy_is_found_and_repaired_by_a_daemon(there: Site) -> None:
    store = there.world.stores["hz"]
    (key,) = [key for key in store.objects if key.endswith("weights.bin") and "/v2-" in key]
    del store.objects[key]
    run(there, replace(SETTINGS, scrub=ScrubPolicy(0.01)), "repair.done")
    assert key in store.objects
