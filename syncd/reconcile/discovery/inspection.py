"""A version looked at where it comes from, without reading it: is it whole, and what is in it?"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from syncd.artifact.weights import (
    ADAPTER,
    ADAPTER_BYTES_MAX,
    GGUF_ENDING,
    GGUF_HEAD_BYTES,
    base_of,
    check_no_pointer,
    gguf_tensors,
    may_be_pointer,
)
from syncd.errors import Cancelled, Invalid
from syncd.registry.base import Registry
from syncd.values.source import Revision, SourceFile, Stream

_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class VersionInspection:
    """A version as its registry has it. `headers` of the files that are safetensors, `bases` of adapters."""

    revision: Revision
    files: Sequence[SourceFile]
    headers: Mapping[FilePath, Header]
    gguf: Mapping[FilePath, int]  # how many tensors each has
    bases: Mapping[FilePath, str]  # by the adapter's configuration; "" where it names none

    @property
    def parameters(self) -> Mapping[str, int]:
        """How many numbers of each type all files have."""
        total: dict[str, int] = {}
        for found in self.headers.values():
            for dtype, count in found.parameters.items():
                total[dtype] = total.get(dtype, 0) + count
        return total


def inspect(registry: Registry, model: ModelName, revision: Revision, stop: threading.Event) -> VersionInspection:
    """List what was pinned, and read the head of each file of weights, every index of shards, an adapter's base.

    Raises:
        Cancelled: `stop` was set.
        Corrupt: A file was cut off, or something else is in its place.
        Invalid: A shard is missing, or an index names something else than its shards.
        NotFound, Unavailable, Conflict, Refused: As the registry's own methods say.
    """
    files = registry.listing(model, revision)
    _check_names(frozenset(file.path for file in files))
    seen = _Seen(registry, model, revision, files)
    for file in files:
        if stop.is_set():
            raise Cancelled(f"{file.path}: stopped while looking at it")
        seen.look(file)
    return VersionInspection(revision, files, seen.headers, seen.gguf, seen.bases)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was read of one version so far."""

    registry: Registry
    model: ModelName
    revision: Revision
    files: Sequence[SourceFile]
    headers: dict[FilePath, Header] = field(default_factory=dict)
    gguf: dict[FilePath, int] = field(default_factory=dict)
    bases: dict[FilePath, str] = field(default_factory=dict)

    def look(self, file: SourceFile) -> None:
        """Read of a file what tells whether it is whole."""
        path, size_bytes = file.path, file.size_bytes
        if may_be_pointer(path, size_bytes):
            check_no_pointer(path, self._head(file, size_bytes))
        if INDEX.fullmatch(path):
            self._check_index(file)
        elif path.endswith(ENDING) and size_bytes > LENGTH_BYTES:
            found = self._header(file)
            if found is not None:
                self.headers[path] = found
        elif path.endswith(GGUF_ENDING):
            self.gguf[path] = gguf_tensors(path, size_bytes, self._head(file, GGUF_HEAD_BYTES))
        elif path.rpartition("/")[2] == ADAPTER:
            self.bases[path] = base_of(path, self._whole(file, ADAPTER_BYTES_MAX))

    def _check_index(self, file: SourceFile) -> None:
        named = shards(file.path, self._whole(file, INDEX_BYTES_MAX))
        lost = sorted(named - {each.path for each in self.files})
        if lost:
            raise Invalid(f"{lost[0]} is missing: {file.path} names it, and {len(lost) - 1} others", hint=_LOST_HINT)

    def _header(self, file: SourceFile) -> Header | None:
        with self.registry.open(self.model, self.revision, file.path) as stream:
            length = _read(stream, LENGTH_BYTES)
            wanted = min(head_bytes(length), file.size_bytes)
            return header(file.path, file.size_bytes, length + _read(stream, max(0, wanted - len(length))))

    def _whole(self, file: SourceFile, bytes_max: int) -> bytes:
        if file.size_bytes > bytes_max:
            raise Invalid(f"{file.path} has {file.size_bytes} bytes, at most {bytes_max} are read of it")
        return self._head(file, file.size_bytes)

    def _head(self, file: SourceFile, size_bytes: int) -> bytes:
        with self.registry.open(self.model, self.revision, file.path) as stream:
            return _read(stream, min(size_bytes, file.size_bytes))


def _check_names(paths: frozenset[FilePath]) -> None:
    lost = missing(paths)
    if lost is not None:
        raise Invalid(f"{lost} is missing: the names of the others say that it belongs to them", hint=_LOST_HINT)


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
