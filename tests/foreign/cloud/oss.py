"""The API of OSS for one region, path style."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.foreign.cloud.objects import ObjectStore, OssError, Stored
from tests.foreign.cloud.signatures import Key, Refused, verify_oss
from tests.foreign.cloud.signatures import Request as Signed
from tests.foreign.cloud.web import Request, Response, http_date, iso_date, request_id

OBJECT_BYTES_MAX: Final = 5 * 1024**3
KEYS_MAX: Final = 1000
KEYS_DEFAULT: Final = 100
# Parameters that select an operation. One that is not played is refused by name, never answered as something else.
# fmt: off
_SUBRESOURCES: Final = frozenset((
    "acl", "append", "asyncFetch", "bucketInfo", "callback", "cname", "comp", "cors", "dataAccelerator", "delete",
    "encryption", "img", "inventory", "lifecycle", "live", "location", "logging", "metaQuery", "objectMeta",
    "partNumber", "policy", "qos", "referer", "replication", "replicationLocation", "replicationProgress",
    "requestPayment", "resourceGroup", "restore", "rtc", "select/meta", "stat", "style", "symlink", "tagging",
    "transferAcceleration", "uploadId", "uploads", "versioning", "versionId", "versions", "vod", "website", "worm",
    "x-oss-process", "x-oss-traffic-limit", "x-oss-ac-source-ip", "security-token", "Signature", "OSSAccessKeyId",
    "Expires", "x-oss-signature",
))
# fmt: on
_KEPT: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)
_REFUSED_HEADERS: Final = (
    "x-oss-object-acl",
    "x-oss-tagging",
    "x-oss-server-side-encryption",
    "x-oss-server-side-data-encryption",
    "x-oss-callback",
    "x-oss-complete-all",
)


class Oss:
    """Answers requests to the region's buckets."""

    def __init__(self, key: Key, store: ObjectStore) -> None:
        self._key = key
        self._store = store

    def answer(self, request: Request) -> Response:
        """Verify, route, and report errors as OSS does: XML, or with HEAD base64 in x-oss-err."""
        try:
            self._verify(request)
            response = self._route(request)
        except (OssError, Refused) as error:
            return self._error(request, error)
        return Response(
            response.status, response.body, {"x-oss-request-id": request_id(), **response.headers}, response.length
        )

    def _verify(self, request: Request) -> None:
        path = request.path
        if path.count("/") == 1 and path != "/":
            path += "/"
        signed = Signed(request.method, path, list(request.query.items()), request.headers)
        verify_oss(self._key, signed, datetime.now(UTC))

    def _error(self, request: Request, error: OssError | Refused) -> Response:
        fields = {"Code": error.code, "Message": str(error), "RequestId": request_id(), "HostId": "127.0.0.1"}
        if isinstance(error, OssError):
            fields |= error.fields
        body = _xml("Error", "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items()))
        headers = {"x-oss-request-id": fields["RequestId"], "Content-Type": "application/xml"}
        if request.method == "HEAD":
            headers["x-oss-err"] = base64.b64encode(body).decode()
            return Response(error.status, b"", headers)
        return Response(error.status, body, headers)

    def _route(self, request: Request) -> Response:
        bucket, _, key = request.path[1:].partition("/")
        if not bucket:
            raise OssError(501, "NotImplemented", "ListBuckets is not played")
        if bucket not in self._store.buckets:
            raise OssError(404, "NoSuchBucket", "The specified bucket does not exist.", BucketName=bucket)
        selected = sorted(_SUBRESOURCES & set(request.query))
        operation = " ".join((request.method, "object" if key else "bucket", *selected))
        handler = _OPERATIONS.get(operation)
        if handler is None:
            raise OssError(501, "NotImplemented", f"not played: {operation}")
        for name in _REFUSED_HEADERS:
            if name in request.headers:
                raise OssError(501, "NotImplemented", f"not played: the header {name}")
        return handler(self, request, bucket, key)

    def bucket_info(self, request: Request, bucket: str, key: str) -> Response:
        region, host = self._key.region, request.header("host")
        return _ok(
            "BucketInfo",
            f"<Bucket><Name>{bucket}</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate>"
            f"<StorageClass>Standard</StorageClass><Location>oss-{region}</Location>"
            f"<ExtranetEndpoint>{host}</ExtranetEndpoint><IntranetEndpoint>{host}</IntranetEndpoint>"
            "<Owner><ID>1</ID><DisplayName>1</DisplayName></Owner>"
            "<AccessControlList><Grant>private</Grant></AccessControlList></Bucket>",
        )

    def list_objects(self, request: Request, bucket: str, key: str) -> Response:
        query = request.query
        second = query.get("list-type") == "2"
        token = query.get("continuation-token")
        if second and token is not None:
            try:
                after = base64.b64decode(token.encode(), validate=True).decode()
            except ValueError as error:
                raise OssError(400, "InvalidArgument", "The continuation token is invalid.") from error
        else:
            after = query.get("start-after" if second else "marker", "")
        limit = _limit(query.get("max-keys"), KEYS_DEFAULT)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        objects, prefixes, last, more = self._page(bucket, prefix, delimiter, after, limit)
        encode = _Encoder(query)
        contents = "".join(_contents(stored, encode) for stored in objects)
        common = "".join(f"<CommonPrefixes><Prefix>{encode(name)}</Prefix></CommonPrefixes>" for name in prefixes)
        fields = f"<Name>{bucket}</Name><Prefix>{encode(prefix)}</Prefix><MaxKeys>{limit}</MaxKeys>"
        fields += f"<Delimiter>{encode(delimiter)}</Delimiter><IsTruncated>{str(more).lower()}</IsTruncated>"
        if query.get("encoding-type") == "url":
            fields += "<EncodingType>url</EncodingType>"
        following = base64.b64encode(last.encode()).decode()
        if second:
            fields += f"<KeyCount>{len(objects) + len(prefixes)}</KeyCount>"
            fields += f"<NextContinuationToken>{following}</NextContinuationToken>" if more else ""
        else:
            fields += f"<Marker>{encode(after)}</Marker>"
            fields += f"<NextMarker>{encode(last)}</NextMarker>" if more else ""
        return _ok("ListBucketResult", fields + contents + common)

    def _page(
        self, bucket: str, prefix: str, delimiter: str, after: str, limit: int
    ) -> tuple[list[Stored], list[str], str, bool]:
        objects: list[Stored] = []
        prefixes: list[str] = []
        last = after
        for stored in self._store.list_objects(bucket, prefix, after):
            rest = stored.key[len(prefix) :]
            group = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
            if group and (group in prefixes or group == after or after.startswith(group)):
                continue
            if len(objects) + len(prefixes) == limit:
                return objects, prefixes, last, True
            if group:
                prefixes.append(group)
            else:
                objects.append(stored)
            last = group or stored.key
        return objects, prefixes, last, False

    def list_uploads(self, request: Request, bucket: str, key: str) -> Response:
        query = request.query
        limit = _limit(query.get("max-uploads"), KEYS_MAX)
        after = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        if not after[1]:
            after = (after[0], "\uffff")
        found = [row for row in self._store.uploads(bucket, query.get("prefix", "")) if (row[0], row[1]) > after]
        encode = _Encoder(query)
        page, more = found[:limit], len(found) > limit
        last = page[-1] if page else ("", "", 0.0)
        body = (
            f"<Bucket>{bucket}</Bucket><KeyMarker>{encode(query.get('key-marker', ''))}</KeyMarker>"
            f"<UploadIdMarker>{query.get('upload-id-marker', '')}</UploadIdMarker>"
            f"<NextKeyMarker>{encode(last[0])}</NextKeyMarker><NextUploadIdMarker>{last[1]}</NextUploadIdMarker>"
            f"<Delimiter></Delimiter><Prefix>{encode(query.get('prefix', ''))}</Prefix><MaxUploads>{limit}</MaxUploads>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        )
        if query.get("encoding-type") == "url":
            body += "<EncodingType>url</EncodingType>"
        for name, upload, started in page:
            initiated = iso_date(started, milliseconds=True)
            body += f"<Upload><Key>{encode(name)}</Key><UploadId>{upload}</UploadId>"
            body += f"<StorageClass>Standard</StorageClass><Initiated>{initiated}</Initiated></Upload>"
        return _ok("ListMultipartUploadsResult", body)

    def delete_objects(self, request: Request, bucket: str, key: str) -> Response:
        if not request.header("content-md5"):
            raise OssError(400, "MissingArgument", "Missing Some Required Arguments: Content-MD5")
        _check_md5(request)
        root = _parse(request.body)
        keys = [element.text or "" for element in root.findall("Object/Key")]
        if not 1 <= len(keys) <= KEYS_MAX:
            raise OssError(400, "MalformedXML", "between 1 and 1000 keys are allowed")
        for name in keys:
            self._store.delete(bucket, name)
        if (root.findtext("Quiet") or "").lower() == "true":
            return Response(200, b"", {"Content-Type": "application/xml"})
        encode = _Encoder(request.query)
        return _ok("DeleteResult", "".join(f"<Deleted><Key>{encode(name)}</Key></Deleted>" for name in keys))

    def put_object(self, request: Request, bucket: str, key: str) -> Response:
        if "x-oss-copy-source" in request.headers:
            return self._copy_object(request, bucket, key)
        _check_md5(request)
        stored = self._store.put(bucket, key, request.body, _kept(request), forbid_overwrite=_forbids(request))
        return Response(200, b"", _checksums(stored))

    def _copy_object(self, request: Request, bucket: str, key: str) -> Response:
        source, _, name = self._source(request)
        body = self._store.read(source, name.key, 0, name.size)
        headers = _kept(request) if request.header("x-oss-metadata-directive").upper() == "REPLACE" else name.headers
        stored = self._store.put(bucket, key, body, headers, forbid_overwrite=_forbids(request))
        modified = iso_date(stored.modified, milliseconds=True)
        inner = f"<ETag>&quot;{stored.etag}&quot;</ETag><LastModified>{modified}</LastModified>"
        return Response(200, _xml("CopyObjectResult", inner), _checksums(stored))

    def _source(self, request: Request) -> tuple[str, str, Stored]:
        bucket, _, key = unquote(request.header("x-oss-copy-source")).lstrip("/").partition("/")
        if bucket not in self._store.buckets:
            # A copy never leaves the region; a bucket of another one is not found there.
            raise OssError(404, "NoSuchBucket", "The specified bucket does not exist.", BucketName=bucket)
        stored = self._store.get(bucket, key)
        wanted = request.header("x-oss-copy-source-if-match").strip('"')
        if wanted and wanted != stored.etag:
            raise OssError(412, "PreconditionFailed", "the source is another object by now")
        return bucket, key, stored

    def get_object(self, request: Request, bucket: str, key: str) -> Response:
        stored = self._store.get(bucket, key)
        headers = _described(stored)
        match, none = request.header("if-match").strip('"'), request.header("if-none-match").strip('"')
        if match and match != stored.etag:
            raise OssError(412, "PreconditionFailed", "At least one of the pre-conditions did not hold.")
        if none and none == stored.etag:
            return Response(304, b"", headers)
        if request.method == "HEAD":
            return Response(200, b"", headers, stored.size)
        span = _range(request.header("range"), stored.size)
        if span is None:
            if request.header("range") and request.header("x-oss-range-behavior") == "standard":
                raise OssError(416, "InvalidRange", "The requested range cannot be satisfied.")
            return Response(200, self._store.read(bucket, key, 0, stored.size), headers)
        start, end = span
        headers["Content-Range"] = f"bytes {start}-{end}/{stored.size}"
        return Response(206, self._store.read(bucket, key, start, end - start + 1), headers)

    def delete_object(self, request: Request, bucket: str, key: str) -> Response:
        self._store.delete(bucket, key)
        return Response(204)

    def initiate(self, request: Request, bucket: str, key: str) -> Response:
        if _forbids(request) and self._store.exists(bucket, key):
            raise OssError(409, "FileAlreadyExists", "The object you specified already exists.", Key=key)
        upload = self._store.initiate(bucket, key, _kept(request))
        encoded = _Encoder(request.query)(key)
        inner = f"<Bucket>{bucket}</Bucket><Key>{encoded}</Key><UploadId>{upload}</UploadId>"
        return _ok("InitiateMultipartUploadResult", inner)

    def put_part(self, request: Request, bucket: str, key: str) -> Response:
        upload, number = request.query["uploadId"], _number(request.query["partNumber"])
        if "x-oss-copy-source" in request.headers:
            return self._copy_part(request, bucket, key)
        _check_md5(request)
        return Response(200, b"", _checksums(self._store.put_part(bucket, key, upload, number, request.body)))

    def _copy_part(self, request: Request, bucket: str, key: str) -> Response:
        source, name, stored = self._source(request)
        header = request.header("x-oss-copy-source-range")
        span = _range(header, stored.size) if header else (0, stored.size - 1)
        if span is None:
            raise OssError(416, "InvalidRange", "The requested range cannot be satisfied.")
        body = self._store.read(source, name, span[0], span[1] - span[0] + 1)
        upload, number = request.query["uploadId"], _number(request.query["partNumber"])
        part = self._store.put_part(bucket, key, upload, number, body)
        modified = iso_date(part.modified, milliseconds=True)
        inner = f"<LastModified>{modified}</LastModified><ETag>&quot;{part.etag}&quot;</ETag>"
        return Response(200, _xml("CopyPartResult", inner), _checksums(part))

    def list_parts(self, request: Request, bucket: str, key: str) -> Response:
        upload = request.query["uploadId"]
        after = _number(request.query.get("part-number-marker", "0"))
        limit = _limit(request.query.get("max-parts"), KEYS_MAX)
        found = [part for part in self._store.parts(bucket, key, upload) if int(part.key) > after]
        page, more = found[:limit], len(found) > limit
        body = f"<Bucket>{bucket}</Bucket><Key>{_Encoder(request.query)(key)}</Key><UploadId>{upload}</UploadId>"
        body += (
            f"<NextPartNumberMarker>{page[-1].key if page else 0}</NextPartNumberMarker><MaxParts>{limit}</MaxParts>"
        )
        body += f"<PartNumberMarker>{after}</PartNumberMarker><IsTruncated>{str(more).lower()}</IsTruncated>"
        for part in page:
            body += (
                f"<Part><PartNumber>{part.key}</PartNumber><ETag>&quot;{part.etag}&quot;</ETag><Size>{part.size}</Size>"
            )
            body += f"<LastModified>{iso_date(part.modified, milliseconds=True)}</LastModified>"
            body += f"<HashCrc64ecma>{part.crc}</HashCrc64ecma></Part>"
        return _ok("ListPartsResult", body)

    def complete(self, request: Request, bucket: str, key: str) -> Response:
        root = _parse(request.body)
        listed = [
            (_number(part.findtext("PartNumber") or ""), part.findtext("ETag") or "") for part in root.findall("Part")
        ]
        upload, forbid = request.query["uploadId"], _forbids(request)
        stored = self._store.complete(bucket, key, upload, listed, forbid_overwrite=forbid)
        inner = (
            f"<Bucket>{bucket}</Bucket><Key>{_Encoder(request.query)(key)}</Key><ETag>&quot;{stored.etag}&quot;</ETag>"
        )
        return Response(200, _xml("CompleteMultipartUploadResult", inner), _checksums(stored))

    def abort(self, request: Request, bucket: str, key: str) -> Response:
        self._store.abort(bucket, key, request.query["uploadId"])
        return Response(204)


_OPERATIONS: Final = {
    "GET bucket": Oss.list_objects,
    "GET bucket bucketInfo": Oss.bucket_info,
    "GET bucket uploads": Oss.list_uploads,
    "POST bucket delete": Oss.delete_objects,
    "PUT object": Oss.put_object,
    "GET object": Oss.get_object,
    "HEAD object": Oss.get_object,
    "HEAD object objectMeta": Oss.get_object,
    "DELETE object": Oss.delete_object,
    "POST object uploads": Oss.initiate,
    "PUT object partNumber uploadId": Oss.put_part,
    "GET object uploadId": Oss.list_parts,
    "POST object uploadId": Oss.complete,
    "DELETE object uploadId": Oss.abort,
}


class _Encoder:
    """Writes a name into XML, URL-encoded where the request asks for that."""

    def __init__(self, query: dict[str, str]) -> None:
        kind = query.get("encoding-type", "")
        if kind not in {"", "url"}:
            raise OssError(400, "InvalidArgument", "The encoding-type must be url.")
        self._url = kind == "url"

    def __call__(self, name: str) -> str:
        return quote(name, safe="/-_.~") if self._url else escape(name)


def _xml(root: str, inner: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{inner}</{root}>'.encode()


def _ok(root: str, inner: str) -> Response:
    return Response(200, _xml(root, inner), {"Content-Type": "application/xml"})


def _parse(body: bytes) -> ET.Element:
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        raise OssError(400, "MalformedXML", "The XML you provided was not well-formed.") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _contents(stored: Stored, encode: _Encoder) -> str:
    return (
        f"<Contents><Key>{encode(stored.key)}</Key>"
        f"<LastModified>{iso_date(stored.modified, milliseconds=True)}</LastModified>"
        f"<ETag>&quot;{stored.etag}&quot;</ETag><Type>{stored.type}</Type><Size>{stored.size}</Size>"
        "<StorageClass>Standard</StorageClass></Contents>"
    )


def _checksums(stored: Stored) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "x-oss-hash-crc64ecma": stored.crc,
        "Content-Type": "application/xml",
        "Last-Modified": http_date(stored.modified),
    }


def _described(stored: Stored) -> dict[str, str]:
    headers = {
        "Content-Type": "application/octet-stream",
        "ETag": f'"{stored.etag}"',
        "Last-Modified": http_date(stored.modified),
        "Accept-Ranges": "bytes",
        "x-oss-object-type": stored.type,
        "x-oss-storage-class": "Standard",
        "x-oss-hash-crc64ecma": stored.crc,
        "x-oss-server-time": str(int(time.time() * 1000) % 1000),
    }
    return headers | {name.title() if name in _KEPT else name: value for name, value in stored.headers.items()}


def _kept(request: Request) -> dict[str, str]:
    names: Iterable[str] = (name for name in request.headers if name in _KEPT or name.startswith("x-oss-meta-"))
    return {name: request.headers[name] for name in names}


def _forbids(request: Request) -> bool:
    return request.header("x-oss-forbid-overwrite").lower() == "true"


def _check_md5(request: Request) -> None:
    wanted = request.header("content-md5")
    if wanted and wanted != base64.b64encode(hashlib.md5(request.body).digest()).decode():
        raise OssError(400, "InvalidDigest", "The Content-MD5 you specified did not match what we received.")
    if len(request.body) > OBJECT_BYTES_MAX:
        raise OssError(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")


def _limit(text: str | None, default: int) -> int:
    value = default if text is None else _number(text)
    if not 1 <= value <= KEYS_MAX:
        raise OssError(400, "InvalidArgument", "Argument max-keys must be an integer between 1 and 1000.")
    return value


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise OssError(400, "InvalidArgument", f"{text!r} is not a number")
    return int(text)


def _range(header: str, size: int) -> tuple[int, int] | None:
    """The first and last byte that a Range header asks for, or None if it asks for none that is there."""
    kind, _, span = header.partition("=")
    first, dash, last = span.partition("-")
    if kind != "bytes" or not dash or "," in span or not (first + last).isdigit():
        return None
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) and size else None
    start, end = int(first), min(int(last) if last else size - 1, size - 1)
    return (start, end) if start <= end else None
