"""Targets in memory that fail as they are told, and what a copy to them needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event, Lock

from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.parts import Part
from syncd.errors import SyncdError
from syncd.retry import Retry
from syncd.store.base import Buffer, PutMode, Receipt, Stat
from syncd.store.memory import MemoryStore, MemoryUpload
from syncd.targets.versioned_tree import TreeTarget
from syncd.transfer import CopyReport, CopySettings, Destination, Progress, copy
from syncd.values.source import Location, Stream

from tests.support.journals import MemoryJournal
from tests.support.sources import Files, content, manifest_of

PART = 64 << 10
SETTINGS = CopySettings(
    buffer_bytes=8 * PART, part_bytes=PART, files_in_flight=2, parts_in_flight=3, retry=Retry(3, 60, 0.001, 0.002)
)
FILES = {
    "a/large.bin": content("large", 7 * PART + 5),
    "b/exact.bin": content("exact", 2 * PART),
    "config.json": b"{}",
    "empty": b"",
    **{f"small/{n}": content(f"small{n}", 100 + n) for n in range(20)},
}
SIZE = sum(map(len, FILES.values()))
PARTS = 8 + 2 + 1 + 1 + 20
Step = Callable[[str, int], None]


class Faulty(MemoryStore):
    """Calls `before` with the verb and how often it has been called."""

    def __init__(self, before: Step = lambda verb, n: None) -> None:
        super().__init__()
        self.before = before
        self.counts: dict[str, int] = {}
        self.count_lock = Lock()

    def meet(self, verb: str) -> None:
        with self.count_lock:
            self.counts[verb] = self.counts.get(verb, 0) + 1
            n = self.counts[verb]
        self.before(verb, n)

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        self.meet("put")
        return super().put(key, data, mode)

    def upload(self, key: str, parts: tuple[Part, ...], resume: str | None = None) -> MemoryUpload:
        self.meet("upload")
        return FaultyUpload(self, key, parts, super().upload(key, parts, resume).token)


class FaultyUpload(MemoryUpload):
    def send(self, part: Part, data: Buffer, crc64: int) -> Receipt:
        store = self._store
        assert isinstance(store, Faulty)
        store.meet("send")
        return super().send(part, data, crc64)

    def copy(self, part: Part, source: str | Location, offset_bytes: int, crc64: int) -> Receipt:
        store = self._store
        assert isinstance(store, Faulty)
        store.meet("copy")
        return MemoryUpload(store, self._key, self._parts, self.token).copy(part, source, offset_bytes, crc64)

    def complete(self, crc64: int) -> Stat:
        store = self._store
        assert isinstance(store, Faulty)
        store.meet("complete")
        return super().complete(crc64)


class Bench:
    """Some targets in memory, and what a copy needs."""

    def __init__(self, files: Mapping[str, bytes], **stores: MemoryStore) -> None:
        self.manifest: Manifest = manifest_of(files)
        self.source = Files(files)
        self.stores = stores
        self.journals = {name: MemoryJournal() for name in stores}
        self.stop = Event()
        self.finished: dict[str, Callable[[], None]] = {}

    def copy(
        self, settings: CopySettings = SETTINGS, source: Callable[[Entry, int], Stream] | None = None
    ) -> CopyReport:
        destinations = [
            Destination(TreeTarget(name, store, settings.retry), self.journals[name], self.finished.get(name))
            for name, store in self.stores.items()
        ]
        self.progress = Progress(self.manifest, self.stores)
        read = source or self.source
        return copy(self.manifest, read, destinations, settings, progress=self.progress, stop=self.stop)

    def become(self, files: Mapping[str, bytes]) -> None:
        """The version is sealed everywhere; the next one has these files."""
        before, journals = self.manifest, self.journals
        for name, store in self.stores.items():
            TreeTarget(name, store).seal(before, journals[name])
        self.manifest, self.source = manifest_of(files), Files(files)
        self.journals = {name: MemoryJournal() for name in self.stores}
        for name, journal in self.journals.items():
            journal.holds = journals[name].told(before) + journals[name].holds

    def visible(self, name: str) -> dict[str, bytes]:
        prefix = self.manifest.directory + "/"
        objects = self.stores[name].objects
        return {key.removeprefix(prefix): held.data for key, held in objects.items() if key.startswith(prefix)}


def refusing(verb: str, error: SyncdError, *, since: int = 1, until: int = 1 << 30) -> Step:
    def before(called: str, n: int) -> None:
        if called == verb and since <= n <= until:
            raise error

    return before
