"""Bodies of responses: held compressed, and those that were refused known again before they are read."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from syncd.errors import Invalid

PACKED_BYTES_MAX: Final = 16 << 20  # + 44 MiB that the JSON may make = 60 MiB; 160 bytes for each of 100 000 files
_PIECE_BYTES: Final = 1 << 16
_REFUSED_MAX: Final = 100  # addresses
_IDENTITY: Final = ("etag", "last-modified", "content-length", "content-encoding")


@dataclass(frozen=True, slots=True)
class PackedBody:
    """A whole body, compressed."""

    packed: bytes
    size_bytes: int

    @classmethod
    def of(cls, body: bytes) -> PackedBody:
        """A body that is in memory."""
        packer = BodyPacker()
        packer.add(body)
        return packer.end()

    def pieces(self) -> Iterator[bytes]:
        """The body in pieces of at most 64 KiB each."""
        unpack = zlib.decompressobj()
        for at in range(0, len(self.packed), _PIECE_BYTES):  # what is not consumed yet is copied at each piece
            yield unpack.decompress(unpack.unconsumed_tail + self.packed[at : at + _PIECE_BYTES], _PIECE_BYTES)
            while unpack.unconsumed_tail:
                yield unpack.decompress(unpack.unconsumed_tail, _PIECE_BYTES)
        while not unpack.eof:
            yield unpack.decompress(b"", _PIECE_BYTES)

    def sha256(self) -> str:
        """The digest of the body."""
        found = hashlib.sha256()
        for piece in self.pieces():
            found.update(piece)
        return found.hexdigest()


class BodyPacker:
    """Compresses a body as it arrives: listings shrink to a half or less. For one thread."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._packer = zlib.compressobj(level=1)
        self._packed = bytearray()

    @property
    def packed_bytes(self) -> int:
        return len(self._packed)

    def add(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        self._packed += self._packer.compress(piece)

    def end(self) -> PackedBody:
        self._packed += self._packer.flush()
        return PackedBody(bytes(self._packed), self.size_bytes)


class RefusedResponses:
    """Responses that were refused, by address and identity. Bounded; safe from several threads.

    The identity is in the headers, where there is an ETag or a date of change: the body of such a response is not even
    read again. Else it is the digest of the body, which is read, and nothing is made of it. What was fixed has another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: OrderedDict[str, tuple[tuple[str, ...], Invalid]] = OrderedDict()

    def check(self, url: str, headers: Mapping[str, str], body: PackedBody | None = None) -> None:
        """Check the headers, and the body once it was read. Raises Invalid: This very response was refused before."""
        with self._lock:
            identity, refusal = self._refused.get(url, ((), None))
        if refusal is not None and identity == _identity(headers, body):
            raise Invalid(refusal.message, hint=refusal.hint)

    def remember(self, url: str, headers: Mapping[str, str], refusal: Invalid, body: PackedBody | None = None) -> None:
        """Remember a refusal of what has these headers, and this body where it was read to its end."""
        identity = _identity(headers, body)
        if not identity:
            return
        with self._lock:
            self._refused[url] = identity, refusal
            self._refused.move_to_end(url)
            while len(self._refused) > _REFUSED_MAX:
                self._refused.popitem(last=False)


def _identity(headers: Mapping[str, str], body: PackedBody | None) -> tuple[str, ...]:
    found = tuple(headers.get(name, "") for name in _IDENTITY)
    if any(found[:2]):
        return found
    return (body.sha256(),) if body is not None else ()
