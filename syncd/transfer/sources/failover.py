"""Failover between sources of the same bytes: each file is read from the first source that has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final

from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, SyncdError
from syncd.logs import Logger
from syncd.values.source import Source, Stream, ends_at, host_of, open_span, skipped_bytes

_log = Logger("syncd.transfer")


class FailoverSource:
    """A `Source` made of named ones, in the order of preference. Safe from several threads.

    A source that fails for a file is not used for that file again; the next one goes on at the same offset. The last
    source may be tried any number of times, and its errors reach the reader. The reader proves the bytes.
    """

    def __init__(self, sources: Sequence[tuple[str, Source]]) -> None:
        self._sources: Final = tuple(sources)
        self._lock = Lock()
        self._passed_over: dict[Entry, int] = {}

    def __call__(self, entry: Entry, offset_bytes: int) -> Stream:
        return self._open(entry, lambda source: source(entry, offset_bytes))

    def span(self, entry: Entry, offset_bytes: int, until_bytes: int) -> Stream:
        """See `values.source.RangedSource`."""
        return self._open(entry, lambda source: open_span(source, entry, offset_bytes, until_bytes))

    def _open(self, entry: Entry, opened: Callable[[Source], Stream]) -> Stream:
        while True:
            with self._lock:
                index = self._passed_over.get(entry, 0)
            source = self._sources[index][1]
            if index == len(self._sources) - 1:
                return opened(source)
            try:
                stream = opened(source)
            except Cancelled:
                raise
            except SyncdError as error:
                self._pass_over(entry, index, error)
            else:
                return _WatchedStream(stream, lambda error, index=index: self._pass_over(entry, index, error))  # type: ignore[misc]

    def _pass_over(self, entry: Entry, index: int, error: SyncdError) -> None:
        with self._lock:
            self._passed_over[entry] = max(self._passed_over.get(entry, 0), index + 1)
        names = [name for name, _ in self._sources]
        _log.warning(
            "source.skipped",
            message="The source failed for a file; the next one is read.",
            source=names[index],
            next=names[index + 1],
            path=entry.path,
            error=error.message,
        )


class _WatchedStream:
    """A stream that reports when it breaks off."""

    def __init__(self, stream: Stream, broke: Callable[[SyncdError], None]) -> None:
        self._stream = stream
        self._broke = broke
        self.until_bytes: Final = ends_at(stream)
        self.host: Final = host_of(stream)
        self.skipped_bytes: Final = skipped_bytes(stream)

    def readinto(self, buffer: memoryview) -> int:
        try:
            return self._stream.readinto(buffer)
        except Cancelled:
            raise
        except SyncdError as error:
            self._broke(error)
            raise

    def __enter__(self) -> _WatchedStream:
        self._stream.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)
