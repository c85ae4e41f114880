"""Cancel scope of a copy: a stop request, a failed source or a bug stops every thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event, Lock
from types import TracebackType
from typing import Final

_POLL_S: Final = 0.1


class CancelScope:
    """One for a copy. Safe from several threads. `grace_s` is how long cancelled threads are waited for."""

    def __init__(self, stop: Event, grace_s: float) -> None:
        self._stop = stop
        self._grace_s = grace_s
        self._lock = Lock()
        self._since_s: float | None = None
        self.reason: BaseException | None = None

    def is_set(self) -> bool:
        return self._stop.is_set() or self.reason is not None

    def is_grace_over(self) -> bool:
        """Whether threads that have not stopped by now are abandoned. The time runs from the first call."""
        if not self.is_set():
            return False
        with self._lock:
            self._since_s = self._since_s or time.monotonic()
            return time.monotonic() - self._since_s >= self._grace_s

    def cancel(self, reason: BaseException) -> None:
        """Stop everything. The first reason is the one that is reported."""
        with self._lock:
            self.reason = self.reason or reason

    def bugs(self) -> AbstractContextManager[None]:
        """Context manager for work that reports its own failures: any exception in it is a bug, and cancels."""
        return _Bugs(self)

    def wait(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait, and return whether to stop; `is_enough` ends the wait as well."""
        until = time.monotonic() + seconds
        while not self.is_set() and not is_enough():
            rest_s = until - time.monotonic()
            if rest_s <= 0:
                return False
            self._stop.wait(min(rest_s, _POLL_S))
        return True


class _Bugs(AbstractContextManager[None]):
    def __init__(self, scope: CancelScope) -> None:
        self._scope = scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        if error is not None:
            self._scope.cancel(error)
        return True
