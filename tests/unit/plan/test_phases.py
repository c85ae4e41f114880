"""The table of legal transitions."""

from __future__ import annotations

import pytest
from syncd.plan.phases import (
    FLIP_ENDS,
    RELEASE_ENDS,
    TRANSITIONS,
    FlipPhase,
    Phase,
    PlacementPhase,
    ReleasePhase,
    may_transition,
)

LISTS: list[type[Phase]] = [ReleasePhase, PlacementPhase, FlipPhase]


def reachable(start: Phase) -> set[Phase]:
    found, new = {start}, [start]
    while new:
        new = [after for phase in new for after in TRANSITIONS[type(start)][phase] if after not in found]
        found |= set(new)
    return found


@pytest.mark.parametrize("words", LISTS)
def test_every_phase_has_its_line_and_stays_in_its_own_list(words: type[Phase]) -> None:
    # Words of two lists may be alike ("undone"): a line of one must neither hide that of the other nor lead there.
    assert set(TRANSITIONS[words]) == set(words)
    for phase, following in TRANSITIONS[words].items():
        assert phase not in following
        assert {type(each) for each in (phase, *following)} == {words}


def test_a_word_of_another_list_never_follows() -> None:
    assert may_transition(ReleasePhase.UNDOING, ReleasePhase.UNDONE)
    assert not may_transition(ReleasePhase.UNDOING, FlipPhase.UNDONE)


@pytest.mark.parametrize("first", [ReleasePhase.REQUESTED, PlacementPhase.WANTED, FlipPhase.CLAIMED])
def test_every_phase_can_be_reached(first: Phase) -> None:
    assert reachable(first) == set(type(first))


def test_nothing_follows_an_end_and_every_road_leads_to_one() -> None:
    for phase in ReleasePhase:
        assert reachable(phase) & RELEASE_ENDS
    for flip in FlipPhase:
        assert reachable(flip) & FLIP_ENDS
    ends: list[Phase] = [*RELEASE_ENDS, *FLIP_ENDS]
    assert all(reachable(end) == {end} for end in ends)


def test_no_alias_moves_before_it_was_staged_and_probed() -> None:
    before = {phase for phase in FlipPhase if may_transition(phase, FlipPhase.INTENDED)}
    assert before == {FlipPhase.PROBED, FlipPhase.WEIGHTED}
    shares = {phase for phase in FlipPhase if may_transition(phase, FlipPhase.WEIGHING)}
    assert shares == {FlipPhase.PROBED, FlipPhase.WEIGHTED}
    assert {phase for phase in FlipPhase if may_transition(phase, FlipPhase.PROBED)} == {FlipPhase.STAGED}


def test_what_may_have_moved_is_never_just_abandoned() -> None:
    assert {phase for phase in FlipPhase if may_transition(phase, FlipPhase.ABANDONED)} == {
        FlipPhase.CLAIMED,
        FlipPhase.STAGED,
        FlipPhase.PROBED,
    }


def test_past_the_barrier_a_release_goes_live_or_is_undone() -> None:
    assert reachable(ReleasePhase.FLIPPING) & RELEASE_ENDS == {ReleasePhase.LIVE, ReleasePhase.UNDONE}
