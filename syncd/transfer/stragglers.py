"""Targets that the others would have to wait for: let go, and fed by themselves with what another target has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from threading import Event, Lock

from syncd.artifact.manifest import Entry
from syncd.errors import Cancelled, Corrupt, SyncdError
from syncd.logs import Logger
from syncd.transfer.sources.producer import FileResult, Producer
from syncd.transfer.sources.reader import Source
from syncd.transfer.targets.file_upload import FileUpload
from syncd.transfer.targets.target_copy import TargetCopy
from syncd.transfer.workers.worker_pool import CallWatch, WorkerPool

_LOOK_S = 0.1
_log = Logger("syncd.transfer")


class Stragglers:
    """A context manager around the common reading; leaving it waits until everybody late has been served."""

    def __init__(self, feed: Producer, crews: Sequence[TargetCopy], source: Source, watch: CallWatch) -> None:
        self.spoiled: Corrupt | None = None
        self._feed = feed
        self._crews = crews
        self._source = source
        self._watch = watch
        self._halt = watch.halt
        self._blaming = Lock()
        self._is_over = Event()  # the common reading
        self._distrusted: set[tuple[TargetCopy, Entry]] = set()  # what could not be read back there
        self._hands: list[tuple[TargetCopy, WorkerPool]] = []

    def __enter__(self) -> Stragglers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        for crew, hands in self._hands:
            hands.dismiss(crew.is_left)

    def starved(self, waited_s: float) -> None:
        """The common reading has waited for a buffer: whoever holds some while another has nothing to do is blamed."""
        with self._blaming:
            crews = [crew for crew in self._crews if not crew.is_out and not crew.is_let_go]
            holding = [crew for crew in crews if crew.loads.held_bytes]
            if not any(crew.lanes and not crew.loads.held_bytes for crew in crews):  # who waits for more
                return
            now_s = time.monotonic()
            for crew in [crew for crew in holding if crew.blame(waited_s, now_s)]:
                _log.info("target let go, the others wait for it", target=crew.target.name)
                hands = self._watch.hands(f"feeding {crew.target.name}", 1, partial(_is_out, crew), crew.fail)
                self._hands.append((crew, hands))
                hands.submit(partial(self._serve, crew))

    def _serve(self, crew: TargetCopy) -> None:
        while True:
            is_over = self._is_over.is_set()
            crew.wait_until(lambda: crew.is_out or not crew.lanes)
            deferred = crew.shelf.take_deferred()
            if crew.is_out or (is_over and not deferred):
                return
            if not deferred:
                self._halt.wait(_LOOK_S, self._is_over.is_set)
            for entry in deferred:
                self._bring(crew, entry)

    def _bring(self, crew: TargetCopy, entry: Entry) -> None:
        self._halt.wait(
            float("inf"), lambda: crew.is_out or self._donor(crew, entry) is not None or not self._hope(entry)
        )
        if crew.is_out:
            return
        donor = self._donor(crew, entry)
        lane = FileUpload(crew, self._feed.manifest, entry)
        fed: FileResult | None = None
        try:
            lane.limit_bytes = self._room
            fed = self._feed.run(entry, [lane], self._source_of(donor), counts=donor is None)
            if fed is not None and (fault := fed.fault(entry)):
                if donor is not None:
                    fed = None
                    raise fault
                self.spoiled = fault
        except SyncdError as error:
            if not crew.is_out:
                self._not_read(donor, entry, error)
        finally:
            if fed is None:
                lane.drop()
            else:
                lane.end(fed.sha256, fed.crc64, fed.blocks)

    def _source_of(self, donor: TargetCopy | None) -> Source:
        if donor is None:
            return self._source
        target, manifest = donor.target, self._feed.manifest
        return lambda entry, offset_bytes: target.open(manifest, entry, offset_bytes)

    def _room(self) -> int:
        """How much memory one late target may hold: a share, and more only when the others are done."""
        late = sum(crew.is_let_go and not crew.is_out for crew in self._crews)
        return self._feed.limit_bytes // max(1, late) if self._is_over.is_set() else self._feed.share_bytes

    def _donor(self, crew: TargetCopy, entry: Entry) -> TargetCopy | None:
        """Who has this file already and is not known to read it back badly."""
        for other in self._crews:
            if other is not crew and other.shelf.has(entry.path) and (other, entry) not in self._distrusted:
                return other
        return None

    def _hope(self, entry: Entry) -> bool:
        """Whether somebody is going to have this file without waiting for anybody."""
        return any(not c.is_out and not c.is_let_go and not c.shelf.has(entry.path) for c in self._crews)

    def _not_read(self, donor: TargetCopy | None, entry: Entry, error: SyncdError) -> None:
        if donor is None or isinstance(error, Cancelled):
            self._halt.trip(error)
            return
        _log.warning(
            "a finished file cannot be read back", target=donor.target.name, path=entry.path, error=error.message
        )
        self._distrusted.add((donor, entry))


def _is_out(crew: TargetCopy) -> bool:
    return crew.is_out
