"""Turns on one record: a process that is announced has others give way, and waits for the lock until they do."""

from __future__ import annotations

import threading
import time

import pytest
from syncd.engine.lock import Claimant, announce, hold, is_announced
from syncd.errors import Conflict

WAIT_S = 20.0


@pytest.mark.parametrize("claimant", list(Claimant))
def test_an_announcement_is_seen_as_long_as_it_lasts(database_url: str, claimant: Claimant) -> None:
    assert not is_announced(database_url, claimant)
    with announce(database_url, claimant):
        assert is_announced(database_url, claimant)
        with hold(database_url):
            assert is_announced(database_url, claimant), "the lock of the work is another one"
        with pytest.raises(Conflict, match="served by another process"), announce(database_url, claimant):
            pass
    assert not is_announced(database_url, claimant)


def test_a_look_does_not_keep_a_process_from_announcing_itself(database_url: str) -> None:
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.005):
            is_announced(database_url, Claimant.DAEMON)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in lookers:
        thread.start()
    try:
        with announce(database_url, Claimant.DAEMON):
            pass
    finally:
        ended.set()
        for thread in lookers:
            thread.join()


def test_a_lock_is_waited_for_until_it_is_free(database_url: str) -> None:
    taken, left = threading.Event(), threading.Event()

    def work() -> None:
        with hold(database_url):
            taken.set()
            left.wait(WAIT_S)

    worker = threading.Thread(target=work)
    worker.start()
    assert taken.wait(WAIT_S)
    began = time.monotonic()
    with pytest.raises(Conflict), hold(database_url, wait_s=0.3):
        pass
    assert time.monotonic() >= began + 0.3
    left.set()
    with hold(database_url, wait_s=WAIT_S):
        pass
    worker.join()
