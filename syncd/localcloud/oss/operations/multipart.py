"""Multipart uploads: initiate, upload parts, complete, abort, and list.

Completing moves no bytes: the parts' data files become the object's pieces, and their CRCs are combined.
"""

import hashlib
import uuid
from dataclasses import dataclass
from functools import reduce

from syncd.localcloud.httpd.messages import ServerResponse
from syncd.localcloud.oss.crc64 import combine
from syncd.localcloud.oss.errors import (
    OssError,
    invalid_argument,
    malformed_xml,
    no_such_upload,
)
from syncd.localcloud.oss.operations.object_metadata import (
    encryption_of,
    forbids_overwrite,
    new_object,
    refuse_if_taken,
)
from syncd.localcloud.oss.operations.objects import receive, stored_headers
from syncd.localcloud.oss.operations.paging import Marker, page_through
from syncd.localcloud.oss.protocol.request import OssCall, decimal
from syncd.localcloud.oss.protocol.responses import CRC_HEADER, empty_answer, quoted, xml_answer
from syncd.localcloud.oss.protocol.signatures import iso_milliseconds
from syncd.localcloud.oss.protocol.xml_documents import Node, encoded, parse
from syncd.localcloud.oss.storage.entries import BlobPiece, ObjectEntry, ObjectType, PartEntry, StoredBlob, UploadEntry
from syncd.localcloud.oss.storage.region_store import RegionStore

PART_NUMBER_MAX = 10_000
PART_BYTES_MIN = 100 * 1024  # except the last part; checked on completion, as OSS does
PAGE_MAX = 1000
_EC_TAKEN_ON_INITIATE = "0042-00000213"
_EC_TAKEN_ON_COMPLETE = "0042-00000214"


def initiate(store: RegionStore, call: OssCall) -> ServerResponse:
    template = new_object(call, store.bucket(call.bucket))
    refuse_if_taken(store, call, _EC_TAKEN_ON_INITIATE)
    upload = UploadEntry(
        upload_id=uuid.uuid4().hex.upper(),
        bucket=call.bucket,
        key=call.key,
        initiated_s=call.now_s,
        storage_class=template.storage_class,
        acl=template.acl,
        headers=template.headers,
        tags=template.tags,
    )
    store.uploads.put(upload)
    style = call.args.get("encoding-type", "")
    children: list[Node] = [("EncodingType", style)] if style else []
    children += [
        ("Bucket", call.bucket),
        ("Key", encoded(call.key, style)),
        ("UploadId", upload.upload_id),
    ]
    return xml_answer("InitiateMultipartUploadResult", children, headers=encryption_of(upload.headers))


def upload_of(store: RegionStore, call: OssCall) -> UploadEntry:
    """The upload of a request.

    Raises:
        OssError: The upload does not exist, is completed or aborted, or belongs to another key.
    """
    upload_id = call.args["uploadId"]
    upload = store.uploads.get(upload_id, call.bucket, call.key)
    if upload is None:
        store.bucket(call.bucket)
        raise no_such_upload(upload_id)
    return upload


def part_number(call: OssCall) -> int:
    """The part number of a request.

    Raises:
        OssError: The number is invalid.
    """
    text = call.args.get("partNumber", "")
    number = decimal(text)
    if number is None or not 1 <= number <= PART_NUMBER_MAX:
        message = "Part number must be an integer between 1 and 10000, inclusive."
        raise invalid_argument(message, "partNumber", text, "0042-00000101")
    return number


def upload_part(store: RegionStore, call: OssCall) -> ServerResponse:
    number = part_number(call)
    upload = upload_of(store, call)
    stored = receive(store, call)
    keep_part(store, call, number, stored)
    return empty_answer(headers=stored_headers(stored) | encryption_of(upload.headers))


def keep_part(store: RegionStore, call: OssCall, number: int, stored: StoredBlob) -> None:
    """Record a part, replacing an earlier part of that number.

    Raises:
        OssError: The upload ended meanwhile; the bytes are discarded.
    """
    try:
        with store.db.transaction():
            upload = upload_of(store, call)
            old = store.uploads.parts(upload.upload_id, number).get(number)
            store.uploads.put_part(upload.upload_id, PartEntry(number, stored, call.now_s))
    except OssError:
        store.blobs.discard([stored.piece])
        raise
    if old is not None:
        store.blobs.discard([old.stored.piece])


