"""OSS responses: common headers, XML bodies, and errors as XML or, for HEAD, in a header."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from email.utils import formatdate

from syncd.localcloud.httpd.messages import FileBody, ServerResponse
from syncd.localcloud.oss.errors import OssError
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.protocol.xml_documents import Node, render
from syncd.localcloud.oss.storage.entries import ObjectEntry, ObjectType

CRC_HEADER = "x-oss-hash-crc64ecma"


def xml_answer(
    root: str, content: str | Iterable[Node], status: int = 200, headers: Mapping[str, str] | None = None
) -> ServerResponse:
    pairs = [("Content-Type", "application/xml"), *(headers or {}).items()]
    return ServerResponse(status, pairs, render(root, content))


def empty_answer(status: int = 200, headers: Mapping[str, str] | None = None) -> ServerResponse:
    return ServerResponse(status, list((headers or {}).items()))


def error_answer(call: OssCall, error: OssError) -> ServerResponse:
    """An error as XML in the body, or in `x-oss-err` for HEAD; 304 has neither."""
    if error.status == 304:
        return ServerResponse(304, [("x-oss-ec", error.ec)])
    children: list[Node] = [
        ("Code", error.code),
        ("Message", error.message),
        ("RequestId", call.request_id),
        ("HostId", call.host),
        *error.details.items(),
        ("EC", error.ec),
    ]
    body = render("Error", children)
    headers = [("Content-Type", "application/xml"), ("x-oss-ec", error.ec), *error.headers.items()]
    if call.request.method == "HEAD":
        encoded = base64.b64encode(body).decode()
        return ServerResponse(error.status, [*headers, ("x-oss-err", encoded), ("Content-Length", "0")])
    return ServerResponse(error.status, headers, body)


def finish(call: OssCall, response: ServerResponse) -> ServerResponse:
    """Add the headers of every response."""
    response.headers += [
        ("Server", "AliyunOSS"),
        ("Date", formatdate(call.now_s, usegmt=True)),
        ("x-oss-request-id", call.request_id),
        ("x-oss-server-time", str(max(1, int(response.wire.delay_s * 1000)) if response.wire else 1)),
    ]
    return response


def quoted(etag: str) -> str:
    return f'"{etag}"'


def object_headers(entry: ObjectEntry, content: ObjectEntry) -> Iterator[tuple[str, str]]:
    """The headers of an object in GET and HEAD, without size and checksum. `content` is the entry with the bytes."""
    content_type = entry.headers.get("Content-Type", "application/octet-stream")
    yield "Content-Type", content_type
    yield "ETag", quoted(content.etag)
    yield "Last-Modified", formatdate(content.modified_s, usegmt=True)
    yield "Accept-Ranges", "bytes"
    yield "x-oss-object-type", entry.kind.value
    yield "x-oss-storage-class", content.storage_class
    if entry.kind is ObjectType.APPENDABLE:
        yield "x-oss-next-append-position", str(entry.size_bytes)
    if content.kind is ObjectType.NORMAL:
        yield "Content-MD5", base64.b64encode(bytes.fromhex(content.etag)).decode()
    if entry.tags:
        yield "x-oss-tagging-count", str(len(entry.tags))
    for name, value in entry.headers.items():
        if name != "Content-Type":
            yield name, value


def body_answer(
    status: int, headers: list[tuple[str, str]], size_bytes: int, body: Iterable[bytes | FileBody]
) -> ServerResponse:
    return ServerResponse(status, [*headers, ("Content-Length", str(size_bytes))], body)
