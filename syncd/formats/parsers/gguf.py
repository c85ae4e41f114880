"""GGUF: pairs of keys and values, then each tensor's shape, type and offset, then the data. Either byte order."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from syncd.formats.contents import Contents, cut_off, damaged
from syncd.formats.spans import Span, Steps

FORMAT: Final = "gguf"
HEAD_BYTES_MAX: Final = 64 << 20  # read in windows: the largest vocabularies are a third of it
NAMES_MAX: Final = 100_000  # of keys and tensors, each 250 bytes in memory with what is known of it; models have 10 000
NAME_BYTES_MAX: Final = (1 << 16) - 1  # github.com/ggml-org/ggml, docs/gguf.md: of a key
NAMES_BYTES_MAX: Final = 16 << 20
FIXED_BYTES: Final = 24
FIRST_BYTES: Final = 64 << 10
_WINDOW_BYTES: Final = 64 << 10
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
    """The file is not a known form of GGUF; the text says why."""


@dataclass(frozen=True, slots=True)
class Info:
    """A tensor of the head; `offset` is behind `Head.data`. `size_bytes` is 0 for a type that is not known."""

    name: bytes
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the data, and where that begins. `twice` is a name that occurs twice, "" without one."""

    infos: Sequence[Info]
    data: int
    twice: str


def parse(path: str, size_bytes: int) -> Steps[Contents]:
    """Check a file, from its head alone: every tensor ends within the file.

    Raises:
        Corrupt: It is not a GGUF file, or was cut off.
    """
    head = yield Span(0, min(FIXED_BYTES, size_bytes))
    if not head.startswith(MAGIC) and len(head) >= len(MAGIC):
        raise damaged(path, f"begins with {head[:4]!r}, a GGUF file with {MAGIC!r}", "something else was saved there")
    if len(head) < FIXED_BYTES:
        raise cut_off(path, size_bytes, f"a GGUF file begins with {FIXED_BYTES}")
    order = byte_order(head)
    if order is None:
        return Contents(FORMAT, is_whole=False)  # an older or a later version of the format
    try:
        found = yield from _GgufWalk(order, min(size_bytes, HEAD_BYTES_MAX)).head()
    except GgufError as error:
        raise damaged(path, f"is not a GGUF file that can be read: {error}") from error
    except ShortError as short:
        if short.position > size_bytes:
            raise cut_off(path, size_bytes, f"its head alone ends at {short.position} or later") from short
        return Contents(FORMAT, is_whole=False)
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
    steps = _GgufWalk(order, len(head)).head()
    try:
        span = next(steps)
        while True:
            span = steps.send(head[span.begin : span.end])
    except StopIteration as end:
        found: Head = end.value
        return found


def _check(path: str, size_bytes: int, found: Head) -> None:
    if found.twice:
        raise damaged(path, f"has {found.twice} twice")
    if found.infos:
        last = max(found.infos, key=lambda each: each.offset + max(1, each.size_bytes))
        end = found.data + last.offset + last.size_bytes
        if end > size_bytes:
            raise cut_off(path, size_bytes, f"its tensors end at {end}")


def shown_name(name: bytes) -> str:
    """A name from a file, for a message."""
    return repr(name.decode(errors="replace")[:200])


