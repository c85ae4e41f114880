"""What the sink does with a body: reads it, checks it against all that the client claims of it, and drops it."""

import base64
import hashlib
import io
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastcrc import crc32 as fastcrc32
from syncd.localcloud.httpd.messages import Body, HeaderFields
from syncd.localcloud.oss.crc64 import crc64

_BUFFER_BYTES = 1 << 20
_KEPT_BYTES_MAX = 16 << 20
_own = threading.local()  # a buffer for each connection: they are served by a thread each


class WrongBytesError(Exception):
    """What arrived is not what the client said it sends."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A body that was read to its end. `kept` is empty unless it was asked for."""

    size_bytes: int
    crc64: int
    kept: bytes


class _Hasher(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Sum:
    """A checksum of zlib's shape, in the shape of hashlib's."""

    def __init__(self, step: Callable[[memoryview, int], int], size_bytes: int) -> None:
        self._step, self._size_bytes, self._value = step, size_bytes, 0

    def update(self, data: memoryview) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size_bytes, "big")


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text) if len(text) == 64 and set(text) <= set("0123456789abcdef") else b""


_Claim = tuple[str, Callable[[str], bytes], Callable[[], _Hasher]]
_CHEAP: tuple[_Claim, ...] = (
    ("x-amz-checksum-crc32", base64.b64decode, lambda: _Sum(zlib.crc32, 4)),
    ("x-amz-checksum-crc32c", base64.b64decode, lambda: _Sum(fastcrc32.iscsi, 4)),
)
_DEAR: tuple[_Claim, ...] = (
    ("content-md5", base64.b64decode, lambda: hashlib.md5(usedforsecurity=False)),
    ("x-amz-checksum-sha1", base64.b64decode, lambda: hashlib.sha1(usedforsecurity=False)),
    ("x-amz-checksum-sha256", base64.b64decode, hashlib.sha256),
    ("x-amz-content-sha256", _unhex, hashlib.sha256),
)


def take(body: Body, headers: HeaderFields, *, thorough: bool, keep: bool = False) -> Taken:
    """Read a body to its end. Its CRC64 is made always; MD5 and SHA are compared only when `thorough`.

    Raises:
        WrongBytesError: It is shorter or longer than announced, or a checksum is another.
    """
    claims = [
        (name, want, make())
        for name, read, make in _CHEAP + (_DEAR if thorough else ())
        if (want := _said(headers, name, read))
    ]
    source, announced = _unwrapped(body, headers)
    buffer = _buffer()
    kept = bytearray()
    crc = size_bytes = 0
    while got := source.readinto(buffer):
        piece = buffer[:got]
        crc = crc64(piece, crc)
        for _, _, hasher in claims:
            hasher.update(piece)
        size_bytes += got
        if keep and size_bytes <= _KEPT_BYTES_MAX:
            kept += piece
    if announced is not None and size_bytes != announced:
        raise WrongBytesError(f"{size_bytes} bytes came, {announced} were announced")
    for name, want, hasher in claims:
        if hasher.digest() != want:
            raise WrongBytesError(f"{name} of what came is {hasher.digest().hex()}, {want.hex()} was announced")
    return Taken(size_bytes, crc, bytes(kept))


def _said(headers: HeaderFields, name: str, read: Callable[[str], bytes]) -> bytes:
    text = headers.get(name)
    return read(text) if text else b""


def _buffer() -> memoryview:
    if not hasattr(_own, "buffer"):
        _own.buffer = memoryview(bytearray(_BUFFER_BYTES))
    buffer: memoryview = _own.buffer
    return buffer


def _unwrapped(body: Body, headers: HeaderFields) -> tuple[Body, int | None]:
    """The body itself, out of S3's own chunks if it came in such; a checksum in their trailer is not looked at."""
    if not headers.get("x-amz-content-sha256").startswith("STREAMING-"):
        return body, body.length
    announced = headers.get("x-amz-decoded-content-length")
    return Body(io.BufferedReader(_Raw(body), _BUFFER_BYTES), None), int(announced) if announced else None


class _Raw(io.RawIOBase):
    def __init__(self, body: Body) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # a wider buffer type
        return self._body.readinto(memoryview(buffer))