def complete(store: RegionStore, call: OssCall) -> ServerResponse:
    everything = call.header("x-oss-complete-all") == "yes"
    listed = _listed_parts(call, everything=everything)
    with store.db.transaction():
        upload = upload_of(store, call)
        kept = store.uploads.parts(upload.upload_id)
        chosen = list(kept.values()) if everything else _chosen(upload, kept, listed)
        if not chosen:
            raise malformed_xml()
        _refuse_small(chosen)
        entry = _completed(upload, chosen, call.now_s)
        replaced = store.replace(entry, _EC_TAKEN_ON_COMPLETE if forbids_overwrite(call) else "")
        store.uploads.delete(upload.upload_id)
    named = {piece.blob for piece in entry.pieces}
    store.blobs.discard(replaced)
    store.blobs.discard(p.stored.piece for p in kept.values() if p.stored.blob not in named)
    style = call.args.get("encoding-type", "")
    children: list[Node] = [("EncodingType", style)] if style else []
    children += [
        ("Location", f"http://{call.host}/{call.bucket}/{encoded(call.key, 'url')}"),
        ("Bucket", call.bucket),
        ("Key", encoded(call.key, style)),
        ("ETag", quoted(entry.etag)),
    ]
    headers = {
        "ETag": quoted(entry.etag),
        CRC_HEADER: str(entry.crc),
        "x-oss-object-type": entry.kind.value,
        **encryption_of(entry.headers),
    }
    return xml_answer("CompleteMultipartUploadResult", children, headers=headers)


@dataclass(frozen=True, slots=True)
class _ListedPart:
    number: int
    etag: str


def _listed_parts(call: OssCall, *, everything: bool) -> list[_ListedPart]:
    if everything:
        if call.request.body.read(1):
            message = "The body must be empty when x-oss-complete-all is given."
            raise invalid_argument(message, "x-oss-complete-all", "yes", "0042-00000216")
        return []
    listed = []
    for node in parse(call, "CompleteMultipartUpload").iter("Part"):
        number = decimal((node.findtext("PartNumber") or "").strip())
        etag = (node.findtext("ETag") or "").strip().strip('"').upper()
        if number is None or not etag:
            raise malformed_xml()
        listed.append(_ListedPart(number, etag))
    numbers = [part.number for part in listed]
    if numbers != sorted(set(numbers)):
        message = "The list of parts was not in ascending order. Parts list must be ordered by part number."
        raise OssError(400, "InvalidPartOrder", message, "0042-00000205")
    return listed


def _chosen(upload: UploadEntry, kept: dict[int, PartEntry], listed: list[_ListedPart]) -> list[PartEntry]:
    chosen = []
    for part_listed in listed:
        part = kept.get(part_listed.number)
        if part is None or part.stored.md5_hex.upper() != part_listed.etag:
            raise OssError(
                400,
                "InvalidPart",
                "One or more of the specified parts could not be found or the specified entity tag "
                "might not have matched the part's entity tag.",
                "0042-00000204",
                {"ETag": part_listed.etag, "PartNumber": str(part_listed.number), "UploadId": upload.upload_id},
            )
        chosen.append(part)
    return chosen


def _refuse_small(chosen: list[PartEntry]) -> None:
    for part in chosen[:-1]:
        if part.stored.size_bytes < PART_BYTES_MIN:
            raise OssError(
                400,
                "EntityTooSmall",
                "Your proposed upload smaller than the minimum allowed size.",
                "0042-00000202",
                {
                    "ProposedSize": str(part.stored.size_bytes),
                    "MinSizeAllowed": str(PART_BYTES_MIN),
                    "PartNumber": str(part.number),
                    "ETag": part.stored.md5_hex.upper(),
                },
            )


def _completed(upload: UploadEntry, chosen: list[PartEntry], now_s: float) -> ObjectEntry:
    """The object of the chosen parts. Its ETag is the MD5 of the parts' MD5s in upper-case hex, and their number."""
    digests = "".join(part.stored.md5_hex.upper() for part in chosen)
    etag = hashlib.md5(digests.encode(), usedforsecurity=False).hexdigest().upper()
    return ObjectEntry(
        bucket=upload.bucket,
        key=upload.key,
        etag=f"{etag}-{len(chosen)}",
        crc=reduce(lambda crc, part: combine(crc, part.stored.crc, part.stored.size_bytes), chosen, 0),
        modified_s=now_s,
        pieces=tuple(BlobPiece(part.stored.blob, part.stored.size_bytes) for part in chosen),
        kind=ObjectType.MULTIPART,
        storage_class=upload.storage_class,
        acl=upload.acl,
        headers=upload.headers,
        tags=upload.tags,
    )


