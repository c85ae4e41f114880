"""Object operations: put, append, get, head, delete."""

import base64
import binascii
import hashlib
from dataclasses import replace
from email.utils import formatdate, parsedate_to_datetime

from syncd.localcloud.httpd.messages import HttpResponse
from syncd.localcloud.oss.crc64 import combine
from syncd.localcloud.oss.errors import (
    OssError,
    invalid_argument,
    invalid_digest,
    malformed_xml,
    precondition_failed,
)
from syncd.localcloud.oss.operations.object_metadata import forbids_overwrite, new_object, refuse_if_taken
from syncd.localcloud.oss.protocol.ranges import requested_range
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.protocol.responses import (
    CRC_HEADER,
    body_answer,
    empty_answer,
    object_headers,
    quoted,
    xml_answer,
)
from syncd.localcloud.oss.protocol.xml_documents import Node, encoded, parse
from syncd.localcloud.oss.storage.blobs import PinnedPieces
from syncd.localcloud.oss.storage.entries import ObjectEntry, ObjectType, StoredBlob
from syncd.localcloud.oss.storage.region_store import RegionStore

PUT_BYTES_MAX = 5 * 1024**3
DELETE_KEYS_MAX = 1000
_OVERRIDES = (
    "content-type",
    "content-language",
    "expires",
    "cache-control",
    "content-disposition",
    "content-encoding",
)


def receive(store: RegionStore, call: OssCall) -> StoredBlob:
    """Store the request body as a data file that no row references yet.

    Raises:
        OssError: The body is too large, has no length, or does not match Content-MD5.
    """
    request = call.request
    if "content-length" not in request.headers and request.body.length is not None:
        raise OssError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if (request.body.length or 0) > PUT_BYTES_MAX:
        raise OssError(
            400,
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed object size.",
            "0017-00000107",
        )
    stored = store.blobs.receive(request.body, request.body.length)
    expected = call.header("content-md5")
    if expected and not _same_digest(expected, stored.md5_hex):
        store.blobs.discard([stored.piece])
        raise invalid_digest()
    return stored


def _same_digest(content_md5: str, md5_hex: str) -> bool:
    try:
        return base64.b64decode(content_md5, validate=True).hex() == md5_hex
    except binascii.Error:
        return False


def stored_headers(stored: StoredBlob) -> dict[str, str]:
    """The response headers about the received bytes."""
    return {
        "ETag": quoted(stored.md5_hex.upper()),
        CRC_HEADER: str(stored.crc),
        "Content-MD5": base64.b64encode(bytes.fromhex(stored.md5_hex)).decode(),
    }


def put_object(store: RegionStore, call: OssCall) -> HttpResponse:
    bucket = store.bucket(call.bucket)
    template = new_object(call, bucket)
    refuse_if_taken(store, call, "0026-00000011")
    stored = receive(store, call)
    entry = replace(template, etag=stored.md5_hex.upper(), crc=stored.crc, pieces=(stored.piece,))
    store.publish(entry, forbid_overwrite=forbids_overwrite(call))
    return empty_answer(headers={**stored_headers(stored), "x-oss-object-type": ObjectType.NORMAL.value})


def append_object(store: RegionStore, call: OssCall) -> HttpResponse:
    bucket = store.bucket(call.bucket)
    position = call.args.get("position", "")
    if not position.isdigit():
        raise invalid_argument("The position is not a number.", "position", position)
    template = replace(new_object(call, bucket), kind=ObjectType.APPENDABLE)
    _refuse_position(store.objects.get(call.bucket, call.key), int(position))
    stored = receive(store, call)
    try:
        with store.db.transaction():
            store.bucket(call.bucket)
            old = store.objects.get(call.bucket, call.key)
            _refuse_position(old, int(position))
            entry = _appended(old or template, stored, call.now_s)
            store.objects.put(entry)
    except OssError:
        store.blobs.discard([stored.piece])
        raise
    headers = {
        "ETag": quoted(entry.etag),
        CRC_HEADER: str(entry.crc),
        "x-oss-next-append-position": str(entry.size_bytes),
        "x-oss-object-type": ObjectType.APPENDABLE.value,
    }
    return empty_answer(headers=headers)


