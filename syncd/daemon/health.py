"""Whether the process is well: its loop turns, and every registry was looked at once. For those who probe it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Final

SILENT_TICKS: Final = 20  # as the watchdog of the systemd unit
SILENT_AT_LEAST_S: Final = 30.0  # a pass waits for a database that is locked


class Health:
    """Written by the loop and the polls, read by the API. Safe from several threads."""

    def __init__(self, registries: Iterable[str], tick_s: float) -> None:
        self._silent_after_s = max(SILENT_AT_LEAST_S, SILENT_TICKS * tick_s)
        self._lock = threading.Lock()
        self._unseen = set(registries)
        self._beat = time.monotonic()

    def beat(self) -> None:
        """The loop begins a pass."""
        with self._lock:
            self._beat = time.monotonic()

    def looked(self, registry: str) -> None:
        """A look at a registry has ended, well or not: whether one can be read is not this process's health."""
        with self._lock:
            self._unseen.discard(registry)

    def is_turning(self) -> bool:
        """Whether the loop began a pass not long ago."""
        with self._lock:
            return time.monotonic() - self._beat < self._silent_after_s

    def unseen(self) -> tuple[str, ...]:
        """The registries that were not looked at yet since the start."""
        with self._lock:
            return tuple(sorted(self._unseen))
