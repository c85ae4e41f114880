"""From a ref in a registry to a pinned revision, and from that to its manifest."""

from __future__ import annotations

import hashlib
import threading
from typing import Final

from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry, Manifest
from syncd.artifact.names import ModelName
from syncd.errors import Cancelled, Corrupt
from syncd.reconcile.discovery.inspection import inspect
from syncd.registry.base import Registry
from syncd.registry.rules.file_filters import as_published
from syncd.state.content import versions
from syncd.state.state import State
from syncd.values.source import Revision, SourceFile
from syncd.watchdog import mark_progress

_CHUNK_BYTES: Final = 4 << 20


def pin(state: State, registry: Registry, model: ModelName, ref: str) -> Revision:
    """Pin what `ref` names now: of a version that was published before, the files that were taken then.

    Raises:
        What `Registry.resolve` does.
    """
    revision = registry.resolve(model, ref)
    with state.read() as conn:
        known = versions.find(conn, model, revision.version)
    return as_published(revision, known.pin if known else None)


def catalog(registry: Registry, model: ModelName, revision: Revision, stop: threading.Event) -> Manifest:
    """List what was pinned. Files for which the registry offers no SHA-256 are read once to make it.

    A version is its digest, and the digest is in every path: so it has to be known before the first byte moves.

    Raises:
        Cancelled: `stop` was set.
        Corrupt: A file is not as long as listed, or as it says itself.
        NotFound, Unavailable, Conflict, Invalid: As the registry's own methods say.
    """
    entries = [
        Entry(file.path, file.size_bytes, file.sha256 or _hash(registry, model, revision, file, stop))
        for file in inspect(registry, model, revision, stop).files
    ]
    return Manifest.of(model, revision.version, entries)


def _hash(registry: Registry, model: ModelName, revision: Revision, file: SourceFile, stop: threading.Event) -> Digest:
    sha = hashlib.sha256()
    buffer = memoryview(bytearray(min(_CHUNK_BYTES, max(1, file.size_bytes))))
    seen_bytes = 0
    with registry.open(model, revision, file.path) as stream:
        while n := stream.readinto(buffer):
            if stop.is_set():
                raise Cancelled(f"{file.path}: stopped while reading it")
            sha.update(buffer[:n])
            seen_bytes += n
            mark_progress()
    if seen_bytes != file.size_bytes:
        raise Corrupt(f"{file.path}: {seen_bytes} bytes were read, the listing says {file.size_bytes}")
    return Digest(sha.hexdigest())
