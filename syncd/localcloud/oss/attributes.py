"""What hangs on an object beside its bytes: ACL, tags, and symlinks."""

from dataclasses import replace
from email.utils import formatdate
from urllib.parse import quote, unquote

from syncd.localcloud.messages import Response
from syncd.localcloud.oss.answers import empty_answer, quoted, xml_answer
from syncd.localcloud.oss.buckets import acl_answer
from syncd.localcloud.oss.call import Call
from syncd.localcloud.oss.errors import OssError, invalid_argument
from syncd.localcloud.oss.properties import (
    checked_tags,
    forbids_overwrite,
    new_object,
    object_acl,
    refuse_if_taken,
)
from syncd.localcloud.oss.store import Store
from syncd.localcloud.oss.values import Kind
from syncd.localcloud.oss.xml import Node, parse


def get_object_acl(store: Store, call: Call) -> Response:
    return acl_answer(store, store.object(call.bucket, call.key).acl)


def put_object_acl(store: Store, call: Call) -> Response:
    with store.db.transaction():
        entry = store.object(call.bucket, call.key)
        store.objects.put(replace(entry, acl=object_acl(call)))
    return empty_answer()


def get_object_tagging(store: Store, call: Call) -> Response:
    tags = store.object(call.bucket, call.key).tags
    nodes: list[Node] = [("Tag", [("Key", name), ("Value", value)]) for name, value in tags.items()]
    return xml_answer("Tagging", [("TagSet", nodes)])


def put_object_tagging(store: Store, call: Call) -> Response:
    document = parse(call, "Tagging")
    pairs = [(tag.findtext("Key") or "", tag.findtext("Value") or "") for tag in document.iter("Tag")]
    return _set_tags(store, call, checked_tags(pairs), 200)


def delete_object_tagging(store: Store, call: Call) -> Response:
    return _set_tags(store, call, {}, 204)


def _set_tags(store: Store, call: Call, tags: dict[str, str], status: int) -> Response:
    with store.db.transaction():
        entry = store.object(call.bucket, call.key)
        store.objects.put(replace(entry, tags=tags))
    return empty_answer(status)


def put_symlink(store: Store, call: Call) -> Response:
    """Make a link; its target is not looked for."""
    target = unquote(call.header("x-oss-symlink-target"))
    if not target:
        raise invalid_argument("The symlink target is missing.", "x-oss-symlink-target", "", "0043-00000001")
    refuse_if_taken(store, call, "0026-00000011")
    # The ETag of a link says nothing of its target.
    entry = replace(
        new_object(call, store.bucket(call.bucket)),
        kind=Kind.SYMLINK,
        symlink_target=target,
        etag="D41D8CD98F00B204E9800998ECF8427E",
    )
    store.publish(entry, forbid_overwrite=forbids_overwrite(call))
    return empty_answer(headers={"ETag": quoted(entry.etag)})


def get_symlink(store: Store, call: Call) -> Response:
    entry = store.object(call.bucket, call.key)
    if entry.kind is not Kind.SYMLINK:
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
