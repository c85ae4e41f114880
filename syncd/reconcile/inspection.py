"""A version looked at where it comes from, without reading it: is it whole, and what is in it?"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from syncd.artifact.names import FilePath, ModelName
from syncd.artifact.safetensors import (
    ENDING,
    INDEX,
    INDEX_BYTES_MAX,
    LENGTH_BYTES,
    Header,
    head_bytes,
    header,
    missing,
    shards,
)
from syncd.errors import Cancelled, Invalid
from syncd.registry.base import Registry, Revision, SourceFile, Stream

_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Inspection:
    """A version as its registry has it. `headers` of the files that are safetensors."""

    revision: Revision
    files: Sequence[SourceFile]
    headers: Mapping[FilePath, Header]

    @property
    def parameters(self) -> Mapping[str, int]:
        """How many numbers of each type all files have."""
        total: dict[str, int] = {}
        for found in self.headers.values():
            for dtype, count in found.parameters.items():
                total[dtype] = total.get(dtype, 0) + count
        return total


def inspect(registry: Registry, model: ModelName, revision: Revision, stop: threading.Event) -> Inspection:
    """List what was pinned, and read the head of each safetensors file and every index of shards.

    Raises:
        Cancelled: `stop` was set.
        Corrupt: A file was cut off.
        Invalid: A shard is missing, or an index names something else than its shards.
        NotFound, Unavailable, Conflict, Refused: As the registry's own methods say.
    """
    files = registry.listing(model, revision)
    _check_names(frozenset(file.path for file in files))
    headers = {}
    for file in files:
        if stop.is_set():
            raise Cancelled(f"{file.path}: stopped while looking at it")
        if INDEX.fullmatch(file.path):
            _check_index(registry, model, revision, file, files)
        elif file.path.endswith(ENDING) and file.size_bytes > LENGTH_BYTES:
            found = _header(registry, model, revision, file)
            if found is not None:
                headers[file.path] = found
    return Inspection(revision, files, headers)


def _check_names(paths: frozenset[FilePath]) -> None:
    lost = missing(paths)
    if lost is not None:
        raise Invalid(f"{lost} is missing: the names of the others say that it belongs to them", hint=_LOST_HINT)


def _check_index(
    registry: Registry, model: ModelName, revision: Revision, file: SourceFile, files: Sequence[SourceFile]
) -> None:
    if file.size_bytes > INDEX_BYTES_MAX:
        raise Invalid(f"{file.path} has {file.size_bytes} bytes, at most {INDEX_BYTES_MAX} are read of an index")
    with registry.open(model, revision, file.path) as stream:
        named = shards(file.path, _read(stream, file.size_bytes))
    lost = sorted(named - {each.path for each in files})
    if lost:
        raise Invalid(f"{lost[0]} is missing: {file.path} names it, and {len(lost) - 1} others", hint=_LOST_HINT)


def _header(registry: Registry, model: ModelName, revision: Revision, file: SourceFile) -> Header | None:
    with registry.open(model, revision, file.path) as stream:
        length = _read(stream, LENGTH_BYTES)
        wanted = min(head_bytes(length), file.size_bytes)
        return header(file.path, file.size_bytes, length + _read(stream, max(0, wanted - len(length))))


def _read(stream: Stream, size_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < size_bytes:
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, size_bytes - len(data))))
        count = stream.readinto(buffer)
        if not count:
            break
        data += buffer[:count]
    return bytes(data)


_LOST_HINT: Final = "bring the whole model there, under a new version's name"
