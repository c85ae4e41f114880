"""Bucket access for the registries whose files are in buckets, and files pinned by the bucket's checksums."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Protocol

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.errors import Conflict, Invalid, Unavailable
from syncd.registry.directory_tree import is_ignored
from syncd.registry.listing_cache import FILES_HINT, Remote
from syncd.values.source import SourceFile, Stream

OBJECTS_MAX: Final = 200_000  # below the whole prefix, some 60 MB during a listing
_KEYS_BYTES_MAX: Final = 24 << 20  # below the whole prefix: with the objects of 120 bytes each, some 60 MB
_VERSION_KEYS_BYTES_MAX: Final = 16 << 20  # of one version: 100 000 files of 160 bytes, which are kept twice
_VERSION_OBJECTS_MAX: Final = 150_000  # 100 000 files, and markers of directories
_HINT: Final = "is the bucket reachable from here? check the endpoint and credentials of the registry"


class SeenObject(Protocol):
    """One object. `crc64` where the request returns it."""

    @property
    def key(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def crc64(self) -> int | None: ...
    @property
    def modified_at(self) -> datetime: ...


class ObjectSource(Protocol):
    """Read access to a bucket, a part of a store's interface."""

    def list(self, prefix: str) -> Iterator[SeenObject]:
        """All objects below `prefix`."""
        ...

    def stat(self, key: str) -> SeenObject:
        """One object's attributes. Raises NotFound."""
        ...

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> Stream:
        """The bytes of an object; `until_bytes` as in `registry.base.Registry.open`. Raises NotFound."""
        ...


class IncompleteVersion(Unavailable):
    """It is still being written, or will never be finished."""


def prefix_objects(objects: ObjectSource, prefix: str) -> Iterator[SeenObject]:
    """The objects of several versions, below a prefix. Raises Invalid: There are too many, or their keys too long."""
    hint = "give the registry its own prefix"
    return _bounded(objects.list(prefix), "the prefix", OBJECTS_MAX, _KEYS_BYTES_MAX, hint)


def version_objects(objects: ObjectSource, prefix: str, what: str) -> Iterator[SeenObject]:
    """The objects of one version. Raises Invalid: There are too many, or their keys are too long."""
    return _bounded(objects.list(prefix), what, _VERSION_OBJECTS_MAX, _VERSION_KEYS_BYTES_MAX, FILES_HINT)


def _bounded(
    listed: Iterable[SeenObject], what: str, objects_max: int, keys_bytes_max: int, hint: str
) -> Iterator[SeenObject]:
    keys_bytes = 0
    for count, seen in enumerate(listed, 1):
        keys_bytes += len(seen.key)
        if count > objects_max:
            raise Invalid(f"more than {objects_max} objects are below {what}", hint=hint)
        if keys_bytes > keys_bytes_max:
            raise Invalid(f"the keys of the objects below {what} have more than {keys_bytes_max} bytes", hint=hint)
        yield seen


def remote_of(objects: ObjectSource, path: str, seen: SeenObject, sha256: Digest | None) -> Remote:
    """A file as it is now. Without a sha256 its address has the bucket's own checksum after a `#`."""
    crc64 = "" if sha256 else str(objects.stat(seen.key).crc64)
    return Remote(SourceFile(FilePath(path), seen.size_bytes, sha256), f"{seen.key}#{crc64}")


def key_of(found: Remote) -> str:
    """The object key of a file."""
    return found.url.rpartition("#")[0]


def checksum_of(found: Remote) -> str:
    """The part of a pin beside a file's size."""
    return found.url.rpartition("#")[2]


def open_pinned(objects: ObjectSource, found: Remote, offset_bytes: int, until_bytes: int | None = None) -> Stream:
    """The bytes of a file. Raises Conflict: the object's size or checksum differs from the pinned one.

    Of a file that is read in parts, the first is compared by a request of its own, the others by the size that
    the bucket says with each; the reader proves all of them together.
    """
    key = key_of(found)
    with with_hint():
        if until_bytes is None or not offset_bytes:
            now = objects.stat(key)
            _check_pinned(found, now.size_bytes, str(now.crc64))
        if until_bytes is None:
            return objects.open(key, offset_bytes)
        stream = objects.open(key, offset_bytes, until_bytes)
        size_bytes: int | None = getattr(stream, "object_bytes", None)
        if size_bytes is not None:
            with contextlib.ExitStack() as opened:
                opened.push(stream.__exit__)
                _check_pinned(found, size_bytes, checksum_of(found))
                opened.pop_all()
        return stream


def _check_pinned(found: Remote, size_bytes: int, crc64: str) -> None:
    key, want = key_of(found), checksum_of(found)
    if size_bytes != found.file.size_bytes or (want and crc64 != want):
        raise Conflict(
            f"{key}: expected {found.file.size_bytes} bytes "
            f"{f'of crc64 {want} ' if want else ''}as pinned, got {size_bytes} bytes of crc64 {crc64}",
            hint="a published version must not change",
        )


def is_leftover(path: str) -> bool:
    """Whether the name is one that writers leave behind."""
    parts = path.split("/")
    if {".", ".."} & set(parts):
        return False  # must be refused, not ignored
    return any(is_ignored(part, directory=place < len(parts) - 1) for place, part in enumerate(parts))


@contextmanager
def with_hint() -> Iterator[None]:
    """Add a hint for operators to Unavailable."""
    try:
        yield
    except IncompleteVersion:
        raise
    except Unavailable as error:
        raise Unavailable(error.message, hint=error.hint or _HINT, retry_after_s=error.retry_after_s) from error
