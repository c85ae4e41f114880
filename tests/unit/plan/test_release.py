"""Single decisions about a release. `test_release_walks.py` walks every path."""

from __future__ import annotations

from dataclasses import replace

import pytest
from syncd.plan.phases import RELEASE_ENDS, FlipPhase, PlacementPhase, ReleasePhase, StepKind, StepState
from syncd.plan.release import Decision, ReleaseSnapshot, StepView, decide

R, P, F, K, S = ReleasePhase, PlacementPhase, FlipPhase, StepKind, StepState
SEALED = {"hz": P.SEALED, "sg": P.SEALED}
PLACED = StepView(K.PLACE, "targets", S.DONE)


def view(phase: ReleasePhase, **more: object) -> ReleaseSnapshot:
    given: dict[str, object] = {
        "phase": phase,
        "rollback": False,
        "pinned": True,
        "place_groups": {"targets": ("hz", "sg")},
        "bindings": ("a", "b"),
    }
    return ReleaseSnapshot(**(given | more))  # type: ignore[arg-type]


def both(a: FlipPhase, b: FlipPhase) -> dict[str, FlipPhase]:
    return {"a": a, "b": b}


@pytest.mark.parametrize("phase", sorted(RELEASE_ENDS))
def test_a_release_that_ended_needs_nothing(phase: ReleasePhase) -> None:
    assert decide(view(phase, newer="r-9", held="ops: why")) == Decision()


def test_a_wish_is_pinned_first() -> None:
    assert decide(view(R.REQUESTED, pinned=False)).want == ((K.RESOLVE, "version"),)


def test_a_pinned_wish_is_placed() -> None:
    assert decide(view(R.REQUESTED)) == Decision(phase=R.PLACING)


def test_every_target_gets_a_row_before_anything_is_copied() -> None:
    assert decide(view(R.PLACING, placements={"hz": P.WANTED})) == Decision(place=("sg",))


def test_one_reading_of_the_source_feeds_a_group_of_targets() -> None:
    placements = {"hz": P.SEALED, "sg": P.WANTED}
    assert decide(view(R.PLACING, placements=placements)).want == ((K.PLACE, "targets"),)


def test_only_the_groups_that_lack_something_are_placed() -> None:
    groups = {"oss": ("hz", "sg"), "nas": ("sh",)}
    placements = {**SEALED, "sh": P.COPYING}
    done = (StepView(K.PLACE, "oss", S.DONE),)
    assert decide(view(R.PLACING, place_groups=groups, placements=placements, steps=done)).want == ((K.PLACE, "nas"),)


def test_a_target_that_came_to_the_fleet_in_the_middle_of_a_rollback_does_not_hold_it() -> None:
    groups = {"targets": ("hz", "sg"), "new": ("sh",)}
    flips = both(F.CLAIMED, F.CLAIMED)
    needs = dict.fromkeys("ab", ("hz",))
    now = view(R.STAGING, rollback=True, place_groups=groups, placements=SEALED, flips=flips, needs=needs)
    assert set(decide(now).want) == {(K.PLACE, "new"), (K.STAGE, "a"), (K.STAGE, "b")}


@pytest.mark.parametrize("place", [None, S.RUNNING, S.STALLED, S.DONE])
def test_a_rollback_that_has_moved_waits_for_the_region_whose_bytes_are_brought_again(place: StepState | None) -> None:
    """Its place step is not a step of the binding: it must not be stopped for being the only one that is left."""
    steps = (StepView(K.PLACE, "targets", place),) if place else ()
    moved = {"a": F.DONE, "b": F.CLAIMED}
    needs = {"a": ("hz",), "b": ("sg",)}
    placements = {"hz": P.SEALED, "sg": P.WANTED}
    now = view(R.FLIPPING, rollback=True, flips=moved, needs=needs, placements=placements, steps=steps)
    assert decide(now) == Decision(want=((K.PLACE, "targets"),))


def test_a_rollback_frees_an_alias_that_is_back_while_it_waits_for_another() -> None:
    now = view(R.FLIPPING, rollback=True, flips={"a": F.FLIPPED, "b": F.CLAIMED}, placements=SEALED)
    assert decide(now) == Decision(flips=(("a", F.DONE),))
    waits = view(R.FLIPPING, rollback=True, flips={"a": F.DONE}, placements=SEALED)
    assert decide(waits) == Decision(claim=("b",))


