"""How much must end before something can."""

from __future__ import annotations

from threading import Lock


class Countdown:
    """A count that begins with one: whoever begins the rest counts too. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 1

    def more(self, count: int = 1) -> None:
        """So many more must end. To be said before any of them can."""
        with self._lock:
            self._count += count

    def ended(self) -> bool:
        """One has ended. Whether it was the last."""
        with self._lock:
            self._count -= 1
            return not self._count
