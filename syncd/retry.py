"""Call retries: the one place that repeats a call. Named errors only, bounded in number and in time.

This is the only retry layer of calls. A step that keeps failing is repeated by the record; the retries of SDKs are off.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Final, Protocol, TypeVar

from syncd.errors import Cancelled, OutcomeUnknown, SyncdError, Unavailable

T = TypeVar("T")

_WINDOW_S: Final = 600.0  # what `Pace` counts: the calls of the last five to ten minutes


@dataclass(frozen=True, slots=True)
class Retry:
    """Limits of the attempts of one call. The wait before attempt n is a random part of `base_s * 2**n`.

    A throttled call was not executed and shows that the other side is alive: it has twice as many attempts.
    """

    attempts_max: int = 6
    elapsed_max_s: float = 120.0
    base_s: float = 0.2
    cap_s: float = 20.0

    def tries(self, error: SyncdError) -> int:
        """How many tries a call has that ended with `error`."""
        is_throttled = isinstance(error, Unavailable) and bool(error.throttled)
        return 2 * self.attempts_max if is_throttled and self.attempts_max > 1 else self.attempts_max


class CallPolicy(Protocol):
    """Makes one call, and says how: once, or again where it fails."""

    def __call__(self, fn: Callable[[], T], /) -> T: ...


def once(fn: Callable[[], T]) -> T:
    """The `CallPolicy` that repeats nothing."""
    return fn()


def sleep(seconds: float) -> bool:
    """Wait the whole time: the `wait` of a call that cannot be cancelled."""
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
    """Call `fn` until it succeeds, with full jitter between the attempts.

    `wait(seconds)` waits and returns whether the work was cancelled meanwhile, as `threading.Event().wait` does. A
    server's `retry_after_s` is a lower bound of the wait. `OutcomeUnknown` is retried only if `on` names it: adapters
    raise it if a repetition could do harm.

    Raises:
        Cancelled: `wait` returned true. The last error is its cause.
        SyncdError: The last error, when attempts or time are exhausted; at once for one that `on` does not name.
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
            if tried >= policy.tries(error) or clock() - began + pause_s > policy.elapsed_max_s:
                raise
            if wait(pause_s):
                raise Cancelled(f"cancelled during the wait before a retry: {error.message}") from error


def _pause_s(policy: Retry, tried: int, error: SyncdError, chance: Callable[[], float]) -> float:
    ceiling_s = min(policy.cap_s, policy.base_s * 2.0 ** min(tried, 62))
    requested_s = (error.retry_after_s if isinstance(error, Unavailable) else None) or 0.0
    return max(requested_s, chance() * ceiling_s)


class Pace:
    """The pace of all calls to one place: pauses every caller for as long as the place asks, and counts refusals.

    One for each place and process. Safe from several threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock: Final = clock
        self._lock = Lock()
        self._quiet_until_s = float("-inf")
        self._since_s = clock()
        self._calls = self._calls_before = 0
        self._throttled, self._throttled_before = Counter[str](), Counter[str]()

    def quiet_s(self) -> float:
        """How long every caller has to wait, in seconds; 0 or less where a call may be made now."""
        return self._quiet_until_s - self._clock()

    def note(self, error: SyncdError | None) -> None:
        """Count a call by how it ended. One that names a time to wait pauses all callers for it."""
        with self._lock:
            self._roll()
            self._calls += 1
            if isinstance(error, Unavailable):
                if error.throttled:
                    self._throttled[error.throttled] += 1
                if error.retry_after_s:
                    self._quiet_until_s = max(self._quiet_until_s, self._clock() + error.retry_after_s)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Make one call inside; it is noted."""
        try:
            yield
        except SyncdError as error:
            self.note(error)
            raise
        self.note(None)

    def throttling(self) -> str:
        """The refusals of the last minutes, such as "throttled: 503 SlowDown, 58 of 6 000 calls"; empty without any."""
        with self._lock:
            self._roll()
            refused = self._throttled + self._throttled_before
            calls = self._calls + self._calls_before
        if not refused:
            return ""
        said = ", ".join(f"{what}, {_grouped(count)}" for what, count in refused.most_common(3))
        return f"throttled: {said} of {_grouped(calls)} calls"

    def explain(self, error: SyncdError) -> None:
        """Have the error of a throttled call say how many were refused."""
        if isinstance(error, Unavailable) and error.throttled and "throttled: " not in error.message:
            error.message = f"{self.throttling()}: {error.message}"
            error.args = (error.message,)

    def _roll(self) -> None:
        passed_s = self._clock() - self._since_s
        if passed_s < _WINDOW_S / 2:
            return
        is_recent = passed_s < _WINDOW_S
        self._calls_before = self._calls if is_recent else 0
        self._throttled_before = self._throttled if is_recent else Counter()
        self._calls, self._throttled, self._since_s = 0, Counter(), self._clock()


@dataclass(frozen=True, slots=True)
class PacedCaller:
    """A `CallPolicy` that keeps to a pace and tries again: each call by itself, so a lost one loses no others.

    `wait` is that of `call`.
    """

    policy: Retry
    pace: Pace
    wait: Callable[[float], bool] = sleep

    def __call__(self, fn: Callable[[], T], /) -> T:
        """Raises: as `call`."""
        try:
            return call(self.policy, lambda: self._paced(fn), wait=self.wait)
        except SyncdError as error:
            self.pace.explain(error)
            raise

    def _paced(self, fn: Callable[[], T]) -> T:
        while (left_s := self.pace.quiet_s()) > 0:
            if self.wait(left_s):
                raise Cancelled("stopped while waiting for a throttled place")
        with self.pace.counted():
            return fn()


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", " ")
