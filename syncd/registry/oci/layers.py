"""Layers of a manifest: plain files, and tars of files, compressed or not.

The content of a tar is known only after reading it, so each is read once, whole, verified against its digest, and
its index is cached by that digest. A file in a plain tar is read by its offset; one in a compressed tar from the start.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.errors import Corrupt, Invalid, Unavailable
from syncd.http.decompress import ENCODINGS, DecompressedStream
from syncd.http.responses import object_at, size_at, text_at
from syncd.registry.listing_cache import FILES_HINT, FILES_MAX, Remote, name_shown
from syncd.registry.oci.tarball import TarMember, members
from syncd.values.source import SourceFile, Stream
from syncd.watchdog import mark_progress

UNPACKED_RATIO_MAX: Final = 64  # compressed weights are about a third smaller; a higher ratio is a bomb
_UNPACKED_LEAST_BYTES: Final = 64 << 20
_REMEMBERED_MAX: Final = 2 * FILES_MAX  # files of tars, some 60 MB
_PIECE_BYTES: Final = 1 << 18
_NAMES: Final = ("org.cncf.model.filepath", "org.opencontainers.image.title")
_UNPACK: Final = "io.deis.oras.content.unpack"
_PACKED: Final = re.compile(r"application/vnd\.(cncf\.model|kitops\.modelkit)\..*\.tar(\+\w+)?")
_PACKED_DIRECTORY: Final = re.compile(r"application/.*\.tar\+\w+")
_ARCHIVES: Final = (".tar", ".tar.gz", ".tgz", ".tar.zst")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ArtifactLayer:
    """A tar of files: its blob, and its compression, a key of `ENCODINGS` or "" for none."""

    url: str
    digest: str
    size_bytes: int
    packing: str

    @property
    def unpacked_bytes_max(self) -> int:
        """The limit for decompression."""
        return UNPACKED_RATIO_MAX * self.size_bytes + _UNPACKED_LEAST_BYTES


@dataclass(frozen=True, slots=True)
class TarredFile(Remote):
    """A file in a layer, and its offset in the tar."""

    layer: ArtifactLayer
    offset_bytes: int


Open = Callable[[ArtifactLayer, int], Stream]


class TarIndex:
    """Indexes of the tars that were read. Bounded; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[TarMember, ...]] = OrderedDict()

    def files(self, layer: ArtifactLayer, open_blob: Open, what: str) -> Iterator[TarredFile]:
        """The files of a layer, which is read whole if it is not cached.

        Raises:
            Corrupt: It is not a tar, or does not match its digest.
            Invalid: It has too many files, or it decompresses to too much.
        """
        with self._lock:
            found = self._known.get(layer.digest)
        if found is None:
            found = _read(layer, open_blob, what)
            with self._lock:
                self._known[layer.digest] = found
                while len(self._known) > 1 and sum(map(len, self._known.values())) > _REMEMBERED_MAX:
                    self._known.popitem(last=False)
        for each in found:
            file = SourceFile(each.path, each.size_bytes, each.sha256, each.refusal)
            yield TarredFile(file, layer.url, layer, each.offset_bytes)


def parse_layer(layer: Mapping[str, Any], what: str, blobs: str) -> Remote | ArtifactLayer:
    """A layer of a manifest: a file, or a tar of files.

    Raises:
        Invalid: It is neither.
    """
    notes = object_at(layer.get("annotations") or {}, f"the annotations of a layer of {what}")
    digest = text_at(layer, "digest", f"a layer of {what}")
    if not DIGEST.fullmatch(digest):
        raise Invalid(f"{what}: expected a sha256 as a layer's digest, got {digest[:80]!r}")
    kind = text_at(layer, "mediaType", f"{what}: {digest}")
    name = next((str(notes[key]) for key in _NAMES if notes.get(key)), "")
    if not name and not _PACKED.fullmatch(kind):
        hint = "it is an image, or was pushed without titles"
        raise Invalid(f"{what}: layer {digest} has no name, of type {kind[:80]}", hint=hint)
    if _is_packed(kind, name, notes):
        packing = kind.partition("+")[2]
        if packing and packing not in ENCODINGS:
            hint = "compress it with gzip, with zstd or not at all, or push its files as raw layers"
            raise Invalid(f"{what}: layer {name or digest!r} is compressed with {packing[:40]!r}", hint=hint)
        return ArtifactLayer(f"{blobs}/{digest}", digest, size_at(layer, "size", f"{what}: {digest}"), packing)
    path = FilePath(name.removeprefix("./"))
    size_bytes = size_at(layer, "size", f"{what}: {name_shown(path)}")
    return Remote(SourceFile(path, size_bytes, Digest.parse(digest)), f"{blobs}/{digest}")


