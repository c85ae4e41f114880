"""Refusal log: says once what was left out of a listing, and why."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from syncd.logs import Logger

_TOLD_MAX: Final = 10_000
_log = Logger()


class RefusalLog:
    """Says once what was left out of a listing, and why."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: OrderedDict[str, None] = OrderedDict()

    def tell(self, what: str, error: Exception, hint: str = "") -> None:
        """Log it unless the same was said before."""
        key = f"{what}: {error}"
        with self._lock:
            told = key in self._told
            self._told[key] = None
            while len(self._told) > _TOLD_MAX:
                self._told.popitem(last=False)
        if not told:
            _log.warning("registry.version_refused", version=what[:200], reason=str(error), hint=hint)
