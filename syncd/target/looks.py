"""Reading objects back: piece by piece, or as the checksum the store tells for free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from syncd.artifact.digest import crc64 as crc64_of
from syncd.store.base import Store

_READ_BYTES: Final = 1 << 20


def pieces(store: Store, key: str, limit_bytes: int | None = None) -> Iterator[memoryview]:
    """The bytes of an object, not many more than `limit_bytes`; each piece is good until the next one."""
    buffer = memoryview(bytearray(_READ_BYTES))
    read_bytes = 0
    with store.open(key) as stream:
        while limit_bytes is None or read_bytes < limit_bytes:
            count = stream.readinto(buffer)
            if not count:
                return
            read_bytes += count
            yield buffer[:count]


def checksum(store: Store, key: str) -> int:
    """The CRC-64 of an object: the store's own, or where it keeps none that of every byte read back.

    Raises:
        NotFound: It is not there.
    """
    crc64 = store.stat(key).crc64 if store.traits.stat_has_crc64 else None
    if crc64 is None:
        crc64 = 0
        for piece in pieces(store, key):
            crc64 = crc64_of(piece, crc64)
    return crc64
