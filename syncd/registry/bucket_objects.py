"""What the registries that lie in buckets need of one: looks and bytes; and files that are pinned by its checksums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Protocol

from syncd.artifact.digest import Digest
from syncd.artifact.names import FilePath
from syncd.errors import Conflict, Unavailable
from syncd.registry.directory_tree import is_ignored
from syncd.registry.listing_cache import Remote
from syncd.values.source import SourceFile, Stream

OBJECTS_MAX: Final = 200_000  # below the whole prefix, some 60 MB while it is looked at
_HINT: Final = "is the bucket reachable from here? look at the endpoint and credentials of the registry"


class SeenObject(Protocol):
    """One object. `crc64` where the look has it."""

    @property
    def key(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def crc64(self) -> int | None: ...
    @property
    def modified_at(self) -> datetime: ...


class ObjectSource(Protocol):
    """What is needed of a bucket: what a store can do without writing."""

    def list(self, prefix: str) -> Iterator[SeenObject]:
        """All objects below `prefix`."""
        ...

    def stat(self, key: str) -> SeenObject:
        """Look at one object. Raises NotFound."""
        ...

    def open(self, key: str, offset_bytes: int = 0) -> Stream:
        """The bytes of an object. Raises NotFound."""
        ...


class IncompleteVersion(Unavailable):
    """It is still being written, or will never be finished."""


def is_remote(objects: ObjectSource, path: str, seen: SeenObject, sha256: Digest | None) -> Remote:
    """A file as it is now. Its address carries the bucket's own checksum behind a `#`, where there is no sha256."""
    crc64 = "" if sha256 else str(objects.stat(seen.key).crc64)
    return Remote(SourceFile(FilePath(path), seen.size_bytes, sha256), f"{seen.key}#{crc64}")


def key_of(found: Remote) -> str:
    """The object of a file."""
    return found.url.rpartition("#")[0]


def checksum_of(found: Remote) -> str:
    """What of a file is part of a pin beside its size."""
    return found.url.rpartition("#")[2]


def open_pinned(objects: ObjectSource, found: Remote, offset_bytes: int) -> Stream:
    """The bytes of a file. Raises Conflict: the object's size or checksum is not the one that was pinned."""
    key, crc64 = key_of(found), checksum_of(found)
    with with_hint():
        now = objects.stat(key)
        if now.size_bytes != found.file.size_bytes or (crc64 and str(now.crc64) != crc64):
            raise Conflict(
                f"{key} has {now.size_bytes} bytes of crc64 {now.crc64}, {found.file.size_bytes} bytes "
                f"{f'of crc64 {crc64} ' if crc64 else ''}were pinned",
                hint="a published version must not be written again",
            )
        return objects.open(key, offset_bytes)


def is_left_behind(path: str) -> bool:
    """Whether writers leave such names behind."""
    parts = path.split("/")
    if {".", ".."} & set(parts):
        return False  # to be refused, not passed over
    return any(is_ignored(part, directory=place < len(parts) - 1) for place, part in enumerate(parts))


@contextmanager
def with_hint() -> Iterator[None]:
    """A bucket that cannot be looked at is unavailable with a word to the operator; a bucket that is gone is too."""
    try:
        yield
    except IncompleteVersion:
        raise
    except Unavailable as error:
        raise Unavailable(error.message, hint=error.hint or _HINT, retry_after_s=error.retry_after_s) from error
