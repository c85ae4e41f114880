"""Operations that write objects: put, append, delete."""

import base64
import binascii
import hashlib
from dataclasses import replace

from syncd.localcloud.httpd.messages import ServerResponse
from syncd.localcloud.oss.crc64 import combine
from syncd.localcloud.oss.errors import (
    OssError,
    invalid_argument,
    invalid_digest,
    malformed_xml,
    not_implemented,
)
from syncd.localcloud.oss.operations.object_metadata import (
    encryption_of,
    forbids_overwrite,
    new_object,
    refuse_if_taken,
)
from syncd.localcloud.oss.protocol.request import OssCall, decimal
from syncd.localcloud.oss.protocol.responses import (
    CRC_HEADER,
    empty_answer,
    quoted,
    xml_answer,
)
from syncd.localcloud.oss.protocol.xml_documents import Node, encoded, parse
from syncd.localcloud.oss.storage.entries import ObjectEntry, ObjectType, StoredBlob
from syncd.localcloud.oss.storage.region_store import RegionStore

PUT_BYTES_MAX = 5 * 1024**3
DELETE_KEYS_MAX = 1000


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


def put_object(store: RegionStore, call: OssCall) -> ServerResponse:
    bucket = store.bucket(call.bucket)
    template = new_object(call, bucket)
    refuse_if_taken(store, call, "0026-00000011")
    stored = receive(store, call)
    entry = replace(template, etag=stored.md5_hex.upper(), crc=stored.crc, pieces=(stored.piece,))
    store.publish(entry, forbid_overwrite=forbids_overwrite(call))
    headers = {**stored_headers(stored), "x-oss-object-type": ObjectType.NORMAL.value, **encryption_of(entry.headers)}
    return empty_answer(headers=headers)


def append_object(store: RegionStore, call: OssCall) -> ServerResponse:
    """Append to an object. Metadata and tags are those of the first append.

    The ACL is that of the last append that names one (aliyun-oss-go-sdk `oss/bucket_test.go`, TestAppendObject).
    """
    bucket = store.bucket(call.bucket)
    position = decimal(call.args.get("position", ""))
    if position is None:
        raise invalid_argument("The position is not a number.", "position", call.args.get("position", ""))
    template = replace(new_object(call, bucket), kind=ObjectType.APPENDABLE)
    _refuse_position(store.objects.get(call.bucket, call.key), position)
    stored = receive(store, call)
    try:
        with store.db.transaction():
            store.bucket(call.bucket)
            old = store.objects.get(call.bucket, call.key)
            _refuse_position(old, position)
            entry = _appended(old or template, stored, call.now_s)
            if template.acl != "default":
                entry = replace(entry, acl=template.acl)
            store.objects.put(entry)
    except OssError:
        store.blobs.discard([stored.piece])
        raise
    headers = {
        "ETag": quoted(entry.etag),
        CRC_HEADER: str(entry.crc),
        "x-oss-next-append-position": str(entry.size_bytes),
        "x-oss-object-type": ObjectType.APPENDABLE.value,
        **encryption_of(entry.headers),
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


def delete_object(store: RegionStore, call: OssCall) -> ServerResponse:
    store.bucket(call.bucket)
    store.remove(call.bucket, call.key)
    return empty_answer(204)


def delete_multiple_objects(store: RegionStore, call: OssCall) -> ServerResponse:
    store.bucket(call.bucket)
    document = parse(call, "Delete")
    keys = [node.findtext("Key") or "" for node in document.iter("Object")]
    if not 1 <= len(keys) <= DELETE_KEYS_MAX or not all(keys):
        raise malformed_xml()
    if any((node.findtext("VersionId") or "null") != "null" for node in document.iter("Object")):
        raise not_implemented("DeleteMultipleObjects of versions of objects (VersionId)")
    for key in keys:
        store.remove(call.bucket, key)
    quiet = (document.findtext("Quiet") or "").strip().lower() == "true"
    style = call.args.get("encoding-type", "")
    children: list[Node] = [("EncodingType", style)] if style else []
    if not quiet:
        children += [("Deleted", [("Key", encoded(key, style))]) for key in keys]
    return xml_answer("DeleteResult", children)
