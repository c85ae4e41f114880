"""Many looks at once: in order, heard as the thread that asks, and ended by the first that fails."""

from __future__ import annotations

from threading import Barrier, Event, current_thread

import pytest
from syncd.errors import Cancelled, Unavailable
from syncd.targets.verify import together
from syncd.watchdog import Heartbeat, heartbeat_of_thread, note_activity

WAIT_S = 30


def test_answers_come_in_order_from_several_threads_at_once() -> None:
    met, threads = Barrier(4), set()

    def look(item: int) -> int:
        threads.add(current_thread())
        met.wait(WAIT_S)
        return item * item

    assert together(look, range(8), 4) == [n * n for n in range(8)]
    assert len(threads) == 4
    assert all(thread.daemon for thread in threads - {current_thread()})


def test_of_nothing_nothing_is_asked() -> None:
    assert together(lambda item: 1 // 0, (), 4) == []


def test_the_first_error_is_raised_and_what_has_not_begun_is_left_out() -> None:
    seen = []

    def look(item: int) -> None:
        seen.append(item)
        raise Unavailable(f"look {item}")

    with pytest.raises(Unavailable, match="look 0"):
        together(look, range(100), 1)
    assert seen == [0]


def test_who_is_called_off_is_called_off_in_all_its_threads() -> None:
    over = Event()
    met = Barrier(2, over.set)

    def look(item: int) -> None:
        met.wait(WAIT_S)
        note_activity()

    with heartbeat_of_thread(Heartbeat(over.is_set)), pytest.raises(Cancelled):
        together(look, range(2), 2)
