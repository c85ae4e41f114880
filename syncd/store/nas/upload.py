"""Upload to NAS: parts at their offsets of one staged file."""

from __future__ import annotations

import os
from typing import Final

from syncd.artifact.digest import crc64 as crc64_of
from syncd.artifact.parts import Part
from syncd.errors import Conflict, Corrupt, Invalid, NotFound
from syncd.store.base import Buffer, PutMode, Receipt, Stat
from syncd.store.keys import parse_source
from syncd.store.nas import posix
from syncd.store.nas.tree import NasTree
from syncd.values.source import Location


class NasUpload:
    """See `syncd.store.base.Upload`. Parts are written at their offsets of one staged file."""

    def __init__(
        self, tree: NasTree, key: str, parts: tuple[Part, ...], token: str, mode: PutMode = PutMode.CREATE
    ) -> None:
        self._tree = tree
        self._key = key
        self._size_bytes = sum(part.size_bytes for part in parts)
        self._mode = mode
        self.token: Final = token

    def has(self, part: Part, crc64: int) -> bool:
        try:
            with self._tree.staged(self.token, self._key, os.O_RDONLY) as data:
                got = posix.crc64_of_region(data, part.offset_bytes, part.size_bytes)
        except NotFound:
            return False
        return got == (crc64, part.size_bytes)

    def send(self, part: Part, data: Buffer, crc64: int) -> Receipt:
        got = crc64_of(data)
        if got != crc64 or len(data) != part.size_bytes:
            raise Corrupt(
                f"{self._tree.url(self._key)} part {part.number}: {len(data)} bytes with crc64 {got:016x} are here, "
                f"{part.size_bytes} with {crc64:016x} were announced"
            )
        with self._tree.staged(self.token, self._key, os.O_WRONLY) as file:
            posix.write_region(file, part.offset_bytes, data)
        return Receipt(len(data), got)

    def copy(self, part: Part, source: str | Location, offset_bytes: int, crc64: int) -> Receipt:
        key = parse_source(source, self._tree.url(self._key))
        there = self._tree.stat(key).size_bytes
        if not 0 <= offset_bytes < offset_bytes + part.size_bytes <= there:
            raise Invalid(f"{self._tree.url(key)} has no {part.size_bytes} bytes from {offset_bytes} on, but {there}")
        with self._tree.open(key) as stream, self._tree.staged(self.token, self._key, os.O_RDWR) as data:
            posix.copy_region((stream.descriptor, offset_bytes), (data, part.offset_bytes), part.size_bytes)
            got = posix.crc64_of_region(data, part.offset_bytes, part.size_bytes)
        if got != (crc64, part.size_bytes):
            raise Corrupt(
                f"{self._tree.url(self._key)} part {part.number}: {got[1]} bytes with crc64 {got[0]:016x} came "
                f"from {self._tree.url(key)} at {offset_bytes}, {part.size_bytes} with {crc64:016x} were expected"
            )
        return Receipt(part.size_bytes, crc64)

    def complete(self, crc64: int) -> Stat:
        try:
            self._prove(crc64)
            self._tree.publish(self.token, self._key, self._mode)
        except (Conflict, NotFound):
            stat = self._settle(crc64)
        else:
            stat = self._tree.stat(self._key)
        self._tree.discard(self.token)
        return stat

    def abort(self) -> None:
        self._tree.discard(self.token)

    def _prove(self, crc64: int) -> None:
        """Have it on the server's disk, forget our own copy, and read what is there."""
        with self._tree.staged(self.token, self._key, os.O_RDWR) as data:
            os.fsync(data)
            os.posix_fadvise(data, 0, 0, os.POSIX_FADV_DONTNEED)
            got, read_bytes = posix.crc64_of_region(data, 0, os.fstat(data).st_size)
        if (got, read_bytes) != (crc64, self._size_bytes):
            raise Corrupt(
                f"{self._tree.url(self._key)}: {read_bytes} bytes with crc64 {got:016x} were read back, "
                f"{self._size_bytes} with {crc64:016x} were expected"
            )

    def _settle(self, crc64: int) -> Stat:
        """Something is at the key, or the upload is gone: reading says whether it is the same bytes."""
        try:
            found = self._tree.stat(self._key)
        except NotFound as error:
            raise NotFound(f"{self._tree.url(self._key)}: upload {self.token} is gone") from error
        with self._tree.open(self._key) as stream:
            got, read_bytes = posix.crc64_of_region(stream.descriptor, 0, found.size_bytes)
        if (got, read_bytes) != (crc64, self._size_bytes):
            raise Conflict(f"{self._tree.url(self._key)}: {read_bytes} other bytes are there already")
        return found