def test_a_release_whose_alias_was_taken_claims_it_again_and_moves_the_others_meanwhile() -> None:
    assert decide(view(R.STAGING, flips={"a": F.PROBED}, placements=SEALED)) == Decision(claim=("a", "b"))
    moving = view(R.FLIPPING, flips={"a": F.INTENDED}, placements=SEALED)
    assert decide(moving) == Decision(want=((K.FLIP, "a"),), claim=("b",))
    assert decide(view(R.FLIPPING, flips={"a": F.FLIPPED}, placements=SEALED)) == Decision(claim=("b",))


@pytest.mark.parametrize("source", [P.WANTED, P.COPYING])
def test_a_replica_waits_until_what_feeds_it_is_sealed(source: PlacementPhase) -> None:
    given = {"place_groups": {"targets": ("hz",), "replica:sg": ("sg",)}, "feeds": {"replica:sg": "hz"}}
    waits = view(R.PLACING, **given, placements={"hz": source, "sg": P.WANTED})
    assert decide(waits).want == ((K.PLACE, "targets"),)
    fed = view(R.PLACING, **given, placements={"hz": P.SEALED, "sg": P.WANTED}, steps=(PLACED,))
    assert decide(fed).want == ((K.PLACE, "replica:sg"),)
    looked = (PLACED, StepView(K.PLACE, "replica:sg", S.DONE))
    assert decide(view(R.PLACING, **given, placements=SEALED, steps=looked)) == Decision(phase=R.STAGING)


def test_a_version_that_the_record_believes_sealed_is_verified_again() -> None:
    # The record may be older than what somebody did to the bucket.
    assert decide(view(R.PLACING, placements=SEALED)).want == ((K.PLACE, "targets"),)


def test_a_rollback_moves_no_bytes_and_reads_none() -> None:
    assert decide(view(R.PLACING, placements=SEALED, rollback=True)) == Decision(phase=R.STAGING)


def test_a_rollback_to_what_is_no_longer_sealed_places_it() -> None:
    placements = {"hz": P.SEALED, "sg": P.WANTED}
    assert decide(view(R.PLACING, placements=placements, rollback=True)).want == ((K.PLACE, "targets"),)


def test_sealed_everywhere_is_staged() -> None:
    assert decide(view(R.PLACING, placements=SEALED, steps=(PLACED,))) == Decision(phase=R.STAGING)


def test_every_alias_is_claimed_at_once() -> None:
    assert decide(view(R.STAGING)) == Decision(claim=("a", "b"))
    assert decide(view(R.STAGING, flips={"a": F.CLAIMED})) == Decision(claim=("a", "b"))


def test_each_function_is_staged_then_probed_in_its_own_time() -> None:
    assert decide(view(R.STAGING, flips=both(F.CLAIMED, F.STAGED))).want == ((K.STAGE, "a"), (K.PROBE, "b"))


def test_nothing_flips_before_all_have_answered() -> None:
    assert decide(view(R.STAGING, flips=both(F.PROBED, F.STAGED))) == Decision(want=((K.PROBE, "b"),))
    assert decide(view(R.STAGING, flips=both(F.PROBED, F.PROBED))) == Decision(phase=R.FLIPPING)


def test_past_the_barrier_every_alias_moves() -> None:
    assert decide(view(R.FLIPPING, flips=both(F.PROBED, F.INTENDED))).want == ((K.FLIP, "a"), (K.FLIP, "b"))
    assert decide(view(R.FLIPPING, flips=both(F.FLIPPED, F.PROBED))).want == ((K.FLIP, "b"),)


def test_flipped_everywhere_is_live_and_lets_every_alias_go() -> None:
    decision = decide(view(R.FLIPPING, flips=both(F.FLIPPED, F.FLIPPED)))
    assert decision == Decision(phase=R.LIVE, flips=(("a", F.DONE), ("b", F.DONE)))


@pytest.mark.parametrize("phase", [R.REQUESTED, R.PLACING, R.STAGING])
def test_a_newer_release_takes_the_place_of_one_that_moved_nothing(phase: ReleasePhase) -> None:
    decision = decide(view(phase, newer="r-7", flips={"a": F.STAGED}))
    assert decision.phase is R.SUPERSEDED
    assert "r-7" in decision.reason
    assert decision.flips == (("a", F.ABANDONED),)


@pytest.mark.parametrize("phase", [R.REQUESTED, R.PLACING, R.STAGING])
def test_a_hold_ends_what_automation_began(phase: ReleasePhase) -> None:
    decision = decide(view(phase, held="ops: bad eyes"))
    assert decision.phase is R.STALLED
    assert "bad eyes" in decision.reason
    assert "unhold" in decision.hint


