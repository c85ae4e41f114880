"""Queue priority of attempts."""

from __future__ import annotations

from syncd.plan.phases import StepKind
from syncd.plan.routing import priority_of


def test_an_alias_that_can_move_moves_before_the_next_is_looked_at() -> None:
    road = (StepKind.RESOLVE, StepKind.PLACE, StepKind.STAGE, StepKind.PROBE, StepKind.WEIGH, StepKind.FLIP)
    turns = [priority_of(7, kind, back=False) for kind in road]
    assert turns == sorted(turns, reverse=True)
    assert len(set(turns)) == len(turns)


def test_what_goes_back_goes_before_whatever_is_released() -> None:
    first_forward = min(priority_of(1, kind, back=False) for kind in StepKind if kind is not StepKind.UNDO)
    assert all(priority_of(99, kind, back=True) < first_forward for kind in StepKind)
    assert priority_of(99, StepKind.UNDO, back=False) < first_forward


def test_of_two_releases_the_older_goes_first() -> None:
    forward = [kind for kind in StepKind if kind is not StepKind.UNDO]
    assert all(
        priority_of(1, one, back=False) < priority_of(2, other, back=False) for one in forward for other in forward
    )


def test_every_kind_has_its_turn() -> None:
    assert len({priority_of(0, kind, back=True) for kind in StepKind}) == len(StepKind)
