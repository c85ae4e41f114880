"""Bandwidth limit of a process, over all its targets and files, by the time of day."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from datetime import time as TimeOfDay  # noqa: N812 - beside the module of the same name
from threading import Lock
from typing import Final

from syncd.errors import Cancelled

_POLL_S: Final = 0.5  # a waiting thread notices a stop, or a new limit, within this
_NO_TIME_S: Final = 0.001  # not worth a wait; below the grain of a clock it would not end
_BURST_S: Final = 0.25  # what may be saved up while nothing is sent


@dataclass(frozen=True, slots=True)
class RateWindow:
    """A limit for some hours of each day: from `since` on, before `until`, over midnight if that is the earlier."""

    since: TimeOfDay
    until: TimeOfDay
    limit_bytes_s: int  # 0: none

    def has(self, now: TimeOfDay) -> bool:
        """Whether it is one of these hours. The same time twice is the whole day."""
        if self.since < self.until:
            return self.since <= now < self.until
        return now >= self.since or now < self.until


@dataclass(frozen=True, slots=True)
class Timetable:
    """Which limit holds when. The first hours that fit count; outside of all of them `otherwise_bytes_s`.

    What the clocks on the wall say counts: hours that they skip in spring have no effect that day, and those that
    they show twice in autumn have it twice.
    """

    otherwise_bytes_s: int = 0  # 0: none
    hours: tuple[RateWindow, ...] = ()
    zone: tzinfo = UTC

    def limit(self, now: datetime) -> int:
        """Bytes a second; 0 for as many as there are."""
        there = now.astimezone(self.zone).time()
        return next((hours.limit_bytes_s for hours in self.hours if hours.has(there)), self.otherwise_bytes_s)


class Bandwidth:
    """One for a process. Safe from several threads; first come, first served.

    It works on credit: a caller goes at once when nothing is owed, and those after it wait until the debt is paid.
    So no part is too large, and over any time the rate is the limit, give or take one part for each thread.
    """

    def __init__(
        self,
        timetable: Timetable,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._timetable = timetable
        self._clock = clock
        self._now = now
        self._lock = Lock()
        self._asked = self._paid = 0.0  # bytes, since the beginning
        self._seen_s = clock()

    def take(self, size_bytes: int, wait: Callable[[float], bool]) -> None:
        """Wait until so many bytes may be sent.

        Raises:
            Cancelled: `wait` said so.
        """
        with self._lock:
            self._pay()
            mine = self._asked
            self._asked += size_bytes
        while (pause_s := self._pause_s(mine)) > _NO_TIME_S:
            if wait(min(pause_s, _POLL_S)):
                raise Cancelled("stopped while waiting for bandwidth")

    def _pause_s(self, mine: float) -> float:
        with self._lock:
            self._pay()
            limit = self._timetable.limit(self._now())
            return (mine - self._paid) / limit if limit else 0.0

    def _pay(self) -> None:
        now_s = self._clock()
        limit = self._timetable.limit(self._now())
        if limit:
            earned = (now_s - self._seen_s) * limit
            self._paid = min(self._paid + earned, self._asked + _BURST_S * limit)
        else:
            self._paid = self._asked
        self._seen_s = now_s
