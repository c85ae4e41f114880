"""A release in steps to its end, and one that goes back, on each database. `test_steps.py` has all the ways on one."""

from __future__ import annotations

import pytest
from syncd.errors import Held
from syncd.plan.phases import FlipPhase, ReleasePhase
from syncd.reconcile.requests.operations import publish
from syncd.reconcile.views.release import load
from syncd.values.function import AliasState

from tests.support.rooms import SDXL, Site
from tests.support.snapshots import live
from tests.unit.reconcile.test_steps import CANARY, HZ, SG, by, later, moving, says, shares, untouched

R = ReleasePhase


@pytest.fixture
def here(on_each: Site) -> Site:
    return on_each


def test_shares_grow_step_by_step_and_are_gone_at_the_end(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    release = moving(here, "v2")
    assert release.phase is R.FLIPPING
    assert {flip.phase for flip in here.flips(release.id).values()} == {FlipPhase.WEIGHTED}
    assert shares(here) == {HZ: {"2": 0.1}, SG: {"2": 0.1}}
    assert says(here, release.id).startswith("step 1 of 3: 10 % in hangzhou, singapore until 2026-03-01 12:")
    later(here, 280)
    assert shares(here) == {HZ: {"2": 0.1}, SG: {"2": 0.1}}, "the pause is not over"
    later(here, 30)
    assert shares(here) == {HZ: {"2": 0.5}, SG: {"2": 0.5}}
    later(here, 600)
    assert here.world.alias(HZ) == here.world.alias(SG) == AliasState("2")
    assert here.release(release.id).phase is R.FLIPPING, "it is baked"
    later(here, 80)
    assert here.release(release.id).phase is R.LIVE
    assert load(here.state, release.id).rollout is None
    here.assert_record_is_true()


def test_a_version_that_answers_wrongly_goes_back_everywhere_and_is_held(here: Site) -> None:
    live(here, "v1")
    here = by(here, CANARY)
    release = moving(here, "v2")
    world = here.world
    digest = here.digest(SDXL, "v2")
    store = world.stores["sg"]
    for key in [key for key in store.objects if world.sealed("sg")[digest].directory in key]:
        del store.objects[key]
    later(here, 280)
    ended = here.release(release.id)
    assert ended.phase is R.UNDONE
    assert ended.reason.startswith("judge draw-sg: 1 of")
    assert "answered without the digest" in ended.reason
    assert "publish a fixed version" in ended.hint
    assert untouched(here)
    here.assert_record_is_true()
    with pytest.raises(Held):
        publish(here.requester, SDXL, "v2")
