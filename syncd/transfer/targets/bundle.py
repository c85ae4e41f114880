"""Bundle of small files, sent together: one by one, waking a thread for each costs more than its bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import SyncdError, Unavailable
from syncd.targets.base import SmallFile
from syncd.transfer.flow.buffers import PartBuffer
from syncd.transfer.flow.send_queue import QueuedPart
from syncd.transfer.targets.target_copy import TargetCopy

SMALL_BYTES: Final = 64 << 10  # below what a target copies by itself (`artifact.blocks.COPY_BYTES_MIN`)
_FILES_MAX: Final = 32  # × SMALL_BYTES = 2 MiB, one buffer
_TURNS: Final = 4  # bundles for each thread that sends, at least: the last to come in shall not keep the others waiting


def group_small_files(
    lacking: Mapping[Entry, tuple[TargetCopy, ...]], part_bytes: int, threads: int
) -> list[tuple[tuple[Entry, ...], tuple[TargetCopy, ...]]]:
    """What is read in one go, in the order of `lacking`: a large file by itself, small ones together.

    Those of one bundle are lacking at the same targets. There are enough bundles for `threads` that send.
    """
    small_bytes = min(SMALL_BYTES, part_bytes)
    files = sum(entry.size_bytes <= small_bytes for entry in lacking)
    files_max = max(1, min(_FILES_MAX, files // (_TURNS * threads)))
    found: list[tuple[tuple[Entry, ...], tuple[TargetCopy, ...]]] = []
    for entry, target_copies in lacking.items():
        if found and entry.size_bytes <= small_bytes:
            before, those = found[-1]
            if before[-1].size_bytes <= small_bytes and len(before) < files_max and target_copies == those:
                found[-1] = ((*before, entry), target_copies)
                continue
        found.append(((entry,), target_copies))
    return found


class Bundle:
    """Some small files to one target. `offer` or `drop` is called once, by the thread that reads them."""

    def __init__(self, target_copy: TargetCopy, manifest: Manifest, entries: Sequence[Entry]) -> None:
        self._target_copy = target_copy
        self._manifest = manifest
        self._entries = entries
        target_copy.begin()

    @property
    def is_wanted(self) -> bool:
        """Whether it makes sense to read more."""
        return not self._target_copy.is_closed and not self._target_copy.is_detached

    def offer(self, buffer: PartBuffer, files: Sequence[SmallFile]) -> None:
        """Put these when a thread is free; they are the first of the entries. The lease is held as long as needed."""
        buffer.hold()
        width = max(1, min(len(files), self._target_copy.at_once))
        queued = QueuedPart(buffer, partial(self._send, buffer, files, width), partial(self._skip, buffer), width)
        self._target_copy.queue.put(queued)

    def drop(self) -> None:
        """They cannot be read."""
        self._leave(self._entries)

    def _skip(self, buffer: PartBuffer) -> None:
        buffer.release()
        self._leave(self._entries)

    def _send(self, buffer: PartBuffer, files: Sequence[SmallFile], width: int) -> None:
        target_copy, left = self._target_copy, list(files)
        what = f"putting {len(files)} files from {self._entries[0].path} on"
        tries = 0

        def put() -> None:
            nonlocal tries
            tries += 1
            for _ in left if tries > 1 else ():
                target_copy.progress.resent(target_copy.target.name)
            self._put(left, width)

        try:
            if files and not target_copy.is_closed:
                target_copy.call(what, put, size_bytes=sum(file.entry.size_bytes for file in files))
        except SyncdError as error:
            target_copy.fail(error)
        finally:
            target_copy.queue.done(buffer, width)
            self._leave([*(file.entry for file in left), *self._entries[len(files) :]])

    def _put(self, left: list[SmallFile], at_once: int) -> None:
        """Take out of `left` what is there now. Raises the last error: one that a retry cannot help ends it."""
        target_copy, there, errors = self._target_copy, set[FilePath](), list[SyncdError]()
        puts = target_copy.target.put_all(self._manifest, left, target_copy.journal, at_once)
        for file, error in zip(left, puts, strict=False):
            if error is not None:
                errors.append(error)
                if isinstance(error, Unavailable):
                    continue
                break  # it is not going to be better with the next one
            there.add(file.entry.path)
            target_copy.count(target_copy.progress.sent, file.entry.path, 1, file.entry.size_bytes)
            target_copy.finish(file.entry.path)
            if target_copy.is_closed:
                break
        left[:] = [file for file in left if file.entry.path not in there]
        if errors:
            raise errors[-1]

    def _leave(self, left: Sequence[Entry]) -> None:
        for entry in left:
            self._target_copy.defer(entry)
        self._target_copy.left()
