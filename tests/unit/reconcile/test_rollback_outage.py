"""A rollback while a region is unavailable: the others go back at once, that one is reported and retried."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from syncd.errors import Failed
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.plan.strategy import AT_ONCE
from syncd.reconcile.requests.operations import publish, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.overview import overview
from syncd.reconcile.views.release import document, load, next_step
from syncd.state.records import Release
from syncd.values.function import AliasState

from tests.support.rooms import PATIENCE, SDXL, Site
from tests.support.snapshots import live
from tests.unit.reconcile.test_steps import HZ, SG, Outage, outage

R = ReleasePhase
OUT_S = 600  # some sixty tries more than where patience would end


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


@pytest.fixture
def two(here: Site) -> tuple[Site, Outage]:
    """v2 is live on top of v1, and Singapore can be out."""
    live(here, "v1", "v2")
    return outage(here, AT_ONCE)


def on(here: Site, seconds: int) -> None:
    """Let so much time pass, working whenever anything is due."""
    until = here.world.time + timedelta(seconds=seconds)
    here.settle()
    while here.world.time < until:
        here.world.time += timedelta(seconds=PATIENCE.cap_s + 1)
        here.settle()


def begun(here: Site) -> Release:
    back = rollback(here.requester, SDXL, "bad eyes")
    here.settle()
    return back


def test_who_can_go_back_does_so_at_once_and_who_cannot_is_tried_until_he_can(two: tuple[Site, Outage]) -> None:
    here, region = two
    region.out = True
    back = begun(here)
    assert here.world.alias(HZ) == AliasState("1"), "no clock was moved"
    on(here, OUT_S)
    assert here.release(back.id).phase is R.FLIPPING
    region.out = False
    here.settle(patient=True)
    assert here.release(back.id).phase is R.LIVE
    assert here.world.alias(SG) == AliasState("1")
    here.assert_record_is_true()


def test_a_rollback_leaves_from_where_somebody_else_has_moved_the_alias(here: Site) -> None:
    live(here, "v1", "v2", "v3")
    here.world.runtimes[HZ].flip("draw", "prod", "1", "3")
    back = begun(here)
    here.settle(patient=True)
    assert here.release(back.id).phase is R.LIVE
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("2")
    assert here.flips(back.id)[here.context.topology.bindings_in(HZ)[0].name].from_version == "1"
    assert [event.kind for event in here.events(back.id)].count("binding.drifted") == 1
    here.assert_record_is_true()


def test_the_region_that_is_unavailable_is_reported_everywhere(two: tuple[Site, Outage]) -> None:
    here, region = two
    region.out = True
    back = begun(here)
    on(here, 60)
    scene = load(here.state, back.id)
    waiting = next(step for step in scene.steps if step.reason)
    assert (waiting.subject, waiting.reason) == ("draw-sg", "the region is out")
    assert waiting.failures > PATIENCE.failures_max, "it is counted, and not given up"
    told = json.dumps(overview(here.state, here.context.topology)["in_flight"], default=str)
    assert "draw-sg: the region is out" in told
    assert next_step(scene, None, "").startswith("it retries by itself")


def test_where_it_goes_out_before_its_own_alias_is_moved_no_other_is_moved_forward_again(
    two: tuple[Site, Outage],
) -> None:
    here, region = two
    back = rollback(here.requester, SDXL, "bad eyes")
    here.until(R.FLIPPING, back.id)
    region.out = True
    on(here, OUT_S)
    assert here.release(back.id).phase is R.FLIPPING
    assert here.world.alias(HZ) == AliasState("1")
    region.out = False
    here.settle(patient=True)
    assert here.release(back.id).phase is R.LIVE
    here.assert_record_is_true()


def test_where_the_old_version_fails_in_one_region_the_others_have_it_all_the_same(two: tuple[Site, Outage]) -> None:
    here, region = two

    def broken(_change: object) -> bytes:
        raise Failed("its bytes are gone")

    right, region.answers = region.answers, broken
    back = begun(here)
    on(here, 60)
    assert here.world.alias(HZ) == AliasState("1")
    assert here.world.alias(SG) == AliasState("2"), "what does not answer with its digest gets no alias"
    region.answers = right
    here.settle(patient=True)
    assert here.release(back.id).phase is R.LIVE
    here.assert_record_is_true()


def test_where_no_region_can_go_back_it_stalls_and_nothing_has_moved(two: tuple[Site, Outage]) -> None:
    here, region = two
    region.out = True

    def broken(_change: object) -> bytes:
        raise Failed("its bytes are gone")

    right, here.world.runtimes[HZ].answers = here.world.runtimes[HZ].answers, broken
    back = rollback(here.requester, SDXL, "bad eyes")
    here.settle(patient=True)
    ended = here.release(back.id)
    assert ended.phase is R.STALLED
    assert ended.reason
    region.out, here.world.runtimes[HZ].answers = False, right
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("2")
    here.assert_record_is_true()


def test_a_region_that_lost_the_old_bytes_does_not_hold_the_others(two: tuple[Site, Outage]) -> None:
    here, region = two
    region.out = True
    gone = [key for key in here.world.stores["sg"].objects if "/v1-" in key]
    for key in gone:
        del here.world.stores["sg"].objects[key]
    with here.state.write() as conn:
        conn.exec_driver_sql("UPDATE placements SET phase = 'wanted' WHERE target = 'sg'")
    back = begun(here)
    assert here.world.alias(HZ) == AliasState("1")
    region.out = False
    here.settle(patient=True)
    assert here.release(back.id).phase is R.LIVE
    assert here.world.serves(SG) == [here.digest(SDXL, "v1")]
    here.assert_record_is_true()


def test_a_newer_version_that_a_person_lets_in_does_not_wait_for_the_region_that_is_unavailable(
    two: tuple[Site, Outage],
) -> None:
    here, region = two
    region.out = True
    back = begun(here)
    unhold(here.requester, SDXL)
    here.world.deliver(SDXL, "v3")
    third = publish(here.requester, SDXL, "v3")
    on(here, 60)
    assert here.release(back.id).phase is R.LIVE
    assert here.flips(back.id)["draw-sg"].phase is FlipPhase.ABANDONED
    assert document(load(here.state, back.id))["left_behind"] == ["draw-sg"]
    region.out = False
    here.settle(patient=True)
    if here.release(third.id).phase is not R.LIVE:  # it may have given the region up meanwhile
        third = publish(here.requester, SDXL, "v3")
        here.settle(patient=True)
    assert here.release(third.id).phase is R.LIVE
    here.assert_record_is_true()


def test_a_release_that_is_taken_back_in_the_middle_does_not_wait_for_a_region_either(two: tuple[Site, Outage]) -> None:
    here, region = two
    here.world.deliver(SDXL, "v3")
    third = publish(here.requester, SDXL, "v3")
    here.until(R.FLIPPING, third.id)
    while here.world.alias(HZ) != AliasState("3"):
        here.run_one(third.id)
    region.out = True
    assert rollback(here.requester, SDXL, "bad").id == third.id
    on(here, OUT_S)
    assert here.world.alias(HZ) == AliasState("2")
    region.out = False
    here.settle(patient=True)
    assert here.release(third.id).phase is R.UNDONE
    here.assert_record_is_true()
