"""Zip archives: the end of the central directory, the directory itself, and that every entry lies before it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from syncd.formats.contents import Contents, cut_off, damaged, shown
from syncd.formats.spans import Span, Steps

LOCAL: Final = b"PK\x03\x04"
_EMPTY: Final = b"PK\x05\x06"
_TAIL_BYTES: Final = 256 << 10  # the end, its comment, and most directories: one read has them all
_DIRECTORY_BYTES_MAX: Final = 64 << 20
_END: Final = struct.Struct("<4s4H2IH")
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR: Final = struct.Struct("<4sIQI")
_ENTRY: Final = struct.Struct("<4s4B4HL2L5H2L")
_LOCAL_BYTES: Final = 30
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64: Final = 1
KERAS: Final = "config.json"


@dataclass(frozen=True, slots=True)
class _Directory:
    begin: int
    size_bytes: int
    entries: int
    end: int  # where what ends the archive begins


def parse(path: str, size_bytes: int, form: str = "zip") -> Steps[Contents]:
    """Check an archive, from its last bytes and its directory alone.

    Raises:
        Corrupt: It is not an archive, or was cut off.
    """
    found = yield from names(path, size_bytes)
    if found is None:
        return Contents(form, is_whole=False)
    return Contents(form, len(found) if form == "npz" else None)


def parse_keras(path: str, size_bytes: int) -> Steps[Contents]:
    """As `parse`; it has to have the configuration of a model. Raises Corrupt."""
    found = yield from names(path, size_bytes)
    if found is None:
        return Contents("keras", is_whole=False)
    if KERAS not in found:
        raise damaged(path, f"is not a Keras model: the archive has no {KERAS}")
    return Contents("keras")


def names(path: str, size_bytes: int) -> Steps[Sequence[str] | None]:
    """The names in an archive; None where its directory is larger than is read. Raises Corrupt."""
    found = yield from entries(path, size_bytes)
    return None if found is None else [name for name, _ in found]


def entries(path: str, size_bytes: int) -> Steps[Sequence[tuple[str, int]] | None]:
    """As `names`, each with the offset of its own header."""
    head = yield Span(0, min(len(LOCAL), size_bytes))
    if head not in {LOCAL, _EMPTY}:
        raise damaged(path, f"is not a zip archive: it begins with {shown(head)}", "something else was saved there")
    tail_begin = max(0, size_bytes - _TAIL_BYTES)
    tail = yield Span(tail_begin, size_bytes - tail_begin)
    found = _directory(path, size_bytes, tail, tail_begin)
    if found.begin + found.size_bytes != found.end:
        ends = f"its directory is said to end at {found.begin + found.size_bytes}, and ends at {found.end}"
        raise cut_off(path, size_bytes, ends)
    if found.size_bytes > _DIRECTORY_BYTES_MAX:
        return None
    if found.begin >= tail_begin:
        data = tail[found.begin - tail_begin : found.end - tail_begin]
    else:
        data = yield Span(found.begin, found.size_bytes)
    return _entries(path, data, found)


def _directory(path: str, size_bytes: int, tail: bytes, tail_begin: int) -> _Directory:
    at = len(tail) - _END.size
    while True:
        at = tail.rfind(_EMPTY, 0, at + len(_EMPTY)) if at >= 0 else -1
        if at < 0:
            raise cut_off(path, size_bytes, "which do not end as a zip archive does")
        *_, entries, directory_bytes, begin, comment_bytes = _END.unpack_from(tail, at)
        if at + _END.size + comment_bytes == len(tail):
            break
        at -= 1
    end = tail_begin + at
    if at >= _LOCATOR.size:
        locator, _, end_64, _ = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
        if locator == b"PK\x06\x07":
            place = end_64 - tail_begin
            if not 0 <= place <= len(tail) - _END_64.size or not tail.startswith(b"PK\x06\x06", place):
                raise cut_off(path, size_bytes, f"the end of its directory is said to be at {end_64}, and is not there")
            *_, entries, directory_bytes, begin = _END_64.unpack_from(tail, place)
            end = end_64
    return _Directory(begin, directory_bytes, entries, end)


def _entries(path: str, data: bytes, found: _Directory) -> Sequence[tuple[str, int]]:
    at, seen = 0, list[tuple[str, int]]()
    for _ in range(found.entries):
        if at + _ENTRY.size > len(data) or not data.startswith(b"PK\x01\x02", at):
            raise damaged(path, f"has a directory of {found.entries} entries that ends after {len(seen)}")
        entry = _ENTRY.unpack_from(data, at)
        packed, unpacked, name_bytes, extra_bytes, comment_bytes, offset = *entry[10:15], entry[18]
        at += _ENTRY.size
        name = data[at : at + name_bytes].decode(errors="replace")
        extra = data[at + name_bytes : at + name_bytes + extra_bytes]
        packed, offset = long_sizes(extra, unpacked, packed, offset)
        end = offset + _LOCAL_BYTES + name_bytes + packed
        if end > found.begin:
            raise damaged(path, f"has {name[:200]!r} up to {end}, and its directory begins at {found.begin}")
        at += name_bytes + extra_bytes + comment_bytes
        seen.append((name, offset))
    if at != len(data):
        raise damaged(path, f"has a directory of {found.entries} entries that goes on after them")
    return seen


def long_sizes(extra: bytes, unpacked: int, packed: int, offset: int) -> tuple[int, int]:
    """The packed size and the offset of an entry, which may be said in its extra field where they are large."""
    at = 0
    while at + 4 <= len(extra):
        kind, size_bytes = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == _ZIP64:
            numbers = [int.from_bytes(extra[n : n + 8], "little") for n in range(at, at + size_bytes - 7, 8)]
            if unpacked == _MAX_32 and numbers:
                del numbers[0]
            if packed == _MAX_32 and numbers:
                packed = numbers.pop(0)
            if offset == _MAX_32 and numbers:
                offset = numbers.pop(0)
            return packed, offset
        at += size_bytes
    return packed, offset
