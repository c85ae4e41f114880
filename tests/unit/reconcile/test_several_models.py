"""Several models on one function: releases of them take turns, and none takes another's version away."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from syncd.daemon.process import Process
from syncd.daemon.settings import DEFAULT_SLOTS, ProcessSettings
from syncd.engine.memory import MemoryEngine
from syncd.plan.binding import BoundModel, MountMode
from syncd.plan.phases import ReleasePhase
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.requests.rollbacks import rollback
from syncd.runtime.memory import Published
from syncd.state.serving import live
from syncd.state.state import State
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, LORA, SDXL, Site, World, site
from tests.unit.reconcile.test_compare import live_now

PATIENCE_S = 60.0
SETTINGS = ProcessSettings(tick_s=0.02, drain_s=10.0, auto_release=False, polls=(), slots=DEFAULT_SLOTS)


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


def both(here: Site, sdxl: str, lora: str) -> list[str]:
    return sorted([here.digest(SDXL, sdxl), here.digest(LORA, lora)])


def asked(here: Site, world: World, model: str, version: str) -> str:
    world.deliver(model, version)
    return publish(here.requester, model, version).id


def test_two_releases_at_once_take_turns_and_both_are_live(here: Site, world: World) -> None:
    first, second = asked(here, world, SDXL, "v1"), asked(here, world, LORA, "v1")
    here.until(ReleasePhase.STAGING, first)
    here.settle()
    assert {here.release(each).phase for each in (first, second)} == {ReleasePhase.LIVE}
    assert world.serves("hangzhou") == both(here, "v1", "v1")
    here.assert_record_is_true()


def test_the_one_that_waits_says_for_whom(here: Site, world: World) -> None:
    first, second = asked(here, world, SDXL, "v1"), asked(here, world, LORA, "v1")
    here.until(ReleasePhase.FLIPPING, first)
    here.until(ReleasePhase.STAGING, second)
    tick(here.context)
    assert here.release(second).reason == f"waits for {first}, which is moving an alias this release needs"
    here.settle()
    assert here.release(second).phase is ReleasePhase.LIVE


@pytest.mark.parametrize(("back", "sdxl", "lora"), [(SDXL, "v1", "v2"), (LORA, "v2", "v1")])
def test_a_rollback_of_one_leaves_the_other_as_it_is(here: Site, world: World, back: str, sdxl: str, lora: str) -> None:
    for model in (SDXL, LORA):
        for version in ("v1", "v2"):
            live_now(here, world, model, version)
    release = rollback(here.requester, back, "bad eyes")
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE
    assert world.serves("hangzhou") == both(here, sdxl, lora)
    here.assert_record_is_true()


def test_a_rollback_of_one_while_the_other_is_released_loses_neither(here: Site, world: World) -> None:
    for version in ("v1", "v2"):
        live_now(here, world, SDXL, version)
    live_now(here, world, LORA, "v1")
    forward = asked(here, world, LORA, "v2")
    here.until(ReleasePhase.FLIPPING, forward)
    back = rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    assert {here.release(each).phase for each in (forward, back.id)} == {ReleasePhase.LIVE}
    assert world.serves("hangzhou") == both(here, "v1", "v2")
    assert world.serves("singapore") == [here.digest(SDXL, "v1")]
    here.assert_record_is_true()


def test_one_that_is_taken_back_in_the_middle_takes_only_its_own_back(here: Site, world: World) -> None:
    live_now(here, world, SDXL, "v1")
    live_now(here, world, LORA, "v1")
    forward = asked(here, world, SDXL, "v2")
    waits = asked(here, world, LORA, "v2")
    here.until(ReleasePhase.FLIPPING, forward)
    tick(here.context)
    here.run_one(forward)
    rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    assert here.release(forward).phase is ReleasePhase.UNDONE
    assert here.release(waits).phase is ReleasePhase.LIVE
    assert world.serves("hangzhou") == both(here, "v1", "v2")
    here.assert_record_is_true()


def undone_first(here: Site, world: World, model: str) -> None:
    """The first release of a model moves its alias, and is taken back."""
    release = asked(here, world, model, "v1")
    here.until(ReleasePhase.FLIPPING, release)
    tick(here.context)
    here.run_one(release)
    rollback(here.requester, model, "bad eyes")
    here.settle()
    assert here.release(release).phase is ReleasePhase.UNDONE


def test_a_first_release_that_was_undone_is_not_served_by_the_next_one_of_another_model(
    here: Site, world: World
) -> None:
    undone_first(here, world, SDXL)
    assert world.alias("hangzhou") == AliasState(None)
    live_now(here, world, LORA, "v1")
    assert world.serves("hangzhou") == [here.digest(LORA, "v1")]
    here.assert_record_is_true()


def test_what_the_alias_served_before_syncd_is_there_after_the_next_release_of_another_model(
    here: Site, world: World
) -> None:
    """A person had put the model there, and syncd's own first release of it was undone."""
    (bound,) = [each for each in here.context.topology.bindings["draw-hz"].models if each.model == SDXL]
    function = world.runtimes["hangzhou"].functions[DRAW]
    theirs = {**function.latest.environment, bound.digest_variable: "theirs"}
    function.latest = replace(function.latest, environment=theirs)
    function.published_last += 1
    served = str(function.published_last)
    function.versions[served] = Published(function.latest, "theirs")
    function.aliases["prod"] = AliasState(served)
    undone_first(here, world, SDXL)
    assert world.alias("hangzhou") == AliasState(served)
    for version in ("v1", "v2"):  # the second time syncd staged itself what serves
        live_now(here, world, LORA, version)
        now = function.versions[world.alias("hangzhou").function_version or ""].change
        assert now.environment[bound.digest_variable] == "theirs"
        assert not [mount for mount in now.mounts if mount.mount_dir == bound.mount_dir]


