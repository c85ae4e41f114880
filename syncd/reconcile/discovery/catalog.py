"""Resolution of a ref in a registry to a pinned revision, and of that to its manifest."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import FilePath, ModelName
from syncd.errors import Cancelled, Corrupt
from syncd.formats.check import check
from syncd.formats.contents import Contents
from syncd.formats.spans import Passing
from syncd.formats.version import misnamed_blobs
from syncd.reconcile.discovery.inspection import VersionInspection, inspect
from syncd.registry.base import Registry
from syncd.registry.rules.file_filters import as_published
from syncd.state.content import versions
from syncd.state.state import State
from syncd.values.source import Revision, SourceFile
from syncd.watchdog import mark_progress

_CHUNK_BYTES: Final = 4 << 20


def pin(state: State, registry: Registry, model: ModelName, ref: str) -> Revision:
    """Pin what `ref` names now. A version that was published before keeps the file filter it was published with.

    Raises:
        As `Registry.resolve`.
    """
    revision = registry.resolve(model, ref)
    with state.read() as conn:
        known = versions.find(conn, model, revision.version)
    return as_published(revision, known.pin if known else None)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The manifest of a version, and the results of its check.

    `unchecked` are files whose format could not be checked by ranges: check them while they are copied.
    """

    manifest: Manifest
    warnings: Sequence[str]
    unchecked: Sequence[FilePath]


def catalog(registry: Registry, model: ModelName, revision: Revision, stop: threading.Event) -> Manifest:
    """As `survey`, and read each unchecked file once to check it. Raises as `survey`."""
    found = survey(registry, model, revision, stop)
    paths, unchecked = {entry.path for entry in found.manifest.entries}, frozenset(found.unchecked)
    for entry in found.manifest.entries:
        if entry.path in unchecked:
            check_by_reading(registry, (model, revision), entry, paths, stop)
    return found.manifest


def survey(
    registry: Registry, model: ModelName, revision: Revision, stop: threading.Event, *, is_accepted: bool = False
) -> Catalog:
    """List and check a pinned revision. Files without a SHA-256 in the registry are read once to compute it.

    A version is its digest, and every path contains the digest: so it has to be known before the first byte moves.
    A version that `is_accepted` was checked before, and is only listed.

    Raises:
        Cancelled: `stop` was set.
        Corrupt: A file is not as long as listed, or as its own header says; or is not of the format of its name.
        Invalid: A file is missing that another one needs.
        NotFound, Unavailable, Conflict: As the registry's own methods say.
    """
    if is_accepted:
        found = VersionInspection(revision, registry.listing(model, revision), {})
    else:
        found = inspect(registry, model, revision, stop)
    paths = {file.path for file in found.files}
    unchecked = set(found.unchecked)
    entries = []
    for file in found.files:
        sha256 = file.sha256
        if sha256 is None:
            passing = _passing(file, paths) if file.path in unchecked else None
            sha256 = _hash(registry, (model, revision), file, passing, stop)
            unchecked.discard(file.path)
        entries.append(Entry(file.path, file.size_bytes, sha256))
    misnamed = misnamed_blobs({entry.path: entry.sha256.hex for entry in entries})
    if misnamed is not None:
        raise misnamed
    return Catalog(Manifest.of(model, revision.version, entries), found.warnings, sorted(unchecked))


def check_by_reading(
    registry: Registry,
    pinned: tuple[ModelName, Revision],
    file: SourceFile | Entry,
    paths: Collection[str],
    stop: threading.Event,
) -> None:
    """Read a file once, only to check it. Raises as `survey`."""
    _hash(registry, pinned, file, _passing(file, paths), stop)


def _passing(file: SourceFile | Entry, paths: Collection[str]) -> Passing[Contents]:
    return Passing(check(file.path, file.size_bytes, paths))


def _hash(
    registry: Registry,
    pinned: tuple[ModelName, Revision],
    file: SourceFile | Entry,
    passing: Passing[Contents] | None,
    stop: threading.Event,
) -> Digest:
    sha = hashlib.sha256()
    buffer = memoryview(bytearray(min(_CHUNK_BYTES, max(1, file.size_bytes))))
    seen_bytes = 0
    with registry.open(*pinned, file.path) as stream:
        while n := stream.readinto(buffer):
            if stop.is_set():
                raise Cancelled(f"{file.path}: stopped while reading it")
            sha.update(buffer[:n])
            if passing is not None:
                passing.add(buffer[:n])
            seen_bytes += n
            mark_progress()
    if seen_bytes != file.size_bytes:
        raise Corrupt(f"{file.path}: expected {file.size_bytes} bytes as listed, got {seen_bytes}")
    if passing is not None:
        passing.end()
    return Digest(sha.hexdigest())
