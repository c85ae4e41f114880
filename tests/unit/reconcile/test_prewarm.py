"""Prewarmed instances: before a probe, after a flip, and released when no release needs them, after any crash."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from syncd.errors import Refused, Unavailable
from syncd.plan.binding import PrewarmPolicy
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import cancel, hold, publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.steps.prewarm import release_prewarmed
from syncd.runtime.memory import MemoryRuntime
from syncd.state.records import Prewarm as WarmthRow
from syncd.state.releases import releases
from syncd.state.releases.events import advance
from syncd.state.serving import prewarms
from syncd.state.state import State
from syncd.values.function import AliasState, Scaling

from tests.support.rooms import BINDINGS, DRAW, FLEET, SDXL, Site, World, site

R = ReleasePhase
REGIONS = ("hangzhou", "singapore")
HALF_HOUR_S = 1800.0
WARMTH = PrewarmPolicy(2, 60.0, "before", HALF_HOUR_S)


@pytest.fixture
def here(world: World, sqlite_template: Path, tmp_path: Path) -> Iterator[Site]:
    """The process on SQLite alone: what differs between the databases has tests of its own, of the rows."""
    file = tmp_path / "state.db"
    shutil.copyfile(sqlite_template, file)
    state = State(f"sqlite:///{file}", now=world.now)
    yield site(world, state)
    state.close()


@pytest.fixture
def warm(here: Site) -> Site:
    """A process whose bindings want two instances before a probe, and the version before kept for half an hour."""
    return warm_site(here, WARMTH)


def warm_site(here: Site, warmth: PrewarmPolicy, owner: str = "worker-1", **changes: object) -> Site:
    bindings = {binding.name: replace(binding, warmth=warmth) for binding in BINDINGS}
    return site(here.world, here.state, owner, topology=replace(FLEET, bindings=bindings), **changes)


def released(here: Site, version: str) -> str:
    """A version that is live, some time after."""
    here.world.deliver(SDXL, version)
    release = publish(here.requester, SDXL, version)
    here.settle(patient=True)
    assert here.release(release.id).phase is R.LIVE, here.release(release.id)
    return release.id


def held(here: Site, alias: str) -> list[int]:
    """How many instances each region holds ready for an alias; -1 where there is no such alias."""
    runtimes = (here.world.runtimes[region] for region in REGIONS)
    return [r.scaling(DRAW, alias).target if r.functions[DRAW].aliases.get(alias) else -1 for r in runtimes]


def rows(here: Site) -> list[WarmthRow]:
    with here.state.read() as conn:
        found = (prewarms.find(conn, binding.name, alias) for binding in BINDINGS for alias in ("next", "before"))
        return [row for row in found if row is not None]


def kinds(here: Site, release_id: str) -> list[str]:
    return [event.kind for event in here.events(release_id)]


def operate(here: Site, region: str, alias: str, least: int) -> Scaling:
    """Somebody else's instances on an alias."""
    runtime = here.world.runtimes[region]
    runtime.scale(DRAW, alias, {}, least=least)
    return runtime.scaling(DRAW, alias)


# Before a probe.


def test_instances_are_held_ready_for_the_version_before_it_is_probed(warm: Site, world: World) -> None:
    seen: list[tuple[AliasState, int]] = []
    runtime = world.runtimes["hangzhou"]
    answers = runtime.answers

    def answered(change: Any) -> bytes:
        seen.append((runtime.read(DRAW, "next"), runtime.scaling(DRAW, "next").current))
        return answers(change)

    runtime.answers = answered
    release_id = released(warm, "v1")
    assert seen[0] == (AliasState("1"), 2)
    assert kinds(warm, release_id).count("warmth.wanted") == 2


def test_a_probe_waits_until_all_have_come(warm: Site, world: World) -> None:
    world.runtimes["singapore"].instances_max = 1
    world.deliver(SDXL, "v1")
    release = publish(warm.requester, SDXL, "v1")
    warm.settle()
    step = warm.steps(release.id)["probe/draw-sg"]
    assert "draw:1: 1 of 2 instances are ready: no more instances are available" in step.reason
    assert step.failures == 0, "waiting is no failure"
    assert warm.flips(release.id)["draw-sg"].phase is FlipPhase.STAGED
    assert world.alias("hangzhou") == AliasState(None), "nothing moves before all regions are ready"
    world.runtimes["singapore"].instances_max = 9
    warm.settle(patient=True)
    assert warm.release(release.id).phase is R.LIVE


