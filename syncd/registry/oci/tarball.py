"""Streaming tar reader: the path, size, offset and sha256 of every file.

Only files and directories are supported. Links, devices and sparse files are refused by name, since their content is
not in the tar, and so is everything that needs more memory than a name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.errors import Corrupt, Invalid
from syncd.values.source import Stream
from syncd.watchdog import mark_progress

_BLOCK: Final = 512
_EXTRA_BYTES_MAX: Final = 64 << 10  # of the extended header of a file: a name of 1024 bytes, times, owners
_ENTRIES_MAX: Final = 500_000  # files, directories, and extended headers
_CHUNK_BYTES: Final = 1 << 20
_FILES: Final = frozenset({b"0", b"\0", b"7"})
_SKIPPED: Final = frozenset({b"g", b"K"})  # global headers, and the targets of links
_PACKING_HINT: Final = "does its media type match its compression?"
_REFUSED: Final = {b"1": "a link", b"2": "a symbolic link", b"S": "a sparse file"}


@dataclass(frozen=True, slots=True)
class TarMember:
    """An entry of a tar, with its name as it is there. `refusal` says why it is never read.

    `offset_bytes` is the offset of its first byte in the decompressed tar.
    """

    path: FilePath
    size_bytes: int
    offset_bytes: int
    sha256: Digest
    refusal: str = ""


def members(stream: Stream, what: str) -> Iterator[TarMember]:
    """Every file of a tar, in its order; the stream is read to its end.

    Raises:
        Corrupt: It is not a tar, or was cut off.
        Invalid: A file has holes, or an entry has too much metadata.
        Unavailable: As the stream raises.
    """
    tar = _TarReader(stream, what)
    extended: dict[str, str] = {}
    for _ in range(_ENTRIES_MAX):
        block = tar.take(_BLOCK)
        if not any(block):
            tar.drain()
            return
        kind, name, size_bytes = _header(block, extended, what)
        if kind in {b"x", b"L"}:
            extended |= _extended(kind, tar.metadata(size_bytes), what)
            continue
        if kind in _SKIPPED:
            tar.metadata(size_bytes)
            continue
        extended = {}
        if kind == b"5" or (kind == b"\0" and name.endswith("/")):
            tar.skip(size_bytes)
        elif kind in _FILES:
            yield TarMember(FilePath(name.removeprefix("./")), size_bytes, tar.at_bytes, tar.digest(size_bytes))
        else:
            refusal = _REFUSED.get(kind, "not a file")
            yield TarMember(FilePath(name.removeprefix("./")), 0, tar.at_bytes, tar.digest(size_bytes), refusal)
    raise Invalid(f"{what} has more than {_ENTRIES_MAX} entries")


class _TarReader:
    """A reader that counts the bytes read."""

    def __init__(self, stream: Stream, what: str) -> None:
        self._stream = stream
        self._what = what
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))
        self.at_bytes = 0

    def take(self, size_bytes: int) -> bytes:
        return b"".join(bytes(piece) for piece in self._pieces(size_bytes))

    def metadata(self, size_bytes: int) -> bytes:
        if size_bytes > _EXTRA_BYTES_MAX:
            raise Invalid(f"{self._what}: a file has {size_bytes} bytes of metadata, over {_EXTRA_BYTES_MAX}")
        data = self.take(size_bytes)
        self._pad(size_bytes)
        return data

    def skip(self, size_bytes: int) -> None:
        for _ in self._pieces(size_bytes):
            pass
        self._pad(size_bytes)

    def digest(self, size_bytes: int) -> Digest:
        sha256 = hashlib.sha256()
        for piece in self._pieces(size_bytes):
            sha256.update(piece)
        self._pad(size_bytes)
        return Digest(sha256.hexdigest())

    def drain(self) -> None:
        while self._stream.readinto(self._buffer):
            mark_progress()

    def _pad(self, size_bytes: int) -> None:
        for _ in self._pieces(-size_bytes % _BLOCK):
            pass

    def _pieces(self, size_bytes: int) -> Iterator[memoryview]:
        left_bytes = size_bytes
        while left_bytes:
            count = self._stream.readinto(self._buffer[:left_bytes])
            if not count:
                raise Corrupt(f"{self._what} ends after {self.at_bytes} bytes, in the middle of a tar")
            mark_progress()
            self.at_bytes += count
            left_bytes -= count
            yield self._buffer[:count]


def _header(block: bytes, extended: dict[str, str], what: str) -> tuple[bytes, str, int]:
    """The kind, the name and the size of an entry, from its header or the extended header before it."""
    checksum = _number(block[148:156], what)
    if checksum != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise Corrupt(f"{what} is not a tar: the checksum of a header is not {checksum}", hint=_PACKING_HINT)
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    size = extended.get("size", "")
    if size and not size.isdecimal():
        raise Corrupt(f"{what}: a file's size is {size[:40]!r}")
    size_bytes = int(size[:20]) if size else _number(block[124:136], what)
    if size_bytes >= 1 << 62:
        raise Corrupt(f"{what}: a file's size is {size_bytes}")
    return block[156:157], extended.get("path") or (f"{prefix}/{name}" if prefix else name), size_bytes


def _extended(kind: bytes, data: bytes, what: str) -> dict[str, str]:
    """The fields of an extended header."""
    if kind == b"L":
        return {"path": _text(data)}
    found, rest = {}, data
    while rest:
        length, _, _ = rest.partition(b" ")
        size_bytes = int(length) if length.isdigit() and len(length) < 10 else 0
        key, sign, value = rest[len(length) + 1 : max(0, size_bytes - 1)].partition(b"=")
        if not sign or size_bytes > len(rest):
            raise Corrupt(f"{what}: {rest[:40]!r} is not an extended header")
        if key.startswith(b"GNU.sparse."):
            raise Invalid(f"{what} has a sparse file", hint="pack it without --sparse")
        if key in {b"path", b"size"}:
            found[key.decode()] = _text(value)
        rest = rest[size_bytes:]
    return found


def _number(field: bytes, what: str) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise Corrupt(f"{what} is not a tar: {field!r} is not a number", hint=_PACKING_HINT)
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    """A name; bytes that are not UTF-8 stay in it as surrogates, and are refused where the file is taken."""
    return field.partition(b"\0")[0].decode(errors="surrogateescape")
