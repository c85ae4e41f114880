"""Refusal log: warns once about each version that was left out of a listing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from syncd.logs import Logger

_REMEMBERED_MAX: Final = 10_000
_log = Logger()


class RefusalLog:
    """Warns once about each version that was left out of a listing. Safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._warned: OrderedDict[str, None] = OrderedDict()

    def warn(self, what: str, error: Exception, hint: str = "") -> None:
        """Log the refusal, unless the same was logged before."""
        key = f"{what}: {error}"
        with self._lock:
            is_known = key in self._warned
            self._warned[key] = None
            while len(self._warned) > _REMEMBERED_MAX:
                self._warned.popitem(last=False)
        if not is_known:
            _log.warning(
                "registry.version_refused",
                message="A version of a registry was left out.",
                version=what[:200],
                reason=str(error),
                hint=hint,
            )
