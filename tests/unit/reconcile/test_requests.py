"""Requests of people and pipelines, and their outcomes."""

from __future__ import annotations

import pytest
from syncd.errors import Conflict, Held, Invalid, NotFound
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import hold, publish, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.values.function import AliasState

from tests.support.rooms import DRAW, LORA, SDXL, Site, World, look


@pytest.fixture
def here(on_each: Site) -> Site:
    return on_each


def released(here: Site, world: World, model: str, *names: str) -> None:
    for name in names:
        world.deliver(model, name)
        release = publish(here.requester, model, name)
        here.settle()
        assert here.release(release.id).phase is ReleasePhase.LIVE


def test_publishing_twice_while_it_is_under_way_is_one_release(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    first = publish(here.requester, SDXL, "v1")
    assert publish(here.requester, SDXL, "v1").id == first.id
    here.until(ReleasePhase.FLIPPING, first.id)
    assert publish(here.requester, SDXL, "v1").id == first.id


def test_a_model_that_nobody_serves_is_refused_with_those_that_are(here: Site) -> None:
    for wish in (publish, rollback, hold):
        with pytest.raises(NotFound) as caught:
            wish(here.requester, "other", "v1")
        assert caught.value.hint == "models with bindings: lora, sdxl"


def test_names_are_parsed_at_the_door(here: Site) -> None:
    with pytest.raises(Invalid):
        publish(here.requester, SDXL, "../v1")


def test_a_held_model_is_not_published_until_a_person_lets_go(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    first = hold(here.requester, SDXL, "bad eyes")
    assert hold(here.requester, SDXL, "another reason").why == first.why == "bad eyes"
    with pytest.raises(Held, match="ops: bad eyes") as caught:
        publish(here.requester, SDXL, "v1")
    assert "unhold sdxl" in caught.value.hint
    assert unhold(here.requester, SDXL)
    assert not unhold(here.requester, SDXL)
    publish(here.requester, SDXL, "v1")


def test_a_hold_stops_a_release_that_has_moved_nothing(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.until(ReleasePhase.STAGING, release.id)
    hold(here.requester, SDXL, "bad eyes")
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.STALLED
    assert here.world.alias("hangzhou") == AliasState(None)


def test_a_rollback_goes_to_what_was_live_before_without_moving_a_byte(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1", "v2")
    versions = len(world.runtimes["singapore"].functions[DRAW].versions)
    sent = {name: set(store.objects) for name, store in world.stores.items()}
    back = rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    assert here.release(back.id).phase is ReleasePhase.LIVE
    assert world.serves("singapore") == [here.digest(SDXL, "v1")]
    assert len(world.runtimes["singapore"].functions[DRAW].versions) == versions, "it is staged still"
    assert {name: set(store.objects) for name, store in world.stores.items()} == sent
    assert not any(name.startswith("place") for name in here.steps(back.id))
    here.assert_record_is_true()


def test_a_rollback_is_a_hold_that_no_poll_and_no_pipeline_passes(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1", "v2")
    rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    world.deliver(SDXL, "v3")
    assert look(here.context, "models", auto_release=True) == []
    with pytest.raises(Held):
        publish(here.requester, SDXL, "v3")


def test_a_second_rollback_goes_further_back_and_one_too_many_finds_nothing(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1", "v2", "v3")
    for version in ("v2", "v1"):
        rollback(here.requester, SDXL, "")
        here.settle()
        assert world.serves("singapore") == [here.digest(SDXL, version)]
    with pytest.raises(NotFound, match="no earlier version") as caught:
        rollback(here.requester, SDXL, "")
    assert caught.value.hint


def test_nothing_to_go_back_to_leaves_no_hold(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    with pytest.raises(NotFound):
        rollback(here.requester, SDXL, "")
    publish(here.requester, SDXL, "v1")


def test_a_rollback_in_the_middle_of_the_flips_takes_them_back(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    world.deliver(SDXL, "v2")
    release = publish(here.requester, SDXL, "v2")
    here.until(ReleasePhase.FLIPPING, release.id)
    tick(here.context)
    here.run_one()
    moved = {flip.phase for flip in here.flips(release.id).values()}
    assert moved == {FlipPhase.FLIPPED, FlipPhase.PROBED}
    assert rollback(here.requester, SDXL, "bad eyes").id == release.id
    assert rollback(here.requester, SDXL, "again").id == release.id
    here.settle()
    undone = here.release(release.id)
    assert undone.phase is ReleasePhase.UNDONE
    assert "bad eyes" in undone.reason
    assert {flip.phase for flip in here.flips(release.id).values()} == {FlipPhase.UNDONE, FlipPhase.ABANDONED}
    assert world.serves("hangzhou") == world.serves("singapore") == [here.digest(SDXL, "v1")]
    here.assert_record_is_true()
    with pytest.raises(Held):
        publish(here.requester, SDXL, "v2")


def test_a_first_release_that_is_taken_back_leaves_no_alias(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.until(ReleasePhase.FLIPPING, release.id)
    tick(here.context)
    here.run_one()
    rollback(here.requester, SDXL, "")
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.UNDONE
    assert world.alias("hangzhou") == world.alias("singapore") == AliasState(None)
    here.assert_record_is_true()


def test_a_rollback_under_way_is_not_begun_twice(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1", "v2")
    back = rollback(here.requester, SDXL, "")
    here.until(ReleasePhase.FLIPPING, back.id)
    assert rollback(here.requester, SDXL, "").id == back.id
    assert here.release(back.id).phase is ReleasePhase.FLIPPING


def test_a_rollback_asked_for_twice_before_it_moves_goes_back_once(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1", "v2", "v3")
    for _ in range(2):
        rollback(here.requester, SDXL, "in a hurry")
    here.settle()
    assert world.serves("singapore") == [here.digest(SDXL, "v2")]


def test_what_waits_is_superseded_by_a_rollback(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1", "v2")
    world.deliver(SDXL, "v3")
    waiting = publish(here.requester, SDXL, "v3")
    here.until(ReleasePhase.STAGING, waiting.id)
    rollback(here.requester, SDXL, "")
    here.settle()
    assert here.release(waiting.id).phase is ReleasePhase.SUPERSEDED
    assert world.serves("hangzhou") == [here.digest(SDXL, "v1")]


def test_rolling_back_one_model_leaves_the_other_of_the_function(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1", "v2")
    released(here, world, LORA, "v1", "v2")
    rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    assert world.serves("hangzhou") == sorted([here.digest(SDXL, "v1"), here.digest(LORA, "v2")])
    rollback(here.requester, LORA, "too")
    here.settle()
    assert world.serves("hangzhou") == sorted([here.digest(SDXL, "v1"), here.digest(LORA, "v1")])
    here.assert_record_is_true()


def test_a_quarantined_version_is_not_published_again(here: Site, world: World) -> None:
    released(here, world, SDXL, "v1")
    world.change(SDXL, "v1", "other bytes")
    look(here.context, "models", auto_release=False)
    with pytest.raises(Conflict, match="quarantined") as caught:
        publish(here.requester, SDXL, "v1")
    assert caught.value.hint
