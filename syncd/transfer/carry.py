"""One reading of the source feeds every target that lacks a file.

Each file in flight has a thread that reads and hashes; each target has its own threads that send. They share
part buffers of one bounded pool. A target that fails past its retries drops out; the others go on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Lock

from syncd.artifact.digest import Digest, crc64_combine
from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import MIB, PART_BYTES, Part, cut
from syncd.errors import Cancelled, Conflict, Corrupt, SyncdError
from syncd.retry import Retry
from syncd.target.base import Inspection, Journal, Target
from syncd.transfer.buffers import Pool
from syncd.transfer.halt import Halt
from syncd.transfer.lane import Crew, Lane
from syncd.transfer.progress import Progress, TargetProgress
from syncd.transfer.reader import Reader, Source


@dataclass(frozen=True, slots=True)
class Destination:
    """A target, and what is remembered of this version there."""

    target: Target
    journal: Journal


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """Bounds of one copy. Memory is `buffer_bytes` whatever the model's size and the number of targets."""

    buffer_bytes: int = 64 * MIB  # 8 parts of 8 MiB, being read, hashed and sent
    part_bytes: int = PART_BYTES
    files_in_flight: int = 2  # threads that read and hash; one SHA-256 runs at 1 to 2 GB/s
    parts_in_flight: int = 8  # threads that send, for each target
    retry: Retry = field(default_factory=Retry)


@dataclass(frozen=True, slots=True)
class CopyReport:
    """How it went. A target that is not in `failed` has every file; none of them is sealed by this."""

    failed: Mapping[str, SyncdError]
    targets: Mapping[str, TargetProgress]
    bytes_read: int


def copy(
    manifest: Manifest,
    source: Source,
    destinations: Sequence[Destination],
    settings: TransferSettings,
    *,
    progress: Progress,
    stop: Event,
) -> CopyReport:
    """Bring every file of `manifest` to every destination that lacks it; larger files first.

    A file that no destination lacks is not read. Nothing becomes visible before its SHA-256 is the manifest's.
    Repeating it after a crash sends only parts that had not been accepted.

    Raises:
        Corrupt: The source has other bytes than the manifest says: file, got and want.
        Unavailable: The source could not be read, past all retries.
        Cancelled: `stop` was set. What was accepted is kept for the next time.
    """
    return _Copy(manifest, source, settings, Halt(stop), progress).run(destinations)