def test_instances_that_do_not_come_in_time_stall_the_release_and_go(warm: Site, world: World) -> None:
    world.runtimes["singapore"].instances_max = 0
    world.deliver(SDXL, "v1")
    release = publish(warm.requester, SDXL, "v1")
    warm.settle()
    world.time += timedelta(seconds=61)
    warm.settle(patient=True)
    ended = warm.release(release.id)
    assert ended.phase is R.STALLED
    assert "0 of 2 instances are ready: no more instances are available, after 6" in ended.reason
    assert "warm = 0" in ended.hint
    release_prewarmed(warm.context)
    assert held(warm, "next") == [0, 0]
    assert rows(warm) == []


def test_a_function_that_wants_no_warmth_is_asked_for_none(here: Site) -> None:
    release_id = released(here, "v1")
    assert held(here, "next") == [0, 0]
    assert rows(here) == []
    assert "warmth.wanted" not in kinds(here, release_id)


def test_a_rollback_does_not_wait_for_instances(warm: Site, world: World) -> None:
    released(warm, "v1")
    released(warm, "v2")
    release_prewarmed(warm.context)
    for runtime in world.runtimes.values():
        runtime.instances_max = 0
    back = rollback(warm.requester, SDXL, "bad eyes")
    warm.settle()
    assert warm.release(back.id).phase is R.LIVE
    warm.assert_record_is_true()


# After it.


def end_live(here: Site) -> str:
    return released(here, "v1")


def probed(here: Site) -> str:
    """A release whose instances are held ready, and that has not flipped."""
    here.world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.until(R.STAGING, release.id)
    while len(rows(here)) < 2:
        tick(here.context)
        here.run_one()
    assert held(here, "next") == [2, 2]
    return release.id


def end_cancelled(here: Site) -> str:
    release_id = probed(here)
    cancel(here.requester, release_id, "wrong eyes")
    return release_id


def end_stalled(here: Site) -> str:
    release_id = probed(here)
    hold(here.requester, SDXL, "wait")
    return release_id


def end_superseded(here: Site) -> str:
    release_id = probed(here)
    here.world.deliver(SDXL, "v2")
    here.world.runtimes["hangzhou"].instances_max = 0  # so that the newer one does not go live by itself
    publish(here.requester, SDXL, "v2")
    return release_id


def end_undone(here: Site) -> str:
    release_id = probed(here)
    here.until(R.FLIPPING, release_id)
    with here.state.write() as conn:
        advance(conn, releases.get(conn, release_id), R.UNDOING, now=here.world.now(conn), reason="a flip failed")
    return release_id


@pytest.mark.parametrize(
    ("end", "phase"),
    [
        (end_live, R.LIVE),
        (end_cancelled, R.CANCELLED),
        (end_stalled, R.STALLED),
        (end_undone, R.UNDONE),
    ],
)
def test_whatever_the_end_the_instances_are_let_go(warm: Site, end: Callable[[Site], str], phase: ReleasePhase) -> None:
    release_id = end(warm)
    warm.settle()
    assert warm.release(release_id).phase is phase
    assert release_prewarmed(warm.context) == 2
    assert held(warm, "next") == [0, 0]
    assert rows(warm) == []
    assert kinds(warm, release_id).count("warmth.removed") == 2
    assert release_prewarmed(warm.context) == 0


def test_a_newer_release_takes_the_instances_over(warm: Site) -> None:
    old = end_superseded(warm)
    warm.settle()
    assert warm.release(old).phase is R.SUPERSEDED
    assert release_prewarmed(warm.context) == 0, "they are another's now"
    assert {row.release_id for row in rows(warm)} == {"r-2"}
    warm.world.runtimes["hangzhou"].instances_max = 9
    warm.settle(patient=True)
    release_prewarmed(warm.context)
    assert held(warm, "next") == [0, 0]


