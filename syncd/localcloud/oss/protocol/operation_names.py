"""Operation of a request: the name in OSS's API reference, from the method and the sub-resource in the query.

The table has the whole API, also what the local OSS does not implement, so that such a request is refused by its
name and never answered as another operation: `GET /?logging` is not a listing, `PUT /?lifecycle` creates no bucket.
"""

from collections.abc import Mapping, Sequence

from syncd.localcloud.oss.errors import OssError
from syncd.localcloud.oss.protocol.request import OssCall

# Of each row: method, conditions on the query, operation. The first row whose conditions all hold applies. A condition
# is a parameter that must be present, or `parameter=value`.
_Rows = Sequence[tuple[str, str, str]]


_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}


def _settings(methods: str, noun_of: Mapping[str, str]) -> _Rows:
    """Rows of settings: each is read, written and deleted under one parameter, with these methods."""
    return [(m, parameter, _VERBS[m] + noun) for parameter, noun in noun_of.items() for m in methods.split()]


_SERVICE: _Rows = (
    ("GET", "regions", "DescribeRegions"),
    ("GET", "cloudboxes", "ListCloudBoxes"),
    ("GET", "accessPoint", "ListAccessPoints"),
    ("GET", "accessPointForObjectProcess", "ListAccessPointsForObjectProcess"),
    ("GET", "resourcePool", "ListResourcePools"),
    ("GET", "qosInfo", "GetUserQosInfo"),
    ("GET", "redundancyTransition", "ListUserDataRedundancyTransition"),
    *_settings("GET PUT DELETE", {"publicAccessBlock": "PublicAccessBlock"}),
    ("GET", "", "ListBuckets"),
)
_BUCKET: _Rows = (
    ("POST", "delete", "DeleteMultipleObjects"),
    ("GET", "uploads", "ListMultipartUploads"),
    ("GET", "bucketInfo", "GetBucketInfo"),
    ("GET", "location", "GetBucketLocation"),
    ("GET", "stat", "GetBucketStat"),
    ("GET", "versions", "ListObjectVersions"),
    ("GET", "live", "ListLiveChannel"),
    ("GET", "inventory&inventoryId", "GetBucketInventory"),
    ("GET", "inventory", "ListBucketInventory"),
    ("POST", "worm", "InitiateBucketWorm"),
    ("DELETE", "worm", "AbortBucketWorm"),
    ("POST", "wormExtend", "ExtendBucketWorm"),
    ("POST", "wormId", "CompleteBucketWorm"),
    ("POST", "replication&comp=add", "PutBucketReplication"),
    ("POST", "replication&comp=delete", "DeleteBucketReplication"),
    ("GET", "replicationLocation", "GetBucketReplicationLocation"),
    ("GET", "replicationProgress", "GetBucketReplicationProgress"),
    ("POST", "cname&comp=add", "PutCname"),
    ("POST", "cname&comp=delete", "DeleteCname"),
    ("POST", "cname&comp=token", "CreateCnameToken"),
    ("GET", "cname&comp=token", "GetCnameToken"),
    ("GET", "cname", "ListCname"),
    ("POST", "metaQuery&comp=add", "OpenMetaQuery"),
    ("POST", "metaQuery&comp=query", "DoMetaQuery"),
    ("POST", "metaQuery&comp=delete", "CloseMetaQuery"),
    ("GET", "metaQuery", "GetMetaQueryStatus"),
    ("GET", "style&styleName", "GetStyle"),
    ("GET", "style", "ListStyle"),
    ("PUT", "style", "PutStyle"),
    ("DELETE", "style", "DeleteStyle"),
    ("GET", "redundancyTransition&x-oss-redundancy-transition-taskid", "GetBucketDataRedundancyTransition"),
    ("GET", "redundancyTransition", "ListBucketDataRedundancyTransition"),
    ("POST", "redundancyTransition", "CreateBucketDataRedundancyTransition"),
    ("DELETE", "redundancyTransition", "DeleteBucketDataRedundancyTransition"),
    ("GET", "policyStatus", "GetBucketPolicyStatus"),
    ("GET", "requesterQosInfo&qosRequester", "GetBucketRequesterQosInfo"),
    ("GET", "requesterQosInfo", "ListBucketRequesterQosInfos"),
    ("PUT", "accessPoint", "CreateAccessPoint"),
    ("PUT", "accessPointForObjectProcess", "CreateAccessPointForObjectProcess"),
    ("PUT", "rtc", "PutBucketRTC"),
    ("GET", "replication", "GetBucketReplication"),
    ("GET", "worm", "GetBucketWorm"),
    *_settings(
        "GET PUT DELETE",
        {
            "policy&comp=callback": "BucketCallbackPolicy",
            "accessPointPolicy": "AccessPointPolicy",
            "accessPointPolicyForObjectProcess": "AccessPointPolicyForObjectProcess",
            "cors": "BucketCors",
            "dataAccelerator": "BucketDataAccelerator",
            "encryption": "BucketEncryption",
            "lifecycle": "BucketLifecycle",
            "logging": "BucketLogging",
            "overwriteConfig": "BucketOverwriteConfig",
            "policy": "BucketPolicy",
            "publicAccessBlock": "BucketPublicAccessBlock",
            "qosInfo": "BucketQosInfo",
            "quota": "BucketStorageQuota",
            "responseHeader": "BucketResponseHeader",
            "tagging": "BucketTags",
            "userDefinedLogFieldsConfig": "UserDefinedLogFieldsConfig",
            "website": "BucketWebsite",
        },
    ),
    *_settings(
        "GET PUT",
        {
            "accessPointConfigForObjectProcess": "AccessPointConfigForObjectProcess",
            "accessmonitor": "BucketAccessMonitor",
            "acl": "BucketACL",
            "bucketArchiveDirectRead": "BucketArchiveDirectRead",
            "httpsConfig": "BucketHttpsConfig",
            "objectWorm": "BucketObjectWormConfiguration",
            "referer": "BucketReferer",
            "requestPayment": "BucketRequestPayment",
            "resourceGroup": "BucketResourceGroup",
            "transferAcceleration": "BucketTransferAcceleration",
            "versioning": "BucketVersioning",
        },
    ),
    *_settings("PUT DELETE", {"inventory": "BucketInventory", "requesterQosInfo": "BucketRequesterQosInfo"}),
    *_settings(
        "GET DELETE",
        {"accessPoint": "AccessPoint", "accessPointForObjectProcess": "AccessPointForObjectProcess"},
    ),
    *_settings("GET DELETE", {"metadataConfiguration": "BucketMetadataConfiguration"}),
    ("POST", "metadataConfiguration", "CreateBucketMetadataConfiguration"),
    ("PUT", "metadataInventoryTable", "UpdateBucketMetadataInventoryTableConfiguration"),
    ("PUT", "metadataJournalTable", "UpdateBucketMetadataJournalTableConfiguration"),
    ("GET", "list-type=2", "ListObjectsV2"),
    ("GET", "", "ListObjects"),
    ("HEAD", "", "GetBucketInfo"),
    ("PUT", "", "PutBucket"),
    ("DELETE", "", "DeleteBucket"),
    ("POST", "", "PostObject"),
    ("OPTIONS", "", "OptionObject"),
)
_OBJECT: _Rows = (
    ("POST", "uploads", "InitiateMultipartUpload"),
    ("POST", "uploadId", "CompleteMultipartUpload"),
    ("POST", "append", "AppendObject"),
    ("POST", "restore", "RestoreObject"),
    ("POST", "cleanRestoredObject", "CleanRestoredObject"),
    ("POST", "seal", "SealAppendObject"),
    ("POST", "sealAppend", "SealAppendObject"),
    ("POST", "asyncFetch", "PostAsyncFetchTask"),
    ("GET", "asyncFetch", "GetAsyncFetchTask"),
    ("POST", "vod", "PostVodPlaylist"),
    ("GET", "vod", "GetVodPlaylist"),
    ("POST", "x-oss-write-get-object-response", "WriteGetObjectResponse"),
    ("POST", "x-oss-async-process", "AsyncProcessObject"),
    ("POST", "x-oss-process", "ProcessObject"),
    ("GET", "x-oss-process", "ProcessObject"),
    ("HEAD", "x-oss-process", "ProcessObject"),
    ("PUT", "live&status", "PutLiveChannelStatus"),
    ("PUT", "live", "PutLiveChannel"),
    ("GET", "live&comp=stat", "GetLiveChannelStat"),
    ("GET", "live&comp=history", "GetLiveChannelHistory"),
    ("GET", "live", "GetLiveChannelInfo"),
    ("DELETE", "live", "DeleteLiveChannel"),
    ("PUT", "uploadId", "UploadPart"),
    ("GET", "uploadId", "ListParts"),
    ("DELETE", "uploadId", "AbortMultipartUpload"),
    ("PUT", "acl", "PutObjectACL"),
    ("GET", "acl", "GetObjectACL"),
    ("PUT", "symlink", "PutSymlink"),
    ("GET", "symlink", "GetSymlink"),
    ("HEAD", "symlink", "GetSymlink"),
    ("PUT", "tagging", "PutObjectTagging"),
    ("GET", "tagging", "GetObjectTagging"),
    ("DELETE", "tagging", "DeleteObjectTagging"),
    *_settings("GET PUT", {"legalHold": "ObjectLegalHold", "retention": "ObjectRetention"}),
    ("GET", "objectMeta", "GetObjectMeta"),
    ("HEAD", "objectMeta", "GetObjectMeta"),
    ("PUT", "", "PutObject"),
    ("GET", "", "GetObject"),
    ("HEAD", "", "HeadObject"),
    ("DELETE", "", "DeleteObject"),
    ("OPTIONS", "", "OptionObject"),
)
# Of a PUT the service has no conditions: to ignore one would overwrite what the client meant to keep.
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
_NAMED = frozenset(
    term.partition("=")[0] for row in (*_SERVICE, *_BUCKET, *_OBJECT) for term in row[1].split("&") if term
)
# Parameters that clients send without a value and that select nothing, beside `x-oss-` and `response-`.
_WITHOUT_MEANING = frozenset(
    {"prefix", "marker", "delimiter", "max-keys", "encoding-type", "continuation-token", "start-after", "fetch-owner"}
    | {"key-marker", "upload-id-marker", "version-id-marker", "max-uploads", "part-number-marker", "max-parts"}
    | {"partNumber", "position", "sequential", "versionId", "security-token", "callback", "callback-var"}
    | {"tag-key", "tag-value", "OSSAccessKeyId", "Expires", "Signature"}
)
_COPIES = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}


