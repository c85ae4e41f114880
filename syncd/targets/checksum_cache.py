"""Checksum cache: what the store reported of files that this process has put or checked."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Collection
from hashlib import blake2b
from threading import Lock
from typing import Final

from syncd.store.base import Stat

_VERSIONS_MAX: Final = 16  # of those begun here and not sealed, the latest; files of the others are checked one by one
_MARK_BYTES: Final = 15  # with a million files, a chance of 2^-80 that one is taken for another


class ChecksumCache:
    """Of one store, by the directory of the version. Safe from several threads; not kept over a restart.

    Of each file a mark is kept, some 80 bytes: a version may have a million of them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._key: Final = secrets.token_bytes(16)
        self._marks: OrderedDict[str, set[int]] = OrderedDict()

    def keep(self, directory: str, stat: Stat) -> None:
        """Keep what the store reported of a file. What has no tag or no CRC could not be recognised: it is not kept."""
        if stat.crc64 is None or not stat.tag:
            return
        mark = self._mark(stat, stat.crc64)
        with self._lock:
            self._marks.setdefault(directory, set()).add(mark)
            self._marks.move_to_end(directory)
            if len(self._marks) > _VERSIONS_MAX:
                self._marks.popitem(last=False)

    def of(self, directory: str) -> Collection[int]:
        """All of one version: for `is_in`."""
        with self._lock:
            return self._marks.get(directory, frozenset())

    def is_in(self, marks: Collection[int], listed: Stat, crc64: int | None) -> bool:
        """Whether the object that is listed is one that the store reported with this CRC."""
        return bool(marks) and crc64 is not None and bool(listed.tag) and self._mark(listed, crc64) in marks

    def forget(self, directory: str) -> None:
        """Forget a version: it is sealed, withdrawn, or to be checked anew. Repeating it is success."""
        with self._lock:
            self._marks.pop(directory, None)

    def _mark(self, stat: Stat, crc64: int) -> int:
        text = f"{stat.key}\0{stat.tag}\0{stat.size_bytes}\0{crc64}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(text, digest_size=_MARK_BYTES, key=self._key).digest(), "big")
