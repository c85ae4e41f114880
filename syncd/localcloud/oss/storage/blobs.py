"""Data files of a region: written once, immutable, referenced by the catalog."""

import hashlib
import os
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from syncd.localcloud.httpd.messages import FileBody
from syncd.localcloud.oss.crc64 import crc64
from syncd.localcloud.oss.storage.entries import BlobPiece, StoredBlob

_BUFFER_BYTES = 256 * 1024  # fits the CPU's second-level cache beside its checksums; 1 MiB is a tenth slower


class Readable(Protocol):
    """A source that fills a buffer and returns 0 at the end."""

    def readinto(self, view: memoryview, /) -> int | None: ...


class BlobDirectory:
    """Data files below `root`, each with a unique id. Thread-safe.

    A file is pinned while it is sent: its deletion waits for the last reader.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._root.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._pins: Counter[str] = Counter()
        self._doomed: set[str] = set()

    def path(self, blob: str) -> Path:
        return self._root / blob[:2] / blob

    def new(self) -> tuple[str, Path]:
        """An unused id and its path, whose directory exists."""
        blob = uuid.uuid4().hex
        path = self.path(blob)
        path.parent.mkdir(exist_ok=True)
        return blob, path

    def receive(self, source: Readable, size_hint_bytes: int | None = None) -> StoredBlob:
        """Store all bytes of `source` and compute their checksums. Removes the file when the source fails."""
        blob, path = self.new()
        buffer = memoryview(bytearray(min(_BUFFER_BYTES, size_hint_bytes or _BUFFER_BYTES)))
        md5 = hashlib.md5(usedforsecurity=False)
        crc = size = 0
        try:
            with path.open("wb", buffering=0) as file:
                while got := source.readinto(buffer):
                    piece = buffer[:got]
                    crc = crc64(piece, crc)
                    md5.update(piece)
                    _write_all(file.fileno(), piece)
                    size += got
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return StoredBlob(blob, size, crc, md5.hexdigest())

    def join(self, pieces: Iterable[BlobPiece]) -> BlobPiece:
        """One data file with the bytes of all `pieces`, copied inside the kernel."""
        blob, path = self.new()
        total = 0
        with path.open("wb", buffering=0) as target:
            for piece in pieces:
                with self.path(piece.blob).open("rb", buffering=0) as source:
                    _copy_all(source.fileno(), target.fileno(), piece.size_bytes)
                total += piece.size_bytes
        return BlobPiece(blob, total)

    def pin(self, blobs: Iterable[str]) -> None:
        """Protect these files until they are unpinned. Call it inside the transaction that reads their row."""
        with self._lock:
            self._pins.update(blobs)

    def unpin(self, blobs: Iterable[str]) -> None:
        with self._lock:
            self._pins.subtract(blobs)
            freed = [blob for blob in self._doomed if self._pins[blob] <= 0]
            self._doomed.difference_update(freed)
        for blob in freed:
            self.path(blob).unlink(missing_ok=True)

    def discard(self, pieces: Iterable[BlobPiece]) -> None:
        """Delete unreferenced files, at once or after their last reader."""
        blobs = [piece.blob for piece in pieces]
        with self._lock:
            busy = {blob for blob in blobs if self._pins[blob] > 0}
            self._doomed |= busy
        for blob in blobs:
            if blob not in busy:
                self.path(blob).unlink(missing_ok=True)

    def sweep(self, named: set[str]) -> int:
        """Delete every file that is not in `named`. Only before the region serves. Returns their number."""
        strays = [path for path in self._root.glob("*/*") if path.name not in named]
        for path in strays:
            path.unlink()
        return len(strays)


class PinnedPieces:
    """A response body: a byte range of an object, protected from deletion until closed."""

    def __init__(self, blobs: BlobDirectory, pieces: Iterable[BlobPiece], start: int, size_bytes: int) -> None:
        """Pin the pieces. Call it inside the transaction that reads their row."""
        self._blobs = blobs
        self._runs = list(_runs(pieces, start, size_bytes))
        blobs.pin(piece.blob for piece, _, _ in self._runs)
        self._open = True

    def __iter__(self) -> Iterator[FileBody]:
        for piece, offset, size in self._runs:
            yield FileBody(self._blobs.path(piece.blob), offset, size)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._blobs.unpin(piece.blob for piece, _, _ in self._runs)


class GzipBody:
    """A response body compressed with gzip while it is sent."""

    def __init__(self, body: PinnedPieces) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        source = PinnedSource(self._body)
        gzip = zlib.compressobj(level=1, wbits=31)  # 31: a gzip header and trailer
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        try:
            while got := source.readinto(buffer):
                yield gzip.compress(buffer[:got])
            yield gzip.flush()
        finally:
            source.close()

    def close(self) -> None:
        self._body.close()


class PinnedSource:
    """A reader of the same byte range: the source of a copy."""

    def __init__(self, body: PinnedPieces) -> None:
        self._files = iter(body)
        self._fd = -1
        self._offset = self._left = 0

    def readinto(self, view: memoryview, /) -> int:
        while self._left == 0:
            self.close()
            following = next(self._files, None)
            if following is None:
                return 0
            self._fd = os.open(following.path, os.O_RDONLY | os.O_CLOEXEC)
            self._offset, self._left = following.offset_bytes, following.size_bytes
        got = os.preadv(self._fd, [view[: min(len(view), self._left)]], self._offset)
        if got == 0:
            raise OSError(f"data file ended {self._left} bytes early")
        self._offset += got
        self._left -= got
        return got

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _runs(pieces: Iterable[BlobPiece], start: int, size_bytes: int) -> Iterator[tuple[BlobPiece, int, int]]:
    position = 0
    end = start + size_bytes
    for piece in pieces:
        first = max(start, position)
        last = min(end, position + piece.size_bytes)
        if first < last:
            yield piece, first - position, last - first
        position += piece.size_bytes


def _write_all(fd: int, view: memoryview) -> None:
    written = os.write(fd, view)
    while written < len(view):
        written += os.write(fd, view[written:])


def _copy_all(source: int, target: int, size_bytes: int) -> None:
    left = size_bytes
    while left:
        copied = os.copy_file_range(source, target, left)
        if copied == 0:
            raise OSError(f"data file ended {left} bytes early")
        left -= copied
