"""Streaming decompression of gzip and zstd, with a limit on the output and a known memory use.

A zstd window larger than 32 MiB is refused: only `--ultra` and `--long` produce one. Several compressed pieces, one
after another, are one stream, as in both programs.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from syncd.errors import Corrupt, Invalid
from syncd.values.source import Stream

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd  # the same, from there

_PIECE_BYTES: Final = 1 << 18
_WINDOW_LOG_MAX: Final = 25  # 32 MiB for each open file


class _Decoder(Protocol):
    """One compressed piece. `rest` is the part of the input to pass again, or what follows the piece."""

    eof: bool
    rest: bytes

    def some(self, packed: bytes, most_bytes: int) -> bytes: ...


class _Gunzip:
    def __init__(self) -> None:
        self.eof = False
        self.rest = b""
        self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def some(self, packed: bytes, most_bytes: int) -> bytes:
        data = self._unpack.decompress(packed, most_bytes)
        self.eof = self._unpack.eof
        self.rest = self._unpack.unused_data.lstrip(b"\0") if self.eof else self._unpack.unconsumed_tail
        return data


class _Unzstd:
    def __init__(self) -> None:
        self.eof = False
        self.rest = b""
        self._unpack = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})

    def some(self, packed: bytes, most_bytes: int) -> bytes:
        data = self._unpack.decompress(packed, most_bytes)
        self.eof = self._unpack.eof
        self.rest = self._unpack.unused_data if self.eof else b""  # before the end it buffers its input itself
        return data


ENCODINGS: Final[Mapping[str, Callable[[], _Decoder]]] = {"gzip": _Gunzip, "zstd": _Unzstd}
"""By the suffix of a media type."""


class DecompressedStream:
    """A decompressed stream, to its end. See `registry.base.Stream`. For one thread."""

    def __init__(self, stream: Stream, packing: str, most_bytes: int, what: str) -> None:
        """`packing` is a key of `ENCODINGS`; `what` is the name in errors."""
        self._stream = stream
        self._packing = packing
        self._most_bytes = most_bytes
        self._what = what
        self._left_bytes = most_bytes
        self._piece = ENCODINGS[packing]()
        self._packed = b""
        self._is_within = False  # a piece has begun and not ended
        self._buffer = memoryview(bytearray(_PIECE_BYTES))

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`.

        Raises:
            Corrupt: It has another encoding, was cut off, or needs a larger window than allowed.
            Invalid: It decompresses to too much.
        """
        while not (data := self._some(len(buffer))):
            count = self._stream.readinto(self._buffer)
            if not count and self._is_within:
                raise Corrupt(f"{self._what} ends in the middle of the {self._packing} data")
            if not count:
                return 0
            self._packed += bytes(self._buffer[:count])
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise Invalid(f"{self._what} decompresses to more than {self._most_bytes} bytes")
        buffer[: len(data)] = data
        return len(data)

    def _some(self, most_bytes: int) -> bytes:
        """Output from the bytes at hand; empty if more input is needed."""
        while self._packed or self._is_within:
            self._is_within = True
            try:
                data = self._piece.some(self._packed, most_bytes)
            except (zlib.error, zstd.ZstdError) as error:
                raise Corrupt(f"{self._what} is not {self._packing}: {error}") from error
            self._packed = self._piece.rest
            if self._piece.eof:
                self._piece, self._is_within = ENCODINGS[self._packing](), False
            if data or not self._packed:
                return data
        return b""

    def __enter__(self) -> DecompressedStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.__exit__(*exc)
