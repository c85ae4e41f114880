"""Files of which the registry gives no ranges: checked by their formats as their bytes pass, before the seal."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Final

import structlog

from syncd.artifact.manifest import Entry, Manifest
from syncd.formats.check import check
from syncd.formats.contents import Contents
from syncd.formats.spans import Passing
from syncd.transfer import Source
from syncd.values.source import Stream, open_span

log = structlog.get_logger("syncd.place")


class CheckedSource:
    """A source around another. Safe from several threads, each of which reads files from their beginnings on.

    A file that is broken off and opened again where it was left is checked as one. The last read of a file that is
    damaged raises what `formats.check.check` does, so that nothing of it is made visible.
    """

    def __init__(self, source: Source, manifest: Manifest, unchecked: Collection[str]) -> None:
        self._source: Final = source
        self._paths: Final = frozenset(entry.path for entry in manifest.entries)
        self._unchecked: Final = unchecked
        self._lock: Final = threading.Lock()
        self._passing: Final[dict[str, Passing[Contents]]] = {}

    def __call__(self, entry: Entry, offset_bytes: int) -> Stream:
        """See `transfer.Source`."""
        stream = self._source(entry, offset_bytes)
        passing = self._find(entry, offset_bytes) if entry.path in self._unchecked else None
        return stream if passing is None else _CheckedStream(stream, entry, passing)

    def span(self, entry: Entry, offset_bytes: int, until_bytes: int) -> Stream:
        """See `values.source.RangedSource`. What is checked as it passes is read in order."""
        if entry.path in self._unchecked:
            return self(entry, offset_bytes)
        return open_span(self._source, entry, offset_bytes, until_bytes)

    def _find(self, entry: Entry, offset_bytes: int) -> Passing[Contents] | None:
        with self._lock:
            if not offset_bytes:
                self._passing[entry.path] = Passing(check(entry.path, entry.size_bytes, self._paths))
            found = self._passing.get(entry.path)
            return found if found is not None and found.at_bytes == offset_bytes else None


class _CheckedStream:
    """See `values.source.Stream`."""

    def __init__(self, stream: Stream, entry: Entry, passing: Passing[Contents]) -> None:
        self._stream = stream
        self._entry = entry
        self._passing = passing

    def readinto(self, buffer: memoryview) -> int:
        """See `values.source.Stream`. Raises Corrupt, Invalid: These were the last bytes, and the file is damaged."""
        count = self._stream.readinto(buffer)
        if count:
            self._passing.add(buffer[:count])
            if self._passing.at_bytes == self._entry.size_bytes and self._passing.end() is None:
                log.warning(
                    "file.not_checked", path=self._entry.path, reason="what its format needs had passed already"
                )
        return count

    def __enter__(self) -> _CheckedStream:
        self._stream.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)
