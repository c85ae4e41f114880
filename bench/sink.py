"""The server of the benchmark: OSS and S3 in one process, path style. It checks what it gets and throws it away.

Signatures are not looked at. Only what syncd reads back, its seal, is kept. `python -m bench.sink` prints its port
and serves until its standard input ends; `/_sink` tells (GET) and clears (DELETE) the counts.
"""

import argparse
import itertools
import json
import sys
import uuid
from collections.abc import Callable, Iterable
from email.utils import formatdate
from time import gmtime, strftime
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

from syncd.localcloud.httpd import HttpServer, ServerRequest, ServerResponse
from syncd.localcloud.oss.protocol.xml_documents import Node, encoded, render

from bench.checks import WrongBytesError, take
from bench.shelf import FunctionStore, RefusedError, Thing

CONTROL = "/_sink"
_META = ("x-amz-meta-", "x-oss-meta-")


class Sink:
    """Handles requests for `HttpServer`. MD5 and SHA are compared for one body of `check_every`, CRCs for all."""

    def __init__(self, check_every: int) -> None:
        self._shelf = FunctionStore()
        self._check_every = check_every
        self._bodies = itertools.count()

    def handle(self, request: ServerRequest) -> ServerResponse:
        if request.path.startswith(CONTROL):
            return self._control(request)
        bucket, _, key = unquote(request.path.lstrip("/")).partition("/")
        args = dict(request.query)
        what = _name_of(request.method, args, has_key=bool(key))
        head_bytes = len(request.method) + len(request.target) + 14
        head_bytes += sum(len(name) + len(value) + 4 for name, value in request.headers.items())
        try:
            response = self._answer(what, request, (bucket, key), args)
        finally:  # also where the client is gone in the middle of its body
            self._shelf.count(what, bucket, head_bytes, request.body.received)
        request_id = uuid.uuid4().hex
        response.headers += [("x-oss-request-id", request_id), ("x-amz-request-id", request_id)]
        return response

    def _answer(
        self, what: str, request: ServerRequest, place: tuple[str, str], args: dict[str, str]
    ) -> ServerResponse:
        bucket, key = place
        try:
            return self._routes()[what](request, bucket, key, args)
        except (RefusedError, WrongBytesError) as error:
            if isinstance(error, WrongBytesError):
                self._shelf.refuse(f"{what} {bucket}/{key}: {error}")
                error = RefusedError(400, "BadDigest", str(error))
            return _xml("Error", [("Code", error.code), ("Message", error.message)], error.status)
        except KeyError:
            self._shelf.refuse(f"{what} {request.target}: not known here")
            return _xml("Error", [("Code", "NotImplemented"), ("Message", what)], 501)

    def _routes(self) -> dict[str, Callable[[ServerRequest, str, str, dict[str, str]], ServerResponse]]:
        return {
            "PutBucket": lambda *_: ServerResponse(200),
            "HeadBucket": lambda *_: ServerResponse(200),
            "ListObjects": self._list,
            "ListUploads": lambda *_: _xml("ListMultipartUploadsResult", _NO_UPLOADS),
            "PutObject": self._put,
            "UploadPart": self._part,
            "Initiate": self._initiate,
            "Complete": self._complete,
            "Abort": self._abort,
            "ListParts": self._parts,
            "HeadObject": self._read,
            "GetObject": self._read,
            "DeleteObject": self._delete,
        }

    def _control(self, request: ServerRequest) -> ServerResponse:
        if request.method == "DELETE":
            self._shelf.clear()
        body = json.dumps(self._shelf.counts()).encode()
        return ServerResponse(200, [("Content-Type", "application/json")], body)

    def _take(self, request: ServerRequest, key: str) -> Thing:
        thorough = next(self._bodies) % self._check_every == 0
        taken = take(request.body, request.headers, thorough=thorough, keep="/.syncd/" in key)
        return Thing(taken, _meta(request))

    def _put(self, request: ServerRequest, bucket: str, key: str, _: dict[str, str]) -> ServerResponse:
        thing = self._take(request, key)
        self._shelf.put(bucket, key, thing, forbid=_forbids(request))
        return ServerResponse(200, _stored(thing))

    def _part(self, request: ServerRequest, _bucket: str, key: str, args: dict[str, str]) -> ServerResponse:
        thing = self._take(request, key)
        self._shelf.put_part(args["uploadId"], int(args["partNumber"]), thing)
        return ServerResponse(200, _stored(thing))

    def _initiate(self, request: ServerRequest, bucket: str, key: str, args: dict[str, str]) -> ServerResponse:
        name = self._shelf.begin(bucket, key, _meta(request), forbid=_forbids(request))
        style = args.get("encoding-type", "")
        nodes: list[Node] = [("EncodingType", style)] if style else []
        nodes += [("Bucket", bucket), ("Key", encoded(key, style)), ("UploadId", name)]
        return _xml("InitiateMultipartUploadResult", nodes)

    def _complete(self, request: ServerRequest, bucket: str, key: str, args: dict[str, str]) -> ServerResponse:
        wanted = []
        for node in ET.fromstring(request.body.read()).iter():
            if node.tag.rpartition("}")[2] == "Part":
                fields = {child.tag.rpartition("}")[2]: child.text or "" for child in node}
                wanted.append((int(fields["PartNumber"]), fields["ETag"].strip('"')))
        thing = self._shelf.finish(args["uploadId"], wanted, forbid=_forbids(request))
        style = args.get("encoding-type", "")
        nodes: list[Node] = [("EncodingType", style)] if style else []
        location = f"http://{request.headers.get('host')}/{bucket}/{quote(key)}"
        nodes += [("Location", location), ("Bucket", bucket), ("Key", encoded(key, style)), ("ETag", thing.etag)]
        response = _xml("CompleteMultipartUploadResult", nodes)
        response.headers += _stored(thing)
        return response

    def _abort(self, _request: ServerRequest, _bucket: str, _key: str, args: dict[str, str]) -> ServerResponse:
        self._shelf.abort(args["uploadId"])
        return ServerResponse(204)

    def _parts(self, _request: ServerRequest, bucket: str, key: str, args: dict[str, str]) -> ServerResponse:
        marker = int(args.get("part-number-marker") or 0)
        following = [(number, part) for number, part in self._shelf.parts(args["uploadId"]) if number > marker]
        page = following[:1000]
        nodes: list[Node] = [("Bucket", bucket), ("Key", key), ("UploadId", args["uploadId"])]
        nodes += [("NextPartNumberMarker", page[-1][0] if page else marker)]
        nodes += [("IsTruncated", str(len(page) < len(following)).lower())]
        nodes += [("Part", [("PartNumber", number), *_listed(part)]) for number, part in page]
        return _xml("ListPartsResult", nodes)

    def _read(self, request: ServerRequest, bucket: str, key: str, _: dict[str, str]) -> ServerResponse:
        thing = self._shelf.get(bucket, key)
        headers = [*_stored(thing), *thing.meta, ("Last-Modified", formatdate(thing.modified_s, usegmt=True))]
        if request.method == "HEAD":
            return ServerResponse(200, [*headers, ("Content-Length", str(thing.taken.size_bytes))])
        if len(thing.taken.kept) != thing.taken.size_bytes:
            raise RefusedError(501, "NotImplemented", "The bytes were thrown away.")
        return ServerResponse(200, headers, thing.taken.kept)

    def _delete(self, _request: ServerRequest, bucket: str, key: str, _: dict[str, str]) -> ServerResponse:
        self._shelf.delete(bucket, key)
        return ServerResponse(204)

    def _list(self, _request: ServerRequest, bucket: str, _key: str, args: dict[str, str]) -> ServerResponse:
        prefix, delimiter = args.get("prefix", ""), args.get("delimiter", "")
        style = args.get("encoding-type", "")
        after = max(args.get(name, "") for name in ("marker", "start-after", "continuation-token"))
        limit = int(args.get("max-keys") or 1000)
        rows, groups, last, truncated = _page(self._shelf.things(bucket, prefix, after), prefix, delimiter, limit)
        nodes: list[Node] = [("EncodingType", style)] if style else []
        nodes += [("Name", bucket), ("Prefix", encoded(prefix, style)), ("Delimiter", encoded(delimiter, style))]
        nodes += [("MaxKeys", limit), ("KeyCount", len(rows) + len(groups)), ("IsTruncated", str(truncated).lower())]
        if truncated:
            nodes += [("NextMarker", encoded(last, style)), ("NextContinuationToken", last)]
        nodes += [("Contents", [("Key", encoded(key, style)), *_listed(thing), *_CLASS]) for key, thing in rows]
        nodes += [("CommonPrefixes", [("Prefix", encoded(group, style))]) for group in groups]
        return _xml("ListBucketResult", nodes)


