"""What one call learns of a target holds for all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

import pytest
from syncd.errors import Cancelled, Corrupt, Unavailable
from syncd.retry import Pace
from syncd.transfer.flow.send_queue import FlowLimits, SendQueue
from syncd.transfer.workers.worker_pool import CancelScope

WAIT_S = 30


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def queue(parts_in_flight: int, pace: Pace | None = None, stop: Event | None = None, **more: Any) -> SendQueue:
    scope = CancelScope(stop or Event(), 1.0)
    return SendQueue(FlowLimits(parts_in_flight, 1 << 20, 1.0), scope, pace or Pace(), lambda work: work(), **more)


def refuse(turns: SendQueue, retry_after_s: float | None = None) -> None:
    with pytest.raises(Unavailable), turns.slot():
        raise Unavailable("503 SlowDown", retry_after_s=retry_after_s)


def test_so_many_have_their_turn_at_once_and_the_next_waits() -> None:
    turns = queue(3)
    inside, go, entered = Barrier(4), Event(), Event()

    def call() -> None:
        with turns.slot():
            inside.wait(WAIT_S)
            go.wait(WAIT_S)

    def fourth() -> None:
        with turns.slot():
            entered.set()

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call) for _ in range(3)]
        inside.wait(WAIT_S)
        last = pool.submit(fourth)
        assert not entered.wait(0.2)
        go.set()
        for one in (*calls, last):
            one.result(WAIT_S)
    assert entered.is_set()


def test_a_refusal_halves_the_turns_and_another_error_does_not() -> None:
    turns = queue(4)
    with pytest.raises(Corrupt), turns.slot():
        raise Corrupt("a bit flipped")
    assert turns.allowed == 4
    refuse(turns)
    assert turns.allowed == 2
    refuse(turns)
    refuse(turns)
    assert turns.allowed == 1


def test_a_delay_that_one_call_was_told_is_kept_by_all() -> None:
    clock, entered = Clock(), Event()
    turns = queue(4, Pace(clock), clock=clock)
    refuse(turns, 30.0)
    refused_again = Event()

    def other() -> None:
        with turns.slot():
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other)
        clock.now = 29.0
        assert not entered.wait(0.25)
        clock.now = 30.0
        waiting.result(WAIT_S)
    assert entered.is_set()
    assert not refused_again.is_set()


def test_a_shorter_delay_does_not_end_a_longer_one() -> None:
    clock, stop = Clock(), Event()
    turns = queue(4, Pace(clock), stop, clock=clock)
    with pytest.raises(Unavailable), turns.slot():
        refuse(turns, 60.0)
        raise Unavailable("429", retry_after_s=1.0)
    clock.now = 20.0
    stop.set()
    with pytest.raises(Cancelled), turns.slot():
        pass


def test_nobody_waits_for_a_turn_at_a_target_that_is_out() -> None:
    out = Event()
    turns = queue(1, stop=out)
    with ThreadPoolExecutor(1) as pool, turns.slot():

        def call() -> None:
            with turns.slot():
                pass

        waiting = pool.submit(call)
        out.set()
        with pytest.raises(Cancelled):
            waiting.result(WAIT_S)
