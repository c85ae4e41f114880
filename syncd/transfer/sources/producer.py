"""Producer: reads and hashes a file once, part by part, and offers each part to the uploads of every target.

A source that breaks off is opened again where it was left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Final

from syncd import retry
from syncd.artifact import layout, parts
from syncd.artifact.blocks import Block
from syncd.artifact.digest import Digest, Fingerprint, crc64, crc64_combine
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import Part
from syncd.errors import Cancelled, Corrupt, Unavailable
from syncd.formats import tensors
from syncd.serving.leaves import LEAVES_FROM_BYTES, LeafHasher
from syncd.targets.base import SmallFile
from syncd.transfer.flow.buffers import BufferPool, PartBuffer
from syncd.transfer.settings import CopySettings
from syncd.transfer.sources.file_reader import FileReader
from syncd.transfer.sources.span_window import PIECE_BYTES, SpanSettings
from syncd.transfer.targets.bundle import Bundle
from syncd.transfer.targets.file_upload import FileUpload
from syncd.transfer.workers.worker_pool import CancelScope, Work
from syncd.values.source import Source, Stream, ends_at
from syncd.watchdog import calling, note_activity


@dataclass(frozen=True, slots=True)
class FileResult:
    """What a file that was read to its end turned out to be."""

    sha256: Digest
    crc64: int
    blocks: tuple[Block, ...]  # its parts
    leaves: bytes = b""  # its leaf digests, if it is large

    def fault(self, entry: Entry) -> Corrupt | None:
        """What is wrong with it, if something is."""
        if self.sha256 == entry.sha256:
            return None
        return Corrupt(
            f"{entry.path}: sha256 of the source is {self.sha256}, the manifest says {entry.sha256}, "
            f"after {entry.size_bytes} bytes"
        )


class Producer:
    """For one copy. Safe from several threads.

    `share_bytes` is what each target may hold of the buffers that are not common: one share more than there are
    targets, so that with all but one of them hanging the last still has two shares, or one where buffers are few.
    """

    def __init__(
        self,
        manifest: Manifest,
        settings: CopySettings,
        scope: CancelScope,
        targets: int,
        submit: Callable[[Work], None],
    ) -> None:
        """`submit` runs a request that is made at once with others in a thread that is watched."""
        self.manifest: Final = manifest
        self.limit_bytes: Final = settings.buffer_bytes
        self.share_bytes: Final = max(settings.part_bytes, settings.buffer_bytes // (targets + 1))
        common_bytes = max(0, settings.buffer_bytes - targets * self.share_bytes)
        self._pool = BufferPool(settings.buffer_bytes, settings.buffer_bytes if targets < 2 else common_bytes)
        self._settings = settings
        self._spans = SpanSettings(submit, settings.span_bytes, settings.streams, scope, self._in_order)
        self._scope = scope
        self._lock = Lock()
        self._bytes_read = 0

    @property
    def bytes_read(self) -> int:
        """Bytes read from the sources so far."""
        return self._bytes_read

    def parts_about(self, entry: Entry) -> int:
        """How many parts this file has, if it has no tensors; to count a file that is not read."""
        return len(parts.cut(entry.size_bytes, self._settings.part_bytes))

    def run(
        self,
        entry: Entry,
        uploads: Sequence[FileUpload],
        source: Source,
        on_starved: Callable[[float], None] | None = None,
        *,
        counts: bool = True,
    ) -> FileResult | None:
        """Read the file into the uploads. Returns what was read; None where no upload is wanted any more.

        Raises:
            Corrupt: It is shorter or longer than the manifest says.
            Unavailable: It could not be read, past all retries.
            Cancelled: The copy was stopped.
        """
        whole, blocks = 0, list[Block]()
        is_alone = any(upload.limit_bytes is not None for upload in uploads)
        with FileReader(entry, source, self._pool, self._spans, is_alone=is_alone) as reader:
            cut = self._cut(entry, reader)
            in_order = reader.begin(cut)
            sums = _Checksums(is_alone=len(cut) == 1, has_leaves=self._has_leaves(entry))
            for upload in uploads:
                upload.parts = cut
            for part in cut:
                if self._scope.is_set():
                    raise Cancelled(f"stopped while reading {entry.path}")
                if not any(upload.is_wanted for upload in uploads):
                    return None
                for upload in uploads:
                    upload.wait_for_room(part.size_bytes)
                buffer = None if in_order is not None else reader.next_buffer()
                buffer = buffer or self._taken(part.size_bytes, uploads, on_starved)
                if buffer is None:
                    return None
                try:
                    if in_order is not None:
                        in_order.fill(buffer.view, sums.add)
                    else:
                        reader.fill(part, buffer.view, sums.add)
                    block = sums.block(part)
                    whole = crc64_combine(whole, block.crc64, part.size_bytes)
                    for upload in uploads:
                        upload.offer(part, buffer, block)
                finally:
                    buffer.release()
                blocks.append(block)
                with self._lock:
                    self._bytes_read += part.size_bytes if counts else 0
            reader.expect_end()
        return FileResult(sums.sha256(), whole, tuple(blocks), sums.leaves())

    def gather(
        self,
        entries: Sequence[Entry],
        bundles: Sequence[Bundle],
        source: Source,
        on_starved: Callable[[float], None] | None = None,
    ) -> tuple[bool, Corrupt | None]:
        """Read small files and offer them together. Returns whether it was done, and the first fault.

        The files before the wrong one are offered. Nothing is offered where no bundle is wanted any more.

        Raises: as `run`.
        """
        buffer = self._taken(sum(entry.size_bytes for entry in entries), bundles, on_starved)
        if buffer is None:
            return False, None
        try:
            files, fault = list[SmallFile](), None
            rest = buffer.view
            for entry in entries:
                if self._scope.is_set():
                    raise Cancelled(f"stopped while reading {entry.path}")
                data, rest = rest[: entry.size_bytes], rest[entry.size_bytes :]
                read = self._read_whole(entry, data, source)
                if fault := read.fault(entry):
                    break
                files.append(SmallFile(entry, data, read.crc64))
            for bundle in bundles:
                bundle.offer(buffer, files)
        finally:
            buffer.release()
        return True, fault

    def _read_whole(self, entry: Entry, data: memoryview, source: Source) -> FileResult:
        sums = _Checksums(is_alone=True)
        with SourceReader(entry, source, self._settings.retry, self._scope.wait) as reader:
            reader.fill(data, sums.add)
            reader.expect_end()
        block = sums.block(Part(1, 0, entry.size_bytes))
        with self._lock:
            self._bytes_read += entry.size_bytes
        return FileResult(sums.sha256(), block.crc64, (block,))

    def _taken(
        self, size_bytes: int, uploads: Sequence[FileUpload | Bundle], on_starved: Callable[[float], None] | None
    ) -> PartBuffer | None:
        """A buffer; None where no upload is wanted any more: a target that hangs may hold them all."""

        def is_enough() -> bool:
            return self._scope.is_set() or not any(upload.is_wanted for upload in uploads)

        try:
            return self._pool.take(size_bytes, is_enough, on_starved)
        except Cancelled:
            if self._scope.is_set():
                raise
            return None

    def _in_order(
        self, entry: Entry, source: Source, wait: Callable[[float], bool], offset_bytes: int = 0
    ) -> SourceReader:
        return SourceReader(entry, source, self._settings.retry, wait, offset_bytes)

    def _has_leaves(self, entry: Entry) -> bool:
        return self._settings.leaf_digests and entry.size_bytes >= LEAVES_FROM_BYTES

    def _cut(self, entry: Entry, reader: FileReader) -> tuple[Part, ...]:
        """The cut into parts: a function of the content alone, the same for every target, time and source."""
        part_bytes = self._settings.part_bytes
        if entry.size_bytes <= part_bytes:
            return parts.cut(entry.size_bytes, part_bytes)
        found: int | tuple[int, ...] = tensors.starts(entry.path, entry.size_bytes, b"")
        while isinstance(found, int):
            found = tensors.starts(entry.path, entry.size_bytes, reader.head(found))
        return layout.cut(entry.size_bytes, found, part_bytes)


class SourceReader:
    """For one thread. A source that breaks off is opened again at the offset that was reached."""

    def __init__(
        self, entry: Entry, source: Source, policy: retry.Retry, wait: Callable[[float], bool], offset_bytes: int = 0
    ) -> None:
        self._entry = entry
        self._source = source
        self._policy = policy
        self._wait = wait
        self._offset_bytes = offset_bytes  # up to which was read
        self._until_bytes = entry.size_bytes  # where the stream ends
        self._ahead = bytearray()  # what was read of it and not handed over yet
        self._stream: Stream | None = None
        self._opened = ExitStack()

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    @property
    def offset_bytes(self) -> int:
        """Up to where the file was handed over."""
        return self._offset_bytes - len(self._ahead)

    @property
    def has_ahead(self) -> bool:
        """Whether something was read that is not handed over yet."""
        return bool(self._ahead)

    def begin(self) -> None:
        """Open the file now, if it is not open. Raises: as `fill`."""
        retry.call(self._policy, lambda: self._stream or self._open(), wait=self._wait)

    def head(self, size_bytes: int) -> bytes:
        """The first bytes of the file, before any were handed over. `fill` begins with them all the same.

        Raises: as `fill`.
        """
        missing = bytearray(size_bytes - len(self._ahead))
        self._read_on(memoryview(missing))
        self._ahead += missing
        return bytes(self._ahead)

    def fill(self, view: memoryview, took: Callable[[memoryview], None] | None = None) -> None:
        """Hand over exactly as much as `view` holds. `took` is shown it piece by piece, each as soon as it is there.

        Raises:
            Corrupt: The file ends before.
            Unavailable: The source broke off more often than the retry policy allows.
            Cancelled: Stopped while waiting to open it again.
        """
        if self._ahead:
            ready = min(len(view), len(self._ahead))
            view[:ready] = self._ahead[:ready]
            del self._ahead[:ready]
            if took is not None:
                took(view[:ready])
            view = view[ready:]
        self._read_on(view, took)

    def expect_end(self) -> None:
        """Raises Corrupt: The file goes on."""
        if retry.call(self._policy, lambda: self._read(memoryview(bytearray(1))), wait=self._wait):
            raise Corrupt(
                f"{self._entry.path}: the source has more than the {self._entry.size_bytes} bytes the manifest says"
            )

    def _read_on(self, view: memoryview, took: Callable[[memoryview], None] | None = None) -> None:
        end = self._offset_bytes + len(view)

        def rest() -> None:
            while self._offset_bytes < end:
                left = view[len(view) - (end - self._offset_bytes) :]
                count = self._read(left)
                if not count:
                    raise Corrupt(
                        f"{self._entry.path}: the source ends after {self._offset_bytes} bytes, "
                        f"the manifest says {self._entry.size_bytes}"
                    )
                self._offset_bytes += count
                if took is not None:
                    took(left[:count])

        retry.call(self._policy, rest, wait=self._wait)

    def _read(self, view: memoryview) -> int:
        try:
            with calling(f"reading {self._entry.path} from {self._offset_bytes} on"):
                stream = self._stream or self._open()
                note_activity()
                count = stream.readinto(view[:PIECE_BYTES])
                if not count and self._offset_bytes == self._until_bytes < self._entry.size_bytes:
                    self._close()
                    count = self._open().readinto(view[:PIECE_BYTES])  # of the next part
                return count
        except Unavailable:
            self._close()
            raise

    def _open(self) -> Stream:
        self._stream = self._opened.enter_context(self._source(self._entry, self._offset_bytes))
        end_bytes = ends_at(self._stream)
        self._until_bytes = self._entry.size_bytes if end_bytes is None else end_bytes
        return self._stream

    def _close(self) -> None:
        self._stream = None
        self._opened.close()


class _Checksums:
    """Of one file, made piece by piece: what was just read is in the processor's cache, all of a part would not be."""

    def __init__(self, *, is_alone: bool, has_leaves: bool = False) -> None:
        self._sha256 = hashlib.sha256()
        self._leaves = LeafHasher() if has_leaves else None
        self._is_alone = is_alone  # a file of one part is known by its SHA-256, and needs no fingerprint
        self._crc64, self._fingerprint = 0, Fingerprint()

    def add(self, piece: memoryview) -> None:
        """The next bytes of the part."""
        self._sha256.update(piece)
        if self._leaves is not None:
            self._leaves.update(piece)
        self._crc64 = crc64(piece, self._crc64)
        if not self._is_alone:
            self._fingerprint.update(piece)

    def block(self, part: Part) -> Block:
        """What was added since the part before."""
        found = b"" if self._is_alone else self._fingerprint.digest()
        block = Block(part.offset_bytes, part.size_bytes, self._crc64, found)
        self._crc64, self._fingerprint = 0, Fingerprint()
        return block

    def leaves(self) -> bytes:
        """The leaf digests of all parts; none for a small file."""
        return self._leaves.digests() if self._leaves is not None else b""

    def sha256(self) -> Digest:
        """Of all parts together."""
        return Digest(self._sha256.hexdigest())
