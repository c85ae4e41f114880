"""Refused callers: counted by name and address, and logged in few lines however many there are."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog

from syncd.state.access.refusals import RefusalCount, RefusalSummary

log = structlog.get_logger("syncd.api")

KEPT_MAX: Final = 200  # names with their addresses; the others are counted together
FORGOTTEN_S: Final = 3600.0  # after the last one
LINE_EVERY_S: Final = 60.0  # of one name and address
LINES_MAX: Final = 30  # of all, in LINE_EVERY_S
OTHERS: Final = "others"


@dataclass(slots=True)
class RefusedCaller:
    """What was refused under one name from one address. `reason` is that of the newest."""

    name: str
    address: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(slots=True)
class _Entry:
    caller: RefusedCaller
    logged_s: float | None = None  # None: not logged yet
    logged_count: int = 0


class RefusedCallers:
    """Counts refused callers. Bounded, whatever they send. Safe from several threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()  # the newest last
        self._minute_s = 0.0
        self._lines = 0

    def note(self, reason: str, name: str, address: str) -> None:
        """Count one. `name` is a token's or a webhook's name that exists, or "" if it is unknown who called."""
        now_s = self._clock()
        with self._lock:
            entry = self._entry(reason, name, address, now_s)
            line = self._is_due(entry, now_s)
            since = entry.caller.count - entry.logged_count
            if line:
                entry.logged_s, entry.logged_count = now_s, entry.caller.count
            caller = entry.caller
        if line:
            log.warning("caller.refused", message="A caller was refused.", reason=reason, name=caller.name,
                        address=caller.address, count=since)  # fmt: skip

    def listed(self) -> list[RefusedCaller]:
        """Those of the last hour, newest first."""
        with self._lock:
            self._forget(self._clock())
            return [replace(entry.caller) for entry in reversed(self._entries.values())]

    def summary(self) -> RefusalSummary:
        """How many of the last hour there are, and the callers with most of them."""
        return RefusalSummary.of([RefusalCount(**asdict(each)) for each in self.listed()])

    def _entry(self, reason: str, name: str, address: str, now_s: float) -> _Entry:
        self._forget(now_s)
        if (name, address) not in self._entries and len(self._entries) >= KEPT_MAX:
            name, address = "", OTHERS
        at = datetime.fromtimestamp(now_s, UTC)
        entry = self._entries.get((name, address))
        if entry is None:
            entry = self._entries[name, address] = _Entry(RefusedCaller(name, address, reason, 0, at, at))
        self._entries.move_to_end((name, address))
        entry.caller.count += 1
        entry.caller.reason, entry.caller.last_at = reason, at
        return entry

    def _is_due(self, entry: _Entry, now_s: float) -> bool:
        if now_s - self._minute_s >= LINE_EVERY_S or now_s < self._minute_s:
            self._minute_s, self._lines = now_s, 0
        is_recent = entry.logged_s is not None and 0 <= now_s - entry.logged_s < LINE_EVERY_S
        if is_recent or self._lines >= LINES_MAX:
            return False
        self._lines += 1
        return True

    def _forget(self, now_s: float) -> None:
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if now_s - oldest.caller.last_at.timestamp() < FORGOTTEN_S:
                return
            self._entries.popitem(last=False)
