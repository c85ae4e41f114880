"""The bytes of a region's OSS: data files that are written once, read by many, and named elsewhere."""

import hashlib
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from syncd.localcloud.messages import FileBody
from syncd.localcloud.oss.crc64 import crc64
from syncd.localcloud.oss.values import Piece, Stored

_BUFFER_BYTES = 256 * 1024  # fits the CPU's second-level cache beside its checksums; 1 MiB is a tenth slower


class Readable(Protocol):
    """Fills a buffer; 0 at the end. A request's body is one, and so is a piece of a data file."""

    def readinto(self, view: memoryview, /) -> int | None: ...


class BlobDirectory:
    """Data files under `root`, each with an id of its own. Safe to use from any thread.

    A file being sent is pinned: discarding it then waits for the last reader.
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

    def receive(self, source: Readable, size_hint_bytes: int | None = None) -> Stored:
        """Store all of `source`, with its checksums. What a failing source leaves is removed."""
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
        return Stored(blob, size, crc, md5.hexdigest())

    def join(self, pieces: Iterable[Piece]) -> Piece:
        """One data file with the bytes of all `pieces`, copied inside the kernel."""
        blob, path = self.new()
        total = 0
        with path.open("wb", buffering=0) as target:
            for piece in pieces:
                with self.path(piece.blob).open("rb", buffering=0) as source:
                    _copy_all(source.fileno(), target.fileno(), piece.size_bytes)
                total += piece.size_bytes
        return Piece(blob, total)

    def pin(self, blobs: Iterable[str]) -> None:
        """Keep these files until they are unpinned. Call it while the row that names them cannot change."""
        with self._lock:
            self._pins.update(blobs)

    def unpin(self, blobs: Iterable[str]) -> None:
        with self._lock:
            self._pins.subtract(blobs)
            freed = [blob for blob in self._doomed if self._pins[blob] <= 0]
            self._doomed.difference_update(freed)
        for blob in freed:
            self.path(blob).unlink(missing_ok=True)

    def discard(self, pieces: Iterable[Piece]) -> None:
        """Remove files no row names any more, at once or when their last reader is done."""
        blobs = [piece.blob for piece in pieces]
        with self._lock:
            busy = {blob for blob in blobs if self._pins[blob] > 0}
            self._doomed |= busy
        for blob in blobs:
            if blob not in busy:
                self.path(blob).unlink(missing_ok=True)

    def sweep(self, named: set[str]) -> int:
        """Remove every file not in `named`; only before anything is served. How many there were."""
        strays = [path for path in self._root.glob("*/*") if path.name not in named]
        for path in strays:
            path.unlink()
        return len(strays)


class PinnedPieces:
    """An answer's body: a run of an object's bytes, safe from deletion until closed."""

    def __init__(self, blobs: BlobDirectory, pieces: Iterable[Piece], start: int, size_bytes: int) -> None:
        """Pin the pieces; call it while the row that names them cannot change."""
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


class PinnedSource:
    """The same run of bytes, to be read in this process: the source of a copy."""

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


def _runs(pieces: Iterable[Piece], start: int, size_bytes: int) -> Iterator[tuple[Piece, int, int]]:
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
