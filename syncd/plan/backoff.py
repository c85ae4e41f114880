"""How long a step that failed waits, and when it stops trying. `chance` is a number in [0, 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from syncd.errors import (
    Conflict,
    Corrupt,
    Failed,
    Invalid,
    KeyRefused,
    NotFound,
    NotYet,
    Refused,
    SyncdError,
    Unavailable,
)

# How often a step is tried in all, by the kind of failure. A wrong setting does not repair itself; bytes that were
# corrupted on the wire, or an alias that is being moved, may be right the next time.
_TRIES: Final[Mapping[type[SyncdError], int]] = {
    Invalid: 1,
    KeyRefused: 1,  # before Refused, which it is too
    Refused: 2,
    NotFound: 3,
    Conflict: 3,
    Corrupt: 3,
    Failed: 3,
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`failures_max` bounds the tries for what may pass by itself; the wait doubles from `base_s` up to `cap_s`."""

    failures_max: int
    base_s: float
    cap_s: float


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again after this long."""

    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A person has to act first."""


def next_action(
    error: SyncdError, failures: int, patience: RetryPolicy, chance: float, *, progressed: bool = False
) -> RetryLater | GiveUp:
    """What to do after the `failures`-th failure (from 1). The server's own delay is a lower bound of ours.

    Waiting for something that has not come yet is not a failure, and is never given up by counting; nor is an attempt
    that made progress.
    """
    if isinstance(error, NotYet):
        return RetryLater(max(error.retry_after_s or 0.0, patience.base_s))
    tries = next((n for kind, n in _TRIES.items() if isinstance(error, kind)), patience.failures_max)
    if failures >= min(tries, patience.failures_max) and not progressed:
        return GiveUp()
    return RetryLater(wait_s(error, failures, patience, chance))


def wait_s(error: SyncdError, failures: int, patience: RetryPolicy, chance: float) -> float:
    """The growing, jittered delay before try number `failures` + 1, for steps that never give up too."""
    ceiling: float = min(patience.cap_s, patience.base_s * 2.0 ** min(failures - 1, 30))
    wait: float = ceiling * (0.5 + 0.5 * chance)
    asked = error.retry_after_s if isinstance(error, Unavailable) else None
    return max(wait, asked or 0.0)
