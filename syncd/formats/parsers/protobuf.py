"""Protocol buffers, field by field, without a schema: enough to walk over a message whose large fields are not read."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from syncd.formats.spans import Span

VARINT: Final = 0
LENGTH: Final = 2
_FIXED: Final = {1: 8, 5: 4}
_CHUNK_BYTES: Final = 64 << 10
_VARINT_BYTES_MAX: Final = 10
FIELDS_MAX: Final = 1_000_000  # some seconds; a graph of 50 000 nodes has half of it


class ProtobufError(Exception):
    """It is no message; the text says why."""


class EndlessError(Exception):
    """It has more than `FIELDS_MAX` fields."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its number; the value of a varint; for one with a length, where its bytes begin and end."""

    number: int
    wire: int
    value: int = 0
    begin: int = 0
    end: int = 0


Read = Generator[Span, bytes, bytes]


class Cursor:
    """Goes over a file forwards. `at` may be set to a later offset, to leave out what is between."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._begin = 0
        self._buffer = b""
        self._fields = 0
        self.at = 0

    def ahead(self, size_bytes: int) -> Generator[Span, bytes, None]:
        """Make the next bytes available, or as many as the file has."""
        wanted = min(self.at + size_bytes, self._size_bytes)
        end = self._begin + len(self._buffer)
        if wanted <= end:
            return
        rest = self._buffer[self.at - self._begin :] if self.at < end else b""
        begin = max(self.at, end)
        more = yield Span(begin, min(self._size_bytes - begin, max(wanted - begin, _CHUNK_BYTES)))
        self._begin, self._buffer = self.at, rest + more

    def take(self, size_bytes: int) -> Read:
        """The next bytes, or as many as the file has."""
        yield from self.ahead(size_bytes)
        at = self.at - self._begin
        self.at += size_bytes
        return self._buffer[at : at + size_bytes]

    def field(self, end: int) -> Generator[Span, bytes, Field]:
        """The next field of a message that ends at `end`. `at` is behind it, but for one with a length: at its bytes.

        Raises:
            ProtobufError: There is no field here.
            EndlessError: There have been too many.
        """
        self._fields += 1
        if self._fields > FIELDS_MAX:
            raise EndlessError
        if self.at + 2 * _VARINT_BYTES_MAX > self._begin + len(self._buffer):
            yield from self.ahead(2 * _VARINT_BYTES_MAX)
        key = self._varint(end)
        number, wire = key >> 3, key & 7
        if not number:
            raise ProtobufError(f"field number 0 at {self.at}")
        if wire == VARINT:
            return Field(number, wire, self._varint(end))
        if wire == LENGTH:
            size_bytes = self._varint(end)
            return Field(number, wire, begin=self.at, end=self.at + size_bytes)
        if wire not in _FIXED:
            raise ProtobufError(f"wire type {wire} at {self.at}")
        self.at += _FIXED[wire]
        return Field(number, wire)

    def _varint(self, end: int) -> int:
        value, at = 0, self.at - self._begin
        for place in range(_VARINT_BYTES_MAX):
            if at + place >= min(len(self._buffer), end - self._begin):
                raise ProtobufError(f"a number that does not end before {min(end, self._size_bytes)}")
            byte = self._buffer[at + place]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                self.at += place + 1
                return value
        raise ProtobufError(f"a number of more than {_VARINT_BYTES_MAX} bytes at {self.at}")


def fields(data: bytes) -> dict[int, int | bytes]:
    """The fields of a small message that is held whole; of one that comes twice the last.

    Raises:
        ProtobufError: It is no message.
    """
    found: dict[int, int | bytes] = {}
    cursor = Cursor(len(data))
    steps = _fields(cursor, data, found)
    try:
        next(steps)
        steps.send(data)
    except StopIteration:
        return found
    raise ProtobufError(f"it has more than its {len(data)} bytes")  # one span has them all, so that the walk ends above


def _fields(cursor: Cursor, data: bytes, found: dict[int, int | bytes]) -> Generator[Span, bytes, None]:
    while cursor.at < len(data):
        each = yield from cursor.field(len(data))
        if each.wire == LENGTH:
            if each.end > len(data):
                raise ProtobufError(f"field {each.number} ends at {each.end} of {len(data)}")
            found[each.number] = data[each.begin : each.end]
            cursor.at = each.end
        elif each.wire == VARINT:
            found[each.number] = each.value
