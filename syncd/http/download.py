"""One file's bytes as HTTP brings them: from where was asked, as many as were listed, of what was seen before."""

from __future__ import annotations

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
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_CHANGED_HINT: Final = "a published version must not be written again: give the new bytes a new version"


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """What a file must be. `identity` names these bytes where nothing else pins them: then an ETag must not change."""

    name: str
    size_bytes: int
    identity: str = ""


class EtagCache:
    """The ETag of each file when it was first read. Bounded; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, str] = OrderedDict()

    def range_headers(self, wanted: ExpectedFile, offset_bytes: int) -> Mapping[str, str]:
        """What to ask with for the rest of a file. With If-Range other bytes come whole, and say so."""
        if not offset_bytes:
            return {}
        with self._lock:
            etag = self._seen.get(wanted.identity, "")
        condition = {"If-Range": etag} if etag.startswith('"') and etag.isascii() else {}
        return {"Range": f"bytes={offset_bytes}-", **condition}

    def check(self, wanted: ExpectedFile, etag: str) -> None:
        """Raises Conflict: The file had another ETag before."""
        if not wanted.identity or not etag:
            return
        with self._lock:
            seen = self._seen.setdefault(wanted.identity, etag)
            while len(self._seen) > _ETAGS_MAX:
                self._seen.popitem(last=False)
        if seen != etag:
            raise Conflict(f"{wanted.name}: its ETag is {etag[:80]}, it was {seen[:80]}", hint=_CHANGED_HINT)


class HttpStream:
    """See `registry.base.Stream`. For one thread; ends at the listed size and not elsewhere."""

    def __init__(self, response: httpx.Response, wanted: ExpectedFile, offset_bytes: int, skip_bytes: int) -> None:
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw()
        self._wanted = wanted
        self._offset_bytes = offset_bytes - skip_bytes
        self._skip_bytes = skip_bytes
        self.skipped_bytes: Final = skip_bytes
        self._rest = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`.

        Raises:
            Corrupt: The file goes on past the size that was listed.
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
        self._response.close()

    def _refill(self) -> bool:
        with translate_errors(str(self._response.url)):
            piece = next(self._pieces, None)
        size_bytes = self._wanted.size_bytes
        if piece is None:
            if self._offset_bytes != size_bytes:
                raise Unavailable(
                    f"{self._wanted.name} ended after {self._offset_bytes} bytes, {size_bytes} were listed",
                    hint="the connection was cut, or the listing is wrong",
                )
            return False
        self._offset_bytes += len(piece)
        if self._offset_bytes > size_bytes:
            raise Corrupt(f"{self._wanted.name} has more than the {size_bytes} bytes that were listed")
        skipped = min(self._skip_bytes, len(piece))
        self._skip_bytes -= skipped
        self._rest = memoryview(piece)[skipped:]
        return True


def start(response: httpx.Response, wanted: ExpectedFile, offset_bytes: int, etags: EtagCache) -> HttpStream:
    """Hold what an answer says of itself against what is wanted. A 200 that is the whole file is skipped into.

    Raises:
        Conflict: It is a file of another size, or with another ETag than before.
        Corrupt: It is another range than was asked for.
        Invalid: It is packed, though plain bytes were asked for.
    """
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing != "identity":
        raise Invalid(
            f"{wanted.name}: {printable(str(response.url))} packs it with {packing[:40]!r}, plain was asked for"
        )
    etags.check(wanted, response.headers.get("etag", ""))
    length = response.headers.get("content-length", "")
    span = response.headers.get("content-range", "")
    if span or response.status_code == 206:  # ModelScope answers a range with 200 and Content-Range
        _check_span(wanted, offset_bytes, span)
        return HttpStream(response, wanted, offset_bytes, 0)
    if length.isdecimal() and int(length) != wanted.size_bytes:
        raise _other_size(wanted, int(length))
    return HttpStream(response, wanted, offset_bytes, offset_bytes)


def _check_span(wanted: ExpectedFile, offset_bytes: int, span: str) -> None:
    match = _RANGE.fullmatch(span)
    if match and match[3] != "*" and int(match[3]) != wanted.size_bytes:
        raise _other_size(wanted, int(match[3]))
    if not match or (int(match[1]), int(match[2])) != (offset_bytes, wanted.size_bytes - 1):
        raise Corrupt(
            f"{wanted.name}: the range is {span[:80]!r}, bytes {offset_bytes}-{wanted.size_bytes - 1} were asked for"
        )


def _other_size(wanted: ExpectedFile, size_bytes: int) -> Conflict:
    return Conflict(f"{wanted.name} has {size_bytes} bytes now, {wanted.size_bytes} were listed", hint=_CHANGED_HINT)


class EmptyStream:
    """The end of a file: nothing is asked for it. See `registry.base.Stream`."""

    def readinto(self, buffer: memoryview) -> int:
        """See `registry.base.Stream`."""
        del buffer
        return 0

    def __enter__(self) -> EmptyStream:
        return self

    def __exit__(self, *exc: object) -> None:
        pass