class _GgufWalk:
    """Reads the head of a GGUF file, window by window. Versions 2 and 3 have the same head.

    Values are passed by their sizes, and nothing is made of them: a vocabulary takes the memory of one window.
    """

    def __init__(self, order: str, end: int) -> None:
        """`end` is where the bytes end that may be asked for."""
        self._order = order
        self._end = end
        self._window = b""
        self._begin = 0  # the offset of the window
        self._at = 0
        self._names: set[bytes] = set()
        self._names_bytes = 0
        self._count = 0
        self._twice = ""
        self._length = struct.Struct(f"{order}Q").unpack_from

    def head(self) -> Steps[Head]:
        yield from self._need(FIXED_BYTES)
        tensors, pairs = struct.unpack_from(f"{self._order}QQ", self._window, 8)
        self._at = FIXED_BYTES
        # Each tensor takes 24 bytes and each pair 13 at least, so that no number in the file makes this walk long.
        self._reach(24 * tensors + 13 * pairs)
        alignment = _DEFAULT_ALIGNMENT
        for _ in range(pairs):
            alignment = (yield from self._pair()) or alignment
        self._names = set()
        infos: list[Info] = []
        for _ in range(tensors):
            info = yield from self._tensor()
            if info.offset % alignment:
                raise GgufError(f"tensor {shown_name(info.name)} is not aligned to {alignment} bytes")
            infos.append(info)
        data = -(-self._at // alignment) * alignment
        return Head(infos, data, self._twice)

    def _pair(self) -> Steps[int]:
        """The alignment, if this is the pair that says it, else 0."""
        key = yield from self._name("key")
        kind = yield from self._number("I", 4)
        if key != _ALIGNMENT:
            yield from self._skip(kind)
            return 0
        alignment = (yield from self._number("I", 4)) if kind == _U32 else 0
        if not alignment or alignment % 8:
            raise GgufError(f"its alignment is {alignment}")
        return alignment

    def _tensor(self) -> Steps[Info]:
        name = yield from self._name("tensor")
        dimensions = yield from self._number("I", 4)
        if dimensions > _DIMENSIONS_MAX:
            raise GgufError(f"tensor {shown_name(name)} has {dimensions} dimensions")
        size = 1
        for _ in range(dimensions):
            size *= yield from self._number("Q", 8)
        block, block_bytes = _BLOCKS.get((yield from self._number("I", 4)), (1, 0))
        return Info(name, (yield from self._number("Q", 8)), -(-size // block) * block_bytes)

    def _skip(self, kind: int, count: int = 1, depth: int = 0) -> Steps[None]:
        if kind in _SIZES:
            self._pass(_SIZES[kind] * count)
        elif kind == _STRING:
            self._reach(8 * count)
            yield from self._skip_strings(count)
        elif kind == _ARRAY and depth < _DEPTH_MAX:
            self._reach(12 * count)
            for _ in range(count):
                inner = yield from self._number("I", 4)
                yield from self._skip(inner, (yield from self._number("Q", 8)), depth + 1)
        else:
            raise GgufError(f"it has a value of type {kind}, which is not known")

    def _skip_strings(self, count: int) -> Steps[None]:
        """A vocabulary has hundreds of thousands: those within the window are passed without a call for each."""
        length = self._length
        for _ in range(count):
            at = self._at - self._begin
            if at + 8 > len(self._window):
                yield from self._need(8)
                at = self._at - self._begin
            self._at += 8 + length(self._window, at)[0]
            if self._at > self._end:
                raise ShortError(self._at)

    def _name(self, what: str) -> Steps[bytes]:
        size_bytes = yield from self._number("Q", 8)
        self._reach(size_bytes)
        self._count += 1
        self._names_bytes += size_bytes
        if size_bytes > NAME_BYTES_MAX:
            raise GgufError(f"a {what} has a name of {size_bytes} bytes, more than {NAME_BYTES_MAX}")
        if self._count > NAMES_MAX or self._names_bytes > NAMES_BYTES_MAX:
            raise GgufError(f"it has more than {NAMES_MAX} keys and tensors, or {NAMES_BYTES_MAX} bytes of their names")
        yield from self._need(size_bytes)
        begin = self._at - self._begin
        name = self._window[begin : begin + size_bytes]
        self._at += size_bytes
        if name in self._names:
            self._twice = self._twice or f"{what} {shown_name(name)}"
        self._names.add(name)
        return name

    def _number(self, form: str, size_bytes: int) -> Steps[int]:
        yield from self._need(size_bytes)
        number: int = struct.unpack_from(self._order + form, self._window, self._at - self._begin)[0]
        self._at += size_bytes
        return number

    def _pass(self, size_bytes: int) -> None:
        self._reach(size_bytes)
        self._at += size_bytes

    def _need(self, size_bytes: int) -> Steps[None]:
        """Have that many bytes in the window."""
        self._reach(size_bytes)
        if self._at + size_bytes > self._begin + len(self._window):
            self._begin = self._at
            wanted = min(self._end - self._at, max(size_bytes, _WINDOW_BYTES))
            self._window = yield Span(self._at, wanted)

    def _reach(self, size_bytes: int) -> None:
        if self._at + size_bytes > self._end:
            raise ShortError(self._at + size_bytes)
