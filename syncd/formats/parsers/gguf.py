"""GGUF: pairs of keys and values, then each tensor's shape, type and offset, then the data. Either byte order."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from syncd.formats.contents import Contents, cut_off, damaged
from syncd.formats.spans import Span, Steps

FORMAT: Final = "gguf"
HEAD_BYTES_MAX: Final = 64 << 20
FIXED_BYTES: Final = 24
FIRST_BYTES: Final = 64 << 10
MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
_ALIGNMENT: Final = b"general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_U32, _STRING, _ARRAY = 4, 8, 9
_DEPTH_MAX: Final = 4  # of arrays of arrays
_DIMENSIONS_MAX: Final = 8
# How many numbers a block of each tensor type has, and how many bytes: as ggml defines them.
_BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip


class ShortError(Exception):
    """The head ends before `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class GgufError(Exception):
    """It is no GGUF that is known here; the text says why."""


@dataclass(frozen=True, slots=True)
class Info:
    """A tensor of the head; `offset` is behind `Head.data`. `size_bytes` is 0 for a type that is not known."""

    name: bytes
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the data, and where that begins."""

    keys: Sequence[bytes]
    infos: Sequence[Info]
    data: int


def parse(path: str, size_bytes: int) -> Steps[Contents]:
    """Check a file, from its head alone: every tensor ends within the file.

    Raises:
        Corrupt: It is no GGUF file, or was cut off.
    """
    head = yield Span(0, min(FIXED_BYTES, size_bytes))
    if not head.startswith(MAGIC) and len(head) >= len(MAGIC):
        raise damaged(path, f"begins with {head[:4]!r}, a GGUF file with {MAGIC!r}", "something else was saved there")
    if len(head) < FIXED_BYTES:
        raise cut_off(path, size_bytes, f"a GGUF file begins with {FIXED_BYTES}")
    order = byte_order(head)
    if order is None:
        return Contents(FORMAT, is_whole=False)  # an older or a later version of the format
    wanted = min(size_bytes, FIRST_BYTES)
    while True:
        head = yield Span(0, wanted)
        try:
            found = read_head(head, order)
        except GgufError as error:
            raise damaged(path, f"is no GGUF file that can be read: {error}") from error
        except ShortError as short:
            if short.position > size_bytes:
                raise cut_off(path, size_bytes, f"its head alone ends at {short.position} or later") from short
            if short.position > HEAD_BYTES_MAX:
                return Contents(FORMAT, is_whole=False)
            wanted = min(size_bytes, max(short.position, 2 * len(head)))
            continue
        _check(path, size_bytes, found)
        return Contents(FORMAT, len(found.infos))


def byte_order(head: bytes) -> str | None:
    """`<` or `>`, from the first `FIXED_BYTES`; None where the version is not known."""
    return next((order for order in "<>" if struct.unpack_from(f"{order}I", head, 4)[0] in VERSIONS), None)


def read_head(head: bytes, order: str) -> Head:
    """The head of a file in that byte order, from its first bytes.

    Raises:
        ShortError: It needs more bytes.
        GgufError: It is not to the letter.
    """
    return _GgufWalk(head, order).head()


def _check(path: str, size_bytes: int, found: Head) -> None:
    for what, names in (("key", found.keys), ("tensor", [each.name for each in found.infos])):
        if len(set(names)) != len(names):
            seen: set[bytes] = set()
            twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise damaged(path, f"has {what} {shown_name(twice)} twice")
    if found.infos:
        last = max(found.infos, key=lambda each: each.offset + max(1, each.size_bytes))
        end = found.data + last.offset + last.size_bytes
        if end > size_bytes:
            raise cut_off(path, size_bytes, f"its tensors end at {end}")


def shown_name(name: bytes) -> str:
    """A name from a file, for a message."""
    return repr(name.decode(errors="replace")[:200])


class _GgufWalk:
    """Reads the head of a GGUF file. Versions 2 and 3 have the same head."""

    def __init__(self, head: bytes, order: str) -> None:
        self._head = head
        self._order = order
        self._at = 0

    def head(self) -> Head:
        self._need(FIXED_BYTES)
        tensors, pairs = struct.unpack_from(f"{self._order}QQ", self._head, 8)
        self._at = FIXED_BYTES
        # Each tensor takes 24 bytes and each pair 13 at least, so that no number in the file makes this walk long.
        self._need(24 * tensors + 13 * pairs)
        alignment, keys = _DEFAULT_ALIGNMENT, []
        for _ in range(pairs):
            key, aligned = self._pair()
            alignment = aligned or alignment
            keys.append(key)
        infos = [self._tensor() for _ in range(tensors)]
        data = -(-self._at // alignment) * alignment
        if unaligned := next((each for each in infos if each.offset % alignment), None):
            raise GgufError(f"tensor {shown_name(unaligned.name)} is not aligned to {alignment} bytes")
        return Head(keys, infos, data)

    def _pair(self) -> tuple[bytes, int]:
        """The key; and the alignment, if this is the pair that says it, else 0."""
        key = self._string()
        kind = self._number("I", 4)
        if key != _ALIGNMENT:
            self._skip(kind)
            return key, 0
        alignment = self._number("I", 4) if kind == _U32 else 0
        if not alignment or alignment % 8:
            raise GgufError(f"its alignment is {alignment}")
        return key, alignment

    def _tensor(self) -> Info:
        name = self._string()
        dimensions = self._number("I", 4)
        if dimensions > _DIMENSIONS_MAX:
            raise GgufError(f"tensor {shown_name(name)} has {dimensions} dimensions")
        shape = [self._number("Q", 8) for _ in range(dimensions)]
        block, block_bytes = _BLOCKS.get(self._number("I", 4), (1, 0))
        return Info(name, self._number("Q", 8), -(-math.prod(shape) // block) * block_bytes)

    def _skip(self, kind: int, count: int = 1, depth: int = 0) -> None:
        if kind in _SIZES:
            self._pass(_SIZES[kind] * count)
        elif kind == _STRING:
            self._need(8 * count)
            for _ in range(count):
                self._pass(self._number("Q", 8))
        elif kind == _ARRAY and depth < _DEPTH_MAX:
            self._need(12 * count)
            for _ in range(count):
                self._skip(self._number("I", 4), self._number("Q", 8), depth + 1)
        else:
            raise GgufError(f"it has a value of type {kind}, which is not known")

    def _string(self) -> bytes:
        size_bytes = self._number("Q", 8)
        self._pass(size_bytes)
        return self._head[self._at - size_bytes : self._at]

    def _number(self, form: str, size_bytes: int) -> int:
        self._pass(size_bytes)
        number: int = struct.unpack_from(self._order + form, self._head, self._at - size_bytes)[0]
        return number

    def _pass(self, size_bytes: int) -> None:
        self._need(size_bytes)
        self._at += size_bytes

    def _need(self, size_bytes: int) -> None:
        if self._at + size_bytes > len(self._head):
            raise ShortError(self._at + size_bytes)
