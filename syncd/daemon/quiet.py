"""Jobs that rest while the record does not change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SAFETY_S: Final = 30.0  # a job that rests runs this often nevertheless


class WhenChanged:
    """A periodic job that is left out while what it depends on is as it was at its last run.

    `work` returns something true where time alone makes more due, and then runs the next time too. So it does after an
    error.
    """

    def __init__(
        self,
        work: Callable[[], object],
        basis: Callable[[], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`basis` is read before `work` runs; it is compared by value."""
        self._work = work
        self._basis = basis
        self._clock = clock
        self._done: tuple[object, float] | None = None

    def __call__(self) -> None:
        """Run the job if it is due. Raises what the job raises."""
        basis, now_s = self._basis(), self._clock()
        if self._done is not None and self._done[0] == basis and now_s < self._done[1] + SAFETY_S:
            return
        self._done = None
        if not self._work():
            self._done = basis, now_s
