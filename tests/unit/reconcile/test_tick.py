"""One pass over the unfinished releases, and the walk of many."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from syncd.engine.base import ExecutionStatus
from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.routing import Routing
from syncd.reconcile.controller.tick import UNHEARD_S, tick
from syncd.reconcile.requests.operations import publish
from syncd.state.records import Release
from syncd.state.releases import steps

from tests.support.rooms import LEASE_S, LORA, SDXL, Site, World


@pytest.fixture
def here(on_each: Site) -> Site:
    return on_each


def phases_told(here: Site, release_id: str) -> list[str]:
    return [event.kind for event in here.events(release_id) if event.kind.startswith("release.")]


def test_a_wish_goes_live_in_every_region(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE
    assert {p.phase for p in here.placements(SDXL, "v1").values()} == {PlacementPhase.SEALED}
    assert set(here.flips(release.id)) == {"draw-hz", "draw-sg"}
    for region in ("hangzhou", "singapore"):
        assert world.serves(region) == [here.digest(SDXL, "v1")]
    here.assert_record_is_true()


def test_every_phase_has_its_event(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.settle()
    assert phases_told(here, release.id) == [
        f"release.{word}" for word in ("requested", "pinned", "placing", "staging", "flipping", "live")
    ]
    told = [event.kind for event in here.events(release.id)]
    for kind in ("claimed", "staged", "probed", "intended", "flipped", "done"):
        assert told.count(f"flip.{kind}") == 2
    assert told.index("flip.intended") > max(n for n, kind in enumerate(told) if kind == "flip.probed")


def test_a_pass_with_nothing_to_do_writes_nothing(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    here.settle()
    before = len(here.events())
    assert not tick(here.context)
    assert len(here.events()) == before


def test_a_second_pass_right_after_hands_nothing_over_twice(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    tick(here.context)
    tick(here.context)
    assert len(here.engine.waiting()) == 1


def test_older_releases_run_before_newer_ones(here: Site, world: World) -> None:
    world.deliver(LORA, "v1")
    world.deliver(SDXL, "v1")
    first, second = publish(here.requester, LORA, "v1"), publish(here.requester, SDXL, "v1")
    tick(here.context)
    assert [step_id.partition("/")[0] for step_id, _ in here.engine.waiting()] == [first.id, second.id]


def test_a_draining_process_begins_nothing_and_goes_on_later(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    here.context.draining.set()
    tick(here.context)
    assert here.engine.waiting() == []
    here.context.draining.clear()
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE


def test_a_newer_release_takes_the_place_of_one_that_moved_nothing(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    world.deliver(SDXL, "v2")
    older = publish(here.requester, SDXL, "v1")
    here.until(ReleasePhase.STAGING, older.id)
    tick(here.context)
    newer = publish(here.requester, SDXL, "v2")
    here.settle()
    assert here.release(older.id).phase is ReleasePhase.SUPERSEDED
    assert newer.id in here.release(older.id).reason
    assert {flip.phase for flip in here.flips(older.id).values()} == {FlipPhase.ABANDONED}
    assert {step.state for step in here.steps(older.id).values()} <= {StepState.DONE, StepState.CANCELLED}
    assert here.release(newer.id).phase is ReleasePhase.LIVE
    assert world.serves("singapore") == [here.digest(SDXL, "v2")]


def test_a_newer_release_waits_for_aliases_that_are_moving(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    world.deliver(SDXL, "v2")
    older = publish(here.requester, SDXL, "v1")
    here.until(ReleasePhase.FLIPPING, older.id)
    newer = publish(here.requester, SDXL, "v2")
    here.settle()
    assert here.release(older.id).phase is ReleasePhase.LIVE
    assert here.release(newer.id).phase is ReleasePhase.LIVE
    assert world.serves("hangzhou") == [here.digest(SDXL, "v2")]
    here.assert_record_is_true()


def two_on_one_function(here: Site, world: World) -> tuple[Release, Release]:
    """Releases of two models, of which the second finds the alias taken."""
    made = []
    for model in (SDXL, LORA):
        world.deliver(model, "v1")
        made.append(publish(here.requester, model, "v1"))
        here.until(ReleasePhase.STAGING, made[-1].id)
        tick(here.context)
    return made[0], made[1]


def test_two_models_on_one_function_wait_for_each_other_and_neither_is_lost(here: Site, world: World) -> None:
    first, second = two_on_one_function(here, world)
    assert first.id in here.release(second.id).reason, "who looks is told whom it waits for"
    here.settle()
    assert here.release(second.id).reason == ""
    assert world.serves("hangzhou") == sorted([here.digest(SDXL, "v1"), here.digest(LORA, "v1")])
    assert world.serves("singapore") == [here.digest(SDXL, "v1")]
    here.assert_record_is_true()


def test_a_waiting_release_says_so_once(here: Site, world: World) -> None:
    _, second = two_on_one_function(here, world)
    noted = here.release(second.id)
    assert noted.reason
    tick(here.context)
    assert here.release(second.id) == noted


@pytest.mark.parametrize("lost", [ExecutionStatus.MISSING, ExecutionStatus.ENDED, ExecutionStatus.RUNNING])
def test_an_attempt_the_engine_lost_is_handed_over_again(here: Site, world: World, lost: ExecutionStatus) -> None:
    # RUNNING: a worker claimed it and died before its first word to the record.
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    tick(here.context)
    (key,) = here.engine.waiting()
    if lost is ExecutionStatus.MISSING:
        here.engine.known.clear()
    else:
        here.engine.known[key] = lost
    tick(here.context)
    assert here.engine.waiting() == [], "it may only be slow"
    world.time += timedelta(seconds=UNHEARD_S + 1)
    tick(here.context)
    assert here.engine.waiting() == [(key[0], key[1] + 1)]
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE


def test_an_attempt_that_waits_for_a_slot_is_left_on_its_queue(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    publish(here.requester, SDXL, "v1")
    tick(here.context)
    before = here.engine.waiting()
    world.time += timedelta(hours=3)
    tick(here.context)
    assert here.engine.waiting() == before


def test_a_step_whose_lease_ran_out_is_handed_over_again(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    tick(here.context)
    key = here.engine.take()
    assert key is not None
    with here.state.write() as conn:
        steps.begin(conn, *key, "killed", LEASE_S, here.state.now(conn))
    tick(here.context)
    assert here.engine.waiting() == []
    world.time += timedelta(seconds=LEASE_S + 1)
    tick(here.context)
    assert here.engine.waiting() == [(key[0], 2)]
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.LIVE


def test_a_step_that_failed_waits_for_its_time(here: Site, world: World) -> None:
    release = publish(here.requester, SDXL, "v1")  # which is not in the registry yet
    here.settle()
    assert here.release(release.id).phase is ReleasePhase.REQUESTED
    step = here.steps(release.id)["resolve/version"]
    assert (step.state, step.failures) == (StepState.WAITING, 1)
    assert step.reason
    world.deliver(SDXL, "v1")
    here.settle(patient=True)
    assert here.release(release.id).phase is ReleasePhase.LIVE


def test_a_step_that_never_works_stalls_the_release_with_a_reason(here: Site) -> None:
    release = publish(here.requester, SDXL, "v1")
    here.settle(patient=True)
    stalled = here.release(release.id)
    assert stalled.phase is ReleasePhase.STALLED
    assert "resolve" in stalled.reason


def test_what_one_step_reached_is_done_again_where_it_is_gone(here: Site, world: World) -> None:
    world.deliver(SDXL, "v1")
    first = publish(here.requester, SDXL, "v1")
    here.settle()
    world.stores["hz"].objects.clear()
    again = publish(here.requester, SDXL, "v1")
    assert again.id != first.id
    here.settle(patient=True)
    assert here.release(again.id).phase is ReleasePhase.LIVE
    assert here.digest(SDXL, "v1") in world.sealed("hz")
    here.assert_record_is_true()


def test_a_step_in_the_queue_of_a_worker_that_left_goes_on_with_the_controller(here: Site, world: World) -> None:
    served = {"control:hangzhou", "transfer:hangzhou"}
    routed = replace(here.context, routing=lambda _conn: Routing(frozenset(served)))
    world.deliver(SDXL, "v1")
    release = publish(here.requester, SDXL, "v1")
    tick(routed)
    assert here.run_one()
    tick(routed)
    queues = {step.subject: step.queue for step in here.steps(release.id).values() if step.kind is StepKind.PLACE}
    assert queues == {"region:hangzhou": "transfer:hangzhou", "targets": "transfer"}
    served.clear()
    world.time += timedelta(seconds=UNHEARD_S + 1)
    tick(routed)
    moved = here.steps(release.id)["place/region:hangzhou"]
    assert (moved.queue, moved.attempt, moved.state) == ("transfer", 2, StepState.QUEUED)
    assert here.engine.status(moved.id, 1) is ExecutionStatus.ENDED
    for _ in range(50):
        if not tick(routed) and not here.run_one():
            break
    assert here.release(release.id).phase is ReleasePhase.LIVE
    here.assert_record_is_true()
