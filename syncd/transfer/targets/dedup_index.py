"""Deduplication index of one target: where it already has the bytes of a part or of a file.

Every entry is only a hint: a copied part is proven by the store's checksum of it, a file by its own. What is not
known, cannot be read or turns out wrong is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from typing import Final

from syncd.artifact import blocks
from syncd.artifact.blocks import COPY_BYTES_MIN, Block
from syncd.artifact.digest import Digest
from syncd.artifact.manifest import Entry
from syncd.artifact.names import FilePath
from syncd.errors import Corrupt, Invalid, NotFound, Refused, SyncdError
from syncd.logs import Logger
from syncd.targets.base import HeldRange, Journal, NearbyCopy, Origin
from syncd.values.source import Location

PARTS_MAX: Final = 20_000  # × 250 bytes = 5 MB for each target; of full parts they are 160 GB
UNCOPYABLE: Final = (NotFound, Refused, Corrupt, Invalid)  # what means that the bytes have to be sent
_log = Logger("syncd.transfer")


class DedupIndex:
    """Index of one target. Safe from several threads. Reads the journal at the first lookup."""

    def __init__(
        self, target: str, journal: Journal, nearby: Callable[[FilePath], Location | None] | None = None
    ) -> None:
        self._target = target
        self._nearby = nearby
        self._locations: dict[FilePath, Location | None] = {}
        self._journal = journal
        self._lock = Lock()
        self._is_loaded = False
        self._parts: dict[bytes, Origin] = {}
        self._files: dict[Digest, HeldRange] = {}
        self._forgotten: set[tuple[Digest, FilePath]] = set()
        self._closed: set[FilePath] = set()

    def has_origins(self, entry: Entry, *, is_alone: bool) -> bool:
        """Whether `find` can find anything for the parts of this file; a file of one part is alone in it."""
        if entry.path in self._closed:
            return False
        if not is_alone:
            self._load()
        if self._parts and not is_alone:
            return True
        return entry.size_bytes >= COPY_BYTES_MIN and self._location(entry.path) is not None

    def find(self, path: FilePath, block: Block) -> Origin | NearbyCopy | None:
        """Where the bytes of a part of this file can be copied from: the target, or the location of the source."""
        if path in self._closed:
            return None
        if block.fingerprint:
            self._load()
            origin = self._parts.get(block.fingerprint)
            if origin is not None and not self._is_forgotten(origin):
                return origin
        location = self._location(path) if block.size_bytes >= COPY_BYTES_MIN else None
        return None if location is None else NearbyCopy(location, block.offset_bytes)

    def whole(self, entry: Entry) -> HeldRange | None:
        """A file of the same content, if it is worth copying whole and there is what proves the copy."""
        if entry.size_bytes < COPY_BYTES_MIN or entry.path in self._closed:
            return None
        self._load()
        held = self._files.get(entry.sha256)
        is_sound = held is not None and held.crc64 is not None and not self._is_forgotten(held.origin)
        return held if is_sound else None

    def forget(self, origin: Origin | NearbyCopy, error: SyncdError) -> None:
        """Copy nothing more from an origin that failed. A refusal is taken for every file of the source."""
        if isinstance(origin, NearbyCopy):
            self._forget_nearby(origin.location, error)
            return
        with self._lock:
            is_new = not self._is_forgotten(origin)
            self._forgotten.add((origin.manifest.digest, origin.path))
        if is_new:
            what = f"{origin.manifest} {origin.path}"
            _log.warning("copy.origin_unusable", message="Bytes at the target cannot be copied there; they are sent.",
                         target=self._target, origin=what, error=error.message)  # fmt: skip

    def close(self, path: FilePath, error: SyncdError) -> None:
        """Copy no more parts of a file that was wrong."""
        with self._lock:
            self._closed.add(path)
        _log.warning("copy.result_wrong", message="A file made of copied parts is wrong; it is sent.",
                     target=self._target, path=path, error=error.message)  # fmt: skip

    def learn(self, sha256: Digest, found: Sequence[Block], leaves: bytes = b"") -> None:
        """Index the parts and leaf digests of a proven file for later versions. An error is logged and not raised."""
        if len(found) > 1:
            try:
                self._journal.learned(sha256, blocks.pack(found), leaves)
            except SyncdError as error:
                _log.warning("copy.index_not_saved", message="The parts of a file are not indexed for later versions.",
                             target=self._target, error=error.message)  # fmt: skip

    def _location(self, path: FilePath) -> Location | None:
        with self._lock:
            if self._nearby is None:
                return None
            if path not in self._locations:
                try:
                    self._locations[path] = self._nearby(path)
                except SyncdError as error:
                    self._locations[path] = None
                    _log.warning("copy.location_unknown", message="The source has no known location; it is sent.",
                                 target=self._target, path=path, error=error.message)  # fmt: skip
            return self._locations[path]

    def _forget_nearby(self, location: Location, error: SyncdError) -> None:
        with self._lock:
            if isinstance(error, Refused):
                is_new, self._nearby = self._nearby is not None, None
            else:
                paths = [path for path, known in self._locations.items() if known == location]
                is_new = bool(paths)
                self._locations.update(dict.fromkeys(paths))
        if is_new:
            what = f"oss://{location.bucket}/{location.key}"
            _log.warning("copy.source_unusable", message="The store cannot copy from the source; its bytes are sent.",
                         target=self._target, source=what, error=error.message)  # fmt: skip

    def _is_forgotten(self, origin: Origin) -> bool:
        return (origin.manifest.digest, origin.path) in self._forgotten

    def _load(self) -> None:
        with self._lock:
            if self._is_loaded:
                return
            self._is_loaded = True
            try:
                for held in self._journal.held(PARTS_MAX):
                    self._files.setdefault(held.sha256, held)
                    for block in blocks.unpack(held.blocks):
                        self._parts.setdefault(block.fingerprint, replace(held.origin, offset_bytes=block.offset_bytes))
            except SyncdError as error:
                _log.warning("copy.index_not_read", message="What the target has is unknown; all bytes are sent.",
                             target=self._target, error=error.message)  # fmt: skip
