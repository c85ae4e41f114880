"""What a safetensors file says of itself in its head: what is in it, and how long it has to be.

Eight bytes say how long the header is, and the header where each tensor ends; so a file that was cut off is found
without reading it. What is not of the format to the letter is an ordinary file, not an error.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from syncd.artifact.names import FilePath, parse_path
from syncd.errors import Corrupt, Invalid

ENDING: Final = ".safetensors"
INDEX: Final = re.compile(r".*\.safetensors\.index(\.[\w-]+)?\.json")
INDEX_BYTES_MAX: Final = 64 << 20
HEADER_BYTES_MAX: Final = 32 << 20
LENGTH_BYTES: Final = 8
_SHARD: Final = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\.(?:safetensors|gguf|bin))")


@dataclass(frozen=True, slots=True)
class Header:
    """What is in a file: its tensors, and how many numbers of each type they have."""

    tensors: int
    parameters: Mapping[str, int]


def head_bytes(length: bytes) -> int:
    """How many of the first bytes the header needs, from the first eight; 0 where that cannot be a header."""
    wanted = LENGTH_BYTES + int.from_bytes(length, "little")
    return wanted if len(length) == LENGTH_BYTES and wanted <= LENGTH_BYTES + HEADER_BYTES_MAX else 0


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
    try:
        document = json.loads(head[LENGTH_BYTES:wanted])
    except (ValueError, RecursionError):
        return None
    tensors = [each for name, each in document.items() if name != "__metadata__"]
    if not all(_is_tensor(each) for each in tensors):
        return None
    end = wanted + max((each["data_offsets"][1] for each in tensors), default=0)
    if end != size_bytes:
        raise _cut(path, size_bytes, f"its tensors end at {end}")
    parameters: defaultdict[str, int] = defaultdict(int)
    for each in tensors:
        parameters[each["dtype"]] += math.prod(each["shape"])
    return Header(len(tensors), dict(parameters))


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


def _is_tensor(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("dtype"), str):
        return False
    return all(
        isinstance(numbers, list) and len(numbers) in lengths and all(type(n) is int and n >= 0 for n in numbers)
        for numbers, lengths in ((value.get("shape"), range(65)), (value.get("data_offsets"), (2,)))
    )


def _cut(path: str, size_bytes: int, want: str) -> Corrupt:
    return Corrupt(
        f"{path} has {size_bytes} bytes, {want}", hint="it was cut off when it was brought there, or goes on"
    )
