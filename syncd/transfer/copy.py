"""One reading of the source feeds every target that lacks a file.

Each file in flight has a thread that reads and hashes; each target has its own threads that send. They share
part buffers of one bounded pool. A target that fails past its retries drops out; the others go on. A target that the
others would have to wait for is let go, and fed by itself with what another target has by then (see `late.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event

from syncd.artifact.manifest import Entry, Manifest
from syncd.errors import Cancelled, Conflict, Corrupt, SyncdError
from syncd.targets.base import Inspection
from syncd.transfer.progress import Progress, TargetProgress
from syncd.transfer.settings import CopySettings, Destination
from syncd.transfer.sources.producer import FileResult, Producer
from syncd.transfer.sources.reader import Source
from syncd.transfer.stragglers import Stragglers
from syncd.transfer.targets.bundle import Bundle, group_small_files
from syncd.transfer.targets.file_upload import FileUpload
from syncd.transfer.targets.server_side_copy import ServerSideCopies
from syncd.transfer.targets.target_copy import TargetCopy
from syncd.transfer.workers.cancel_scope import CancelScope
from syncd.transfer.workers.worker_pool import CallWatch


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
    halt = CancelScope(stop, settings.leave_s)
    with CallWatch(halt, settings.silence_s, settings.adrift) as watch:
        return _Copy(manifest, source, settings, watch, progress).run(destinations)


class _Copy:
    def __init__(
        self, manifest: Manifest, source: Source, settings: CopySettings, watch: CallWatch, progress: Progress
    ) -> None:
        self._manifest = manifest
        self._source = source
        self._settings = settings
        self._watch = watch
        self._halt = watch.halt
        self._progress = progress
        self._spoiled: Corrupt | None = None

    def run(self, destinations: Sequence[Destination]) -> CopyReport:
        self._feed = Producer(self._manifest, self._settings, self._halt, len(destinations))
        crews = [TargetCopy(to, self._manifest, self._progress, self._watch, self._settings) for to in destinations]
        with ExitStack() as stack:
            for crew in crews:
                stack.callback(crew.join)
                crew.start(self._feed.share_bytes)
            lacking = self._look(crews)
            wholes = [
                ServerSideCopies(crew, self._manifest, max(1, self._settings.parts_in_flight // 2)) for crew in crews
            ]
            with Stragglers(self._feed, crews, self._source, self._watch) as late:
                while lacking:
                    self._read_everything(_unread(lacking, wholes), late)
                    lacking = _deferred(crews)
        if reason := self._spoiled or late.spoiled or self._halt.reason:
            raise reason
        if self._halt.is_set() and not all(crew.error is not None or self._is_whole(crew) for crew in crews):
            raise Cancelled(f"told to stop while copying {self._manifest}")
        failed = {crew.target.name: crew.error for crew in crews if crew.error is not None}
        return CopyReport(failed, self._progress.snapshot(), self._feed.bytes_read)

    def _look(self, crews: Sequence[TargetCopy]) -> dict[Entry, list[TargetCopy]]:
        """Which crews lack which file."""
        lacking: dict[Entry, list[TargetCopy]] = {}
        for crew in crews:
            found = crew.found()
            if found is None:
                continue
            try:
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

    def _keep(self, crew: TargetCopy, entry: Entry) -> None:
        self._progress.kept(crew.target.name, entry.path, entry.size_bytes, self._feed.parts_about(entry))
        crew.finish(entry.path)

    def _is_whole(self, crew: TargetCopy) -> bool:
        seen = self._progress.snapshot()[crew.target.name]
        return seen.files_finished == len(seen.files)

    def _read_everything(self, lacking: Mapping[Entry, list[TargetCopy]], late: Stragglers) -> None:
        waiting: SimpleQueue[tuple[tuple[Entry, ...], Sequence[TargetCopy]]] = SimpleQueue()
        for work in group_small_files(lacking, self._settings.part_bytes, self._settings.parts_in_flight):
            waiting.put(work)
        where = f"the source of {self._manifest}"
        if lacking:
            self._watch.adrift.refuse(where)
        readers = self._watch.hands(where, self._settings.files_in_flight, self._halt.is_set, self._halt.trip)
        for _ in range(min(self._settings.files_in_flight, waiting.qsize())):
            readers.submit(partial(self._read_all, waiting, late))
        readers.dismiss(self._halt.has_waited)

    def _read_all(self, waiting: SimpleQueue[tuple[tuple[Entry, ...], Sequence[TargetCopy]]], late: Stragglers) -> None:
        while not self._halt.is_set() and self._spoiled is None:
            try:
                entries, crews = waiting.get_nowait()
            except Empty:
                return
            wanting = [crew for crew in crews if not crew.is_out and not crew.is_let_go]
            for crew in crews:
                for entry in entries if crew.is_let_go else ():
                    crew.shelf.defer(entry)
            if len(entries) > 1:
                self._read_small(entries, [Bundle(crew, self._manifest, entries) for crew in wanting], late)
            elif wanting:
                self._read(entries[0], [FileUpload(crew, self._manifest, entries[0]) for crew in wanting], late)

    def _read_small(self, entries: Sequence[Entry], bundles: Sequence[Bundle], late: Stragglers) -> None:
        is_offered = False
        try:
            is_offered, fault = self._feed.gather(entries, bundles, self._source, late.starved)
            self._spoiled = self._spoiled or fault
        except SyncdError as error:
            self._halt.trip(error)
        finally:
            for bundle in () if is_offered else bundles:
                bundle.drop()

    def _read(self, entry: Entry, lanes: Sequence[FileUpload], late: Stragglers) -> None:
        fed: FileResult | None = None
        try:
            fed = self._feed.run(entry, lanes, self._source, late.starved)
        except SyncdError as error:
            self._halt.trip(error)
        finally:
            for lane in lanes if fed is None else ():
                lane.drop()
        if fed is None:
            return
        # Not a halt: the lanes have to learn of it, so that what they uploaded is thrown away.
        self._spoiled = self._spoiled or fed.fault(entry)
        for lane in lanes:
            lane.end(fed.sha256, fed.crc64, fed.blocks)


def _unread(
    lacking: Mapping[Entry, list[TargetCopy]], wholes: Sequence[ServerSideCopies]
) -> dict[Entry, list[TargetCopy]]:
    """What is left to be read where a target copies by itself what it can."""
    found: dict[Entry, list[TargetCopy]] = {}
    for entry in sorted(lacking, key=lambda entry: entry.size_bytes, reverse=True):
        crews = [whole.crew for whole in wholes if whole.crew in lacking[entry] and not whole.take(entry)]
        if crews:
            found[entry] = crews
    return found


def _deferred(crews: Sequence[TargetCopy]) -> dict[Entry, list[TargetCopy]]:
    """What was to be made of what a target had, and could not be; who was let go is served elsewhere."""
    found: dict[Entry, list[TargetCopy]] = {}
    for crew in crews:
        crew.wait_until(partial(_is_settled, crew))
        for entry in [] if crew.is_out or crew.is_let_go else crew.shelf.take_deferred():
            found.setdefault(entry, []).append(crew)
    return found


def _is_settled(crew: TargetCopy) -> bool:
    return crew.is_out or crew.is_let_go or not crew.lanes


def _refuse_wrong(crew: TargetCopy, found: Inspection) -> None:
    if found.wrong:
        path, fault = min(found.wrong.items())
        kind = Corrupt if found.sealed else Conflict
        raise kind(
            f"{crew.target.name}: {len(found.wrong)} files are there and wrong: {path}: {fault}",
            hint="nothing is written over it; remove those files there, then publish again",
        )
