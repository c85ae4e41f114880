"""Health of the process: its loop, its first polls, and what its checks found. For probes, and for systemd."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable
from typing import Final

from syncd.daemon.components import Components

SILENT_TICKS: Final = 20  # as in the systemd unit's watchdog
SILENT_AT_LEAST_S: Final = 30.0  # a pass waits for a locked database


class Health:
    """Written by the loop and the polls, read by the API. Safe from several threads."""

    def __init__(self, registries: Iterable[str], tick_s: float, components: Components | None = None) -> None:
        self.components: Final = components or Components((), {})
        self._silent_after_s = max(SILENT_AT_LEAST_S, SILENT_TICKS * tick_s)
        self._lock = threading.Lock()
        self._unpolled = set(registries)
        self._beat = time.monotonic()
        self._poll_ended_s: dict[str, float] = {}

    def beat(self) -> None:
        """Record that the loop begins a pass."""
        with self._lock:
            self._beat = time.monotonic()

    def record_poll(self, registry: str) -> None:
        """Record the end of a poll, successful or not: a registry's availability is not this process's health."""
        with self._lock:
            self._unpolled.discard(registry)
            self._poll_ended_s[registry] = time.time()

    def stand_by(self) -> None:
        """Be ready without a poll: a stand-by answers reads and takes requests, and polls nothing."""
        with self._lock:
            self._unpolled.clear()

    def silent_s(self) -> float:
        """Seconds since the loop began a pass."""
        with self._lock:
            return time.monotonic() - self._beat

    def poll_ended_s(self) -> dict[str, float]:
        """When the last poll of each registry ended, well or not, in seconds since 1970."""
        with self._lock:
            return dict(self._poll_ended_s)

    def is_alive(self) -> bool:
        """Whether the loop began a pass recently."""
        with self._lock:
            return time.monotonic() - self._beat < self._silent_after_s

    def unpolled(self) -> tuple[str, ...]:
        """Registries that were not polled since the start."""
        with self._lock:
            return tuple(sorted(self._unpolled))


def notify(message: str) -> bool:
    """Send systemd (sd_notify(3)) `READY=1`, `WATCHDOG=1`, `STOPPING=1` or `STATUS=…`. Returns whether it was sent."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall(message.encode())
    except OSError:  # systemd restarting, or a stale variable: never a reason to fail
        return False
    return True
