"""Every path of a release in waves and shares, from the claim of its aliases on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
from syncd.plan.phases import RELEASE_ENDS
from syncd.plan.strategy import OnRegionUnavailable, Requirement, Share, Strategy

from tests.unit.plan.walks import (
    BINDINGS,
    MOVED,
    F,
    K,
    P,
    R,
    S,
    Situation,
    check_ends,
    reachable_from,
    settled,
)

STEPS = (Share(10, 300.0),)
STRATEGIES = {
    "a canary everywhere": Strategy(steps=STEPS, bake_s=60.0, judge_samples=1),
    "a canary in two waves": Strategy(waves=(("r1",),), steps=STEPS, judge_samples=1),
    "waves": Strategy(waves=(("r2",), ("r1",))),
    "a primary, and others as they can": Strategy(
        waves=(("r1",),),
        bake_s=60.0,
        requirement=Requirement.PRIMARY_FIRST,
        region_out=OnRegionUnavailable.LEAVE,
        judge_samples=1,
    ),
    "one is enough": Strategy(requirement=Requirement.QUORUM, quorum=1, region_out=OnRegionUnavailable.LEAVE),
    "regions are waited for": Strategy(waves=(("r1",),), region_out=OnRegionUnavailable.WAIT),
}


@cache
def reachable(name: str) -> Mapping[Situation, Situation]:
    """Every situation a tick can leave, with one that led to it."""
    claimed = Situation(
        phase=R.STAGING,
        pinned=True,
        placed=P.SEALED,
        steps=(((K.PLACE, "targets"), S.DONE, False),),
        flips=tuple((binding, F.CLAIMED) for binding in BINDINGS),
        strategy=STRATEGIES[name],
    )
    return reachable_from([settled(claimed)])


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_release_in_steps_comes_to_an_end_from_everywhere(name: str) -> None:
    """What holds of each decision is checked on the way: see `check_move` and `check_stage`."""
    found = reachable(name)
    assert {now.phase for now in found} >= {R.STAGING, R.FLIPPING, R.LIVE, R.UNDOING, R.UNDONE, R.STALLED}
    check_ends(found, "do well")
    check_ends(found, "give up whenever they may")


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_release_in_steps_never_waits_for_nothing(name: str) -> None:
    for now, before in reachable(name).items():
        waits = now.phase in RELEASE_ENDS or now.open_steps() or now.paused or now.taken or now.gated
        assert waits, f"nothing will ever happen again: {now}, after {before}"
        assert settled(now) == now


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_wave_moves_when_those_before_it_have_moved_wholly(name: str) -> None:
    for now in reachable(name):
        flips = dict(now.flips)
        if now.phase is not R.FLIPPING or not set(flips.values()) & MOVED:
            continue
        last = max(now.rollout.wave_of(binding) for binding, phase in flips.items() if phase in MOVED)
        for binding, phase in flips.items():
            is_before = now.rollout.wave_of(binding) < last
            assert not is_before or phase in {F.FLIPPED, F.ABANDONED}, now


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_share_is_left_behind_at_any_end(name: str) -> None:
    ends = {now.phase: set(dict(now.flips).values()) for now in reachable(name) if now.phase in RELEASE_ENDS}
    for phases in ends.values():
        assert phases <= {F.DONE, F.UNDONE, F.ABANDONED}


def test_waves_go_back_in_reverse_order() -> None:
    undoing = [now for now in reachable("waves") if now.phase is R.UNDOING]
    both = [now for now in undoing if set(dict(now.flips).values()) == {F.UNDOING}]
    assert both
    for now in both:  # r2, where b is, went first
        wanted = {subject for (kind, subject), _, _ in now.open_steps() if kind is K.UNDO}
        assert "a" in wanted, now


def test_a_release_goes_live_without_a_region_that_is_unavailable() -> None:
    for name in ("one is enough", "a primary, and others as they can"):
        ends = [dict(now.flips) for now in reachable(name) if now.phase is R.LIVE]
        assert {"a": F.DONE, "b": F.ABANDONED} in ends
        assert {"a": F.DONE, "b": F.DONE} in ends
