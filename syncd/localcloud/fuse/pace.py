"""When a read of a slow mount is answered: the way to the store, the line that all reads share, and prefetching."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_PREFETCH_BYTES: Final = 16 << 20
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class MountPace:
    """How slow a mount is. `reopen_s`: a read that does not continue the last one of its handle costs that more."""

    latency_s: float = 0.0
    bytes_s: float = 0.0  # of all reads together; 0 for no limit
    prefetches: bool = False
    reopen_s: float = 0.0
    max_read_bytes: int = 1 << 20  # of one request of the kernel
    splits: bool = True  # the kernel sends the requests of a large direct read at once


@dataclass(slots=True)
class OpenHandle:
    """A handle: where its last read ended, and when its prefetched chunks arrive."""

    size_bytes: int = 0  # of the file: nothing is prefetched beyond it
    at: int = 0
    chunks: dict[int, float] = field(default_factory=dict)


class Line:
    """The line to the store. Not safe from several threads."""

    def __init__(self, pace: MountPace) -> None:
        self._pace = pace
        self._free_at = 0.0
        self.reads = 0
        self.bytes_read = 0

    def due(self, handle: OpenHandle, offset: int, size_bytes: int, now: float) -> float:
        """When a read is answered."""
        self.reads += 1
        self.bytes_read += size_bytes
        follows, handle.at = offset == handle.at, offset + size_bytes
        if self._pace.prefetches and follows:
            return self._prefetched(handle, offset, size_bytes, now)
        handle.chunks.clear()
        wait_s = 0.0 if follows else self._pace.reopen_s
        return self._sent(size_bytes, now + wait_s)

    def _prefetched(self, handle: OpenHandle, offset: int, size_bytes: int, now: float) -> float:
        first, last = offset // _CHUNK_BYTES, (offset + size_bytes - 1) // _CHUNK_BYTES
        end = max(last + 1, -(-handle.size_bytes // _CHUNK_BYTES))
        for chunk in range(first, min(end, last + _PREFETCH_BYTES // _CHUNK_BYTES)):
            if chunk not in handle.chunks:
                whole = min(_CHUNK_BYTES, max(size_bytes, handle.size_bytes - chunk * _CHUNK_BYTES))
                handle.chunks[chunk] = self._sent(whole, now)
        for old in [chunk for chunk in handle.chunks if chunk < first]:
            del handle.chunks[old]
        return max(handle.chunks[chunk] for chunk in range(first, last + 1))

    def _sent(self, size_bytes: int, now: float) -> float:
        begin = max(now + self._pace.latency_s, self._free_at)
        if self._pace.bytes_s:
            begin += size_bytes / self._pace.bytes_s
            self._free_at = begin
        return begin
