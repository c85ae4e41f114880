"""Reads that a parser asks for, and the two ways to answer them: by ranges, or from the bytes as they pass.

A parser is a generator: it yields the span that it needs, is sent those bytes, and returns what it found. A span lies
within the file, and a parser asks for later spans only, with two exceptions that both ways serve: a span that begins
where the last one began, and one that begins at most `HELD_BYTES` before the last one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from syncd.errors import Corrupt, Invalid, SyncdError

T = TypeVar("T")
HELD_BYTES: Final = 1 << 20
SKIP_BYTES_MAX: Final = 8 << 20  # a shorter gap is read and dropped: about as long as another request takes
OPENS_MAX: Final = 512  # for one file: an ONNX file has 2 GiB at most, hence at most 256 gaps


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes of one file."""

    begin: int
    size_bytes: int

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.begin + self.size_bytes


Steps = Generator[Span, bytes, T]
Pull = Callable[[int], bytes]
"""Reads on by that many bytes; fewer only at the end of the file."""


class NoRangesError(Exception):
    """The source cannot begin at an offset, or the file needs more requests than `OPENS_MAX`."""


class Ranges:
    """Answers parsers of one file by ranged reads. `opens` counts them.

    Holds the last span, and up to `HELD_BYTES` before its end.
    """

    def __init__(self, path: str, open_at: Callable[[int], Pull]) -> None:
        """`open_at` begins a read at an offset, and may raise `NoRangesError`."""
        self._path = path
        self._open_at = open_at
        self._pull: Pull | None = None
        self._begin = 0  # the offset of the first byte that is held
        self._held = bytearray()
        self.opens = 0

    def run(self, steps: Steps[T]) -> T:
        """Run a parser to its end.

        Raises:
            NoRangesError: The file cannot be read in this way.
            Corrupt, Invalid: As the parser.
        """
        try:
            span = next(steps)
            while True:
                span = steps.send(self._read(span))
        except StopIteration as end:
            found: T = end.value
            return found

    def _read(self, span: Span) -> bytes:
        if not span.size_bytes:
            return b""
        end = self._begin + len(self._held)
        if self._pull is None or not self._begin <= span.begin <= end + SKIP_BYTES_MAX:
            if self.opens == OPENS_MAX:
                raise NoRangesError
            self.opens += 1
            self._pull = self._open_at(span.begin)
            self._begin = end = span.begin
            self._held = bytearray()
        if span.begin > end:
            self._skip(span.begin - end)
            self._begin, self._held = span.begin, bytearray()
        missing = span.end - self._begin - len(self._held)
        if missing > 0:
            self._held += self._pull(missing)
        at = span.begin - self._begin
        data = bytes(self._held[at : at + span.size_bytes])
        if len(data) != span.size_bytes:
            raise Corrupt(f"{self._path} ends after {span.begin + len(data)} bytes, before the size that is listed")
        drop = min(at, len(self._held) - HELD_BYTES)
        if drop > 0:
            del self._held[:drop]
            self._begin += drop
        return data

    def _skip(self, size_bytes: int) -> None:
        while size_bytes > 0 and self._pull is not None:
            passed = len(self._pull(min(size_bytes, HELD_BYTES)))
            if not passed:
                return
            size_bytes -= passed


class Passing(Generic[T]):
    """Answers one parser from the bytes of its file, in order, as they pass.

    Holds the span that is asked for, and `HELD_BYTES` before it: what lies further back cannot be asked for, and
    then the parser is ended without a result.
    """

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._want: Span | None = None
        self._begin = 0
        self._held = bytearray()
        self._at = 0
        self._found: T | None = None
        self._damage: SyncdError | None = None
        self._advance(None)
        self._settle()

    @property
    def at_bytes(self) -> int:
        """How many bytes have passed."""
        return self._at

    @property
    def held_bytes(self) -> int:
        """The memory that is held."""
        return len(self._held)

    def add(self, piece: bytes | memoryview) -> None:
        """The next bytes of the file."""
        if self._want is None:
            self._at += len(piece)
            return
        keep_from = max(self._begin, self._want.begin - HELD_BYTES)
        skipped = max(0, min(keep_from - self._at, len(piece)))
        if skipped:
            self._begin, self._held = self._at + skipped, bytearray()
        self._held += piece[skipped:]
        self._at += len(piece)
        self._settle()
        self._trim()

    def end(self) -> T | None:
        """What the parser found; None if it asked for bytes that were not held.

        Raises:
            Corrupt, Invalid: As the parser.
        """
        self._steps.close()
        self._held = bytearray()
        if self._damage is not None:
            raise self._damage
        return self._found

    def _settle(self) -> None:
        while (want := self._want) is not None and want.end <= self._at:
            if want.begin < self._begin:
                self._stop()
                return
            at = want.begin - self._begin
            self._advance(bytes(self._held[at : at + want.size_bytes]))

    def _advance(self, data: bytes | None) -> None:
        try:
            self._want = next(self._steps) if data is None else self._steps.send(data)
        except StopIteration as end:
            self._found = end.value
            self._stop()
        except (Corrupt, Invalid) as error:
            self._damage = error
            self._stop()

    def _stop(self) -> None:
        self._want = None
        self._held = bytearray()

    def _trim(self) -> None:
        if self._want is None:
            return
        drop = min(self._want.begin, self._at) - HELD_BYTES - self._begin
        if drop > HELD_BYTES:  # not at each piece: what remains is moved
            del self._held[:drop]
            self._begin += drop
