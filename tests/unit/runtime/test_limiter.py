"""Per-region call limiter: the cap on concurrent calls, and pauses."""

from __future__ import annotations

import threading

import pytest
from syncd.errors import Conflict, Unavailable
from syncd.runtime.fc.call import PAUSE_MAX_S, CallLimiter


class Clock:
    """A clock that sleeping advances."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def paced(clock: Clock, most: int = 4) -> CallLimiter:
    return CallLimiter(most, clock=lambda: clock.now_s, sleep=clock.sleep)


def refuse(pace: CallLimiter, after_s: float | None) -> None:
    with pytest.raises(Unavailable, match="429"), pace.turn():
        raise Unavailable("429", retry_after_s=after_s)


def test_no_more_calls_are_made_at_once_than_allowed() -> None:
    pace, inside, most = CallLimiter(2), 0, 0
    guard, full, go_on = threading.Lock(), threading.Event(), threading.Event()

    def call() -> None:
        nonlocal inside, most
        with pace.turn():
            with guard:
                inside += 1
                most = max(most, inside)
                if inside == 2:
                    full.set()
            assert go_on.wait(30)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert full.wait(30)
    go_on.set()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 2)


def test_after_a_throttled_call_all_calls_wait_for_the_requested_delay() -> None:
    clock = Clock()
    pace = paced(clock)
    refuse(pace, 3.0)
    refuse(pace, 1.0)
    assert clock.slept == [3.0]
    with pace.turn():
        pass
    with pace.turn():
        pass
    assert clock.slept == [3.0, 1.0]


def test_a_long_pause_raises_and_is_not_slept_through() -> None:
    clock = Clock()
    pace = paced(clock, most=1)
    refuse(pace, PAUSE_MAX_S + 10)
    with pytest.raises(Unavailable, match="a pause of 30 s more") as caught, pace.turn():
        raise AssertionError
    assert caught.value.retry_after_s == PAUSE_MAX_S + 10
    assert clock.slept == []


def test_other_failures_and_a_throttling_without_a_time_pause_nothing() -> None:
    clock = Clock()
    pace = paced(clock, most=1)
    refuse(pace, None)
    with pytest.raises(Conflict), pace.turn():
        raise Conflict("moved")
    with pace.turn():
        pass
    assert clock.slept == []
