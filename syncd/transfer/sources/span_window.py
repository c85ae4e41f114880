"""Span window: the next parts of one file, filled by several requests at once and handed over in their order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Condition
from typing import Final, Protocol

from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, SyncdError, Unavailable
from syncd.transfer.flow.send_queue import AdaptiveConcurrency
from syncd.transfer.flow.stream_limit import StreamLimit
from syncd.transfer.workers.worker_pool import CancelScope, Work
from syncd.values.source import Source, Stream, ends_at, open_span, skipped_bytes

# A slow source is seen to move, and can be left within seconds; and a piece that is hashed is in the cache still.
PIECE_BYTES: Final = 512 << 10


class InOrder(Protocol):
    """Reads a file in order from an offset on: see `producer.SourceReader`."""

    @property
    def offset_bytes(self) -> int: ...
    @property
    def has_ahead(self) -> bool: ...
    def begin(self) -> None: ...
    def head(self, size_bytes: int) -> bytes: ...
    def fill(self, view: memoryview, took: Callable[[memoryview], None] | None = None) -> None: ...
    def expect_end(self) -> None: ...
    def __enter__(self) -> InOrder: ...
    def __exit__(self, *exc: object) -> None: ...


@dataclass(slots=True)
class _Span:
    """One request: a piece of a buffer, to be filled with the bytes of the file from `offset_bytes` on."""

    view: memoryview
    offset_bytes: int
    is_filled: bool = False

    @property
    def until_bytes(self) -> int:
        return self.offset_bytes + len(self.view)


class _WholeStreamError(Exception):
    """The source sends the rest of the file where a part was requested."""


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """What the windows of one copy have in common. `submit` runs work in a thread that is watched."""

    submit: Callable[[Work], None]
    span_bytes: int
    streams: StreamLimit
    scope: CancelScope
    in_order: Callable[[Entry, Source, Callable[[float], bool], int], InOrder]


class SpanWindow:
    """For one file. `add` and `take` are for the thread that hashes it.

    Requests are made in the order of the file. Their number rises while the throughput does, halves when the source
    refuses one, and is bounded for each host. Where the source sends no parts any more, `take` stops short.
    """

    def __init__(self, entry: Entry, source: Source, host: str, settings: SpanSettings) -> None:
        self.has_parts = True  # the source still sends them
        self._entry: Final = entry
        self._source = source
        self._host = host
        self._settings = settings
        self._changed = Condition()
        self._concurrency = AdaptiveConcurrency(settings.streams.per_host)
        self._waiting: deque[_Span] = deque()  # for a request
        self._ordered: deque[_Span] = deque()  # to be handed over
        self._active = 0
        self._is_closed = False
        self.end_bytes = 0  # of what was added
        self._error: SyncdError | None = None

    def add(self, view: memoryview, offset_bytes: int) -> None:
        """Fill `view` with the bytes from `offset_bytes` on, after all that was added before."""
        step = self._settings.span_bytes
        spans = [_Span(view[at : at + step], offset_bytes + at) for at in range(0, len(view), step)]
        with self._changed:
            self._waiting += spans
            self._ordered += spans
            self.end_bytes = offset_bytes + len(view)
            self._pump()

    def take(self, until_bytes: int, took: Callable[[memoryview], None]) -> int:
        """Hand over the bytes up to an offset, in order. Returns where it stopped short, or that offset.

        Raises:
            SyncdError: What reading them raised, past all retries.
            Cancelled: The copy was stopped.
        """
        while self._ordered and self._ordered[0].offset_bytes < until_bytes:
            span = self._ordered[0]
            if not self._is_filled(span):
                return span.offset_bytes
            for at in range(0, len(span.view), PIECE_BYTES):
                took(span.view[at : at + PIECE_BYTES])
            self._ordered.popleft()
        return until_bytes

    def close(self) -> bool:
        """Make no more requests, and wait for those under way. Returns whether no thread uses the views any more."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            while self._active and not self._settings.scope.is_grace_over():
                self._changed.wait(0.1)
            return not self._active

    def _is_filled(self, span: _Span) -> bool:
        with self._changed:

            def left_s() -> float:
                is_over = span.is_filled or self._error is not None or (not self.has_parts and not self._active)
                return 0.0 if is_over else float("inf")

            if self._settings.scope.wait_on(self._changed, left_s):
                raise Cancelled(f"stopped while reading {self._entry.path}")
            if self._error is not None and not span.is_filled:
                raise self._error
            return span.is_filled

    def _pump(self) -> None:
        settings = self._settings
        while self._waiting and self.has_parts and self._error is None and self._active < self._concurrency.allowed:
            if not settings.streams.enter(self._host, is_first=not self._active):
                return
            self._active += 1
            settings.submit(self._serve)

    def _serve(self) -> None:
        try:
            while (found := self._next()) is not None:
                self._fill(*found)
        finally:
            self._settings.streams.leave(self._host)
            with self._changed:
                self._active -= 1
                self._pump()
                self._changed.notify_all()

    def _next(self) -> tuple[_Span, int] | None:
        with self._changed:
            if self._is_stopped() or not self._waiting or self._active > self._concurrency.allowed:
                return None
            return self._waiting.popleft(), self._concurrency.era

    def _fill(self, span: _Span, era: int) -> None:
        source = partial(self._part, span.until_bytes, era)
        try:
            with self._settings.in_order(self._entry, source, self._wait, span.offset_bytes) as reader:
                reader.fill(span.view, self._go_on)
        except _WholeStreamError:
            self.has_parts = False
        except Cancelled:
            return  # the thread that waits for this span is stopped as well, or does not need it
        except SyncdError as error:
            with self._changed:
                self._error = self._error or error
        else:
            with self._changed:
                span.is_filled = True
                self._concurrency.sent(len(span.view), time.monotonic(), is_short=bool(self._waiting))
                self._pump()
                self._changed.notify_all()

    def _part(self, until_bytes: int, era: int, entry: Entry, offset_bytes: int) -> Stream:
        try:
            stream = open_span(self._source, entry, offset_bytes, until_bytes)
        except Unavailable:
            with self._changed:
                self._concurrency.refused(era)
            raise
        if skipped_bytes(stream) or (ends_at(stream) is None and until_bytes < entry.size_bytes):
            stream.__exit__(None, None, None)
            raise _WholeStreamError
        return stream

    def _wait(self, seconds: float) -> bool:
        return self._settings.scope.wait(seconds, self._is_stopped) or self._is_stopped()

    def _go_on(self, piece: memoryview) -> None:
        del piece
        if self._is_stopped():
            raise Cancelled(f"the rest of {self._entry.path} is not needed")

    def _is_stopped(self) -> bool:
        return self._is_closed or self._error is not None or not self.has_parts
