"""Whose turn it is to call a target: no more at once than its pace allows, and nobody while it wants to be left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock
from typing import Final

from syncd.errors import Cancelled, Unavailable
from syncd.transfer.flow.adaptive_concurrency import AdaptiveConcurrency

_LOOK_S: Final = 0.1


class ConcurrencyLimiter:
    """For one target. Safe from several threads."""

    def __init__(
        self, parts_in_flight: int, is_over: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pace = AdaptiveConcurrency(parts_in_flight)
        self._is_over = is_over
        self._clock = clock
        self._changed = Condition(Lock())
        self._under_way = self._wanted = 0
        self._quiet_until_s = float("-inf")

    @property
    def allowed(self) -> int:
        """How many calls may be made at once now."""
        return self._pace.allowed

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until one more call may be made, and make it inside. A call that is Unavailable slows all of them down.

        Raises:
            Cancelled: There was no turn before the target was out.
        """
        era = self._enter()
        try:
            yield
        except Unavailable as error:
            self._refused(era, error.retry_after_s or 0.0)
            raise
        finally:
            with self._changed:
                self._under_way -= 1
                if self._wanted:
                    self._changed.notify()

    def sent(self, size_bytes: int, *, is_short: bool) -> None:
        """So many bytes got through. `is_short`: more parts wait than there are turns."""
        with self._changed:
            self._pace.sent(size_bytes, self._clock(), is_short=is_short)

    def _enter(self) -> int:
        with self._changed:
            self._wanted += 1
            try:
                while (wait_s := self._wait_s()) > 0:
                    if self._is_over():
                        raise Cancelled("told to stop while waiting for a turn")
                    self._changed.wait(wait_s)
            finally:
                self._wanted -= 1
            self._under_way += 1
            return self._pace.era

    def _wait_s(self) -> float:
        if self._under_way >= self._pace.allowed:
            return _LOOK_S
        if self._quiet_until_s == float("-inf"):
            return 0.0
        return min(_LOOK_S, self._quiet_until_s - self._clock())

    def _refused(self, era: int, quiet_s: float) -> None:
        with self._changed:
            self._pace.refused(era)
            if quiet_s:
                self._quiet_until_s = max(self._quiet_until_s, self._clock() + quiet_s)
