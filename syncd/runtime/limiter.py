"""Per-region call limiter. Caps concurrent calls and pauses all callers during Retry-After."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from syncd.errors import Unavailable

T = TypeVar("T")

PAUSE_MAX_S: Final = 20.0  # a longer pause raises Unavailable with the remaining time


class CallLimiter:
    """The calls to one region, from any number of threads."""

    def __init__(
        self,
        in_flight_max: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._slots: Final = threading.BoundedSemaphore(in_flight_max)
        self._clock: Final = clock
        self._sleep: Final = sleep
        self._not_before_s = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a slot and for the end of a pause; then make one call. A throttled call starts a pause.

        Raises:
            Unavailable: The pause is longer than PAUSE_MAX_S.
        """
        with self._slots:
            self._wait()
            try:
                yield
            except Unavailable as busy:
                if busy.retry_after_s:
                    self._not_before_s = max(self._not_before_s, self._clock() + busy.retry_after_s)
                raise

    def limited(self, call: Callable[[], T]) -> T:
        """Make one call in a `turn`. Raises: as `turn`, and what `call` raises."""
        with self.turn():
            return call()

    def _wait(self) -> None:
        left_s = self._not_before_s - self._clock()
        while left_s > 0:  # again, if another call was refused meanwhile
            if left_s > PAUSE_MAX_S:
                raise Unavailable(f"the region requested a pause of {left_s:.0f} s more", retry_after_s=left_s)
            self._sleep(left_s)
            left_s = self._not_before_s - self._clock()
