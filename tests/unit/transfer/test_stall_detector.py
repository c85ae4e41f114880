"""Who costs the others more than half of their time is to blame; who costs them less never is."""

from __future__ import annotations

import pytest
from syncd.transfer.flow.send_queue import StallDetector


def test_the_first_wait_is_not_yet_too_long() -> None:
    assert not StallDetector(1.0).note(0.1, 100.0)


def test_who_is_always_waited_for_is_to_blame_after_the_patience() -> None:
    blame = StallDetector(1.0)
    verdicts = [blame.note(0.1, 100 + 0.1 * n) for n in range(1, 40)]
    assert 9 <= verdicts.index(True) <= 11


def test_who_never_kept_pace_is_given_a_tenth_of_the_patience() -> None:
    blame = StallDetector(1.0)
    verdicts = [blame.note(0.05, 100 + 0.05 * n, share=0.2) for n in range(1, 40)]
    assert 1 <= verdicts.index(True) <= 3


def test_who_has_done_much_of_what_it_was_given_has_all_of_the_patience() -> None:
    blame = StallDetector(1.0)
    assert not any(blame.note(0.05, 100 + 0.05 * n, share=0.3) for n in range(1, 19))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_who_costs_half_of_the_time_at_most_is_never_to_blame(share: float) -> None:
    blame = StallDetector(1.0)
    assert not any(blame.note(share, float(second)) for second in range(10_000))


def test_a_hang_after_a_good_hour_is_noticed_as_fast_as_at_the_beginning() -> None:
    blame = StallDetector(1.0)
    assert not any(blame.note(0.05, float(second)) for second in range(3600))
    verdicts = [blame.note(0.1, 3600 + 0.1 * n) for n in range(1, 40)]
    assert verdicts.index(True) <= 11


def test_two_who_wait_through_the_same_time_count_it_once() -> None:
    blame = StallDetector(1.0)
    blame.note(0.9, 10.0)
    assert not blame.note(0.9, 10.0)
    assert not blame.note(0.9, 10.1)