def test_what_hung_on_the_candidate_before_is_put_back(warm: Site) -> None:
    released(warm, "v1")
    release_prewarmed(warm.context)
    theirs = operate(warm, "hangzhou", "next", 1)
    release_id = released(warm, "v2")
    assert held(warm, "next") == [2, 2]
    assert {row.release_id for row in rows(warm)} == {release_id}
    release_prewarmed(warm.context)
    assert held(warm, "next") == [1, 0]
    assert warm.world.runtimes["hangzhou"].scaling(DRAW, "next") == theirs


def test_instances_stay_until_those_of_the_callers_alias_have_come(warm: Site, world: World) -> None:
    released(warm, "v1")
    release_prewarmed(warm.context)
    operate(warm, "hangzhou", "prod", 4)
    released(warm, "v2")
    world.runtimes["hangzhou"].instances_max = 3
    release_prewarmed(warm.context)
    assert held(warm, "next") == [2, 0]
    world.time += timedelta(seconds=61)
    release_prewarmed(warm.context)
    assert held(warm, "next") == [0, 0], "not for longer than they may take"


def test_what_cannot_be_let_go_now_is_let_go_later(warm: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    released(warm, "v1")

    def refuse(*_: object, **__: object) -> None:
        raise Unavailable("throttled")

    with monkeypatch.context() as patched:
        patched.setattr(warm.world.runtimes["hangzhou"], "scale", refuse)
        assert release_prewarmed(warm.context) == 1
        assert [(row.binding, row.cooling) for row in rows(warm)] == [("draw-hz", True)]
    assert release_prewarmed(warm.context) == 1
    assert rows(warm) == []


def test_a_release_waits_for_what_is_being_let_go(warm: Site) -> None:
    released(warm, "v1")
    with warm.state.write() as conn:
        assert prewarms.releasing(conn, rows(warm)[0])
    warm.world.deliver(SDXL, "v2")
    release = publish(warm.requester, SDXL, "v2")
    warm.settle()
    assert "are being released" in warm.steps(release.id)["probe/draw-hz"].reason
    release_prewarmed(warm.context)
    warm.settle(patient=True)
    assert warm.release(release.id).phase is R.LIVE


def test_a_candidate_that_was_deleted_by_hand_holds_nothing(warm: Site) -> None:
    released(warm, "v1")
    for runtime in warm.world.runtimes.values():
        del runtime.functions[DRAW].aliases["next"]
    assert release_prewarmed(warm.context) == 2
    assert rows(warm) == []


def test_instances_of_a_region_that_is_not_configured_any_more_stay_in_the_record(warm: Site) -> None:
    released(warm, "v1")
    there = site(warm.world, warm.state, runtimes={"hangzhou": warm.world.runtimes["hangzhou"]})
    assert release_prewarmed(there.context) == 1
    assert [row.binding for row in rows(there)] == ["draw-sg"]


# The version before.


def test_the_version_before_is_held_ready_for_a_while(warm: Site, world: World) -> None:
    released(warm, "v1")
    assert held(warm, "before") == [-1, -1], "there was none before the first"
    released(warm, "v2")
    release_prewarmed(warm.context)
    assert held(warm, "before") == [2, 2]
    assert [world.alias(region, "before") for region in REGIONS] == [AliasState("1"), AliasState("1")]
    world.time += timedelta(seconds=HALF_HOUR_S - 60)
    release_prewarmed(warm.context)
    assert held(warm, "before") == [2, 2]
    world.time += timedelta(seconds=61)
    assert release_prewarmed(warm.context) == 2
    assert held(warm, "before") == [-1, -1]


def test_the_next_release_holds_its_own_version_before(warm: Site, world: World) -> None:
    for version in ("v1", "v2", "v3"):
        released(warm, version)
    assert [world.alias(region, "before") for region in REGIONS] == [AliasState("2"), AliasState("2")]
    assert {row.release_id for row in rows(warm) if row.made} == {"r-3"}
    world.time += timedelta(seconds=HALF_HOUR_S + 60)
    release_prewarmed(warm.context)
    assert held(warm, "before") == [-1, -1]


def test_what_a_rollback_leaves_is_not_held_ready(warm: Site, world: World) -> None:
    released(warm, "v1")
    released(warm, "v2")
    world.time += timedelta(seconds=HALF_HOUR_S + 60)
    release_prewarmed(warm.context)
    rollback(warm.requester, SDXL, "bad eyes")
    warm.settle()
    assert held(warm, "before") == [-1, -1]


def test_an_alias_of_somebody_elses_is_left_alone_and_the_flip_goes_on(warm: Site, world: World) -> None:
    released(warm, "v1")
    world.runtimes["hangzhou"].functions[DRAW].aliases["before"] = AliasState("1")
    theirs = operate(warm, "hangzhou", "before", 7)
    released(warm, "v2")
    world.time += timedelta(seconds=HALF_HOUR_S + 60)
    release_prewarmed(warm.context)
    assert world.runtimes["hangzhou"].scaling(DRAW, "before") == theirs
    assert held(warm, "before") == [7, -1]


# What a flip loses.


@pytest.fixture
def losing(warm: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A platform on which a flip of `prod` takes what hung there with it."""
    for runtime in warm.world.runtimes.values():
        monkeypatch.setattr(runtime, "flip", forgetful(runtime))
    return warm


def forgetful(runtime: MemoryRuntime) -> Callable[..., AliasState]:
    flip = runtime.flip

    @wraps(flip)
    def moved(function: str, alias: str, to: str | None, expect: str | None) -> AliasState:
        after = flip(function, alias, to, expect)
        if alias == "prod":
            runtime.functions[function].scaling.pop(alias, None)
        return after

    return moved


def test_what_hung_on_the_alias_of_the_callers_is_put_back_when_a_flip_loses_it(losing: Site) -> None:
    released(losing, "v1")
    theirs = operate(losing, "hangzhou", "prod", 3)
    release_id = released(losing, "v2")
    assert held(losing, "prod") == [0, 0]
    release_prewarmed(losing.context)
    assert losing.world.runtimes["hangzhou"].scaling(DRAW, "prod") == theirs
    assert held(losing, "prod") == [3, 0]
    (mended,) = [event for event in losing.events(release_id) if event.kind == "binding.scaling_mended"]
    assert (mended.subject, mended.detail["lost"]) == ("draw-hz", ["scaling"])
    losing.world.runtimes["hangzhou"].scale(DRAW, "prod", {})
    release_prewarmed(losing.context)
    assert held(losing, "prod") == [0, 0], "after that it is the owner's to take away"


def test_what_an_undo_loses_is_put_back_too(losing: Site) -> None:
    released(losing, "v1")
    operate(losing, "hangzhou", "prod", 3)
    losing.world.deliver(SDXL, "v2")
    release = publish(losing.requester, SDXL, "v2")
    losing.until(R.FLIPPING, release.id)
    while losing.flips(release.id)["draw-hz"].phase is not FlipPhase.FLIPPED:
        losing.run_one(release.id)
    release_prewarmed(losing.context)
    assert held(losing, "prod") == [3, 0], "while the other regions are not there yet"
    with losing.state.write() as conn:
        advance(conn, releases.get(conn, release.id), R.UNDOING, now=losing.world.now(conn), reason="a flip failed")
    losing.settle()
    assert held(losing, "prod") == [0, 0]
    release_prewarmed(losing.context)
    assert held(losing, "prod") == [3, 0]


def test_what_was_changed_meanwhile_is_left_as_it_is(warm: Site) -> None:
    released(warm, "v1")
    operate(warm, "hangzhou", "prod", 3)
    released(warm, "v2")
    warm.world.runtimes["hangzhou"].scale(DRAW, "prod", {}, least=1)
    assert release_prewarmed(warm.context) == 2, "the candidates' instances, and nothing else"
    assert held(warm, "prod") == [1, 0]


def test_a_key_that_may_not_look_at_what_hangs_there_is_no_reason_not_to_release(
    here: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Scaling:
        raise Refused("fc:GetScalingConfig is not allowed")

    for runtime in world.runtimes.values():
        monkeypatch.setattr(runtime, "scaling", refuse)
    released(here, "v1")
    assert release_prewarmed(here.context) == 0


def test_an_alias_or_a_binding_that_went_away_after_the_flip_has_nothing_to_be_mended(losing: Site) -> None:
    released(losing, "v1")
    for region in REGIONS:
        operate(losing, region, "prod", 3)
    released(losing, "v2")
    del losing.world.runtimes["hangzhou"].functions[DRAW].aliases["prod"]
    bindings = {name: binding for name, binding in losing.context.topology.bindings.items() if name != "draw-sg"}
    there = site(losing.world, losing.state, topology=replace(FLEET, bindings=bindings))
    assert release_prewarmed(there.context) == 2, "the candidates' instances, and nothing else"
    assert held(there, "prod") == [-1, 0]
    assert release_prewarmed(there.context) == 0


# Whoever dies when.


class Died(BaseException):
    """The process is gone: nothing of it goes on, and nothing it holds is put away."""


class Mortal:
    """A runtime whose process dies right before, or right after, its n-th effect on an alias that holds warmth."""

    def __init__(self, inner: MemoryRuntime, budget: Iterator[int], last: int) -> None:
        self._inner, self._budget, self._last = inner, budget, last

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in {"scale", "flip"}:
            return found

        @wraps(found)
        def effect(*given: Any, **more: Any) -> Any:
            if given[1] == "prod":  # other tests kill the process there
                return found(*given, **more)
            self._step()
            result = found(*given, **more)
            self._step()
            return result

        return effect

    def _step(self) -> None:
        if next(self._budget) == self._last:
            raise Died


def survived(here: Site, last: int) -> bool:
    """Go on with a release in a process that dies at an effect, then in another one. Whether it died."""
    budget = iter(range(10_000))
    runtimes = {name: Mortal(runtime, budget, last) for name, runtime in here.world.runtimes.items()}
    mortal = warm_site(here, WARMTH, runtimes=runtimes, owner="mortal")
    died = False
    try:
        mortal.settle(patient=True)
        release_prewarmed(mortal.context)
    except Died:
        died = True
    known = {(row.binding, row.alias) for row in rows(here)}
    for alias in ("next", "before"):
        out_there = {binding.name for binding, count in zip(BINDINGS, held(here, alias), strict=True) if count > 0}
        assert {(name, alias) for name in out_there} <= known, "what may be out there is in the record"
    after = warm_site(here, WARMTH, owner="after")
    here.world.time += timedelta(seconds=60)  # the leases of the dead are over
    after.settle(patient=True)
    assert after.release("r-2").phase is R.LIVE
    here.world.time += timedelta(seconds=HALF_HOUR_S + 60)
    release_prewarmed(after.context)
    assert (held(after, "next"), held(after, "before"), rows(after)) == ([0, 0], [-1, -1], [])
    after.assert_record_is_true()
    return died


def test_no_death_at_any_effect_leaves_instances_behind(warm: Site, world: World, tmp_path: Path) -> None:
    released(warm, "v1")
    release_prewarmed(warm.context)
    world.deliver(SDXL, "v2")
    warm.until(R.STAGING, publish(warm.requester, SDXL, "v2").id)
    warm.state.close()
    deaths = 0
    while run_on_a_copy(tmp_path, world, deaths):
        deaths += 1
    assert deaths >= 20, "candidates and versions before, put and removed, in two regions"


def run_on_a_copy(tmp_path: Path, before: World, last: int) -> bool:
    database = tmp_path / f"{last}.db"
    shutil.copyfile(tmp_path / "state.db", database)
    world = World(before.root, time=before.time + timedelta(seconds=60))
    for target, store in world.stores.items():
        store.objects.update(before.stores[target].objects)
    for region, runtime in world.runtimes.items():
        runtime.functions.update(copy.deepcopy(before.runtimes[region].functions))
    state = State(f"sqlite:///{database}", now=world.now)
    try:
        return survived(warm_site(site(world, state), WARMTH), last)
    finally:
        state.close()
