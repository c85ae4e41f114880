"""One blob into a repository: read once, hashed as it passes, sent in chunks from one buffer.

Where an upload stands is noted after each chunk, and the digest before the upload is ended: whatever a process that
is killed leaves, the next one finds by asking the registry.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from syncd import retry
from syncd.artifact.digest import Digest
from syncd.errors import Cancelled, Corrupt, Unavailable
from syncd.oci.errors import Unchunked, UploadLost
from syncd.oci.repository import Repository
from syncd.oci.upload_helper import wait_while_under_way
from syncd.oci.uploads import BlobUpload
from syncd.values.source import Stream

_RETRY: Final = retry.Retry(attempts_max=4, elapsed_max_s=60.0)
_TRIES: Final = 3  # for a blob whose upload the registry lost
_UNDER_WAY_S: Final = 120.0  # a chunk takes this long at 140 KB/s
_PIECE_BYTES: Final = 1 << 18  # of a blob that is sent whole
_log = structlog.get_logger("syncd.bake")

Opening = Callable[[], AbstractContextManager[Stream]]


class UploadJournal(Protocol):
    """What outlasts a crash, by the recipe of a layer or the digest of a base's. Safe from several threads."""

    def find(self, recipe: Digest) -> str | None:
        """Where the upload of this layer goes on, if one was begun."""
        ...

    def opened(self, recipe: Digest, location: str) -> None:
        """Remember where it goes on; before its first byte, and after each chunk."""
        ...

    def closed(self, recipe: Digest) -> None:
        """Forget the upload. Repeating it is success."""
        ...

    def known(self, recipe: Digest) -> Digest | None:
        """The digest of the layer, wherever it was made before: it follows from the recipe."""
        ...

    def proven(self, recipe: Digest, digest: Digest) -> None:
        """Remember the digest, once every file in it was proven."""
        ...


class RateLimit(Protocol):
    """How fast may be sent; see `transfer.Bandwidth`. Safe from several threads."""

    def take(self, size_bytes: int, wait: Callable[[float], bool]) -> None:
        """Wait until so many bytes may be sent. Raises Cancelled: `wait` said so."""
        ...


@dataclass(frozen=True, slots=True)
class PushRoute:
    """What all pushes of a bake share. `chunk_bytes` is the memory that each of them takes."""

    repository: Repository
    notes: UploadJournal
    stop: threading.Event
    chunk_bytes: int
    pace: RateLimit | None = None


