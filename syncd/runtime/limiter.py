"""How a region is asked: a few calls at once, and none while it wants to be left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from syncd.errors import Unavailable

T = TypeVar("T")

PAUSE_MAX_S: Final = 20.0  # a longer one is not slept through: whoever asks is told when to come back


class CallLimiter:
    """One region's calls, from any number of threads."""

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
        """Wait for a place, and for the end of a pause; then make one call. A call that was throttled begins a pause.

        Raises:
            Unavailable: The region is to be left alone for longer than one waits for it.
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
                raise Unavailable(f"the region asked to be left alone for {left_s:.0f} s more", retry_after_s=left_s)
            self._sleep(left_s)
            left_s = self._not_before_s - self._clock()
