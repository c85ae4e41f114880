"""Checksum cache: what the store reported of files that this process has put or checked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Final

from syncd.store.base import Stat

_VERSIONS_MAX: Final = 16  # of those begun here and not sealed, the latest; files of the others are checked one by one


class ChecksumCache:
    """Of one store, by the directory of the version. Safe from several threads; not kept over a restart."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._told: OrderedDict[str, dict[str, Stat]] = OrderedDict()

    def keep(self, directory: str, stat: Stat) -> None:
        """Keep what the store reported of a file."""
        with self._lock:
            self._told.setdefault(directory, {})[stat.key] = stat
            self._told.move_to_end(directory)
            if len(self._told) > _VERSIONS_MAX:
                self._told.popitem(last=False)

    def of(self, directory: str) -> Mapping[str, Stat]:
        """All of one version, by key."""
        with self._lock:
            return dict(self._told.get(directory, {}))

    def forget(self, directory: str) -> None:
        """Forget a version: it is sealed, withdrawn, or to be checked anew. Repeating it is success."""
        with self._lock:
            self._told.pop(directory, None)
