"""Interpretation of HTTP responses: refusals, broken connections, compressed bodies, and the shape of JSON."""

from __future__ import annotations

import re
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from syncd.artifact.bounded_json import Row, parse_bounded
from syncd.errors import Failed, Invalid, NotFound, Refused, SyncdError, Unavailable

_PIECE_BYTES: Final = 1 << 20
_BUILDING: Final = threading.Lock()  # polls run at once, and share the memory that one document may take
_RESET: Final = re.compile(r"(?:^|[;,\s])t=(\d{1,6})")
_LATER: Final = frozenset({408, 425, 429})
UNREACHABLE_HINT: Final = "is it reachable from here? check the address in the registry's settings"


def printable(url: str) -> str:
    """An address for messages: without its query, which has signatures, and without a user."""
    try:
        parts = urlsplit(url)
        text = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        text = url.partition("?")[0].rpartition("@")[2]
    return repr(text if len(text) <= 200 else text[:197] + "...")


def join_url(base: str, address: str) -> str:
    """An address from a listing or a redirect, resolved against `base`.

    Raises:
        Invalid: It is not an address.
    """
    try:
        return urljoin(base, address)
    except ValueError as error:
        raise Invalid(f"{printable(address)} is not a URL: {error}") from error


@contextmanager
def translate_errors(url: str) -> Iterator[None]:
    """Translate what httpx raises, during the request and while reading."""
    try:
        yield
    except httpx.HTTPError as error:
        raise error_of_exception(url, error) from error
    except (httpx.InvalidURL, httpx.CookieConflict) as error:
        raise Invalid(f"{printable(url)}: {error}") from error
    except zlib.error as error:
        raise Unavailable(f"{printable(url)}: the compressed body is damaged: {error}") from error


def error_of_exception(url: str, error: httpx.HTTPError) -> SyncdError:
    """The syncd error for an exception of httpx."""
    reason = f"{printable(url)}: {type(error).__name__} {error}".rstrip()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Refused(reason, hint="its certificate is not trusted here; set SSL_CERT_FILE to trust others")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return Invalid(reason)
    return Unavailable(reason, hint=UNREACHABLE_HINT)


def error_of_status(url: str, status: int, headers: Mapping[str, str]) -> SyncdError:
    """The syncd error for a status that is not success."""
    reason = f"{printable(url)}: status {status}"
    if status in {404, 410}:
        return NotFound(reason)
    if status in {401, 403}:
        return Refused(reason, hint="check the registry's credentials and their permissions")
    if status in _LATER or status >= 500:
        return Unavailable(reason, hint=UNREACHABLE_HINT, retry_after_s=retry_after_s(headers))
    return Failed(reason, hint="the registry does not know this request: check its `kind`")


def retry_after_s(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """The delay that the registry requests: `Retry-After`, in seconds or as a date, or `RateLimit: …;t=55`."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text[:6])
    if text:
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - now())
        except (ValueError, OverflowError):  # a zone may be out of the range of times
            return None
    reset = _RESET.search(headers.get("ratelimit", ""))
    return float(reset[1]) + 1 if reset else None


def decompressed(response: httpx.Response) -> Iterator[bytes]:
    """The decompressed body in pieces of at most a megabyte each, whatever its compression ratio.

    Raises:
        Invalid: Its encoding was not requested and is unknown.
    """
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing == "identity" or response.request.method == "HEAD":
        yield from response.iter_raw()
        return
    if packing not in {"gzip", "x-gzip", "deflate"}:
        raise Invalid(f"{printable(str(response.url))}: expected a plain response, got encoding {packing[:40]!r}")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    for raw in response.iter_raw():
        rest = raw
        while rest and not unpack.eof:
            yield unpack.decompress(rest, _PIECE_BYTES)
            rest = unpack.unconsumed_tail
    if not unpack.eof:
        raise Unavailable(f"{printable(str(response.url))}: the compressed response was cut off")


def parse_json(body: bytes | Iterator[bytes], what: str, row: Callable[[Row], Any] = dict) -> Any:
    """A body as JSON, whole or in pieces; `row` as for `parse_bounded`. One at a time is built in a process.

    Raises:
        Invalid: It is nested too deeply, or would take too much memory.
        Unavailable: It is not JSON: another server answers there.
    """
    try:
        with _BUILDING:
            return parse_bounded((body,) if isinstance(body, bytes) else body, what, row=row)
    except ValueError as error:
        hint = "is this the registry, or a page of something in front of it?"
        raise Unavailable(f"{what}: the response is not JSON: {error}", hint=hint) from error


def object_at(value: object, what: str) -> Mapping[str, Any]:
    """Raises Invalid: `value` is not a JSON object."""
    if not isinstance(value, dict):
        raise Invalid(f"{what}: expected an object, got {_kind(value)}", hint="check the registry's `kind`")
    return value


def list_at(value: object, what: str, rows_max: int, hint: str = "") -> list[Any]:
    """Raises Invalid: `value` is not a JSON array, or has more than `rows_max` entries."""
    if not isinstance(value, list):
        raise Invalid(f"{what}: expected a list, got {_kind(value)}", hint="check the registry's `kind`")
    if len(value) > rows_max:
        raise Invalid(f"{what}: expected at most {rows_max} entries, got {len(value)}", hint=hint)
    return value


def text_at(row: Mapping[str, Any], key: str, what: str, default: str | None = None) -> str:
    """Raises Invalid: `key` has no text, and there is no default."""
    value = row.get(key, default)
    if not isinstance(value, str):
        raise Invalid(f"{what}: {key!r}: expected text, got {_kind(value)}")
    return value


def size_at(row: Mapping[str, Any], key: str, what: str) -> int:
    """Raises Invalid: `key` has no size in bytes."""
    value = row.get(key)
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Invalid(f"{what}: {key!r}: expected a size in bytes, got {server_message(value)}")
    return value


def server_message(value: object) -> str:
    """Foreign content for a message: the beginning of a text or a number, of anything else its type."""
    return str(value)[:60] if isinstance(value, str | int | float) else _kind(value)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
