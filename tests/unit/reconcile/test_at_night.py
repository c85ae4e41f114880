"""What an on-call person meets when two things happen at once: a freeze in a flip, a rollback beside a canary."""

from __future__ import annotations

from datetime import timedelta

import pytest
from syncd.plan.phases import ReleasePhase
from syncd.plan.strategy import OnRegionUnavailable, Requirement, Share, Strategies, Strategy
from syncd.reconcile.controller.tick import tick
from syncd.reconcile.requests.operations import cancel, freeze, hold, publish, unhold
from syncd.reconcile.requests.rollbacks import rollback
from syncd.reconcile.views.release import load, next_step
from syncd.state.records import Release
from syncd.state.releases import holds
from syncd.values.function import AliasState

from tests.support.rooms import LORA, SDXL, Site, site
from tests.support.snapshots import live
from tests.unit.reconcile.test_steps import HZ, SG, by, later, left_behind

R = ReleasePhase
QUORUM = Strategy(
    requirement=Requirement.QUORUM, quorum=1, region_out=OnRegionUnavailable.LEAVE, deadline_s=600.0, judge_samples=1
)


@pytest.fixture
def here(on_sqlite: Site) -> Site:
    return on_sqlite


def back_again(here: Site) -> tuple[Site, str]:
    """A release is live without one region, which has just come back."""
    here, away, left = left_behind(here, QUORUM)
    away.out = False
    return here, left.id


def caught_up(here: Site) -> Release:
    """What is begun for the region that lacks it."""
    here.world.time += timedelta(seconds=601)
    tick(here.context)
    return here.unfinished()[0]


def test_a_freeze_between_two_regions_does_not_stop_it_half_way(here: Site) -> None:
    live(here, "v1")
    here.world.deliver(SDXL, "v2")
    release = publish(here.requester, SDXL, "v2")
    here.until(R.FLIPPING, release.id)
    while here.world.alias(HZ) == here.world.alias(SG):
        assert here.run_one(release.id)
    freeze(here.requester, SDXL, "a sale", timedelta(hours=2))
    here.settle()
    assert here.release(release.id).phase is R.LIVE
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("2")


def test_a_rollback_that_waits_for_a_canary_of_another_model_says_how_not_to(here: Site) -> None:
    """Both are on one function: its alias has one share, and it is in use for an hour."""
    canary = Strategy(steps=(Share(10, 3600.0),), judge_samples=1)
    for model in (SDXL, LORA):
        for version in ("v1", "v2"):
            here.world.deliver(model, version)
            publish(here.requester, model, version)
            here.settle(patient=True)
    here = site(here.world, here.state, strategies=Strategies((((SDXL,), canary),)), engine=here.engine)
    here.world.deliver(SDXL, "v3")
    stepped = publish(here.requester, SDXL, "v3")
    here.settle()
    assert here.world.alias(HZ).weights
    back = rollback(here.requester, LORA, "black images")
    here.settle()
    with here.state.read() as conn:
        held = holds.find(conn, LORA)
    said = next_step(load(here.state, back.id), held, back.id)
    assert said == f"`syncd cancel {stepped.id}` takes that one back now, and this goes on"
    cancel(here.requester, stepped.id, "lora first")
    here.settle(patient=True)
    assert here.release(back.id).phase is R.LIVE
    assert here.release(stepped.id).phase is R.UNDONE
    assert here.world.serves(HZ) == sorted([here.digest(SDXL, "v2"), here.digest(LORA, "v1")])
    here.assert_record_is_true()


def test_a_rollback_takes_the_place_of_a_catch_up_that_is_under_way(here: Site) -> None:
    here, left = back_again(here)
    again = caught_up(here)
    assert again.requested_by == f"syncd, for what {left} left behind"
    here.run_one(again.id)
    back = rollback(here.requester, SDXL, "bad eyes")
    later(here, 1200)
    assert here.release(again.id).phase is R.SUPERSEDED
    assert here.release(back.id).phase is R.LIVE
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("1")
    assert not here.unfinished(), "what is held is not caught up with"
    here.assert_record_is_true()


def test_a_rollback_in_the_middle_of_a_catch_up_takes_the_version_from_every_region(here: Site) -> None:
    """To undo the catch-up alone would leave it where it was before that."""
    here, _ = back_again(here)
    again = caught_up(here)
    here.until(R.FLIPPING, again.id)
    while here.world.alias(SG) != AliasState("2"):
        assert here.run_one(again.id)
    back = rollback(here.requester, SDXL, "bad eyes")
    assert rollback(here.requester, SDXL, "bad eyes").id == back.id, "asked again it is the same"
    later(here, 60)
    assert here.release(again.id).phase is R.UNDONE
    assert here.release(back.id).phase is R.LIVE
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("1")
    here.assert_record_is_true()


def test_a_version_that_comes_during_the_bake_follows_when_it_is_over(here: Site) -> None:
    live(here, "v1")
    here = by(here, Strategy(bake_s=300.0, judge_samples=1))
    here.world.deliver(SDXL, "v2")
    baked = publish(here.requester, SDXL, "v2")
    here.settle()
    assert here.world.alias(HZ) == AliasState("2")
    here.world.deliver(SDXL, "v3")
    newer = publish(here.requester, SDXL, "v3")
    later(here, 200)
    assert here.world.alias(HZ) == AliasState("2"), "it is baked to its end"
    later(here, 150)
    assert here.release(baked.id).phase is R.LIVE
    later(here, 400)
    assert here.release(newer.id).phase is R.LIVE
    here.assert_record_is_true()


def test_a_hold_is_kept_by_what_was_left_behind(here: Site) -> None:
    here, _ = back_again(here)
    hold(here.requester, SDXL, "do not touch")
    later(here, 1300)
    assert here.world.alias(SG) == AliasState("1")
    unhold(here.requester, SDXL)
    later(here, 1300)
    assert here.world.alias(SG) == AliasState("2")
    here.assert_record_is_true()


def test_a_move_that_was_handed_over_before_a_rollback_is_not_made_after_it(here: Site) -> None:
    """Its worker begins when the word to go back is in the record, and nobody has acted on that yet."""
    live(here, "v1")
    here = by(here, Strategy(steps=(Share(10, 60.0),), judge_samples=1))
    here.world.deliver(SDXL, "v2")
    release = publish(here.requester, SDXL, "v2")
    here.settle()
    here.world.time += timedelta(seconds=61)
    while not any(step.startswith("flip/") for step in here.steps(release.id)):
        here.run_one(release.id)
        tick(here.context)
    rollback(here.requester, SDXL, "bad eyes")
    while here.run_one(release.id):
        assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("1", {"2": 0.1})
    here.settle()
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("1")
    here.assert_record_is_true()
