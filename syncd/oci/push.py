"""Push of one blob: read once, hashed as it passes, sent in chunks from one buffer.

The upload's address is recorded after each chunk, and the digest before the upload is completed: after a kill at any
point the next process finds the state by querying the registry.
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
_PIECE_BYTES: Final = 1 << 18  # of a blob that is sent in one request
_log = structlog.get_logger("syncd.images")

Opening = Callable[[], AbstractContextManager[Stream]]


class UploadJournal(Protocol):
    """Upload state that survives a crash, by a layer's recipe or a base layer's digest. Safe from several threads."""

    def find(self, recipe: Digest) -> str | None:
        """Where the unfinished upload of this layer resumes, if any."""
        ...

    def opened(self, recipe: Digest, location: str) -> None:
        """Record where it resumes; before its first byte, and after each chunk."""
        ...

    def closed(self, recipe: Digest) -> None:
        """Delete the upload. Repeating it is success."""
        ...

    def known(self, recipe: Digest) -> Digest | None:
        """The digest of the layer, from any repository: it depends only on the recipe."""
        ...

    def proven(self, recipe: Digest, digest: Digest) -> None:
        """Record the digest, after every file in the layer was verified."""
        ...


class RateLimit(Protocol):
    """Limit of the send rate; see `transfer.Bandwidth`. Safe from several threads."""

    def take(self, size_bytes: int, wait: Callable[[float], bool]) -> None:
        """Wait until so many bytes may be sent. Raises Cancelled: `wait` returned true."""
        ...


@dataclass(frozen=True, slots=True)
class PushRoute:
    """What all pushes of a build share. `chunk_bytes` is the memory of each push."""

    repository: Repository
    notes: UploadJournal
    stop: threading.Event
    chunk_bytes: int
    pace: RateLimit | None = None


class BlobPush:
    """One blob from a stream into the repository, by chunks from one buffer. For one thread."""

    def __init__(self, route: PushRoute, begun: BlobUpload | None = None) -> None:
        """`begun` is an upload that the registry has already begun."""
        self.bytes_sent = 0
        self._repository = route.repository
        self._journal = route.notes
        self._chunk_bytes = route.chunk_bytes
        self._pace = route.pace
        self._stop = route.stop
        self._begun = begun

    def run(
        self,
        key: Digest,
        size_bytes: int,
        stream: Opening,
        want: Digest | None = None,
        proven: Callable[[Digest], None] = lambda digest: None,  # noqa: ARG005 -- a base layer's digest is known before
    ) -> Digest:
        """Push it and return its digest; `want` is the expected one, if known. `key` is its key in the journal.

        `proven` is called with the digest after everything was read and verified, and before the registry creates the
        blob: after a kill at any point the next process queries the registry for the digest first.

        Raises:
            Corrupt: The stream has other bytes than expected, or the registry has.
            Cancelled: A stop was requested. What the registry has is continued the next time.
            Unavailable, Refused, Failed, Invalid: From the registry and the stream, past all tries.
        """
        tried = 0
        while True:
            try:
                return self._in_chunks(key, size_bytes, stream, want, proven)
            except UploadLost as error:
                self._journal.closed(key)
                if there := self._arrived(key, size_bytes, want):
                    return there
                tried += 1
                if tried == _TRIES:
                    raise Unavailable(error.message, hint="the registry loses uploads; check its storage") from error
                _log.warning(
                    "image.upload_lost", message="The registry lost an upload; it is sent again.", error=error.message
                )
            except Unchunked as error:
                self._journal.closed(key)
                _log.warning(
                    "image.chunks_refused",
                    message="The registry accepts no chunks; the blob is sent in one request.",
                    error=error.message,
                )
                return self._whole(size_bytes, stream, want, proven)

    def _arrived(self, key: Digest, size_bytes: int, want: Digest | None) -> Digest | None:
        """The digest, if the upload is gone because a process that was killed had completed it."""
        digest = want or self._journal.known(key)
        return digest if digest is not None and self._repository.has_blob(digest, size_bytes) else None

    def _in_chunks(
        self, key: Digest, size_bytes: int, stream: Opening, want: Digest | None, proven: Callable[[Digest], None]
    ) -> Digest:
        upload = self._upload(key)
        try:
            digest = self._send(upload, key, size_bytes, stream)
            _check_digest(digest, want, size_bytes)
            proven(digest)
            self._complete(upload, digest, size_bytes)
        except Corrupt:
            upload.abort()
            self._journal.closed(key)
            raise
        self._journal.closed(key)
        return digest

    def _complete(self, upload: BlobUpload, digest: Digest, size_bytes: int) -> None:
        """Complete the upload. After a lost response, the existence of the blob decides."""
        is_repeated = False

        def end() -> None:
            nonlocal is_repeated
            if is_repeated and self._repository.has_blob(digest, size_bytes):
                return
            is_repeated = True
            upload.complete(digest, size_bytes)

        retry.call(_RETRY, end, wait=self._stop.wait)
        if not self._repository.has_blob(digest, size_bytes):
            raise UploadLost(f"{self._repository}: blob {digest} was accepted and does not exist")

    def _upload(self, key: Digest) -> BlobUpload:
        location = self._journal.find(key)
        if location is not None:
            wait_while_under_way(location, self._stop.wait, _UNDER_WAY_S)
            return self._repository.resume(self._journal.find(key) or location)
        upload, self._begun = self._begun or self._repository.begin(), None
        self._journal.opened(key, upload.location)
        return upload

    def _send(self, upload: BlobUpload, key: Digest, size_bytes: int, stream: Opening) -> Digest:
        """Send the stream. What the registry already has is read and hashed again, but not sent."""
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
                self._journal.opened(key, upload.location)
        if seen_bytes != size_bytes:
            raise Corrupt(f"{key}: expected {size_bytes} bytes, got {seen_bytes}")
        return Digest(sha.hexdigest())

    def _wait_for_pace(self, size_bytes: int) -> None:
        if self._pace is not None:
            self._pace.take(size_bytes, self._stop.wait)

    def _chunks(self, stream: Opening, chunk_bytes: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(max(1, chunk_bytes)))
        with stream() as opened:
            while count := _fill(opened, buffer):
                if self._stop.is_set():
                    raise Cancelled("a stop was requested while pushing a layer")
                yield buffer[:count]

    def _whole(self, size_bytes: int, stream: Opening, want: Digest | None, proven: Callable[[Digest], None]) -> Digest:
        """Send the blob in one request, which needs the digest: if that is unknown, everything is read twice."""
        if want is None:
            sha = hashlib.sha256()
            for data in self._chunks(stream, self._chunk_bytes):
                sha.update(data)
            want = Digest(sha.hexdigest())
            proven(want)
        self._repository.push_whole(want, size_bytes, lambda: self._pieces(stream))
        self.bytes_sent += size_bytes
        if not self._repository.has_blob(want, size_bytes):
            raise Unavailable(f"{self._repository}: blob {want} was accepted and does not exist")
        return want

    def _pieces(self, stream: Opening) -> Iterator[bytes]:
        for data in self._chunks(stream, _PIECE_BYTES):
            self._wait_for_pace(data.nbytes)
            yield bytes(data)


class Text:
    """A stream over bytes in memory; see `registry.base.Stream`."""

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


def _check_digest(digest: Digest, want: Digest | None, size_bytes: int) -> None:
    if want is not None and digest != want:
        raise Corrupt(f"expected sha256 {want} of the blob, got {digest}, after {size_bytes} bytes")


def _fill(stream: Stream, buffer: memoryview) -> int:
    """Fill the buffer; less only at the end of the stream."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled
