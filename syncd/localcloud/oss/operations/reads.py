"""Operations that read objects: GetObject, HeadObject and GetObjectMeta, with conditions, ranges and gzip."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate, parsedate_to_datetime

from syncd.localcloud.httpd.messages import ServerResponse
from syncd.localcloud.oss.errors import OssError, precondition_failed
from syncd.localcloud.oss.protocol.ranges import requested_range
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.protocol.responses import CRC_HEADER, body_answer, object_headers, quoted
from syncd.localcloud.oss.storage.blobs import GzipBody, PinnedPieces
from syncd.localcloud.oss.storage.entries import ObjectEntry, ObjectType
from syncd.localcloud.oss.storage.region_store import RegionStore

GZIP_BYTES_MIN = 1024
# From the help page "How do I compress objects that I download from OSS in the GZIP format".
GZIP_TYPES = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/rss+xml",
        "application/x-javascript",
        "text/cache-manifest",
        "text/css",
        "text/html",
        "text/json",
        "text/plain",
        "text/xml",
    }
)
_NOT_OF_GZIP = frozenset({"etag", "accept-ranges", "content-length"})
_OVERRIDES = (
    "content-type",
    "content-language",
    "expires",
    "cache-control",
    "content-disposition",
    "content-encoding",
)
_Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Resolved:
    """An object to read. `content` has the bytes; it is another object only if `entry` is a symlink."""

    entry: ObjectEntry
    content: ObjectEntry

    @property
    def headers(self) -> _Pairs:
        return [*object_headers(self.entry, self.content)]


def _resolve(store: RegionStore, call: OssCall) -> _Resolved:
    """The object to read, with the target of a symlink.

    Of a symlink, size, ETag, MD5 and storage class are the target's, the time is the later of both, and all else is its
    own (help page of HeadObject).

    Raises:
        OssError: The object does not exist, or the symlink is dangling or points to a symlink.
    """
    entry = store.object(call.bucket, call.key)
    if entry.kind is not ObjectType.SYMLINK:
        return _Resolved(entry, entry)
    target = store.objects.get(call.bucket, entry.symlink_target)
    if target is None:
        raise OssError(
            404,
            "SymlinkTargetNotExist",
            "The symlink target object does not exist.",
            "0026-00000005",
            {"Key": entry.symlink_target},
        )
    if target.kind is ObjectType.SYMLINK:
        raise OssError(400, "InvalidTargetType", "The symbolic's target object type is invalid.", "0026-00000007")
    return _Resolved(entry, replace(target, modified_s=max(entry.modified_s, target.modified_s)))


def get_object(store: RegionStore, call: OssCall) -> ServerResponse:
    with store.db.transaction():
        found = _resolve(store, call)
        content = found.content
        check_conditions(call, content)
        if "Archive" in content.storage_class:
            raise OssError(
                403,
                "InvalidObjectState",
                "The operation is not valid for the object's state",
                "0026-00000010",
                {"ObjectName": call.key},
            )
        span = requested_range(call, content.size_bytes)
        start, size = span or (0, content.size_bytes)
        body = PinnedPieces(store.blobs, content.pieces, start, size)
    headers = _overridden(call, found.headers)
    if span is not None:
        # The CRC covers the whole object, so a partial response has none.
        content_range = f"bytes {start}-{start + size - 1}/{content.size_bytes}"
        return body_answer(206, [*headers, ("Content-Range", content_range)], size, body)
    headers.append((CRC_HEADER, str(content.crc)))
    if _is_compressed(call, headers, size):
        return ServerResponse(200, _compressed(headers), GzipBody(body))
    return body_answer(200, headers, size, body)


def _overridden(call: OssCall, headers: _Pairs) -> _Pairs:
    overrides = {name: call.args[f"response-{name}"] for name in _OVERRIDES if call.args.get(f"response-{name}")}
    kept = [(name, value) for name, value in headers if name.lower() not in overrides]
    return kept + [(name.title(), value) for name, value in overrides.items()]


def _is_compressed(call: OssCall, headers: _Pairs, size_bytes: int) -> bool:
    """Whether OSS compresses the response: the client accepts gzip, and the object is text of at least 1 KiB."""
    of = {name.lower(): value for name, value in headers}
    content_type = of.get("content-type", "").partition(";")[0].strip().lower()
    fitting = size_bytes >= GZIP_BYTES_MIN and content_type in GZIP_TYPES and "content-encoding" not in of
    return fitting and _accepts_gzip(call.header("accept-encoding")) and not call.header("range")


def _accepts_gzip(header: str) -> bool:
    for coding in header.lower().split(","):
        name, _, quality = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return quality.strip("0.") != "" or not quality
    return False


def _compressed(headers: _Pairs) -> _Pairs:
    """The headers of a compressed response, whose length and ETag OSS does not state."""
    kept = [(name, value) for name, value in headers if name.lower() not in _NOT_OF_GZIP]
    return [*kept, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]


def head_object(store: RegionStore, call: OssCall) -> ServerResponse:
    found = _resolve(store, call)
    content = found.content
    check_conditions(call, content)
    headers = [*found.headers, (CRC_HEADER, str(content.crc))]
    if _is_compressed(call, headers, content.size_bytes):
        no_length: Sequence[bytes] = ()
        return ServerResponse(200, _compressed(headers), no_length)
    return ServerResponse(200, [*headers, ("Content-Length", str(content.size_bytes))])


def get_object_meta(store: RegionStore, call: OssCall) -> ServerResponse:
    """ETag, size and time. Of a symlink they are its own, and the target is not needed (help page of GetObjectMeta)."""
    entry = store.object(call.bucket, call.key)
    headers = [
        ("ETag", quoted(entry.etag)),
        ("Last-Modified", formatdate(entry.modified_s, usegmt=True)),
    ]
    if entry.kind is not ObjectType.SYMLINK:
        headers.append((CRC_HEADER, str(entry.crc)))
    if call.request.method == "HEAD":
        headers.append(("Content-Length", str(entry.size_bytes)))
    return ServerResponse(200, headers)


def check_conditions(call: OssCall, entry: ObjectEntry, prefix: str = "") -> None:
    """Evaluate the conditional headers. `prefix` is `x-oss-copy-source-` for a copy.

    Raises:
        OssError: 412 when a condition fails, 304 when the object is not modified.
    """
    match = call.header(f"{prefix}if-match")
    unmodified = _instant(call.header(f"{prefix}if-unmodified-since"))
    if match and not _etag_in(match, entry.etag):
        raise precondition_failed("If-Match")
    if unmodified is not None and int(entry.modified_s) > unmodified:
        raise precondition_failed("If-Unmodified-Since")
    none_match = call.header(f"{prefix}if-none-match")
    modified = _instant(call.header(f"{prefix}if-modified-since"))
    same = bool(none_match) and _etag_in(none_match, entry.etag)
    not_newer = not none_match and modified is not None and int(entry.modified_s) <= modified
    if same or not_newer:
        raise OssError(304, "NotModified", "Not Modified", "0026-00000701")


def _etag_in(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag.upper() in [tag.strip().strip('"').upper() for tag in header.split(",")]


def _instant(text: str) -> float | None:
    if not text:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None  # OSS ignores an invalid date
