"""Limit of the requests that read parts of files at once from one host, over all files and copies of a process."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Final

STREAMS_PER_HOST: Final = 16


class StreamLimit:
    """One for a process. Safe from several threads."""

    def __init__(self, per_host: int = STREAMS_PER_HOST) -> None:
        self.per_host: Final = per_host
        self._lock = Lock()
        self._open = Counter[str]()

    def enter(self, host: str, *, is_first: bool) -> bool:
        """Whether one more may be made. The first of a file always may: every file that is read goes on."""
        with self._lock:
            if not is_first and self._open[host] >= self.per_host:
                return False
            self._open[host] += 1
            return True

    def leave(self, host: str) -> None:
        """One has ended."""
        with self._lock:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]
