"""A store in memory: for tests, and the shortest reading of what `Store` promises."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Final

from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.parts import Part
from syncd.errors import Conflict, Corrupt, Invalid, NotFound, SyncdError
from syncd.retry import CallPolicy, once
from syncd.store.base import Buffer, PendingUpload, Put, PutMode, Receipt, Stat, Traits, put_each
from syncd.store.keys import parse_key, parse_prefix, parse_source
from syncd.values.source import Location

TRAITS: Final = Traits(
    create_is_atomic=True,
    stat_has_crc64=True,
    needs_directory_markers=True,
    part_min_bytes=1,
    part_max_bytes=1 << 32,
    parts_max=10_000,
    puts_at_once=1,
)


@dataclass
class StoredObject:
    """What is visible under a key."""

    data: bytes
    modified_at: datetime


@dataclass
class PendingParts:
    """What is not visible yet."""

    key: str
    started_at: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


class MemoryStore:
    """Keeps everything in two dictionaries, `objects` and `uploads`, which tests may read and damage."""

    def __init__(self, traits: Traits = TRAITS) -> None:
        self.traits: Final = traits
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, PendingParts] = {}
        self.lock = Lock()

    def put(self, key: str, data: Buffer, mode: PutMode) -> Stat:
        parse_key(key)
        with self.lock:
            return self.publish(key, bytes(data), mode)

    def put_all(self, puts: Iterable[Put], mode: PutMode, at_once: int) -> Iterator[Stat | SyncdError]:  # noqa: ARG002 - one
        return put_each(self, puts, mode)

    def upload(self, key: str, parts: tuple[Part, ...], resume: str | None = None) -> MemoryUpload:
        parse_key(key)
        with self.lock:
            token = resume or secrets.token_hex(16)
            if resume is None and key in self.objects:
                raise Conflict(f"memory:{key}: {len(self.objects[key].data)} bytes are there already")
            if resume is None:
                self.uploads[token] = PendingParts(key, datetime.now(UTC))
            elif token not in self.uploads or self.uploads[token].key != key:
                raise NotFound(f"memory:{key}: upload {token} is gone")
        return MemoryUpload(self, key, parts, token)

    def open(self, key: str, offset_bytes: int = 0, until_bytes: int | None = None) -> MemoryStream:
        del until_bytes
        with self.lock:
            return MemoryStream(self._held(key).data, offset_bytes)

    def stat(self, key: str) -> Stat:
        with self.lock:
            return self._stat(key)

    def list(self, prefix: str, each: CallPolicy = once) -> Iterator[Stat]:
        parse_prefix(prefix)
        yield from each(lambda: self._listed(prefix))

    def pending(self, prefix: str, each: CallPolicy = once) -> Iterator[PendingUpload]:
        parse_prefix(prefix)
        yield from each(lambda: self._pending(prefix))

    def delete(self, key: str) -> None:
        parse_key(key)
        with self.lock:
            self.objects.pop(key, None)

    def check_room(self) -> None:
        """Memory is not a file system."""

    def publish(self, key: str, data: bytes, mode: PutMode) -> Stat:
        """Make an object visible; `lock` is held."""
        held = self.objects.get(key)
        if held is None or mode is PutMode.OVERWRITE:
            self.objects[key] = StoredObject(data, datetime.now(UTC))
        elif held.data != data:
            raise Conflict(f"memory:{key}: {len(held.data)} other bytes are there already")
        return self._stat(key)

    def _held(self, key: str) -> StoredObject:
        try:
            return self.objects[parse_key(key)]
        except KeyError as error:
            raise NotFound(f"memory:{key} is not there") from error

    def _listed(self, prefix: str) -> Sequence[Stat]:
        with self.lock:
            return [self._stat(key) for key in sorted(self.objects) if key.startswith(prefix)]

    def _pending(self, prefix: str) -> Sequence[PendingUpload]:
        with self.lock:
            begun = [(token, upload) for token, upload in self.uploads.items() if upload.key.startswith(prefix)]
            return [PendingUpload(upload.key, token, upload.started_at) for token, upload in begun]

    def _stat(self, key: str) -> Stat:
        held = self._held(key)
        return self.stat_of(key, held)

    def stat_of(self, key: str, held: StoredObject) -> Stat:
        """Metadata of an object."""
        crc64 = crc64_of(held.data) if self.traits.stat_has_crc64 else None
        return Stat(key, len(held.data), crc64, held.modified_at, "" if crc64 is None else f"tag of {crc64:016x}")


class MemoryUpload:
    """See `syncd.store.base.Upload`."""

    def __init__(self, store: MemoryStore, key: str, parts: tuple[Part, ...], token: str) -> None:
        self._store = store
        self._key = key
        self._parts = parts
        self.token: Final = token

    def has(self, part: Part, crc64: int) -> bool:
        with self._store.lock:
            begun = self._store.uploads.get(self.token)
            data = begun.parts.get(part.number) if begun else None
        return data is not None and len(data) == part.size_bytes and crc64_of(data) == crc64

    def send(self, part: Part, data: Buffer, crc64: int) -> Receipt:
        kept = bytes(data)
        got = crc64_of(kept)
        with self._store.lock:
            begun = self._store.uploads.get(self.token)
            if begun is None:
                raise NotFound(f"memory:{self._key}: upload {self.token} is gone")
            if got != crc64 or len(kept) != part.size_bytes:
                raise Corrupt(
                    f"memory:{self._key} part {part.number}: {len(kept)} bytes with crc64 {got:016x} arrived, "
                    f"{part.size_bytes} with {crc64:016x} were announced"
                )
            begun.parts[part.number] = kept
        return Receipt(len(kept), got)

    def copy(self, part: Part, source: str | Location, offset_bytes: int, crc64: int) -> Receipt:
        key = parse_source(source, f"memory:{self._key}")
        with self._store.open(key) as stream:
            whole = stream.rest
        if not 0 <= offset_bytes < offset_bytes + part.size_bytes <= len(whole):
            raise Invalid(f"memory:{key} has no {part.size_bytes} bytes from {offset_bytes} on, it has {len(whole)}")
        return self.send(part, whole[offset_bytes : offset_bytes + part.size_bytes], crc64)

    def complete(self, crc64: int) -> Stat:
        with self._store.lock:
            begun = self._store.uploads.get(self.token)
            if begun is None:
                return self._settle(crc64)
            missing = [part.number for part in self._parts if part.number not in begun.parts]
            if missing:
                raise Corrupt(f"memory:{self._key}: part {missing[0]} of {len(self._parts)} is missing")
            data = b"".join(begun.parts[part.number] for part in self._parts)
            if crc64_of(data) != crc64:
                raise Corrupt(f"memory:{self._key}: crc64 is {crc64_of(data):016x}, {crc64:016x} was expected")
            stat = self._store.publish(self._key, data, PutMode.CREATE)
            del self._store.uploads[self.token]
            return stat

    def abort(self) -> None:
        with self._store.lock:
            self._store.uploads.pop(self.token, None)

    def _settle(self, crc64: int) -> Stat:
        """The upload is gone: what is at the key says whether it was completed."""
        held = self._store.objects.get(self._key)
        if held is None:
            raise NotFound(f"memory:{self._key}: upload {self.token} is gone and nothing is at the key")
        if crc64_of(held.data) != crc64 or len(held.data) != sum(part.size_bytes for part in self._parts):
            raise Conflict(f"memory:{self._key}: other bytes are there")
        return self._store.stat_of(self._key, held)


class MemoryStream:
    """The bytes of one object as they were when it was opened."""

    def __init__(self, data: bytes, offset_bytes: int = 0) -> None:
        self.rest = memoryview(data)[offset_bytes:]

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count

    def __enter__(self) -> MemoryStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.rest = memoryview(b"")