def abort(store: RegionStore, call: OssCall) -> ServerResponse:
    with store.db.transaction():
        upload = upload_of(store, call)
        parts = store.uploads.parts(upload.upload_id)
        store.uploads.delete(upload.upload_id)
    store.blobs.discard(part.stored.piece for part in parts.values())
    return empty_answer(204)


def list_parts(store: RegionStore, call: OssCall) -> ServerResponse:
    limit = call.count("max-parts", PAGE_MAX, PAGE_MAX)
    marker_text = call.args.get("part-number-marker") or "0"
    marker = decimal(marker_text)
    if marker is None:
        raise invalid_argument("The part number marker is invalid.", "part-number-marker", marker_text)
    with store.db.transaction():
        upload = upload_of(store, call)
        following = [p for n, p in store.uploads.parts(upload.upload_id).items() if n > marker]
    page = following[:limit]
    style = call.args.get("encoding-type", "")
    children: list[Node] = [("EncodingType", style)] if style else []
    children += [
        ("Bucket", call.bucket),
        ("Key", encoded(call.key, style)),
        ("UploadId", upload.upload_id),
        ("StorageClass", upload.storage_class),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", page[-1].number if page else marker),
        ("MaxParts", limit),
        ("IsTruncated", str(len(page) < len(following)).lower()),
    ]
    children += [("Part", _part_node(part)) for part in page]
    return xml_answer("ListPartsResult", children)


def _part_node(part: PartEntry) -> list[Node]:
    return [
        ("PartNumber", part.number),
        ("LastModified", iso_milliseconds(part.modified_s)),
        ("ETag", quoted(part.stored.md5_hex.upper())),
        ("HashCrc64ecma", part.stored.crc),
        ("Size", part.stored.size_bytes),
    ]


def list_uploads(store: RegionStore, call: OssCall) -> ServerResponse:
    store.bucket(call.bucket)
    limit = call.count("max-uploads", PAGE_MAX, PAGE_MAX)
    style = call.args.get("encoding-type", "")
    prefix, delimiter = call.args.get("prefix", ""), call.args.get("delimiter", "")
    key_marker = call.args.get("key-marker", "")
    # Without an upload id the marker covers all uploads of its key; no id sorts after "~".
    id_marker = call.args.get("upload-id-marker", "") if key_marker else ""
    uploads = _UploadRows(store, call.bucket)
    page = page_through(uploads, (key_marker, id_marker or "~"), (prefix, delimiter), limit)
    next_key, next_id = page.next_marker
    children: list[Node] = [("EncodingType", style)] if style else []
    children += [
        ("Bucket", call.bucket),
        ("KeyMarker", encoded(key_marker, style)),
        ("UploadIdMarker", id_marker),
        ("NextKeyMarker", encoded(next_key, style)),
        ("NextUploadIdMarker", next_id.strip("~")),
        ("Delimiter", encoded(delimiter, style)),
        ("Prefix", encoded(prefix, style)),
        ("MaxUploads", limit),
        ("IsTruncated", str(page.truncated).lower()),
    ]
    children += [("Upload", _upload_node(upload, style)) for upload in page.entries]
    children += [("CommonPrefixes", [("Prefix", encoded(group, style))]) for group in page.groups]
    return xml_answer("ListMultipartUploadsResult", children)


@dataclass(frozen=True, slots=True)
class _UploadRows:
    store: RegionStore
    bucket: str

    def after(self, marker: Marker, floor: str, limit: int) -> list[UploadEntry]:
        return self.store.uploads.after(self.bucket, marker, floor, limit)

    def marker_of(self, entry: UploadEntry) -> Marker:
        return entry.key, entry.upload_id


def _upload_node(upload: UploadEntry, style: str) -> list[Node]:
    return [
        ("Key", encoded(upload.key, style)),
        ("UploadId", upload.upload_id),
        ("StorageClass", upload.storage_class),
        ("Initiated", iso_milliseconds(upload.initiated_s)),
    ]
