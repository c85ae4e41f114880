"""Single decisions about a staged release. `test_stepped_walks.py` walks every path."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.plan.gate import Blocked
from syncd.plan.phases import FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.release import Decision, ReleaseSnapshot, StepView, decide
from syncd.plan.strategy import OnRegionUnavailable, Requirement, RolloutState, Share, Strategy

R, P, F, K, S = ReleasePhase, PlacementPhase, FlipPhase, StepKind, StepState
CANARY = Strategy(waves=(("hz",),), steps=(Share(10, 300.0),), bake_s=60.0, judge_samples=2)
ROLLOUT = RolloutState(strategy=CANARY, regions={"a": "hz", "b": "sg"})
WAIT = RolloutState(strategy=Strategy(region_out=OnRegionUnavailable.WAIT), regions=ROLLOUT.regions)
LEAVE = RolloutState(
    strategy=Strategy(requirement=Requirement.QUORUM, quorum=1, region_out=OnRegionUnavailable.LEAVE),
    regions=ROLLOUT.regions,
)


def view(
    phase: ReleasePhase, a: FlipPhase | None, b: FlipPhase | None, rollout: RolloutState, *steps: StepView
) -> ReleaseSnapshot:
    flips = {name: now for name, now in (("a", a), ("b", b)) if now}
    return ReleaseSnapshot(
        phase=phase,
        rollback=False,
        pinned=True,
        place_groups={"targets": ("t", "u")},
        bindings=("a", "b"),
        placements={"t": P.SEALED, "u": P.SEALED},
        flips=flips,
        steps=steps,
        needs={"a": ("t",), "b": ("u",)},
        rollout=rollout,
    )


def test_the_first_wave_gets_its_share_and_the_second_waits() -> None:
    assert decide(view(R.FLIPPING, F.PROBED, F.PROBED, ROLLOUT)) == Decision(want=((K.WEIGH, "a"),))


def test_an_alias_with_the_share_of_the_step_before_gets_the_next() -> None:
    grown = replace(ROLLOUT, strategy=replace(CANARY, steps=(Share(10, 1.0), Share(50, 1.0))), stage=1)
    at = replace(grown, shares={"a": 10})
    assert decide(view(R.FLIPPING, F.WEIGHTED, F.PROBED, at)).want == ((K.WEIGH, "a"),)
    assert decide(view(R.FLIPPING, F.WEIGHTED, F.PROBED, replace(at, shares={"a": 50}))).pause_s == 1.0


@pytest.mark.parametrize(
    ("paused", "answers", "decision"),
    [
        (None, 0, Decision(pause_s=300.0)),
        (True, 0, Decision(want=((K.JUDGE, "a"),))),
        (True, 2, Decision(want=((K.JUDGE, "a"),))),
        (False, 1, Decision(want=((K.JUDGE, "a"),))),
        (False, 2, Decision(stage=1)),
    ],
)
def test_a_step_is_over_when_its_pause_is_and_enough_is_known(
    *, paused: bool | None, answers: int, decision: Decision
) -> None:
    rollout = replace(ROLLOUT, shares={"a": 10}, paused=paused, answers={"a": answers})
    assert decide(view(R.FLIPPING, F.WEIGHTED, F.PROBED, rollout)) == decision


def test_what_keeps_it_from_flipping_keeps_it_from_the_next_step() -> None:
    rollout = replace(ROLLOUT, shares={"a": 10}, paused=False, answers={"a": 2})
    wait = Blocked("frozen", "unfreeze")
    assert decide(replace(view(R.FLIPPING, F.WEIGHTED, F.PROBED, rollout), wait=wait)) == Decision(note=wait)


def test_too_few_answers_until_the_deadline_take_it_back() -> None:
    rollout = replace(ROLLOUT, shares={"a": 10}, paused=False, overdue=True, answers={"a": 1})
    judging = StepView(K.JUDGE, "a", S.WAITING)
    assert decide(view(R.FLIPPING, F.WEIGHTED, F.PROBED, rollout, judging)) == Decision(stop=True)
    decision = decide(view(R.FLIPPING, F.WEIGHTED, F.PROBED, rollout))
    assert (decision.phase, decision.reason.partition(":")[0]) == (R.UNDOING, "analysis of a")


def test_a_bad_verdict_takes_it_back() -> None:
    rollout = replace(ROLLOUT, shares={"a": 10}, paused=True)
    bad = StepView(K.JUDGE, "a", S.STALLED, "1 of 1 answers were wrong", "mend it")
    decision = decide(view(R.FLIPPING, F.WEIGHTED, F.PROBED, rollout, bad))
    assert (decision.phase, decision.hint) == (R.UNDOING, "mend it")


def test_an_alias_that_cannot_be_split_takes_no_time_and_gets_no_share() -> None:
    rollout = replace(ROLLOUT, unsplittable=frozenset({"a"}))
    assert decide(view(R.FLIPPING, F.PROBED, F.PROBED, rollout)) == Decision(stage=1)


def test_who_judges_is_stopped_before_the_release_is_live() -> None:
    rollout = replace(ROLLOUT, stage=3, paused=False, answers={"a": 2, "b": 2})
    judging = StepView(K.JUDGE, "a", S.WAITING)
    assert decide(view(R.FLIPPING, F.FLIPPED, F.FLIPPED, rollout, judging)) == Decision(stop=True)
    assert decide(view(R.FLIPPING, F.FLIPPED, F.FLIPPED, rollout)).phase is R.LIVE


def test_a_stage_past_the_end_is_the_end() -> None:
    assert decide(view(R.FLIPPING, F.FLIPPED, F.FLIPPED, replace(ROLLOUT, stage=9))).phase is R.LIVE


def test_the_last_wave_goes_back_first_unless_it_has_trouble_or_there_is_a_hurry() -> None:
    back = view(R.UNDOING, F.UNDOING, F.UNDOING, ROLLOUT)
    assert decide(back).want == ((K.UNDO, "b"),)
    trouble = StepView(K.UNDO, "b", S.WAITING, "the region is out")
    assert decide(replace(back, steps=(trouble,))).want == ((K.UNDO, "a"), (K.UNDO, "b"))
    expedited = replace(ROLLOUT, expedited=True)
    assert decide(replace(back, rollout=expedited)).want == ((K.UNDO, "a"), (K.UNDO, "b"))


@pytest.mark.parametrize("phase", [F.WEIGHING, F.WEIGHTED])
def test_a_share_is_taken_back(phase: FlipPhase) -> None:
    decision = decide(view(R.UNDOING, phase, F.STAGED, ROLLOUT))
    assert decision.flips == (("a", F.UNDOING), ("b", F.ABANDONED))


@pytest.mark.parametrize("kind", [K.STAGE, K.PROBE])
def test_a_region_that_is_waited_for_is_begun_again_until_the_deadline(kind: StepKind) -> None:
    before = F.CLAIMED if kind is K.STAGE else F.STAGED
    out = StepView(kind, "b", S.STALLED, "the region is out")
    assert decide(view(R.STAGING, F.PROBED, before, WAIT, out)) == Decision(want=((kind, "b"),), out=True)
    over = decide(view(R.STAGING, F.PROBED, before, replace(WAIT, expired=True), out))
    assert over.phase is R.STALLED


def test_a_verdict_is_never_waited_away() -> None:
    bad = StepView(K.JUDGE, "a", S.STALLED, "wrong")
    assert decide(view(R.FLIPPING, F.FLIPPED, F.PROBED, WAIT, bad)).phase is R.UNDOING


def test_who_has_no_bytes_is_left_and_the_others_go_on() -> None:
    out = StepView(K.PLACE, "targets", S.STALLED, "the region is out")
    placing = replace(view(R.PLACING, None, None, LEAVE, out), placements={"t": P.SEALED, "u": P.COPYING})
    assert decide(placing) == Decision(phase=R.STAGING)
    staging = replace(placing, phase=R.STAGING, flips={"a": F.CLAIMED, "b": F.CLAIMED})
    assert decide(staging).want == ((K.STAGE, "a"),)
    ready = replace(staging, flips={"a": F.PROBED, "b": F.CLAIMED})
    assert decide(ready) == Decision(phase=R.FLIPPING)
    assert decide(replace(ready, phase=R.FLIPPING)).flips == (("b", F.ABANDONED),)
    neither = replace(placing, placements={"t": P.COPYING, "u": P.COPYING})
    assert decide(neither).phase is R.STALLED


def test_who_has_begun_to_move_is_not_left() -> None:
    out = StepView(K.FLIP, "b", S.STALLED, "the region is out")
    assert decide(view(R.FLIPPING, F.FLIPPED, F.INTENDED, LEAVE, out)).phase is R.UNDOING


def test_the_primary_moves_while_the_others_are_made_ready() -> None:
    first = replace(ROLLOUT, strategy=replace(CANARY, requirement=Requirement.PRIMARY_FIRST, steps=()))
    assert decide(view(R.STAGING, F.CLAIMED, F.PROBED, first)).want == ((K.STAGE, "a"),)
    assert decide(view(R.STAGING, F.PROBED, F.CLAIMED, first)) == Decision(phase=R.FLIPPING)
    assert decide(view(R.FLIPPING, F.PROBED, F.STAGED, first)).want == ((K.PROBE, "b"), (K.FLIP, "a"))
    second = replace(first, stage=1, answers={"a": 2})
    assert decide(view(R.FLIPPING, F.FLIPPED, F.STAGED, second)).want == ((K.PROBE, "b"),)


def test_a_region_left_behind_whose_alias_is_not_claimed_gets_a_flip_that_says_so() -> None:
    stalled = StepView(K.STAGE, "b", S.STALLED, "no answer", "check")
    assert decide(view(R.FLIPPING, F.FLIPPED, None, LEAVE, stalled)) == Decision(claim=("b",))