def _refuse_position(old: ObjectEntry | None, position: int) -> None:
    if old is not None and old.kind is not ObjectType.APPENDABLE:
        raise OssError(409, "ObjectNotAppendable", "The object is not appendable", "0026-00000023")
    size = old.size_bytes if old else 0
    if position != size:
        error = OssError(409, "PositionNotEqualToLength", "Position is not equal to file length", "0026-00000016")
        error.headers["x-oss-next-append-position"] = str(size)
        raise error


def _appended(old: ObjectEntry, stored: StoredBlob, now_s: float) -> ObjectEntry:
    etag = hashlib.md5(f"{old.etag}{stored.md5_hex}".encode(), usedforsecurity=False).hexdigest().upper()
    return replace(
        old,
        etag=etag,
        crc=combine(old.crc, stored.crc, stored.size_bytes),
        modified_s=now_s,
        pieces=(*old.pieces, stored.piece),
    )


def resolve(store: RegionStore, call: OssCall) -> ObjectEntry:
    """The object to read: the target when the key is a symlink.

    Raises:
        OssError: The object does not exist, or the symlink is dangling or points to a symlink.
    """
    entry = store.object(call.bucket, call.key)
    if entry.kind is not ObjectType.SYMLINK:
        return entry
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
    return target


def get_object(store: RegionStore, call: OssCall) -> HttpResponse:
    with store.db.transaction():
        entry = resolve(store, call)
        check_conditions(call, entry)
        if "Archive" in entry.storage_class:
            raise OssError(
                403,
                "InvalidObjectState",
                "The operation is not valid for the object's state",
                "0026-00000010",
                {"ObjectName": call.key},
            )
        span = requested_range(call, entry.size_bytes)
        start, size = span or (0, entry.size_bytes)
        body = PinnedPieces(store.blobs, entry.pieces, start, size)
    headers = _overridden(call, list(object_headers(entry)))
    if span is None:
        return body_answer(200, [*headers, (CRC_HEADER, str(entry.crc))], size, body)
    # The CRC covers the whole object, so a partial response has none.
    content_range = f"bytes {start}-{start + size - 1}/{entry.size_bytes}"
    return body_answer(206, [*headers, ("Content-Range", content_range)], size, body)


def _overridden(call: OssCall, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    wanted = {name: call.args[f"response-{name}"] for name in _OVERRIDES if call.args.get(f"response-{name}")}
    kept = [(name, value) for name, value in headers if name.lower() not in wanted]
    return kept + [(name.title(), value) for name, value in wanted.items()]


def head_object(store: RegionStore, call: OssCall) -> HttpResponse:
    entry = resolve(store, call)
    check_conditions(call, entry)
    headers = [
        *object_headers(entry),
        (CRC_HEADER, str(entry.crc)),
        ("Content-Length", str(entry.size_bytes)),
    ]
    return HttpResponse(200, headers)


def get_object_meta(store: RegionStore, call: OssCall) -> HttpResponse:
    entry = resolve(store, call)
    headers = [
        ("ETag", quoted(entry.etag)),
        ("Last-Modified", formatdate(entry.modified_s, usegmt=True)),
        (CRC_HEADER, str(entry.crc)),
        ("Content-Length", str(entry.size_bytes)),
    ]
    if call.request.method == "GET":
        headers.pop()
    return HttpResponse(200, headers)


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
    except ValueError:
        return None  # OSS ignores an invalid date


def delete_object(store: RegionStore, call: OssCall) -> HttpResponse:
    store.bucket(call.bucket)
    store.remove(call.bucket, call.key)
    return empty_answer(204)


def delete_multiple_objects(store: RegionStore, call: OssCall) -> HttpResponse:
    store.bucket(call.bucket)
    document = parse(call, "Delete")
    keys = [node.findtext("Key") or "" for node in document.iter("Object")]
    if not 1 <= len(keys) <= DELETE_KEYS_MAX or not all(keys):
        raise malformed_xml()
    for key in keys:
        store.remove(call.bucket, key)
    quiet = (document.findtext("Quiet") or "").strip().lower() == "true"
    style = call.args.get("encoding-type", "")
    children: list[Node] = [("EncodingType", style)] if style else []
    if not quiet:
        children += [("Deleted", [("Key", encoded(key, style))]) for key in keys]
    return xml_answer("DeleteResult", children)