def test_the_rollback_that_made_the_hold_is_not_held_by_it() -> None:
    assert decide(view(R.REQUESTED, held="ops: bad eyes", rollback=True)).phase is R.PLACING


def test_a_step_that_gave_up_stalls_the_release_with_its_reason() -> None:
    step = StepView(K.PLACE, "targets", S.STALLED, "disk full", "make room")
    decision = decide(view(R.PLACING, steps=(step,)))
    assert (decision.phase, decision.reason, decision.hint) == (R.STALLED, "place targets: disk full", "make room")


def test_a_model_that_no_binding_serves_any_more_is_not_called_live() -> None:
    decision = decide(view(R.PLACING, bindings=(), place_groups={}))
    assert decision.phase is R.STALLED
    assert "no binding" in decision.reason
    assert decision.hint


@pytest.mark.parametrize("open_state", [S.WAITING, S.QUEUED, S.RUNNING])
def test_a_release_that_gives_up_first_sees_everything_stopped(open_state: StepState) -> None:
    steps = (StepView(K.STAGE, "a", open_state), StepView(K.STAGE, "b", S.STALLED, "no"))
    given_up = view(R.STAGING, steps=steps, flips=both(F.CLAIMED, F.CLAIMED))
    assert decide(given_up) == Decision(stop=True)
    stopped = replace(given_up, steps=(StepView(K.STAGE, "a", S.CANCELLED), steps[1]))
    assert decide(stopped).phase is R.STALLED
    assert decide(stopped).flips == (("a", F.ABANDONED), ("b", F.ABANDONED))


def test_neither_a_newer_release_nor_a_hold_stops_aliases_halfway() -> None:
    halfway = view(R.FLIPPING, flips=both(F.FLIPPED, F.PROBED), newer="r-9", held="ops: why")
    assert decide(halfway).want == ((K.FLIP, "b"),)


def test_a_flip_that_gave_up_takes_back_the_others_once_nothing_runs() -> None:
    failed = StepView(K.FLIP, "b", S.STALLED, "moved by hand", "look")
    going = view(R.FLIPPING, flips=both(F.INTENDED, F.INTENDED), steps=(failed, StepView(K.FLIP, "a", S.RUNNING)))
    assert decide(going) == Decision(stop=True)
    stopped = replace(going, steps=(failed, StepView(K.FLIP, "a", S.DONE)), flips=both(F.FLIPPED, F.INTENDED))
    assert decide(stopped) == Decision(phase=R.UNDOING, reason="flip b: moved by hand", hint="look")


def test_undoing_waits_for_what_still_flips() -> None:
    assert decide(view(R.UNDOING, flips=both(F.INTENDED, F.PROBED), steps=(StepView(K.FLIP, "a", S.RUNNING),))).stop


def test_undoing_takes_back_what_may_have_moved_and_leaves_the_rest() -> None:
    decision = decide(view(R.UNDOING, flips=both(F.INTENDED, F.PROBED)))
    assert decision == Decision(flips=(("a", F.UNDOING), ("b", F.ABANDONED)))
    decision = decide(view(R.UNDOING, flips=both(F.UNDOING, F.ABANDONED)))
    assert decision == Decision(want=((K.UNDO, "a"),))


def test_undoing_goes_on_while_other_undos_are_under_way() -> None:
    steps = (StepView(K.UNDO, "a", S.RUNNING),)
    assert decide(view(R.UNDOING, flips=both(F.UNDOING, F.UNDOING), steps=steps)).want == ((K.UNDO, "a"), (K.UNDO, "b"))


def test_what_was_undone_is_held_with_the_reason() -> None:
    ended = view(R.UNDOING, flips=both(F.UNDONE, F.ABANDONED), undo_reason="flip b: no")
    assert decide(ended) == Decision(phase=R.UNDONE, reason="flip b: no", hold="flip b: no")
    assert decide(replace(ended, undo_reason="")).hold


def test_a_flip_that_gave_up_takes_back_the_others_although_an_alias_is_not_claimed_yet() -> None:
    failed = StepView(K.FLIP, "b", S.STALLED, "moved by another tool", "check")
    bindings = ("a", "b", "c")
    running = (failed, StepView(K.FLIP, "a", S.RUNNING))
    going = view(R.FLIPPING, bindings=bindings, flips=both(F.INTENDED, F.INTENDED), steps=running)
    assert decide(going) == Decision(stop=True)
    stopped = replace(going, steps=(failed, StepView(K.FLIP, "a", S.DONE)), flips=both(F.FLIPPED, F.INTENDED))
    assert decide(stopped) == Decision(phase=R.UNDOING, reason="flip b: moved by another tool", hint="check")
