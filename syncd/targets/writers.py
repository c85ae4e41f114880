"""Writers of a tree: small files are held and put whole, large ones are uploaded part by part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.artifact.parts import Part
from syncd.errors import Conflict, Corrupt, NotFound
from syncd.store.base import Buffer, PutMode, Receipt, Stat, Store, Upload
from syncd.targets.base import Journal, NearbyCopy, Origin
from syncd.targets.verify import checksum

UploadProgress = Callable[[Stat], None]  # is called with what the store reports of a file that became visible


class SmallWriter:
    """A file of one part. It is held until its digest is known, and then put; or it is an upload of one copied part.

    Such an upload is not in the journal: it is begun again rather than resumed, and the seal ends what a crash left.
    """

    def __init__(self, store: Store, key: str, entry: Entry, journal: Journal, on_progress: UploadProgress) -> None:
        self._store = store
        self._key = key
        self._entry = entry
        self._journal = journal
        self._on_progress = on_progress
        self._data: Buffer | None = None
        self._upload: Upload | None = None
        self._present: PresentWriter | None = None
        self._is_finished = False

    @property
    def resumes(self) -> bool:
        return False

    def has(self, part: Part, crc64: int) -> bool:  # noqa: ARG002 - there are no half-done small files
        return False

    def send(self, part: Part, data: Buffer, crc64: int) -> None:
        got = crc64_of(data)
        if got != crc64 or len(data) != part.size_bytes:
            raise Corrupt(f"{self._key}: {len(data)} bytes with crc64 {got:016x} came, {crc64:016x} was announced")
        self._data = data

    def copy(self, part: Part, origin: Origin | NearbyCopy, crc64: int) -> None:
        if self._upload is None and self._present is None:
            try:
                self._upload = self._store.upload(self._key, (part,))
            except Conflict:  # something is at the final name: at the end it has to be the right one
                self._present = PresentWriter(self._store, self._key, self._entry, self._journal)
        if self._upload is not None:
            _copy(self._upload, part, origin, crc64)
        self._data = None

    def finish(self, sha256: Digest, crc64: int) -> None:
        if self._is_finished:
            return
        try:
            _check(self._key, sha256, self._entry)
            self._publish(sha256, crc64)
        except (Corrupt, Conflict):
            self._abort()
            raise
        self._journal.proven(self._entry.path, crc64)
        self._is_finished = True
        self.abandon()

    def abandon(self) -> None:
        self._data = None
        self._abort()

    def _publish(self, sha256: Digest, crc64: int) -> None:
        if self._data is not None:
            if crc64_of(self._data) != crc64:
                raise Corrupt(f"{self._key}: the bytes changed while they were held")
            self._on_progress(self._store.put(self._key, self._data, PutMode.CREATE))
        elif self._upload is not None:
            self._on_progress(self._upload.complete(crc64))
            self._upload = None
        elif self._present is not None:
            self._present.finish(sha256, crc64)
        else:
            raise Corrupt(f"{self._key}: part 1 of 1 is missing")

    def _abort(self) -> None:
        if self._upload is not None:
            self._upload.abort()
            self._upload = None


class LargeWriter:
    """A file of several parts, which the journal remembers until it is finished."""

    def __init__(
        self,
        upload: Upload,
        key: str,
        entry: Entry,
        journal: Journal,
        on_progress: UploadProgress,
        *,
        resumes: bool = False,
    ) -> None:
        self.resumes: Final = resumes
        self._upload = upload
        self._on_progress = on_progress
        self._key = key
        self._entry = entry
        self._journal = journal

    def has(self, part: Part, crc64: int) -> bool:
        return self._upload.has(part, crc64)

    def send(self, part: Part, data: Buffer, crc64: int) -> None:
        _check_receipt(self._key, part, self._upload.send(part, data, crc64), crc64)

    def copy(self, part: Part, origin: Origin | NearbyCopy, crc64: int) -> None:
        _copy(self._upload, part, origin, crc64)

    def finish(self, sha256: Digest, crc64: int) -> None:
        try:
            _check(self._key, sha256, self._entry)
            # Before it is visible: a crash in between costs the next inspection one HEAD and not every byte. It is true
            # already, being about the content and not about the place.
            self._journal.proven(self._entry.path, crc64)
            self._journal.settle()
            self._on_progress(self._upload.complete(crc64))
        except (Corrupt, Conflict):
            self._upload.abort()
            self._journal.closed(self._entry.path)
            raise
        except NotFound:
            self._journal.closed(self._entry.path)
            raise
        self._journal.closed(self._entry.path)

    def abandon(self) -> None:
        """The parts stay where they are, and the journal knows them."""


class PresentWriter:
    """A file that is at its final name already: nothing is sent, and at the end it has to be the right one."""

    def __init__(self, store: Store, key: str, entry: Entry, journal: Journal) -> None:
        self._store = store
        self._key = key
        self._entry = entry
        self._journal = journal

    @property
    def resumes(self) -> bool:
        return True

    def has(self, part: Part, crc64: int) -> bool:  # noqa: ARG002 - the whole is proven by `finish`
        return True

    def send(self, part: Part, data: Buffer, crc64: int) -> None:
        """Nothing has to be sent."""

    def copy(self, part: Part, origin: Origin | NearbyCopy, crc64: int) -> None:
        """Nothing has to be copied."""

    def finish(self, sha256: Digest, crc64: int) -> None:
        _check(self._key, sha256, self._entry)
        size_bytes, got = self._store.stat(self._key).size_bytes, checksum(self._store, self._key).crc64
        if (size_bytes, got) != (self._entry.size_bytes, crc64):
            raise Conflict(
                f"{self._key}: {size_bytes} bytes with crc64 {got:016x} are there, "
                f"{self._entry.size_bytes} with {crc64:016x} were expected"
            )
        self._journal.proven(self._entry.path, crc64)
        self._journal.closed(self._entry.path)

    def abandon(self) -> None:
        """There is nothing to release."""


def key_of(manifest: Manifest, path: FilePath) -> str:
    """The key of a file of a version in the store of a tree."""
    return f"{manifest.directory}/{path}"


def _copy(upload: Upload, part: Part, origin: Origin | NearbyCopy, crc64: int) -> None:
    source = origin.location if isinstance(origin, NearbyCopy) else key_of(origin.manifest, origin.path)
    _check_receipt(str(source), part, upload.copy(part, source, origin.offset_bytes, crc64), crc64)


def _check_receipt(key: str, part: Part, got: Receipt, crc64: int) -> None:
    if (got.size_bytes, got.crc64) != (part.size_bytes, crc64):
        raise Corrupt(
            f"{key} part {part.number}: the store holds {got.size_bytes} bytes with crc64 {got.crc64:016x}, "
            f"{part.size_bytes} with {crc64:016x} were expected"
        )


def _check(key: str, got: Digest, entry: Entry) -> None:
    if got != entry.sha256:
        raise Corrupt(f"{key}: sha256 is {got}, the manifest says {entry.sha256}, after {entry.size_bytes} bytes")