def test_an_undone_model_that_an_older_syncd_had_published_again_goes_with_the_next_release(
    here: Site, world: World
) -> None:
    undone_first(here, world, SDXL)
    live_now(here, world, LORA, "v1")
    function = world.runtimes["hangzhou"].functions[DRAW]
    leaked = {**function.latest.environment, "SDXL_DIGEST": here.digest(SDXL, "v1"), "SDXL_VERSION": "v1"}
    function.latest = replace(function.latest, environment=leaked)
    served = world.alias("hangzhou").function_version or ""
    function.versions[served] = replace(function.versions[served], change=function.latest)
    assert len(world.serves("hangzhou")) == 2
    live_now(here, world, LORA, "v2")
    assert world.serves("hangzhou") == [here.digest(LORA, "v2")]
    now = function.versions[world.alias("hangzhou").function_version or ""].change
    assert "SDXL_VERSION" not in now.environment


def test_a_function_version_that_another_binding_staged_is_syncds_own(here: Site, world: World) -> None:
    """An alias that a person moved there serves an undone model: the next release of another one ends that."""
    first = here.context.topology.bindings["draw-hz"]
    bound = BoundModel(SDXL, "hz", MountMode.VERSION, "/mnt/other", "OTHER_DIGEST")
    second = replace(first, name="other-hz", alias="other", candidate="other-next", models=(bound,))
    topology = replace(here.context.topology, bindings={**here.context.topology.bindings, second.name: second})
    here = site(world, here.state, topology=topology)
    undone_first(here, world, SDXL)
    function = world.runtimes["hangzhou"].functions[DRAW]
    with here.state.read() as conn:
        (staged,) = live.function_versions(conn, second.name)
        assert live.function_version(conn, first.name, staged.function_version) is None
    assert "SDXL_DIGEST" in function.versions[staged.function_version].change.environment
    function.aliases["prod"] = AliasState(staged.function_version)
    live_now(here, world, LORA, "v1")
    now = function.versions[world.alias("hangzhou").function_version or ""].change
    assert "SDXL_DIGEST" not in now.environment


def carried(there: Site) -> None:
    """A daemon's life, until nothing is in flight."""
    deadline = time.monotonic() + PATIENCE_S

    def all_ended() -> bool:
        assert time.monotonic() < deadline
        return not there.unfinished()

    Process(there.context, SETTINGS, sole=True).run(all_ended)


def test_the_daemons_own_threads_bring_both_to_every_region(
    world: World, tmp_path: Path, sqlite_template: Path
) -> None:
    """Four releases of two models, asked for at once, carried by sixteen slots."""
    (tmp_path / "state.db").write_bytes(sqlite_template.read_bytes())
    state = State(f"sqlite:///{tmp_path / 'state.db'}")
    there = site(world, state, engine=MemoryEngine())
    try:
        for version in ("v1", "v2"):
            ids = [asked(there, world, model, version) for model in (SDXL, LORA)]
            carried(there)
            there = site(world, state, engine=MemoryEngine())
            assert {there.release(each).phase for each in ids} == {ReleasePhase.LIVE}
        assert world.serves("hangzhou") == both(there, "v2", "v2")
        assert world.alias("singapore") != AliasState(None)
        there.assert_record_is_true()
        # One that fails for a moment gives its aliases to the other and stages anew over what that moved, so the number
        # of function versions depends on the machine; that none of them is published twice does not.
        published = [each.change for each in world.runtimes["hangzhou"].functions[DRAW].versions.values()]
        assert all(published.count(change) == 1 for change in published)
    finally:
        state.close()
