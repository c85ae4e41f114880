"""Copies made by the store itself: whole objects, and parts of a multipart upload.

A copy reads the source's bytes and checksums them anew, so that a damaged source shows in the copy's CRC.
It never crosses regions.
"""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from syncd.localcloud.messages import Response
from syncd.localcloud.oss.answers import CRC_HEADER, quoted, xml_answer
from syncd.localcloud.oss.auth import iso_milliseconds
from syncd.localcloud.oss.blobs import PinnedPieces, PinnedSource
from syncd.localcloud.oss.call import Call
from syncd.localcloud.oss.errors import access_denied, invalid_argument
from syncd.localcloud.oss.multipart import keep_part, part_number, upload_of
from syncd.localcloud.oss.objects import check_conditions
from syncd.localcloud.oss.properties import (
    forbids_overwrite,
    header_tags,
    kept_headers,
    new_object,
    refuse_if_taken,
    storage_class,
)
from syncd.localcloud.oss.ranges import copy_range
from syncd.localcloud.oss.store import Store
from syncd.localcloud.oss.values import Kind, ObjectEntry, Stored


def copy_object(store: Store, call: Call) -> Response:
    bucket = store.bucket(call.bucket)
    source = _source(store, call)
    check_conditions(call, source, "x-oss-copy-source-")
    refuse_if_taken(store, call, "0026-00000011")
    entry = replace(
        _described(call, source),
        bucket=call.bucket,
        key=call.key,
        modified_s=call.now_s,
        storage_class=storage_class(call, bucket.storage_class),
        acl=new_object(call, bucket).acl,
    )
    if source.kind is not Kind.SYMLINK:  # the copy of a symlink is the link
        stored = _receive(store, call, source, (0, source.size_bytes))
        entry = replace(
            entry,
            kind=Kind.NORMAL,
            etag=stored.md5_hex.upper(),
            crc=stored.crc,
            pieces=(stored.piece,),
        )
    store.publish(entry, forbid_overwrite=forbids_overwrite(call))
    return _copy_answer("CopyObjectResult", call, entry.etag, {CRC_HEADER: str(entry.crc)})


def upload_part_copy(store: Store, call: Call) -> Response:
    number = part_number(call)
    upload_of(store, call)
    source = _source(store, call)
    check_conditions(call, source, "x-oss-copy-source-")
    stored = _receive(store, call, source, copy_range(call, source.size_bytes))
    keep_part(store, call, number, stored)
    # No CRC: the SDKs that name every header of an answer know none of this one. ListParts tells it.
    return _copy_answer("CopyPartResult", call, stored.md5_hex.upper(), {})


def _copy_answer(root: str, call: Call, etag: str, more: Mapping[str, str]) -> Response:
    # The ETag stands in the header too: clients that read a part copy like a part look there.
    headers = {"ETag": quoted(etag), **more}
    modified = iso_milliseconds(call.now_s)
    return xml_answer(root, [("LastModified", modified), ("ETag", quoted(etag))], headers=headers)


def _source(store: Store, call: Call) -> ObjectEntry:
    text = call.header("x-oss-copy-source")
    path, _, _version = text.partition("?")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    if not bucket or not key:
        raise invalid_argument("Copy Source must mention the source bucket and key.", "x-oss-copy-source", text)
    if store.buckets.get(bucket) is None and store.home_of(bucket) is not None:
        raise access_denied(
            "Target object does not reside in the same data center as source object.", "", SourceBucket=bucket
        )
    return store.object(bucket, key)


def _described(call: Call, source: ObjectEntry) -> ObjectEntry:
    """The source with the headers and tags that the copy is to have."""
    if call.header("x-oss-metadata-directive").upper() == "REPLACE":
        source = replace(source, headers=kept_headers(call))
    if call.header("x-oss-tagging-directive").upper() == "REPLACE":
        source = replace(source, tags=header_tags(call))
    return source


def _receive(store: Store, call: Call, source: ObjectEntry, run: tuple[int, int]) -> Stored:
    start, size_bytes = run
    with store.db.transaction():
        current = store.object(source.bucket, source.key)
        body = PinnedPieces(store.blobs, current.pieces, start, size_bytes)
    reader = PinnedSource(body)
    try:
        stored = store.blobs.receive(reader, size_bytes)
    finally:
        reader.close()
        body.close()
    call.copied_bytes = stored.size_bytes
    return stored