def open_inside(found: TarredFile, open_blob: Open, offset_bytes: int) -> Stream:
    """A file of a layer from an offset on. In a compressed layer, the bytes before it are read and skipped."""
    at_bytes = found.offset_bytes + offset_bytes
    left_bytes = found.file.size_bytes - offset_bytes
    if not found.layer.packing:
        return _Part(open_blob(found.layer, at_bytes), 0, left_bytes)
    return _Part(_unpacked(open_blob(found.layer, 0), found.layer, found.file.path), at_bytes, left_bytes)


def _is_packed(kind: str, name: str, notes: Mapping[str, Any]) -> bool:
    """Whether a layer is a tar of files. ORAS clients push plain files as tar too, so a mark or a name decides."""
    if _PACKED.fullmatch(kind) or notes.get(_UNPACK) == "true":
        return True
    return _PACKED_DIRECTORY.fullmatch(kind) is not None and not name.endswith(_ARCHIVES)


def _read(layer: ArtifactLayer, open_blob: Open, what: str) -> tuple[TarMember, ...]:
    name = f"{what}: layer {layer.digest}"
    found: list[TarMember] = []
    blob = _HashingStream(open_blob(layer, 0), layer, name)
    with _unpacked(blob, layer, name) if layer.packing else blob as stream:
        for member in members(stream, name):
            found.append(member)
            if len(found) > FILES_MAX:
                raise Invalid(f"{name} has more than {FILES_MAX} files", hint=FILES_HINT)
        blob.check()
    return tuple(found)


def _unpacked(stream: Stream, layer: ArtifactLayer, what: str) -> DecompressedStream:
    return DecompressedStream(stream, layer.packing, layer.unpacked_bytes_max, what)


class _HashingStream:
    """A blob that is verified against its digest when it was read to its end."""

    def __init__(self, stream: Stream, layer: ArtifactLayer, what: str) -> None:
        self._stream = stream
        self._layer = layer
        self._what = what
        self._sha256 = hashlib.sha256()

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`."""
        count = self._stream.readinto(buffer)
        self._sha256.update(buffer[:count])
        return count

    def check(self) -> None:
        """Raises Corrupt: the bytes do not match the digest."""
        buffer = memoryview(bytearray(_PIECE_BYTES))
        while self.readinto(buffer):
            pass
        found = f"sha256:{self._sha256.hexdigest()}"
        if found != self._layer.digest:
            raise Corrupt(f"{self._what}: expected the digest {self._layer.digest}, got {found}")

    def __enter__(self) -> _HashingStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)


class _Part:
    """A section of a stream: a number of bytes after a number of skipped ones. See `registry.base.Stream`."""

    def __init__(self, stream: Stream, skip_bytes: int, left_bytes: int) -> None:
        self._stream = stream
        self._skip_bytes = skip_bytes
        self.skipped_bytes: Final = skip_bytes
        self._left_bytes = left_bytes

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`."""
        if self._skip_bytes:
            self._skip()
        if not self._left_bytes:
            return 0
        count = self._stream.readinto(buffer[: self._left_bytes])
        if not count:
            raise Unavailable(f"a layer ended {self._left_bytes} bytes before the end of a file in it")
        self._left_bytes -= count
        return count

    def _skip(self) -> None:
        aside = memoryview(bytearray(min(self._skip_bytes, _PIECE_BYTES)))
        while self._skip_bytes:
            count = self._stream.readinto(aside[: self._skip_bytes])
            if not count:
                return
            mark_progress()
            self._skip_bytes -= count

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)
