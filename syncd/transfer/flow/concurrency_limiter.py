"""Per-target concurrency limiter. Caps requests in flight and pauses all callers during Retry-After."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock
from typing import Final

from syncd.errors import Cancelled, Unavailable
from syncd.retry import Pace

_POLL_S: Final = 0.1
FIRST: Final = 4  # enough to fill a fast line, and few enough for a store that is slow
_ROUND_PARTS_MIN: Final = 8  # fewer say nothing about a rate
_GAIN: Final = 0.25  # of what it would bring if each did as much as those before
_HOLD_ROUNDS: Final = 8  # after a step that brought nothing, or was refused
_REQUEST_BYTES: Final = 256 << 10  # what a request costs beside its bytes, so that small files count as well


class AdaptiveConcurrency:
    """Adaptive concurrency: rises while throughput rises, halves when the target refuses calls.

    Pure: the time is an argument. Needs a lock where several threads use it.
    """

    def __init__(self, most: int) -> None:
        self.allowed = min(FIRST, most)
        self._most: Final = most
        self._era = 0  # one for each time it was slowed down
        self._before: tuple[int, float] | None = None  # what was allowed before the last step up, and brought then
        self._is_quick = True  # until something was refused or brought nothing it doubles
        self._hold = 0
        self._begin: float | None = None
        self._done = self._bytes = 0

    @property
    def era(self) -> int:
        """To be remembered when a call begins, and given to `refused`."""
        return self._era

    def sent(self, size_bytes: int, now_s: float, *, is_short: bool) -> None:
        """A part got through. `is_short`: others wait only because no more are allowed."""
        if self._begin is None or not is_short:
            self._restart(now_s)
            return
        self._done += 1
        self._bytes += size_bytes + _REQUEST_BYTES
        if self._done >= max(_ROUND_PARTS_MIN, 2 * self.allowed) and now_s > self._begin:
            rate = self._bytes / (now_s - self._begin)
            self._restart(now_s)
            self._evaluate(rate)

    def refused(self, era: int) -> None:
        """The target said that it is too much, or did not answer, to a call that began in this era.

        What was on its way when it was slowed down says nothing new.
        """
        if era != self._era:
            return
        self._era += 1
        self.allowed = max(1, self.allowed // 2)
        self._hold, self._before, self._is_quick, self._begin = _HOLD_ROUNDS, None, False, None

    def _restart(self, now_s: float) -> None:
        self._begin, self._done, self._bytes = now_s, 0, 0

    def _evaluate(self, rate: float) -> None:
        if self._before is not None:
            allowed, was = self._before
            if rate < was * (1 + _GAIN * (self.allowed - allowed) / allowed):
                self.allowed, self._hold, self._before, self._is_quick = allowed, _HOLD_ROUNDS, None, False
                return
        if self._hold:
            self._hold -= 1
        elif self.allowed < self._most:
            self._before = (self.allowed, rate)
            self.allowed = min(self._most, 2 * self.allowed if self._is_quick else self.allowed + 1)
        else:
            self._before = None


class ConcurrencyLimiter:
    """For one copy to one target, whose `pace` all its callers share. Safe from several threads."""

    def __init__(
        self,
        parts_in_flight: int,
        is_over: Callable[[], bool],
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pace: Final = pace
        self._concurrency = AdaptiveConcurrency(parts_in_flight)
        self._is_over = is_over
        self._clock = clock
        self._changed = Condition(Lock())
        self._in_flight = self._waiting = 0

    @property
    def allowed(self) -> int:
        """How many calls may be made at once now."""
        return self._concurrency.allowed

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait until one more call may be made, and make it inside. A call that is Unavailable slows all of them down.

        Raises:
            Cancelled: The target was given up before the call could be made.
        """
        era = self._enter()
        try:
            with self.pace.counted():
                yield
        except Unavailable:
            with self._changed:
                self._concurrency.refused(era)
            raise
        finally:
            with self._changed:
                self._in_flight -= 1
                if self._waiting:
                    self._changed.notify()

    def sent(self, size_bytes: int, *, is_short: bool) -> None:
        """So many bytes got through. `is_short`: more parts wait than may be sent at once."""
        with self._changed:
            self._concurrency.sent(size_bytes, self._clock(), is_short=is_short)

    def _enter(self) -> int:
        with self._changed:
            self._waiting += 1
            try:
                while (wait_s := self._wait_s()) > 0:
                    if self._is_over():
                        raise Cancelled("stopped while waiting to call the target")
                    self._changed.wait(wait_s)
            finally:
                self._waiting -= 1
            self._in_flight += 1
            return self._concurrency.era

    def _wait_s(self) -> float:
        if self._in_flight >= self._concurrency.allowed:
            return _POLL_S
        return min(_POLL_S, self.pace.quiet_s())
