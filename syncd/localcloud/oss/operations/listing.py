"""Listings of a bucket: ListObjects, ListObjectsV2, ListObjectVersions and ListLiveChannel."""

import base64
from dataclasses import dataclass

from syncd.localcloud.httpd.messages import ServerResponse
from syncd.localcloud.oss.errors import invalid_argument
from syncd.localcloud.oss.operations.paging import Marker, Page, page_through
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.protocol.responses import quoted, xml_answer
from syncd.localcloud.oss.protocol.signatures import iso_milliseconds
from syncd.localcloud.oss.protocol.xml_documents import Node, encoded
from syncd.localcloud.oss.storage.entries import ObjectEntry
from syncd.localcloud.oss.storage.region_store import RegionStore

PAGE_DEFAULT = 100
_TOKEN_TAG = b"\x0a"
PAGE_MAX = 1000


@dataclass(frozen=True, slots=True)
class _ObjectRows:
    store: RegionStore
    bucket: str

    def after(self, marker: Marker, floor: str, limit: int) -> list[ObjectEntry]:
        return self.store.objects.after(self.bucket, marker[0], floor, limit)

    def marker_of(self, entry: ObjectEntry) -> Marker:
        return entry.key, ""


def list_objects(store: RegionStore, call: OssCall) -> ServerResponse:
    style = call.args.get("encoding-type", "")
    marker = call.args.get("marker", "")
    page, limit = _page(store, call, marker)
    children: list[Node] = [
        ("Name", call.bucket),
        ("Prefix", encoded(call.args.get("prefix", ""), style)),
        ("Marker", encoded(marker, style)),
        ("MaxKeys", limit),
        ("Delimiter", encoded(call.args.get("delimiter", ""), style)),
        ("IsTruncated", str(page.truncated).lower()),
    ]
    if page.truncated:
        children.append(("NextMarker", encoded(page.next_marker[0], style)))
    children += _contents(store, page, style, with_owner=True)
    return xml_answer("ListBucketResult", _style(style) + children)


def list_objects_v2(store: RegionStore, call: OssCall) -> ServerResponse:
    style = call.args.get("encoding-type", "")
    token, start_after = call.args.get("continuation-token", ""), call.args.get("start-after", "")
    page, limit = _page(store, call, _decode_token(token) if token else start_after)
    children: list[Node] = [
        ("Name", call.bucket),
        ("Prefix", encoded(call.args.get("prefix", ""), style)),
        ("StartAfter", encoded(start_after, style)),
        ("MaxKeys", limit),
        ("Delimiter", encoded(call.args.get("delimiter", ""), style)),
        ("IsTruncated", str(page.truncated).lower()),
        ("KeyCount", len(page.entries) + len(page.groups)),
    ]
    if token:
        children.append(("ContinuationToken", token))
    if page.truncated:
        children.append(("NextContinuationToken", _encode_token(page.next_marker[0])))
    with_owner = call.args.get("fetch-owner", "") == "true"
    children += _contents(store, page, style, with_owner=with_owner)
    return xml_answer("ListBucketResult", _style(style) + children)


def list_object_versions(store: RegionStore, call: OssCall) -> ServerResponse:
    """The objects of a bucket without versioning: each has one version, whose id is `null`."""
    style, marker = call.args.get("encoding-type", ""), call.args.get("key-marker", "")
    page, limit = _page(store, call, marker)
    children: list[Node] = [
        ("Name", call.bucket),
        ("Prefix", encoded(call.args.get("prefix", ""), style)),
        ("KeyMarker", encoded(marker, style)),
        ("VersionIdMarker", call.args.get("version-id-marker", "")),
        ("MaxKeys", limit),
        ("Delimiter", encoded(call.args.get("delimiter", ""), style)),
        ("IsTruncated", str(page.truncated).lower()),
        ("NextKeyMarker", encoded(page.next_marker[0], style)),
        ("NextVersionIdMarker", "null" if page.truncated else ""),
    ]
    only: list[Node] = [("VersionId", "null"), ("IsLatest", "true")]
    for name, content in _contents(store, page, style, with_owner=True):
        if name == "Contents" and isinstance(content, list):
            children.append(("Version", content + only))
        else:
            children.append((name, content))
    return xml_answer("ListVersionsResult", _style(style) + children)


def list_live_channels(store: RegionStore, call: OssCall) -> ServerResponse:
    """The live channels of a bucket: none, since they cannot be created here."""
    store.bucket(call.bucket)
    children: list[Node] = [
        ("Prefix", call.args.get("prefix", "")),
        ("Marker", call.args.get("marker", "")),
        ("MaxKeys", call.count("max-keys", PAGE_DEFAULT, PAGE_MAX)),
        ("IsTruncated", "false"),
        ("NextMarker", ""),
    ]
    return xml_answer("ListLiveChannelResult", children)


def _style(style: str) -> list[Node]:
    return [("EncodingType", style)] if style else []


def _page(store: RegionStore, call: OssCall, marker: str) -> tuple[Page[ObjectEntry], int]:
    store.bucket(call.bucket)
    limit = call.count("max-keys", PAGE_DEFAULT, PAGE_MAX)
    select = (call.args.get("prefix", ""), call.args.get("delimiter", ""))
    return page_through(_ObjectRows(store, call.bucket), (marker, ""), select, limit), limit


def _encode_token(marker: str) -> str:
    """A continuation token in the service's form, such as `CgJiYw--` for "bc" (help page of ListObjectsV2).

    Tag, length and key in base64, padded with "-".
    """
    key = marker.encode()
    size = bytes((len(key),)) if len(key) < 128 else bytes((len(key) & 127 | 128, len(key) >> 7))
    return base64.b64encode(_TOKEN_TAG + size + key).decode().replace("=", "-")


def _decode_token(token: str) -> str:
    """The marker of a token.

    Raises:
        OssError: No listing gave the token.
    """
    try:
        data = base64.b64decode(token.replace("-", "="), validate=True)
        marker = data[3 if data[1:2] >= b"\x80" else 2 :].decode()
    except ValueError:
        marker = ""
    if not marker or _encode_token(marker) != token:
        raise invalid_argument("The continuation token is invalid.", "continuation-token", token, "0015-00000404")
    return marker


def _contents(store: RegionStore, page: Page[ObjectEntry], style: str, *, with_owner: bool) -> list[Node]:
    owner: list[Node] = [("ID", store.owner), ("DisplayName", store.owner)]
    nodes: list[Node] = []
    for entry in page.entries:
        node: list[Node] = [
            ("Key", encoded(entry.key, style)),
            ("LastModified", iso_milliseconds(entry.modified_s)),
            ("ETag", quoted(entry.etag)),
            ("Type", entry.kind.value),
            ("Size", entry.size_bytes),
            ("StorageClass", entry.storage_class),
        ]
        nodes.append(("Contents", [*node, ("Owner", owner)] if with_owner else node))
    nodes += [("CommonPrefixes", [("Prefix", encoded(group, style))]) for group in page.groups]
    return nodes
