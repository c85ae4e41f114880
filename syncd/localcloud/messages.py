"""Requests and answers as values: what a handler is given and what it gives back."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LINE_BYTES_MAX = 16 * 1024  # a request line: a 1023-byte key, percent-encoded, and a presigned query
HEADERS_BYTES_MAX = 64 * 1024  # OSS takes 8 KiB of user metadata; FC puts whole payload hints in headers
_PIECE_BYTES = 256 * 1024


class BadRequestError(ValueError):
    """The bytes received are not a request this server accepts; `status` is what it is told."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Headers:
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


class _Source(Protocol):
    def readinto(self, view: memoryview, /) -> int | None: ...
    def readline(self, limit: int, /) -> bytes: ...


class Body:
    """A request's body, read once, front to back; for the one thread that handles the request.

    `length` is what Content-Length promised, None when the body comes in chunks. `received` counts the
    bytes read so far. Reading past a connection that ended early raises ConnectionError.
    """

    __slots__ = ("_chunked", "_corrupt_at", "_ended", "_first_read", "_left", "_source", "length", "received")

    def __init__(self, source: _Source, length: int | None, first_read: Callable[[], None] | None = None) -> None:
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
        """Flip the lowest bit of the byte at `offset` when it passes, as a bad cable would."""
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
        self._damage(view[:got])
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

    def _damage(self, view: memoryview) -> None:
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
                pass  # trailers mean nothing here
            self._ended = True

    def _finish_piece(self) -> None:
        if not self._chunked:
            self._ended = True
        elif self._source.readline(LINE_BYTES_MAX).strip():
            raise BadRequestError("chunk is longer than it said")


@dataclass(slots=True)
class Request:
    """One request. `path` is percent-encoded as it came; `query` is decoded, in order, '' without a value."""

    method: str
    target: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Headers
    body: Body


@dataclass(frozen=True, slots=True)
class FileBody:
    """Bytes of a file, sent by the kernel."""

    path: Path
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class WireFault:
    """What the connection does to one answer. `truncate_at` and `corrupt_at` count bytes of the body."""

    reset: bool = False
    truncate_at: int | None = None
    corrupt_at: int | None = None
    delay_s: float = 0.0
    bytes_per_s: int | None = None

    @property
    def alters_body(self) -> bool:
        return self.truncate_at is not None or self.corrupt_at is not None or self.bytes_per_s is not None


@dataclass(slots=True)
class Response:
    """One answer. A body of several pieces is sent in chunks unless the headers say Content-Length.

    A body with a `close` method is closed when the answer is over, however it ended.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: "bytes | FileBody | Iterable[bytes | FileBody]" = b""
    wire: WireFault | None = None


Handler = Callable[[Request], Response]


def pieces_of(response: Response) -> Iterator[bytes | FileBody]:
    """The body as pieces, whatever shape it has."""
    if isinstance(response.body, bytes | FileBody):
        yield response.body
    else:
        yield from response.body


def body_size(response: Response) -> int | None:
    """Bytes the body will have, None where only sending it can tell."""
    for name, value in response.headers:
        if name.lower() == "content-length":
            return int(value)
    if isinstance(response.body, bytes):
        return len(response.body)
    return response.body.size_bytes if isinstance(response.body, FileBody) else None
