"""When a target costs the others too much: a bucket that fills while they wait for it, and leaks half as fast."""

from __future__ import annotations

from typing import Final

_LEAK: Final = 0.5  # who costs the others less than half of their time is never too much


class Blame:
    """For one target. Needs a lock where several threads use it."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._level_s = 0.0
        self._seen_s = float("-inf")

    def note(self, waited_s: float, now_s: float) -> bool:
        """The others have waited for it until now. Whether that is too much.

        Two who waited through the same second count it once.
        """
        passed_s = now_s - self._seen_s
        self._seen_s = now_s
        self._level_s = max(0.0, self._level_s - _LEAK * passed_s) + min(waited_s, passed_s)
        return self._level_s > self._patience_s
