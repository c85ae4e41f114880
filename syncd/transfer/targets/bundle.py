"""Small files, several at a time: handed over one by one, each costs more in threads woken than in its bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import SyncdError, Unavailable
from syncd.targets.base import SmallFile
from syncd.transfer.flow.buffers import PartBuffer
from syncd.transfer.targets.send_queue import QueuedPart
from syncd.transfer.targets.target_copy import TargetCopy

SMALL_BYTES: Final = 64 << 10  # below what a target copies by itself (`artifact.blocks.COPY_BYTES_MIN`)
_FILES_MAX: Final = 32  # × SMALL_BYTES = 2 MiB, one buffer
_TURNS: Final = 4  # bundles for each thread that sends, at least: the last to come in shall not keep the others waiting


def group_small_files(
    lacking: Mapping[Entry, Sequence[TargetCopy]], part_bytes: int, threads: int
) -> list[tuple[tuple[Entry, ...], Sequence[TargetCopy]]]:
    """What is read in one go, in the order of `lacking`: a large file by itself, small ones together.

    Those of one bundle are lacking at the same targets. There are enough bundles for `threads` that send.
    """
    small_bytes = min(SMALL_BYTES, part_bytes)
    files = sum(entry.size_bytes <= small_bytes for entry in lacking)
    files_max = max(1, min(_FILES_MAX, files // (_TURNS * threads)))
    found: list[tuple[tuple[Entry, ...], Sequence[TargetCopy]]] = []
    for entry, crews in lacking.items():
        if found and entry.size_bytes <= small_bytes:
            before, those = found[-1]
            if before[-1].size_bytes <= small_bytes and len(before) < files_max and crews == those:
                found[-1] = ((*before, entry), crews)
                continue
        found.append(((entry,), crews))
    return found


class Bundle:
    """The way of some small files to one target. `offer` or `drop` is called once, by the thread that reads them."""

    def __init__(self, crew: TargetCopy, manifest: Manifest, entries: Sequence[Entry]) -> None:
        self._crew = crew
        self._manifest = manifest
        self._entries = entries
        crew.entered()

    @property
    def is_wanted(self) -> bool:
        """Whether it makes sense to read more."""
        return not self._crew.is_out and not self._crew.is_let_go

    def offer(self, lease: PartBuffer, files: Sequence[SmallFile]) -> None:
        """Put these when a thread is free; they are the first of the entries. The lease is held as long as needed."""
        lease.hold()
        width = max(1, min(len(files), self._crew.at_once))
        load = QueuedPart(lease, partial(self._send, lease, files, width), partial(self._skip, lease), width)
        self._crew.loads.carry(load, lambda: self._crew.error is None and not self._crew.is_let_go)

    def drop(self) -> None:
        """They cannot be read."""
        self._leave(self._entries)

    def _skip(self, lease: PartBuffer) -> None:
        lease.release()
        self._leave(self._entries)

    def _send(self, lease: PartBuffer, files: Sequence[SmallFile], width: int) -> None:
        crew, left = self._crew, list(files)
        what = f"putting {len(files)} files from {self._entries[0].path} on"
        tries = 0

        def put() -> None:
            nonlocal tries
            tries += 1
            for _ in left if tries > 1 else ():
                crew.progress.resent(crew.target.name)
            self._put(left, width)

        try:
            if files and not crew.is_out:
                crew.call(what, put, size_bytes=sum(file.entry.size_bytes for file in files))
        except SyncdError as error:
            crew.fail(error)
        finally:
            crew.loads.put_down(lease, width)
            self._leave([*(file.entry for file in left), *self._entries[len(files) :]])

    def _put(self, left: list[SmallFile], at_once: int) -> None:
        """Take out of `left` what is there now. Raises the last error: one that has no remedy ends it."""
        crew, there, errors = self._crew, set[FilePath](), list[SyncdError]()
        puts = crew.target.put_all(self._manifest, left, crew.journal, at_once)
        for file, error in zip(left, puts, strict=False):
            if error is not None:
                errors.append(error)
                if isinstance(error, Unavailable):
                    continue
                break  # it is not going to be better with the next one
            there.add(file.entry.path)
            if crew.shelf.is_new(file.entry.path, 1):
                crew.progress.sent(crew.target.name, file.entry.path, file.entry.size_bytes)
            crew.finish(file.entry.path)
            if crew.is_out:
                break
        left[:] = [file for file in left if file.entry.path not in there]
        if errors:
            raise errors[-1]

    def _leave(self, left: Sequence[Entry]) -> None:
        for entry in left:
            self._crew.shelf.defer(entry)
        self._crew.left()
