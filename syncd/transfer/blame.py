"""When a target costs the others too much: a bucket that fills while they wait for it, and else empties."""

from __future__ import annotations


class Blame:
    """For one target. Needs a lock where several threads use it.

    Who costs the others less than half of their time is never too much.
    """

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
        waited_s = min(waited_s, passed_s)
        self._level_s = max(0.0, self._level_s + waited_s - (passed_s - waited_s))
        return self._level_s > self._patience_s
