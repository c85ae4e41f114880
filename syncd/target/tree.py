"""A tree of files in a store: `models/<model>/<version>-<digest12>/…`, the same for OSS and for NAS.

The order of writes: files (each whole or absent), then directory markers where the store needs them, then the
seal. Removal goes the other way round.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Final

import structlog

from syncd.artifact.digest import Digest
from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.manifest import MODELS_DIRECTORY, SEAL_PATH, Entry, Manifest
from syncd.artifact.names import FilePath
from syncd.artifact.parts import Part, cut
from syncd.errors import Conflict, Corrupt, Invalid, NotFound
from syncd.registry.base import Stream
from syncd.store.base import PutMode, Stat, Store
from syncd.target.base import Depth, Inspection, Journal, Writer
from syncd.target.looks import checksum, pieces, together
from syncd.target.writers import LargeWriter, PresentWriter, SmallWriter, key_of

_LOOKS_IN_FLIGHT: Final = 8  # × 1 MiB of buffer; a look at one file is one round trip for most stores
_log = structlog.get_logger()


class TreeTarget:
    """See `syncd.target.base.Target`."""

    def __init__(self, name: str, store: Store) -> None:
        self.name: Final = name
        self._store = store

    def __repr__(self) -> str:
        return f"TreeTarget({self.name}, {self._store!r})"

    def inspect(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
        sealed = self._is_sealed(manifest)
        if depth is Depth.SEAL:
            return Inspection(sealed, frozenset(), frozenset())
        listed = self._listed(manifest)
        entries = [entry for entry in manifest.entries if entry.path in listed]

        def look(entry: Entry) -> str | None:
            return self._fault(manifest, entry, listed[entry.path], (depth, journal))

        found = together(look, entries, _LOOKS_IN_FLIGHT)
        faults = {entry.path: fault for entry, fault in zip(entries, found, strict=True)}
        present = frozenset(path for path, fault in faults.items() if fault == "")
        wrong = {path: fault for path, fault in faults.items() if fault}
        missing = frozenset(entry.path for entry in manifest.entries if faults.get(entry.path) is None)
        return Inspection(sealed, present, missing, wrong)

    def writer(self, manifest: Manifest, entry: Entry, parts: tuple[Part, ...], journal: Journal) -> Writer:
        key = key_of(manifest, entry.path)
        self._check_layout(entry, parts)
        if len(parts) == 1:
            return SmallWriter(self._store, key, entry, journal)
        token = journal.find(entry.path)
        if token is not None:
            with contextlib.suppress(NotFound):
                return LargeWriter(self._store.upload(key, parts, resume=token), key, entry, journal)
        try:
            upload = self._store.upload(key, parts)
        except Conflict:
            return PresentWriter(self._store, key, entry, journal)
        journal.opened(entry.path, upload.token)
        return LargeWriter(upload, key, entry, journal)

    def open(self, manifest: Manifest, entry: Entry, offset_bytes: int = 0) -> Stream:
        return self._store.open(key_of(manifest, entry.path), offset_bytes)

    def seal(self, manifest: Manifest, journal: Journal) -> None:
        found = self.inspect(manifest, Depth.CHECKSUMS, journal)
        if found.wrong:
            path, fault = min(found.wrong.items())
            raise Corrupt(f"{self.name}: {manifest} is not sealed, {len(found.wrong)} files are wrong: {path}: {fault}")
        if found.missing:
            raise NotFound(
                f"{self.name}: {manifest} is not sealed, {len(found.missing)} of {len(manifest.entries)} files are "
                f"missing: {min(found.missing)}"
            )
        journal.settle()
        self._end_uploads(manifest, journal)
        if self._store.traits.needs_directory_markers:
            for marker in _markers(manifest):
                with contextlib.suppress(Conflict):  # somebody's marker with content serves as well
                    self._store.put(marker, b"", PutMode.CREATE)
        self._store.put(_seal_key(manifest), manifest.canonical, PutMode.CREATE)

    def withdraw(self, manifest: Manifest, journal: Journal) -> None:
        self._store.delete(_seal_key(manifest))
        self._end_uploads(manifest, journal)
        marker = f"{manifest.directory}/"
        for stat in list(self._store.list(marker)):
            if stat.key != marker:
                self._store.delete(stat.key)
        if self._store.traits.needs_directory_markers:
            self._store.delete(marker)

    def _is_sealed(self, manifest: Manifest) -> bool:
        key = _seal_key(manifest)
        want = manifest.canonical
        try:
            got = b"".join(bytes(piece) for piece in pieces(self._store, key, limit_bytes=len(want) + 1))
        except NotFound:
            return False
        if got != want:
            raise Conflict(
                f"{self.name}: {key} seals {_described(got)}, this is {manifest} {manifest.digest.short}",
                hint="nobody but syncd may write here; look at who did; docs/recover.md says how to place it anew",
            )
        return True

    def _listed(self, manifest: Manifest) -> dict[str, Stat]:
        prefix = f"{manifest.directory}/"
        listed = {stat.key.removeprefix(prefix): stat for stat in self._store.list(prefix)}
        known = {entry.path for entry in manifest.entries}
        unknown = sorted(path for path in listed.keys() - known if path not in {"", SEAL_PATH})
        if unknown:  # harmless to readers, who go by the manifest
            _log.warning(
                "target.unknown_files", target=self.name, place=prefix, count=len(unknown), examples=unknown[:5]
            )
        return listed

    def _fault(self, manifest: Manifest, entry: Entry, listed: Stat, how: tuple[Depth, Journal]) -> str | None:
        """What is wrong with a file: got and want; empty if nothing is, None if it vanished meanwhile."""
        depth, journal = how
        if listed.size_bytes != entry.size_bytes:
            return f"{listed.size_bytes} bytes are there, the manifest says {entry.size_bytes}"
        if depth is Depth.SIZES:
            return ""
        want = journal.crc64(entry.path)
        try:
            if depth is Depth.BYTES or want is None:
                return self._bytes_fault(manifest, entry, journal)
            return self._checksum_fault(f"{manifest.directory}/{entry.path}", want)
        except NotFound:
            return None

    def _checksum_fault(self, key: str, want: int) -> str:
        got = checksum(self._store, key)
        return "" if got == want else f"crc64 is {got:016x}, when it was proven it was {want:016x}"

    def _bytes_fault(self, manifest: Manifest, entry: Entry, journal: Journal) -> str:
        hasher = hashlib.sha256()
        crc64 = read_bytes = 0
        for piece in pieces(self._store, f"{manifest.directory}/{entry.path}", limit_bytes=entry.size_bytes + 1):
            hasher.update(piece)
            crc64, read_bytes = crc64_of(piece, crc64), read_bytes + len(piece)
        got = Digest(hasher.hexdigest())
        if got != entry.sha256:
            return f"sha256 is {got}, the manifest says {entry.sha256}, after {read_bytes} bytes"
        journal.proven(entry.path, crc64)
        return ""

    def _check_layout(self, entry: Entry, parts: tuple[Part, ...]) -> None:
        traits = self._store.traits
        sizes = [part.size_bytes for part in parts]
        if sum(sizes) != entry.size_bytes or not parts:
            raise Invalid(f"{entry.path}: its parts are {sum(sizes)} bytes, the manifest says {entry.size_bytes}")
        small, large = min(sizes[:-1], default=traits.part_min_bytes), max(sizes)
        if small < traits.part_min_bytes or large > traits.part_max_bytes or len(parts) > traits.parts_max:
            raise Invalid(
                f"{self.name} takes at most {traits.parts_max} parts of {traits.part_min_bytes} to "
                f"{traits.part_max_bytes} bytes; {entry.path} is {len(parts)} parts of {small} to {large}"
            )

    def _end_uploads(self, manifest: Manifest, journal: Journal) -> None:
        """Abort what is half done below the version, ours and whoever's: nobody needs it any more."""
        for pending in list(self._store.pending(f"{manifest.directory}/")):
            with contextlib.suppress(NotFound):
                self._store.upload(pending.key, cut(0), resume=pending.token).abort()
        journal.forget()


def _seal_key(manifest: Manifest) -> str:
    return f"{manifest.directory}/{SEAL_PATH}"


def _markers(manifest: Manifest) -> Iterator[str]:
    """Every directory from the root that all models share down to the version: each of them can be mounted."""
    marker = f"{MODELS_DIRECTORY}/"
    yield marker
    for part in manifest.directory.split("/")[1:]:
        marker += f"{part}/"
        yield marker


def _described(data: bytes) -> str:
    try:
        other = Manifest.parse(data)
    except Invalid:
        return f"{len(data)} bytes that are no manifest"
    return f"{other} {other.digest.short}"
