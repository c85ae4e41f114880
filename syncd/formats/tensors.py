"""Where the tensors of a file begin, from the head of a safetensors or GGUF file.

Only used to choose where a file is cut, so what is not understood to the letter is an ordinary file, not an error.
The same file gives the same answer for ever: half-done uploads are resumed by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from syncd.formats.parsers import gguf
from syncd.formats.parsers.safetensors import LENGTH_BYTES, TensorEntry, tensors

HEAD_BYTES_MAX: Final = 32 << 20  # held in memory beside the buffers; the largest vocabularies of GGUF are half of it
_NONE: Final[tuple[int, ...]] = ()


def starts(path: str, size_bytes: int, head: bytes) -> int | tuple[int, ...]:
    """Where the tensors of this file begin, in order; or, as a number, how many of its first bytes that takes.

    Call it with no bytes first, and again with as many as it asks for. Empty where the file has no tensors that could
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


def _contiguous(found: Sequence[TensorEntry], data: int, size_bytes: int) -> tuple[int, ...]:
    """The format allows neither a hole nor a byte that belongs to two."""
    end, begins = 0, []
    for begin, after in sorted((each.begin, each.end) for each in found):
        if begin != end or after < begin:
            return _NONE
        if after > begin:
            begins.append(data + begin)
        end = after
    return tuple(begins) if data + end == size_bytes else _NONE


def _gguf(size_bytes: int, head: bytes) -> int | tuple[int, ...]:
    if not gguf.MAGIC.startswith(head[:4]):
        return _NONE
    if len(head) >= gguf.FIXED_BYTES and gguf.byte_order(head) != "<":
        return _NONE
    try:
        found = gguf.read_head(head, "<")
    except gguf.GgufError:
        return _NONE
    except gguf.ShortError as short:
        if short.position > min(size_bytes, HEAD_BYTES_MAX):
            return _NONE
        return min(size_bytes, HEAD_BYTES_MAX, max(short.position, 2 * len(head), gguf.FIRST_BYTES))
    begins = sorted({found.data + each.offset for each in found.infos})
    return tuple(begins) if begins and begins[-1] < size_bytes else _NONE
