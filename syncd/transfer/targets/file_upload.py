"""The way of one file to one target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final

from syncd.artifact.blocks import Block
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import Part
from syncd.errors import Corrupt, SyncdError, Unavailable
from syncd.targets.base import Writer
from syncd.transfer.flow.buffers import PartBuffer
from syncd.transfer.flow.countdown import Countdown
from syncd.transfer.targets.dedup_index import UNCOPYABLE
from syncd.transfer.targets.send_queue import QueuedPart
from syncd.transfer.targets.target_copy import SYNCED_BYTES_S, TargetCopy


class FileUpload:
    """One file on its way to one target. `offer`, `end` and `drop` are for the thread that reads the file."""

    def __init__(self, crew: TargetCopy, manifest: Manifest, entry: Entry) -> None:
        self.crew: Final = crew
        self.parts: tuple[Part, ...] = ()  # how the file is cut: the reader says so before the first is offered
        self._is_late = crew.is_let_go  # its file is fed to it alone, so it is in nobody's way
        self._manifest = manifest
        self._entry = entry
        self.limit_bytes: Callable[[], int] | None = None
        self._open = Countdown()  # what must end before the file can: the reader, and each part on its way
        self._lacks = False  # a part was skipped
        self._has_copies = False  # by the target itself
        self._ended: tuple[Digest, int, Sequence[Block]] | None = None
        self._writer: Writer | None = None
        self._writer_lock = Lock()
        self._held: list[PartBuffer] = []
        crew.entered()

    @property
    def is_wanted(self) -> bool:
        """Whether it makes sense to offer more."""
        return not self.crew.is_out and not self._lacks and (self._is_late or not self.crew.is_let_go)

    def wait_for_room(self, size_bytes: int) -> None:
        """Of a late file no more is read than the target may hold; the common reading waits for nobody."""
        if self.limit_bytes is not None:
            crew, limit_bytes = self.crew, self.limit_bytes
            crew.wait_until(
                lambda: crew.is_out or not crew.loads.held_bytes or crew.loads.held_bytes + size_bytes <= limit_bytes()
            )

    def offer(self, part: Part, lease: PartBuffer, block: Block) -> None:
        """Send this part when a thread is free. The lease is held as long as it is needed."""
        if not self.is_wanted:
            self._lacks = True
            return
        lease.hold()
        self._open.more()
        load = QueuedPart(lease, lambda: self._send(part, lease, block), lambda: self._skip(lease))
        crew = self.crew
        crew.loads.carry(load, lambda: crew.error is None and (self._is_late or not crew.is_let_go))

    def end(self, sha256: Digest, crc64: int, blocks: Sequence[Block]) -> None:
        """All parts have been offered. The file is finished when the last of them is accepted."""
        self._ended = (sha256, crc64, blocks)
        self.crew.submit(self._less)

    def drop(self) -> None:
        """The file cannot be read to its end. What was accepted is kept for a later writer."""
        self.crew.submit(self._less)

    def _send(self, part: Part, lease: PartBuffer, block: Block) -> None:
        try:
            if not self.crew.is_out:
                self._send_once_or_more(part, lease, block)
        except SyncdError as error:
            self.crew.fail(error)
        finally:
            # A writer of a single part may keep the bytes until it is finished.
            if len(self.parts) == 1:
                self._held.append(lease)
            else:
                self.crew.loads.put_down(lease)
            self._less()

    def _skip(self, lease: PartBuffer) -> None:
        self._lacks = True
        lease.release()
        self._less()

    def _send_once_or_more(self, part: Part, lease: PartBuffer, block: Block) -> None:
        crew, path, crc64 = self.crew, self._entry.path, block.crc64
        what = f"part {part.number} of {path}"
        writer = self._opened()
        if writer.resumes and crew.call(f"looking for {what}", lambda: writer.has(part, crc64)):
            if crew.shelf.is_new(path, part.number):
                crew.progress.kept(crew.target.name, path, part.size_bytes)
            return
        if self._copied(writer, part, block):
            return
        tries = 0

        def send() -> None:
            nonlocal tries
            tries += 1
            if tries > 1:
                crew.progress.resent(crew.target.name)
            writer.send(part, lease.view, crc64)

        # A bit that flipped on the wire will not flip again; a part is replaced by sending it again.
        crew.call(what, send, (Unavailable, Corrupt), size_bytes=part.size_bytes)
        if crew.shelf.is_new(path, part.number):
            crew.progress.sent(crew.target.name, path, part.size_bytes)

    def _copied(self, writer: Writer, part: Part, block: Block) -> bool:
        """Whether the target had these bytes and made the part of them. What it cannot copy is sent."""
        crew, path = self.crew, self._entry.path
        origin = crew.origins.find(path, block)
        if origin is None:
            return False
        try:
            crew.call(
                f"copying part {part.number} of {path}",
                lambda: writer.copy(part, origin, block.crc64),
                patience_s=part.size_bytes / SYNCED_BYTES_S,
            )
        except UNCOPYABLE as error:
            crew.origins.forget(origin, error)
            return False
        self._has_copies = True
        if crew.shelf.is_new(path, part.number):
            crew.progress.copied(crew.target.name, path, part.size_bytes)
        return True

    def _opened(self) -> Writer:
        with self._writer_lock:
            if self._writer is None:
                target, journal = self.crew.target, self.crew.journal
                self._writer = self.crew.call(
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
            self.crew.fail(error)
        finally:
            for lease in self._held:
                self.crew.loads.put_down(lease)
            self.crew.left()

    def _close(self) -> None:
        if self._ended is None or self._lacks or self.crew.is_out:
            if self._writer is not None:
                self._writer.abandon()
            self.crew.shelf.defer(self._entry)
            return
        writer = self._opened()
        sha256, crc64, blocks = self._ended
        if sha256 == self._entry.sha256:
            self.crew.origins.learn(sha256, blocks)
        try:
            patience_s = self._entry.size_bytes / SYNCED_BYTES_S
            self.crew.call(f"finishing {self._entry.path}", lambda: writer.finish(sha256, crc64), patience_s=patience_s)
        except Corrupt as error:
            if not self._has_copies:
                raise
            self.crew.origins.close(self._entry.path, error)
            self.crew.shelf.do_again(self._entry)
            return
        self.crew.finish(self._entry.path)