class BlobPush:
    """One blob from a stream into the repository, by chunks from one buffer. For one thread."""

    def __init__(self, road: PushRoute, begun: BlobUpload | None = None) -> None:
        """`begun` is an upload that the registry has begun already."""
        self.bytes_sent = 0
        self._repository = road.repository
        self._notes = road.notes
        self._chunk_bytes = road.chunk_bytes
        self._pace = road.pace
        self._stop = road.stop
        self._begun = begun

    def run(
        self,
        key: Digest,
        size_bytes: int,
        stream: Opening,
        want: Digest | None = None,
        proven: Callable[[Digest], None] = lambda digest: None,  # noqa: ARG005 -- a base's is known before
    ) -> Digest:
        """Push it, and say its digest; `want` is what that must be, where it is known. `key` names it in the notes.

        `proven` is told the digest as soon as all was read and proven, and before the registry makes a blob of it: so
        whoever comes after a kill at any point asks for it by its digest first.

        Raises:
            Corrupt: What was read is not what it was to be, or the registry has something else.
            Cancelled: Told to stop. What the registry has is gone on with the next time.
            Unavailable, Refused, Failed, Invalid: As the registry and the stream say, past all tries.
        """
        tried = 0
        while True:
            try:
                return self._in_chunks(key, size_bytes, stream, want, proven)
            except UploadLost as error:
                self._notes.closed(key)
                if there := self._arrived(key, size_bytes, want):
                    return there
                tried += 1
                if tried == _TRIES:
                    raise Unavailable(error.message, hint="the registry loses uploads; look at its storage") from error
                _log.warning("the registry lost an upload, it is begun anew", error=error.message)
            except Unchunked as error:
                self._notes.closed(key)
                _log.warning("the registry takes no chunks, the blob is sent whole", error=error.message)
                return self._whole(size_bytes, stream, want, proven)

    def _arrived(self, key: Digest, size_bytes: int, want: Digest | None) -> Digest | None:
        """Its digest, if the upload is gone because it was ended: by a process that was killed while it waited."""
        digest = want or self._notes.known(key)
        return digest if digest is not None and self._repository.has_blob(digest, size_bytes) else None

    def _in_chunks(
        self, key: Digest, size_bytes: int, stream: Opening, want: Digest | None, proven: Callable[[Digest], None]
    ) -> Digest:
        upload = self._upload(key)
        try:
            digest = self._send(upload, key, size_bytes, stream)
            _prove(digest, want, size_bytes)
            proven(digest)
            self._complete(upload, digest, size_bytes)
        except Corrupt:
            upload.abort()
            self._notes.closed(key)
            raise
        self._notes.closed(key)
        return digest

    def _complete(self, upload: BlobUpload, digest: Digest, size_bytes: int) -> None:
        """Where an answer is lost, whether the blob is there says what became of it."""
        is_asked = False

        def end() -> None:
            nonlocal is_asked
            if is_asked and self._repository.has_blob(digest, size_bytes):
                return
            is_asked = True
            upload.complete(digest, size_bytes)

        retry.call(_RETRY, end, wait=self._stop.wait)
        if not self._repository.has_blob(digest, size_bytes):
            raise UploadLost(f"{self._repository}: blob {digest} was accepted and is not there")

    def _upload(self, key: Digest) -> BlobUpload:
        location = self._notes.find(key)
        if location is not None:
            wait_while_under_way(location, self._stop.wait, _UNDER_WAY_S)
            return self._repository.resume(self._notes.find(key) or location)
        upload, self._begun = self._begun or self._repository.begin(), None
        self._notes.opened(key, upload.location)
        return upload

    def _send(self, upload: BlobUpload, key: Digest, size_bytes: int, stream: Opening) -> Digest:
        """What the registry has already is read and hashed again, but not sent."""
        sha = hashlib.sha256()
        seen_bytes = 0
        chunk_bytes = min(max(self._chunk_bytes, upload.chunk_bytes_min), size_bytes)
        upload.outlives = size_bytes > chunk_bytes  # else no more than a chunk can be lost
        for data in self._chunks(stream, chunk_bytes):
            sha.update(data)
            has_bytes = max(0, min(data.nbytes, upload.offset_bytes - seen_bytes))
            seen_bytes += data.nbytes
            if has_bytes < data.nbytes:
                upload.send(data[has_bytes:], self._wait_for_pace)
                self.bytes_sent += data.nbytes - has_bytes
                self._notes.opened(key, upload.location)
        if seen_bytes != size_bytes:
            raise Corrupt(f"{key}: {seen_bytes} bytes were read, {size_bytes} were to be")
        return Digest(sha.hexdigest())

    def _wait_for_pace(self, size_bytes: int) -> None:
        if self._pace is not None:
            self._pace.take(size_bytes, self._stop.wait)

    def _chunks(self, stream: Opening, chunk_bytes: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(max(1, chunk_bytes)))
        with stream() as opened:
            while count := _fill(opened, buffer):
                if self._stop.is_set():
                    raise Cancelled("told to stop while pushing a layer")
                yield buffer[:count]

    def _whole(self, size_bytes: int, stream: Opening, want: Digest | None, proven: Callable[[Digest], None]) -> Digest:
        """In one request, which has to name the digest: where that is not known, everything is read twice."""
        if want is None:
            sha = hashlib.sha256()
            for data in self._chunks(stream, self._chunk_bytes):
                sha.update(data)
            want = Digest(sha.hexdigest())
            proven(want)
        self._repository.push_whole(want, size_bytes, lambda: self._pieces(stream))
        self.bytes_sent += size_bytes
        if not self._repository.has_blob(want, size_bytes):
            raise Unavailable(f"{self._repository}: blob {want} was accepted and is not there")
        return want

    def _pieces(self, stream: Opening) -> Iterator[bytes]:
        for data in self._chunks(stream, _PIECE_BYTES):
            self._wait_for_pace(data.nbytes)
            yield bytes(data)


class Text:
    """Bytes that are here already; see `registry.base.Stream`."""

    def __init__(self, text: bytes) -> None:
        self._rest = memoryview(text)

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def __enter__(self) -> Text:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def _prove(digest: Digest, want: Digest | None, size_bytes: int) -> None:
    if want is not None and digest != want:
        raise Corrupt(f"sha256 of the blob is {digest}, {want} was to be, after {size_bytes} bytes")


def _fill(stream: Stream, buffer: memoryview) -> int:
    """As much as there is room for; less only at the end."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled
