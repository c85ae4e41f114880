"""What the store itself said of the files that this process has put into versions that are not sealed yet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Final

from syncd.store.base import Stat

_VERSIONS_MAX: Final = 16  # of those begun here and not sealed, the latest; the others are asked for file by file


class ChecksumCache:
    """Of one store, by the directory of the version. Safe from several threads; nothing outlasts the process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._told: OrderedDict[str, dict[str, Stat]] = OrderedDict()

    def keep(self, directory: str, stat: Stat) -> None:
        """The store has accepted a file and said what it holds."""
        with self._lock:
            self._told.setdefault(directory, {})[stat.key] = stat
            self._told.move_to_end(directory)
            if len(self._told) > _VERSIONS_MAX:
                self._told.popitem(last=False)

    def take(self, directory: str) -> Mapping[str, Stat]:
        """All of one version, by key; they are forgotten here."""
        with self._lock:
            return self._told.pop(directory, {})
