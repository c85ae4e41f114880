"""Upload of one file to one target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Final

from syncd.artifact.blocks import Block
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import Part
from syncd.errors import Corrupt, SyncdError, Unavailable
from syncd.targets.base import Writer
from syncd.transfer.flow.buffers import PartBuffer
from syncd.transfer.flow.send_queue import QueuedPart
from syncd.transfer.targets.dedup_index import UNCOPYABLE
from syncd.transfer.targets.target_copy import SYNCED_BYTES_S, TargetCopy
from syncd.transfer.workers.worker_pool import Countdown


class FileUpload:
    """One file to one target. `offer`, `end` and `drop` are for the thread that reads the file."""

    def __init__(self, target_copy: TargetCopy, manifest: Manifest, entry: Entry) -> None:
        self.target_copy: Final = target_copy
        self.parts: tuple[Part, ...] = ()  # how the file is cut: the reader says so before the first is offered
        self._is_late = target_copy.is_detached  # its file is fed to it alone, so no other target waits for it
        self._manifest = manifest
        self._entry = entry
        self.limit_bytes: Callable[[], int] | None = None
        self._open = Countdown()  # what must end before the file can: the reader, and each part on its way
        self._lacks = False  # a part was skipped
        self._has_origins: bool | None = None
        self._has_copies = False  # by the target itself
        self._ended: tuple[Digest, int, Sequence[Block], bytes] | None = None
        self._writer: Writer | None = None
        self._writer_lock = Lock()
        self._held: list[PartBuffer] = []
        target_copy.begin()

    @property
    def is_wanted(self) -> bool:
        """Whether it makes sense to offer more."""
        return (
            not self.target_copy.is_closed and not self._lacks and (self._is_late or not self.target_copy.is_detached)
        )

    def wait_for_room(self, size_bytes: int) -> None:
        """For a detached target, read no more than it may hold. The common read never waits here."""
        if self.limit_bytes is not None:
            target_copy, limit_bytes = self.target_copy, self.limit_bytes
            target_copy.wait_until(
                lambda: (
                    target_copy.is_closed
                    or not target_copy.queue.held_bytes
                    or target_copy.queue.held_bytes + size_bytes <= limit_bytes()
                )
            )

    def offer(self, part: Part, buffer: PartBuffer, block: Block) -> None:
        """Send this part when a thread is free. The lease is held as long as it is needed."""
        if not self.is_wanted:
            self._lacks = True
            return
        buffer.hold()
        self._open.more()
        send, skip = partial(self._send, part, buffer, block), partial(self._skip, buffer)
        self.target_copy.queue.put(QueuedPart(buffer, send, skip, is_late=self._is_late))

    def end(self, sha256: Digest, crc64: int, blocks: Sequence[Block], leaves: bytes = b"") -> None:
        """All parts have been offered. The file is finished when the last of them is accepted."""
        self._ended = (sha256, crc64, blocks, leaves)
        self.target_copy.submit(self._less)

    def drop(self) -> None:
        """The file cannot be read to its end. What was accepted is kept for a later writer."""
        self.target_copy.submit(self._less)

    def _send(self, part: Part, buffer: PartBuffer, block: Block) -> None:
        try:
            if not self.target_copy.is_closed:
                self._send_once_or_more(part, buffer, block)
        except SyncdError as error:
            self.target_copy.fail(error)
        finally:
            # A writer of a single part may keep the bytes until it is finished.
            if len(self.parts) == 1:
                self._held.append(buffer)
            else:
                self.target_copy.queue.done(buffer)
            self._less()

    def _skip(self, buffer: PartBuffer) -> None:
        self._lacks = True
        buffer.release()
        self._less()

    def _send_once_or_more(self, part: Part, buffer: PartBuffer, block: Block) -> None:
        target_copy, path, crc64 = self.target_copy, self._entry.path, block.crc64
        what = f"part {part.number} of {path}"
        writer = self._opened()
        if writer.resumes and target_copy.call(f"looking for {what}", lambda: writer.has(part, crc64)):
            target_copy.count(target_copy.progress.kept, path, part.number, part.size_bytes)
            return
        if self._may_copy() and self._copied(writer, part, block):
            return
        tries = 0

        def send() -> None:
            nonlocal tries
            tries += 1
            if tries > 1:
                target_copy.progress.resent(target_copy.target.name)
            writer.send(part, buffer.view, crc64)

        # A bit that flipped on the wire will not flip again; a part is replaced by sending it again.
        target_copy.call(what, send, (Unavailable, Corrupt), size_bytes=part.size_bytes)
        target_copy.count(target_copy.progress.sent, path, part.number, part.size_bytes)

    def _may_copy(self) -> bool:
        """Whether the target has anything that parts of this file could be copied from. Found out once."""
        if self._has_origins is None:
            self._has_origins = self.target_copy.dedup.has_origins(self._entry, is_alone=len(self.parts) == 1)
        return self._has_origins

    def _copied(self, writer: Writer, part: Part, block: Block) -> bool:
        """Whether the target had these bytes and made the part of them. What it cannot copy is sent."""
        target_copy, path = self.target_copy, self._entry.path
        origin = target_copy.dedup.find(path, block)
        if origin is None:
            return False
        try:
            target_copy.call(
                f"copying part {part.number} of {path}",
                lambda: writer.copy(part, origin, block.crc64),
                patience_s=part.size_bytes / SYNCED_BYTES_S,
            )
        except UNCOPYABLE as error:
            target_copy.dedup.forget(origin, error)
            return False
        self._has_copies = True
        target_copy.count(target_copy.progress.copied, path, part.number, part.size_bytes)
        return True

    def _opened(self) -> Writer:
        with self._writer_lock:
            if self._writer is None:
                target, journal = self.target_copy.target, self.target_copy.journal
                self._writer = self.target_copy.call(
                    f"beginning {self._entry.path}",
                    lambda: target.writer(self._manifest, self._entry, self.parts, journal),
                )
            return self._writer

    def _less(self) -> None:
        if not self._open.ended():
            return
        try:
            self._close()
        except SyncdError as error:
            self.target_copy.fail(error)
        finally:
            for buffer in self._held:
                self.target_copy.queue.done(buffer)
            self.target_copy.left()

    def _close(self) -> None:
        if self._ended is None or self._lacks or self.target_copy.is_closed:
            if self._writer is not None:
                self._writer.abandon()
            self.target_copy.defer(self._entry)
            return
        writer = self._opened()
        sha256, crc64, blocks, leaves = self._ended
        if sha256 == self._entry.sha256:
            self.target_copy.dedup.learn(sha256, blocks, leaves)
        try:
            patience_s = self._entry.size_bytes / SYNCED_BYTES_S
            self.target_copy.call(
                f"finishing {self._entry.path}", lambda: writer.finish(sha256, crc64), patience_s=patience_s
            )
        except Corrupt as error:
            if not self._has_copies:
                raise
            self.target_copy.dedup.close(self._entry.path, error)
            self.target_copy.do_again(self._entry)
            return
        self.target_copy.finish(self._entry.path)
