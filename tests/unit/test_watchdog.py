"""Watchdog: the current call of a thread, and the time since its last progress."""

from __future__ import annotations

import time
from threading import Thread

import pytest
from syncd.errors import Cancelled
from syncd.watchdog import Heartbeat, Silence, calling, heartbeat_of_thread, mark_progress, note_activity, wait


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def pulse_at(clock: Clock, *, is_over: bool = False) -> Heartbeat:
    return Heartbeat(lambda: is_over, clock)


def test_there_is_no_silence_outside_a_call() -> None:
    clock = Clock()
    pulse = pulse_at(clock)
    with heartbeat_of_thread(pulse):
        with calling("part 1"):
            pass
        clock.now += 1000
        assert pulse.silence() is None


def test_a_call_is_silent_from_its_beginning_or_from_what_was_last_heard() -> None:
    clock = Clock()
    pulse = pulse_at(clock)
    with heartbeat_of_thread(pulse), calling("part 1", patience_s=7):
        clock.now += 5
        assert pulse.silence() == Silence("part 1", 5, 7)
        mark_progress()
        assert pulse.silence() == Silence("part 1", 0, 7)
        clock.now += 3
        note_activity()
        clock.now += 2
        assert pulse.silence() == Silence("part 1", 2, 7)


def test_a_call_that_raises_is_over() -> None:
    pulse = pulse_at(Clock())
    with heartbeat_of_thread(pulse):
        with pytest.raises(ZeroDivisionError), calling("part 1"):
            raise ZeroDivisionError
        assert pulse.silence() is None


def test_an_abandoned_thread_is_cancelled_at_its_next_beat() -> None:
    with heartbeat_of_thread(pulse_at(Clock(), is_over=True)), calling("part 1"):
        mark_progress()
        with pytest.raises(Cancelled):
            note_activity()


def test_a_pulse_is_of_one_thread_and_of_its_block() -> None:
    clock = Clock()
    pulse = pulse_at(clock, is_over=True)
    with heartbeat_of_thread(pulse):
        other = Thread(target=note_activity)
        other.start()
        other.join()
        with heartbeat_of_thread(pulse_at(clock)):
            note_activity()
        with pytest.raises(Cancelled):
            note_activity()
    note_activity()
    with calling("a call"):
        mark_progress()


def test_a_thread_that_waits_between_two_calls_is_alive_and_can_be_stopped() -> None:
    clock = Clock()
    with heartbeat_of_thread(pulse_at(clock)), calling("part 1"):
        assert wait(0.01) is False
    with heartbeat_of_thread(pulse_at(clock, is_over=True)):
        began_s = time.monotonic()
        assert wait(60.0) is True
        assert time.monotonic() - began_s < 5


def test_a_thread_without_a_heartbeat_waits_the_whole_time() -> None:
    began_s = time.monotonic()
    assert wait(0.05) is False
    assert time.monotonic() - began_s >= 0.05
