"""One file on its way into a tree: small ones are held and put whole, large ones are uploaded part by part."""

from __future__ import annotations

from syncd.artifact.digest import Digest
from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.manifest import Entry
from syncd.artifact.parts import Part
from syncd.errors import Conflict, Corrupt, NotFound
from syncd.store.base import Buffer, PutMode, Store, Upload
from syncd.target.base import Journal
from syncd.target.looks import checksum


class SmallWriter:
    """A file of one part. It is held, not copied, until its digest is known, and then put."""

    def __init__(self, store: Store, key: str, entry: Entry, journal: Journal) -> None:
        self._store = store
        self._key = key
        self._entry = entry
        self._journal = journal
        self._data: Buffer | None = None
        self._is_finished = False

    def has(self, part: Part, crc64: int) -> bool:  # noqa: ARG002 - there are no half-done small files
        return False

    def send(self, part: Part, data: Buffer, crc64: int) -> None:
        got = crc64_of(data)
        if got != crc64 or len(data) != part.size_bytes:
            raise Corrupt(f"{self._key}: {len(data)} bytes with crc64 {got:016x} came, {crc64:016x} was announced")
        self._data = data

    def finish(self, sha256: Digest, crc64: int) -> None:
        if self._is_finished:
            return
        _check(self._key, sha256, self._entry)
        if self._data is None:
            raise Corrupt(f"{self._key}: part 1 of 1 is missing")
        if crc64_of(self._data) != crc64:
            raise Corrupt(f"{self._key}: the bytes changed while they were held")
        self._store.put(self._key, self._data, PutMode.CREATE)
        self._journal.proven(self._entry.path, crc64)
        self._data = None
        self._is_finished = True

    def abandon(self) -> None:
        self._data = None


class LargeWriter:
    """A file of several parts, which the journal remembers until it is finished."""

    def __init__(self, upload: Upload, key: str, entry: Entry, journal: Journal) -> None:
        self._upload = upload
        self._key = key
        self._entry = entry
        self._journal = journal

    def has(self, part: Part, crc64: int) -> bool:
        return self._upload.has(part, crc64)

    def send(self, part: Part, data: Buffer, crc64: int) -> None:
        receipt = self._upload.send(part, data, crc64)
        if (receipt.size_bytes, receipt.crc64) != (part.size_bytes, crc64):
            raise Corrupt(
                f"{self._key} part {part.number}: the store holds {receipt.size_bytes} bytes with crc64 "
                f"{receipt.crc64:016x}, {part.size_bytes} with {crc64:016x} were sent"
            )

    def finish(self, sha256: Digest, crc64: int) -> None:
        try:
            _check(self._key, sha256, self._entry)
            # Before it is visible: a crash in between costs the next look one HEAD and not every byte. It is true
            # already, being about the content and not about the place.
            self._journal.proven(self._entry.path, crc64)
            self._upload.complete(crc64)
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

    def has(self, part: Part, crc64: int) -> bool:  # noqa: ARG002 - the whole is proven by `finish`
        return True

    def send(self, part: Part, data: Buffer, crc64: int) -> None:
        """Nothing has to be sent."""

    def finish(self, sha256: Digest, crc64: int) -> None:
        _check(self._key, sha256, self._entry)
        size_bytes, got = self._store.stat(self._key).size_bytes, checksum(self._store, self._key)
        if (size_bytes, got) != (self._entry.size_bytes, crc64):
            raise Conflict(
                f"{self._key}: {size_bytes} bytes with crc64 {got:016x} are there, "
                f"{self._entry.size_bytes} with {crc64:016x} were to be"
            )
        self._journal.proven(self._entry.path, crc64)
        self._journal.closed(self._entry.path)

    def abandon(self) -> None:
        """There is nothing to let go."""


def _check(key: str, got: Digest, entry: Entry) -> None:
    if got != entry.sha256:
        raise Corrupt(f"{key}: sha256 is {got}, the manifest says {entry.sha256}, after {entry.size_bytes} bytes")
