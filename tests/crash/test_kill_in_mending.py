"""kill -9 in what is done beside a release: putting back what somebody changed, retiring, and holding instances ready.

Of each kind of effect one is chosen; `make long` meets every moment. What an earlier life left is gone on with by
what the daemon does on its clock, and by the command once more.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from syncd.config import load
from syncd.reconcile.steps import prewarm
from syncd.runtime.base import ignore_waits
from syncd.state.db import rows
from syncd.state.releases import removals, retirements
from syncd.state.serving import drift_resolutions, drifts, prewarms
from syncd.state.state import State
from syncd.values.function import AliasState, Change, Scaling
from syncd.wiring import context_of

from tests.crash.cases import Tally, chosen, kill_at_each
from tests.crash.driver import Driver
from tests.crash.stage import Stage
from tests.crash.world import check_live
from tests.support.fleet import FUNCTION, PLACES, Fleet, mounting

READY = 2


def settled(stage: Stage, *versions: str) -> None:
    for version in versions:
        ended, _ = stage.work(version)
        assert ended.code == 0, stage.child_log()


def test_a_restore_killed_at_an_effect_is_ended_by_the_next_life(base: Path, driver: Driver) -> None:
    """In one region the alias was moved by hand, in one it sends a share, in one LATEST was edited."""
    stage = Stage(base, driver)
    try:
        settled(stage, "v1", "v2")
        by_hand(stage.fleet)
        stage.settle()
        stage.does, stage.share = "restore", 0.3
        moments, effects = stage.moments("")
        assert [line for line in moments if "update_alias prod " in line]
        assert [line for line in moments if "publish_function_version" in line]
        kill_at_each(stage, chosen(moments), "", is_restored, Tally("restore", effects))
    finally:
        stage.fleet.stop()


def by_hand(fleet: Fleet) -> None:
    runtimes = fleet.runtimes()
    runtimes["hangzhou"].flip(FUNCTION, "prod", "1", "2")
    runtimes["singapore"].split(FUNCTION, "prod", "1", "2", 0.3)
    edited = Change((), {"M_DIGEST": "0" * 64})
    runtimes["shanghai"].stage(FUNCTION, edited, "by hand", known=(), waiting=ignore_waits)


def is_restored(fleet: Fleet) -> None:
    check_live(fleet, "v2")
    for runtime in fleet.runtimes().values():
        latest = runtime.latest(FUNCTION, Change((), {"M_DIGEST": ""}))
        assert latest.environment == {"M_DIGEST": fleet.manifest("v2").digest.hex}
    state = State(fleet.url)
    with state.read() as conn:
        left = (drift_resolutions.unfinished(conn), drifts.open_drifts(conn, [f"serve-{place}" for place in PLACES]))
    state.close()
    assert left == ([], [])


def test_a_retirement_killed_at_an_effect_is_ended_by_the_next_life(base: Path, driver: Driver) -> None:
    stage = Stage(base, driver, delivered=("v1", "v2", "v3"))
    try:
        stage.settle("v1", "v2", "v3")
        stage.does = "retire"
        moments, effects = stage.moments("v1")
        assert [line for line in moments if "delete_function_version" in line]
        assert [line for line in moments if line.startswith("oss") and "delete_object" in line]
        assert [line for line in moments if line.startswith("nas unlink")]
        kill_at_each(stage, chosen(moments), "v1", is_retired, Tally("retire", effects))
    finally:
        stage.fleet.stop()


def test_a_removal_by_the_rules_killed_at_an_effect_is_ended_by_the_next_life(base: Path, driver: Driver) -> None:
    """At no moment a sealed version lacks a file: it is whole, or it is no version any more."""
    stage = Stage(base, driver, delivered=("v1", "v2", "v3"))
    try:
        stage.settle("v1", "v2", "v3")
        stage.does = "gc"
        moments, effects = stage.moments("v1")
        assert [line for line in moments if "removals" in line]
        assert [line for line in moments if "delete_function_version" in line]
        assert [line for line in moments if line.startswith("oss") and "delete_object" in line]
        assert [line for line in moments if line.startswith("nas unlink")]
        kill_at_each(stage, chosen(moments), "v1", is_removed, Tally("gc", effects))
    finally:
        stage.fleet.stop()


def is_removed(fleet: Fleet) -> None:
    is_retired(fleet)
    state = State(fleet.url)
    with state.read() as conn:
        assert removals.all(conn) == []
    state.close()


def is_retired(fleet: Fleet) -> None:
    check_live(fleet, "v3")
    for place in PLACES:
        assert fleet.visible(place, fleet.manifest("v1")) == {}
        assert fleet.visible(place, fleet.manifest("v2")), "a rollback goes there"
        mounted = mounting(fleet, place)
        assert fleet.manifest("v1").directory not in mounted
        assert fleet.manifest("v2").directory in mounted
    state = State(fleet.url)
    with state.read() as conn:
        assert retirements.unfinished(conn) == []
    state.close()


def test_a_release_killed_at_what_it_holds_ready_leaves_no_instance(base: Path, driver: Driver) -> None:
    """Instances for the candidate before the probe, and for the version before after the flip."""
    stage = Stage(base, driver, binding=f'warm = {READY}\nrollback_warm = "1s"')
    try:
        stage.settle("v1")
        moments, effects = stage.moments("v2")
        words = ("scaling", "warmths", "scalings", "alias prod-previous")
        mine = [line for line in moments if any(word in line for word in words)]
        assert [line for line in mine if "put_scaling_config" in line]
        kill_at_each(stage, chosen(mine), "v2", is_cool, Tally("warmth", effects))
    finally:
        stage.fleet.stop()


def is_cool(fleet: Fleet) -> None:
    """When the time of all of it is over, nothing hangs anywhere and the alias that held the version before is gone."""
    check_live(fleet, "v2")
    state = State(fleet.url, now=lambda conn: rows.now(conn) + timedelta(hours=1))
    prewarm.release_prewarmed(context_of(load(fleet.config_file, fleet.environment), state))
    with state.read() as conn:
        assert prewarms.due(conn, state.now(conn)) == []
        assert prewarms.kept_scalings(conn) == []
    state.close()
    for runtime in fleet.runtimes().values():
        assert runtime.scaling(FUNCTION, "prod-candidate") == Scaling()
        assert runtime.scaling(FUNCTION, "prod") == Scaling()
        assert runtime.read(FUNCTION, "prod-previous") == AliasState(None)
