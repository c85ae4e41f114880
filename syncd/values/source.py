"""Values of a model registry: candidates, revisions, files, and streams of their bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, runtime_checkable

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry
from syncd.artifact.names import FilePath, ModelName, VersionName

_CHUNK_BYTES: Final = 1 << 20


class Follow(Enum):
    """Whether a poll may release a version by itself."""

    NOT = "not"  # it is listed because it may be published manually
    ONCE = "once"  # if it is the newest of its model, and was never released
    WHEN_NAMED = "when named"  # whenever a ref was moved to it, even if it was released before


Tags = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that a registry lists and that could be released, with its tags and those of its model."""

    model: ModelName
    version: VersionName
    follow: Follow = Follow.ONCE
    tags: Tags = frozenset()
    model_tags: Tags = frozenset()


@dataclass(frozen=True, slots=True)
class Revision:
    """The immutable content that a ref names now. `pin` is the registry's own id: a commit, a digest, a tree digest."""

    version: VersionName
    pin: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as the registry lists it; `sha256` if the registry has one, else None.

    `refusal` says why such an entry is never read, such as a symbolic link. A listing has none of these: they raise.
    """

    path: FilePath
    size_bytes: int
    sha256: Digest | None
    refusal: str = ""


class Stream(Protocol):
    """The bytes of one file from an offset on; a context manager that closes it."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill a part of `buffer` and return its size; 0 at the end.

        Raises:
            Unavailable: The connection broke; open again at the offset reached.
        """
        ...

    def __enter__(self) -> Stream: ...

    def __exit__(self, *exc: object) -> None: ...


def read_up_to(stream: Stream, size_bytes: int) -> bytes:
    """The next `size_bytes` of a stream; fewer only at its end. A size from outside costs no memory before it is read.

    Raises:
        Unavailable: As `Stream.readinto`.
    """
    data = bytearray()
    while len(data) < size_bytes:
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, size_bytes - len(data))))
        count = stream.readinto(buffer)
        if not count:
            break
        data += buffer[:count]
    return bytes(data)


Source = Callable[[Entry, int], Stream]  # the bytes of a file from an offset on


@runtime_checkable
class RangedSource(Protocol):
    """A `Source` that may be able to read a part of a file by itself, so that several parts are read at once."""

    def __call__(self, entry: Entry, offset_bytes: int) -> Stream:
        """The bytes of a file from an offset on."""
        ...

    def span(self, entry: Entry, offset_bytes: int, until_bytes: int) -> Stream:
        """As the call; no byte from `until_bytes` on is needed. `ends_at` says where the stream ends."""
        ...


def open_span(source: Source, entry: Entry, offset_bytes: int, until_bytes: int) -> Stream:
    """A part of a file, or the file from the offset on where the source has no parts. `ends_at` says which."""
    if isinstance(source, RangedSource):
        return source.span(entry, offset_bytes, until_bytes)
    return source(entry, offset_bytes)


def ends_at(stream: Stream) -> int | None:
    """The offset where a stream ends that has a part of a file; None where it goes to the end of the file."""
    found: int | None = getattr(stream, "until_bytes", None)
    return found


def host_of(stream: Stream) -> str:
    """The host that the bytes come from; empty where it is this one, or not known."""
    found: str = getattr(stream, "host", "")
    return found


def skipped_bytes(stream: Stream) -> int:
    """How many bytes a stream reads and drops before its first one: not 0 where the source cannot begin there."""
    found: int = getattr(stream, "skipped_bytes", 0)
    return found


@dataclass(frozen=True, slots=True)
class Location:
    """An object in an OSS bucket, by its full key."""

    region: str
    bucket: str
    key: str