class _Copy:
    def __init__(
        self, manifest: Manifest, source: Source, settings: TransferSettings, halt: Halt, progress: Progress
    ) -> None:
        self._manifest = manifest
        self._source = source
        self._settings = settings
        self._halt = halt
        self._progress = progress
        self._pool = Pool(settings.buffer_bytes)
        self._bytes_read = 0
        self._spoiled: Corrupt | None = None
        self._lock = Lock()

    def run(self, destinations: Sequence[Destination]) -> CopyReport:
        crews = [Crew(d.target, d.journal, self._progress, self._halt, self._settings.retry) for d in destinations]
        with ExitStack() as stack:
            for crew in crews:
                crew.start(self._settings.parts_in_flight)
                stack.callback(crew.join)
            lacking = self._look(crews)
            waiting: SimpleQueue[Entry] = SimpleQueue()
            for entry in sorted(lacking, key=lambda entry: entry.size_bytes, reverse=True):
                waiting.put(entry)
            with ThreadPoolExecutor(self._settings.files_in_flight, thread_name_prefix="read") as readers:
                for _ in range(min(self._settings.files_in_flight, waiting.qsize())):
                    readers.submit(self._read_all, waiting, lacking).add_done_callback(self._halt.look)
        if reason := self._spoiled or self._halt.reason:
            raise reason
        if self._halt.is_set() and not all(crew.error is not None or self._is_whole(crew) for crew in crews):
            raise Cancelled(f"told to stop while copying {self._manifest}")
        failed = {crew.target.name: crew.error for crew in crews if crew.error is not None}
        return CopyReport(failed, self._progress.snapshot(), self._bytes_read)

    def _look(self, crews: Sequence[Crew]) -> dict[Entry, list[Crew]]:
        """Which crews lack which file."""
        lacking: dict[Entry, list[Crew]] = {}
        for crew, look in [(crew, crew.inspect(self._manifest)) for crew in crews]:
            try:
                found = look.result()
                _refuse_wrong(crew, found)
            except SyncdError as error:
                crew.fail(error)
                continue
            for entry in self._manifest.entries:
                if entry.path in found.present:
                    self._keep(crew, entry)
                else:
                    lacking.setdefault(entry, []).append(crew)
        return lacking

    def _keep(self, crew: Crew, entry: Entry) -> None:
        name = crew.target.name
        self._progress.kept(name, entry.path, entry.size_bytes, len(self._parts(entry)))
        self._progress.finished(name, entry.path)

    def _parts(self, entry: Entry) -> tuple[Part, ...]:
        return cut(entry.size_bytes, self._settings.part_bytes)

    def _is_whole(self, crew: Crew) -> bool:
        seen = self._progress.snapshot()[crew.target.name]
        return seen.files_finished == len(seen.files)

    def _read_all(self, waiting: SimpleQueue[Entry], lacking: Mapping[Entry, list[Crew]]) -> None:
        while not self._halt.is_set() and self._spoiled is None:
            try:
                entry = waiting.get_nowait()
            except Empty:
                return
            parts = self._parts(entry)
            lanes = [Lane(crew, self._manifest, entry, parts) for crew in lacking[entry] if not crew.is_out]
            if lanes:
                self._read(entry, parts, lanes)

    def _read(self, entry: Entry, parts: tuple[Part, ...], lanes: Sequence[Lane]) -> None:
        fed: tuple[Digest, int] | None = None
        try:
            fed = self._feed(entry, parts, lanes)
        except SyncdError as error:
            self._halt.trip(error)
        finally:
            for lane in lanes if fed is None else ():
                lane.drop()
        if fed is None:
            return
        if fed[0] != entry.sha256:
            # Not a halt: the lanes have to learn of it, so that what they uploaded is thrown away.
            self._spoiled = Corrupt(
                f"{entry.path}: sha256 of the source is {fed[0]}, the manifest says {entry.sha256}, "
                f"after {entry.size_bytes} bytes"
            )
        for lane in lanes:
            lane.end(*fed)

    def _feed(self, entry: Entry, parts: tuple[Part, ...], lanes: Sequence[Lane]) -> tuple[Digest, int] | None:
        """Read the file into the lanes. Its digest and CRC; None if nobody wants it any more."""
        hasher = hashlib.sha256()
        whole = 0
        with Reader(entry, self._source, self._settings.retry, self._halt.wait) as reader:
            for part in parts:
                if self._halt.is_set():
                    raise Cancelled(f"told to stop while reading {entry.path}")
                if all(lane.crew.is_out for lane in lanes):
                    return None
                lease = self._pool.take(part.size_bytes, self._halt.is_set)
                try:
                    reader.fill(lease.view)
                    hasher.update(lease.view)
                    crc64 = crc64_of(lease.view)
                    whole = crc64_combine(whole, crc64, part.size_bytes)
                    for lane in lanes:
                        lane.offer(part, lease, crc64)
                finally:
                    lease.release()
                with self._lock:
                    self._bytes_read += part.size_bytes
            reader.expect_end()
        return Digest(hasher.hexdigest()), whole


def _refuse_wrong(crew: Crew, found: Inspection) -> None:
    if found.wrong:
        path, fault = min(found.wrong.items())
        kind = Corrupt if found.sealed else Conflict
        raise kind(
            f"{crew.target.name}: {len(found.wrong)} files are there and wrong: {path}: {fault}",
            hint="nothing is written over it; remove those files there, then publish again",
        )
