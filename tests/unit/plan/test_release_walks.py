"""Every path of a release of two bindings; each reachable situation is visited once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.plan.gate import Blocked
from syncd.plan.phases import RELEASE_ENDS, may_transition
from syncd.plan.release import Decision, ReleaseSnapshot, StepView, decide

from tests.unit.plan.walks import BINDINGS, F, K, P, R, S, Situation, check_ends, reachable_from, settled


@cache
def reachable() -> Mapping[Situation, Situation]:
    """Every situation a tick can leave, with one that led to it."""
    starts = [settled(Situation()), settled(Situation(rollback=True, pinned=True, placed=P.SEALED, held=True))]
    starts.append(settled(Situation(rollback=True, pinned=True, placed=P.WANTED, held=True)))
    return reachable_from(starts)


def test_all_ends_are_reached() -> None:
    assert {now.phase for now in reachable()} == set(R)


def test_no_release_waits_for_nothing() -> None:
    for now in reachable():
        waits = now.phase in RELEASE_ENDS or now.open_steps() or (now.phase is R.STAGING and now.gated) or now.taken
        assert waits, f"nothing will ever happen again: {now}, after {reachable()[now]}"


def test_a_tick_right_after_a_tick_finds_nothing_to_do() -> None:
    for now in reachable():
        assert settled(now) == now


def test_no_alias_has_moved_without_the_barrier() -> None:
    moved = {F.INTENDED, F.FLIPPED, F.DONE, F.UNDOING, F.UNDONE}
    for now in reachable():
        if moved & set(dict(now.flips).values()):
            assert now.phase in {R.FLIPPING, R.LIVE, R.UNDOING, R.UNDONE}
            assert now.placed is P.SEALED


@pytest.mark.parametrize("workers", ["do well", "give up whenever they may"])
def test_from_everywhere_a_release_comes_to_an_end(workers: str) -> None:
    check_ends(reachable(), workers)


phases_of_flips = st.dictionaries(st.sampled_from(BINDINGS), st.sampled_from(F))
views = st.builds(
    ReleaseSnapshot,
    phase=st.sampled_from(R),
    rollback=st.booleans(),
    pinned=st.booleans(),
    place_groups=st.sampled_from([{}, {"g": ("t",)}, {"g": ("t", "u"), "h": ("v",)}]),
    bindings=st.sampled_from([(), ("a",), BINDINGS]),
    placements=st.dictionaries(st.sampled_from("tuv"), st.sampled_from(P)),
    steps=st.lists(
        st.builds(StepView, st.sampled_from(K), st.sampled_from(["g", "h", "a", "b"]), st.sampled_from(S)), max_size=6
    ).map(tuple),
    flips=phases_of_flips,
    newer=st.sampled_from(["", "r-9"]),
    held=st.sampled_from(["", "ops: why"]),
    cancelled=st.sampled_from(["", "ops: why"]),
    wait=st.sampled_from([None, Blocked("waits", "approve")]),
)


@given(views)
def test_even_of_rows_that_make_no_sense_the_move_is_a_legal_one(view: ReleaseSnapshot) -> None:
    decision = decide(view)
    assert decide(view) == decision
    assert decision.phase is None or may_transition(view.phase, decision.phase)
    assert set(dict(decision.flips)) <= set(view.flips)
    if decision.stop:
        assert decision == Decision(stop=True), "stopping is all that is written then"
