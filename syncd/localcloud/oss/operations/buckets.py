"""Bucket operations: list, create, get, delete, and settings."""

import re
from dataclasses import replace

from syncd.localcloud.httpd.messages import ServerResponse
from syncd.localcloud.oss.errors import OssError, invalid_argument, not_implemented
from syncd.localcloud.oss.protocol.request import OssCall
from syncd.localcloud.oss.protocol.responses import empty_answer, xml_answer
from syncd.localcloud.oss.protocol.signatures import iso_milliseconds
from syncd.localcloud.oss.protocol.xml_documents import Node, parse
from syncd.localcloud.oss.storage.entries import BUCKET_ACLS, STORAGE_CLASSES, BucketEntry
from syncd.localcloud.oss.storage.region_store import RegionStore

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_PAGE_DEFAULT = 100
_PAGE_MAX = 1000


def list_buckets(store: RegionStore, call: OssCall) -> ServerResponse:
    """All buckets of the account, from every region."""
    limit = call.count("max-keys", _PAGE_DEFAULT, _PAGE_MAX)
    prefix, marker = call.args.get("prefix", ""), call.args.get("marker", "")
    homes = list(store.peers.values()) or [store]
    every = sorted(((b, home) for home in homes for b in home.buckets.all()), key=lambda pair: pair[0].name)
    fitting = [(b, home) for b, home in every if b.name.startswith(prefix) and b.name > marker]
    page = fitting[:limit]
    children: list[Node] = [
        ("Prefix", prefix),
        ("Marker", marker),
        ("MaxKeys", limit),
        ("IsTruncated", str(len(page) < len(fitting)).lower()),
        ("NextMarker", page[-1][0].name if len(page) < len(fitting) else ""),
        ("Owner", [("ID", store.owner), ("DisplayName", store.owner)]),
        ("Buckets", [("Bucket", _bucket_node(bucket, home, call.host)) for bucket, home in page]),
    ]
    return xml_answer("ListAllMyBucketsResult", children)


def _bucket_node(bucket: BucketEntry, home: RegionStore, host: str) -> list[Node]:
    external, internal = home.endpoints(host)
    return [
        ("Name", bucket.name),
        ("CreationDate", iso_milliseconds(bucket.created_s)),
        ("Location", home.location),
        ("Region", home.region),
        ("StorageClass", bucket.storage_class),
        ("ExtranetEndpoint", external),
        ("IntranetEndpoint", internal),
    ]


def put_bucket(store: RegionStore, call: OssCall) -> ServerResponse:
    """Create a bucket. Idempotent; changes the ACL when the request has one."""
    if not _NAME.fullmatch(call.bucket):
        raise OssError(
            400,
            "InvalidBucketName",
            "The specified bucket is not valid.",
            "0015-00000001",
            {"BucketName": call.bucket},
        )
    requested = _storage_class(call)
    with store.db.transaction():
        old = store.buckets.get(call.bucket)
        if old is None and store.home_of(call.bucket) is not None:
            raise _taken(call.bucket)
        if old is not None and requested not in ("", old.storage_class):
            raise _taken(call.bucket)
        fresh = BucketEntry(call.bucket, call.now_s, storage_class=requested or "Standard")
        acl = _acl(call, (old or fresh).acl)
        store.buckets.put(replace(old or fresh, acl=acl))
    return empty_answer(headers={"Location": f"/{call.bucket}"})


def _taken(bucket: str) -> OssError:
    return OssError(
        409,
        "BucketAlreadyExists",
        "The requested bucket name is not available. The bucket namespace is shared by all users of the "
        "system. Please select a different name and try again.",
        "0015-00000104",
        {"BucketName": bucket},
    )


def _storage_class(call: OssCall) -> str:
    if call.request.body.length == 0:
        return ""
    document = parse(call, "CreateBucketConfiguration")
    location = (document.findtext("LocationConstraint") or "").strip()
    if location not in ("", f"oss-{call.region}"):
        raise OssError(
            400,
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid.",
            "0015-00000203",
        )
    redundancy = (document.findtext("DataRedundancyType") or "LRS").strip()
    if redundancy != "LRS":
        raise not_implemented(f"PutBucket with DataRedundancyType {redundancy}")
    requested = (document.findtext("StorageClass") or "").strip()
    if requested not in ("", *STORAGE_CLASSES):
        raise invalid_argument("The storage class you specified is invalid.", "StorageClass", requested)
    return requested


