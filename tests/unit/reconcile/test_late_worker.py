"""Stale writes: a worker that was paused for longer than its lease, right before it moved an alias."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from syncd.plan.drift import DriftPolicy
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.plan.strategy import Share, Strategy
from syncd.reconcile.drift.scan import DriftRules, scan
from syncd.reconcile.requests.operations import publish, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.values.function import AliasState

from tests.property.faulty import Faults, Paused, process
from tests.support.rooms import DRAW, LEASE_S, SDXL, Site
from tests.support.snapshots import live
from tests.unit.reconcile.test_steps import HZ, SG, by

ATTEMPTS_MAX = 16


R = ReleasePhase


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    live(on_sqlite, "v1")
    on_sqlite.world.deliver(SDXL, "v2")
    return on_sqlite


@contextmanager
def standing_still(here: Site, name: str, when: str = "before") -> Iterator[Paused]:
    """Another worker on the same record, which stands still at an effect for longer than its lease."""
    faults = Faults({})
    url = here.state.url.render_as_string()
    other = process(here.world, url, faults, "worker-2", engine=here.engine, strategies=here.context.strategies)
    paused = Paused(other, faults, (name, when), ATTEMPTS_MAX)
    assert faults.paused.is_set()
    here.world.time += timedelta(seconds=LEASE_S + 1)
    try:
        yield paused
    finally:
        other.state.close()


def back(here: Site, release_id: str) -> None:
    rollback(here.requester, SDXL, "bad eyes")
    here.settle(patient=True)
    assert here.release(release_id).phase is R.UNDONE


def newer(here: Site, phase: FlipPhase) -> str:
    """Let a third version in, and come to where each of its aliases is in this phase."""
    here.world.deliver(SDXL, "v3")
    unhold(here.requester, SDXL)
    third = publish(here.requester, SDXL, "v3")
    here.settle()
    assert {flip.phase for flip in here.flips(third.id).values()} == {phase}
    return third.id


def ends_live(here: Site, release_id: str) -> None:
    here.settle(patient=True)
    assert here.release(release_id).phase is R.LIVE
    here.assert_record_is_true()


def told(here: Site) -> list[dict[str, object]]:
    return [dict(event.detail) for event in here.events() if event.kind == "binding.put_right"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_went_back_meanwhile_is_not_left_on_the_new_version(here: Site, when: str) -> None:
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "move", when) as late:
        back(here, release.id)
        late.wake()
    here.assert_record_is_true()
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("1")
    assert told(here) == ([{"alias": "prod", "got": "2", "want": "1"}] if when == "before" else [])


def test_a_share_that_comes_too_late_is_taken_away(here: Site) -> None:
    here = by(here, Strategy(steps=(Share(10, 60.0),), judge_samples=1))
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "move") as late:
        back(here, release.id)
        late.wake()
    here.assert_record_is_true()
    assert told(here) == [{"alias": "prod", "got": "1, 10% to 2", "want": "1"}]


def test_an_undo_that_comes_too_late_does_not_take_back_what_was_released_again(here: Site) -> None:
    release = publish(here.requester, SDXL, "v2")
    here.until(R.FLIPPING, release.id)
    while not here.world.alias(HZ) == here.world.alias(SG) == AliasState("2"):
        here.run_one(release.id)
    rollback(here.requester, SDXL, "bad eyes")
    with standing_still(here, "move") as late:
        here.settle(patient=True)
        assert here.release(release.id).phase is R.UNDONE
        unhold(here.requester, SDXL)
        again = publish(here.requester, SDXL, "v2")
        here.settle(patient=True)
        assert here.release(again.id).phase is R.LIVE
        serves = here.world.alias(HZ)
        late.wake()
    assert here.world.alias(HZ) == serves
    here.assert_record_is_true()


def test_what_a_newer_release_is_about_to_move_from_is_put_back_under_it(here: Site) -> None:
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "move") as late:
        back(here, release.id)
        unhold(here.requester, SDXL)
        here.world.deliver(SDXL, "v3")
        third = publish(here.requester, SDXL, "v3")
        here.until(R.FLIPPING, third.id)
        late.wake()
        assert len(told(here)) == 1
        ends_live(here, third.id)


def test_what_the_newer_attempt_has_moved_is_left_where_it_is(here: Site) -> None:
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "move") as late:
        here.settle(patient=True)
        assert here.release(release.id).phase is R.LIVE
        late.wake()
    assert not told(here)
    assert here.world.alias(HZ) == AliasState("2")
    here.assert_record_is_true()


def test_what_somebody_moved_by_hand_is_not_moved_over_another_change(here: Site) -> None:
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "move") as late:
        back(here, release.id)
        publish_by_hand(here)
        late.wake()
    assert here.world.alias(HZ) == AliasState("9")
    assert not told(here)


def publish_by_hand(here: Site) -> None:
    function = here.world.runtimes[HZ].functions[DRAW]
    function.versions["9"] = function.versions["1"]
    function.aliases["prod"] = AliasState("9")


def test_where_it_cannot_be_put_back_the_next_round_tells_of_it(here: Site) -> None:
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "write") as late:
        back(here, release.id)
        late.faults.cut[HZ] = "after"
        late.wake()
    assert here.flips(release.id)["draw-hz"].phase is FlipPhase.UNDONE
    assert here.world.alias(HZ) == AliasState("2")
    scan(here.looker, HZ, DriftRules(DriftPolicy.REPORT), threading.Event(), pause_s=0.0)
    assert [event.kind for event in here.events()][-1] == "binding.drifted"


def test_what_a_newer_release_has_moved_and_still_holds_is_put_back_under_it(here: Site) -> None:
    """Its look was over and the alias is held by a release that has moved it: the write is blind, and nobody looks."""
    here = by(here, Strategy(bake_s=60.0, judge_samples=1))
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "write") as late:
        back(here, release.id)
        third = newer(here, FlipPhase.FLIPPED)
        late.wake()
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("3")
    ends_live(here, third)


def test_what_is_undone_and_comes_to_a_share_again_is_put_back_to_that_share(here: Site) -> None:
    here = by(here, Strategy(steps=(Share(10, 60.0),), judge_samples=1))
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "write") as late:
        back(here, release.id)
        third = newer(here, FlipPhase.WEIGHTED)
        late.wake()
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("1", {"3": 0.1})
    ends_live(here, third)


def test_an_undo_that_comes_too_late_does_not_take_back_what_is_baked(here: Site) -> None:
    """It writes where the newer release came from: that one has moved on, and does not look any more."""
    here = by(here, Strategy(bake_s=60.0, judge_samples=1))
    release = publish(here.requester, SDXL, "v2")
    here.settle()
    assert here.world.alias(HZ) == AliasState("2")
    rollback(here.requester, SDXL, "bad eyes")
    with standing_still(here, "write") as late:
        here.settle(patient=True)
        assert here.release(release.id).phase is R.UNDONE
        third = newer(here, FlipPhase.FLIPPED)
        late.wake()
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("3")
    ends_live(here, third)


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_had_read_it_back_before_the_late_write_moves_it_again(here: Site, when: str) -> None:
    """Two in the middle of a write to one alias: the one who is too late goes on first."""
    release = publish(here.requester, SDXL, "v2")
    with standing_still(here, "write") as late:
        back(here, release.id)
        here.world.deliver(SDXL, "v3")
        unhold(here.requester, SDXL)
        third = publish(here.requester, SDXL, "v3")
        with standing_still(here, "move" if when == "after" else "write", when) as mover:
            here.world.time -= timedelta(seconds=LEASE_S + 1)  # its lease is good
            late.wake()
            mover.wake()
        here.settle(patient=True)
    assert here.release(third.id).phase is R.LIVE
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("3")
    here.assert_record_is_true()
