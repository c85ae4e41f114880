"""Base image checks: resolves the base of each target's images at intervals."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from syncd.errors import SyncdError, Unavailable
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.base_images import check

BASE_CHECK_EVERY_S: Final = 30.0  # how often the job tests whether a check is due
REBUILD_EVERY_S: Final = 5.0  # how soon after a check a release is created; it reads only the record
_FIRST_WAIT_S: Final = 60.0
_JITTER: Final = 0.1  # of the interval, either way, so that daemons and targets do not query a registry at once


class BaseImageChecks:
    """Periodic check of one target's base. Failures back off exponentially, up to `every_s`."""

    def __init__(
        self, context: Context, target: str, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._target = target
        self._every_s = every_s
        self._clock = clock
        self._wait_s = 0.0
        self._not_before = clock()

    def __call__(self) -> None:
        """Check if it is due. Raises what the check raises; a delay that the registry requests is kept."""
        if self._clock() < self._not_before:
            return
        try:
            check(self._context, self._target)
        except SyncdError as error:
            self._wait_s = min(max(_FIRST_WAIT_S, 2 * self._wait_s), self._every_s)
            requested_s = error.retry_after_s if isinstance(error, Unavailable) else None
            self._not_before = self._clock() + max(self._wait_s, requested_s or 0.0)
            raise
        self._wait_s = 0.0
        self._not_before = self._clock() + self._every_s * (1 - _JITTER + 2 * _JITTER * self._context.chance())
