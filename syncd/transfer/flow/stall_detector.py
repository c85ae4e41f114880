"""Stall detector: a leaky bucket that fills while other targets wait for this one."""

from __future__ import annotations

from typing import Final

_FAR_BEHIND: Final = 0.25  # of what it was given: no hiccup, another speed
_HASTE: Final = 0.1  # of the patience, where the target never kept pace


class StallDetector:
    """For one target. Needs a lock where several threads use it.

    A target that costs the others less than half of their time is never stalled. One that has kept pace until now is
    given more time than one that never did.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._level_s = 0.0
        self._seen_s = float("-inf")

    def note(self, waited_s: float, now_s: float, share: float = 1.0) -> bool:
        """Note that the others have waited for it until now. Returns whether it is stalled.

        `share` is what it has done by now of what it was given, of which the others have done all. Two threads
        that waited through the same second count it once.
        """
        passed_s = now_s - self._seen_s
        self._seen_s = now_s
        waited_s = min(waited_s, passed_s)
        self._level_s = max(0.0, self._level_s + waited_s - (passed_s - waited_s))
        return self._level_s > self._patience_s * (_HASTE if share < _FAR_BEHIND else 1.0)
