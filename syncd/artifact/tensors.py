"""Where the tensors of a model file begin: read from the head of a safetensors or GGUF file, and from nothing else.

Only used to choose where a file is cut, so what is not understood to the letter is an ordinary file, not an error.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from syncd.artifact.safetensors import LENGTH_BYTES, Tensor, tensors

MIB: Final = 1 << 20
HEAD_BYTES_MAX: Final = 32 * MIB  # held in memory beside the buffers; the largest vocabularies of GGUF are half of it
_NONE: Final[tuple[int, ...]] = ()

_GGUF_FIRST_BYTES: Final = 64 << 10
_GGUF_FIXED_BYTES: Final = 24
_GGUF_VERSIONS: Final = (2, 3)
_GGUF_ALIGNMENT: Final = "general.alignment"
_GGUF_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_GGUF_U32, _GGUF_STRING, _GGUF_ARRAY = 4, 8, 9
_GGUF_DEPTH_MAX: Final = 4  # of arrays of arrays
_GGUF_DIMENSIONS_MAX: Final = 8


def look(path: str, size_bytes: int, head: bytes) -> int | tuple[int, ...]:
    """Where the tensors of this file begin, in order; or, as a number, how many of its first bytes that takes.

    Call it with no bytes first, and again with as many as it wants. Empty where the file has no tensors that could
    be found: it is of another kind, malformed, or its head is larger than `HEAD_BYTES_MAX`.
    """
    if path.endswith(".safetensors"):
        return _safetensors(size_bytes, head)
    if path.endswith(".gguf"):
        return _gguf(size_bytes, head)
    return _NONE


def _safetensors(size_bytes: int, head: bytes) -> int | tuple[int, ...]:
    if len(head) < LENGTH_BYTES:
        return LENGTH_BYTES if size_bytes > LENGTH_BYTES else _NONE
    data = LENGTH_BYTES + int.from_bytes(head[:LENGTH_BYTES], "little")
    if data > min(HEAD_BYTES_MAX, size_bytes):
        return _NONE
    if len(head) < data:
        return data
    return _contiguous(tensors(head[LENGTH_BYTES:data]) or (), data, size_bytes)


def _contiguous(found: Sequence[Tensor], data: int, size_bytes: int) -> tuple[int, ...]:
    """The format allows neither a hole nor a byte that belongs to two."""
    end, starts = 0, []
    for begin, after in sorted((each.begin, each.end) for each in found):
        if begin != end or after < begin:
            return _NONE
        if after > begin:
            starts.append(data + begin)
        end = after
    return tuple(starts) if data + end == size_bytes else _NONE


class _ShortError(Exception):
    """The head ends before `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class _MalformedError(Exception):
    """No GGUF that is known here."""


def _gguf(size_bytes: int, head: bytes) -> int | tuple[int, ...]:
    try:
        starts = _Gguf(head).starts()
    except _MalformedError:
        return _NONE
    except _ShortError as short:
        if short.position > min(size_bytes, HEAD_BYTES_MAX):
            return _NONE
        return min(size_bytes, HEAD_BYTES_MAX, max(short.position, 2 * len(head), _GGUF_FIRST_BYTES))
    return tuple(starts) if starts and starts[-1] < size_bytes else _NONE


class _Gguf:
    """Walks over the head of a GGUF file. Little endian; versions 2 and 3 have the same head."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._at = 0

    def starts(self) -> list[int]:
        """The offsets in the file; a tensor reaches to the next one, padding included."""
        if not b"GGUF".startswith(self._head[:4]):
            raise _MalformedError
        self._need(_GGUF_FIXED_BYTES)
        magic, version, tensors, pairs = struct.unpack_from("<4sIQQ", self._head)
        if magic != b"GGUF" or version not in _GGUF_VERSIONS:
            raise _MalformedError
        self._at = _GGUF_FIXED_BYTES
        # Each tensor takes 24 bytes and each pair 13 at least, so that no number in the file makes this walk long.
        self._need(24 * tensors + 13 * pairs)
        alignment = 32
        for _ in range(pairs):
            alignment = self._pair() or alignment
        offsets = {self._tensor() for _ in range(tensors)}
        data = -(-self._at // alignment) * alignment
        if any(offset % alignment for offset in offsets):
            raise _MalformedError
        return sorted(data + offset for offset in offsets)

    def _pair(self) -> int:
        """The alignment, if this is the pair that says it; else 0."""
        begin, end = self._string()
        kind = self._number("<I", 4)
        if self._head[begin:end] != _GGUF_ALIGNMENT.encode():
            self._skip(kind)
            return 0
        alignment = self._number("<I", 4) if kind == _GGUF_U32 else 0
        if not alignment or alignment % 8:
            raise _MalformedError
        return alignment

    def _tensor(self) -> int:
        self._string()
        dimensions = self._number("<I", 4)
        if dimensions > _GGUF_DIMENSIONS_MAX:
            raise _MalformedError
        self._pass(8 * dimensions + 4)
        return self._number("<Q", 8)

    def _skip(self, kind: int, count: int = 1, depth: int = 0) -> None:
        if kind in _GGUF_SIZES:
            self._pass(_GGUF_SIZES[kind] * count)
        elif kind == _GGUF_STRING:
            self._need(8 * count)
            for _ in range(count):
                self._string()
        elif kind == _GGUF_ARRAY and depth < _GGUF_DEPTH_MAX:
            self._need(12 * count)
            for _ in range(count):
                self._skip(self._number("<I", 4), self._number("<Q", 8), depth + 1)
        else:
            raise _MalformedError

    def _string(self) -> tuple[int, int]:
        size_bytes = self._number("<Q", 8)
        self._pass(size_bytes)
        return self._at - size_bytes, self._at

    def _number(self, form: str, size_bytes: int) -> int:
        self._pass(size_bytes)
        number: int = struct.unpack_from(form, self._head, self._at - size_bytes)[0]
        return number

    def _pass(self, size_bytes: int) -> None:
        self._need(size_bytes)
        self._at += size_bytes

    def _need(self, size_bytes: int) -> None:
        if self._at + size_bytes > len(self._head):
            raise _ShortError(self._at + size_bytes)
