"""Looks up the base of a target's images on a clock of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from syncd.errors import SyncdError, Unavailable
from syncd.reconcile.context import Context
from syncd.reconcile.discovery.base_images import check

LOOKED_EVERY_S: Final = 30.0  # how often it is asked whether a look is due
REBUILT_EVERY_S: Final = 5.0  # how soon after a look a release is begun; it is asked of the record alone
_FIRST_WAIT_S: Final = 60.0
_JITTER: Final = 0.1  # of the interval, either way: daemons and targets are not all at a registry at once


class BaseImageChecks:
    """One target's chore: less and less often while the base cannot be looked up, never less than every `every_s`."""

    def __init__(
        self, context: Context, target: str, every_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rooms = context
        self._target = target
        self._every_s = every_s
        self._clock = clock
        self._wait_s = 0.0
        self._not_before = clock()

    def __call__(self) -> None:
        """Look, if it is time to. Raises what the look does; a registry's own delay is kept."""
        if self._clock() < self._not_before:
            return
        try:
            check(self._rooms, self._target)
        except SyncdError as error:
            self._wait_s = min(max(_FIRST_WAIT_S, 2 * self._wait_s), self._every_s)
            asked_s = error.retry_after_s if isinstance(error, Unavailable) else None
            self._not_before = self._clock() + max(self._wait_s, asked_s or 0.0)
            raise
        self._wait_s = 0.0
        self._not_before = self._clock() + self._every_s * (1 - _JITTER + 2 * _JITTER * self._rooms.chance())
