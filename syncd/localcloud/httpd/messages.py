"""HTTP requests and responses as values."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LINE_BYTES_MAX = 16 * 1024  # room for a percent-encoded key of 1023 bytes and a presigned query
HEADERS_BYTES_MAX = 64 * 1024  # OSS allows 8 KiB of user metadata
_PIECE_BYTES = 256 * 1024


class BadRequestError(ValueError):
    """The received bytes are no valid request. `status` is the HTTP status of the response."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class HeaderFields:
    """Header fields in wire order; names compare without case, `get` gives the first value."""

    __slots__ = ("_first", "_items")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items = tuple(items)
        self._first: dict[str, str] = {}
        for name, value in self._items:
            self._first.setdefault(name.lower(), value)

    def get(self, name: str, default: str = "") -> str:
        return self._first.get(name.lower(), default)

    def items(self) -> tuple[tuple[str, str], ...]:
        return self._items

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._first


class _ByteSource(Protocol):
    def readinto(self, view: memoryview, /) -> int | None: ...
    def readline(self, limit: int, /) -> bytes: ...


class Body:
    """A request body, read once and sequentially by the thread that handles the request.

    `length` is Content-Length, None for a chunked body. `received` counts the bytes read so far. Reading
    raises ConnectionError when the connection ends early.
    """

    __slots__ = ("_chunked", "_corrupt_at", "_ended", "_first_read", "_left", "_source", "length", "received")

    def __init__(self, source: _ByteSource, length: int | None, first_read: Callable[[], None] | None = None) -> None:
        self.length = length
        self.received = 0
        self._source = source
        self._chunked = length is None
        self._left = length or 0
        self._ended = length == 0
        self._first_read = first_read
        self._corrupt_at: int | None = None

    @classmethod
    def of(cls, data: bytes) -> "Body":
        """A body already in memory."""
        return cls(io.BytesIO(data), len(data))

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def untouched(self) -> bool:
        """Whether the client still waits for `100 Continue`."""
        return self._first_read is not None

    def corrupt(self, offset: int) -> None:
        """Flip the lowest bit of the byte at `offset` as it is read."""
        self._corrupt_at = offset

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the body or the current chunk goes; 0 means the end."""
        if self._first_read is not None:
            begin, self._first_read = self._first_read, None
            begin()
        if self._chunked and self._left == 0 and not self._ended:
            self._next_chunk()
        if self._ended or not view:
            return 0
        want = min(len(view), self._left)
        got = self._source.readinto(view[:want]) or 0
        if got == 0:
            raise ConnectionError(f"body ended after {self.received} bytes")
        self._flip_bit(view[:got])
        self.received += got
        self._left -= got
        if self._left == 0:
            self._finish_piece()
        return got

    def read(self, n: int = -1) -> bytes:
        """Up to `n` bytes, all that is left when negative; fewer only at the end."""
        pieces = io.BytesIO()
        buffer = memoryview(bytearray(_PIECE_BYTES if n < 0 else min(n, _PIECE_BYTES)))
        while n < 0 or pieces.tell() < n:
            room = len(buffer) if n < 0 else min(len(buffer), n - pieces.tell())
            got = self.readinto(buffer[:room])
            if got == 0:
                break
            pieces.write(buffer[:got])
        return pieces.getvalue()

    def _flip_bit(self, view: memoryview) -> None:
        if self._corrupt_at is None:
            return
        at = self._corrupt_at - self.received
        if 0 <= at < len(view):
            view[at] ^= 1

    def _next_chunk(self) -> None:
        line = self._source.readline(LINE_BYTES_MAX)
        if not line:
            raise ConnectionError(f"body ended after {self.received} bytes")
        size = line.split(b";", 1)[0].strip()
        if not size or any(c not in b"0123456789abcdefABCDEF" for c in size):
            raise BadRequestError("chunk size is not hexadecimal")
        self._left = int(size, 16)
        if self._left == 0:
            while self._source.readline(LINE_BYTES_MAX).strip():
                pass  # trailers are ignored
            self._ended = True

    def _finish_piece(self) -> None:
        if not self._chunked:
            self._ended = True
        elif self._source.readline(LINE_BYTES_MAX).strip():
            raise BadRequestError("chunk is longer than its size line")


@dataclass(slots=True)
class ServerRequest:
    """One request. `path` stays percent-encoded; `query` is decoded and in order, with '' for a missing value."""

    method: str
    target: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: HeaderFields
    body: Body


@dataclass(frozen=True, slots=True)
class FileBody:
    """Bytes of a file, sent with sendfile(2)."""

    path: Path
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class WireFault:
    """The faults of one response. `truncate_at` and `corrupt_at` are byte offsets in the body."""

    reset: bool = False
    truncate_at: int | None = None
    corrupt_at: int | None = None
    delay_s: float = 0.0
    bytes_per_s: int | None = None

    @property
    def alters_body(self) -> bool:
        return self.truncate_at is not None or self.corrupt_at is not None or self.bytes_per_s is not None


@dataclass(slots=True)
class ServerResponse:
    """One response. A body of several pieces is chunked unless the headers have Content-Length.

    A body with a `close` method is closed after the response, also after an error.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: "bytes | FileBody | Iterable[bytes | FileBody]" = b""
    wire: WireFault | None = None


Handler = Callable[[ServerRequest], ServerResponse]


def pieces_of(response: ServerResponse) -> Iterator[bytes | FileBody]:
    """The body as a sequence of pieces."""
    if isinstance(response.body, bytes | FileBody):
        yield response.body
    else:
        yield from response.body


def body_size(response: ServerResponse) -> int | None:
    """The size of the body in bytes; None when it is not known before sending."""
    for name, value in response.headers:
        if name.lower() == "content-length":
            return int(value)
    if isinstance(response.body, bytes):
        return len(response.body)
    return response.body.size_bytes if isinstance(response.body, FileBody) else None
