"""What a safetensors file says of itself in its head: what is in it, and how long it has to be.

Eight bytes say how long the header is, and the header where each tensor ends; so a file that was cut off is found
without reading it. What is not of the format to the letter is an ordinary file, not an error.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from syncd.artifact.names import FilePath, parse_path
from syncd.errors import Corrupt, Invalid

ENDING: Final = ".safetensors"
INDEX: Final = re.compile(r".*\.safetensors\.index(\.[\w-]+)?\.json")
INDEX_BYTES_MAX: Final = 64 << 20
HEADER_BYTES_MAX: Final = 32 << 20
LENGTH_BYTES: Final = 8
_KEYS: Final = {"dtype", "shape", "data_offsets"}
_SHARD: Final = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\.(?:safetensors|gguf|bin))")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the file: its type, how many numbers it has, and where it lies behind the header."""

    dtype: str
    numbers: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What is in a file: its tensors, and how many numbers of each type they have."""

    tensors: int
    parameters: Mapping[str, int]


def head_bytes(length: bytes) -> int:
    """How many of the first bytes the header needs, from the first eight; 0 where that cannot be a header."""
    wanted = LENGTH_BYTES + int.from_bytes(length, "little")
    return wanted if len(length) == LENGTH_BYTES and wanted <= LENGTH_BYTES + HEADER_BYTES_MAX else 0


def tensors(text: bytes) -> Sequence[Tensor] | None:
    """The tensors that a header without its length has; None where it is none to the letter."""
    try:
        # Each tensor is made small as soon as it is read: there may be a hundred thousand.
        document = json.loads(text, object_pairs_hook=_compact)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    found = [each for name, each in document.items() if name != "__metadata__"]
    return found if all(isinstance(each, Tensor) for each in found) else None


def header(path: str, size_bytes: int, head: bytes) -> Header | None:
    """Read a header; `head` is as many of the first bytes as `head_bytes` said, or all that there are.

    Raises:
        Corrupt: It is a safetensors file, and is not as long as it says: it was cut off.
    """
    wanted = head_bytes(head[:LENGTH_BYTES])
    if not wanted or head[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{":
        return None
    if wanted > size_bytes:
        raise _cut(path, size_bytes, f"its header alone ends at {wanted}")
    found = tensors(head[LENGTH_BYTES:wanted])
    if found is None:
        return None
    end = wanted + max((each.end for each in found), default=0)
    if end != size_bytes:
        raise _cut(path, size_bytes, f"its tensors end at {end}")
    parameters: defaultdict[str, int] = defaultdict(int)
    for each in found:
        parameters[each.dtype] += each.numbers
    return Header(len(found), dict(parameters))


def shards(path: FilePath, data: bytes) -> frozenset[FilePath]:
    """The files that an index names, by their paths in the version.

    Raises:
        Invalid: It is no index, or names something outside of its own directory.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path} is no index of shards: {error}") from error
    names = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(names, dict):
        raise Invalid(f"{path} is no index of shards: it has no 'weight_map'")
    found = set()
    for name in names.values():
        if not isinstance(name, str) or "/" in name or name in {"", ".", ".."}:
            shown = repr(name)[:120]
            raise Invalid(f"{path} names {shown}, which is not beside it", hint="an index names its own shards")
        found.add(parse_path(posixpath.join(posixpath.dirname(path), name)))
    return frozenset(found)


def missing(paths: Iterable[FilePath]) -> str | None:
    """The first file that by the names of the others (`…-00001-of-00002…`) has to be there and is not."""
    there = frozenset(paths)
    series = {(match[1], match[3], match[4]) for match in map(_SHARD.fullmatch, there) if match}
    wanted = (
        f"{start}{number:05}-of-{count}{ending}"
        for start, count, ending in sorted(series)
        for number in range(1, int(count) + 1)
    )
    return next((name for name in wanted if name not in there), None)


def _compact(pairs: list[tuple[str, Any]]) -> object:
    """A tensor as one; the whole as a dictionary; two tensors of one name as nothing that is known."""
    found = dict(pairs)
    if found.keys() != _KEYS:
        return found if len(found) == len(pairs) else None
    dtype, shape, span = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(dtype, str) or not _are_numbers(shape, range(65)) or not _are_numbers(span, (2,)):
        return None
    return Tensor(sys.intern(dtype), math.prod(shape), span[0], span[1])


def _are_numbers(value: object, lengths: Sequence[int]) -> bool:
    return isinstance(value, list) and len(value) in lengths and all(type(n) is int and n >= 0 for n in value)


def _cut(path: str, size_bytes: int, want: str) -> Corrupt:
    return Corrupt(
        f"{path} has {size_bytes} bytes, {want}", hint="it was cut off when it was brought there, or goes on"
    )
