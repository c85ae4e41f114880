"""Why everything stops: somebody said so, the source failed, or we made a mistake."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event, Lock
from types import TracebackType
from typing import Final

_LOOK_S: Final = 0.1


class CancelScope:
    """One for a copy. Safe from several threads. `leave_s` is how long those told to stop are waited for."""

    def __init__(self, stop: Event, leave_s: float) -> None:
        self._stop = stop
        self._leave_s = leave_s
        self._lock = Lock()
        self._since_s: float | None = None
        self.reason: BaseException | None = None

    def is_set(self) -> bool:
        return self._stop.is_set() or self.reason is not None

    def has_waited(self) -> bool:
        """Whether who has not stopped by now is to be left behind. The time runs from the first question."""
        if not self.is_set():
            return False
        with self._lock:
            self._since_s = self._since_s or time.monotonic()
            return time.monotonic() - self._since_s >= self._leave_s

    def trip(self, reason: BaseException) -> None:
        """Stop everything. The first reason is the one that is told."""
        with self._lock:
            self.reason = self.reason or reason

    def mistakes(self) -> AbstractContextManager[None]:
        """For work that reports its own failures: what is raised all the same is a mistake of ours, and trips."""
        return _Mistakes(self)

    def wait(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait, and say whether to stop; `is_enough` is another reason to."""
        until = time.monotonic() + seconds
        while not self.is_set() and not is_enough():
            rest_s = until - time.monotonic()
            if rest_s <= 0:
                return False
            self._stop.wait(min(rest_s, _LOOK_S))
        return True


class _Mistakes(AbstractContextManager[None]):
    def __init__(self, halt: CancelScope) -> None:
        self._halt = halt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        if error is not None:
            self._halt.trip(error)
        return True
