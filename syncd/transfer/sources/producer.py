"""Producer: reads and hashes a file once, part by part, and offers each part to the uploads of every target.

A source that breaks off is opened again where it was left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from syncd.artifact import layout, parts
from syncd.artifact.blocks import Block
from syncd.artifact.digest import Digest, Fingerprint, crc64, crc64_combine
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import Part
from syncd.errors import Cancelled, Corrupt
from syncd.formats import tensors
from syncd.serving.leaves import LEAVES_FROM_BYTES, LeafHasher
from syncd.targets.base import SmallFile
from syncd.transfer.flow.buffers import BufferPool, PartBuffer
from syncd.transfer.settings import CopySettings
from syncd.transfer.sources.file_reader import FileReader
from syncd.transfer.sources.reader import SourceReader
from syncd.transfer.sources.span_window import SpanSettings
from syncd.transfer.targets.bundle import Bundle
from syncd.transfer.targets.file_upload import FileUpload
from syncd.transfer.workers.worker_pool import CancelScope, Work
from syncd.values.source import Source


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
        self._spans = SpanSettings(submit, settings.span_bytes, settings.streams, settings.retry, scope)
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
            reader.begin(cut)
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
                buffer = reader.next_buffer() or self._taken(part.size_bytes, uploads, on_starved)
                if buffer is None:
                    return None
                try:
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
