"""Why everything stops: somebody said so, the source failed, or we made a mistake."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Lock
from typing import Final

_LOOK_S: Final = 0.1


class Halt:
    """One for a copy. Safe from several threads."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._lock = Lock()
        self.reason: BaseException | None = None

    def is_set(self) -> bool:
        return self._stop.is_set() or self.reason is not None

    def trip(self, reason: BaseException) -> None:
        """Stop everything. The first reason is the one that is told."""
        with self._lock:
            self.reason = self.reason or reason

    def look(self, done: Future[None]) -> None:
        """For work that reports its own failures: what is raised all the same is a mistake of ours."""
        error = done.exception()
        if error is not None:
            self.trip(error)

    def wait(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait, and say whether to stop; `is_enough` is another reason to."""
        until = time.monotonic() + seconds
        while not self.is_set() and not is_enough():
            rest_s = until - time.monotonic()
            if rest_s <= 0:
                return False
            self._stop.wait(min(rest_s, _LOOK_S))
        return True
