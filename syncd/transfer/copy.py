"""One reading of the source feeds every target that lacks a file.

Each file in flight has a thread that reads and hashes; each target has its own threads that send. They share
part buffers of one bounded pool. A target that fails past its retries drops out; the others go on. A target that the
others would wait for is detached, and fed alone from a target that is further (see `stragglers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event

from syncd.artifact.manifest import Entry, Manifest
from syncd.errors import Cancelled, Conflict, Corrupt, SyncdError, Unavailable
from syncd.targets.base import Inspection
from syncd.transfer.progress import Progress, TargetProgress
from syncd.transfer.settings import CopySettings, Destination
from syncd.transfer.sources.producer import FileResult, Producer
from syncd.transfer.stragglers import Stragglers
from syncd.transfer.targets.bundle import Bundle, group_small_files
from syncd.transfer.targets.file_upload import FileUpload
from syncd.transfer.targets.server_side_copy import ServerSideCopies
from syncd.transfer.targets.target_copy import TargetCopy
from syncd.transfer.workers.worker_pool import CallWatch, CancelScope
from syncd.values.source import Source

OnStarved = Callable[[float], None]
Lacking = tuple[TargetCopy, ...]


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
    settings: CopySettings,
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
    scope = CancelScope(stop, settings.grace_s)
    with CallWatch(scope, settings.silence_s, settings.leaked_threads) as watch:
        return _Copy(manifest, source, settings, watch, progress).run(destinations)


class _Copy:
    def __init__(
        self, manifest: Manifest, source: Source, settings: CopySettings, watch: CallWatch, progress: Progress
    ) -> None:
        self._manifest = manifest
        self._source = source
        self._settings = settings
        self._watch = watch
        self._scope = watch.scope
        self._progress = progress
        self._source_fault: Corrupt | None = None
        self._where = f"the source of {manifest}"

    def run(self, destinations: Sequence[Destination]) -> CopyReport:
        streams = self._watch.workers(self._where, 2 * self._settings.streams.per_host, self._scope, self._scope.cancel)
        self._producer = Producer(self._manifest, self._settings, self._scope, len(destinations), streams.submit)
        target_copies = [
            TargetCopy(to, self._manifest, self._progress, self._watch, self._settings, self._producer.share_bytes)
            for to in destinations
        ]
        with ExitStack() as stack:
            for target_copy in target_copies:
                stack.callback(target_copy.join)
                target_copy.start()
            lacking = self._inspected(target_copies)
            server_copies = [
                ServerSideCopies(target_copy, self._manifest, max(1, self._settings.parts_in_flight // 2))
                for target_copy in target_copies
            ]
            with Stragglers(self._producer, target_copies, self._source, self._watch) as stragglers:
                # Where there is one target alone, no other waits for it.
                on_starved = stragglers.on_starved if len(target_copies) > 1 else None
                while lacking:
                    works = self._grouped(_unread(lacking, server_copies))
                    lacking.clear()  # with a million files it is large, and what was grouped has all of it
                    self._read_everything(works, on_starved)
                    lacking = _deferred(target_copies)
            streams.close(self._scope.is_grace_over)
        if reason := self._source_fault or stragglers.source_fault or self._scope.reason:
            raise reason
        if self._scope.is_set() and not all(
            each.error is not None or self._progress.is_whole(each.target.name) for each in target_copies
        ):
            raise Cancelled(f"stopped while copying {self._manifest}")
        failed = {each.target.name: error for each in target_copies if (error := _failure(each)) is not None}
        return CopyReport(failed, self._progress.snapshot(), self._producer.bytes_read)

    def _inspected(self, target_copies: Sequence[TargetCopy]) -> dict[Entry, Lacking]:
        """Which targets lack which file."""
        lacking: dict[Entry, Lacking] = {}
        for target_copy in target_copies:
            found = target_copy.found()
            if found is None:
                continue
            try:
                _refuse_wrong(target_copy, found)
            except SyncdError as error:
                target_copy.fail(error)
                continue
            joined = _Joined()
            for entry in self._manifest.entries:
                if entry.path in found.present:
                    self._keep(target_copy, entry)
                else:
                    lacking[entry] = joined(lacking.get(entry, ()), target_copy)
        return lacking

    def _keep(self, target_copy: TargetCopy, entry: Entry) -> None:
        self._progress.kept(target_copy.target.name, entry.path, entry.size_bytes, self._producer.parts_about(entry))
        target_copy.finish(entry.path)

    def _grouped(self, lacking: Mapping[Entry, Lacking]) -> SimpleQueue[tuple[tuple[Entry, ...], Lacking]]:
        waiting: SimpleQueue[tuple[tuple[Entry, ...], Lacking]] = SimpleQueue()
        for work in group_small_files(lacking, self._settings.part_bytes, self._settings.parts_in_flight):
            waiting.put(work)
        return waiting

    def _read_everything(
        self, waiting: SimpleQueue[tuple[tuple[Entry, ...], Lacking]], on_starved: OnStarved | None
    ) -> None:
        if waiting.qsize():
            self._watch.leaked_threads.refuse(self._where)
        readers = self._watch.workers(self._where, self._settings.files_in_flight, self._scope, self._scope.cancel)
        for _ in range(min(self._settings.files_in_flight, waiting.qsize())):
            readers.submit(partial(self._read_all, waiting, on_starved))
        readers.close(self._scope.is_grace_over)

    def _read_all(self, waiting: SimpleQueue[tuple[tuple[Entry, ...], Lacking]], on_starved: OnStarved | None) -> None:
        while not self._scope.is_set() and self._source_fault is None:
            try:
                entries, target_copies = waiting.get_nowait()
            except Empty:
                return
            wanting = [
                target_copy
                for target_copy in target_copies
                if not target_copy.is_closed and not target_copy.is_detached
            ]
            for target_copy in target_copies:
                for entry in entries if target_copy.is_detached else ():
                    target_copy.defer(entry)
            if len(entries) > 1:
                self._read_small(
                    entries, [Bundle(target_copy, self._manifest, entries) for target_copy in wanting], on_starved
                )
            elif wanting:
                self._read(
                    entries[0],
                    [FileUpload(target_copy, self._manifest, entries[0]) for target_copy in wanting],
                    on_starved,
                )

    def _read_small(self, entries: Sequence[Entry], bundles: Sequence[Bundle], on_starved: OnStarved | None) -> None:
        is_offered = False
        try:
            is_offered, fault = self._producer.gather(entries, bundles, self._source, on_starved)
            self._source_fault = self._source_fault or fault
        except SyncdError as error:
            self._scope.cancel(error)
        finally:
            for bundle in () if is_offered else bundles:
                bundle.drop()

    def _read(self, entry: Entry, uploads: Sequence[FileUpload], on_starved: OnStarved | None) -> None:
        read: FileResult | None = None
        try:
            read = self._producer.run(entry, uploads, self._source, on_starved)
        except SyncdError as error:
            self._scope.cancel(error)
        finally:
            for upload in uploads if read is None else ():
                upload.drop()
        if read is None:
            return
        # Not a cancellation: the uploads must end, so that what they sent is thrown away.
        self._source_fault = self._source_fault or read.fault(entry)
        for upload in uploads:
            upload.end(read.sha256, read.crc64, read.blocks, read.leaves)


class _Joined:
    """The targets that lack a file, one value for all files that the same ones lack: there may be a million."""

    def __init__(self) -> None:
        self._known: dict[Lacking, Lacking] = {}

    def __call__(self, those: Lacking, more: TargetCopy) -> Lacking:
        found = (*those, more)
        return self._known.setdefault(found, found)


def _unread(lacking: Mapping[Entry, Lacking], server_copies: Sequence[ServerSideCopies]) -> dict[Entry, Lacking]:
    """What is left to be read where a target copies by itself what it can."""
    found: dict[Entry, Lacking] = {}
    joined = _Joined()
    for entry in sorted(lacking, key=lambda entry: entry.size_bytes, reverse=True):
        target_copies: Lacking = ()
        for whole in server_copies:
            if whole.target_copy in lacking[entry] and not whole.take(entry):
                target_copies = joined(target_copies, whole.target_copy)
        if target_copies:
            found[entry] = target_copies
    return found


def _deferred(target_copies: Sequence[TargetCopy]) -> dict[Entry, Lacking]:
    """Files that could not be made of what a target had. Detached targets are filled by `Stragglers`."""
    found: dict[Entry, Lacking] = {}
    for target_copy in target_copies:
        target_copy.wait_until(partial(_is_settled, target_copy))
        for entry in [] if target_copy.is_closed or target_copy.is_detached else target_copy.take_deferred():
            found[entry] = (*found.get(entry, ()), target_copy)
    return found


def _is_settled(target_copy: TargetCopy) -> bool:
    return target_copy.is_closed or target_copy.is_detached or not target_copy.pending


def _failure(target_copy: TargetCopy) -> SyncdError | None:
    """Why a target has failed. Where other bytes were in the way, the next attempt finds and replaces them."""
    error = target_copy.error
    if isinstance(error, Conflict) and target_copy.found() is not None:
        again = Unavailable(f"{error.message}; the next attempt inspects the target again", hint=error.hint)
        again.__cause__ = error
        return again
    return error


def _refuse_wrong(target_copy: TargetCopy, found: Inspection) -> None:
    if found.wrong and found.sealed:
        path, fault = min(found.wrong.items())
        raise Corrupt(
            f"{target_copy.target.name}: {len(found.wrong)} files have wrong bytes: {path}: {fault}",
            hint="syncd never writes over files of a sealed version: docs/how-to/recover.md",
        )
