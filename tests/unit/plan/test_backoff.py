"""Backoff of a failed step, and its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syncd.errors import (
    RETRY_AFTER_MAX_S,
    Cancelled,
    Conflict,
    Corrupt,
    Failed,
    Invalid,
    NotFound,
    NotYet,
    OutcomeUnknown,
    Refused,
    SyncdError,
    Unavailable,
)
from syncd.plan.backoff import GiveUp, RetryLater, RetryPolicy, next_action, wait_s

PATIENCE = RetryPolicy(failures_max=8, base_s=2.0, cap_s=60.0)
TRIES = {
    Invalid: 1,
    Refused: 2,
    NotFound: 3,
    Conflict: 3,
    Corrupt: 3,
    Failed: 3,
    Unavailable: 8,
    OutcomeUnknown: 8,
    Cancelled: 8,
}
chances = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(("asked", "wait"), [(None, 2.0), (1.0, 2.0), (30.0, 30.0), (300.0, 300.0)])
def test_what_has_not_come_yet_is_never_given_up(asked: float | None, wait: float) -> None:
    for failures in (1, 8, 1000):
        assert next_action(NotYet("x", retry_after_s=asked), failures, PATIENCE, 0.5) == RetryLater(wait)


@pytest.mark.parametrize(("kind", "tries"), TRIES.items())
def test_what_does_not_mend_itself_is_tried_less_often(kind: type[SyncdError], tries: int) -> None:
    verdicts = [next_action(kind("x"), failures, PATIENCE, 0.5) for failures in range(1, 10)]
    assert [isinstance(choice, RetryLater) for choice in verdicts] == [n < tries for n in range(1, 10)]


def test_no_error_is_tried_more_often_than_patience_allows() -> None:
    hasty = RetryPolicy(failures_max=2, base_s=1.0, cap_s=1.0)
    for kind in TRIES:
        assert isinstance(next_action(kind("x"), 2, hasty, 0.0), GiveUp)


@given(failures=st.integers(1, 10_000), chance=chances)
def test_every_wait_is_within_its_bounds(failures: int, chance: float) -> None:
    wait = wait_s(Unavailable("x"), failures, PATIENCE, chance)
    assert PATIENCE.base_s / 2 <= wait <= PATIENCE.cap_s


@given(chance=chances)
def test_the_wait_doubles_until_the_cap(chance: float) -> None:
    waits = [wait_s(Unavailable("x"), failures, PATIENCE, chance) for failures in range(1, 9)]
    jitter = 0.5 + 0.5 * chance
    assert waits == pytest.approx([seconds * jitter for seconds in (2, 4, 8, 16, 32, 60, 60, 60)])


@given(failures=st.integers(1, 50), chance=chances, asked_s=st.floats(0, RETRY_AFTER_MAX_S))
def test_a_servers_own_delay_is_never_undercut(failures: int, chance: float, asked_s: float) -> None:
    asked = wait_s(Unavailable("x", retry_after_s=asked_s), failures, PATIENCE, chance)
    assert asked == max(asked_s, wait_s(Unavailable("x"), failures, PATIENCE, chance))


def test_a_step_that_never_gives_up_still_waits_between_its_tries() -> None:
    assert wait_s(Conflict("x"), 1000, PATIENCE, 0.0) == 30.0


def test_the_verdict_carries_the_wait() -> None:
    assert next_action(Unavailable("x"), 1, PATIENCE, 0.5) == RetryLater(1.5)


def test_an_attempt_that_progressed_is_never_given_up() -> None:
    for failures in (1, 8, 1000):
        choice = next_action(Unavailable("x"), failures, PATIENCE, 0.5, progressed=True)
        assert isinstance(choice, RetryLater)
        assert choice.after_s <= PATIENCE.cap_s