def operation_of(call: OssCall) -> str:
    """The operation's name in OSS's documentation. A sub-resource without an operation gives `METHOD ?parameter`.

    A parameter without a value that is not known is a sub-resource: of an operation that is newer than this table.

    Raises:
        OssError: The method has no meaning for the resource.
    """
    newer = next((name for name, value in call.args.items() if not value and _is_unknown(name)), "")
    if newer:
        return f"{call.request.method} ?{newer}"
    rows = _OBJECT if call.key else _BUCKET if call.bucket else _SERVICE
    found = next((row for row in rows if row[0] == call.request.method and _holds(row[1], call.args)), None)
    if found is None:
        raise _method_not_allowed(call.request.method)
    _, condition, operation = found
    unknown = "" if condition else _sub_resource(rows, call.args)
    if unknown:
        return f"{call.request.method} ?{unknown}"
    return _COPIES.get(operation, operation) if "x-oss-copy-source" in call.request.headers else operation


def unsupported_feature(call: OssCall) -> str:
    """What the request asks for beside its operation and is not implemented; '' when there is nothing."""
    if call.args.get("versionId", "null") != "null":
        return f"{call.operation} of one version of an object (versionId)"
    if call.operation == "InitiateMultipartUpload" and "sequential" in call.args:
        return "InitiateMultipartUpload with parts in sequence (sequential)"
    if call.operation == "PutObject" and any(name in call.request.headers for name in _CONDITIONS):
        return "PutObject with a condition (x-oss-forbid-overwrite is implemented)"
    if "callback" in call.args or "x-oss-callback" in call.request.headers:
        return f"{call.operation} with a callback"
    return ""


def _holds(condition: str, args: Mapping[str, str]) -> bool:
    terms = (term.partition("=") for term in condition.split("&") if term)
    return all(name in args and (not equals or args[name] == value) for name, equals, value in terms)


def _is_unknown(name: str) -> bool:
    return name not in _NAMED and name not in _WITHOUT_MEANING and not name.startswith(("x-oss-", "response-"))


def _sub_resource(rows: _Rows, args: Mapping[str, str]) -> str:
    """A parameter that selects an operation of another method."""
    selecting = {row[1].partition("&")[0] for row in rows if "=" not in row[1].partition("&")[0]}
    return next((name for name in args if name in selecting), "")


def _method_not_allowed(method: str) -> OssError:
    return OssError(
        405,
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        "0015-00000301",
        {"Method": method, "ResourceType": "Object"},
    )
