"""Generated models: any size, any byte known in advance, and sources that misbehave as they are told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import parse_path
from syncd.errors import Unavailable
from syncd.values.source import Stream

_BLOCK_BYTES = 1 << 20


def content(path: str, size_bytes: int) -> bytes:
    """The bytes of a generated file: they look random, and differ from file to file."""
    return bytes(_Blocks(path).run(0, size_bytes))


def rest_of(stream: Stream) -> bytes:
    """All that a stream still has."""
    found, piece = bytearray(), memoryview(bytearray(50_000))
    while count := stream.readinto(piece):
        found += piece[:count]
    return bytes(found)


class _Blocks:
    """Endless bytes: a block of a megabyte, a little different each time it comes round."""

    def __init__(self, path: str) -> None:
        self._block = bytearray(hashlib.shake_128(path.encode()).digest(_BLOCK_BYTES))

    def run(self, offset_bytes: int, size_bytes: int) -> bytearray:
        found = bytearray()
        while len(found) < size_bytes:
            number, start = divmod(offset_bytes + len(found), _BLOCK_BYTES)
            self._block[:8] = number.to_bytes(8, "big")
            found += self._block[start : start + size_bytes - len(found)]
        return found


def manifest_of(files: Mapping[str, bytes], model: str = "team/sdxl", version: str = "v1") -> Manifest:
    return Manifest.of(
        model,
        version,
        [Entry(parse_path(p), len(data), Digest(hashlib.sha256(data).hexdigest())) for p, data in files.items()],
    )


def generated_manifest(sizes: Mapping[str, int]) -> Manifest:
    """A manifest of generated files without holding any of them."""
    entries = []
    for path, size_bytes in sizes.items():
        hasher, blocks = hashlib.sha256(), _Blocks(path)
        for offset in range(0, size_bytes, _BLOCK_BYTES):
            hasher.update(blocks.run(offset, min(_BLOCK_BYTES, size_bytes - offset)))
        entries.append(Entry(parse_path(path), size_bytes, Digest(hasher.hexdigest())))
    return Manifest.of("sdxl", "v1", entries)


class GeneratedStream:
    """See `syncd.registry.base.Stream`."""

    def __init__(self, path: str, size_bytes: int, offset_bytes: int) -> None:
        self._blocks = _Blocks(path)
        self._offset = offset_bytes
        self._end = size_bytes

    def readinto(self, buffer: memoryview) -> int:
        run = self._blocks.run(self._offset, min(len(buffer), self._end - self._offset, _BLOCK_BYTES))
        buffer[: len(run)] = run
        self._offset += len(run)
        return len(run)

    def __enter__(self) -> GeneratedStream:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def generated(entry: Entry, offset_bytes: int) -> GeneratedStream:
    """The source of a generated manifest."""
    return GeneratedStream(entry.path, entry.size_bytes, offset_bytes)


@dataclass
class Files:
    """A source of files held in memory, which counts what is read and breaks off where it is told to."""

    files: Mapping[str, bytes]
    breaks: dict[str, list[int]] = field(default_factory=dict)  # path -> offsets at which reading fails, once each
    piece_bytes: int = 40_000
    read_bytes: dict[str, int] = field(default_factory=dict)
    opened: list[tuple[str, int]] = field(default_factory=list)
    closed: int = 0
    lock: Lock = field(default_factory=Lock)

    def __call__(self, entry: Entry, offset_bytes: int) -> FilesStream:
        with self.lock:
            self.opened.append((entry.path, offset_bytes))
        return FilesStream(self, entry.path, offset_bytes)


class FilesStream:
    def __init__(self, files: Files, path: str, offset_bytes: int) -> None:
        self._files = files
        self._path = path
        self._offset = offset_bytes

    def readinto(self, buffer: memoryview) -> int:
        breaks = self._files.breaks.get(self._path, [])
        if breaks and self._offset >= breaks[0]:
            raise Unavailable(f"{self._path} broke off at {breaks.pop(0)}")
        end = min(self._offset + self._files.piece_bytes, *(breaks[:1] or [1 << 62]))
        piece = self._files.files[self._path][self._offset : end][: len(buffer)]
        buffer[: len(piece)] = piece
        self._offset += len(piece)
        with self._files.lock:
            self._files.read_bytes[self._path] = self._files.read_bytes.get(self._path, 0) + len(piece)
        return len(piece)

    def __enter__(self) -> FilesStream:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._files.lock:
            self._files.closed += 1