def _acl(call: OssCall, default: str) -> str:
    acl = call.header("x-oss-acl") or default
    if acl not in BUCKET_ACLS:
        raise invalid_argument("No such bucket access control exists", "x-oss-acl", acl, "0015-00000204")
    return acl


def delete_bucket(store: RegionStore, call: OssCall) -> ServerResponse:
    with store.db.transaction():
        store.bucket(call.bucket)
        if not store.buckets.is_empty(call.bucket):
            raise OssError(
                409,
                "BucketNotEmpty",
                "The bucket has objects. Please delete them first.",
                "0015-00000302",
                {"BucketName": call.bucket},
            )
        store.buckets.delete(call.bucket)
    return empty_answer(204)


def get_bucket_info(store: RegionStore, call: OssCall) -> ServerResponse:
    bucket = store.bucket(call.bucket)
    if call.request.method == "HEAD":
        return empty_answer(headers={"x-oss-bucket-region": store.region})
    node: list[Node] = [
        *_bucket_node(bucket, store, call.host),
        ("DataRedundancyType", "LRS"),
        ("AccessMonitor", "Disabled"),
        ("CrossRegionReplication", "Disabled"),
        ("TransferAcceleration", "Disabled"),
        ("BlockPublicAccess", "false"),
        ("Comment", ""),
        ("BucketPolicy", [("LogBucket", ""), ("LogPrefix", "")]),
        ("ServerSideEncryptionRule", [("SSEAlgorithm", "None")]),
        ("Owner", [("ID", store.owner), ("DisplayName", store.owner)]),
        ("AccessControlList", [("Grant", bucket.acl)]),
    ]
    return xml_answer("BucketInfo", [("Bucket", node)])


def get_bucket_location(store: RegionStore, call: OssCall) -> ServerResponse:
    store.bucket(call.bucket)
    return xml_answer("LocationConstraint", store.location)  # the root element holds text


def get_bucket_stat(store: RegionStore, call: OssCall) -> ServerResponse:
    store.bucket(call.bucket)
    objects, size = store.objects.totals(call.bucket)
    children: list[Node] = [
        ("Storage", size),
        ("ObjectCount", objects),
        ("MultipartUploadCount", len(store.uploads.after(call.bucket, ("", ""), "", 100_000))),
        ("LiveChannelCount", 0),
        ("LastModifiedTime", int(call.now_s)),
    ]
    return xml_answer("BucketStat", children)


def get_bucket_acl(store: RegionStore, call: OssCall) -> ServerResponse:
    return acl_answer(store, store.bucket(call.bucket).acl)


def acl_answer(store: RegionStore, acl: str) -> ServerResponse:
    children: list[Node] = [
        ("Owner", [("ID", store.owner), ("DisplayName", store.owner)]),
        ("AccessControlList", [("Grant", acl)]),
    ]
    return xml_answer("AccessControlPolicy", children)


def put_bucket_acl(store: RegionStore, call: OssCall) -> ServerResponse:
    with store.db.transaction():
        bucket = store.bucket(call.bucket)
        store.buckets.put(replace(bucket, acl=_acl(call, bucket.acl)))
    return empty_answer()


_ABSENT_SETTINGS = {
    "GetBucketLifecycle": ("NoSuchLifecycle", "No Row found in Lifecycle Table."),
    "GetBucketPolicy": ("NoSuchBucketPolicy", "The bucket policy does not exist."),
    "GetBucketCors": ("NoSuchCORSConfiguration", "The CORS Configuration does not exist."),
    "GetBucketWebsite": ("NoSuchWebsiteConfiguration", "The specified bucket does not have a website."),
    "GetBucketEncryption": (
        "NoSuchServerSideEncryptionRule",
        "The server side encryption configuration was not found.",
    ),
}


def get_absent_setting(store: RegionStore, call: OssCall) -> ServerResponse:
    """The service's error for a setting that is not configured."""
    store.bucket(call.bucket)
    code, message = _ABSENT_SETTINGS[call.operation]
    raise OssError(404, code, message, "0015-00000401", {"BucketName": call.bucket})


def get_bucket_versioning(store: RegionStore, call: OssCall) -> ServerResponse:
    store.bucket(call.bucket)
    return xml_answer("VersioningConfiguration", [])


def get_bucket_tags(store: RegionStore, call: OssCall) -> ServerResponse:
    store.bucket(call.bucket)
    return xml_answer("Tagging", [("TagSet", [])])
