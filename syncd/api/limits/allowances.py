"""Rate limits of tokens: a token bucket each, which holds the requests of one minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_MINUTE_S = 60.0


@dataclass(slots=True)
class _Allowance:
    left: float
    at_s: float


class Allowances:
    """The token buckets of this process. Its methods are called in the server's event loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: dict[str, _Allowance] = {}  # by the names of tokens that exist: bounded by the record

    def take(self, name: str, per_minute: int) -> int:
        """Count one request. Returns 0 if it is allowed, else the seconds to wait; `per_minute` 0 means unlimited."""
        if not per_minute:
            return 0
        now_s = self._clock()
        found = self._of.setdefault(name, _Allowance(per_minute, now_s))
        found.left = min(per_minute, found.left + (now_s - found.at_s) * per_minute / _MINUTE_S)
        found.at_s = now_s
        if found.left >= 1:
            found.left -= 1
            return 0
        return max(1, math.ceil((1 - found.left) * _MINUTE_S / per_minute))
