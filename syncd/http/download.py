"""Resumable download. Checks offset, length and ETag of every response."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from syncd.errors import Conflict, Corrupt, Invalid, Unavailable
from syncd.http.responses import printable, translate_errors

_ETAGS_MAX: Final = 4096
_REDIRECTS_MAX: Final = 1000
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_CHANGED_HINT: Final = "a published version must not change: give the new bytes a new version"


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """A file as it must be. `identity` names its bytes where nothing else pins them: then its ETag must not change."""

    name: str
    size_bytes: int
    identity: str = ""


class EtagCache:
    """The ETag of each file when it was first read. Bounded; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, str] = OrderedDict()

    def range_headers(
        self, expected: ExpectedFile, offset_bytes: int, until_bytes: int | None = None
    ) -> Mapping[str, str]:
        """Headers for the rest of a file, or for a part. With If-Range changed bytes come whole, with status 200."""
        if not offset_bytes and until_bytes is None:
            return {}
        with self._lock:
            etag = self._seen.get(expected.identity, "")
        condition = {"If-Range": etag} if etag.startswith('"') and etag.isascii() else {}
        last = "" if until_bytes is None else str(until_bytes - 1)
        return {"Range": f"bytes={offset_bytes}-{last}", **condition}

    def check(self, expected: ExpectedFile, etag: str) -> None:
        """Raises Conflict: the file had another ETag before."""
        if not expected.identity or not etag:
            return
        with self._lock:
            seen = self._seen.setdefault(expected.identity, etag)
            while len(self._seen) > _ETAGS_MAX:
                self._seen.popitem(last=False)
        if seen != etag:
            raise Conflict(f"{expected.name}: its ETag was {seen[:80]} and is now {etag[:80]}", hint=_CHANGED_HINT)


class RedirectCache:
    """Where the parts of each file were redirected to. Bounded; safe from several threads.

    A hub redirects each request to a signed address that expires: it is used until it is refused, by several threads
    at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, httpx.URL] = OrderedDict()

    def find(self, url: str) -> httpx.URL | None:
        """Where it was redirected to."""
        with self._lock:
            return self._known.get(url)

    def remember(self, url: str, to: httpx.URL) -> None:
        """It is redirected there."""
        with self._lock:
            self._known[url] = to
            self._known.move_to_end(url)
            while len(self._known) > _REDIRECTS_MAX:
                self._known.popitem(last=False)

    def forget(self, url: str, refused: httpx.URL) -> None:
        """`refused` has expired, or does not answer. What another thread has learned since then stays."""
        with self._lock:
            if self._known.get(url) == refused:
                del self._known[url]


class HttpStream:
    """See `registry.base.Stream`. For one thread; ends exactly at the listed size, or where its part ends."""

    def __init__(
        self,
        response: httpx.Response,
        expected: ExpectedFile,
        offset_bytes: int,
        skip_bytes: int,
        until_bytes: int | None = None,
    ) -> None:
        self.until_bytes: Final = until_bytes
        self.host: Final = response.url.host
        self._end_bytes = expected.size_bytes if until_bytes is None else until_bytes
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw()
        self._expected = expected
        self._offset_bytes = offset_bytes - skip_bytes
        self._skip_bytes = skip_bytes
        self.skipped_bytes: Final = skip_bytes
        self._rest = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`.

        Raises:
            Corrupt: The file continues past the listed size.
        """
        while not self._rest:
            if not self._refill():
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def __enter__(self) -> HttpStream:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._offset_bytes == self._end_bytes:
            with contextlib.suppress(httpx.HTTPError):
                next(self._pieces, None)  # nothing but the end, without which the connection cannot be used again
        self._response.close()

    def _refill(self) -> bool:
        with translate_errors(str(self._response.url)):
            piece = next(self._pieces, None)
        if piece is None:
            if self._offset_bytes != self._end_bytes:
                raise Unavailable(
                    f"{self._expected.name} ended after {self._offset_bytes} bytes, expected {self._end_bytes}",
                    hint="the connection was cut, or the listing is wrong",
                )
            return False
        self._offset_bytes += len(piece)
        if self._offset_bytes > self._end_bytes:
            raise Corrupt(f"{self._expected.name} has more than the {self._expected.size_bytes} listed bytes")
        skipped = min(self._skip_bytes, len(piece))
        self._skip_bytes -= skipped
        self._rest = memoryview(piece)[skipped:]
        return True


def start(
    response: httpx.Response,
    expected: ExpectedFile,
    offset_bytes: int,
    etags: EtagCache,
    until_bytes: int | None = None,
) -> HttpStream:
    """Compare the response headers with the expected file. In a 200 with the whole file, skip to the offset.

    Where a part was requested, the server may have sent less of it, or all to the end of the file: the stream says so.

    Raises:
        Conflict: The file has another size, or another ETag than before.
        Corrupt: The response has another range than requested.
        Invalid: The response is compressed, although plain bytes were requested.
    """
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing != "identity":
        raise Invalid(
            f"{expected.name}: expected plain bytes from {printable(str(response.url))}, got encoding {packing[:40]!r}"
        )
    etags.check(expected, response.headers.get("etag", ""))
    length = response.headers.get("content-length", "")
    span = response.headers.get("content-range", "")
    if span or response.status_code == 206:  # ModelScope answers a range with 200 and Content-Range
        end_bytes = _checked_end(expected, offset_bytes, span, until_bytes)
        return HttpStream(response, expected, offset_bytes, 0, None if end_bytes == expected.size_bytes else end_bytes)
    if length.isdecimal() and int(length) != expected.size_bytes:
        raise _other_size(expected, int(length))
    return HttpStream(response, expected, offset_bytes, offset_bytes)


def _checked_end(expected: ExpectedFile, offset_bytes: int, span: str, until_bytes: int | None) -> int:
    """The offset where the response ends."""
    size_bytes = expected.size_bytes
    match = _RANGE.fullmatch(span)
    if match and match[3] != "*" and int(match[3]) != size_bytes:
        raise _other_size(expected, int(match[3]))
    if match and int(match[1]) == offset_bytes:
        end_bytes = int(match[2]) + 1
        if end_bytes == size_bytes or (until_bytes is not None and offset_bytes < end_bytes <= until_bytes):
            return end_bytes
    last = (size_bytes if until_bytes is None else until_bytes) - 1
    raise Corrupt(f"{expected.name}: expected the range {offset_bytes}-{last}, got {span[:80]!r}")


def _other_size(expected: ExpectedFile, size_bytes: int) -> Conflict:
    return Conflict(
        f"{expected.name}: expected {expected.size_bytes} bytes as listed, got {size_bytes}", hint=_CHANGED_HINT
    )


class EmptyStream:
    """The end of a file, without a request. See `registry.base.Stream`."""

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`."""
        del buffer
        return 0

    def __enter__(self) -> EmptyStream:
        return self

    def __exit__(self, *exc: object) -> None:
        pass
