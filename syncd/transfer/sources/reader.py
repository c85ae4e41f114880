"""Reader of one file: exactly as many bytes as the manifest says, opened again where the source broke off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from syncd import retry
from syncd.artifact.manifest import Entry
from syncd.errors import Corrupt, Unavailable
from syncd.values.source import Source, Stream, ends_at
from syncd.watchdog import calling, note_activity

# A slow source is seen to move, and can be left within seconds; and a piece that is hashed is in the cache still.
PIECE_BYTES: Final = 512 << 10


class SourceReader:
    """For one thread. A source that breaks off is opened again at the offset that was reached."""

    def __init__(
        self, entry: Entry, source: Source, policy: retry.Retry, wait: Callable[[float], bool], offset_bytes: int = 0
    ) -> None:
        self._entry = entry
        self._source = source
        self._policy = policy
        self._wait = wait
        self._offset_bytes = offset_bytes  # up to which was read
        self._until_bytes = entry.size_bytes  # where the stream ends
        self._ahead = bytearray()  # what was read of it and not handed over yet
        self._stream: Stream | None = None
        self._opened = ExitStack()

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    @property
    def offset_bytes(self) -> int:
        """Up to where the file was handed over."""
        return self._offset_bytes - len(self._ahead)

    @property
    def has_ahead(self) -> bool:
        """Whether something was read that is not handed over yet."""
        return bool(self._ahead)

    def head(self, size_bytes: int) -> bytes:
        """The first bytes of the file, before any were handed over. `fill` begins with them all the same.

        Raises: as `fill`.
        """
        missing = bytearray(size_bytes - len(self._ahead))
        self._read_on(memoryview(missing))
        self._ahead += missing
        return bytes(self._ahead)

    def fill(self, view: memoryview, took: Callable[[memoryview], None] | None = None) -> None:
        """Hand over exactly as much as `view` holds. `took` is shown it piece by piece, each as soon as it is there.

        Raises:
            Corrupt: The file ends before.
            Unavailable: The source broke off more often than the retry policy allows.
            Cancelled: Stopped while waiting to open it again.
        """
        if self._ahead:
            ready = min(len(view), len(self._ahead))
            view[:ready] = self._ahead[:ready]
            del self._ahead[:ready]
            if took is not None:
                took(view[:ready])
            view = view[ready:]
        self._read_on(view, took)

    def expect_end(self) -> None:
        """Raises Corrupt: The file goes on."""
        if retry.call(self._policy, lambda: self._read(memoryview(bytearray(1))), wait=self._wait):
            raise Corrupt(
                f"{self._entry.path}: the source has more than the {self._entry.size_bytes} bytes the manifest says"
            )

    def _read_on(self, view: memoryview, took: Callable[[memoryview], None] | None = None) -> None:
        end = self._offset_bytes + len(view)

        def rest() -> None:
            while self._offset_bytes < end:
                left = view[len(view) - (end - self._offset_bytes) :]
                count = self._read(left)
                if not count:
                    raise Corrupt(
                        f"{self._entry.path}: the source ends after {self._offset_bytes} bytes, "
                        f"the manifest says {self._entry.size_bytes}"
                    )
                self._offset_bytes += count
                if took is not None:
                    took(left[:count])

        retry.call(self._policy, rest, wait=self._wait)

    def _read(self, view: memoryview) -> int:
        try:
            with calling(f"reading {self._entry.path} from {self._offset_bytes} on"):
                stream = self._stream or self._open()
                note_activity()
                count = stream.readinto(view[:PIECE_BYTES])
                if not count and self._offset_bytes == self._until_bytes < self._entry.size_bytes:
                    self._close()
                    count = self._open().readinto(view[:PIECE_BYTES])  # of the next part
                return count
        except Unavailable:
            self._close()
            raise

    def _open(self) -> Stream:
        self._stream = self._opened.enter_context(self._source(self._entry, self._offset_bytes))
        end_bytes = ends_at(self._stream)
        self._until_bytes = self._entry.size_bytes if end_bytes is None else end_bytes
        return self._stream

    def _close(self) -> None:
        self._stream = None
        self._opened.close()
