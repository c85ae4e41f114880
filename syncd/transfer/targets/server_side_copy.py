"""Server-side copy: files that the target has under another version are copied by it, and not read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Final

from syncd.artifact import blocks
from syncd.artifact.blocks import Run
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import MIB, Part
from syncd.errors import SyncdError
from syncd.targets.base import HeldRange, Origin, Writer
from syncd.transfer.targets.dedup_index import UNCOPYABLE
from syncd.transfer.targets.target_copy import SYNCED_BYTES_S, TargetCopy
from syncd.transfer.workers.worker_pool import Countdown

RUN_BYTES: Final = 256 * MIB  # copied by one call: so short that its silence is not taken for a hang


class ServerSideCopies:
    """Of one target. Safe from several threads. No more than `at_once` threads of the target are busy with it."""

    def __init__(self, target_copy: TargetCopy, manifest: Manifest, at_once: int) -> None:
        self.target_copy: Final = target_copy
        self.manifest: Final = manifest
        self._lock = Lock()
        self._free = at_once
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, entry: Entry) -> bool:
        """Whether this file is copied whole, from now on by itself. If that fails it is deferred, to be read."""
        held = self.target_copy.dedup.whole(entry)
        if held is None:
            return False
        self.target_copy.begin()
        with self._lock:
            self._waiting.append(_FileCopy(self, entry, held).begin)
        self._go_on()
        return True

    def hurry(self, works: list[Callable[[], None]]) -> None:
        """Run these in threads of the target, before another file is begun."""
        with self._lock:
            self._waiting.extendleft(reversed(works))
        for _ in works:
            self._go_on()

    def _go_on(self) -> None:
        with self._lock:
            if not self._free or not self._waiting:
                return
            self._free -= 1
            work = self._waiting.popleft()
        self.target_copy.submit(partial(self._work, work))

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._free += 1
            self._go_on()


class _FileCopy:
    """One file. Its runs are copied in any order; the last of them finishes it."""

    def __init__(self, server_copies: ServerSideCopies, entry: Entry, held: HeldRange) -> None:
        self._copies = server_copies
        self._target_copy = server_copies.target_copy
        self._entry = entry
        self._held = held
        self._open = Countdown()  # what must end before the file can: the beginning, and each run
        self._writer: Writer | None = None
        self._failed: SyncdError | None = None

    def begin(self) -> None:
        """Cut the file and queue its runs."""
        target_copy, manifest = self._target_copy, self._copies.manifest
        try:
            if not target_copy.is_closed:
                runs = self._runs()
                parts = tuple(Part(n, run.offset_bytes, run.size_bytes) for n, run in enumerate(runs, start=1))
                self._writer = target_copy.call(
                    f"beginning {self._entry.path}",
                    lambda: target_copy.target.writer(manifest, self._entry, parts, target_copy.journal),
                )
                self._open.more(len(parts))
                copies = [partial(self._copy, part, run.crc64) for part, run in zip(parts, runs, strict=True)]
                self._copies.hurry([*copies])
        except SyncdError as error:
            self._failed = error
        finally:
            self._less()

    def _runs(self) -> list[Run]:
        crc64 = self._held.crc64
        assert crc64 is not None, "Origins.whole promises it"
        if self._held.blocks:
            return list(blocks.runs(blocks.unpack(self._held.blocks), RUN_BYTES))
        return [Run(0, self._entry.size_bytes, crc64)]

    def _copy(self, part: Part, crc64: int) -> None:
        target_copy, path, writer = self._target_copy, self._entry.path, self._writer
        try:
            if writer is not None and not target_copy.is_closed and self._failed is None:
                what = f"part {part.number} of {path}"
                is_kept = target_copy.call(f"looking for {what}", lambda: writer.has(part, crc64))
                if not is_kept:
                    origin = Origin(self._held.origin.manifest, self._held.origin.path, part.offset_bytes)
                    patience_s = part.size_bytes / SYNCED_BYTES_S
                    target_copy.call(f"copying {what}", lambda: writer.copy(part, origin, crc64), patience_s=patience_s)
                note = target_copy.progress.kept if is_kept else target_copy.progress.copied
                target_copy.count(note, path, part.number, part.size_bytes)
        except SyncdError as error:
            self._failed = error
        finally:
            self._less()

    def _less(self) -> None:
        if not self._open.ended():
            return
        try:
            self._close()
        except UNCOPYABLE as error:
            self._target_copy.dedup.forget(self._held.origin, error)
            self._target_copy.do_again(self._entry)
        except SyncdError as error:
            self._target_copy.fail(error)
        finally:
            self._target_copy.left()

    def _close(self) -> None:
        target_copy, writer, crc64 = self._target_copy, self._writer, self._held.crc64
        if self._failed is None and not target_copy.is_closed and writer is not None and crc64 is not None:
            patience_s = self._entry.size_bytes / SYNCED_BYTES_S
            finish = partial(writer.finish, self._entry.sha256, crc64)
            target_copy.call(f"finishing {self._entry.path}", finish, patience_s=patience_s)
            target_copy.finish(self._entry.path)
            return
        if writer is not None:
            writer.abandon()
        if self._failed is not None:
            raise self._failed
