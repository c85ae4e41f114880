"""Health of the process: its loop runs, and every registry was polled once. For liveness and readiness probes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Final

SILENT_TICKS: Final = 20  # as in the systemd unit's watchdog
SILENT_AT_LEAST_S: Final = 30.0  # a pass waits for a locked database


class Health:
    """Written by the loop and the polls, read by the API. Safe from several threads."""

    def __init__(self, registries: Iterable[str], tick_s: float) -> None:
        self._silent_after_s = max(SILENT_AT_LEAST_S, SILENT_TICKS * tick_s)
        self._lock = threading.Lock()
        self._unpolled = set(registries)
        self._beat = time.monotonic()

    def beat(self) -> None:
        """Record that the loop begins a pass."""
        with self._lock:
            self._beat = time.monotonic()

    def record_poll(self, registry: str) -> None:
        """Record the end of a poll, successful or not: a registry's availability is not this process's health."""
        with self._lock:
            self._unpolled.discard(registry)

    def is_alive(self) -> bool:
        """Whether the loop began a pass recently."""
        with self._lock:
            return time.monotonic() - self._beat < self._silent_after_s

    def unpolled(self) -> tuple[str, ...]:
        """Registries that were not polled since the start."""
        with self._lock:
            return tuple(sorted(self._unpolled))
