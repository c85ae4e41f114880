"""Reader of a large file: in order by one request, or by several at once where one is slow and the source has parts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from syncd.artifact.manifest import Entry
from syncd.artifact.parts import MIB, Part
from syncd.errors import Cancelled
from syncd.transfer.flow.buffers import BufferPool, PartBuffer
from syncd.transfer.sources.span_window import InOrder, SpanSettings, SpanWindow
from syncd.values.source import Source, Stream, ends_at, host_of, open_span

_SPANS_MIN: Final = 4  # a smaller file is there before a second request would be of use
_FAST_BYTES_S: Final = 128 * MIB  # one stream that brings so much is not what is waited for, and costs least
_LONGEST_BYTES: Final = 64 * MIB  # of one request of a fast source; after each the rate is looked at again


class FileReader:
    """For one file and one thread, a context manager. Reads ahead only into buffers that nobody waits for.

    The first request is for a part. If it was fast, or the whole file came, the file is read in order; else requests
    are made at once. A source that stops sending parts is read in order from there on.
    """

    def __init__(self, entry: Entry, source: Source, pool: BufferPool, spans: SpanSettings, *, is_alone: bool) -> None:
        """`is_alone`: no more memory than that of one part may be used."""
        self._entry: Final = entry
        self._source = source
        self._pool = pool
        self._spans = spans
        self._has_parts = not is_alone and entry.size_bytes >= _SPANS_MIN * spans.span_bytes
        self._step_bytes = spans.span_bytes
        self._begun_bytes = self._until_bytes = 0  # of the request that is read in order
        self._spent_s = 0.0
        self._host = ""
        self._reader = spans.in_order(entry, self._open, spans.scope.wait, 0)
        self._window: SpanWindow | None = None
        self._following: deque[Part] = deque()
        self._ahead: deque[tuple[Part, PartBuffer]] = deque()

    def __enter__(self) -> FileReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._reader.__exit__(*exc)
        if self._window is None or self._window.close():
            for _, buffer in self._ahead:  # otherwise a thread that hangs may still write into them
                buffer.release()

    def head(self, size_bytes: int) -> bytes:
        """See `InOrder.head`."""
        with self._timed():
            return self._reader.head(size_bytes)

    def begin(self, cut: Sequence[Part]) -> InOrder | None:
        """The parts that `fill` will be called for, in order. Returns what reads a source that sends no parts.

        Raises: as `InOrder.fill`.
        """
        self._following.extend(cut)
        if self._has_parts:
            with self._timed():
                self._reader.begin()
        return None if self._has_parts else self._reader

    def next_buffer(self) -> PartBuffer | None:
        """The buffer of the next part if it is read ahead; None: the caller takes one."""
        if self._ahead:
            return self._ahead.popleft()[1]
        self._following.popleft()
        return None

    def fill(self, part: Part, view: memoryview, took: Callable[[memoryview], None]) -> None:
        """Hand over the next part. `took` is shown it piece by piece, in order, each as soon as it is there.

        Raises: as `InOrder.fill`.
        """
        done = self._fill_in_order(view, took) if self._window is None else 0
        if self._window is not None and done < len(view):
            self._fill_at_once(self._window, part.offset_bytes + done, view[done:], took)

    def expect_end(self) -> None:
        """Raises Corrupt: The file goes on. A source that sends parts has said how large the file is with each."""
        if self._window is None:
            self._reader.expect_end()

    def _fill_in_order(self, view: memoryview, took: Callable[[memoryview], None]) -> int:
        """Returns how much of it was filled before more requests than one became of use."""
        done = 0
        while done < len(view):
            if self._is_slow():
                self._window = SpanWindow(self._entry, self._source, self._host, self._spans)
                return done
            size_bytes = len(view) - done
            if self._has_parts:
                left_bytes = self._until_bytes - self._reader.offset_bytes
                size_bytes = min(size_bytes, left_bytes if left_bytes > 0 else self._step_bytes)
            with self._timed():
                self._reader.fill(view[done : done + size_bytes], took)
            done += size_bytes
        return done

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the time of a call to the reader for the request that is read in order."""
        began = time.monotonic()
        yield
        self._spent_s += time.monotonic() - began

    def _is_slow(self) -> bool:
        """Whether the last request in order has ended, and took so long that others at the same time may help."""
        at_bytes, reader = self._until_bytes, self._reader
        if not self._has_parts or not at_bytes or reader.offset_bytes != at_bytes or reader.has_ahead:
            return False
        if self._entry.size_bytes - at_bytes <= self._spans.span_bytes or self._spans.streams.per_host < 2:
            return False
        if at_bytes - self._begun_bytes < self._spent_s * _FAST_BYTES_S:
            return True
        self._step_bytes = min(_LONGEST_BYTES, 2 * (at_bytes - self._begun_bytes))
        return False

    def _open(self, entry: Entry, offset_bytes: int) -> Stream:
        if not self._has_parts or offset_bytes >= entry.size_bytes:
            return self._source(entry, offset_bytes)
        until_bytes = min(entry.size_bytes, offset_bytes + self._step_bytes)
        stream = open_span(self._source, entry, offset_bytes, until_bytes)
        end_bytes = ends_at(stream)
        self._has_parts = end_bytes is not None or until_bytes == entry.size_bytes
        self._begun_bytes, self._until_bytes = offset_bytes, end_bytes or entry.size_bytes
        self._spent_s, self._host = 0.0, host_of(stream)  # the call that opened it counts, with its round trips
        return stream

    def _fill_at_once(
        self, window: SpanWindow, offset_bytes: int, view: memoryview, took: Callable[[memoryview], None]
    ) -> None:
        if window.end_bytes <= offset_bytes:
            window.add(view, offset_bytes)
        at_bytes, end_bytes = offset_bytes, offset_bytes + len(view)
        while at_bytes < end_bytes:
            self._read_ahead(window)
            wanted_bytes = min(end_bytes, at_bytes + self._spans.span_bytes)
            at_bytes = window.take(wanted_bytes, took)
            if at_bytes < wanted_bytes:
                self._go_on_in_order(window, at_bytes)
                self._reader.fill(view[at_bytes - offset_bytes :], took)
                return

    def _read_ahead(self, window: SpanWindow) -> None:
        while self._following:
            buffer = self._pool.take_spare(self._following[0].size_bytes)
            if buffer is None:
                return
            part = self._following.popleft()
            self._ahead.append((part, buffer))
            window.add(buffer.view, part.offset_bytes)

    def _go_on_in_order(self, window: SpanWindow, offset_bytes: int) -> None:
        """Parts that were read ahead are read again: few sources stop sending parts inside a file."""
        if not window.close():
            raise Cancelled(f"stopped while reading {self._entry.path}")
        self._window, self._has_parts = None, False
        self._reader.__exit__()
        self._reader = self._spans.in_order(self._entry, self._open, self._spans.scope.wait, offset_bytes)
