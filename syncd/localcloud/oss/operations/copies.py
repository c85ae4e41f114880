"""Server-side copies: CopyObject and UploadPartCopy.

A copy reads and checksums the source's bytes again, so that a corrupt source shows in the copy's CRC.
Source and destination are in the same region.
"""

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import unquote

from syncd.localcloud.httpd.messages import ServerResponse
from syncd.localcloud.oss.errors import access_denied, invalid_argument, not_implemented
from syncd.localcloud.oss.operations.multipart import keep_part, part_number, upload_of
from syncd.localcloud.oss.operations.object_metadata import (
    encryption_headers,
    encryption_of,
    forbids_overwrite,
    header_tags,
    kept_headers,
    new_object,
    refuse_if_taken,
    storage_class,
)
from syncd.localcloud.oss.operations.reads import check_conditions
from syncd.localcloud.oss.protocol.ranges import copy_range
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.protocol.responses import CRC_HEADER, quoted, xml_answer
from syncd.localcloud.oss.protocol.signatures import iso_milliseconds
from syncd.localcloud.oss.storage.blobs import PinnedPieces, PinnedSource
from syncd.localcloud.oss.storage.entries import ObjectEntry, ObjectType, StoredBlob
from syncd.localcloud.oss.storage.region_store import RegionStore


def copy_object(store: RegionStore, call: OssCall) -> ServerResponse:
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
    if source.kind is not ObjectType.SYMLINK:  # the copy of a symlink is the link
        stored = _receive(store, call, source, (0, source.size_bytes))
        entry = replace(
            entry,
            kind=ObjectType.NORMAL,
            etag=stored.md5_hex.upper(),
            crc=stored.crc,
            pieces=(stored.piece,),
        )
    store.publish(entry, forbid_overwrite=forbids_overwrite(call))
    more = {CRC_HEADER: str(entry.crc), **encryption_of(entry.headers)}
    return _copy_answer("CopyObjectResult", call, entry.etag, more)


def upload_part_copy(store: RegionStore, call: OssCall) -> ServerResponse:
    number = part_number(call)
    upload = upload_of(store, call)
    source = _source(store, call)
    check_conditions(call, source, "x-oss-copy-source-")
    stored = _receive(store, call, source, copy_range(call, source.size_bytes))
    keep_part(store, call, number, stored)
    # No CRC: the documented response has none. ListParts reports it.
    return _copy_answer("CopyPartResult", call, stored.md5_hex.upper(), encryption_of(upload.headers))


def _copy_answer(root: str, call: OssCall, etag: str, more: Mapping[str, str]) -> ServerResponse:
    # The ETag is in the header too: oss2 reads the response of a part copy like that of a part.
    headers = {"ETag": quoted(etag), **more}
    modified = iso_milliseconds(call.now_s)
    return xml_answer(root, [("LastModified", modified), ("ETag", quoted(etag))], headers=headers)


def copy_source(call: OssCall) -> tuple[str, str]:
    """Bucket and key of the source.

    Raises:
        OssError: The header has no bucket or no key, or names a version of an object.
    """
    text = call.header("x-oss-copy-source")
    path, _, query = text.partition("?")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    if not bucket or not key:
        raise invalid_argument("Copy Source must mention the source bucket and key.", "x-oss-copy-source", text)
    if query not in ("", "versionId=null"):
        raise not_implemented(f"{call.operation} from one version of an object (versionId)")
    return bucket, key


def _source(store: RegionStore, call: OssCall) -> ObjectEntry:
    bucket, key = copy_source(call)
    if store.buckets.get(bucket) is None and store.home_of(bucket) is not None:
        raise access_denied(
            "Target object does not reside in the same data center as source object.", "", SourceBucket=bucket
        )
    return store.object(bucket, key)


def _described(call: OssCall, source: ObjectEntry) -> ObjectEntry:
    """The source entry with the headers and tags of the copy."""
    replaced = call.header("x-oss-metadata-directive").upper() == "REPLACE"
    headers = kept_headers(call) if replaced else source.headers
    plain = {name: value for name, value in headers.items() if name not in encryption_of(headers)}
    source = replace(source, headers=plain | encryption_headers(call))  # a copy does not inherit the encryption
    if call.header("x-oss-tagging-directive").upper() == "REPLACE":
        source = replace(source, tags=header_tags(call))
    return source


def _receive(store: RegionStore, call: OssCall, source: ObjectEntry, run: tuple[int, int]) -> StoredBlob:
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
