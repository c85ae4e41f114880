"""Object attributes: ACL, tags and symlinks."""

from dataclasses import replace
from email.utils import formatdate
from urllib.parse import quote, unquote

from syncd.localcloud.httpd.messages import ServerResponse
from syncd.localcloud.oss.errors import OssError, invalid_argument
from syncd.localcloud.oss.operations.buckets import acl_answer
from syncd.localcloud.oss.operations.object_metadata import (
    checked_tags,
    forbids_overwrite,
    new_object,
    object_acl,
    refuse_if_taken,
)
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.protocol.responses import empty_answer, quoted, xml_answer
from syncd.localcloud.oss.protocol.xml_documents import Node, parse
from syncd.localcloud.oss.storage.entries import ObjectType
from syncd.localcloud.oss.storage.region_store import RegionStore


def get_object_acl(store: RegionStore, call: OssCall) -> ServerResponse:
    return acl_answer(store, store.object(call.bucket, call.key).acl)


def put_object_acl(store: RegionStore, call: OssCall) -> ServerResponse:
    with store.db.transaction():
        entry = store.object(call.bucket, call.key)
        store.objects.put(replace(entry, acl=object_acl(call)))
    return empty_answer()


def get_object_tagging(store: RegionStore, call: OssCall) -> ServerResponse:
    tags = store.object(call.bucket, call.key).tags
    nodes: list[Node] = [("Tag", [("Key", name), ("Value", value)]) for name, value in tags.items()]
    return xml_answer("Tagging", [("TagSet", nodes)])


def put_object_tagging(store: RegionStore, call: OssCall) -> ServerResponse:
    document = parse(call, "Tagging")
    pairs = [(tag.findtext("Key") or "", tag.findtext("Value") or "") for tag in document.iter("Tag")]
    return _set_tags(store, call, checked_tags(pairs), 200)


def delete_object_tagging(store: RegionStore, call: OssCall) -> ServerResponse:
    return _set_tags(store, call, {}, 204)


def _set_tags(store: RegionStore, call: OssCall, tags: dict[str, str], status: int) -> ServerResponse:
    with store.db.transaction():
        entry = store.object(call.bucket, call.key)
        store.objects.put(replace(entry, tags=tags))
    return empty_answer(status)


def put_symlink(store: RegionStore, call: OssCall) -> ServerResponse:
    """Create a symlink. The target is not checked."""
    target = unquote(call.header("x-oss-symlink-target"))
    if not target:
        raise invalid_argument("The symlink target is missing.", "x-oss-symlink-target", "", "0043-00000001")
    refuse_if_taken(store, call, "0026-00000011")
    # The ETag of a symlink is that of an empty body, independent of its target.
    entry = replace(
        new_object(call, store.bucket(call.bucket)),
        kind=ObjectType.SYMLINK,
        symlink_target=target,
        etag="D41D8CD98F00B204E9800998ECF8427E",
    )
    store.publish(entry, forbid_overwrite=forbids_overwrite(call))
    return empty_answer(headers={"ETag": quoted(entry.etag)})


def get_symlink(store: RegionStore, call: OssCall) -> ServerResponse:
    entry = store.object(call.bucket, call.key)
    if entry.kind is not ObjectType.SYMLINK:
        raise OssError(
            400,
            "NotSymlink",
            "The object you specified is not a symlink.",
            "0043-00000002",
            {"Key": call.key},
        )
    headers = {
        "ETag": quoted(entry.etag),
        "Last-Modified": formatdate(entry.modified_s, usegmt=True),
        "x-oss-symlink-target": quote(entry.symlink_target, safe=""),
    }
    return empty_answer(headers=headers)
