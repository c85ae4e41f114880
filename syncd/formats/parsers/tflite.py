"""TensorFlow Lite: a FlatBuffer; the last buffers of tensors have to end within the file."""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from typing import Final

from syncd.formats.contents import Contents, cut_off, damaged, shown
from syncd.formats.spans import Span, Steps

FORMAT: Final = "tflite"
MAGIC: Final = b"TFL3"
_MAGIC_AT: Final = 4
_CHUNK_BYTES: Final = 64 << 10
_BACK_BYTES: Final = 4 << 10  # what describes a table may stand before it
_BUFFERS: Final = 4
_VECTORS: Final = (1, 2, _BUFFERS, 6, 7)  # of a model: operators, graphs, buffers, metadata, signatures
_DATA, _OFFSET, _SIZE = 0, 1, 2  # the fields of a buffer
_TABLES_MAX: Final = 1_000_000
_CHECKED_MAX: Final = 64  # of the tables that stand last
_FORMS: Final = {"H": 2, "i": 4, "I": 4, "Q": 8}


class _BeyondError(Exception):
    """Something stands at `end` or goes on to there, behind the end of the file."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


class _Flat:
    """Reads numbers, tables and vectors of a FlatBuffer."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._begin = 0
        self._chunk = b""

    def number(self, form: str, at: int) -> Generator[Span, bytes, int]:
        """A number at an offset."""
        end = at + _FORMS[form]
        self.check(end)
        if not self._begin <= at or end > self._begin + len(self._chunk):
            self._begin = max(0, at - _BACK_BYTES)
            self._chunk = yield Span(self._begin, min(_CHUNK_BYTES, self._size_bytes - self._begin))
        found: int = struct.unpack_from(f"<{form}", self._chunk, at - self._begin)[0]
        return found

    def field(self, table: int, index: int) -> Generator[Span, bytes, int]:
        """Where a field of a table stands; 0 where the table has not got it."""
        described = table - (yield from self.number("i", table))
        if described < 0:
            raise _BeyondError(table)
        size_bytes = yield from self.number("H", described)
        if 4 + 2 * index + 2 > size_bytes:
            return 0
        offset = yield from self.number("H", described + 4 + 2 * index)
        return table + offset if offset else 0

    def extent(self, table: int) -> Generator[Span, bytes, None]:
        """Raises _BeyondError: A table, or what describes it, goes on behind the end of the file."""
        described = table - (yield from self.number("i", table))
        if described < 0:
            raise _BeyondError(table)
        self.check(described + (yield from self.number("H", described)))
        self.check(table + (yield from self.number("H", described + 2)))

    def follow(self, at: int) -> Generator[Span, bytes, int]:
        """Where the reference at an offset leads."""
        return at + (yield from self.number("I", at))

    def check(self, end: int) -> None:
        """Raises _BeyondError: The file ends before."""
        if end > self._size_bytes:
            raise _BeyondError(end)


def parse(path: str, size_bytes: int) -> Steps[Contents]:
    """Check a file, without its tensors' data.

    Raises:
        Corrupt: It is not a TensorFlow Lite model, or was cut off.
    """
    head = yield Span(0, min(_MAGIC_AT + len(MAGIC), size_bytes))
    if len(head) < _MAGIC_AT + len(MAGIC) or not head.endswith(MAGIC):
        raise damaged(
            path, f"is not a TensorFlow Lite model: it begins with {shown(head)}", "something else was saved there"
        )
    flat = _Flat(size_bytes)
    try:
        return (yield from _buffers(flat))
    except _BeyondError as beyond:
        raise cut_off(path, size_bytes, f"its contents go on to {beyond.end} or later") from beyond


def _buffers(flat: _Flat) -> Steps[Contents]:
    root = yield from flat.follow(0)
    tables: list[tuple[int, bool]] = []
    count = 0
    for index in _VECTORS:
        found = yield from _tables(flat, root, index)
        if found is None:
            return Contents(FORMAT, is_whole=False)
        tables += [(table, index == _BUFFERS) for table in found]
        count += len(found) if index == _BUFFERS else 0
    for table, is_buffer in sorted(tables)[-_CHECKED_MAX:]:
        yield from flat.extent(table)
        if is_buffer:
            yield from _check_data(flat, table)
    return Contents(FORMAT, count)


def _tables(flat: _Flat, root: int, index: int) -> Steps[Sequence[int] | None]:
    """Where the tables of a vector stand; None where there are too many."""
    place = yield from flat.field(root, index)
    if not place:
        return ()
    vector = yield from flat.follow(place)
    count = yield from flat.number("I", vector)
    flat.check(vector + 4 + 4 * count)
    if count > _TABLES_MAX:
        return None
    found = []
    for number in range(count):
        table = yield from flat.follow(vector + 4 + 4 * number)
        found.append(table)
    return found


def _check_data(flat: _Flat, table: int) -> Steps[None]:
    data = yield from flat.field(table, _DATA)
    if data:
        begin = yield from flat.follow(data)
        flat.check(begin + 4 + (yield from flat.number("I", begin)))
    offset, size = (yield from flat.field(table, _OFFSET)), (yield from flat.field(table, _SIZE))
    if offset and size:
        flat.check((yield from flat.number("Q", offset)) + (yield from flat.number("Q", size)))
