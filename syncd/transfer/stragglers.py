"""Stragglers: targets that the others would wait for. Each is detached and fed alone, from a finished target."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from threading import Event, Lock

from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, Corrupt, SyncdError
from syncd.logs import Logger
from syncd.transfer.sources.producer import FileResult, Producer
from syncd.transfer.targets.file_upload import FileUpload
from syncd.transfer.targets.target_copy import TargetCopy
from syncd.transfer.workers.worker_pool import CallWatch, WorkerPool
from syncd.values.source import Source

_POLL_S = 0.1
_log = Logger("syncd.transfer")


class Stragglers:
    """Context manager around the common read. Leaving it waits until every detached target is filled."""

    def __init__(
        self, producer: Producer, target_copies: Sequence[TargetCopy], source: Source, watch: CallWatch
    ) -> None:
        self.source_fault: Corrupt | None = None
        self._producer = producer
        self._target_copies = target_copies
        self._source = source
        self._watch = watch
        self._scope = watch.scope
        self._noting = Lock()
        self._is_over = Event()  # the common reading
        self._unreadable: set[tuple[TargetCopy, Entry]] = set()  # files that could not be read back there
        self._workers: list[tuple[TargetCopy, WorkerPool]] = []

    def __enter__(self) -> Stragglers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        for target_copy, workers in self._workers:
            workers.close(target_copy.scope.is_grace_over)

    def on_starved(self, waited_s: float) -> None:
        """The common read has waited for a buffer: note it for each target that holds some while another is idle."""
        with self._noting:
            target_copies = [
                target_copy
                for target_copy in self._target_copies
                if not target_copy.is_closed and not target_copy.is_detached
            ]
            holding = [target_copy for target_copy in target_copies if target_copy.queue.held_bytes]
            if not any(target_copy.pending and not target_copy.queue.held_bytes for target_copy in target_copies):
                return
            now_s = time.monotonic()
            for target_copy in [
                target_copy for target_copy in holding if target_copy.queue.note_stall(waited_s, now_s)
            ]:
                _log.info("target.detached", message="A slow target is detached; it is filled on its own.",
                          target=target_copy.target.name)  # fmt: skip
                workers = self._watch.workers(
                    f"feeding {target_copy.target.name}", 1, target_copy.scope, target_copy.fail
                )
                self._workers.append((target_copy, workers))
                workers.submit(partial(self._serve, target_copy))

    def _serve(self, target_copy: TargetCopy) -> None:
        while True:
            is_over = self._is_over.is_set()
            target_copy.wait_until(lambda: target_copy.is_closed or not target_copy.pending)
            deferred = target_copy.take_deferred()
            if target_copy.is_closed or (is_over and not deferred):
                return
            if not deferred:
                self._scope.wait(_POLL_S, self._is_over.is_set)
            for entry in deferred:
                self._bring(target_copy, entry)

    def _bring(self, target_copy: TargetCopy, entry: Entry) -> None:
        self._scope.wait(
            float("inf"),
            lambda: target_copy.is_closed or self._donor(target_copy, entry) is not None or not self._hope(entry),
        )
        if target_copy.is_closed:
            return
        donor = self._donor(target_copy, entry)
        upload = FileUpload(target_copy, self._producer.manifest, entry)
        read: FileResult | None = None
        try:
            upload.limit_bytes = self._room
            read = self._producer.run(entry, [upload], self._source_of(donor), counts=donor is None)
            if read is not None and (fault := read.fault(entry)):
                if donor is not None:
                    read = None
                    raise fault
                self.source_fault = fault
        except SyncdError as error:
            if not target_copy.is_closed:
                self._not_read(donor, entry, error)
        finally:
            if read is None:
                upload.drop()
            else:
                upload.end(read.sha256, read.crc64, read.blocks, read.leaves)

    def _source_of(self, donor: TargetCopy | None) -> Source:
        if donor is None:
            return self._source
        target, manifest = donor.target, self._producer.manifest
        return lambda entry, offset_bytes: target.open(manifest, entry, offset_bytes)

    def _room(self) -> int:
        """How much memory one detached target may hold: a share, and more only when the others are done."""
        stragglers = sum(target_copy.is_detached and not target_copy.is_closed for target_copy in self._target_copies)
        return (
            self._producer.limit_bytes // max(1, stragglers) if self._is_over.is_set() else self._producer.share_bytes
        )

    def _donor(self, target_copy: TargetCopy, entry: Entry) -> TargetCopy | None:
        """A target that has finished this file and has not failed to read it back."""
        for other in self._target_copies:
            if other is not target_copy and other.has(entry.path) and (other, entry) not in self._unreadable:
                return other
        return None

    def _hope(self, entry: Entry) -> bool:
        """Whether some target will finish this file from the common read."""
        return any(not c.is_closed and not c.is_detached and not c.has(entry.path) for c in self._target_copies)

    def _not_read(self, donor: TargetCopy | None, entry: Entry, error: SyncdError) -> None:
        if donor is None or isinstance(error, Cancelled):
            self._scope.cancel(error)
            return
        _log.warning(
            "target.read_back_failed",
            message="A finished file cannot be read back.",
            target=donor.target.name,
            path=entry.path,
            error=error.message,
        )
        self._unreadable.add((donor, entry))