# Nobody here leaves one behind; if one is left all the same, the counts tell.
_NO_UPLOADS: list[Node] = [("NextKeyMarker", ""), ("NextUploadIdMarker", ""), ("IsTruncated", "false")]
_CLASS: list[Node] = [("StorageClass", "Standard"), ("Type", "Normal")]


def _name_of(method: str, args: dict[str, str], *, has_key: bool) -> str:
    if not has_key:
        uploads = "ListUploads" if "uploads" in args else "ListObjects"
        return {"PUT": "PutBucket", "HEAD": "HeadBucket", "GET": uploads}.get(method, f"{method} of a bucket")
    if "uploadId" in args:
        names = {"PUT": "UploadPart", "POST": "Complete", "DELETE": "Abort", "GET": "ListParts"}
    elif "uploads" in args:
        names = {"POST": "Initiate"}
    else:
        names = {"PUT": "PutObject", "HEAD": "HeadObject", "GET": "GetObject", "DELETE": "DeleteObject"}
    return names.get(method, f"{method} of an object")


def _page(
    things: Iterable[tuple[str, Thing]], prefix: str, delimiter: str, limit: int
) -> tuple[list[tuple[str, Thing]], list[str], str, bool]:
    """One page: objects, groups, the last name in it, and whether there are more."""
    rows: list[tuple[str, Thing]] = []
    groups: list[str] = []
    last = ""
    for key, thing in things:
        head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        group = prefix + head + delimiter if found else ""
        if group and groups and groups[-1] == group:
            last = key
            continue
        if len(rows) + len(groups) == limit:
            return rows, groups, last, True
        if group:
            groups.append(group)
        else:
            rows.append((key, thing))
        last = key
    return rows, groups, last, False


def _listed(thing: Thing) -> list[Node]:
    modified = strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(thing.modified_s))
    crc: Node = ("HashCrc64ecma", thing.taken.crc64)
    return [("LastModified", modified), ("ETag", thing.etag), crc, ("Size", thing.taken.size_bytes)]


def _stored(thing: Thing) -> list[tuple[str, str]]:
    crc = str(thing.taken.crc64)
    return [("ETag", thing.etag), ("x-oss-hash-crc64ecma", crc), ("x-oss-object-type", "Normal")]


def _meta(request: ServerRequest) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in request.headers.items() if name.lower().startswith(_META))


def _forbids(request: ServerRequest) -> bool:
    return request.headers.get("x-oss-forbid-overwrite").lower() == "true"


def _xml(root: str, nodes: list[Node], status: int = 200) -> ServerResponse:
    return ServerResponse(status, [("Content-Type", "application/xml")], render(root, nodes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check-every", type=int, default=1, help="compare MD5 and SHA of one body of so many")
    server = HttpServer(Sink(parser.parse_args().check_every).handle)
    server.start()
    print(server.port, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
