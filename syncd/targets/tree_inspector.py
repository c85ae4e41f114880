"""Inspection of a versioned tree: which files of a version are there, and what is wrong with which of them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.manifest import SEAL_PATH, Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.errors import NotFound, SyncdError, Unavailable
from syncd.logs import Logger
from syncd.serving.leaves import LEAVES_PATH
from syncd.store.base import Stat
from syncd.store.retrying import RetryingStore
from syncd.targets.base import Depth, Inspection, Journal
from syncd.targets.checksum_cache import ChecksumCache
from syncd.targets.verify import agreed, checksum, pieces, together
from syncd.targets.writers import key_of

_CHECKS_IN_FLIGHT: Final = 8  # × 1 MiB of buffer; checking one file is one round trip for most stores
_log = Logger()


@dataclass(frozen=True, slots=True)
class _Inspection:
    """How files are inspected. `known` are earlier answers of the store: see `ChecksumCache`."""

    depth: Depth
    journal: Journal
    known: Collection[int]
    proven: list[FilePath] = field(default_factory=list)  # files that are proven anew and need not be the next time


class TreeInspector:
    """Inspects the files of versions in one target. The seal is the target's own."""

    def __init__(self, name: str, patient: RetryingStore, receipts: ChecksumCache) -> None:
        """`receipts` holds earlier answers of the store, and gets new ones."""
        self.name: Final = name
        self._patient = patient
        self._receipts = receipts

    def files(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
        """What is there of the files, whatever is sealed."""
        how = _Inspection(depth, journal, self._receipts.of(manifest.directory))
        present, unknown = self._listed(manifest, how)

        def check(there: tuple[Entry, Stat]) -> str | None:
            return self._proven_fault(manifest, *there, how)

        try:
            checked = together(check, unknown, _CHECKS_IN_FLIGHT)
        except Unavailable as error:
            error.progressed = bool(how.proven)
            with contextlib.suppress(SyncdError):  # then those files are read once more, and the error stands
                how.journal.settle()
            raise
        faults = {entry.path: fault for (entry, _), fault in zip(unknown, checked, strict=True)}
        present.update(path for path, fault in faults.items() if fault == "")
        wrong = {path: fault for path, fault in faults.items() if fault}
        missing = frozenset(e.path for e in manifest.entries if e.path not in present and e.path not in wrong)
        return Inspection(sealed=False, present=frozenset(present - wrong.keys()), missing=missing, wrong=wrong)

    def fault_of(self, manifest: Manifest, entry: Entry, listed: Stat, depth: Depth, journal: Journal) -> str | None:
        """What is wrong with one file, whatever the store answered before; empty if nothing is, None if it vanished."""
        return self._proven_fault(manifest, entry, listed, _Inspection(depth, journal, ()))

    def _listed(self, manifest: Manifest, how: _Inspection) -> tuple[set[FilePath], list[tuple[Entry, Stat]]]:
        """The files that the store confirmed before, and the others that are there.

        The list is gone through once and not kept: of a version of a million files it would take the most memory.
        """
        prefix = f"{manifest.directory}/"
        entries = {entry.path: entry for entry in manifest.entries}
        confirmed, others, unknown = set[FilePath](), list[tuple[Entry, Stat]](), list[str]()
        for stat in self._patient.list(prefix):
            path = stat.key.removeprefix(prefix)
            entry = entries.get(FilePath(path))
            if entry is None:
                unknown += [] if path in {"", SEAL_PATH, LEAVES_PATH} else [path]
            elif self._is_confirmed(entry, stat, how):
                confirmed.add(entry.path)
            else:
                others.append((entry, stat))
        if unknown:  # harmless to readers, who go by the manifest
            _log.warning(
                "target.unknown_files",
                message="Files below a version are not in its manifest.",
                target=self.name,
                place=prefix,
                count=len(unknown),
                examples=sorted(unknown)[:5],
            )
        return confirmed, others

    def _is_confirmed(self, entry: Entry, listed: Stat, how: _Inspection) -> bool:
        """Whether the object that is listed is the one that the store confirmed, with the CRC of this very file."""
        if how.depth is not Depth.CHECKSUMS or not how.known or listed.size_bytes != entry.size_bytes:
            return False
        return self._receipts.is_in(how.known, listed, how.journal.crc64(entry.path))

    def _proven_fault(self, manifest: Manifest, entry: Entry, listed: Stat, how: _Inspection) -> str | None:
        """As `_fault`; a fault was seen twice, the second time by a request for this object alone."""
        stats = chain([listed], iter(partial(self._patient.stat, listed.key), None))
        try:
            return agreed(
                lambda: self._fault(manifest, entry, next(stats), how),
                lambda fault: not fault,
                f"{self.name}: {listed.key}",
            )
        except NotFound:
            return None

    def _fault(self, manifest: Manifest, entry: Entry, listed: Stat, how: _Inspection) -> str | None:
        """What is wrong with a file: got and want; empty if nothing is, None if it vanished meanwhile."""
        depth, journal = how.depth, how.journal
        if listed.size_bytes != entry.size_bytes:
            return f"{listed.size_bytes} bytes are there, the manifest says {entry.size_bytes}"
        if depth is Depth.SIZES:
            return ""
        want = journal.crc64(entry.path)
        try:
            if depth is Depth.BYTES or want is None:
                fault = self._bytes_fault(manifest, entry, journal)
                is_kept = want is None
            else:
                fault, is_kept = self._checksum_fault(manifest, entry, want)
        except NotFound:
            return None
        if is_kept and not fault:
            how.proven.append(entry.path)
        return fault

    def _checksum_fault(self, manifest: Manifest, entry: Entry, want: int) -> tuple[str, bool]:
        """What is wrong with a file, and whether that it is right is kept for the next time."""
        key = key_of(manifest, entry.path)
        found = checksum(self._patient, key)
        if found.crc64 != want:
            return f"crc64 is {found.crc64:016x}, when it was proven it was {want:016x}", False
        if found.stat is None:
            return "", False
        self._receipts.keep(manifest.directory, found.stat)
        return "", True

    def _bytes_fault(self, manifest: Manifest, entry: Entry, journal: Journal) -> str:
        hasher = hashlib.sha256()
        crc64 = read_bytes = 0
        for piece in pieces(self._patient, f"{manifest.directory}/{entry.path}", limit_bytes=entry.size_bytes + 1):
            hasher.update(piece)
            crc64, read_bytes = crc64_of(piece, crc64), read_bytes + len(piece)
        got = Digest(hasher.hexdigest())
        if got != entry.sha256:
            return f"sha256 is {got}, the manifest says {entry.sha256}, after {read_bytes} bytes"
        journal.proven(entry.path, crc64)
        return ""
