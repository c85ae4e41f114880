"""Layers of a version as reproducible tars: the same bytes on any machine, at any time.

A large file has its own layer, so that a version that changes one shard pushes one layer. Smaller files share
layers, ordered by path. The last layer has only the seal, since it changes with every version.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from syncd import retry
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import SEAL_PATH, Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import Corrupt, Invalid, Unavailable
from syncd.values.source import Stream

FORMAT: Final = "syncd/layer/v1"
ALONE_BYTES: Final = 8 << 20  # so that 127 layers are enough for most models
GROUP_BYTES: Final = 64 << 20  # of files that share a layer
_BLOCK_BYTES: Final = 512
_END_BYTES: Final = 2 * _BLOCK_BYTES
_WHITEOUT: Final = ".wh."
_RETRY: Final = retry.Retry(attempts_max=6, elapsed_max_s=120.0)

Source = Callable[[Entry, int], Stream]
"""The bytes of a file from an offset on."""


@dataclass(frozen=True, slots=True)
class LayerMember:
    """A file in a layer: one of the version, or generated text."""

    path: str
    size_bytes: int
    sha256: Digest
    content: Entry | bytes


@dataclass(frozen=True)
class FileLayer:
    """Files that become one tar below `directory` (without a slash in front)."""

    directory: str
    members: tuple[LayerMember, ...]

    @cached_property
    def recipe(self) -> Digest:
        """The digest of the layer's inputs: equal recipes give equal bytes, so the record can know the digest."""
        files = [[m.path, m.size_bytes, m.sha256.hex] for m in self.members]
        text = json.dumps([FORMAT, self.directory, files], separators=(",", ":"))
        return Digest(hashlib.sha256(text.encode()).hexdigest())

    @cached_property
    def size_bytes(self) -> int:
        """The size of the tar, known before the first byte is read."""
        heads = sum(len(head) for head in self._directories())
        files = sum(len(self._head(m)) + _padded(m.size_bytes) for m in self.members)
        return heads + files + _END_BYTES

    @property
    def title(self) -> str:
        """The content, for people."""
        return self.members[0].path if len(self.members) == 1 else f"{len(self.members)} files"

    def segments(self) -> Iterator[bytes | Entry]:
        """The tar in order: bytes, and files whose bytes are inserted."""
        yield b"".join(self._directories())
        for member in self.members:
            yield self._head(member)
            yield member.content
            yield bytes(_padded(member.size_bytes) - member.size_bytes)
        yield bytes(_END_BYTES)

    def _directories(self) -> list[bytes]:
        """Every directory above a file, parents first, so that an unpacker does not choose its mode."""
        found: set[str] = set()
        for member in self.members:
            parts = f"{self.directory}/{member.path}".split("/")
            found |= {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        return [_header(f"{path}/", 0, tarfile.DIRTYPE, 0o755) for path in sorted(found)]

    def _head(self, member: LayerMember) -> bytes:
        return _header(f"{self.directory}/{member.path}", member.size_bytes, tarfile.REGTYPE, 0o644)


def layers_of(manifest: Manifest, directory: str, alone_bytes: int = ALONE_BYTES) -> tuple[FileLayer, ...]:
    """The layers of a version whose files are in `directory`, an absolute path.

    A file of `alone_bytes` or more has its own layer; a smaller limit gives more layers.

    Raises:
        Invalid: A file's name is a whiteout: in an image it removes another file.
    """
    below = directory.strip("/")
    layers: list[FileLayer] = []
    group: list[LayerMember] = []
    for entry in manifest.entries:
        _check_not_whiteout(entry.path)
        member = LayerMember(entry.path, entry.size_bytes, entry.sha256, entry)
        if entry.size_bytes >= alone_bytes:
            layers.append(FileLayer(below, (member,)))
            continue
        if sum(each.size_bytes for each in group) + entry.size_bytes > GROUP_BYTES:
            layers.append(FileLayer(below, tuple(group)))
            group = []
        group.append(member)
    if group:
        layers.append(FileLayer(below, tuple(group)))
    seal = LayerMember(SEAL_PATH, len(manifest.canonical), manifest.digest, manifest.canonical)
    return (*layers, FileLayer(below, (seal,)))


class TarStream:
    """The bytes of a layer; see `registry.base.Stream`. Each file is verified as it passes. For one thread."""

    def __init__(self, layer: FileLayer, source: Source, wait: Callable[[float], bool] = retry.sleep) -> None:
        """`wait` is that of `retry.call`, for a source that breaks off and is opened again."""
        self._segments = layer.segments()
        self._source = source
        self._wait = wait
        self._rest = memoryview(b"")
        self._file: _File | None = None

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`.

        Raises:
            Corrupt: A file does not match the manifest.
            Unavailable: It could not be read, past all tries.
        """
        while True:
            if self._rest:
                count = min(len(buffer), len(self._rest))
                buffer[:count], self._rest = self._rest[:count], self._rest[count:]
                return count
            if self._file is not None:
                count = self._file.readinto(buffer)
                if count:
                    return count
                self._file = None
            segment = next(self._segments, None)
            if segment is None:
                return 0
            if isinstance(segment, Entry):
                self._file = _File(segment, self._source, self._wait)
            else:
                self._rest = memoryview(segment)

    def __enter__(self) -> TarStream:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            self._file.close()


class _File:
    def __init__(self, entry: Entry, source: Source, wait: Callable[[float], bool]) -> None:
        self._entry = entry
        self._source = source
        self._wait = wait
        self._sha = hashlib.sha256()
        self._offset_bytes = 0
        self._stream: Stream | None = None

    def readinto(self, buffer: memoryview) -> int:
        left_bytes = self._entry.size_bytes - self._offset_bytes
        if not left_bytes:
            self._verify()
            return 0
        some = buffer[: min(len(buffer), left_bytes)]
        count = retry.call(_RETRY, lambda: self._read(some), wait=self._wait)
        self._sha.update(some[:count])
        self._offset_bytes += count
        return count

    def close(self) -> None:
        if self._stream is not None:
            self._stream.__exit__(None, None, None)
            self._stream = None

    def _read(self, some: memoryview) -> int:
        try:
            if self._stream is None:
                self._stream = self._source(self._entry, self._offset_bytes).__enter__()
            count = self._stream.readinto(some)
        except Unavailable:
            self.close()
            raise
        if not count:
            raise Corrupt(
                f"{self._entry.path}: ended after {self._offset_bytes} bytes, the manifest has {self._entry.size_bytes}"
            )
        return count

    def _verify(self) -> None:
        self.close()
        found = self._sha.hexdigest()
        if found != self._entry.sha256.hex:
            raise Corrupt(
                f"{self._entry.path}: expected sha256 {self._entry.sha256} as in the manifest, got {found}, "
                f"after {self._entry.size_bytes} bytes"
            )


def _check_not_whiteout(path: FilePath) -> None:
    if any(part.startswith(_WHITEOUT) for part in path.split("/")):
        raise Invalid(
            f"{path}: in a layer this name removes a file", hint="rename it, or serve the model from NAS or OSS"
        )


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def _header(name: str, size_bytes: int, kind: bytes, mode: int) -> bytes:
    """A reproducible header: owned by root, dated 1970, extended (PAX) where the plain one is too small."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mode = size_bytes, kind, mode
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
