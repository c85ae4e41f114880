"""Versioned tree of files in a store: `models/<model>/<version>-<digest12>/…`, the same for OSS and for NAS.

The order of writes: files (each whole or absent), then directory markers where the store needs them, then the
seal. Removal goes the other way round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from syncd import watchdog
from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.manifest import MODELS_DIRECTORY, SEAL_PATH, Entry, Manifest
from syncd.artifact.names import SEAL_DIRECTORY, FilePath
from syncd.artifact.parts import Part, cut
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, SyncdError
from syncd.logs import Logger
from syncd.retry import Pace, PacedCaller, Retry
from syncd.serving.leaves import LEAVES_FROM_BYTES, LEAVES_PATH, pack_leaves
from syncd.store.base import Put, PutMode, Store
from syncd.store.retrying import RetryingStore
from syncd.targets.base import Depth, Inspection, Journal, SmallFile, Writer
from syncd.targets.checksum_cache import ChecksumCache
from syncd.targets.tree_inspector import TreeInspector
from syncd.targets.verify import agreed, pieces
from syncd.targets.writers import LargeWriter, PresentWriter, SmallWriter, key_of
from syncd.values.source import Stream

_SEAL_BYTES_MAX: Final = 512 << 20  # of a million files with long names
_NOTE_BYTES_MAX: Final = 64 << 10
_log = Logger()


class TreeTarget:
    """See `syncd.targets.base.Target`."""

    def __init__(self, name: str, store: Store, policy: Retry | None = None) -> None:
        """`policy` is for what inspects, seals and withdraws. The calls of writers and `put_all` are made once."""
        self.name: Final = name
        self.pace: Final = Pace()
        self._store = store
        self._patient = RetryingStore(store, PacedCaller(policy or Retry(), self.pace, watchdog.wait))
        self._receipts = ChecksumCache()
        self._inspector = TreeInspector(name, self._patient, self._receipts)
        self._unanswered_seals: set[str] = set()  # their puts began here, and have not ended well

    def __repr__(self) -> str:
        return f"TreeTarget({self.name}, {self._store!r})"

    def inspect(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
        found = self._inspect(manifest, depth, journal)
        if found.sealed:  # kept over failed attempts only: the next time a sealed version is checked anew
            self._receipts.forget(manifest.directory)
        return found

    def examine(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
        foreign = self._foreign_seal(manifest)
        if not foreign:
            return self.inspect(manifest, depth, journal)
        files = self._inspector.files(manifest, depth, journal)
        return replace(files, foreign_seal=foreign)

    def writer(self, manifest: Manifest, entry: Entry, parts: tuple[Part, ...], journal: Journal) -> Writer:
        key = key_of(manifest, entry.path)
        on_progress = partial(self._receipts.keep, manifest.directory)
        self._check_layout(entry, parts)
        if len(parts) == 1:
            return SmallWriter(self._store, key, entry, journal, on_progress)
        token = journal.find(entry.path)
        if token is not None:
            with contextlib.suppress(NotFound):
                upload = self._store.upload(key, parts, resume=token)
                return LargeWriter(upload, key, entry, journal, on_progress, resumes=True)
        try:
            upload = self._store.upload(key, parts)
        except Conflict:
            return PresentWriter(self._store, key, entry, journal)
        journal.opened(entry.path, upload.token)
        return LargeWriter(upload, key, entry, journal, on_progress)

    @property
    def puts_at_once(self) -> int:
        return self._store.traits.puts_at_once

    def put_all(
        self, manifest: Manifest, files: Sequence[SmallFile], journal: Journal, at_once: int
    ) -> Iterator[SyncdError | None]:
        puts = [Put(key_of(manifest, file.entry.path), file.data) for file in files]
        for file, answer in zip(files, self._store.put_all(puts, PutMode.CREATE, at_once), strict=True):
            if isinstance(answer, SyncdError):
                yield answer
            elif crc64_of(file.data) != file.crc64:
                self._store.delete(answer.key)
                yield Corrupt(f"{answer.key}: the bytes changed while they were held; it is deleted again")
            else:
                self._receipts.keep(manifest.directory, answer)
                journal.proven(file.entry.path, file.crc64)
                yield None

    def remove_wrong(self, manifest: Manifest, wrong: Mapping[FilePath, str]) -> None:
        if self._is_sealed(manifest):
            raise Conflict(f"{self.name}: {manifest} is sealed, and none of its files is removed")
        for path, fault in sorted(wrong.items()):
            key = key_of(manifest, path)
            self._store.delete(key)
            _log.warning(
                "target.wrong_file_removed",
                message="A wrong file below a version that is not sealed is removed, to be written again.",
                target=self.name,
                key=key,
                fault=fault,
            )

    def remove_damaged(self, manifest: Manifest, path: FilePath, depth: Depth, journal: Journal) -> bool:
        key = key_of(manifest, path)
        entry = next(entry for entry in manifest.entries if entry.path == path)
        try:
            listed = self._patient.stat(key)
        except NotFound:
            return False
        fault = self._inspector.fault_of(manifest, entry, listed, depth, journal)
        if not fault:
            return False
        self._patient.delete(key)
        _log.warning(
            "target.damaged_file_removed",
            message="A damaged file of a version is removed, to be written again from a proven copy.",
            target=self.name,
            key=key,
            fault=fault,
        )
        return True

    def remove_foreign_seal(self, manifest: Manifest) -> None:
        foreign = self._foreign_seal(manifest)
        if not foreign:
            return
        key = _seal_key(manifest)
        self._patient.delete(key)
        _log.warning(
            "target.foreign_seal_removed",
            message="A seal of another content is removed, to be written again.",
            target=self.name,
            key=key,
            fault=f"it seals {foreign}",
        )

    def open(self, manifest: Manifest, entry: Entry, offset_bytes: int = 0) -> Stream:
        return self._store.open(key_of(manifest, entry.path), offset_bytes)

    def seal(self, manifest: Manifest, journal: Journal) -> None:
        """See `Target.seal`. For a file that this process has put, the store's answer to the put counts.

        It held the CRC of all that was stored, it was compared with ours, and the list shows the same object there
        still: its size, and a tag that other bytes would have changed. A request for that one file could tell no more.
        Every other file is checked by a request of its own, as is everything after a restart.
        """
        found = self._inspect(manifest, Depth.CHECKSUMS, journal)
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
                with contextlib.suppress(Conflict):  # a marker with content serves as well
                    self._patient.put(marker, b"", PutMode.CREATE)
        self._put_leaves(manifest, journal)
        key = _seal_key(manifest)
        self._unanswered_seals.add(key)
        try:
            self._patient.put(key, manifest.canonical, PutMode.CREATE)
        except Conflict:  # a put of ours whose answer was lost may have been damaged on its way
            if not self._is_sealed(manifest):
                self._patient.put(key, manifest.canonical, PutMode.CREATE)
        self._unanswered_seals.discard(key)
        self._receipts.forget(manifest.directory)

    def _put_leaves(self, manifest: Manifest, journal: Journal) -> None:
        """Write the leaf digests beside the seal, where those of every large file are known: all targets have the same.

        Without them readers hash each file from its start. They are no file of the version, and the seal does not wait
        for a damaged one: another there is replaced.
        """
        large = [entry for entry in manifest.entries if entry.size_bytes >= LEAVES_FROM_BYTES]
        known = journal.leaves() if large else {}
        if not large or any(entry.path not in known for entry in large):
            return
        key = f"{manifest.directory}/{LEAVES_PATH}"
        data = pack_leaves(manifest.digest.hex, {entry.path: known[entry.path] for entry in large})
        try:
            self._patient.put(key, data, PutMode.CREATE)
        except Conflict:
            if self._read(key, len(data)) != data:
                self._patient.delete(key)
                self._patient.put(key, data, PutMode.CREATE)

    def withdraw(self, manifest: Manifest, journal: Journal) -> None:
        self._receipts.forget(manifest.directory)
        self._patient.delete(_seal_key(manifest))
        self._end_uploads(manifest, journal)
        marker = f"{manifest.directory}/"
        for stat in list(self._patient.list(marker)):
            if stat.key != marker:
                self._patient.delete(stat.key)
        if self._store.traits.needs_directory_markers:
            self._patient.delete(marker)

    def sealed(self) -> Iterator[Manifest]:
        for stat in self._patient.list(f"{MODELS_DIRECTORY}/"):
            directory, found, rest = stat.key.partition(f"/{SEAL_PATH}")
            if not found or rest:
                continue
            try:
                read = partial(self._read, stat.key, _SEAL_BYTES_MAX)
                manifest = Manifest.parse(agreed(read, partial(_seals, directory), f"{self.name}: {stat.key}"))
            except (Invalid, NotFound) as error:
                _log.warning("target.seal_unreadable", target=self.name, key=stat.key, reason=str(error))
                continue
            if manifest.directory == directory:
                yield manifest

    def notes(self, directory: str) -> Iterator[tuple[str, bytes]]:
        prefix = f"{SEAL_DIRECTORY}/{directory}/"
        for stat in list(self._patient.list(prefix)):
            if stat.size_bytes <= _NOTE_BYTES_MAX and not stat.key.endswith("/"):
                with contextlib.suppress(NotFound):
                    yield stat.key.removeprefix(prefix), self._read(stat.key, _NOTE_BYTES_MAX)

    def put_note(self, directory: str, name: str, data: bytes) -> None:
        self._store.put(f"{SEAL_DIRECTORY}/{directory}/{name}", data, PutMode.CREATE)

    def delete_note(self, directory: str, name: str) -> None:
        self._store.delete(f"{SEAL_DIRECTORY}/{directory}/{name}")

    def check_room(self) -> None:
        self._store.check_room()

    def _read(self, key: str, limit_bytes: int) -> bytes:
        return b"".join(bytes(piece) for piece in pieces(self._patient, key, limit_bytes=limit_bytes + 1))

    def _inspect(self, manifest: Manifest, depth: Depth, journal: Journal) -> Inspection:
        sealed = self._is_sealed(manifest)
        if depth is Depth.SEAL:
            return Inspection(sealed, frozenset(), frozenset())
        return replace(self._inspector.files(manifest, depth, journal), sealed=sealed)

    def _is_sealed(self, manifest: Manifest) -> bool:
        key = _seal_key(manifest)
        want = manifest.canonical
        got = self._seal(manifest)
        if got is None:
            return False
        if got != want and key in self._unanswered_seals and not _seals(manifest.directory, got):
            self._patient.delete(key)  # ours: it was damaged on its way, and the answer was lost
            return False
        if got != want:
            raise self._sealed_by_another(manifest, got)
        return True

    def _foreign_seal(self, manifest: Manifest) -> str:
        """What the seal in this place seals instead of the version; "" where there is none, or the right one."""
        got = self._seal(manifest)
        if got is None or got == manifest.canonical:
            return ""
        if _seals(manifest.directory, got):
            raise self._sealed_by_another(manifest, got)
        return _described(got)

    def _seal(self, manifest: Manifest) -> bytes | None:
        """What is at the seal's key; wrong bytes were read twice."""
        key = _seal_key(manifest)
        want = manifest.canonical
        try:
            return agreed(lambda: self._read(key, len(want)), want.__eq__, f"{self.name}: {key}")
        except NotFound:
            return None

    def _sealed_by_another(self, manifest: Manifest, got: bytes) -> Conflict:
        return Conflict(
            f"{self.name}: {_seal_key(manifest)} seals {_described(got)}, this is {manifest} {manifest.digest.short}",
            hint="only syncd may write here: find the other writer, then: "
            f"syncd repair {manifest.model}@{manifest.version} --target {self.name}",
        )

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
        """Abort what is half done below the version, of any writer: nothing needs it any more."""
        for pending in list(self._patient.pending(f"{manifest.directory}/")):
            with contextlib.suppress(NotFound):
                self._patient.upload(pending.key, cut(0), resume=pending.token).abort()
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


def _seals(directory: str, data: bytes) -> bool:
    """Whether these bytes are the manifest of the version in this directory, whose name has a part of its digest."""
    try:
        return Manifest.parse(data).directory == directory
    except Invalid:
        return False


def _described(data: bytes) -> str:
    try:
        other = Manifest.parse(data)
    except Invalid:
        return f"{len(data)} bytes that are not a manifest"
    return f"{other} {other.digest.short}"
