"""The one place where a call is made again: named errors only, bounded in number and in time.

A step that keeps failing is not retried here but waits in the record. SDKs below do not retry at all.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from syncd.errors import Cancelled, OutcomeUnknown, SyncdError, Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and for how long one call is tried. The wait before try n is a random part of `base_s * 2**n`."""

    attempts_max: int = 6
    elapsed_max_s: float = 120.0
    base_s: float = 0.2
    cap_s: float = 20.0


def sleep(seconds: float) -> bool:
    """Wait without being disturbed: the `wait` of a call that nobody can cancel."""
    time.sleep(seconds)
    return False


def call(
    policy: Retry,
    fn: Callable[[], T],
    *,
    on: tuple[type[SyncdError], ...] = (Unavailable,),
    wait: Callable[[float], bool] = sleep,
    clock: Callable[[], float] = time.monotonic,
    chance: Callable[[], float] = random.random,
) -> T:
    """Call `fn` until it answers, with full jitter between the tries.

    `wait(seconds)` waits and says whether the work was cancelled meanwhile: `threading.Event().wait` does. A server's
    own `retry_after_s` is never undercut. `OutcomeUnknown` is retried only if `on` names it: an adapter
    raises it where doing the thing again could do harm.

    Raises:
        Cancelled: `wait` said so. The last error is its cause.
        SyncdError: The last error, when tries or time have run out, or at once one that `on` does not name.
    """
    began = clock()
    tried = 0
    while True:
        try:
            return fn()
        except on as error:
            tried += 1
            if isinstance(error, OutcomeUnknown) and OutcomeUnknown not in on:
                raise
            pause_s = _pause_s(policy, tried, error, chance)
            if tried >= policy.attempts_max or clock() - began + pause_s > policy.elapsed_max_s:
                raise
            if wait(pause_s):
                raise Cancelled(f"told to stop while waiting to try again: {error.message}") from error


def _pause_s(policy: Retry, tried: int, error: SyncdError, chance: Callable[[], float]) -> float:
    ceiling_s = min(policy.cap_s, policy.base_s * 2.0 ** min(tried, 62))
    told_s = (error.retry_after_s if isinstance(error, Unavailable) else None) or 0.0
    return max(told_s, chance() * ceiling_s)
